"""What a frozen teacher hears of whole recordings, made once and kept on disk: training steps then need no teacher beside them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from laminal.cache import CodesCache, file_sha256
from laminal.corpora.base import Corpus, Utterance
from laminal.errors import DataError, RequestError
from laminal.progress import track
from laminal.teachers.base import FrameTeacher, SpeakerTeacher

PIECE = 30.0  # s that a frame teacher hears at once: Whisper takes no more
VOICE = 60.0  # s of a recording that a speaker teacher hears


class Recorded:
    """Features of whole recordings by one teacher, a file of `cache` for each, named by the teacher's weights and the audio.

    A frame teacher's are float16 and are cut where a crop lies; they know of what lies before and behind it, which a teacher that hears the
    crop alone does not. Recordings above 30 s are heard in pieces of that length. A speaker teacher's vector is of the first minute and
    belongs to every crop. What is missing or broken is made when it is asked for.
    Raises RequestError for a teacher without weights, or of neither kind.
    """

    def __init__(self, teacher: Any, corpus: Corpus, cache: CodesCache) -> None:
        if not isinstance(teacher, FrameTeacher | SpeakerTeacher) or not isinstance(teacher, nn.Module):
            raise RequestError(
                f"data.precomputed: {type(teacher).__name__} is no torch module that gives frames or embeds voices, so that what it heard "
                "cannot be kept; say data.precomputed=null"
            )
        self.teacher: Any = teacher
        self.corpus, self.cache = corpus, cache
        self.frame_rate = float(teacher.frame_rate) if isinstance(teacher, FrameTeacher) else None
        self.digest = weights_sha256(teacher)
        self._keys: dict[str, str] = {}

    def fill(self, device: torch.device | str = "cpu", first: int = 0) -> int:
        """Make what is missing, on `device`, from utterance `first` on and round; returns how many recordings were heard.

        Several processes do it at once by different `first`. Recordings that cannot be read are passed over: no crop is taken of them.
        """
        self.teacher.to(device)
        order = [*range(first, len(self.corpus)), *range(first)]
        made = 0
        for number in track(order, f"recordings for {type(self.teacher).__name__}", len(order)):
            utterance = self.corpus[number]
            try:
                if not self.cache.holds(self._key(utterance)):
                    self._made(utterance)
                    made += 1
            except DataError:
                continue
        self.teacher.to("cpu")
        return made

    def crop(self, utterance: Utterance, start: float, seconds: float) -> Float32[np.ndarray, "*_ d"]:
        """Give the frames of `seconds` s from `start` on (on a frame's edge), zeros behind the end, or the vector.

        Raises DataError where the audio is unreadable.
        """
        held = self.cache.fetch(self._key(utterance), ("heard",))
        found = self._made(utterance) if held is None else held["heard"]
        if self.frame_rate is None:
            return found.astype(np.float32)
        first, count = round(start * self.frame_rate), int(seconds * self.frame_rate + 1e-6)
        cut = np.zeros((count, found.shape[1]), np.float32)
        there = found[first : first + count]
        cut[: len(there)] = there
        return cut

    def _key(self, utterance: Utterance) -> str:
        if utterance.id not in self._keys:
            heard = f"teacher\t{self.digest}\t{file_sha256(utterance.path)}"
            self._keys[utterance.id] = hashlib.sha256(heard.encode()).hexdigest()
        return self._keys[utterance.id]

    @torch.no_grad()
    def _made(self, utterance: Utterance) -> np.ndarray:
        rate = int(self.teacher.sample_rate)
        device = next(iter(tensors(self.teacher))).device
        wav = self.corpus.wav(utterance, rate)[None].to(device)
        if self.frame_rate is None:
            heard = self.teacher.embed(wav[:, : round(VOICE * rate)])[0].float().cpu().numpy()
        else:
            heard = self._frames(wav, rate).half().cpu().numpy()
        if not np.isfinite(heard).all():
            kind = type(self.teacher).__name__
            raise RequestError(f"{kind} gives {utterance.id} features that are not finite in 16 bit; say data.precomputed=null")
        self.cache.store(self._key(utterance), heard=heard)
        return heard

    def _frames(self, wav: Float[Tensor, "1 t"], rate: int) -> Float[Tensor, "n d"]:
        hop = round(rate / float(self.teacher.frame_rate))
        whole = nn.functional.pad(wav, (0, -wav.shape[1] % hop))
        pieces = whole.split(round(PIECE * rate) // hop * hop, dim=1)
        return torch.cat([self.teacher.frames(piece)[0] for piece in pieces])


def tensors(teacher: nn.Module) -> Sequence[Tensor]:
    """Weights and constants of a teacher, also of networks that it holds outside the module tree."""
    networks = [teacher, *getattr(teacher, "_networks", ())]
    return [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]


def weights_sha256(teacher: nn.Module) -> str:
    """Hash what a teacher's features depend on: its class, its plain settings, its weights. Raises RequestError where it has none."""
    found = tensors(teacher)
    if not found:
        raise RequestError(f"data.precomputed: {type(teacher).__name__} has no weights to tell it by; say data.precomputed=null")
    settings = {name: value for name, value in vars(teacher).items() if isinstance(value, str | int | float) and name != "training"}
    digest = hashlib.sha256(f"{type(teacher).__module__}.{type(teacher).__qualname__} {sorted(settings.items())!r}".encode())
    for tensor in found:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
