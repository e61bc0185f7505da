"""Lyra V2 (google/lyra 1.3.2), a published SoundStream (Zeghidour et al. 2021, arXiv 2107.03312), by its LiteRT files."""

import hashlib
import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from laminal.codecs.base import Summed, bursts, random_entries, whole_frames
from laminal.errors import RequestError
from laminal.nn.nearest import nearest

ENCODER, QUANTIZER, DECODER = FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")
RATE, HOP, WIDTH = 16_000, 320, 64
HEARD = 8.0  # seconds of noise from which the codebooks of a random copy are drawn
FLOAT, INT8 = 0, 9  # of the file format: types of weights


class LyraCodec(Summed):
    """Layer k = sum of the first k of 46 codebooks' vectors, the quantizer's own constant tensors, 64-d at 50 Hz.

    The last layer equals what the quantizer's `decode` gives, difference 0, and the codes are those of its `encode`: the nearest entry to
    what is left. Networks run frame by frame with a state inside, which nothing resets: each row has an interpreter of its own
    (2 ms to make). Causal. On the CPU, one thread.
    """

    causal = True
    concurrent = True

    def __init__(self, path: str | Path, random_weights: int | None = None) -> None:
        """Load the three .tflite files in folder `path`; the package `ai-edge-litert` (extra `lyra`) runs them.

        `random_weights`: seed of a copy whose encoder's and decoder's weights are permuted within each tensor (the format has no
        initialisation) and whose codebooks are drawn. Raises RequestError for a folder without the files, or files of another network.
        """
        folder = Path(path).expanduser()
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise RequestError(
                f"path={path} lacks {', '.join(missing)}; download lyra/model_coeffs of the repository google/lyra (tag v1.3.2) into a "
                "folder, say models/lyra_v2, and say path=models/lyra_v2"
            )
        self._litert()
        held = {name: (folder / name).read_bytes() for name in FILES}
        digest = hashlib.sha256(f"lyra 1 {random_weights}".encode() + b"".join(held.values()))
        self.name, self.sample_rate, self.frame_rate, self.revision = "lyra", RATE, RATE / HOP, digest.hexdigest()
        if random_weights is not None:
            held |= {name: self._permuted(held[name], random_weights) for name in (ENCODER, DECODER)}
        self._encoder, self._decoder = held[ENCODER], held[DECODER]
        self._check(folder)
        self.entries = self._codebooks(held[QUANTIZER], folder)
        if random_weights is not None:
            self._draw_codebooks(random_weights)
        self.codebooks, self.codebook_size = self.entries.shape[:2]

    def _latent(self, wav: Float[Tensor, "b t"]) -> Float[Tensor, "b n d"]:
        frames = whole_frames(wav, HOP).numpy().reshape(len(wav), -1, 1, HOP)
        return torch.from_numpy(np.stack([self._run(self._encoder, row).reshape(-1, WIDTH) for row in frames]))

    def _quantize(self, latent: Float[Tensor, "b n d"]) -> Int[Tensor, "b q n"]:
        residual = latent.flatten(0, 1).numpy().copy()
        entries = self.entries.numpy()  # numpy: 46 small steps, a third of torch's time
        halves = np.square(entries).sum(2) / 2
        codes = np.empty((len(entries), len(residual)), np.int64)
        for table, half, chosen in zip(entries, halves, codes):
            scores = residual @ table.T
            np.subtract(half, scores, out=scores).argmin(1, out=chosen)
            residual -= table.take(chosen, 0)  # a third of indexing's time
        return torch.from_numpy(codes.reshape(len(entries), *latent.shape[:2])).transpose(0, 1).contiguous()

    def _sums(self, codes: Int[Tensor, "b q n"]) -> list[Float[Tensor, "b n d"]]:
        sums: list[Tensor] = []
        for entries, layer in zip(self.entries, codes.unbind(1)):
            found = embedding(layer, entries)  # a third of indexing's time
            sums.append(found.add_(sums[-1]) if sums else found)
        return sums

    def _audio(self, codes: Int[Tensor, "b q n"]) -> Float[Tensor, "b t"]:
        frames = self._sums(codes)[-1].numpy()[:, :, None, None]  # (b, n, 1, 1, 64)
        return torch.from_numpy(np.stack([self._run(self._decoder, row).reshape(-1) for row in frames]))

    def _run(self, network: bytes, frames: np.ndarray) -> np.ndarray:
        """Run `network` from its initial state over `frames` (n, *input shape), in order."""
        interpreter = self._interpreter(network)
        into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        found = []
        for frame in frames:
            interpreter.set_tensor(into, frame)
            interpreter.invoke()
            found.append(interpreter.get_tensor(out))
        return np.stack(found)

    @staticmethod
    def _litert() -> Any:
        try:
            return importlib.import_module("ai_edge_litert.interpreter")
        except ImportError as error:
            raise RequestError(f"codec=lyra runs on LiteRT ({error}); pip install 'laminal[lyra]' (ai-edge-litert)") from error

    def _interpreter(self, network: bytes) -> Any:
        interpreter = self._litert().Interpreter(model_content=network, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    def _check(self, folder: Path) -> None:
        """Refuse files that are no LiteRT networks, or whose inputs and outputs are not Lyra's."""
        for name, network, shapes in (
            (ENCODER, self._encoder, ([1, HOP], [1, 1, WIDTH])),
            (DECODER, self._decoder, ([1, 1, WIDTH], [1, HOP])),
        ):
            try:
                made = self._interpreter(network)
            except (ValueError, RuntimeError) as error:
                raise RequestError(f"{folder / name} is no LiteRT network ({str(error).splitlines()[0]}); download it again") from error
            found = tuple(detail[0]["shape"].tolist() for detail in (made.get_input_details(), made.get_output_details()))
            if found != shapes:
                raise RequestError(f"{folder / name}: input and output {found} are not Lyra V2's {shapes}; take the files of tag v1.3.2")

    def _codebooks(self, quantizer: bytes, folder: Path) -> Float[Tensor, "q 16 64"]:
        """Read the constant tensors `transpose`, `transpose_1`, ... in their order."""
        try:
            interpreter = self._litert().Interpreter(model_content=quantizer, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise RequestError(f"{folder / QUANTIZER} is no LiteRT network ({str(error).splitlines()[0]}); download it again") from error
        found = {}
        for detail in interpreter.get_tensor_details():
            match = re.fullmatch(r"transpose(?:_(\d+))?", detail["name"])
            if match and len(detail["shape"]) == 2 and detail["shape"][1] == WIDTH:
                found[int(match[1] or 0)] = interpreter.get_tensor(detail["index"])
        if sorted(found) != list(range(46)):
            raise RequestError(f"{folder / QUANTIZER} has {len(found)} codebooks of width {WIDTH}, not 46; take the file of tag v1.3.2")
        return torch.from_numpy(np.stack([found[number] for number in range(46)]))

    @staticmethod
    def _permuted(network: bytes, seed: int) -> bytes:
        """Permute the values of every weight tensor within itself: each keeps its distribution, and nothing learnt."""
        schema = importlib.import_module("ai_edge_litert.schema_py_generated")
        changed, random = bytearray(network), np.random.default_rng(seed)
        model = schema.Model.GetRootAs(changed, 0)
        graph = model.Subgraphs(0)  # the others set the state to zero
        for number in range(graph.TensorsLength()):
            tensor = graph.Tensors(number)
            kind = {FLOAT: np.float32, INT8: np.int8}.get(tensor.Type())
            held = model.Buffers(tensor.Buffer())
            if kind is not None and held.DataLength():
                values = held.DataAsNumpy().view(kind)  # into `changed`
                values[:] = random.permutation(values)
        return bytes(changed)

    def _draw_codebooks(self, seed: int) -> None:
        residual = self._latent(bursts(RATE, HEARD, seed))[0]
        for number, entries in enumerate(self.entries):
            entries.copy_(random_entries(residual, len(entries), seed + number))
            residual = residual - entries[nearest(residual, entries)]
