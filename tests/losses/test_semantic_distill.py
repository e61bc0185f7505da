"""Semantic distillation: values, centring, masks, rates; the teacher stays outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from laminal.errors import RequestError
from laminal.losses.semantic_distill import SemanticDistillLoss
from oracle_losses import ToneTeacher, batch, output, padded


def _loss(axis="frame", teacher=None, width=8):
    torch.manual_seed(0)
    return SemanticDistillLoss(teacher or ToneTeacher(), width=width, axis=axis)


def _cos(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def _sides(loss, out, crops):
    teacher = ToneTeacher().eval().frames(crops.wav * crops.mask).detach().numpy()
    with torch.no_grad():
        student = loss.projection(out.z_1).numpy()
    return student, teacher


@pytest.mark.parametrize("axis", ["frame", "dimension", "squared"])
def test_equals_loops(axis):
    loss = _loss(axis)
    out, crops = padded(output(), batch(), row=1, frames=6)
    student, teacher = _sides(loss, out, crops)
    if axis == "frame":
        terms = [1 - _cos(student[b, k], teacher[b, k]) for b in range(2) for k in range([10, 6][b])]
    elif axis == "squared":
        terms = [(student[b, k, d] - teacher[b, k, d]) ** 2 for b in range(2) for k in range([10, 6][b]) for d in range(6)]
    else:
        centred = [[side[b, :n] - side[b, :n].mean(0) for b, n in enumerate((10, 6))] for side in (student, teacher)]
        terms = [np.log1p(np.exp(-_cos(centred[0][b][:, d], centred[1][b][:, d]))) for b in range(2) for d in range(6)]
    assert loss(out, crops).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_logged_cosines_equal_loops():
    loss = _loss()
    out, crops = padded(output(), batch(), row=1, frames=6)
    loss(out, crops)
    student, teacher = _sides(loss, out, crops)
    centred = [[side[b, :n] - side[b, :n].mean(0) for b, n in enumerate((10, 6))] for side in (student, teacher)]
    expected = np.mean([_cos(centred[0][b][k], centred[1][b][k]) for b, n in enumerate((10, 6)) for k in range(n)])
    assert loss.logged["centred_cosine"].item() == pytest.approx(expected, abs=1e-5)
    plain = np.mean([_cos(student[b, k], teacher[b, k]) for b, n in enumerate((10, 6)) for k in range(n)])
    assert loss.logged["cosine"].item() == pytest.approx(plain, abs=1e-5)


class OffsetTeacher(ToneTeacher):
    def frames(self, wav):
        return super().frames(wav) + 3.0


def test_a_constant_student_looks_good_only_uncentred():
    """The trap: features with a common offset give a constant student a high cosine."""
    loss = _loss(teacher=OffsetTeacher())
    with torch.no_grad():
        loss.projection.weight.zero_()
        loss.projection.bias.fill_(1.0)
    loss(output(), batch())
    assert loss.logged["cosine"] > 0.95 and abs(loss.logged["centred_cosine"]) < 1e-3


@pytest.mark.parametrize("axis", ["frame", "dimension"])
def test_a_perfect_student(axis):
    loss, crops = _loss(axis, width=6), batch()
    with torch.no_grad():
        loss.projection.weight.copy_(torch.eye(6))
        loss.projection.bias.zero_()
    out = replace(output(width=6), z_1=ToneTeacher().eval().frames(crops.wav))
    assert loss(out, crops).item() == pytest.approx(0 if axis == "frame" else np.log1p(np.exp(-1)), abs=1e-5)
    assert loss.logged["centred_cosine"].item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("axis", ["frame", "dimension", "squared"])
def test_padding_does_not_count(axis):
    loss = _loss(axis)
    out, crops = padded(output(), batch(), row=0, frames=4)
    noisy = out.z_1.detach().clone()
    noisy[0, 4:] = 50
    wav = crops.wav.clone()
    wav[0, 4 * 320 :] = 9
    assert loss(replace(out, z_1=noisy), replace(crops, wav=wav)).item() == loss(out, crops).item()


@pytest.mark.parametrize("axis", ["frame", "dimension", "squared"])
def test_gradcheck(axis):
    loss = _loss(axis).double()
    crops = batch(samples=960, dtype=torch.float64)
    out, crops = padded(output(frames=3, dtype=torch.float64), crops, row=1, frames=2)
    z_1 = out.z_1.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z_1: loss(replace(out, z_1=z_1), crops), z_1)


def test_the_teacher_stays_outside():
    teacher = ToneTeacher()
    loss = _loss(teacher=teacher)
    nn.ModuleDict({"loss": loss}).train()
    assert not teacher.training and not teacher.map.requires_grad
    teacher.train()  # somebody did it all the same
    out, crops = output(), batch()
    assert loss(out, crops).item() == loss(out, crops).item() and not teacher.training
    assert {name.split(".")[0] for name in loss.state_dict()} == {"projection"}
    assert all("projection" in name for name, _ in loss.named_parameters())
    loss(out, crops).backward()
    assert teacher.map.grad is None and out.latent.grad.abs().sum() > 0
    assert teacher not in list(loss.modules())


def test_slower_tokenizers_get_averaged_teacher_frames():
    loss, crops = _loss(), batch(samples=6400)
    out = output(frames=10, hop=640)
    teacher = ToneTeacher().eval().frames(crops.wav)
    pairs = (teacher[:, 0::2] + teacher[:, 1::2]) / 2
    expected = (1 - nn.functional.cosine_similarity(loss.projection(out.z_1), pairs, dim=2)).mean()
    assert loss(out, crops).item() == pytest.approx(expected.item(), rel=1e-5)


def test_resampled_for_a_teacher_of_another_rate():
    class Slow(ToneTeacher):
        sample_rate = 8000

        def frames(self, wav):
            assert wav.shape[1] == 1600
            return super().frames(wav.repeat(1, 2))

    assert _loss(teacher=Slow())(output(), batch()).isfinite()


def test_refusals():
    with pytest.raises(RequestError, match="use one of frame, dimension, squared"):
        _loss("time")
    with pytest.raises(RequestError, match="75 frames/s|not a whole multiple"):
        _loss()(replace(output(), frame_rate=75.0), batch())
    with pytest.raises(RequestError, match="frames for 10"):
        _loss()(output(), batch(samples=1600))


def test_autocast_and_a_batch_of_one():
    loss = _loss()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(output(rows=1), batch(rows=1))
    assert value.dtype == torch.float32 and value.item() == pytest.approx(loss(output(rows=1), batch(rows=1)).item(), rel=0.02)
