"""Accumulation with clipping is the large batch, and under bf16-mixed the norm that is clipped is that of float32 gradients."""

from dataclasses import fields, replace

import lightning
import pytest
import torch

from laminal.corpora.crops import Batch
from laminal.nn.tokenizer import Tokenizer
from laminal.training import FixedBatches, task_of
from oracle_losses import batch
from oracle_training import settings

CLIP = 1e-3  # below the norm of these gradients, the discriminators' too
EPSILON = 1e-6  # that torch adds to the norm


def norm(gradients):
    return float(torch.cat([each.double().flatten() for each in gradients]).norm())


def halves(whole: Batch) -> list[Batch]:
    rows = len(whole.wav) // 2
    cut = [{part.name: getattr(whole, part.name) for part in fields(whole)} for _ in range(2)]
    for number, each in enumerate(cut):
        for name in ("wav", "mask", "speaker"):
            each[name] = each[name][number * rows : (number + 1) * rows]
    return [Batch(**each) for each in cut]


@pytest.fixture
def fit(tiny_corpus, monkeypatch):
    """Train one step on given batches; gives the task, the gradients that each optimizer step found and the norm that was logged."""
    found = []
    real_step = torch.optim.AdamW.step

    def step(optimizer, *rest, **named):
        found.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"] if p.grad is not None])
        return real_step(optimizer, *rest, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)

    def run(batches, precision="32-true", clip=CLIP, discriminators=False):
        start = "0" if discriminators else "9"
        made = settings(
            tiny_corpus, f"trainer.accumulate={len(batches)}", f"optimizer.clip={clip}", "trainer.epochs=1", "trainer.steps_per_epoch=1",
            f"losses.adversarial.start={start}", f"losses.feature_matching.start={start}", "log.gradient_norms_until=0",
            "tokenizer.quantizer.decay=1.0", "tokenizer.quantizer.dead=0.0",  # codebooks stand still: they learn by micro-batch
        )  # fmt: skip
        task = task_of(made)
        assert isinstance(task.tokenizer, Tokenizer)
        spare = [batch(rows=4, samples=8000, seed=seed) for seed in range(20, 60)]
        task.tokenizer.initialise((each.wav, each.mask) for each in spare)
        task.tokenizer.train()(spare[0].wav, spare[0].mask)  # entries as their statistics give them, to the last bit
        found.clear()
        told = []
        real = task.training_step
        task.training_step = lambda batch, batch_idx: told.append(out := real(batch, batch_idx)) or out  # Lightning asks for these names
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, precision=precision, max_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(task, train_dataloaders=FixedBatches(batches))
        return task, list(found), float(told[-1]["train/gradient_norm"])

    return run


def test_accumulation_with_clipping_is_the_large_batch(fit):
    whole = batch(rows=4, samples=8000, seed=1)
    first, second = halves(whole)
    louder = replace(second, wav=3 * second.wav)  # halves of unlike gradients: clipping each of them would give another direction
    joined = replace(whole, wav=torch.cat([first.wav, louder.wav]))
    _, large, large_norm = fit([joined])
    task, small, small_norm = fit([first, louder])
    assert len(large) == len(small) == 1 and task.generator_step == 1 and small_norm > 2 * CLIP
    assert small_norm == pytest.approx(large_norm, rel=1e-4)
    assert norm(small[0]) == pytest.approx(CLIP, rel=1e-4)
    for ours, theirs in zip(small[0], large[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * CLIP)


def test_without_a_limit_nothing_is_clipped(fit):
    _, steps, told = fit([batch(rows=2, samples=8000, seed=1)], clip=0)
    assert norm(steps[0]) == pytest.approx(told, rel=1e-5) and told > 2 * CLIP


def test_bf16_clips_the_norm_of_float32_gradients(fit):
    """Weights, gradients and codebooks are float32; the norm is the one that float64 finds, for generator and discriminators."""
    given = [batch(rows=2, samples=8000, seed=1)]
    _, free, told = fit(given, "bf16-mixed", clip=0, discriminators=True)
    assert told == pytest.approx(norm(free[0]), rel=1e-5)
    task, steps, again = fit(given, "bf16-mixed", discriminators=True)
    assert again == told and len(steps) == 2
    for before, after in zip(free, steps, strict=True):
        assert norm(before) > 1.5 * CLIP
        scale = CLIP / (norm(before) + EPSILON)
        assert norm(after) == pytest.approx(scale * norm(before), rel=1e-5)  # a norm in bf16 would be off by up to 4e-3
        for a, b in zip(before, after, strict=True):
            torch.testing.assert_close(b, a * scale, rtol=1e-4, atol=1e-12)
        assert {each.dtype for each in after} == {torch.float32}
    assert {each.dtype for each in task.state_dict().values() if each.is_floating_point()} == {torch.float32}
    _, full, exact = fit(given, discriminators=True)
    assert again == pytest.approx(exact, rel=0.1) and again != exact  # it did compute in bf16
