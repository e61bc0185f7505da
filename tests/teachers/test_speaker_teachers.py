"""ECAPA and GE2E as teachers: the library's own pipeline, masks, formats, and what a wrong folder is told."""

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

from laminal import compat
from laminal.errors import RequestError
from laminal.teachers.base import SpeakerTeacher
from laminal.teachers.ecapa import PUBLISHED, EcapaTeacher, build, front_end, normalised
from laminal.teachers.ge2e import Ge2eTeacher, PowerMel, partials
from oracle_teachers import ge2e, power_mel, sentence_mean

SMALL = {"channels": [16, 16, 16, 16, 48], "attention_channels": 8, "se_channels": 8, "res2net_scale": 4, "lin_neurons": 24}


def _noise(rows, samples, seed=0):
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """As the hub's folder, but small: weights pickled by torch.save, and the sizes beside them."""
    folder = tmp_path_factory.mktemp("ecapa")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(PUBLISHED | SMALL)
    torch.save(network.state_dict(), folder / "embedding_model.ckpt")
    (folder / "sizes.json").write_text(json.dumps(SMALL))
    (folder / "hyperparams.yaml").write_text("x: !apply:os.abort []\n")  # never read: it would end the process
    return folder


def test_ecapa_equals_speechbrains_own_pipeline(folder):
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization

    teacher = EcapaTeacher(folder)
    assert isinstance(teacher, SpeakerTeacher) and teacher.width == 24
    sizes = {key: value for key, value in SMALL.items()}
    network = ECAPA_TDNN(80, kernel_sizes=[5, 3, 3, 3, 1], dilations=[1, 2, 3, 4, 1], groups=[1] * 5, **sizes)
    network.load_state_dict(torch.load(folder / "embedding_model.ckpt", weights_only=True))
    network.eval()
    norm = InputNormalization(norm_type="sentence", std_norm=False).eval()
    wav = _noise(3, 24000)
    with torch.no_grad():
        for lengths in (torch.ones(3), torch.tensor([1.0, 0.5, 0.75])):
            theirs = network(norm(front_end(80)(wav), lengths), lengths)[:, 0]
            mask = torch.arange(24000)[None] < (lengths * 24000)[:, None]
            torch.testing.assert_close(teacher.embed(wav, mask), theirs, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(teacher.embed(wav), teacher.embed(wav, torch.ones_like(wav, dtype=torch.bool)), atol=1e-5, rtol=1e-4)


def test_published_sizes_are_those_of_the_hub():
    network = build(PUBLISHED)
    assert sum(p.numel() for p in network.parameters()) == 20_767_552  # 83 MB in float32, as on the hub
    assert network.fc.conv.weight.shape == (192, 6144, 1)


def test_sentence_mean_is_over_real_frames():
    bank = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([1.0, 0.6, 0.1])
    torch.testing.assert_close(normalised(bank, length, "bands"), sentence_mean(bank, [10, 6, 1]))
    torch.testing.assert_close(normalised(bank, None, "bands"), sentence_mean(bank, [10, 10, 10]))
    level = normalised(bank + 7, length, "level")
    torch.testing.assert_close(level, normalised(bank, length, "level"))  # the loudness is gone
    coloured = bank + torch.tensor([3.0, -3.0, 1.0, -1.0])
    assert (normalised(coloured, length, "level") - level).abs().max() > 0.2  # the colour is not
    torch.testing.assert_close(normalised(coloured, length, "bands"), normalised(bank, length, "bands"))


def test_ecapa_pays_no_heed_to_padding(folder):
    teacher = EcapaTeacher(folder)
    wav = _noise(1, 32000)
    mask = torch.arange(32000)[None] < 16000
    other = torch.where(mask, wav, _noise(1, 32000, 1) * 0)
    with torch.no_grad():
        padded, alone = teacher.embed(other, mask), teacher.embed(wav[:, :16000])
        whole = teacher.embed(other)
    assert nn.functional.cosine_similarity(padded, alone) > 0.98
    assert nn.functional.cosine_similarity(padded, alone) > nn.functional.cosine_similarity(whole, alone)


def test_ecapa_wrong_folders(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RequestError, match="speechbrain/spkrec-ecapa-voxceleb.*download embedding_model.ckpt"):
        EcapaTeacher("speechbrain/spkrec-ecapa-voxceleb")
    with pytest.raises(RequestError, match="no readable embedding_model"):
        EcapaTeacher(tmp_path)
    (tmp_path / "embedding_model.ckpt").write_bytes((folder / "embedding_model.ckpt").read_bytes())
    with pytest.raises(RequestError, match="weights do not fit the sizes"):
        EcapaTeacher(tmp_path)
    (tmp_path / "sizes.json").write_text(json.dumps(SMALL | {"chanels": 1}))
    with pytest.raises(RequestError, match="unknown chanels"):
        EcapaTeacher(tmp_path)
    (tmp_path / "sizes.json").write_text(json.dumps(SMALL | {"normalise": "none"}))
    with pytest.raises(RequestError, match="must be one of bands, level"):
        EcapaTeacher(tmp_path)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os._exit, (3,))

    torch.save({"a": Evil()}, tmp_path / "embedding_model.ckpt")
    with pytest.raises(RequestError, match="no readable embedding_model"):
        EcapaTeacher(tmp_path)
    torch.save({"model_state": Evil()}, tmp_path / "pretrained.pt")
    with pytest.raises(RequestError, match="no readable GE2E"):
        Ge2eTeacher(tmp_path / "pretrained.pt")


@pytest.fixture(scope="module")
def lstm_file(tmp_path_factory):
    """Random weights in resemblyzer's format."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = nn.ModuleDict({"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)})
    state = dict(network.state_dict()) | {"similarity_weight": torch.ones(1), "similarity_bias": torch.zeros(1)}
    path = tmp_path_factory.mktemp("ge2e") / "pretrained.pt"
    torch.save({"step": 1, "model_state": state, "optimizer_state": {}}, path)
    return path


@pytest.mark.parametrize("samples", [8000, 25600, 32000, 40000, 64001])
def test_ge2e_equals_partials_one_by_one(lstm_file, samples):
    teacher = Ge2eTeacher(lstm_file)
    network, mel = teacher._networks

    def embed(frames):
        hidden = network["lstm"](torch.from_numpy(frames).float()[None])[1][0][-1]
        return nn.functional.normalize(network["linear"](hidden).relu(), dim=1)[0].numpy()

    wav = _noise(2, samples) * torch.tensor([[0.01], [1.0]])
    with torch.no_grad():
        ours = teacher.embed(wav).numpy()
        theirs = np.stack([ge2e(row.double().numpy(), mel.filters.numpy(), embed) for row in wav])
        padded = nn.functional.pad(wav, (0, 33000))
        masked = teacher.embed(padded, torch.arange(padded.shape[1]).expand(padded.shape) < samples).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(masked, ours, atol=1e-4)


def test_ge2e_mel_is_librosas_shape():
    wav = _noise(1, 4000)
    ours = PowerMel()(wav)[0]
    np.testing.assert_allclose(ours.numpy(), power_mel(wav[0].double().numpy(), PowerMel().filters.numpy()), rtol=1e-3, atol=1e-5)
    assert partials(torch.tensor([25600]), 25600)[0][0] == 0


def test_ge2e_without_the_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match="pip install --no-deps resemblyzer"):
        Ge2eTeacher("resemblyzer")
    with pytest.raises(RequestError, match="no such file"):
        Ge2eTeacher("/nothing/pretrained.pt")


def test_gradients_reach_the_waveform(folder, lstm_file):
    compat.torchaudio()
    for teacher in (EcapaTeacher(folder), Ge2eTeacher(lstm_file)):
        wav = _noise(2, 16000).requires_grad_()
        teacher.embed(wav)[:, 0].sum().backward()
        assert wav.grad is not None and wav.grad.abs().sum() > 0


@pytest.mark.data
def test_the_real_ge2e_tells_speakers_apart(vctk_mini):
    from importlib.util import find_spec

    from laminal import audio

    if find_spec("resemblyzer") is None:
        pytest.skip("no resemblyzer: pip install --no-deps resemblyzer to run this on its weights")
    teacher = Ge2eTeacher("resemblyzer")
    paths = sorted(path for path in vctk_mini.rglob("*") if path.suffix in (".flac", ".wav"))[::4]
    with torch.no_grad():
        found = torch.cat([teacher.embed(torch.from_numpy(audio.read(path, 16000))[None]) for path in paths])
    speaker = np.array([path.name.split("_")[0] for path in paths])
    same = speaker[:, None] == speaker[None]
    cosine = (found @ found.T).numpy()
    off = ~np.eye(len(paths), dtype=bool)
    assert cosine[same & off].mean() > cosine[~same].mean() + 0.1
