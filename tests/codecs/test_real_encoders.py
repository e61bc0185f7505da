"""The real Whisper base encoder on real speech: the contract and the library's numbers."""

import codec_contract as contract
import numpy as np
import pytest
import torch

from laminal import audio, compat
from laminal.codecs.load import load_codec
from laminal.corpora.base import Corpus
from laminal.corpora.librispeech import librispeech

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def codec(whisper_base_encoder):
    return load_codec("whisper_encoder", path=str(whisper_base_encoder), device="cpu")


def test_the_contract(codec):
    assert (codec.sample_rate, codec.frame_rate, codec.codebooks) == (16000, 50.0, 0)
    contract.it_is_a_codec(codec)
    contract.a_frame_for_every_hop_begun(codec)
    contract.a_batch_is_its_rows(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)
    contract.the_delay_is_told(codec, frames=0.5)


def test_words_of_real_speech(codec, librispeech_mini):
    contract.probes_can_read_words(codec, Corpus("one", librispeech(librispeech_mini).utterances[:1]))


@torch.no_grad()
def test_a_whole_window_is_the_librarys(whisper_base_encoder, librispeech_mini):
    compat.torchaudio()
    from transformers import WhisperFeatureExtractor, WhisperModel

    model = WhisperModel.from_pretrained(whisper_base_encoder, dtype=torch.float32).eval()
    wav = audio.read(sorted(librispeech_mini.rglob("*.flac"))[0], 16000, 0.0, 3.0)
    mel = WhisperFeatureExtractor.from_pretrained(whisper_base_encoder)(wav[160:], sampling_rate=16000, return_tensors="pt").input_features
    library = model.encoder(mel, output_hidden_states=True)
    codec = load_codec("whisper_encoder", path=str(whisper_base_encoder), window="whole", device="cpu")
    layers = codec.layers(torch.from_numpy(np.array(wav))[None])
    assert list(layers) == ["latent", *"123456"] and layers["6"].shape == (1, 150, 512)
    for ours, theirs in zip(layers.values(), [*library.hidden_states[:-1], library.last_hidden_state], strict=True):
        difference = (ours[:, :148] - theirs[:, :148]).abs()  # the extractor's last samples are another padding
        assert float(difference.max()) < 0.01 * float(theirs.abs().max())
