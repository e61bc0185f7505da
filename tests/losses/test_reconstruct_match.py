"""Reconstruct and match: values, masks, gradients to z_1 and to the decoder alone, what is told, and that the teacher stays outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from laminal.errors import RequestError
from laminal.losses.objective import Objective
from laminal.losses.reconstruct_match import ReconstructMatchLoss, centres
from laminal.nn.split_tokenizer import SplitTokenizer
from laminal.nn.tokenizer import Tokenizer
from laminal.teachers.hubert import HubertTeacher
from oracle_losses import SpellingTeacher, ToneTeacher, batch, output, padded

SIZES = {"width": 8, "sample_rate": 16000, "frame_rate": 25.0, "filters": 2, "residual_layers": 0, "transformer_layers": 0, "heads": 2}


def made(teacher=None, **changes) -> ReconstructMatchLoss:
    torch.manual_seed(0)
    return ReconstructMatchLoss(teacher or ToneTeacher(), **({"decoder": "own", "gradient": True} | SIZES | changes))


def given(rows=2, frames=10, dtype=torch.float32):
    return output(rows=rows, frames=frames, hop=640, dtype=dtype), batch(rows=rows, samples=640 * frames, dtype=dtype)


def test_equals_loops_over_real_frames():
    loss = made()
    out, crops = padded(*given(), row=1, frames=6)
    with torch.no_grad():
        rebuilt = loss.decoder(out.z_1)[:, : crops.wav.shape[1]]
        heard, target = (ToneTeacher().eval().frames(wav * crops.mask).numpy() for wav in (rebuilt, crops.wav))
    valid = [(b, k) for b in range(2) for k in range([20, 12][b])]  # 50 Hz
    error = np.mean([(heard[b, k] - target[b, k]) ** 2 for b, k in valid])
    spread = np.mean([(target[b, k] - target[b, : [20, 12][b]].mean(0)) ** 2 for b, k in valid])
    assert loss(out, crops).item() == pytest.approx(error, rel=1e-4)
    assert loss.logged["explained"].item() == pytest.approx(1 - error / spread, rel=1e-3)


def test_audio_that_is_rebuilt_exactly_costs_nothing():
    loss = made(decoder="shared")
    out, crops = given()
    assert loss(replace(out, decode=lambda _: crops.wav), crops).item() == 0 and loss.logged["explained"] == 1
    assert loss(replace(out, decode=lambda _: crops.wav + 0.01), crops) > 0


class WholeTeacher(ToneTeacher):
    """Every frame hears the whole crop, as those of a transformer do."""

    def frames(self, wav):
        return super().frames(wav) - super().frames(wav).mean(1, keepdim=True)


@pytest.mark.parametrize("teacher", [ToneTeacher, WholeTeacher])
def test_padding_does_not_count(teacher):
    loss = made(teacher())
    out, crops = padded(*given(), row=0, frames=4)
    wav = crops.wav.clone()
    wav[0, 4 * 640 :] = 9
    noisy = out.z_1.detach().clone()
    noisy[0, 4:] = 50  # the decoder is causal
    assert loss(replace(out, z_1=noisy), replace(crops, wav=wav)).item() == loss(out, crops).item()


def test_a_frame_counts_where_its_middle_is_real():
    mask = torch.arange(1600) < torch.tensor([[1600], [1000], [161], [160]])
    counted = [[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4, [False] * 5]  # middles at 160, 480, 800, 1120, 1440
    assert centres(mask, 5, 320.0).tolist() == counted
    assert centres(mask.repeat_interleave(3, 1)[:, ::2], 5, 480.0).tolist() == counted  # at 24 kHz


class SquareTeacher(ToneTeacher):
    def frames(self, wav):
        return super().frames(wav).square()


def test_gradcheck():
    loss = made(SquareTeacher(), frame_rate=25.0).double()
    out, crops = padded(*given(frames=3, dtype=torch.float64), row=1, frames=2)
    z_1 = out.z_1.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z_1: loss(replace(out, z_1=z_1), crops), z_1)


@pytest.mark.parametrize("decoder", ["own", "shared"])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("kind", ["split", "plain"])
def test_the_codebook_learns_with_gradient_and_the_decoder_always(decoder, gradient, kind):
    common = {"sample_rate": 16000, "filters": 4, "dim": 8, "codebooks": 3, "codebook_size": 16, "residual_layers": 1, "dropout": 0.0,
              "seed": 0, "quantizer": {"kmeans_frames": 32}}  # fmt: skip
    if kind == "split":
        tokenizer = SplitTokenizer(frame_rate=25.0, codebook_dim=4, transformer_layers=1, heads=2, order="parallel", **common)
    else:
        tokenizer = Tokenizer(ratios=[8, 5, 4, 4], lstm_layers=1, causal=True, norm="weight_norm", **common)
    crops = batch(samples=8000)
    tokenizer.initialise((crops.wav, crops.mask) for _ in range(99))
    objective = Objective({"reconstruct_match": made(decoder=decoder, gradient=gradient)}, {"reconstruct_match": 100.0})
    out = tokenizer(crops.wav, crops.mask)
    found = objective.generator(out, crops)
    norms = objective.gradient_norms(out, found.raw)
    assert found.total.item() == pytest.approx(100 * found.raw["reconstruct_match"].item())
    assert "reconstruct_match/explained" in found.logged
    assert (norms["reconstruct_match"] > 0) is gradient
    found.total.backward()
    reached = {name for name, p in tokenizer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(name.startswith("encoder") for name in reached) is gradient
    assert any(name.startswith("decoder") for name in reached) is (decoder == "shared")
    assert not any("acoustic" in name for name in reached), "z_1 alone"
    heads = list(objective.head_parameters())
    assert bool(heads) is (decoder == "own") and all(p.grad.abs().sum() > 0 for p in heads)


def test_weight_0_computes_nothing():
    def never(*_):
        raise AssertionError("called")

    loss = made()
    loss.forward = never
    objective = Objective({"reconstruct_match": loss}, {"reconstruct_match": 0.0})
    assert objective.generator(*given()).raw == {} and not list(objective.parameters())


def test_the_teacher_stays_outside_and_the_decoder_is_inside():
    teacher = ToneTeacher()
    loss = made(teacher)
    nn.ModuleDict({"loss": loss}).train()
    out, crops = given()
    value = loss(out, crops)
    value.backward()
    assert not teacher.training and teacher.map.grad is None and teacher not in list(loss.modules())
    assert {name.split(".")[0] for name in loss.state_dict()} == {"decoder"} == {name.split(".")[0] for name, _ in loss.named_parameters()}
    assert made(decoder="shared").state_dict() == {}
    again = made()
    again.load_state_dict(loss.state_dict())
    assert again(out, crops).item() == value.item()


def test_the_shipped_teacher_hears_what_is_rebuilt():
    """A few steps of the decoder alone on one crop bring its frames nearer, through the frozen network's activations."""
    loss = made(HubertTeacher("shipped/hubert-small", layer=4), filters=4)
    out, crops = given(frames=25)
    tone = torch.sin(torch.arange(16000) * 0.3) * (torch.arange(16000) % 4000 < 2000)
    crops = replace(crops, wav=(0.1 * tone).expand(2, -1).contiguous())
    optimizer, values = torch.optim.Adam(loss.parameters(), lr=3e-3), []
    for _ in range(12):
        values.append(loss(out, crops))
        optimizer.zero_grad()
        values[-1].backward()
        optimizer.step()
    assert values[-1].item() < 0.8 * values[0].item()


def test_other_rates_of_audio_and_frames():
    class Slow(ToneTeacher):
        sample_rate = 8000

        def frames(self, wav):
            assert wav.shape[1] == 3200
            return super().frames(wav.repeat(1, 2))

    out, crops = given()
    assert made(Slow())(out, crops).isfinite()
    for rate, frames in ((50.0, 20), (12.5, 5), (6.25, 3)):
        loss, hop = made(frame_rate=rate), round(16000 / rate)
        assert loss(output(frames=frames, hop=hop), batch(samples=6400)).isfinite()


def test_refusals():
    out, crops = given()
    with pytest.raises(RequestError, match="use one of own, shared"):
        made(decoder="big")
    with pytest.raises(RequestError, match="frame_rate=20: 50 or 25"):
        made(frame_rate=20.0)
    with pytest.raises(RequestError, match="decodes 12.5 frames/s, the tokenizer gives 25; say losses.reconstruct_match.frame_rate=25"):
        made(frame_rate=12.5)(out, crops)
    with pytest.raises(RequestError, match="use decoder=own"):
        made(decoder="shared")(replace(out, decode=None), crops)

    for wrong in ({"filters": 0}, {"heads": 3, "transformer_layers": 1}, {"heads": 0}, {"transformer_layers": -1}):
        with pytest.raises(RequestError, match="2 heads must divide width"):
            made(**wrong)
    with pytest.raises(RequestError, match="SpellingTeacher gives no frames"):
        made(SpellingTeacher())

    class Deaf(ToneTeacher):
        @torch.no_grad()
        def frames(self, wav):
            return super().frames(wav)

    with pytest.raises(RequestError, match="gives no gradient"):
        made(Deaf())(out, crops)


def test_autocast():
    loss = made()
    out, crops = given()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(out, crops)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(loss(out, crops).item(), rel=0.05)
