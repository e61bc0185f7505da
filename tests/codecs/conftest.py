"""Small models of the published codecs, saved once, and their adapters."""

import pytest
import small_models
import torch

from laminal.codecs.dac import DacCodec
from laminal.codecs.log_mel import LogMel
from laminal.codecs.mimi import MimiCodec
from laminal.codecs.ssl import SslCodec
from laminal.codecs.transformers_codec import TransformersCodec
from laminal.codecs.whisper_encoder import WhisperEncoderCodec

KINDS = {
    "dac": DacCodec, "mimi": MimiCodec, "xcodec": TransformersCodec, "higgs": TransformersCodec,
    "hubert": SslCodec, "wavlm": SslCodec, "wav2vec2": SslCodec, "whisper": WhisperEncoderCodec,
}  # fmt: skip


def made(name, folder, **arguments):
    more = {"window": "crop"} if name == "whisper" else {}
    return KINDS[name](folder, device="cpu", **more | arguments)


@pytest.fixture(scope="session")
def adapter():
    """Make the adapter of a name from a folder."""
    return made


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Folder of each small model."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return {name: getattr(small_models, name)(tmp_path_factory.mktemp(name) / f"small-{name}") for name in KINDS}


@pytest.fixture(scope="session")
def codecs(folders):
    return {name: made(name, folder) for name, folder in folders.items()} | {"log_mel": LogMel(16000, 160, 400, 40)}


@pytest.fixture
def codec(request, codecs):
    return codecs[request.param]
