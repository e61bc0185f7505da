"""What a frozen teacher hears of whole recordings, made once and kept on disk: training steps then need no teacher beside them."""

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from laminal.cache import CodesCache, file_sha256
from laminal.corpora.base import Corpus, Utterance
from laminal.errors import DataError, RequestError
from laminal.progress import track
from laminal.teachers.base import FrameTeacher, SpeakerTeacher, networks, tensors

HEARD = "1"  # changes when recordings are heard otherwise
PIECE = 29.0  # s that a frame teacher hears at once: Whisper takes 30
VOICE = 60.0  # s of a recording that a speaker teacher hears


class Recorded:
    """Features of whole recordings by one teacher, in files of `cache`, named by the teacher's weights and settings and by the audio.

    A frame teacher's are float16 and are cut where a crop lies; they know of what lies before and behind it, which a teacher that hears the
    crop alone does not. Recordings above 29 s are heard in equal parts, a file each. A speaker teacher's vector is of the first minute and
    belongs to every crop. What is missing or broken is made when it is asked for, but not in another process, which gets no teacher.
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
        self.sample_rate = int(teacher.sample_rate)
        self.digest = weights_sha256(teacher)

    def fill(self, device: torch.device | str = "cpu", first: int = 0) -> int:
        """Make what is missing, on `device`, from utterance `first` on and round; returns how many recordings were heard.

        Several processes do it at once by different `first`. Recordings that cannot be read are passed over: no crop is taken of them.
        Raises RequestError where the folder cannot be written.
        """
        self.teacher.to(device)
        order = [*range(first, len(self.corpus)), *range(first)]
        made = 0
        for number in track(order, f"recordings for {type(self.teacher).__name__}", len(order)):
            utterance = self.corpus[number]
            try:
                missing = [part for part in range(self._parts(utterance)) if not self.cache.holds(self._key(utterance, part))]
                for part in missing:
                    self._made(utterance, part)
                    if not self.cache.holds(self._key(utterance, part)):
                        raise RequestError(f"data.precomputed: {self.cache.folder} cannot be written; give another folder, or null")
            except DataError:
                continue
            made += bool(missing)
        self.teacher.to("cpu")
        return made

    def crop(self, utterance: Utterance, start: float, seconds: float) -> Float32[np.ndarray, "*_ d"]:
        """Give the frames of `seconds` s from `start` on (on a frame's edge), the last one again behind the end; or the vector.

        Raises DataError where the audio is unreadable, and in another process than the training's where the features are.
        """
        if self.frame_rate is None:
            return self._held(utterance, 0).astype(np.float32)
        first, count, size = round(start * self.frame_rate), int(seconds * self.frame_rate + 1e-6), self._size(utterance)
        last = self._parts(utterance) - 1
        parts = range(min(first // size, last), min((first + count - 1) // size, last) + 1)
        found = np.concatenate([self._held(utterance, part) for part in parts])
        offset = first - parts[0] * size
        return found[np.arange(offset, offset + count).clip(max=len(found) - 1)].astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the teacher behind: a process that loads batches reads what is there."""
        return self.__dict__ | {"teacher": None}

    def _held(self, utterance: Utterance, part: int) -> np.ndarray:
        held = self.cache.fetch(self._key(utterance, part), ("heard",))
        return self._made(utterance, part) if held is None else held["heard"]

    def _frames(self, utterance: Utterance) -> int:
        return max(1, math.ceil(utterance.seconds * (self.frame_rate or 0) - 1e-6))

    def _parts(self, utterance: Utterance) -> int:
        return 1 if self.frame_rate is None else math.ceil(self._frames(utterance) / (PIECE * self.frame_rate))

    def _size(self, utterance: Utterance) -> int:
        """Frames of each part but the last, which takes what is left."""
        return math.ceil(self._frames(utterance) / self._parts(utterance))

    def _key(self, utterance: Utterance, part: int) -> str:
        heard = f"teacher {HEARD} {PIECE} {VOICE}\t{self.digest}\t{_file_sha256(utterance.path)}\t{part}"
        return hashlib.sha256(heard.encode()).hexdigest()

    @torch.no_grad()
    def _made(self, utterance: Utterance, part: int) -> np.ndarray:
        device = next(iter(tensors(self.teacher)), torch.zeros(0)).device if self.teacher is not None else None
        if device is None or (device.type != "cpu" and torch.utils.data.get_worker_info() is not None):
            raise DataError(f"{utterance.path}: what a teacher heard of it is missing or broken; start again, it is made then")
        if self.frame_rate is None:
            wav = self.corpus.crop(utterance, 0.0, VOICE, self.sample_rate)[None].to(device)
            heard = self.teacher.embed(wav)[0].float().cpu().numpy()
        else:
            size, hop = self._size(utterance) / self.frame_rate, round(self.sample_rate / self.frame_rate)
            length = size if part < self._parts(utterance) - 1 else PIECE
            wav = self.corpus.crop(utterance, part * size, length, self.sample_rate)[None].to(device)
            heard = self.teacher.frames(nn.functional.pad(wav, (0, -wav.shape[1] % hop)))[0].half().cpu().numpy()
        if not np.isfinite(heard).all():
            kind = type(self.teacher).__name__
            raise RequestError(f"{kind} gives {utterance.id} features that are not finite in 16 bit; say data.precomputed=null")
        self.cache.store(self._key(utterance, part), heard=heard)
        return heard


def weights_sha256(teacher: nn.Module) -> str:
    """Hash what a teacher's features depend on: its class, settings, the configuration of its networks, its weights.

    Raises RequestError where it has no weights.
    """
    plain = {name: value for name, value in vars(teacher).items() if name[0] != "_" and name != "training"}
    settings = [sorted((name, repr(value)) for name, value in plain.items() if isinstance(value, str | int | float | dict | list))]
    for network in networks(teacher):
        configured = getattr(network, "config", None)
        settings.append([] if configured is None else [("config", str(configured))])
        settings.append([(name, str(module)) for name, module in network.named_children()])
    digest = hashlib.sha256(f"{type(teacher).__module__}.{type(teacher).__qualname__} {settings!r}".encode())
    count = 0
    for tensor in tensors(teacher):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        count += 1
    if not count:
        raise RequestError(f"data.precomputed: {type(teacher).__name__} has no weights to tell it by; say data.precomputed=null")
    return digest.hexdigest()


@cache
def _file_sha256(path: Path) -> str:
    return file_sha256(path)  # of every teacher: audio is hashed once
