"""Mel loss against loops, torchaudio's filters, masks, scale normalisation, gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.losses.mel import MelLoss
from oracle_losses import batch, mel_filters, mel_loss, output, padded


def _loss(shortest=5, longest=7, mels=20):
    return MelLoss(sample_rate=16000, mels=mels, shortest=shortest, longest=longest, log_weight=1.0, floor=1e-4)


def test_equals_loops_with_padding():
    crops = batch(samples=3200, dtype=torch.float64)
    out, crops = padded(output(dtype=torch.float64), crops, row=1, frames=6)
    expected = mel_loss(out.audio.detach().numpy(), crops.wav.numpy(), [3200, 1920], 16000, 20, [32, 64, 128], 1.0, 1e-4)
    assert _loss()(out, crops).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("window", [32, 512, 2048])
def test_filters_are_the_htk_triangles(window):
    filters = MelLoss(16000, 64, 5, 11, 1.0, 1e-4).get_buffer(f"filters_{window}")
    assert np.allclose(filters.numpy(), mel_filters(16000, 64, window), atol=1e-5)


def test_perfect_reconstruction_is_zero_and_has_a_finite_gradient():
    crops = batch()
    crops.wav[0, :1000] = 0  # digital silence: the magnitude has no derivative there
    audio = crops.wav.clone().requires_grad_()
    loss = _loss(longest=11, mels=64)(output(audio=audio), crops)
    loss.backward()
    assert loss.item() == 0 and audio.grad.isfinite().all()


def test_padding_does_not_count():
    crops = batch()
    out, crops = padded(output(), crops, row=0, frames=3)
    first = _loss()(out, crops)
    louder = out.audio.clone()
    louder[0, 960:] += 100
    assert _loss()(replace(out, audio=louder), crops).item() == first.item()


def test_white_noise_weighs_the_same_at_every_scale():
    wav = torch.randn(4, 16000, generator=torch.Generator().manual_seed(0))
    loss = MelLoss(16000, 64, 5, 11, 1.0, 1e-4)
    means = [loss.mel(wav, window)[:, 8:-8].mean().item() for window in loss.windows]
    assert max(means) / min(means) < 1.05


def test_twice_as_loud_is_known():
    """Doubling a signal moves the log part by 2 log10 2 = 0.602 bel at each bin that is well above the floor."""
    crops = batch(rows=1, samples=16000)
    loud = replace(crops, wav=crops.wav * 100)
    linear, both = (MelLoss(16000, 16, 9, 9, weight, 1e-9)(output(rows=1, frames=50, audio=2 * loud.wav), loud) for weight in (0.0, 1.0))
    assert (both - linear).item() == pytest.approx(0.60206**2, rel=1e-3)


def test_gradcheck():
    crops = batch(rows=1, samples=70, dtype=torch.float64)
    out = output(rows=1, dtype=torch.float64)
    audio = torch.randn(1, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    loss = _loss(5, 6, 6)
    assert torch.autograd.gradcheck(lambda audio: loss(replace(out, audio=audio), crops), audio)


def test_autocast_changes_nothing():
    crops, out, loss = batch(), output(), _loss()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(out, crops).item() == loss(out, crops).item()
        value = loss(replace(out, audio=out.audio.bfloat16()), crops)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(loss(out, crops).item(), rel=0.05)


def test_refusals_and_an_empty_checkpoint():
    assert not _loss().state_dict()
    with pytest.raises(RequestError, match="24000 Hz"):
        _loss()(replace(output(), sample_rate=24000), batch())
    with pytest.raises(RequestError, match="shortest=5"):
        _loss(6, 5)
