"""Codes of a folder tree in one command, and audio again: `python -m laminal.tokenise in=DIR out=DIR codec=NAME`."""

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from laminal import audio, cli, codesfile, config, jobs, progress, runfolder
from laminal.atomic import write_json, write_text
from laminal.cache import file_sha256, smallest_integer
from laminal.codecs.base import Codec
from laminal.codecs.load import load_codec
from laminal.corpora.recordings import HEAD, MOST_BAD, files
from laminal.errors import DataError, RequestError
from laminal.longaudio import PIECE, Encoder
from laminal.nn import ranks
from laminal.probing import arguments_of

USAGE = """
python -m laminal.tokenise in=DIR out=DIR ckpt=PATH | codec=NAME [codec.path=...]     audio -> codes, one file each
python -m laminal.tokenise in=CODES out=DIR ckpt=PATH | codec=NAME decode=true        codes -> audio
further keys: format=npz|safetensors (with decode=true: wav|flac)  processes=N        torchrun shares the files out, too
What is there and whole is skipped: run the same line again after a stop. docs/tokenise.md says how to read the output.
"""
OWN = ("in", "out", "ckpt", "codec", "format", "decode", "processes")
MANIFEST, LINES = "manifest.json", "files.jsonl"


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for; everything a process needs to do its share."""

    source: Path
    out: Path
    codec: str
    arguments: Mapping[str, Any]
    suffix: str  # of the files made
    decode: bool
    processes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One file, as paths below the two folders."""

    source: str
    made: str
    size: int  # bytes of the source


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """A job after it was done, or was found done; with `reason` it failed."""

    job: Job
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    made_now: bool = False
    reason: str = ""


def main(words: Sequence[str]) -> int:
    """Tokenise, or decode, as `words` say; returns the exit code."""
    plan = requested(words)
    with ranks.started() as (rank, world):
        codec = load_codec(plan.codec, **plan.arguments)
        if not codec.codebooks:
            raise RequestError(f"codec={plan.codec} has no codes (codebooks = 0); take one that quantises")
        every, refused = found(plan)
        if rank == 0:
            _begin(plan, codec)
        mine = sorted(every, key=lambda job: (-job.size, job.source))[rank::world]  # long ones first: processes end together
        make: Callable[[], Callable[[Job], Done]] = partial(Worker, plan)
        if plan.processes <= 1:
            make = partial(Worker, plan, codec)
        results = []
        with progress.shown(rank == 0), progress.bar("decode" if plan.decode else "tokenise", sum(job.size for job in mine)) as advance:
            for result in jobs.done(make, mine, plan.processes):
                results.append(result)
                advance(result.job.size)
        results = [each for part in ranks.gathered(results) for each in part]
    return _end(plan, codec, results, refused) if rank == 0 else 0


def requested(words: Sequence[str]) -> Plan:
    """Read the command line; raises RequestError on what is missing, unknown or contradictory."""
    request = cli.parse(words)
    if request.configs:
        raise RequestError("--config is not read here: say in=DIR out=DIR codec=NAME codec.KEY=VALUE")
    own: dict[str, Any] = {}
    rest = []
    for word in request.overrides:
        key, value = config.parse(word)
        if key in OWN:
            own[key] = value
        else:
            rest.append(word)
    arguments, rest = arguments_of(rest, "codec")
    if rest:
        close = difflib.get_close_matches(rest[0].partition("=")[0], OWN, 1)
        raise RequestError(f"unknown key in {rest[0]!r}: {f'did you mean {close[0]}=?' if close else 'keys are ' + ', '.join(OWN)}")
    for key in ("in", "out"):
        if own.get(key) is None:
            raise RequestError(f"{key}= is missing: give in=DIR out=DIR and codec=NAME or ckpt=PATH")
    named = [own[key] for key in ("ckpt", "codec") if own.get(key)]
    if len(named) != 1:
        raise RequestError(f"{len(named)} codecs are named: give one, as ckpt=PATH or codec=NAME")
    decode = own.get("decode") or False
    if not isinstance(decode, bool):
        raise RequestError(f"decode={decode}: true or false")
    formats = ("wav", "flac") if decode else ("npz", "safetensors")
    chosen = str(own.get("format") or formats[0])
    if chosen not in formats:
        raise RequestError(f"format={chosen}: {' or '.join(formats)} {'with' if decode else 'without'} decode=true")
    processes = own["processes"] if own.get("processes") is not None else 1
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise RequestError(f"processes={processes}: a whole number, at least 1")
    source, out = Path(str(own["in"])), Path(str(own["out"]))
    if not source.is_dir():
        raise RequestError(f"in={source} is no folder; give the one that holds the {'codes' if decode else 'audio'}")
    if out.exists() and not out.is_dir():
        raise RequestError(f"out={out} is a file; give a folder")
    return Plan(source, out, str(named[0]), arguments, f".{chosen}", decode, processes)


def found(plan: Plan) -> tuple[list[Job], list[Done]]:
    """Files to work on, and those refused because another one has the same name; raises RequestError where there is none."""
    suffixes = frozenset(codesfile.SUFFIXES) if plan.decode else audio.SUFFIXES
    chosen: dict[str, Job] = {}
    refused = []
    for path in files(plan.source, suffixes):
        inner = path.relative_to(plan.source)
        job = Job(inner.as_posix(), inner.with_suffix(plan.suffix).as_posix(), path.stat().st_size)
        if chosen.setdefault(job.made, job) is not job:
            refused.append(Done(job, reason=f"{path}: {chosen[job.made].source} has the same name; keep one of them"))
    if not chosen:
        raise RequestError(f"in={plan.source} holds no file of {', '.join(sorted(suffixes))}; give the folder above them")
    return list(chosen.values()), refused


class Worker:
    """Does one job after the other, in a process of its own or not."""

    def __init__(self, plan: Plan, codec: Codec | None = None):
        self.plan = plan
        self.codec = load_codec(plan.codec, **plan.arguments) if codec is None else codec
        self.encoder = Encoder(self.codec)

    def __call__(self, job: Job) -> Done:
        """Do `job` unless it is done; a file that cannot be used gives its reason, a disk that refuses raises."""
        try:
            return self._decoded(job) if self.plan.decode else self._encoded(job)
        except (DataError, RequestError, RuntimeError) as error:
            path, text = str(self.plan.source / job.source), " ".join(str(error).split())[:400]
            return Done(job, reason=text if path in text else f"{path}: {text}")

    def _encoded(self, job: Job) -> Done:
        source, made = self.plan.source / job.source, self.plan.out / job.made
        sha256 = file_sha256(source)
        if (held := self._held(made, sha256, job.source)) is not None:
            return Done(job, held)
        codes, samples = self.encoder(source)
        codec = self.codec
        about = codesfile.About(
            codec.name, codec.revision, codec.sample_rate, codec.frame_rate, codec.codebook_size, samples, job.source, sha256
        )
        small = codes.astype(smallest_integer(codec.codebook_size))
        if not np.array_equal(small, codes):
            raise RequestError(f"codes {codes.min()} to {codes.max()} do not fit codebook_size = {codec.codebook_size}; mend the codec")
        codesfile.write(made, small, about)
        return Done(job, _facts(small, about), made_now=True)

    def _held(self, made: Path, sha256: str, source: str) -> dict[str, Any] | None:
        """Give the facts of codes that are there, whole, and of this audio by this codec."""
        if not made.is_file():
            return None
        try:
            codes, about = codesfile.read(made)
        except DataError:
            return None
        ours = (about.revision, about.audio_sha256, about.audio) == (self.codec.revision, sha256, source)
        return _facts(codes, about) if ours else None

    def _decoded(self, job: Job) -> Done:
        codes, about = codesfile.read(self.plan.source / job.source)
        if about.revision != self.codec.revision:
            raise DataError(f"codes of {about.codec} {about.revision[:12]}, not of {self.codec.name} {self.codec.revision[:12]}")
        made = self.plan.out / job.made
        mark = f"laminal codes {about.codes_sha256}"
        facts = {"seconds": about.seconds, "codes_sha256": about.codes_sha256}
        if audio.comment(made) == mark:
            return Done(job, facts)
        wav = decoded(self.codec, codes, about.samples)
        audio.write(made, wav, about.sample_rate, mark)
        return Done(job, facts, made_now=True)


def decoded(codec: Codec, codes: np.ndarray, samples: int) -> np.ndarray:
    """Audio of codes, cut or filled with zeros to `samples`: codecs give whole frames, or lose some samples."""
    import torch

    with torch.no_grad():
        wav = codec.decode(torch.from_numpy(codes.astype(np.int64))[None].to(getattr(codec, "device", "cpu")))
    found = wav[0].float().cpu().numpy()[:samples]
    if not np.isfinite(found).all():
        raise DataError("the decoded audio is not finite; the codec is damaged")
    return np.pad(found, (0, samples - len(found)))


def _facts(codes: np.ndarray, about: codesfile.About) -> dict[str, Any]:
    return {
        "seconds": about.seconds, "frames": codes.shape[1], "audio_sha256": about.audio_sha256, "codes_sha256": codesfile.digest(codes),
    }  # fmt: skip


def _begin(plan: Plan, codec: Codec) -> None:
    """Write the head of the manifest; raises RequestError where `out` is another codec's, or `in` when decoding."""
    for folder, word in ((plan.out, "out"), *([(plan.source, "in")] if plan.decode else [])):
        path = folder / MANIFEST
        if not path.is_file():
            continue
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            before, kind = str(known["revision"]), str(known["format"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise RequestError(f"{path} is no manifest of laminal.tokenise; give another {word}=") from error
        if before != codec.revision:
            said = f"{word}={folder} belongs to {known.get('codec')} {before[:12]}, the codec given is {codec.name} {codec.revision[:12]}"
            raise RequestError(f"{said}; give {'another out=' if word == 'out' else 'the codec that made it'}")
        if word == "out" and kind != plan.suffix[1:]:
            raise RequestError(f"out={folder} holds format={kind}; say so, or give another out=")
    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(plan.out / MANIFEST, _head(plan, codec) | {"complete": False})


def _head(plan: Plan, codec: Codec) -> dict[str, Any]:
    bits = codec.frame_rate * codec.codebooks * float(np.log2(codec.codebook_size))
    return {
        "codec": codec.name, "revision": codec.revision, "sample_rate": codec.sample_rate, "frame_rate": codec.frame_rate,
        "codebooks": codec.codebooks, "codebook_size": codec.codebook_size, "bits_per_second": bits,
        "dtype": smallest_integer(codec.codebook_size).name, "format": plan.suffix[1:], "decoded": plan.decode,
        "given": {"codec": plan.codec, "arguments": dict(plan.arguments), "in": str(plan.source)},
    }  # fmt: skip


def _end(plan: Plan, codec: Codec, results: Sequence[Done], refused: Sequence[Done]) -> int:
    """Write the manifest and say what was done; raises DataError where more than 5 % of the files are bad."""
    good = sorted((each for each in results if not each.reason), key=lambda each: each.job.source)
    failed = sorted((each.job.source, each.reason) for each in (*results, *refused) if each.reason)
    names = ("codes", "audio") if plan.decode else ("audio", "codes")
    write_text(plan.out / LINES, "".join(_lines(good, names)))
    seconds, now = sum(each.facts["seconds"] for each in good), sum(each.made_now for each in good)
    total = len(good) + len(failed)
    whole_above = None if plan.decode or Encoder(codec).context is None else PIECE
    facts = {
        "files": LINES, "good": len(good), "seconds": seconds, "made_by_the_last_run": now, "failed": failed, "complete": True,
        "longest_seconds": max((each.facts["seconds"] for each in good), default=0.0), "in_pieces_above_seconds": whole_above,
    }  # fmt: skip
    write_json(plan.out / MANIFEST, _head(plan, codec) | facts | {"environment": runfolder.environment(OmegaConf.create({}))})
    head = "; ".join(reason for _, reason in failed[:HEAD]) + (f"; and {len(failed) - HEAD} more" if len(failed) > HEAD else "")
    if len(failed) > MOST_BAD * total:
        raise DataError(f"{len(failed)} of {total} files are bad, at most {MOST_BAD:.0%} may be: mend or remove them: {head}")
    print(f"{len(good)} files, {seconds / 3600:.3g} h, {now} made now, {len(failed)} failed{': ' + head if failed else ''}")
    print(plan.out / MANIFEST)
    return 0


def _lines(good: Sequence[Done], names: tuple[str, str]) -> Iterator[str]:
    for each in good:
        yield json.dumps({names[0]: each.job.source, names[1]: each.job.made} | dict(each.facts), ensure_ascii=False) + "\n"


if __name__ == "__main__":
    cli.run(main, USAGE)
