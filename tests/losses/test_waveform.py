"""Waveform and commitment: values, masks, gradients."""

from dataclasses import replace

import pytest
import torch

from laminal.losses.commitment import CommitmentLoss
from laminal.losses.waveform import WaveformLoss
from oracle_losses import batch, output, padded


def test_perfect_reconstruction_is_zero():
    crops = batch()
    assert WaveformLoss()(output(audio=crops.wav.clone()), crops).item() == 0


def test_value_by_hand_and_padding_left_out():
    crops = batch(rows=2, samples=3200)
    out, crops = padded(output(audio=crops.wav.clone()), crops, row=1, frames=4)
    audio = crops.wav.clone()
    audio[0] += 0.5
    audio[1, 4 * 320 :] = 1e6
    value = WaveformLoss()(replace(out, audio=audio), crops).item()
    assert value == pytest.approx(0.5 * 3200 / (3200 + 4 * 320), rel=1e-5)


def test_a_batch_of_one_and_an_empty_one():
    crops = batch(rows=1)
    assert WaveformLoss()(output(rows=1), crops).isfinite()
    silent = replace(crops, mask=torch.zeros_like(crops.mask))
    assert WaveformLoss()(output(rows=1), silent).item() == 0


def test_gradcheck():
    crops = batch(samples=12, dtype=torch.float64)
    out = output(dtype=torch.float64)
    audio = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    assert torch.autograd.gradcheck(lambda audio: WaveformLoss()(replace(out, audio=audio), crops), audio)


def test_commitment_is_the_mean_over_layers():
    out = replace(output(), commitment=torch.tensor([1.0, 2.0, 6.0], requires_grad=True))
    loss = CommitmentLoss()(out, batch())
    loss.backward()
    assert loss.item() == 3 and out.commitment.grad.tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_half_precision_audio(kind):
    crops = batch()
    out = output()
    value = WaveformLoss()(replace(out, audio=out.audio.to(kind)), crops)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(WaveformLoss()(out, crops).item(), rel=1e-2)
