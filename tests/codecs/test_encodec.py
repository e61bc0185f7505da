"""EncodecCodec: the library's own codes, audio and decoder input; the live tokenizer as its export."""

import json
import shutil
from pathlib import Path

import codec_contract as contract
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, EncodecModel

from laminal.codecs.base import Codec
from laminal.codecs.encodec import EncodecCodec
from laminal.errors import RequestError
from laminal.nn.export import export
from laminal.nn.tokenizer import Tokenizer


def noise(seed: int, batch: int = 3, samples: int = 6000) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder in the format of facebook/encodec_24khz (weight_g and weight_v), small and random: 75 Hz, 8 codebooks of 64."""
    folder = tmp_path_factory.mktemp("published")
    config = EncodecConfig(target_bandwidths=[0.45, 0.9, 1.8, 3.6], codebook_size=64, num_filters=4, hidden_size=16)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = EncodecModel(config).eval()
        with torch.no_grad():
            spread = model.encoder(noise(0)[:, None]).std((0, 2), keepdim=True)[0, :, 0]
            offset = model.encoder(noise(0)[:, None]).mean((0, 2))
            for number, layer in enumerate(model.quantizer.layers):
                layer.codebook.embed.copy_(torch.randn(64, 16) * spread * 0.8**number + (offset if number == 0 else 0))
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    renamed = {name.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): value
               for name, value in weights.items()}  # fmt: skip
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(sample_rate=16000, ratios=[8, 5, 4, 2], filters=4, dim=16, codebooks=8, codebook_size=64, lstm_layers=1,
                     residual_layers=1, causal=True, norm="weight_norm", dropout=0.0, seed=5, quantizer={"kmeans_frames": 128})  # fmt: skip
    made.initialise((noise(i), torch.ones(3, 6000, dtype=torch.bool)) for i in range(100))
    return made.train()


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tokenizer"
    export(tokenizer, folder)
    return folder


@pytest.fixture(params=["published", "exported"])
def folder(request) -> Path:
    return request.getfixturevalue(request.param)


@torch.no_grad()
def test_codes_audio_and_decoder_input_are_the_librarys(folder):
    codec, model = EncodecCodec(str(folder)), EncodecModel.from_pretrained(folder).eval()
    assert isinstance(codec, Codec) and codec.codebooks == 8 and codec.codebook_size == 64
    assert (codec.sample_rate, codec.frame_rate) in ((24000, 75.0), (16000, 50.0))
    wav = noise(1)
    given = []
    model.decoder.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    layers, codes = codec.layers(wav), codec.encode(wav)
    assert len(codes.unique()) > 20
    for bandwidth in model.config.target_bandwidths:
        coded = model.encode(wav[:, None], bandwidth=bandwidth)
        count = coded.audio_codes.shape[2]
        audio = model.decode(coded.audio_codes, coded.audio_scales).audio_values[:, 0]
        assert torch.equal(coded.audio_codes[0], codes[:, :count]) and torch.equal(audio, codec.decode(codes[:, :count]))
        assert torch.equal(layers[str(count)], given[-1].transpose(1, 2))  # difference 0
    assert torch.equal(layers["latent"], model.encoder(wav[:, None]).transpose(1, 2))
    assert count == codec.codebooks and list(layers) == ["latent", *(str(k) for k in range(1, 9))]


@torch.no_grad()
def test_each_layer_adds_its_codebook_alone(folder):
    codec, model = EncodecCodec(str(folder)), EncodecModel.from_pretrained(folder).eval()
    codes = codec.encode(noise(1))
    layers, before = codec.layers(codes), torch.zeros(())
    assert list(layers) == [str(k) for k in range(1, 9)]
    for number in range(1, 9):
        alone = model.quantizer.layers[number - 1].decode(codes[:, number - 1]).transpose(1, 2)
        assert torch.allclose(layers[str(number)] - before, alone, atol=1e-6)
        before = layers[str(number)]
    few = codec.layers(codes[:, :3])
    assert list(few) == ["1", "2", "3"] and torch.equal(few["3"], layers["3"])


def test_the_live_tokenizer_is_its_export(tokenizer, exported):
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()
    live, stored = EncodecCodec.from_module(tokenizer), EncodecCodec(str(exported))
    wav = noise(2)
    for name, features in live.layers(wav).items():
        assert torch.equal(features, stored.layers(wav)[name]), name
    codes = live.encode(wav)
    assert torch.equal(codes, stored.encode(wav)) and torch.equal(live.decode(codes), stored.decode(codes))
    assert live.revision == stored.revision
    assert tokenizer.training and all(module.training for module in tokenizer.modules())
    assert all(p.requires_grad for p in tokenizer.parameters()) and not live.layers(wav)["latent"].requires_grad
    assert all(torch.equal(before[name], value) for name, value in tokenizer.state_dict().items())
    assert torch.equal(generators[0], torch.get_rng_state()) and np.array_equal(generators[1], np.random.get_state()[1])


def test_the_revision_follows_what_features_depend_on(tokenizer):
    first = EncodecCodec.from_module(tokenizer).revision
    for buffer, changes in (("cluster_size", False), ("embed", True)):
        value = getattr(tokenizer.quantizer, buffer)
        value[0, 0] += 1
        assert (EncodecCodec.from_module(tokenizer).revision != first) is changes
        value[0, 0] -= 1
    with torch.no_grad():
        next(tokenizer.decoder.parameters()).add_(1e-6)
    assert EncodecCodec.from_module(tokenizer).revision != first


def test_a_batch_is_its_samples_one_by_one(folder):
    codec, wav = EncodecCodec(str(folder)), noise(3, batch=4, samples=5003)
    layers, codes = codec.layers(wav), codec.encode(wav)
    for sample in range(4):
        assert torch.equal(codec.encode(wav[sample : sample + 1])[0], codes[sample])
        for name, features in codec.layers(wav[sample : sample + 1]).items():
            assert torch.allclose(features[0], layers[name][sample], atol=1e-5), name


@pytest.mark.parametrize("samples,frames", [(1, 1), (100, 1), (319, 1), (320, 1), (321, 2), (6400, 20), (6401, 21)])
def test_any_length_gives_whole_frames(folder, samples, frames):
    codec = EncodecCodec(str(folder))
    codes = codec.encode(noise(4, 2, samples))
    assert codes.shape == (2, 8, frames) and codes.dtype == torch.int64
    assert codec.decode(codes).shape == (2, 320 * frames) and torch.isfinite(codec.decode(codes)).all()


def test_a_frame_ends_with_its_hop(folder):
    """So frame k of a causal model stands for the samples around (k + 0.5) / rate, and for none after (k + 1) / rate."""
    codec, wav = EncodecCodec(str(folder)), noise(5, 1, 320 * 30)
    before = codec.layers(wav)["latent"][0]
    for sample, first in ((20 * 320 - 1, 19), (20 * 320, 20)):
        moved = wav.clone()
        moved[0, sample] += 1.0
        assert (codec.layers(moved)["latent"][0] - before).abs().amax(1).nonzero()[0].item() == first


def test_it_keeps_the_contract(folder):
    codec = EncodecCodec(folder, device="cpu")
    contract.a_frame_for_every_hop_begun(codec)
    contract.layers_come_from_codes(codec)
    contract.a_causal_codec_hears_no_future(codec, first=12)  # its padding reflects the beginning: the first frames hear what follows
    contract.the_delay_is_told(codec, frames=8)  # an LSTM remembers
    assert codec.device == torch.device("cpu") == codec.encode(noise(0)).device


def test_a_random_copy(folder):
    published, first, again = EncodecCodec(folder), EncodecCodec(folder, random_weights=1), EncodecCodec(folder, random_weights=1)
    contract.layers_come_from_codes(first)
    assert first.revision == again.revision != published.revision
    assert torch.equal(first.encode(noise(1)), again.encode(noise(1)))


def changed(source: Path, target: Path, **settings) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text()) | settings
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_what_cannot_be_used_is_refused_in_one_line(exported, tmp_path):
    truncated = changed(exported, tmp_path / "truncated")
    weights = (truncated / "model.safetensors").read_bytes()
    (truncated / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    lacking = changed(exported, tmp_path / "lacking")
    kept = {name: value for name, value in load_file(lacking / "model.safetensors").items() if "decoder.layers.0" not in name}
    save_file(kept, lacking / "model.safetensors", metadata={"format": "pt"})
    cases = {
        "no folder": str(tmp_path / "absent"),
        "no readable EncodecModel": str(truncated),
        "do not fit": str(lacking),
        "is no readable|do not fit": str(changed(exported, tmp_path / "other", num_filters=8)),
        "not 'encodec'": str(changed(exported, tmp_path / "dac", model_type="dac")),
        "normalize=True": str(changed(exported, tmp_path / "normal", normalize=True)),
    }
    for reason, folder in cases.items():
        with pytest.raises(RequestError, match=reason) as error:
            EncodecCodec(folder)
        assert "\n" not in str(error.value)
    codec = EncodecCodec(str(exported))
    with pytest.raises(RequestError, match="0 samples"):
        codec.encode(torch.zeros(1, 0))
    with pytest.raises(RequestError, match="9 codebooks"):
        codec.decode(torch.zeros(1, 9, 4, dtype=torch.int64))


@pytest.mark.data
def test_words_of_real_speech(exported, librispeech_mini):
    from laminal import audio

    path = sorted(librispeech_mini.rglob("*.flac"))[0]
    codec, model = EncodecCodec(str(exported)), EncodecModel.from_pretrained(exported).eval()
    for start, length in ((0.5, 0.31), (1.0, 0.123), (1.7, 1.5)):
        wav = torch.from_numpy(audio.read(path, 16000, start, length))[None]
        with torch.no_grad():
            codes = model.encode(wav[:, None], bandwidth=model.config.target_bandwidths[-1]).audio_codes[0]
        assert torch.equal(codec.encode(wav), codes)
