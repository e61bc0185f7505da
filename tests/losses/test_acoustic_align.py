"""Acoustic alignment: values, statistics, masks, and the two measured traps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from laminal.errors import RequestError
from laminal.losses.acoustic_align import AcousticAlignLoss
from oracle_losses import VoiceTeacher, attention_pool, batch, output, padded


def _loss(teacher=None, width=8, heads=2, **statistics):
    torch.manual_seed(0)
    return AcousticAlignLoss(teacher or VoiceTeacher(), width=width, heads=heads, **statistics)


GIVEN = {"mean": [0.1] * 6, "std": [0.05, 0.1, 0.2, 0.1, 0.1, 0.1]}


def _softmax(x):
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def test_equals_loops():
    loss = _loss(**GIVEN)
    out, crops = padded(output(), batch(), row=1, frames=6)
    terms = []
    for b, n in enumerate((10, 6)):
        voice = VoiceTeacher().embed(crops.wav[b : b + 1], crops.mask[b : b + 1])[0].detach().numpy()
        p = _softmax((voice - np.array(GIVEN["mean"])) / np.array(GIVEN["std"]))
        frames = out.z_rest[b].detach().double().numpy()
        level = np.sqrt(frames.var(1, keepdims=True) + 1e-5)
        pooled = attention_pool(loss.pooling, (frames - frames.mean(1, keepdims=True)) / level, n)
        q = _softmax(pooled @ loss.projection.weight.detach().double().numpy().T + loss.projection.bias.detach().double().numpy())
        terms.append(sum(p * (np.log(p) - np.log(q))))
    assert loss(out, crops).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_gradcheck():
    loss = _loss(width=4, **GIVEN).double()
    out, crops = padded(output(frames=3, width=4, dtype=torch.float64), batch(samples=960, dtype=torch.float64), row=1, frames=2)
    z_rest = out.z_rest.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z_rest: loss(replace(out, z_rest=z_rest), crops), z_rest)


def test_padding_does_not_count():
    loss = _loss(**GIVEN)
    out, crops = padded(output(), batch(), row=0, frames=4)
    noisy, wav = out.z_rest.detach().clone(), crops.wav.clone()
    noisy[0, 4:], wav[0, 1280:] = 50, 9
    assert loss(replace(out, z_rest=noisy), replace(crops, wav=wav)).item() == loss(out, crops).item()


def test_a_crop_without_speech_counts_nowhere():
    loss = _loss(**GIVEN)
    out, crops = padded(output(), batch(), row=1, frames=0)
    alone = replace(output(rows=1), z_rest=out.z_rest[:1], frame_mask=out.frame_mask[:1])
    one = loss(alone, replace(batch(rows=1), wav=crops.wav[:1], mask=crops.mask[:1]))
    assert loss(out, crops).item() == pytest.approx(one.item(), rel=1e-6)


def test_statistics_equal_numpy_and_go_into_the_checkpoint():
    loss, batches = _loss(), [batch(rows=3, seed=seed) for seed in range(5)]
    batches[1].mask[0] = False  # an empty crop has no voice
    assert not loss.ready
    with pytest.raises(RequestError, match="call fit"):
        loss(output(), batch())
    loss.fit(batches, 16000)
    voices = torch.cat([VoiceTeacher().embed(b.wav, b.mask)[b.mask.any(1)] for b in batches]).detach().double().numpy()
    assert len(voices) == 14
    assert np.allclose(loss.mean.numpy(), voices.mean(0), rtol=1e-5) and np.allclose(loss.std.numpy(), voices.std(0), rtol=1e-3)
    other = _loss()
    other.load_state_dict(loss.state_dict())
    assert other.ready and other(output(), batch()).item() == loss(output(), batch()).item()


def test_a_dimension_that_never_moves_does_not_explode():
    loss = _loss(mean=[0.0] * 6, std=[0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert loss(output(), batch()).isfinite()


def test_refusals():
    with pytest.raises(RequestError, match="give both"):
        _loss(mean=[0.0] * 6)
    with pytest.raises(RequestError, match="from 1 crops"):
        _loss().fit([batch(rows=1)], 16000)


def test_the_teacher_stays_outside_and_the_loss_reaches_all_parameters():
    loss = _loss(**GIVEN)
    loss(output(), batch()).backward()
    assert not any("teacher" in name or "map" in name for name in loss.state_dict())
    silent = [name for name, parameter in loss.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert silent == []


def test_autocast():
    loss = _loss(**GIVEN)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(output(), batch())
    assert value.dtype == torch.float32 and value.item() == pytest.approx(loss(output(), batch()).item(), rel=1e-6)


# The two traps. A voice is one of eight points on a sphere in 16 dimensions, as ECAPA's are on theirs.

VOICES = nn.functional.normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(7)), dim=1)


class SphereTeacher(nn.Module):
    sample_rate, width = 16000, 16

    def embed(self, wav, mask=None):
        return VOICES[wav[:, 0].long()]


def _speakers(draw, rows=64):
    who = torch.randint(8, (rows,), generator=draw)
    return batch(rows=rows, samples=640), who


def _trained(loss, tokens_of, steps=150):
    """Held-out KL after training the head on ever new tokens."""
    draw = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    values = []
    for _ in range(steps):
        crops, who = _speakers(draw)
        crops.wav[:, 0] = who.float()
        tokens = tokens_of(draw, who)
        value = loss(replace(output(latent=tokens), z_rest=tokens), crops) if not hasattr(loss, "leak") else loss.leak(tokens, crops)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return float(np.mean(values[-20:]))


def _noise(draw, who):
    return torch.randn(len(who), 2, 16, generator=draw)


def _floor(distribution):
    """KL of the best constant answer: mean_i KL(p_i || mean p), for equally frequent voices."""
    p = distribution.double()
    return float((p * (p / p.mean(0)).log()).sum(1).mean())


class Leaky(AcousticAlignLoss):
    """The known wrong way: the tokens ask, the teacher's own features answer."""

    def leak(self, tokens, crops):
        target = self.target(crops, 16000)
        keys = torch.stack([self._embed(crops, 16000)] * 2, dim=1) * 4
        student = self.projection(self.pooling(keys + 0 * tokens, torch.ones(len(tokens), 2, dtype=torch.bool)))
        return nn.functional.kl_div(student.log_softmax(1), target, reduction="batchmean", log_target=True)


def _sphere(kind=AcousticAlignLoss):
    torch.manual_seed(0)
    return kind(SphereTeacher(), width=16, heads=8, mean=VOICES.mean(0).tolist(), std=VOICES.std(0, correction=0).tolist())


def test_pure_noise_tokens_stay_at_the_no_information_floor():
    loss = _sphere()
    floor = _floor(((VOICES - loss.mean) / loss.std).softmax(1))
    assert floor > 0.2
    assert _trained(loss, _noise) > 0.95 * floor
    assert _trained(_sphere(Leaky), _noise) < 0.3 * floor


def test_tokens_that_carry_the_voice_go_below_the_floor():
    loss = _sphere()
    floor = _floor(((VOICES - loss.mean) / loss.std).softmax(1))
    assert _trained(loss, lambda draw, who: 4 * VOICES[who][:, None].expand(-1, 2, -1)) < 0.3 * floor


def test_without_z_scores_the_teacher_says_next_to_nothing():
    loss = _sphere()
    scored, flat = ((VOICES - loss.mean) / loss.std).softmax(1), VOICES.softmax(1)
    between = lambda p: float(torch.stack([(a * (a / b).log()).sum() for a in p for b in p if a is not b]).mean())  # noqa: E731
    assert _floor(flat) < 0.1 * _floor(scored) and math.isfinite(between(scored))
    crops = batch(rows=8, samples=640)
    crops.wav[:, 0] = torch.arange(8).float()
    assert torch.allclose(loss.target(crops, 16000).exp(), scored, atol=1e-5)
