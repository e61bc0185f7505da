"""Synonym contrast against loops; positives, exclusions, hard negatives; no positives at all."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.losses.synonym_contrast import SynonymContrastLoss
from oracle_losses import batch, info_nce, output, padded, span_means

SPANS = [(0, 0.0, 0.06), (0, 0.06, 0.12), (1, 0.02, 0.08), (1, 0.08, 0.1), (0, 0.13, 0.2), (1, 0.041, 0.049)]
PAIRS = {"positive": [(0, 2), (0, 4), (1, 3)], "excluded": [(0, 3), *((i, i) for i in range(6))], "hard": [(0, 1), (2, 5)]}


def _loss(**settings):
    torch.manual_seed(0)
    return SynonymContrastLoss(**({"width": 8, "projection": 5, "temperature": 0.2, "hard_weight": 3.0, "codebooks": 1} | settings))


def _oracle(loss, frames, crops, lengths=(10, 10)):
    rows, starts, ends = (np.array(column) for column in zip(*SPANS, strict=True))
    spans = span_means(frames.detach().double().numpy(), lengths, rows, starts.astype(np.float32), ends.astype(np.float32), 50.0)
    vectors = spans @ loss.projection.weight.detach().double().numpy().T
    return info_nce(vectors, crops.positive, crops.excluded, crops.hard, loss.temperature, loss.hard_weight)


@pytest.mark.parametrize("hard_weight", [1.0, 3.0])
@pytest.mark.parametrize("codebooks", [1, 2])
def test_equals_loops(codebooks, hard_weight):
    loss, out, crops = _loss(codebooks=codebooks, hard_weight=hard_weight), output(), batch(spans=SPANS, pairs=PAIRS)
    frames = out.z_1 if codebooks == 1 else out.through(2)
    assert not torch.equal(out.z_1, out.through(2))
    assert loss(out, crops).item() == pytest.approx(_oracle(loss, frames, crops), rel=1e-5)


def test_padded_frames_are_in_no_span():
    loss = _loss()
    out, crops = padded(output(), batch(spans=SPANS, pairs=PAIRS), row=0, frames=8)
    noisy = out.z_1.detach().clone()
    noisy[0, 8:] = 100
    value = loss(replace(out, z_1=noisy), crops).item()
    assert value == loss(out, crops).item() == pytest.approx(_oracle(loss, out.z_1, crops, (8, 10)), rel=1e-5)


def test_excluded_spans_have_no_say():
    """Span 3 is excluded for 0; moving it must not change 0's terms, moving hard negative 1 must."""
    only = {"positive": [(0, 2)], "excluded": [(0, 3), (2, 3)], "hard": [(0, 1)]}
    loss, out, crops = _loss(), output(), batch(spans=SPANS, pairs=only)
    out.z_1.retain_grad()
    loss(out, crops).backward()
    inside_3, inside_1 = out.z_1.grad[1, 4:5], out.z_1.grad[0, 3:6]
    assert inside_3.abs().sum() == 0 and inside_1.abs().sum() > 0


def test_harder_negatives_push_more():
    crops, out = batch(spans=SPANS, pairs=PAIRS), output()
    values = [_loss(hard_weight=weight)(out, crops).item() for weight in (1.0, 2.0, 8.0)]
    assert values == sorted(values) and values[0] < values[2]


@pytest.mark.parametrize("spans", [SPANS, SPANS[:1], []])
def test_without_positives_exactly_nothing(spans):
    loss, out, crops = _loss(), output(), batch(spans=spans, pairs={"hard": [(0, 1)]} if len(spans) > 1 else {})
    value = loss(out, crops)
    value.backward()
    assert value.item() == 0
    assert loss.projection.weight.grad is not None and loss.projection.weight.grad.abs().sum() == 0  # DDP wants every parameter touched
    assert out.latent.grad is not None and out.latent.grad.abs().sum() == 0


def test_positives_without_negatives_are_exactly_nothing():
    two = {"positive": [(0, 1)]}
    loss, out, crops = _loss(), output(), batch(spans=SPANS[:2], pairs=two)
    value = loss(out, crops)
    value.backward()
    assert value.item() == 0 and out.latent.grad.abs().sum() == 0


def test_gradcheck():
    loss, crops = _loss(width=3, projection=2).double(), batch(spans=SPANS, pairs=PAIRS)
    out = output(width=3, dtype=torch.float64)
    z_1 = out.z_1.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z_1: loss(replace(out, z_1=z_1), crops), z_1)
    with_weight = lambda w: torch.func.functional_call(loss, {"projection.weight": w}, (out, crops))  # noqa: E731
    assert torch.autograd.gradcheck(with_weight, loss.projection.weight)


def test_training_brings_positives_together():
    loss, crops = _loss(temperature=0.1), batch(spans=SPANS, pairs=PAIRS)
    latent = torch.randn(2, 10, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
    optimizer = torch.optim.Adam([latent, *loss.parameters()], 0.05)
    first = None
    for _ in range(60):
        value = loss(output(latent=latent), crops)
        first = first or value.item()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 0.2 * first and loss.logged["accuracy"] == 1 and loss.logged["positives"] == 6


def test_accuracy_is_the_share_of_positives_that_beat_all_negatives():
    loss, out, crops = _loss(), output(), batch(spans=SPANS, pairs=PAIRS)
    loss(out, crops)
    rows, starts, ends = (np.array(column) for column in zip(*SPANS, strict=True))
    spans = span_means(out.z_1.detach().double().numpy(), (10, 10), rows, starts, ends, 50.0)
    unit = spans @ loss.projection.weight.detach().double().numpy().T
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    won, cells = 0, 0
    for a in range(6):
        negatives = [n for n in range(6) if n != a and not crops.positive[a, n] and not crops.excluded[a, n]]
        for p in np.flatnonzero(crops.positive[a].numpy()):
            cells, won = cells + 1, won + all(unit[a] @ unit[p] > unit[a] @ unit[n] for n in negatives)
    assert loss.logged["accuracy"].item() == pytest.approx(won / cells)


def test_autocast_stays_in_full_precision():
    loss, out, crops = _loss(), output(), batch(spans=SPANS, pairs=PAIRS)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(out, crops)
    assert value.dtype == torch.float32 and value.item() == loss(out, crops).item()


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"hard_weight": 0.5}, {"codebooks": 0}])
def test_refusals(settings):
    with pytest.raises(RequestError, match="is not positive|is below 1"):
        _loss(**settings)
