"""A semantic codebook beside acoustic ones: gradients, rates, masks, exact state, and an export that MimiModel alone reads."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from laminal.errors import RequestError
from laminal.nn.export import export
from laminal.nn.recipes import tokenizer_of
from laminal.nn.split_quantizer import SplitQuantizer
from laminal.nn.split_tokenizer import SplitTokenizer
from oracle_tokenizer import speech, stepped, whole

TINY = {
    "sample_rate": 16000, "frame_rate": 25.0, "filters": 4, "dim": 16, "codebook_dim": 8, "codebooks": 4, "codebook_size": 64,
    "residual_layers": 1, "transformer_layers": 1, "heads": 2, "order": "parallel", "dropout": 0.0, "seed": 5,
    "quantizer": {"kmeans_frames": 128},
}  # fmt: skip


def trained(steps: int = 2, **changes) -> SplitTokenizer:
    return stepped(SplitTokenizer(**(TINY | changes)), steps, batches=400, samples=16000)


LOADER = """
import importlib.machinery, sys, types
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
try:
    import torchaudio
except OSError:  # linked to CUDA: transformers' Mimi asks for it on import, and never uses it
    sys.modules["torchaudio"] = stub = types.ModuleType("torchaudio")
    stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
from transformers import AutoFeatureExtractor, MimiModel
wav = torch.from_numpy(np.load(sys.argv[1]))[:, None]
for folder in map(Path, sys.argv[2:]):
    model, found = MimiModel.from_pretrained(folder).eval(), {}
    with torch.no_grad():
        for count in range(1, model.config.num_quantizers + 1):
            codes = model.encode(wav, num_quantizers=count).audio_codes
            found[f"codes{count}"], found[f"audio{count}"] = codes.numpy(), model.decode(codes).audio_values[:, 0].numpy()
    rates = [model.config.sampling_rate, model.config.frame_rate, AutoFeatureExtractor.from_pretrained(folder).sampling_rate]
    np.savez(folder / "out.npz", rates=rates, **found)
assert not any(name.split(".")[0] == "laminal" for name in sys.modules)
"""


def test_mimi_model_alone_gives_identical_codes_and_audio(tmp_path):
    changes = {"50": {}, "25": {}, "12.5": {"transformer_layers": 0}, "6.25": {"codebook_size": 128}}
    shapes = {rate: {"frame_rate": float(rate)} | change for rate, change in changes.items()}
    tokenizers = {name: trained(**changes) for name, changes in shapes.items()}
    wav = speech(7, batch=3, samples=18123)
    np.save(tmp_path / "wav.npy", wav.numpy())
    for name, tokenizer in tokenizers.items():
        export(tokenizer, tmp_path / name)
    command = [sys.executable, "-c", LOADER, str(tmp_path / "wav.npy"), *(str(tmp_path / name) for name in tokenizers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, tokenizer in tokenizers.items():
        stock = np.load(tmp_path / name / "out.npz")
        assert stock["rates"].tolist() == [16000, float(name), 16000] and tokenizer.frame_rate == float(name)
        with torch.no_grad():
            out = tokenizer(wav, whole(wav))
            for count in range(1, 5):
                assert np.array_equal(stock[f"codes{count}"], out.codes[:, :count].numpy())
                assert np.array_equal(stock[f"audio{count}"], tokenizer.decode(out.sums[count - 1]).numpy()), (name, count)
        assert np.array_equal(stock["audio4"][:, : wav.shape[1]], out.audio.numpy())
        assert len(out.codes.unique()) > 8  # codes that say something


@pytest.mark.parametrize("order", ["parallel", "serial"])
def test_values_are_those_of_the_codes_and_gradients_go_through_the_projections(order):
    """By the formulas: z_1 = S.out(s + sg(Q_S - s)), z_2:K = A.out(a + sg(Q_A - a)), s = S.in(x), a = A.in(x, or x - sg(z_1))."""
    quantizer = SplitQuantizer(
        dim=6, codebook_dim=4, codebooks=3, codebook_size=32, order=order, dropout=0.0, seed=0, kmeans_frames=64
    )  # fmt: skip
    random = torch.Generator().manual_seed(0)
    quantizer.initialise(torch.randn(40, 6, generator=random) for _ in itertools.count())
    quantizer.eval()
    x = torch.randn(2, 5, 6, generator=random).requires_grad_()
    out = quantizer(x, torch.ones(2, 5, dtype=torch.bool))
    s_in, s_out, a_in, a_out = (
        getattr(quantizer, name).weight[:, :, 0].detach() for name in ("semantic_in", "semantic_out", "acoustic_in", "acoustic_out")
    )
    with torch.no_grad():
        books = [quantizer.semantic.embed[0], quantizer.acoustic.embed[0], quantizer.acoustic.embed[1]]
        chosen = [book[out.codes[:, layer]] for layer, book in enumerate(books)]
        s = x @ s_in.T
        assert torch.equal(out.codes[:, 0], torch.cdist(s, books[0].expand(2, -1, -1)).argmin(-1))
        z_1 = chosen[0] @ s_out.T
        a = (x - z_1 if order == "serial" else x) @ a_in.T
        assert torch.equal(out.codes[:, 1], torch.cdist(a, books[1].expand(2, -1, -1)).argmin(-1))
        assert torch.equal(out.codes[:, 2], torch.cdist(a - chosen[1], books[2].expand(2, -1, -1)).argmin(-1))
        sums = [z_1, z_1 + chosen[1] @ a_out.T, z_1 + (chosen[1] + chosen[2]) @ a_out.T]
        commitment = [(s - chosen[0]).square().mean(), (a - chosen[1]).square().mean(), (a - chosen[1] - chosen[2]).square().mean()]
    torch.testing.assert_close(out.sums, torch.stack(sums))
    torch.testing.assert_close(out.commitment, torch.stack(commitment))
    assert torch.equal(out.z, out.partial[2]) and torch.equal(out.z_1, out.partial[0]) and not out.sums.requires_grad
    wanted = {"z_1": s_out @ s_in, "z_rest": a_out @ a_in, "z": s_out @ s_in + a_out @ a_in}
    for name, through in wanted.items():  # d z / d x: of sum(z) the same row for every frame
        (gradient,) = torch.autograd.grad(getattr(out, name).sum(), x, retain_graph=True)
        torch.testing.assert_close(gradient, through.sum(0).expand_as(gradient))
    for layer in range(3):
        (gradient,) = torch.autograd.grad(out.commitment[layer], x, retain_graph=True)
        assert gradient.abs().sum() > 0
    (weight,) = torch.autograd.grad(out.partial[1].sum(), quantizer.acoustic_out.weight)
    torch.testing.assert_close(weight[:, :, 0], chosen[1].sum((0, 1)).expand(6, 4))


def test_serial_acoustic_codebooks_start_from_what_is_left(monkeypatch):
    """Started from the whole latent they would fit it worse."""

    def left(whole: bool) -> float:
        torch.manual_seed(0)
        quantizer = SplitQuantizer(
            dim=6, codebook_dim=4, codebooks=2, codebook_size=32, order="serial", dropout=0.0, seed=0, kmeans_frames=512
        )  # fmt: skip
        if whole:
            monkeypatch.setattr(quantizer, "_left", lambda rows: rows)
        with torch.no_grad():
            quantizer.semantic_out.weight.mul_(3)
        random = torch.Generator().manual_seed(0)
        quantizer.initialise(torch.randn(64, 6, generator=random) for _ in itertools.count())
        x = torch.randn(1, 400, 6, generator=random)
        return quantizer.eval()(x, torch.ones(1, 400, dtype=torch.bool)).commitment[1].item()

    assert left(whole=False) < 0.85 * left(whole=True)


def test_the_semantic_codebook_alone_is_untouched_by_the_acoustic_ones():
    tokenizer = trained().train()
    out = tokenizer(wav := speech(1, samples=16000), whole(wav))
    found = torch.autograd.grad(out.z_rest.sum(), [tokenizer.quantizer.semantic_in.weight], allow_unused=True, retain_graph=True)
    assert found == (None,)
    assert torch.autograd.grad(out.z_1.sum(), [tokenizer.quantizer.acoustic_in.weight], allow_unused=True) == (None,)


@pytest.mark.parametrize("rate, frames", [(50.0, 51), (25.0, 26), (12.5, 13), (6.25, 7)])
def test_shapes_rates_and_live_gradients(rate, frames):
    tokenizer = trained(frame_rate=rate).train()
    wav = speech(1, samples=16100)
    out = tokenizer(wav, whole(wav))
    assert out.audio.shape == wav.shape and out.codes.shape == (2, 4, frames) and out.latent.shape == (2, frames, 16)
    assert (out.sample_rate, out.frame_rate, tokenizer.hop) == (16000, rate, 16000 / rate)
    assert torch.equal(out.decode(out.z)[:, :16100], out.audio)
    (out.audio.square().sum() + out.commitment.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in tokenizer.parameters())


@pytest.mark.parametrize("order", ["parallel", "serial"])
def test_the_fast_search_of_training_finds_the_codes_of_the_export(order):
    """The start-up pass, the training forward and eval agree but for frames between two entries."""
    tokenizer = trained(order=order, steps=0)
    wav = speech(9, batch=4, samples=16000)
    exact = tokenizer(wav, whole(wav)).codes
    quick = tokenizer.train()(wav, whole(wav)).codes
    assert (exact != quick).float().mean() < 0.01


def test_padding_is_silence_and_its_frames_count_nowhere():
    tokenizer = trained()
    wav = speech(3, samples=16000)
    mask = whole(wav)
    mask[1, 8001:] = False  # 12.5 frames and one sample: the 13th holds a real one
    louder = torch.where(mask, wav, 5.0)
    with torch.no_grad():
        a, b = tokenizer(wav * mask, mask), tokenizer(louder, mask)
    assert torch.equal(a.audio, b.audio) and torch.equal(a.codes, b.codes) and torch.equal(a.commitment, b.commitment)
    assert a.frame_mask.sum(1).tolist() == [25, 13]


def test_a_causal_frame_ends_with_its_hop():
    tokenizer, hop = trained(transformer_layers=2), 640
    wav = speech(2, batch=1, samples=hop * 30)
    with torch.no_grad():
        before = tokenizer.latent(wav, whole(wav))[0][0]
        for frame in (0, 15):
            for sample, first in (((frame + 1) * hop - 1, frame), ((frame + 1) * hop, frame + 1)):
                moved = wav.clone()
                moved[0, sample] += 1.0
                after = tokenizer.latent(moved, whole(wav))[0][0]
                assert (after - before).abs().amax(1).nonzero()[0].item() == first


@pytest.mark.parametrize("order", ["parallel", "serial"])
def test_training_goes_on_exactly_from_its_state(order):
    changes = {"dropout": 0.5, "order": order, "quantizer": {"kmeans_frames": 90}}
    original = SplitTokenizer(**(TINY | changes))

    def step(tokenizer: SplitTokenizer, number: int) -> torch.Tensor:
        wav = speech(number, samples=16000)
        out = tokenizer(wav, whole(wav))
        (gradient,) = torch.autograd.grad((out.audio - wav).square().mean() + out.commitment.mean(), [next(tokenizer.parameters())])
        return gradient

    for number in range(3):
        step(original, number)
    resumed = SplitTokenizer(**(TINY | changes))
    resumed.load_state_dict(original.state_dict())
    for number in range(3, 10):
        assert torch.equal(step(original, number), step(resumed, number))
    assert original.quantizer.ready.all()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in original.state_dict().items())


def test_dropout_keeps_the_semantic_codebook():
    tokenizer = trained(dropout=1.0, codebooks=6).train()
    out = tokenizer(wav := speech(1, batch=8, samples=16000), whole(wav))
    kept = [[k for k in range(6) if torch.equal(out.z[row], out.partial[k, row])] for row in range(8)]
    assert all(len(each) == 1 and each[0] >= 1 for each in kept) and len({each[0] for each in kept}) > 1
    assert torch.equal(out.z_rest, out.partial[-1] - out.z_1) or torch.allclose(out.z_rest, out.partial[-1] - out.z_1, atol=1e-5)


def test_weights_depend_on_the_seed_alone_and_no_two_generators_are_alike():
    generator = torch.get_rng_state()
    first = SplitTokenizer(**TINY)
    assert torch.equal(generator, torch.get_rng_state())
    torch.manual_seed(99)
    second, other = SplitTokenizer(**TINY), SplitTokenizer(**(TINY | {"seed": 6}))
    torch.set_rng_state(generator)
    one, two, three = (torch.nn.utils.parameters_to_vector(t.parameters()) for t in (first, second, other))
    assert torch.equal(one, two) and not torch.equal(one, three)
    draws = [part._generator(0, 0).random() for t in (first, other) for part in (t.quantizer.semantic, t.quantizer.acoustic)]
    assert len(set(draws)) == 4


def test_speech_reaches_the_latent_and_the_audio_at_the_start():
    tokenizer = SplitTokenizer(**(TINY | {"filters": 8, "dim": 64, "codebook_dim": 32}))
    wav = speech(0, batch=4, samples=16000)
    with torch.no_grad():
        latent, _ = tokenizer.latent(wav, whole(wav))
        out = tokenizer.decode(latent)
    frames = latent.flatten(0, 1)
    assert frames.std(0).mean() > frames.mean(0).abs().mean()
    assert 0.2 < out.std() / wav.std() < 30 and 0.5 < frames.var(0).mean() < 20


def test_what_cannot_be_made_is_told(tmp_path):
    for changes, said in (
        ({"frame_rate": 20.0}, "frame_rate=20: 50 or 25 or 12.5 or 6.25"),
        ({"sample_rate": 22050}, "sample_rate=22050: 16000 or 24000"),
        ({"codebook_dim": 16}, "codebook_dim must not be dim"),
        ({"order": "both"}, "order=both: parallel or serial"),
        ({"codebooks": 1}, "at least 2"),
    ):
        with pytest.raises(RequestError, match=said):
            SplitTokenizer(**(TINY | changes))
    with pytest.raises(RequestError, match="no export"):
        export(SplitTokenizer(**(TINY | {"order": "serial"})), tmp_path / "tokenizer")
    assert not (tmp_path / "tokenizer").exists()
    with pytest.raises(RequestError, match="os.system"):
        tokenizer_of({"_target_": "os.system", "command": "true"})
