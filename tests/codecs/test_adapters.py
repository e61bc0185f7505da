"""Adapters of published codecs keep the contract, on small models that the original classes saved."""

import codec_contract as contract
import pytest
import small_models
import torch
from small_models import noise

from laminal.codecs.dac import DacCodec
from laminal.errors import RequestError
from oracle_codec import voices

SUMMED = ("dac", "mimi", "xcodec", "higgs")
ENCODERS = ("hubert", "wavlm", "wav2vec2", "whisper")
ALL = (*SUMMED, *ENCODERS, "log_mel")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return voices(tmp_path_factory.mktemp("voices"), speakers=2, each=1, seconds=1.8)


every = pytest.mark.parametrize("codec", ALL, indirect=True)
with_codes = pytest.mark.parametrize("codec", SUMMED, indirect=True)


@every
def test_the_contract(codec):
    contract.it_is_a_codec(codec)
    contract.a_frame_for_every_hop_begun(codec)
    contract.a_batch_is_its_rows(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)


@with_codes
def test_layers_come_from_codes(codec):
    contract.layers_come_from_codes(codec)


@pytest.mark.parametrize("codec", ["mimi"], indirect=True)
def test_the_clock_of_causal_codecs(codec):
    contract.a_causal_codec_hears_no_future(codec)


@every
def test_the_delay(codec):
    contract.the_delay_is_told(codec, frames=3)
    if codec.name in ("log_mel", "small-hubert", "small-wavlm", "small-wav2vec2", "small-whisper"):  # frames stand where they say
        assert abs(codec.delay) < 0.5 / codec.frame_rate


@every
def test_words_at_another_rate(codec, corpus):
    contract.probes_can_read_words(codec, corpus)


@pytest.mark.parametrize("codec", [*ENCODERS, "log_mel"], indirect=True)
def test_encoders_have_no_codes(codec):
    codes = torch.zeros(1, 1, 4, dtype=torch.int64)
    for call, argument in ((codec.encode, noise(0, 1, 400)), (codec.decode, codes), (codec.layers, codes)):
        with pytest.raises(RequestError, match="no codebooks"):
            call(argument)


@pytest.mark.parametrize("rate,ratios", [(16000, (2, 4, 5, 8)), (44100, (2, 4, 8, 8))])
def test_dac_of_other_rates(rate, ratios, tmp_path):
    codec = DacCodec(small_models.dac(tmp_path / "dac", ratios, rate), device="cpu")
    assert codec.frame_rate == rate / torch.tensor(ratios).prod().item()
    contract.a_frame_for_every_hop_begun(codec)
