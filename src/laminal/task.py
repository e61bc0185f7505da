"""Training as a LightningModule: generator and discriminator in turn, codebooks by EMA, everything needed to go on exactly."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor

from laminal.corpora.crops import Batch
from laminal.errors import RequestError
from laminal.losses.objective import Objective
from laminal.nn.average import Average
from laminal.nn.tokenizer import TrainedTokenizer

VALIDATED = ("waveform", "mel")  # losses that validation reports
FIT_BATCHES = 32  # start-up batches for the losses' constants (teacher statistics)


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW for both sides; rates fall by a cosine from `lr` to `lr * final_lr` after a linear warm-up, by generator step."""

    lr: float
    discriminator_lr: float
    betas: Sequence[float]
    weight_decay: float
    warmup_steps: int
    final_lr: float
    clip: float  # largest gradient norm; 0: no limit
    ema: float | None = None  # decay of the mean of the tokenizer's weights that is validated, probed and exported; null: the weights are

    def factor(self, step: int, total: int) -> float:
        """Share of the full rate at generator step `step` of `total`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, total - self.warmup_steps))
        return self.final_lr + (1 - self.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))


class TokenizerTask(lightning.LightningModule):
    """A tokenizer, its objective and their optimizers.

    `generator_step` counts optimizer steps of the generator: Lightning's `global_step` counts those of all optimizers.
    `start_up()` gives batches of no training step: they fit the losses' constants and start the codebooks.
    With `optimizer.ema` the mean of the tokenizer's weights (not of the losses' heads) is what `evaluated` gives; the training never
    sees it.
    """

    def __init__(
        self,
        tokenizer: TrainedTokenizer,
        objective: Objective,
        optimizer: OptimizerSettings,
        recipe: dict[str, Any],
        total_steps: int,
        accumulate: int = 1,
        start_up: Callable[[], Iterator[Batch]] | None = None,
        norms_until: int = 0,
        norms_every: int = 50,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.tokenizer = tokenizer
        self.objective = objective
        self.settings = optimizer
        self.recipe = recipe  # arguments of Tokenizer: with the weights all that a checkpoint needs to be probed
        self.total_steps = total_steps
        self.accumulate = accumulate
        self.start_up = start_up
        self.norms_until, self.norms_every = norms_until, norms_every
        self.generator_step = 0
        self.average = Average(tokenizer, optimizer.ema) if optimizer.ema else None
        self.origin: str | None = None  # hash of the published weights that it starts from, if any
        self.facts: dict[str, str] = {}  # of the run, for its checkpoints: its id at W&B
        self._micro = 0  # batches since the last optimizer step
        self._restored_rng: dict[str, Any] | None = None
        self._restored_gradients: dict[str, Tensor] = {}

    @property
    def at_step_end(self) -> bool:
        """Whether no batch waits for others to make a step with."""
        return self._micro == 0

    @property
    def batches(self) -> int:
        """Count the batches that were trained on."""
        return self.generator_step * self.accumulate + self._micro

    @property
    def evaluated(self) -> TrainedTokenizer:
        """What is validated, probed and exported: the tokenizer, or the mean of its weights."""
        return self.tokenizer if self.average is None else self.average.network(self.tokenizer)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One AdamW for tokenizer and loss heads, one for the discriminators where there are any."""
        settings = self.settings
        shared: dict[str, Any] = {"betas": (settings.betas[0], settings.betas[1]), "weight_decay": settings.weight_decay}
        generator = [*(p for p in self.tokenizer.parameters() if p.requires_grad), *self.objective.head_parameters()]
        optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(generator, lr=settings.lr, **shared)]
        discriminator = list(self.objective.discriminator_parameters())
        if discriminator:
            optimizers.append(torch.optim.AdamW(discriminator, lr=settings.discriminator_lr, **shared))
        return optimizers

    def on_train_start(self) -> None:
        """Fit what must be fitted before the first step, or put the random generators back where a checkpoint left them."""
        if self._restored_rng is not None:
            set_rng(self._restored_rng)
            for name, gradient in self._restored_gradients.items():
                parameter = self.get_parameter(name)
                parameter.grad = gradient.to(parameter.device)
            self._restored_rng, self._restored_gradients = None, {}
        elif self.start_up is not None:
            batches = (batch.to(self.device) for batch in self.start_up())
            if not self.objective.ready:
                self.objective.fit(list(islice(batches, FIT_BATCHES)), self.tokenizer.sample_rate)
            if not bool(self.tokenizer.quantizer.ready.all()):
                self.tokenizer.initialise((batch.wav, batch.mask) for batch in batches)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One micro-batch of generator, then discriminator; optimizers step every `accumulate` batches."""
        last = self._micro + 1 == self.accumulate
        factor = self.settings.factor(self.generator_step, self.total_steps)
        optimizers = self._optimizers()
        for optimizer, rate in zip(optimizers, (self.settings.lr, self.settings.discriminator_lr)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        with self._unsynchronised(not last):
            out = self.tokenizer(batch.wav, batch.mask)
            terms = self.objective.generator(out, batch, self.generator_step)
            shown = {f"train/{name}": value.detach() for name, value in terms.raw.items()}
            if last and self.generator_step < self.norms_until and self.generator_step % self.norms_every == 0:
                norms = self.objective.gradient_norms(out, terms.raw)
                shown |= {f"norm/{name}": torch.tensor(value) for name, value in norms.items()}
            self.manual_backward(terms.total / self.accumulate)
        if last:
            shown["train/gradient_norm"] = self._step(optimizers[0])
            if self.average is not None:
                self.average.update(self.tokenizer, self.generator_step)
        if len(optimizers) > 1 and self.objective.judged(self.generator_step):
            with self._unsynchronised(not last):
                loss = self.objective.discriminator(out, batch, self.generator_step)
                self.manual_backward(loss / self.accumulate)
            shown["train/discriminator"] = loss.detach()
            if last:
                self._step(optimizers[1])
        self._micro = 0 if last else self._micro + 1
        self.generator_step += int(last)
        shown |= {f"train/{name}": value for name, value in self.objective.logged().items()}
        shown["train/lr"] = torch.tensor(self.settings.lr * factor)
        for name, values in (("perplexity", out.perplexity), ("usage", out.usage)):
            shown |= {f"codebooks/{name}/L{layer:02d}": value for layer, value in enumerate(values.detach(), start=1)}
        return shown

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the reconstruction terms on fixed crops of held-out speakers."""
        out = self.evaluated(batch.wav, batch.mask)
        for name in VALIDATED:
            if name in self.objective.losses:
                self.log(f"val/{name}", self.objective.losses[name](out, batch), batch_size=len(batch.wav), logger=False, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out: the step, the random generators, how to build the tokenizer, and a step that is half done."""
        checkpoint["laminal"] = {"generator_step": self.generator_step, "rng": get_rng(), "tokenizer": self.recipe, "facts": self.facts}
        if self.average is not None:
            checkpoint["laminal"]["average"] = self.average.state()
        if not self.at_step_end:
            gradients = {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}
            checkpoint["laminal"] |= {"micro": self._micro, "gradients": gradients}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the step and the random generators; raises RequestError for a checkpoint of another tokenizer."""
        if "laminal" not in checkpoint:
            raise RequestError("the checkpoint has no 'laminal' section: it is not one of a laminal run; give resume=checkpoints/<run>")
        own = checkpoint["laminal"]
        other = sorted(name for name in {*own["tokenizer"], *self.recipe} if own["tokenizer"].get(name) != self.recipe.get(name))
        if other:
            said = ", ".join(f"{name}: {own['tokenizer'].get(name)} there, {self.recipe.get(name)} in config.yaml" for name in other)
            raise RequestError(f"the checkpoint holds another tokenizer ({said}); put back the config.yaml that the run was started with")
        if ("average" in own) != (self.average is not None):
            there, here = ("with", "without") if "average" in own else ("without", "with")
            raise RequestError(
                f"the checkpoint is of a run {there} optimizer.ema, config.yaml {here} it; put back the one that it was started with"
            )
        if self.average is not None:
            self.average.restore(own["average"])
        self.generator_step = own["generator_step"]
        self._micro = own.get("micro", 0)
        self._restored_rng, self._restored_gradients = own["rng"], own.get("gradients", {})

    def _optimizers(self) -> list[Any]:
        optimizers = self.optimizers()
        return list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]

    def _step(self, optimizer: Any) -> Tensor:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip or math.inf)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm.detach()

    def _unsynchronised(self, active: bool) -> Any:
        """Leave out the all-reduce of gradients that are not stepped on yet."""
        block = getattr(self.trainer.strategy, "block_backward_sync", nullcontext)
        return block() if active else nullcontext()


def get_rng() -> dict[str, Any]:
    """State of every global random generator, as tensors and plain values (loadable with weights_only)."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def same_rng(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two states of the global random generators are equal."""

    def flat(state: dict[str, Any]) -> list[Any]:
        return [state["torch"], *state["cuda"], *state["numpy"], *state["python"]]

    return all(torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(flat(a), flat(b), strict=True))


def set_rng(state: dict[str, Any]) -> None:
    """Put every global random generator into `state`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
