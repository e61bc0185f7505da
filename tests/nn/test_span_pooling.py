"""Attention pooling and span pooling against loops; masks; edges."""

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.nn.align import AttentionPooling, pool_spans
from oracle_losses import attention_pool, span_means


def _frames(rows=3, count=7, width=8, seed=0):
    return torch.randn(rows, count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _mask(*lengths, count=7):
    return torch.arange(count) < torch.tensor(lengths)[:, None]


def test_attention_equals_loops():
    pooling, frames = AttentionPooling(8, 4).double(), _frames()
    got = pooling(frames, _mask(7, 3, 1)).detach().numpy()
    for row, length in enumerate((7, 3, 1)):
        assert np.allclose(got[row], attention_pool(pooling, frames[row].numpy(), length))


def test_attention_ignores_padding_and_its_gradient():
    pooling, frames = AttentionPooling(8, 2).double(), _frames().requires_grad_()
    pooled = pooling(frames, _mask(7, 3, 0))
    assert pooled.isfinite().all()
    pooled[:2].sum().backward()
    assert frames.grad[1, 3:].abs().sum() == 0 and frames.grad[1, :3].abs().sum() > 0


def test_attention_gradcheck():
    pooling = AttentionPooling(4, 2).double()
    assert torch.autograd.gradcheck(lambda frames: pooling(frames, _mask(3, 2, count=3)), _frames(2, 3, 4).requires_grad_())


def test_attention_under_autocast():
    pooling = AttentionPooling(8, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert pooling(_frames().float(), _mask(7, 3, 1)).isfinite().all()


def test_heads_must_divide_the_width():
    with pytest.raises(RequestError, match="10 does not divide into 8"):
        AttentionPooling(10, 8)


SPANS = [(0, 0.0, 0.14), (1, 0.02, 0.05), (1, 0.04, 0.3), (0, 0.041, 0.049), (0, 0.03, 0.05), (2, 0.1, 0.12)]


def test_spans_equal_loops():
    frames, mask = _frames(), _mask(7, 3, 1)
    rows, starts, ends = (list(column) for column in zip(*SPANS, strict=True))
    got = pool_spans(frames, mask, torch.tensor(rows), torch.tensor(starts), torch.tensor(ends), 50.0)
    assert np.allclose(got.numpy(), span_means(frames.numpy(), [7, 3, 1], rows, starts, ends, 50.0))


def test_both_ends_of_a_span_belong_to_it():
    """Centres of frames at 50 Hz: 0.01, 0.03, 0.05 s."""
    frames = torch.arange(7.0)[None, :, None]
    for start, end, mean in ((0.03, 0.05, 1.5), (0.031, 0.05, 2.0), (0.03, 0.049, 1.0), (0.035, 0.04, 1.0), (0.042, 0.046, 2.0)):
        got = pool_spans(frames, _mask(7), torch.tensor([0]), torch.tensor([start]).double(), torch.tensor([end]).double(), 50.0)
        assert got.item() == mean


def test_no_spans_at_all():
    frames = _frames().requires_grad_()
    none = torch.zeros(0)
    pooled = pool_spans(frames, _mask(7, 3, 1), none.long(), none, none, 50.0)
    pooled.sum().backward()
    assert pooled.shape == (0, 8) and frames.grad.abs().sum() == 0


def test_span_gradcheck():
    rows, starts, ends = (torch.tensor(column) for column in zip(*SPANS, strict=True))
    pool = lambda frames: pool_spans(frames, _mask(7, 3, 1), rows, starts, ends, 50.0)  # noqa: E731
    assert torch.autograd.gradcheck(pool, _frames(width=2).requires_grad_())
