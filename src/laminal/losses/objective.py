"""Objective: losses by name, each weighted once; raw terms and gradient norms to log; the discriminators' step."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from laminal.corpora.crops import Batch
from laminal.corpora.vocabulary import Sentences
from laminal.errors import DataError, RequestError
from laminal.losses.base import Critic, DiscriminatorFeatures, Held, Loss, frozen
from laminal.nn.balancer import Balancer
from laminal.nn.tokenizer import TokenizerOutput


@dataclass(frozen=True, slots=True)
class ObjectiveOutput:
    """`total`: weighted sum, to call backward on; `raw`: each term unweighted, with its graph; `logged`: further values, without graph."""

    total: Float[Tensor, ""]
    raw: dict[str, Float[Tensor, ""]]
    logged: dict[str, Float[Tensor, ""]]


class Objective(nn.Module):
    """The generator's objective, sum of weight * raw term, and the discriminators' own.

    A loss of weight 0 is dropped before anything of it is called; one with a step in `starts` is not called before that generator step, and
    discriminators learn from the first step that something needs them. With `balancer` (a function from names to a Balancer) the losses on
    the waveform alone go through it; losses on codes stay outside (EnCodec, arXiv 2210.13438, section 3.4).
    Raises RequestError for a weight without its loss, a loss without its weight, a weight that is negative or not finite, and a loss that
    needs discriminators where none of weight above 0 owns them.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss],
        weights: Mapping[str, float | int],
        balancer: Callable[[Sequence[str]], Balancer] | None = None,
        starts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.starts = dict(starts or {})
        if set(losses) != set(weights):
            raise RequestError(f"losses and weights differ in {sorted(set(losses) ^ set(weights))}; give each loss one weight")
        self.weights = {name: checked_weight(name, weights[name]) for name in losses if weights[name] != 0}
        self.losses = nn.ModuleDict({name: losses[name] for name in self.weights})
        critics = [name for name, loss in self._losses() if isinstance(loss, Critic)]
        wanting = [name for name, loss in self._losses() if loss.needs_features]
        if len(critics) > 1 or (wanting and not critics):
            raise RequestError(f"{wanting} need one loss that owns discriminators, there are {critics}; give adversarial a weight above 0")
        self._critic = critics[0] if critics else None
        on_waveform = [name for name, loss in self._losses() if loss.on_waveform]
        self.balancer = balancer(on_waveform) if balancer is not None and on_waveform else None

    def generator(self, out: TokenizerOutput, batch: Batch, step: int | None = None) -> ObjectiveOutput:
        """Give the generator's terms; the discriminators are judges here and receive no gradient.

        Raises FloatingPointError naming the loss (and `step`) where a term is not finite.
        """
        critic = self.critic if self.judged(step) else None
        for _, loss in self._losses():
            loss.logged = {}  # what the discriminators' last step left belongs to that step
        with frozen(critic.discriminators) if critic is not None else nullcontext():
            features: DiscriminatorFeatures | None = critic.features(out, batch) if critic is not None else None
            raw = {name: loss(out, batch, features) for name, loss in self._losses() if self._started(name, step)}
        _check_finite(raw, step)
        return ObjectiveOutput(self._total(raw, out), raw, self.logged())

    def forward(self, out: TokenizerOutput, batch: Batch, step: int | None = None) -> ObjectiveOutput:
        """Give the generator's terms."""
        return self.generator(out, batch, step)

    def judged(self, step: int | None = None) -> bool:
        """Whether a loss of `step` needs the discriminators, which then have a step of their own; `step` None: after every start."""
        return self.critic is not None and any(loss.needs_features and self._started(name, step) for name, loss in self._losses())

    def discriminator(self, out: TokenizerOutput, batch: Batch, step: int | None = None) -> Float[Tensor, ""]:
        """Give the discriminators' loss; raises RequestError where there are none (see `critic`), FloatingPointError if not finite."""
        if self.critic is None:
            raise RequestError("this objective has no discriminators; ask for their step only where `critic` is not None")
        loss = self.critic.discriminator(out, batch)
        _check_finite({"discriminator": loss}, step)
        return loss

    def logged(self) -> dict[str, Float[Tensor, ""]]:
        """Give what the losses say of their last forward besides the term, without gradient."""
        return {f"{name}/{key}": value for name, loss in self._losses() for key, value in loss.logged.items()}

    def gradient_norms(self, out: TokenizerOutput, raw: Mapping[str, Float[Tensor, ""]]) -> dict[str, float]:
        """L2 norm of each unweighted term's gradient at the latent, before `backward` is called on the total.

        Since z, z_1 and z_2:K are straight-through copies of the latent, this is the norm at z for a loss on audio, at z_1 or z_2:K for a
        loss on codes: one place where all can be compared. Costs a backward pass through the decoder for each loss on audio.
        """
        norms = {}
        for name, term in raw.items():
            gradient: Tensor | None = None
            if term.requires_grad:
                (gradient,) = torch.autograd.grad(term, out.latent, retain_graph=True, allow_unused=True)
            norms[name] = 0.0 if gradient is None else float(gradient.float().norm())
        return norms

    def fit(self, batches: Sequence[Batch], sample_rate: int) -> None:
        """Let the losses that need it learn their constants from training batches; what a checkpoint brought is kept."""
        for _, loss in self._losses():
            if not loss.ready:
                loss.fit(batches, sample_rate)

    def check(self, frame_rate: float) -> None:
        """Raise RequestError where a loss cannot take a tokenizer of `frame_rate` Hz."""
        for _, loss in self._losses():
            loss.check(frame_rate)

    def attend(self, sentences: Callable[[], Sentences]) -> None:
        """Give the losses that read the training corpus's sentences; they are not made where none does."""
        reading = [loss for _, loss in self._losses() if loss.needs_sentences]
        if reading:
            made = sentences()
            for loss in reading:
                loss.attend(made)

    @property
    def teachers(self) -> dict[str, Any]:
        """Teachers, by the names under which batches bring what they hear of whole recordings, of the losses that can take it."""
        found = [getattr(loss, "teacher", None) for _, loss in self._losses() if loss.hears_recordings]
        return {each.name: each.teacher for each in found if isinstance(each, Held) and each.name}

    @property
    def ready(self) -> bool:
        """Whether no loss waits for `fit`."""
        return all(loss.ready for _, loss in self._losses())

    @property
    def critic(self) -> Critic | None:
        """The loss that owns the discriminators, if any."""
        loss = self.losses[self._critic] if self._critic is not None else None
        return loss if isinstance(loss, Critic) else None

    def discriminator_parameters(self) -> list[nn.Parameter]:
        """Parameters of the discriminators' optimizer; empty where there are none."""
        return [] if self.critic is None else list(self.critic.discriminators.parameters())

    def head_parameters(self) -> list[nn.Parameter]:
        """Parameters of the losses that are learnt with the generator: projections and pooling."""
        judges = {id(parameter) for parameter in self.discriminator_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in judges]

    def _total(self, raw: Mapping[str, Tensor], out: TokenizerOutput) -> Tensor:
        balanced: tuple[str, ...] = ()
        terms = []
        if self.balancer is not None and self.training and out.audio.requires_grad:
            balanced = tuple(name for name in self.balancer.names if name in raw)
            terms += [self.balancer(raw, self.weights, out.audio)] if balanced else []
        terms += [self.weights[name] * term for name, term in raw.items() if name not in balanced]
        return torch.stack(terms).sum() if terms else out.latent.sum() * 0

    def _started(self, name: str, step: int | None) -> bool:
        return step is None or step >= self.starts.get(name, 0)

    def _losses(self) -> Iterator[tuple[str, Loss]]:
        for name, loss in self.losses.items():
            assert isinstance(loss, Loss)
            yield name, loss


def build(losses: Mapping[str, Mapping[str, Any]], balancer: Callable[[Sequence[str]], Balancer] | None = None) -> Objective:
    """Build the objective from configurations (`_target_`, `weight`, `start`, arguments); one of weight 0 is not even constructed.

    `balancer`: see Objective; None for fixed weights alone.
    Raises RequestError where a configuration has no weight or arguments that do not fit, and whatever its loss or Objective raises.
    """
    built, weights, starts = {}, {}, {}
    teachers: dict[str, Held[Any]] = {}
    for name, config in losses.items():
        arguments = dict(config)
        if "weight" not in arguments:
            raise RequestError(f"losses.{name} has no weight; say losses.{name}.weight=1, or 0 to leave it out")
        weight = checked_weight(name, arguments.pop("weight"))
        start = checked_start(name, arguments.pop("start", 0))
        if weight:
            built[name], weights[name], starts[name] = _construct(name, arguments, teachers), weight, start
    return Objective(built, weights, balancer, starts)


def _construct(name: str, arguments: dict[str, Any], teachers: dict[str, Held[Any]]) -> Loss:
    """Build a loss; teachers of the same configuration are one, and are kept in `teachers`."""
    given, objects = arguments.get("teacher"), {}
    if isinstance(given, Mapping) and "_target_" in given:
        told = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
        if told not in teachers:
            teachers[told] = Held(_instantiated(name, dict(given)), told)
        kind = _located(str(arguments.get("_target_", "")))
        objects["teacher"] = teachers[told] if getattr(kind, "takes_held", False) else teachers[told].teacher
    loss = _instantiated(name, {key: value for key, value in arguments.items() if key not in objects}, **objects)
    if not isinstance(loss, Loss):
        raise RequestError(f"losses.{name} is a {type(loss).__name__}, not a Loss; its _target_ must subclass laminal.losses.base.Loss")
    return loss


def _located(target: str) -> Any:
    from hydra.utils import get_object

    try:
        return get_object(target)
    except Exception:  # what is wrong with it is said where it is built
        return None


def _instantiated(name: str, config: dict[str, Any], **objects: Any) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(config, _convert_="all", **objects)
    except InstantiationException as error:  # hydra wraps what a constructor raised
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, RequestError | DataError | OSError):
            cause = cause.__cause__
        if isinstance(cause, RequestError | DataError | OSError):
            raise cause from None
        raise RequestError(f"losses.{name} cannot be built ({' '.join(str(cause).split())}); configs/losses has its arguments") from error


def checked_weight(name: str, weight: object) -> float:
    """Give the weight as a number; raises RequestError where it is none, or negative, or not finite."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise RequestError(f"the weight of {name} is {weight!r}, not a number from 0 on; use 0 to leave the loss out")
    return float(weight)


def checked_start(name: str, start: object) -> int:
    """Give the generator step that a loss starts at; raises RequestError where it is no whole number from 0 on."""
    if isinstance(start, bool) or not isinstance(start, int) or start < 0:
        raise RequestError(f"the start of {name} is {start!r}, not a generator step from 0 on; 0 starts it with the training")
    return start


def _check_finite(terms: Mapping[str, Tensor], step: int | None) -> None:
    """Look at all terms at once (one wait for the device), and at each only when something is wrong."""
    if not terms or bool(torch.stack([term.detach().float() for term in terms.values()]).isfinite().all()):
        return
    wrong = {name: float(term.detach()) for name, term in terms.items() if not bool(term.isfinite())}
    at = "" if step is None else f" at step {step}"
    said = ", ".join(f"{name} is {value}" for name, value in wrong.items())
    raise FloatingPointError(f"loss {said}{at}: losses must be finite; lower the learning rate, or go on from the last checkpoint")
