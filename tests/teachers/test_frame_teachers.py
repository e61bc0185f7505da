"""HuBERT and Whisper as teachers: the grid, the layers, the padding, gradients, and what a wrong folder is told."""

import numpy as np
import pytest
import torch
from torch import nn

from laminal import compat
from laminal.errors import RequestError
from laminal.nn.whisper_mel import LogMel
from laminal.teachers.base import FrameTeacher
from laminal.teachers.hubert import HubertTeacher
from laminal.teachers.whisper import WhisperTeacher

compat.torchaudio()
from transformers import HubertConfig, HubertModel, WavLMConfig, WavLMModel, WhisperConfig, WhisperModel  # noqa: E402

CONV = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
BODY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}


def _seeded(make, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(config).eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("teachers")
    _seeded(HubertModel, HubertConfig(**BODY, **CONV)).save_pretrained(root / "hubert")
    _seeded(WavLMModel, WavLMConfig(**BODY, **CONV)).save_pretrained(root / "wavlm")
    whisper = WhisperConfig(d_model=32, encoder_layers=3, decoder_layers=0, encoder_attention_heads=2, encoder_ffn_dim=48, vocab_size=60000)
    _seeded(WhisperModel, whisper).save_pretrained(root / "whisper")
    return root


def _noise(rows, samples, seed=0):
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["hubert", "wavlm", "whisper"])
@pytest.mark.parametrize("samples", [320, 3200, 16000, 16100, 16319])
def test_frames_are_a_320th_of_the_samples(folders, name, samples):
    teacher = (WhisperTeacher if name == "whisper" else HubertTeacher)(folders / name, layer="mean")
    assert isinstance(teacher, FrameTeacher)
    assert teacher.frames(_noise(2, samples)).shape == (2, samples // 320, teacher.width)


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_frame_t_is_centred_at_320_t_plus_160(folders, name):
    """Silence but for a click at 320 k + 160: the convolutions' response is symmetric enough to peak at frame k."""
    teacher = (WhisperTeacher if name == "whisper" else HubertTeacher)(folders / name, layer=0)
    network = teacher._networks[0]
    for k in (10, 25, 33):
        wav = torch.zeros(1, 16000)
        wav[0, 320 * k + 160] = 1
        if name == "hubert":  # before the wide positional convolution
            with torch.no_grad():
                heard = network.feature_extractor(nn.functional.pad(wav, (40, 40)))[0].T
                still = network.feature_extractor(torch.zeros(1, 16080))[0].T
                far = (heard - still).norm(dim=1)
                centre = float((far * torch.arange(len(far))).sum() / far.sum())
        else:
            mel = LogMel(80)(nn.functional.pad(wav[:, 160:], (0, 960)))[0]
            centre = float(torch.argmax(mel.amax(0))) / 2
        assert abs(centre - k) < 0.51, (k, centre)


def test_hubert_equals_the_library_on_a_padded_normalised_waveform(folders):
    wav = _noise(1, 8000) + 0.3
    network = HubertModel.from_pretrained(folders / "hubert").eval()
    plain = (wav - wav.mean()) / wav.std(unbiased=False)
    with torch.no_grad():
        states = network(nn.functional.pad(plain, (40, 40)), output_hidden_states=True).hidden_states
        for layer in range(4):
            torch.testing.assert_close(HubertTeacher(folders / "hubert", layer=layer).frames(wav), states[layer], atol=1e-4, rtol=1e-4)
        mean = sum(states[1:]) / 3
        torch.testing.assert_close(HubertTeacher(folders / "hubert", layer="mean").frames(wav), mean, atol=1e-4, rtol=1e-4)


def test_log_mel_equals_the_feature_extractor():
    from transformers import WhisperFeatureExtractor

    wav = _noise(1, 16000)
    wav[0, 8000:] *= 1e-4  # reaches the floor 8 decades under the loudest
    extractor = WhisperFeatureExtractor()
    window = extractor(wav[0].numpy(), sampling_rate=16000, return_tensors="pt").input_features
    ours = LogMel(80)(nn.functional.pad(wav, (0, 480000 - 16000)))
    torch.testing.assert_close(ours, window, atol=1e-4, rtol=0)
    slow = torch.from_numpy(extractor._np_extract_fbank_features(nn.functional.pad(wav, (0, 480000 - 16000)).numpy(), "cpu"))
    torch.testing.assert_close(ours, slow.float(), atol=1e-4, rtol=0)


def test_whisper_stem_equals_the_full_window_and_so_do_all_layers_over_30_s(folders):
    teacher = WhisperTeacher(folders / "whisper", layer="mean")
    encoder = WhisperModel.from_pretrained(folders / "whisper").get_encoder().eval()
    whole = _noise(1, 480160)
    with torch.no_grad():
        full = encoder(LogMel(80)(whole[:, 160:]), output_hidden_states=True)
        ours = teacher.hidden_states(whole)
        for mine, theirs in ((ours[-1], full.last_hidden_state), (ours[1], full.hidden_states[1])):
            # the window reflects the audio at its end, where a crop is followed by silence: its last frame differs
            torch.testing.assert_close(mine[:, :-1], theirs[:, :-1], atol=1e-3, rtol=1e-3)
        crop = whole[:, :32000]
        window = encoder(LogMel(80)(nn.functional.pad(crop[:, 160:], (0, 480160 - 32000))), output_hidden_states=True)
        torch.testing.assert_close(teacher.hidden_states(crop)[0], window.hidden_states[0][:, :100], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_gradients_reach_the_waveform_and_never_the_weights(folders, name):
    teacher = (WhisperTeacher if name == "whisper" else HubertTeacher)(folders / name, layer="mean")
    wav = _noise(1, 3200).requires_grad_()
    teacher.frames(wav).square().sum().backward()
    assert wav.grad is not None and wav.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for n in teacher._networks for p in n.parameters())


def test_a_teacher_is_no_part_of_its_owner(folders):
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = nn.Linear(2, 2)
            self.teacher = HubertTeacher(folders / "hubert", layer=2)

    owner = Owner()
    wav = _noise(2, 3200)
    before = owner.teacher.frames(wav)
    owner.train()
    assert list(owner.state_dict()) == ["own.weight", "own.bias"] and len(list(owner.parameters())) == 2
    torch.testing.assert_close(owner.teacher.frames(wav), before, atol=0, rtol=0)  # no dropout, no masking, no layerdrop
    owner.to(torch.float64)
    assert owner.teacher.frames(wav.double()).dtype == torch.float64  # it moved with its owner


def test_batch_equals_singles(folders):
    for teacher in (HubertTeacher(folders / "hubert", layer="mean"), WhisperTeacher(folders / "whisper", layer="mean")):
        wav = _noise(3, 6400) * torch.tensor([[0.1], [1.0], [4.0]])
        singles = torch.cat([teacher.frames(row[None]) for row in wav])
        torch.testing.assert_close(teacher.frames(wav), singles, atol=1e-4, rtol=1e-4)


def test_wrong_requests_are_told_in_one_line(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RequestError, match="facebook/hubert-base-ls960.*download.*into a folder") as missing:
        HubertTeacher("facebook/hubert-base-ls960", layer="mean")
    assert "\n" not in str(missing.value)
    with pytest.raises(RequestError, match="no such folder"):
        HubertTeacher(tmp_path / "nothing", layer="mean")
    with pytest.raises(RequestError, match="no such shipped teacher"):
        HubertTeacher("shipped/nothing", layer="mean")
    with pytest.raises(RequestError, match="layers 0 to 3"):
        HubertTeacher(folders / "hubert", layer=4)
    with pytest.raises(RequestError, match="'whisper' is none of hubert"):
        HubertTeacher(folders / "whisper", layer="mean")
    with pytest.raises(RequestError, match="'hubert' is not whisper"):
        WhisperTeacher(folders / "hubert", layer="mean")
    with pytest.raises(RequestError, match="1501 frames"):
        WhisperTeacher(folders / "whisper", layer="mean").frames(torch.zeros(1, 320 * 1501))
    with pytest.raises(RequestError, match="at least one frame"):
        HubertTeacher(folders / "hubert", layer="mean").frames(torch.zeros(1, 100))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text((folders / "hubert" / "config.json").read_text())
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(RequestError, match="weights cannot be loaded"):
        HubertTeacher(tmp_path / "broken", layer="mean")


def test_another_hop_is_refused(tmp_path):
    config = HubertConfig(**BODY, **CONV, conv_stride=(5, 2, 2, 2, 2, 2, 1))
    _seeded(HubertModel, config).save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="hop of 160 samples, must be 320"):
        HubertTeacher(tmp_path, layer="mean")


@pytest.mark.data
@pytest.mark.slow
def test_the_real_whisper_hears_a_crop_as_it_hears_the_window(whisper_base_encoder, librispeech_mini):
    from laminal import audio

    teacher = WhisperTeacher(whisper_base_encoder, layer=6)
    path = sorted(librispeech_mini.rglob("*.flac"))[0]
    wav = torch.from_numpy(audio.read(path, 16000, 1.0, 3.0))[None]
    with torch.no_grad():
        ours = teacher.frames(wav)
        padded = nn.functional.pad(wav[:, 160:], (0, 480000 + 160 - wav.shape[1]))
        window = teacher._networks[0](LogMel(80)(padded)).last_hidden_state[:, : ours.shape[1]]
    cosine = nn.functional.cosine_similarity(ours, window, dim=2).numpy()
    shifted = nn.functional.cosine_similarity(ours[:, 3:], window[:, :-3], dim=2).numpy()
    print(f"cosine to the full window: mean {np.mean(cosine):.3f}, three frames off {np.mean(shifted):.3f}")
    assert np.mean(cosine) > 0.8 and np.mean(cosine) > np.mean(shifted) + 0.2


@pytest.mark.data
@pytest.mark.slow
def test_how_far_the_real_whisper_hears_of_a_crop_what_it_hears_in_its_window(whisper_base_encoder, librispeech_mini):
    """The stem and the positions agree wholly; each layer looks at the silence that fills the window, the less the longer the crop."""
    from laminal import audio

    teacher, found = WhisperTeacher(whisper_base_encoder, layer=6), {}
    encoder, mel = teacher._networks
    path = sorted(librispeech_mini.rglob("*.flac"))[0]
    for seconds in (1.0, 3.0):
        wav = torch.from_numpy(audio.read(path, 16000, 1.0, seconds))[None]
        with torch.no_grad():
            ours = teacher.hidden_states(wav)
            padded = nn.functional.pad(wav[:, 160:], (0, 480000 + 160 - wav.shape[1]))
            window = encoder(mel(padded), output_hidden_states=True)
            theirs = [*window.hidden_states[:-1], window.last_hidden_state]
        pairs = [(mine, other[:, : mine.shape[1]]) for mine, other in zip(ours, theirs, strict=True)]
        torch.testing.assert_close(*pairs[0], atol=1e-4, rtol=1e-4)
        found[seconds] = [float(nn.functional.cosine_similarity(mine, other, dim=2).mean()) for mine, other in pairs]
    print({seconds: [round(value, 3) for value in values] for seconds, values in found.items()})
    assert all(values == sorted(values, reverse=True) for values in found.values()), "deeper layers agree less"
    assert found[1.0][1] > 0.98 and found[1.0][-1] > 0.7 and found[3.0][-1] > max(0.9, found[1.0][-1])
