"""trainer.compile: the same training within rounding, the same names, the same export; what is missing is one line."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from laminal.codecs.load import load_codec
from laminal.errors import RequestError
from laminal.nn import compiled
from laminal.nn.recipes import tokenizer_of
from oracle_training import settings, train

SHORT = (
    "probing.every_epochs=null", "trainer.steps_per_epoch=2", "trainer.epochs=1", "data.validation_crops=1", "losses.adversarial.start=1",
    "losses.feature_matching.start=1", "tokenizer.ratios=[20, 16]", "tokenizer.residual_layers=0",  # few convolutions: each is compiled
)  # fmt: skip


def held(folder):
    return torch.load(folder / "last.ckpt", weights_only=True)


RECIPE = {
    "sample_rate": 16000, "ratios": [20, 16], "filters": 2, "dim": 8, "codebooks": 2, "codebook_size": 16, "lstm_layers": 1,
    "residual_layers": 0, "causal": True, "norm": "weight_norm", "dropout": 0.0, "seed": 0, "quantizer": {"kmeans_frames": 32},
}  # fmt: skip


@pytest.mark.parametrize("compiler", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_step_is_the_same_within_rounding(compiler):
    """Audio, and weights after a step whose gradient norms went backward before it: as the plain networks give them.

    aot_eager traces forward and backward as inductor gets them, and needs no compiler.
    """
    if compiler == "inductor" and not any(map(shutil.which, compiled.COMPILERS)):
        pytest.skip("no C++ compiler")
    torch._dynamo.reset()
    counters.clear()
    wav, mask = torch.randn(2, 3200, generator=torch.Generator().manual_seed(0)), torch.ones(2, 3200, dtype=torch.bool)
    found = []
    for backend in (None, compiler):
        tokenizer = tokenizer_of(RECIPE)
        tokenizer.initialise((wav.roll(shift, 1), mask) for shift in range(1, 99))
        start = {name: each.clone() for name, each in tokenizer.state_dict().items()}
        if backend is not None:
            compiled.compile_networks(tokenizer, backend)
        out = tokenizer(wav, mask)
        loss = out.audio.square().mean() + out.commitment.mean()
        torch.autograd.grad(loss, out.latent, retain_graph=True)
        loss.backward()
        torch.optim.SGD(tokenizer.parameters(), lr=0.1).step()
        found.append({"audio": out.audio.detach(), "codes": out.codes} | tokenizer.state_dict())
        assert (counters["stats"]["unique_graphs"] > 0) is (backend is not None)
    assert not torch._functorch.config.donated_buffer  # else graphs from inductor's cache refuse the second way back
    assert found[0].keys() == found[1].keys() == {"audio", "codes", *start}
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")
    assert max(float((found[0][name] - start[name]).abs().max()) for name, _ in tokenizer.named_parameters()) > 1e-3  # it moved
    assert tokenizer.stock().state_dict().keys() == tokenizer_of(RECIPE).stock().state_dict().keys()


@pytest.mark.slow
def test_the_training_is_the_same_within_rounding(tiny_corpus, tmp_path):
    """Two steps of a whole run, its validation and its export."""
    torch._dynamo.reset()
    counters.clear()
    plain = train(settings(tiny_corpus, *SHORT), tmp_path / "plain")
    assert not counters["stats"]["unique_graphs"]
    task = train(settings(tiny_corpus, *SHORT, "trainer.compile=aot_eager"), tmp_path / "compiled")
    assert counters["stats"]["unique_graphs"] > 0  # something was compiled
    start = dict(tokenizer_of(plain.recipe).named_parameters())
    moved = max(float((value - start[name]).detach().abs().max()) for name, value in plain.tokenizer.named_parameters())
    before, after = held(tmp_path / "plain")["state_dict"], held(tmp_path / "compiled")["state_dict"]
    assert before.keys() == after.keys()
    for name, value in before.items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-5, msg=lambda said, name=name: f"{name}: {said}")
    assert moved > 1e-4  # the steps are larger than the tolerance
    wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    exported = load_codec(str(tmp_path / "compiled" / "tokenizer"))
    assert torch.equal(exported.encode(wav), load_codec(str(tmp_path / "compiled")).encode(wav))
    assert task.tokenizer.stock().state_dict().keys() == plain.tokenizer.stock().state_dict().keys()


def test_without_a_compiler_it_is_one_line(monkeypatch):
    assert compiled.checked_backend(None) is compiled.checked_backend(False) is None
    assert compiled.checked_backend("aot_eager") == "aot_eager"
    monkeypatch.setattr("shutil.which", lambda name: "/bin/g++" if name == "g++" else None)
    assert compiled.checked_backend(True) == compiled.checked_backend("inductor") == "inductor"
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(RequestError, match=r"no C\+\+ compiler \(g\+\+.*install g\+\+, or give trainer.compile=aot_eager, or null"):
        compiled.checked_backend(True)
    monkeypatch.setenv("CXX", "mine")
    monkeypatch.setattr("shutil.which", lambda name: name if name == "mine" else None)
    assert compiled.checked_backend(True) == "inductor"


def test_what_torch_cannot_compile_is_one_line(tiny_corpus, tmp_path):
    from torch._dynamo import register_backend

    @register_backend(name="laminal_broken")
    def broken(graph, inputs):
        raise RuntimeError("no such instruction")

    torch._dynamo.reset()
    with pytest.raises(RequestError, match=r"trainer\.compile=laminal_broken: torch cannot compile this \(.*no such instruction"):
        train(settings(tiny_corpus, *SHORT, "trainer.compile=laminal_broken"), tmp_path)
