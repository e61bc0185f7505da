"""Test set-up: shapes and types of every laminal function are checked, one thread, real data where it is."""

import os
import random
from pathlib import Path

# beartype draws which item of a list it looks at: from a generator of its own here, or checkpoints of two runs would differ in Python's
_global, random.getrandbits = random.getrandbits, random.Random(0).getrandbits
from beartype import beartype  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402


@beartype
def _takes_its_generator_now(items: list[int]) -> None: ...


_takes_its_generator_now([0])
random.getrandbits = _global

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("LAMINAL_CODES", "off")  # no test leaves codes in the home folder
install_import_hook("laminal", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # two busy processes make OpenMP 5-8 times slower
ROOT = Path(__file__).resolve().parents[1]


def _folder(variable: str, default: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT / ".." / "shared" / default)) / name
    if not folder.exists():
        pytest.skip(f"no {folder}: set {variable} to run this on real material")
    return folder.resolve()


@pytest.fixture(scope="session")
def librispeech_mini() -> Path:
    """Folder of 178 aligned LibriSpeech utterances."""
    return _folder("LAMINAL_DATA", "data", "librispeech-mini")


@pytest.fixture(scope="session")
def librispeech_untranscribed() -> Path:
    """Folder of LibriSpeech audio without transcripts."""
    return _folder("LAMINAL_DATA", "data", "librispeech-untranscribed")


@pytest.fixture(scope="session")
def vctk_mini() -> Path:
    """Folder of 40 aligned VCTK utterances."""
    return _folder("LAMINAL_DATA", "data", "vctk-mini")


@pytest.fixture(scope="session")
def whisper_base_encoder() -> Path:
    """Folder of the real Whisper base encoder."""
    return _folder("LAMINAL_WEIGHTS", "weights", "whisper_base_encoder")


@pytest.fixture(scope="session")
def lyra_v2() -> Path:
    """Folder of the real Lyra V2."""
    return _folder("LAMINAL_WEIGHTS", "weights", "lyra_v2")


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory) -> Path:
    """Folder of chirps in words, by six speakers."""
    from oracle_training import chirps

    return chirps(tmp_path_factory.mktemp("tiny"))
