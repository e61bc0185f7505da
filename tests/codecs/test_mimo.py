"""MimoCodec: codes, layers and audio of the slow re-statement, on small folders in the published format; strict loading."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from laminal import audio
from laminal.cache import CodesCache
from laminal.codecs import mimo
from laminal.codecs.base import Codec
from laminal.codecs.load import load_codec
from laminal.codecs.mimo import MimoCodec
from laminal.errors import RequestError
from laminal.features import word_features
from laminal.words import Token
from oracle_codec import voices
from oracle_mimo import SMALL, Oracle, write

HOP = 96  # samples of the small one


def noise(seed: int, batch: int = 1, samples: int = 20 * HOP) -> torch.Tensor:
    """Noise of a new loudness every frame, over 100 dB: an untrained encoder tells frames apart by little else."""
    generator = torch.Generator().manual_seed(seed)
    gains = 10 ** (-5 * torch.rand(batch, samples // HOP + 1, generator=generator))
    return gains.repeat_interleave(HOP, 1)[:, :samples] * torch.randn(batch, samples, generator=generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("mimo") / "published")


@pytest.fixture(scope="module")
def codec(folder):
    return MimoCodec(str(folder))


VARIANTS = {
    "published": ({}, 12 * HOP),  # 49 mel frames, 25 halved, one zero frame
    "odd": ({}, 11 * HOP + 29),
    "windows": ({"encoder_attn_window_size": [3, 2], "decoder_attn_window_size": [2, 5], "vocoder_attn_window_size": [2, 3]}, 12 * HOP),
    "causal": ({"encoder_causal": True, "encoder_skip_layer_id": None, "decoder_causal": False}, 12 * HOP),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_latent_codes_layers_and_audio_are_the_oracles(variant, tmp_path):
    changes, samples = VARIANTS[variant]
    folder = write(tmp_path / "model", seed=5, **changes)
    codec, oracle, wav = MimoCodec(str(folder)), Oracle(folder, seed=5), noise(1, 1, samples)
    latent = oracle.latent(wav[0].numpy())
    codes, margin = oracle.codes(latent)
    assert margin > 1e-3 and np.unique(codes, axis=1).shape[1] > 5  # the comparison is no matter of rounding, nor of one frame
    layers = codec.layers(wav)
    assert np.abs(layers["latent"][0].numpy() - latent).max() < 1e-4 * np.abs(latent).max()
    assert np.array_equal(codec.encode(wav)[0].numpy(), codes)
    for k in range(1, 5):
        assert np.allclose(layers[str(k)][0].numpy(), oracle.summed(codes[:k]), atol=1e-6)
    for k in (2, 4):
        audio = oracle.audio(oracle.summed(codes[:k]))
        found = codec.decode(torch.from_numpy(codes[None, :k]))[0].numpy()
        assert len(audio) == HOP * codes.shape[1] and np.abs(audio).max() > 0.01
        assert np.abs(found - audio).max() < 1e-4 * np.abs(audio).max()


def test_what_it_says_of_itself(codec, folder):
    assert isinstance(codec, Codec) and codec.name == "mimo"
    assert (codec.sample_rate, codec.frame_rate, codec.codebooks) == (24000, 250.0, 4)
    assert codec.codebook_size == 32 and codec.codebook_sizes == (32, 16, 8, 8)
    same = load_codec("mimo", path=str(folder))
    assert isinstance(same, MimoCodec) and same.revision == codec.revision


@torch.no_grad()
def test_the_last_layer_is_the_decoders_input_and_each_adds_its_codebook_alone(codec, folder):
    given, wav = [], noise(2)
    hook = codec.model.decoder.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    layers, codes = codec.layers(wav), codec.encode(wav)
    for k in (1, 4):
        codec.decode(codes[:, :k])
        assert torch.equal(given[-1], layers[str(k)][0])  # difference 0
    hook.remove()
    assert list(layers) == ["latent", "1", "2", "3", "4"] and layers["latent"].shape == layers["4"].shape == (1, 21, 16)
    tables = load_file(folder / "model.safetensors")
    before = torch.zeros(())
    for k in range(1, 5):
        alone = tables[f"encoder.quantizer.vq.layers.{k - 1}._codebook.embed"][codes[0, k - 1]]
        assert torch.allclose(layers[str(k)][0] - before, alone, atol=1e-6)
        before = layers[str(k)][0]
    few = codec.layers(codes[:, :3])
    assert list(few) == ["1", "2", "3"] and torch.equal(few["3"], layers["3"])


def test_a_batch_is_its_samples_one_by_one(codec):
    wav = noise(3, batch=3, samples=10 * HOP + 17)
    layers, codes = codec.layers(wav), codec.encode(wav)
    audio = codec.decode(codes)
    for row in range(3):
        one = wav[row : row + 1]
        assert torch.equal(codec.encode(one)[0], codes[row]) and torch.equal(codec.decode(codes[row : row + 1])[0], audio[row])
        assert all(torch.equal(value[0], layers[name][row]) for name, value in codec.layers(one).items())
    both = codec.codes_and_latent(wav)
    assert torch.equal(both[0], codes) and torch.equal(both[1], layers["latent"])
    assert not layers["latent"].requires_grad and codes.dtype == torch.int64


@pytest.mark.parametrize("samples,frames", [(1, 1), (20, 1), (48, 1), (49, 1), (95, 1), (96, 2), (97, 2), (191, 2), (192, 3), (1931, 21)])
def test_any_length_gives_one_frame_more_than_whole_hops(codec, samples, frames):
    codes = codec.encode(noise(4, 2, samples))
    assert codes.shape == (2, 4, frames)
    assert codec.decode(codes).shape == (2, HOP * frames) and torch.isfinite(codec.decode(codes)).all()


def test_every_frame_hears_the_whole_utterance(codec):
    """So frames of a cut differ from those of the utterance, and nothing can be said of causality."""
    wav = noise(5)
    moved = wav.clone()
    moved[0, -1] += 1.0
    change = (codec.layers(moved)["latent"] - codec.layers(wav)["latent"])[0].abs().amax(1)
    assert (change > 1e-6).all()


def test_the_clock_of_the_convolutions(folder, tmp_path):
    """With attention and feed-forward silent, frame k hears samples (k - 1) hop to (k + 1.5) hop: centred `delay` before (k + 0.5) hop."""
    silent = tmp_path / "silent"
    shutil.copytree(folder, silent)
    weights = load_file(silent / "model.safetensors")
    for name in weights:
        if name.startswith("encoder.layers") and ("out_proj" in name or "fc2" in name):
            weights[name].zero_()
    save_file(weights, silent / "model.safetensors")
    codec, wav = MimoCodec(str(silent)), noise(6)
    before, heard = codec.layers(wav)["latent"][0], np.zeros((21, 20 * HOP), bool)
    for sample in range(5 * HOP, 15 * HOP, 4):
        moved = wav.clone()
        moved[0, sample : sample + 4] += 1.0
        heard[:, sample : sample + 4] = ((codec.layers(moved)["latent"][0] - before).abs().amax(1) > 1e-5).numpy()[:, None]
    for frame in range(7, 12):
        samples = np.flatnonzero(heard[frame])
        first, last = samples[0], samples[-1] + 1
        assert abs(first - (frame - 1) * HOP) <= 4 and abs(last - (frame + 1.5) * HOP) <= 4
        assert (first + last) / 2 - (frame + 0.5) * HOP == pytest.approx(-codec.delay * 24000, abs=4)
    assert codec.delay == pytest.approx(0.25 * HOP / 24000) and not codec.causal


def test_a_causal_encoder_hears_nothing_late(tmp_path):
    codec, wav = MimoCodec(str(write(tmp_path / "causal", encoder_causal=True))), noise(7)
    before = codec.layers(wav)["latent"][0]
    for sample in (8 * HOP, 11 * HOP + 40):
        moved = wav.clone()
        moved[0, sample] += 1.0
        first = (codec.layers(moved)["latent"][0] - before).abs().amax(1).nonzero()[0].item()
        assert sample / HOP - 1.5 <= first <= sample / HOP - 0.5


def test_long_audio_is_cut_as_the_authors_cut_it(codec, monkeypatch):
    wav = noise(8, samples=11 * HOP)  # 45 mel frames: 16, 16, 13
    whole = codec.encode(wav)
    monkeypatch.setattr(mimo, "SEGMENT", 4)
    codes, mel = codec.encode(wav), codec.mel(wav[0])
    assert codes.shape == whole.shape == (1, 4, 12) and not torch.equal(codes, whole)
    for start in (0, 4, 8):
        alone = codec.model.encoder.quantizer.encode(codec.model.encoder(mel[:, 4 * start : 4 * start + 16]))
        assert torch.equal(codes[0, :, start : start + 4], alone)
    audio = codec.decode(codes)
    assert torch.equal(audio[:, : 4 * HOP], codec.decode(codes[:, :, :4])) and audio.shape == (1, 12 * HOP)


def test_the_revision_follows_what_features_depend_on(codec, folder, tmp_path):
    def changed(name: str, **settings) -> str:
        target = tmp_path / f"{name}-{len(settings)}"
        shutil.copytree(folder, target)
        (target / "config.json").write_text(json.dumps(SMALL | settings))
        weights = load_file(target / "model.safetensors")
        if name:
            weights[name].view(-1)[0] += 1
        save_file(weights, target / "model.safetensors")
        return MimoCodec(str(target)).revision

    assert changed("") == codec.revision
    assert changed("encoder.quantizer.vq.layers.1._codebook.cluster_size") == codec.revision
    found = {
        changed("encoder.quantizer.vq.layers.1._codebook.embed"),
        changed("decoder.vocoder.head.out.bias"),
        changed("", rope_theta=101),
    }
    assert len(found | {codec.revision}) == 4


def test_shards_are_one_model(codec, folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path / "config.json")
    for number in range(2):
        part = {name: value for index, (name, value) in enumerate(sorted(weights.items())) if index % 2 == number}
        save_file(part, tmp_path / f"model-{number}.safetensors")
    assert MimoCodec(str(tmp_path)).revision == codec.revision


def test_random_weights_need_no_download(folder, monkeypatch):
    one = MimoCodec(str(folder), random_weights=1)
    assert one.name == "mimo_random" and one.revision != MimoCodec(str(folder), random_weights=2).revision
    assert one.revision == MimoCodec(str(folder), random_weights=1).revision
    codes = one.encode(noise(9))
    assert codes.shape == (1, 4, 21) and len(codes.unique()) > 4 and torch.isfinite(one.decode(codes)).all()
    monkeypatch.setattr(mimo, "PUBLISHED", mimo.read_config(SMALL, "config.json"))
    assert load_codec("mimo", random_weights=1).revision == one.revision  # its path is a hub name


def test_random_codebooks_from_recordings(folder, tmp_path):
    for number in range(40):
        audio.write(tmp_path / "in" / f"{number:02d}.wav", 0.1 * noise(number, 1, 4800)[0].numpy(), 16000)
    plain, fitted = MimoCodec(str(folder), random_weights=1), MimoCodec(str(folder), random_weights=1, sound=str(tmp_path / "in"))
    assert fitted.revision != plain.revision and torch.equal(fitted.model.encoder.conv1.weight, plain.model.encoder.conv1.weight)
    codes, latent = fitted.codes_and_latent(0.1 * noise(50))
    left = (latent - fitted.layers(codes)["4"]).square().sum() / (latent - latent.mean(1, keepdim=True)).square().sum()
    assert all(len(book.unique()) >= 4 for book in codes[0]) and left < 0.5
    with pytest.raises(RequestError, match="no audio in it"):
        MimoCodec(str(folder), random_weights=1, sound=str(tmp_path / "none"))


def test_weights_that_do_not_fit_are_named(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    embed, norm = "encoder.quantizer.vq.layers.2._codebook.embed", "decoder.layer_norm.weight"
    cases = {
        rf"1 missing \({norm}\)": {name: value for name, value in weights.items() if name != norm},
        r"1 unknown \(encoder\.layers\.0\.self_attn\.k_proj\.bias\)": weights | {"encoder.layers.0.self_attn.k_proj.bias": torch.zeros(16)},
        rf"1 of another shape \({embed} \(9, 16\) for \(8, 16\)\)": weights | {embed: torch.zeros(9, 16)},
        rf"{len(weights)} missing \(decoder.*, \.\.\.\); 1 unknown \(model\.{norm}\)": {f"model.{norm}": weights[norm]},
    }
    for number, (says, held) in enumerate(cases.items()):
        target = tmp_path / str(number)
        target.mkdir()
        shutil.copy(folder / "config.json", target / "config.json")
        save_file(held, target / "model.safetensors")
        with pytest.raises(RequestError, match=says) as error:
            MimoCodec(str(target))
        assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_what_cannot_be_used_is_refused_in_one_line(folder, codec, tmp_path):
    truncated = tmp_path / "truncated"
    shutil.copytree(folder, truncated)
    held = (truncated / "model.safetensors").read_bytes()
    (truncated / "model.safetensors").write_bytes(held[: len(held) // 2])
    bare, broken, listed = tmp_path / "bare", tmp_path / "broken", tmp_path / "listed"
    for target, text in ((bare, json.dumps(SMALL)), (broken, "{"), (listed, "[]")):
        target.mkdir()
        (target / "config.json").write_text(text)
    cases = {
        "is no folder, and no hub name": str(tmp_path / "absent"),
        "hub did not give it.*download its config.json and model.safetensors into .*models/MiMo": "XiaomiMiMo/MiMo-Audio-Tokenizer",
        "unreadable weights": str(truncated),
        r"no \*\.safetensors": str(bare),
        "unreadable JSON": str(broken),
        "holds list": str(listed),
    }
    for reason, path in cases.items():
        with pytest.raises(RequestError, match=reason) as error:
            MimoCodec(path)
        assert "\n" not in str(error.value)
    for reason, call in {
        "0 samples": lambda: codec.encode(torch.zeros(1, 0)),
        "5 codebooks": lambda: codec.decode(torch.zeros(1, 5, 4, dtype=torch.int64)),
        "codebook 3: they must be 0 to 7": lambda: codec.layers(torch.tensor([[[0], [9], [8], [0]]])),
    }.items():
        with pytest.raises(RequestError, match=reason):
            call()


def test_probes_read_words_at_its_own_rate(codec, tmp_path):
    corpus = voices(tmp_path, speakers=2, each=1)  # 16 kHz
    tokens = [Token(word.label, each.id, each.speaker, word.start, word.end) for each in corpus for word in each.words]
    for how in ("audio", "features"):
        cache = CodesCache(tmp_path / how)
        found, again = (word_features(codec, corpus, tokens, how, cache) for _ in range(2))
        assert found.ok.all() and found.layers == ("latent", "1", "2", "3", "4") and cache.hits == 1
        assert np.isfinite(found.values).all() and found.values.std(0).max() > 0 and np.array_equal(found.values, again.values)
