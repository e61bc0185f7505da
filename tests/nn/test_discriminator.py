"""MS-STFT discriminator against loops, its time alignment, masks, and refusals."""

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.nn.discriminator import MultiScaleSTFTDiscriminator, STFTDiscriminator
from oracle_losses import conv2d, stft


def _wav(rows=1, samples=200, seed=0):
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_scale_equals_loops():
    torch.manual_seed(0)
    scale = STFTDiscriminator(32, 16, 3).double()
    wav = _wav(samples=112)
    judged = scale(wav)
    spectrum = stft(wav[0].numpy(), 32, 16)
    image = np.stack([spectrum.real, spectrum.imag])
    assert np.allclose(scale.spectrogram(wav)[0].numpy(), image, atol=1e-6)  # the window is stored in fp32
    for layer, feature in zip(scale.layers, judged.features, strict=True):
        image = conv2d(image, layer.weight.detach().numpy(), layer.bias.detach().numpy(), layer.stride, layer.padding, layer.dilation)
        image = np.where(image > 0, image, 0.2 * image)
        assert np.allclose(feature[0].detach().numpy(), image, atol=1e-6)
    head = scale.head
    logits = conv2d(image, head.weight.detach().numpy(), head.bias.detach().numpy(), (1, 1), (1, 1), (1, 1))
    assert judged.logits.shape[1] == 1 and np.allclose(judged.logits[0].detach().numpy(), logits, atol=1e-6)


def test_white_noise_has_power_one_at_every_scale():
    wav = torch.randn(8, 8192, generator=torch.Generator().manual_seed(1))
    for n_fft in (64, 256, 1024):
        middle = STFTDiscriminator(n_fft, n_fft // 2, 1).spectrogram(wav)[:, :, 4:-4, 4:-4]
        assert middle.square().sum(1).mean().item() == pytest.approx(1, rel=0.05)


def test_input_is_channels_last_in_memory():
    image = STFTDiscriminator(64, 32, 2).spectrogram(torch.randn(2, 640))
    assert image.shape == (2, 2, 21, 33) and image.is_contiguous(memory_format=torch.channels_last)


def test_frames_stay_centred_at_the_hop():
    """A click at sample 640 moves every layer symmetrically around frame 640 / hop."""
    scale = STFTDiscriminator(64, 32, 4).double()
    silence, click = torch.zeros(1, 1600, dtype=torch.float64), torch.zeros(1, 1600, dtype=torch.float64)
    click[0, 640] = 1
    for quiet, loud in zip(scale(silence).features, scale(click).features, strict=True):
        touched = (loud - quiet).abs().sum(dim=(0, 1, 3)).gt(1e-9).nonzero()[:, 0]
        assert (touched.min() + touched.max()) / 2 == 640 / 32


def test_frame_masks_follow_the_centres():
    net = MultiScaleSTFTDiscriminator([64, 32], 2, 4)
    mask = torch.ones(2, 100, dtype=torch.bool)
    mask[1, 41:] = False
    for scale, judged, frames in zip(net.scales, net(torch.randn(2, 100)), net.frame_masks(mask), strict=True):
        assert frames.shape == (2, judged.logits.shape[2]) == (2, 100 // scale.hop + 1)
        assert frames[0].all() and frames[1].tolist() == [k * scale.hop <= 40 for k in range(frames.shape[1])]


def test_a_batch_of_one_equals_the_batch():
    net = MultiScaleSTFTDiscriminator([64, 32], 2, 2).double()
    wav = _wav(3)
    for together, alone in zip(net(wav), net(wav[1:2]), strict=True):
        assert torch.allclose(together.logits[1:2], alone.logits)


def test_gradients_reach_every_parameter_and_the_audio():
    net = MultiScaleSTFTDiscriminator([64], 2, 2)
    wav = torch.randn(2, 320).requires_grad_()
    net(wav)[0].logits.square().sum().backward()
    assert wav.grad.abs().sum() > 0 and all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_gradcheck():
    scale = STFTDiscriminator(16, 8, 2).double()
    scale.requires_grad_(False)
    assert torch.autograd.gradcheck(lambda wav: scale(wav).logits, _wav(samples=40).requires_grad_())


def test_half_precision_leaves_the_spectrogram_alone():
    net = STFTDiscriminator(64, 32, 2)
    wav = torch.randn(1, 320)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.spectrogram(wav.bfloat16()), net.spectrogram(wav.bfloat16().float()))
        assert net(wav).logits.dtype == torch.bfloat16


def test_nothing_but_parameters_in_the_checkpoint():
    assert all("window" not in name for name in MultiScaleSTFTDiscriminator([64], 2, 2).state_dict())


@pytest.mark.parametrize(("n_ffts", "hops"), [([], 2), ([1000], 2), ([8], 2), ([512], 3)])
def test_refusals(n_ffts, hops):
    with pytest.raises(RequestError, match="use|hop"):
        MultiScaleSTFTDiscriminator(n_ffts, 4, hops)
