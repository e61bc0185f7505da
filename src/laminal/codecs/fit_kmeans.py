"""Fit the centres of `codec=kmeans` on a corpus, resumable.

python -m laminal.codecs.fit_kmeans corpus=NAME corpus.root=DIR [codec.path=OUT] [codec.encoder=PATH] [codec.layer=18] [codec.k=2048]
    [frames=200000] [iterations=50] [seed=0]
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from laminal import config
from laminal.atomic import replacing, write_json
from laminal.codecs.kmeans import FILE
from laminal.corpora.base import Corpus
from laminal.errors import DataError, RequestError
from laminal.nn.kmeans import lloyd_step
from laminal.nn.speech_encoder import RATE, SpeechEncoder

UTTERANCES = 64  # whose frames are kept in one file, and lost by who is killed
SETTLED = 1e-4  # of the error: a smaller gain ends the iterations
BAD_SHARE = 0.05  # more unreadable utterances than this end the fit
DEFAULTS = {"frames": 200_000, "iterations": 50, "seed": 0}


def fit(
    corpus: Corpus, out: Path, encoder: str, layer: int, k: int, frames: int, iterations: int, seed: int, device: str = "auto"
) -> dict[str, str]:
    """Cluster about `frames` frames drawn evenly from `corpus` into `k` centres and write `out`/kmeans.safetensors; give its facts.

    Frames and the centres of each iteration are kept below `out` while it works: the same call goes on where it was killed, with the
    numbers of an uninterrupted one. Raises RequestError where `out` holds another fit, or there are fewer frames than centres.
    """
    network = SpeechEncoder(encoder, device)
    if not 0 <= layer <= network.layers:
        raise RequestError(f"codec.layer={layer}: {encoder} has layers 0 to {network.layers}; give one of them")
    plan: dict[str, Any] = {
        "format": "laminal kmeans 1", "encoder": str(encoder), "encoder_revision": network.revision, "layer": layer, "k": k,
        "frames": frames, "iterations": iterations, "seed": seed, "corpus": corpus.name, "corpus_sha256": corpus.sha256,
    }  # fmt: skip
    _begin(out, plan)
    if not (out / FILE).is_file():
        vectors = _frames(corpus, network, layer, frames, seed, out / "fit")
        if len(vectors) < k:
            raise RequestError(f"{len(vectors)} frames for codec.k={k} centres; give more of frames= or corpus, or fewer centres")
        centres, done, error = _centres(vectors, k, iterations, seed, out / "fit", network.device)
        facts = {name: str(value) for name, value in (plan | {"vectors": len(vectors), "done": done, "error": f"{error:.6g}"}).items()}
        _save(out / FILE, {"centres": centres.cpu()}, facts)
    shutil.rmtree(out / "fit", ignore_errors=True)
    with safe_open(out / FILE, framework="pt") as opened:
        return dict(opened.metadata())


def _begin(out: Path, plan: dict[str, Any]) -> None:
    """Write the plan, or compare it with the one that `out` was begun with."""
    file = out / "fit.json"
    if file.is_file():
        begun = json.loads(file.read_text(encoding="utf-8"))
        for key in plan:
            if begun.get(key) != plan[key]:
                raise RequestError(f"{out} was begun with {key}={begun.get(key)}, and now {key}={plan[key]}; give another codec.path")
    elif (out / FILE).exists():
        raise RequestError(f"{out} holds centres of another origin; give another codec.path")
    else:
        write_json(file, plan)


def _frames(corpus: Corpus, network: SpeechEncoder, layer: int, frames: int, seed: int, folder: Path) -> Float[Tensor, "n d"]:
    """Draw from every utterance its share of `frames`, and keep them in files of some utterances each."""
    seconds = sum(utterance.seconds for utterance in corpus)
    share = min(1.0, frames * network.hop / RATE / max(seconds, 1e-9))
    for first in range(0, len(corpus), UTTERANCES):
        part = folder / f"{first:08d}.safetensors"
        if part.is_file():
            continue
        found, failed = [torch.zeros(0, network.width)], []
        for index in range(first, min(first + UTTERANCES, len(corpus))):
            try:
                wav = corpus.wav(corpus[index], RATE)[None].to(network.device)
            except DataError as error:
                failed.append(f"{corpus[index].id}: {error}")
                continue
            states = network.hidden_states(wav)[layer][0].cpu()
            kept = np.random.default_rng([seed, index]).random(len(states)) < share
            found.append(states[torch.from_numpy(kept)])
        _save(part, {"frames": torch.cat(found)}, {"failed": json.dumps(failed)})
        print(f"\rfeatures of {min(first + UTTERANCES, len(corpus))} of {len(corpus)} utterances", end="", file=sys.stderr)
    print(file=sys.stderr)
    parts, bad = sorted(folder.glob("[0-9]*.safetensors")), []
    for part in parts:
        with safe_open(part, framework="pt") as opened:
            bad += json.loads(opened.metadata()["failed"])
    if len(bad) > BAD_SHARE * len(corpus):
        raise DataError(f"{len(bad)} of {len(corpus)} utterances are unusable, over 5 % (the first: {bad[0]}); mend the corpus")
    return torch.cat([load_file(path)["frames"] for path in parts])


def _centres(
    vectors: Float[Tensor, "n d"], k: int, iterations: int, seed: int, folder: Path, device: torch.device
) -> tuple[Float[Tensor, "k d"], int, float]:
    """Run Lloyd's iterations from a random subset, each kept on disk; give centres, iterations done and the last error."""
    state = folder / "centres.safetensors"
    if state.is_file():
        held = load_file(state)
        centres, errors = held["centres"].to(device), held["errors"].tolist()
    else:
        chosen = np.random.default_rng([seed, 0]).permutation(len(vectors))[:k]
        centres, errors = vectors[torch.from_numpy(chosen)].to(device), []
    while len(errors) < iterations and not (len(errors) > 1 and errors[-2] - errors[-1] < SETTLED * errors[-2]):
        step = lloyd_step(vectors, centres, np.random.default_rng([seed, 1 + len(errors)]))
        centres, errors = step.centres, [*errors, step.error]
        _save(state, {"centres": centres.cpu(), "errors": torch.tensor(errors, dtype=torch.float64)}, {})
        print(f"\riteration {len(errors)}: mean squared distance {step.error:.5g}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return centres, len(errors), errors[-1] if errors else float("nan")


def _save(file: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    with replacing(file) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=facts)


def main(words: Sequence[str]) -> int:
    """Run the command; exit code 0 done, 1 the work failed, 2 the request was wrong."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    base = OmegaConf.create(DEFAULTS | {"codec": config.twin("codecs", "kmeans"), "corpus": config.twin("corpora", "librispeech")})
    try:
        if not words or set(words) & {"-h", "--help"}:
            print((__doc__ or "").split("\n\n", 1)[1])
            return 0 if words else 2
        if not any(word.partition("=")[0] == "corpus" for word in words):
            raise RequestError("no corpus=NAME is given; say for example corpus=librispeech corpus.root=DIR")
        asked = config.override(base, words)
        codec = asked.codec
        try:
            corpus: Corpus = instantiate(asked.corpus, _convert_="all")
        except InstantiationException as error:  # hydra wraps what a constructor raised
            if isinstance(error.__cause__, (RequestError, DataError, OSError)):
                raise error.__cause__ from None
            raise
        sizes = {name: asked[name] for name in DEFAULTS} | {name: codec[name] for name in ("layer", "k", "device")}
        facts = fit(corpus, Path(str(codec.path)), str(codec.encoder), **sizes)
    except RequestError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except (DataError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print(f"{codec.path}: {facts['k']} centres of {facts['vectors']} frames, {facts['done']} iterations, error {facts['error']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
