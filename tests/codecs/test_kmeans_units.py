"""k-means units: the fit, killed and gone on with, and the codec of its centres."""

import json
import shutil
from pathlib import Path

import codec_contract as contract
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_models import noise

from laminal.codecs import fit_kmeans
from laminal.codecs.kmeans import KmeansCodec
from laminal.codecs.load import load_codec
from laminal.errors import RequestError
from laminal.nn.kmeans import lloyd_step
from laminal.probes.reconstruction import Reconstruction
from laminal.results import Undefined
from oracle_codec import voices

PLAN = {"layer": 2, "k": 24, "frames": 400, "iterations": 6, "seed": 3, "device": "cpu"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return voices(tmp_path_factory.mktemp("voices"), speakers=3, each=2, seconds=2.0)


@pytest.fixture(scope="module")
def fitted(folders, corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "units"
    fit_kmeans.fit(corpus, out, str(folders["hubert"]), **PLAN)
    return out


@pytest.fixture(scope="module")
def codec(fitted, folders):
    return KmeansCodec(fitted, folders["hubert"], 2, 24, device="cpu")


def test_the_contract(codec, corpus):
    contract.it_is_a_codec(codec)
    contract.a_frame_for_every_hop_begun(codec)
    contract.a_batch_is_its_rows(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)
    contract.the_delay_is_told(codec, frames=10)
    contract.probes_can_read_words(codec, corpus)
    wav = corpus.wav(corpus[0], 16000)[None]
    codes, latent = codec.codes_and_latent(wav)
    layers = codec.layers(wav)
    assert torch.equal(codes, codec.encode(wav)) and list(layers) == ["latent", "1"] and torch.equal(latent, layers["latent"])
    assert torch.equal(codec.layers(codes)["1"], layers["1"]) and len(codes.unique()) > 3
    distances = (latent[0][:, None] - codec.centres).square().sum(2)  # slow and obvious
    assert torch.equal(distances.argmin(1), codes[0, 0]) and torch.equal(layers["1"][0], codec.centres[codes[0, 0]])


def test_the_latent_is_the_layer_of_the_encoder(codec, folders):
    encoder = load_codec("hubert", path=str(folders["hubert"]), device="cpu")
    wav = noise(0, 2, 4000)
    assert torch.equal(codec.layers(wav)["latent"], encoder.layers(wav)["2"])


def test_units_have_no_voice(codec, corpus):
    with pytest.raises(RequestError, match="no vocoder"):
        codec.decode(torch.zeros(1, 1, 3, dtype=torch.int64))
    probe = Reconstruction(corpus, None, utterances=2, seconds=1.0, codebooks=None, pesq_codebooks=None, speaker=None, asr=None,
                           draws=1000, seed=0)  # fmt: skip
    found = list(probe.run(codec))
    assert len(found) == 1 and isinstance(found[0], Undefined) and "vocoder" in found[0].reason


def test_lloyds_step_is_the_textbooks():
    random = np.random.default_rng(0)
    vectors, centres = (torch.from_numpy(random.standard_normal((count, 5)).astype(np.float32)) for count in (300, 7))
    centres[6] = 100.0  # serves nobody
    step = lloyd_step(vectors, centres, np.random.default_rng(1))
    nearest = [min(range(7), key=lambda c: float((v - centres[c]).square().sum())) for v in vectors]
    for c in range(6):
        mine = torch.stack([v for v, n in zip(vectors, nearest, strict=True) if n == c])
        assert torch.allclose(step.centres[c], mine.mean(0), atol=1e-5)
    assert (step.centres[6] == vectors).all(1).any()  # drawn anew
    error = np.mean([float((v - centres[n]).square().sum()) for v, n in zip(vectors, nearest, strict=True)])
    assert abs(step.error - error) < 1e-4


def test_a_killed_fit_goes_on_with_the_same_numbers(fitted, folders, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_kmeans, "UTTERANCES", 2)
    real, left = fit_kmeans._save, [2]

    def dying(file, tensors, facts):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(file, tensors, facts)

    monkeypatch.setattr(fit_kmeans, "_save", dying)
    out, kills = tmp_path / "units", 0
    while True:  # two files are kept of each run
        try:
            fit_kmeans.fit(corpus, out, str(folders["hubert"]), **PLAN)
            break
        except KeyboardInterrupt:
            kills, left[0] = kills + 1, 2
    assert kills >= 3 and not (out / "fit").exists()
    ours, whole = (load_file(folder / "kmeans.safetensors")["centres"] for folder in (out, fitted))
    assert torch.equal(ours, whole)
    before = (out / "kmeans.safetensors").stat().st_mtime_ns
    fit_kmeans.fit(corpus, out, str(folders["hubert"]), **PLAN)  # done: nothing is done again
    assert (out / "kmeans.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RequestError, match="seed=3"):
        fit_kmeans.fit(corpus, out, str(folders["hubert"]), **PLAN | {"seed": 4})


def test_what_does_not_fit_is_said(fitted, folders, corpus, tmp_path):
    cases = {
        "codec.layer=2": (fitted, folders["hubert"], 1, 24),
        "codec.k=24": (fitted, folders["hubert"], 2, 25),
        "not those of": (fitted, folders["wav2vec2"], 2, 24),
        "fit_kmeans codec.path=": (tmp_path / "none", folders["hubert"], 2, 24),
    }
    for said, arguments in cases.items():
        with pytest.raises(RequestError, match=said) as error:
            KmeansCodec(*arguments, device="cpu")
        assert "\n" not in str(error.value)
    shutil.copytree(fitted, tmp_path / "cut")
    (tmp_path / "cut" / "kmeans.safetensors").write_bytes(b"\x10")
    with pytest.raises(RequestError, match="cannot be read"):
        KmeansCodec(tmp_path / "cut", folders["hubert"], 2, 24, device="cpu")
    with pytest.raises(RequestError, match="frames for codec.k=5000"):
        fit_kmeans.fit(corpus, tmp_path / "many", str(folders["hubert"]), **PLAN | {"k": 5000})


def test_a_random_copy(codec, folders, tmp_path):
    first, again = (KmeansCodec(tmp_path, folders["hubert"], 2, 24, device="cpu", random_weights=1) for _ in range(2))
    wav = noise(1, 1, 16000)
    assert first.revision == again.revision != codec.revision and torch.equal(first.layers(wav)["1"], again.layers(wav)["1"])


@pytest.mark.data
def test_the_command(folders, librispeech_mini, tmp_path, capsys):
    """End to end on real speech, with overrides; a wrong word exits with 2 and one line."""
    chapter = sorted(librispeech_mini.rglob("*.flac"))[0].parent
    words = ["corpus=librispeech", f"corpus.root={chapter}", "corpus.alignments=none", f"codec.path={tmp_path / 'units'}", "codec.layer=1",
             f"codec.encoder={folders['hubert']}", "codec.k=16", "frames=500", "iterations=3", "codec.device=cpu"]  # fmt: skip
    assert fit_kmeans.main(words) == 0 and "16 centres" in capsys.readouterr().out
    assert json.loads((tmp_path / "units" / "fit.json").read_text())["corpus"] == "librispeech"
    assert load_codec("kmeans", path=str(tmp_path / "units"), encoder=str(folders["hubert"]), layer=1, k=16).codebook_size == 16
    assert fit_kmeans.main(["codec.k=3"]) == fit_kmeans.main(["corpus=librispeech", "codec.kay=3"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
