"""Hinge and feature matching: values by hand, masks, and who receives gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.losses.adversarial import AdversarialLoss
from laminal.losses.base import DiscriminatorFeatures, frozen
from laminal.losses.feature_matching import FeatureMatchingLoss
from oracle_losses import batch, output, padded


def _judged(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(2, 1, 5, 3), (2, 1, 9, 2)]
    features = [[(2, 4, 5, 6), (2, 4, 5, 3)], [(2, 4, 9, 4), (2, 4, 9, 2)]]
    noise = lambda shape: 2 * torch.randn(shape, generator=draw, dtype=torch.float64)  # noqa: E731
    masks = [torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 9, dtype=torch.bool)]
    masks[0][1, 3:], masks[1][1, 5:] = False, False
    return DiscriminatorFeatures(
        real_logits=tuple(noise(shape) for shape in shapes),
        real_features=tuple(tuple(noise(shape) for shape in layers) for layers in features),
        fake_logits=tuple(noise(shape) for shape in shapes),
        fake_features=tuple(tuple(noise(shape) for shape in layers) for layers in features),
        masks=tuple(masks),
    )


def _loss(seed=0):
    torch.manual_seed(seed)
    return AdversarialLoss(n_ffts=[128, 64], filters=2, hops_per_window=2)


def test_hinge_equals_loops():
    judged = _judged()
    scales = []
    for logits, mask in zip(judged.fake_logits, judged.masks, strict=True):
        cells = [max(0.0, 1 - float(v)) for b in range(2) for k in range(mask.shape[1]) if mask[b, k] for v in logits[b, 0, k]]
        scales.append(np.mean(cells))
    assert _loss()(output(), batch(), judged).item() == pytest.approx(np.mean(scales))


def test_feature_matching_equals_loops():
    judged = _judged()
    ratios = []
    for reals, fakes, mask in zip(judged.real_features, judged.fake_features, judged.masks, strict=True):
        for real, fake in zip(reals, fakes, strict=True):
            keep = [(b, k) for b in range(2) for k in range(mask.shape[1]) if mask[b, k]]
            above = np.mean([(real[b, :, k] - fake[b, :, k]).abs().numpy() for b, k in keep])
            ratios.append(above / np.mean([real[b, :, k].abs().numpy() for b, k in keep]))
    assert FeatureMatchingLoss()(output(), batch(), judged).item() == pytest.approx(np.mean(ratios))


def test_gradchecks():
    judged = _judged()
    logits, inner = judged.fake_logits[0].requires_grad_(), judged.fake_features[0][1].requires_grad_()
    hinge, matching = _loss(), FeatureMatchingLoss()
    assert torch.autograd.gradcheck(lambda x: hinge(output(), batch(), replace(judged, fake_logits=(x, *judged.fake_logits[1:]))), logits)
    layers = lambda x: ((judged.fake_features[0][0], x), judged.fake_features[1])  # noqa: E731
    assert torch.autograd.gradcheck(lambda x: matching(output(), batch(), replace(judged, fake_features=layers(x))), inner)


def test_perfect_reconstruction_matches_all_features():
    crops = batch()
    loss, out = _loss(), output(audio=crops.wav.clone())
    assert FeatureMatchingLoss()(out, crops, loss.features(out, crops)).item() == 0


def test_discriminator_step_equals_two_passes():
    crops = batch()
    loss, (out, crops) = _loss(), padded(output(), crops, row=1, frames=6)
    got = loss.discriminator(out, crops)
    real, fake = (loss.discriminators(wav * crops.mask) for wav in (crops.wav, out.audio.detach()))
    scales = []
    for scale, (yes, no) in enumerate(zip(real, fake, strict=True)):
        mask = loss.discriminators.frame_masks(crops.mask)[scale]
        side = lambda logits: torch.relu(1 - logits)[:, 0][mask].mean()  # noqa: B023, E731
        scales.append((side(yes.logits) + side(-no.logits)).item())
    assert got.item() == pytest.approx(np.mean(scales), rel=1e-5)


def test_discriminator_step_leaves_the_tokenizer_alone():
    out = output()
    _loss().discriminator(out, batch()).backward()
    assert out.latent.grad is None


def test_frozen_judges_pass_gradients_through():
    loss, crops, out = _loss(), batch(), output()
    with frozen(loss.discriminators):
        assert not any(parameter.requires_grad for parameter in loss.parameters())
        judged = loss.features(out, crops)
    (loss(out, crops, judged) + FeatureMatchingLoss()(out, crops, judged)).backward()
    assert out.latent.grad.abs().sum() > 0
    assert all(parameter.requires_grad and parameter.grad is None for parameter in loss.parameters())
    assert not any(feature.requires_grad for layers in judged.real_features for feature in layers)


def test_padding_is_not_judged():
    loss = _loss()
    out, crops = padded(output(), batch(), row=0, frames=5)
    audio, wav = out.audio.detach().clone(), crops.wav.clone()
    audio[0, 1600:], wav[0, 1600:] = 7, -7
    loud, hidden = replace(out, audio=audio), replace(crops, wav=wav)
    for a, b in ((out, crops), (loud, hidden)):
        judged = loss.features(a, b)
        values = [loss(a, b, judged).item(), FeatureMatchingLoss()(a, b, judged).item(), loss.discriminator(a, b).item()]
        if a is out:
            expected = values
    assert values == expected


def test_discriminator_learns_to_tell_noise_from_tones():
    loss = _loss()
    optimizer = torch.optim.Adam(loss.parameters(), 1e-2)
    tone = torch.sin(torch.arange(3200) * 0.3).expand(2, 3200)
    for step in range(40):
        crops = batch(seed=step)
        value = loss.discriminator(output(audio=0.1 * tone), crops)
        first = value.item() if step == 0 else first
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 0.5 * first and loss.logged["real_accepted"] > 0.9 and loss.logged["fake_accepted"] < 0.1


def test_autocast_and_missing_features():
    loss, crops, out = _loss(), batch(), output()
    with torch.autocast("cpu", torch.bfloat16):
        judged = loss.features(out, crops)
        values = loss(out, crops, judged), FeatureMatchingLoss()(out, crops, judged), loss.discriminator(out, crops)
    assert all(value.isfinite() and value.dtype == torch.float32 for value in values)
    for asks in (loss, FeatureMatchingLoss()):
        with pytest.raises(RequestError, match="weight above 0"):
            asks(out, crops)
