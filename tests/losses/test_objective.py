"""Objective: weights once, weight 0 for nothing, gradient norms, balancer, discriminator step, the twins, a real tokenizer."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from laminal.config import names, plain, twin
from laminal.errors import RequestError
from laminal.losses.acoustic_align import AcousticAlignLoss
from laminal.losses.adversarial import AdversarialLoss
from laminal.losses.base import Loss
from laminal.losses.commitment import CommitmentLoss
from laminal.losses.feature_matching import FeatureMatchingLoss
from laminal.losses.mel import MelLoss
from laminal.losses.objective import Objective, build
from laminal.losses.semantic_distill import SemanticDistillLoss
from laminal.losses.synonym_contrast import SynonymContrastLoss
from laminal.losses.waveform import WaveformLoss
from laminal.nn.balancer import Balancer
from laminal.nn.tokenizer import Tokenizer
from oracle_losses import Sentences, ToneTeacher, VoiceTeacher, batch, output

WEIGHTS = {
    "waveform": 0.1, "mel": 15.0, "adversarial": 1.0, "feature_matching": 2.0, "commitment": 0.25, "semantic_distill": 0.5,
    "acoustic_align": 0.5, "synonym_contrast": 0.5,
}  # fmt: skip
ON_WAVEFORM = ["waveform", "mel", "adversarial", "feature_matching"]
SPANS = {"spans": [(0, 0.0, 0.06), (0, 0.06, 0.12), (1, 0.02, 0.08)], "pairs": {"positive": [(0, 2)], "hard": [(0, 1)]}}


def _losses(width=8):
    torch.manual_seed(0)
    return {
        "waveform": WaveformLoss(),
        "mel": MelLoss(16000, 20, 5, 8, 1.0, 1e-4),
        "adversarial": AdversarialLoss([128, 64], 2, 2),
        "feature_matching": FeatureMatchingLoss(),
        "commitment": CommitmentLoss(),
        "semantic_distill": SemanticDistillLoss(ToneTeacher(), width, "frame"),
        "acoustic_align": AcousticAlignLoss(VoiceTeacher(), width, 2, [0.1] * 6, [0.1] * 6),
        "synonym_contrast": SynonymContrastLoss(width, 4, 0.1, 2.0, 1),
    }


def _objective(names=tuple(WEIGHTS), weights=WEIGHTS, **settings):
    losses = _losses()
    return Objective({name: losses[name] for name in names}, {name: weights[name] for name in names}, **settings)


class Mine(Loss):
    name = "mine"

    def __init__(self, value=1.0):
        super().__init__()
        self.value = value

    def forward(self, out, batch, features=None):
        if self.value is None:
            raise AssertionError("a loss of weight 0 was called")
        return out.z.mean() * 0 + self.value


class Costly(Mine):
    def __init__(self):
        raise AssertionError("a loss of weight 0 was built")


def test_weights_are_applied_once_and_raw_terms_are_raw():
    objective, out, crops = _objective(), output(), batch(**SPANS)
    got = objective.generator(out, crops)
    assert got.total.item() == pytest.approx(sum(WEIGHTS[name] * term.item() for name, term in got.raw.items()), rel=1e-6)
    assert set(got.raw) == set(WEIGHTS)
    for name in ("waveform", "mel", "commitment", "semantic_distill", "acoustic_align", "synonym_contrast"):
        assert got.raw[name].item() == objective.losses[name](out, crops).item()
    assert {"semantic_distill/centred_cosine", "synonym_contrast/accuracy"} <= set(got.logged)
    assert not any(value.requires_grad for value in got.logged.values())


def test_the_gradient_of_the_total_is_that_of_the_weighted_terms():
    objective, out, crops = _objective(), output(), batch(**SPANS)
    got = objective(out, crops)
    parts = [WEIGHTS[name] * torch.autograd.grad(term, out.latent, retain_graph=True)[0] for name, term in got.raw.items()]
    (whole,) = torch.autograd.grad(got.total, out.latent)
    assert torch.allclose(whole, sum(parts), rtol=1e-4, atol=1e-7)


def test_weight_zero_costs_nothing():
    objective = Objective({"mine": Mine(2.0), "off": Mine(None)}, {"mine": 3.0, "off": 0.0})
    assert objective.generator(output(), batch()).total.item() == 6 and set(objective.losses) == {"mine"}
    target = f"{__name__}.Costly"
    commitment = {"_target_": "laminal.losses.commitment.CommitmentLoss", "weight": 1}
    built = build({"commitment": commitment, "off": {"_target_": target, "weight": 0}})
    assert set(built.losses) == {"commitment"}
    with pytest.raises(RequestError, match="a loss of weight 0 was built"):
        build({"off": {"_target_": target, "weight": 1e-9}})


def test_without_adversarial_the_discriminators_never_run(monkeypatch):
    monkeypatch.setattr(AdversarialLoss, "features", lambda *_: pytest.fail("computed"))
    weights = {**WEIGHTS, "adversarial": 0.0, "feature_matching": 0.0}
    objective = _objective(weights=weights)
    objective.generator(output(), batch(**SPANS))
    assert objective.critic is None and objective.discriminator_parameters() == []
    with pytest.raises(RequestError, match="no discriminators"):
        objective.discriminator(output(), batch())


def test_a_loss_starts_at_its_step_and_the_discriminators_with_it(monkeypatch):
    objective, out, crops = _objective(starts={"adversarial": 3, "feature_matching": 5}), output(), batch(**SPANS)
    compute = AdversarialLoss.features
    names = {step: set(objective.generator(out, crops, step=step).raw) for step in (3, 4, 5, None)}
    assert names[3] == names[4] == set(WEIGHTS) - {"feature_matching"} and names[5] == names[None] == set(WEIGHTS)
    monkeypatch.setattr(AdversarialLoss, "features", lambda *_: pytest.fail("judged before the start"))
    got = objective.generator(out, crops, step=2)
    assert set(got.raw) == set(WEIGHTS) - {"adversarial", "feature_matching"}
    assert got.total.item() == pytest.approx(sum(WEIGHTS[name] * term.item() for name, term in got.raw.items()), rel=1e-5)
    assert [objective.judged(step) for step in (2, 3, None)] == [False, True, True]
    monkeypatch.setattr(AdversarialLoss, "features", compute)
    assert not _objective(weights={**WEIGHTS, "adversarial": 0.0, "feature_matching": 0.0}).judged()


def test_balancer_shares_among_the_losses_that_have_started():
    settings = {"balancer": partial(Balancer, total=1.0, decay=0.99), "starts": {"adversarial": 3, "feature_matching": 3}}
    objective, out, crops = _objective(**settings), output(), batch(**SPANS)
    total = objective.generator(out, crops, step=0).total
    few = ("waveform", "mel")
    (expected,) = torch.autograd.grad(_objective(few, balancer=settings["balancer"]).generator(out, crops).total, out.audio)
    assert torch.allclose(torch.autograd.grad(total, out.audio)[0], expected, rtol=1e-5)
    assert objective.balancer.masses.tolist() == [1.0, 1.0, 0.0, 0.0]
    objective.generator(out, crops, step=3)
    assert objective.balancer.masses.tolist() == pytest.approx([1.99, 1.99, 1.0, 1.0])
    late = _objective(**{**settings, "starts": dict.fromkeys(ON_WAVEFORM, 3)})
    assert late.generator(out, crops, step=0).total.isfinite()


@pytest.mark.parametrize("start", [-1, 2.5, True, "soon"])
def test_a_start_is_a_step(start):
    commitment = {"_target_": "laminal.losses.commitment.CommitmentLoss", "weight": 1, "start": start}
    with pytest.raises(RequestError, match="start of commitment is .* not a generator step"):
        build({"commitment": commitment})


def test_features_are_computed_once_for_both_losses():
    objective, calls = _objective(), []
    objective.losses["adversarial"].discriminators.register_forward_hook(lambda *_: calls.append(1))
    objective.generator(output(), batch(**SPANS))
    assert len(calls) == 2  # real, decoded


def test_each_step_reaches_only_its_own_parameters():
    objective, out, crops = _objective(), output(), batch(**SPANS)
    judges, heads = objective.discriminator_parameters(), objective.head_parameters()
    assert {*map(id, judges)} | {*map(id, heads)} == {*map(id, objective.parameters())} and not {*map(id, judges)} & {*map(id, heads)}
    objective.generator(out, crops).total.backward()
    assert all(p.grad is None for p in judges) and all(p.grad is not None for p in heads) and out.latent.grad is not None
    assert all(p.requires_grad for p in judges)
    objective.zero_grad(set_to_none=True)
    before = out.latent.grad.clone()
    objective.discriminator(out, crops).backward()
    assert all(p.grad is not None for p in judges) and all(p.grad is None for p in heads) and torch.equal(before, out.latent.grad)


def test_gradient_norms_are_those_at_z():
    objective, out, crops = _objective(), output(), batch(**SPANS)
    raw = objective.generator(out, crops).raw
    norms = objective.gradient_norms(out, raw)
    places = dict.fromkeys(WEIGHTS, out.z) | {"semantic_distill": out.z_1, "synonym_contrast": out.z_1, "acoustic_align": out.z_rest}
    for name, term in raw.items():
        place = out.latent if name == "commitment" else places[name]
        (gradient,) = torch.autograd.grad(term, place, retain_graph=True)
        assert norms[name] == pytest.approx(gradient.norm().item(), rel=1e-5) and norms[name] > 0
    assert out.latent.grad is None
    assert objective.gradient_norms(out, {"constant": torch.tensor(1.0)}) == {"constant": 0.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(value):
    objective = Objective({"good": Mine(), "bad": Mine(value)}, {"good": 1.0, "bad": 1.0})
    with pytest.raises(FloatingPointError, match=f"loss bad is {value} at step 12: .*lower the learning rate"):
        objective.generator(output(), batch(), step=12)
    broken = output()
    with pytest.raises(FloatingPointError, match="discriminator is nan"):
        _objective().discriminator(replace(broken, audio=broken.audio * float("nan")), batch())


def test_balancer_takes_the_waveform_losses_alone():
    out, crops, weights = output(), batch(**SPANS), WEIGHTS
    objective = _objective(balancer=partial(Balancer, total=1.0, decay=0.99))
    assert list(objective.balancer.names) == ON_WAVEFORM
    got = objective.generator(out, crops)
    assert got.total.item() == pytest.approx(sum(weights[name] * term.item() for name, term in got.raw.items()), rel=1e-5)
    (at_audio,) = torch.autograd.grad(got.total, out.audio, retain_graph=True)
    share, expected = sum(weights[name] for name in ON_WAVEFORM), 0
    for name in ON_WAVEFORM:
        (gradient,) = torch.autograd.grad(got.raw[name], out.audio, retain_graph=True)
        expected = expected + weights[name] / share * gradient / gradient.norm(dim=1).sum()
    assert torch.allclose(at_audio, expected, rtol=1e-4, atol=1e-8)
    (at_z_1,) = torch.autograd.grad(got.total, out.z_1)
    plain_total = _objective().generator(out, crops).total
    assert torch.allclose(at_z_1, torch.autograd.grad(plain_total, out.z_1)[0])


def test_balancer_rests_in_evaluation_and_is_saved():
    objective = _objective(balancer=partial(Balancer, total=1.0, decay=0.99))
    objective.eval().generator(output(), batch(**SPANS))
    assert objective.balancer.masses.sum() == 0 and any(name.startswith("balancer.") for name in objective.state_dict())
    with torch.no_grad():
        assert objective.train().generator(output(), batch(**SPANS)).total.isfinite()
    assert objective.balancer.masses.sum() == 0


def test_fit_touches_only_what_is_not_ready():
    losses = {"given": AcousticAlignLoss(VoiceTeacher(), 8, 2, [0.5] * 6, [0.1] * 6), "free": AcousticAlignLoss(VoiceTeacher(), 8, 2)}
    objective = Objective(losses, {"given": 1.0, "free": 1.0})
    assert not objective.ready
    objective.fit([batch(seed=seed) for seed in range(3)], 16000)
    assert objective.ready and losses["given"].mean.tolist() == [0.5] * 6 and losses["free"].mean.tolist() != [0.5] * 6


def test_no_step_draws_from_the_global_generator():
    objective, out, crops = _objective(), output(), batch(**SPANS)
    before = torch.get_rng_state()
    objective.generator(out, crops).total.backward()
    objective.discriminator(out, crops).backward()
    assert torch.equal(before, torch.get_rng_state())


def test_state_goes_through_a_strict_load():
    first, second = (_objective(balancer=partial(Balancer, total=1.0, decay=0.99)) for _ in range(2))
    first.generator(output(), batch(**SPANS)).total.backward()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    second.load_state_dict(first.state_dict())
    assert first.generator(output(), batch(**SPANS)).total.item() == second.generator(output(), batch(**SPANS)).total.item()


@pytest.mark.parametrize(
    ("losses", "weights", "said"),
    [
        ({"mine": Mine()}, {}, "mine.*one weight"),
        ({"mine": Mine()}, {"mine": 1.0, "yours": 1.0}, "yours.*one weight"),
        ({"mine": Mine()}, {"mine": -1.0}, "mine is -1.0"),
        ({"mine": Mine()}, {"mine": float("nan")}, "mine is nan"),
        ({"feature_matching": FeatureMatchingLoss()}, {"feature_matching": 2.0}, "give adversarial a weight above 0"),
    ],
)
def test_refusals(losses, weights, said):
    with pytest.raises(RequestError, match=said):
        Objective(losses, weights)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_target_": "laminal.losses.waveform.WaveformLoss"}, "losses.x has no weight"),
        ({"_target_": "laminal.losses.waveform.WaveformLoss", "weight": "much"}, "x is 'much'"),
        ({"_target_": "laminal.losses.waveform.WaveformLoss", "weight": 1, "windows": 3}, "losses.x cannot be built.*windows"),
        (
            {"_target_": "laminal.losses.adversarial.AdversarialLoss", "weight": 1, "n_ffts": [3], "filters": 1, "hops_per_window": 2},
            "power of two",
        ),
        ({"_target_": "torch.nn.ReLU", "weight": 1}, "not a Loss"),
    ],
)
def test_refused_configurations(config, said):
    with pytest.raises(RequestError, match=said):
        build({"x": config})


TEACHERS = {"semantic": "ToneTeacher", "speaker": "VoiceTeacher", "text": "SpellingTeacher"}


def _twins(**teachers):
    """All twins as an experiment would have them, with the fake teachers of this file."""
    whole = OmegaConf.create(
        {
            "tokenizer": {"dim": 8, "sample_rate": 16000, "frame_rate": 50.0},
            "teachers": {name: {"_target_": f"oracle_losses.{kind}"} for name, kind in TEACHERS.items()},
            "losses": {name: twin("losses", name) for name in names("losses")},
        }
    )
    return plain(whole)["losses"]


def test_every_twin_builds_a_loss_that_gives_a_finite_scalar_with_a_gradient():
    configs = _twins()
    assert {*WEIGHTS, "reconstruct_match", "text_distill"} == set(configs)
    objective = build(configs, balancer=partial(Balancer, total=1.0, decay=0.999))
    objective.attend(Sentences)
    objective.fit([batch(seed=seed) for seed in range(2)], 16000)
    for rows in (1, 2):
        spans = SPANS if rows == 2 else {}
        out = output(rows=rows)
        terms = objective.generator(out, batch(rows=rows, **spans)).raw
        for name, term in terms.items():
            (gradient,) = torch.autograd.grad(term, out.latent, retain_graph=True)
            assert term.shape == () and term.isfinite() and gradient.isfinite().all(), name
            assert name == objective.losses[name].name and objective.weights[name] == configs[name]["weight"]


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_with_the_real_tokenizer(precision):
    """Every term reaches the encoder, decoded audio also the decoder; the same under bf16 autocast."""
    tokenizer = Tokenizer(
        sample_rate=16000, ratios=[8, 5, 4, 2], filters=4, dim=8, codebooks=3, codebook_size=16, lstm_layers=1, residual_layers=1,
        causal=True, norm="weight_norm", dropout=0.0, seed=0, quantizer={},
    ).train()  # fmt: skip
    crops = batch(samples=3200, **SPANS)
    crops.mask[1, 2000:] = False
    starts = (batch(samples=25600, rows=16, seed=seed) for seed in range(9))
    tokenizer.initialise((start.wav, start.mask) for start in starts)
    objective = _objective()
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
        out = tokenizer(crops.wav, crops.mask)
        got = objective.generator(out, crops)
        norms = objective.gradient_norms(out, got.raw)
    assert all(value > 0 for value in norms.values()), norms
    got.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in tokenizer.parameters() if p.requires_grad)
