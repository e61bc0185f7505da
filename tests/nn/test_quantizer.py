"""The residual quantizer: its gradients, its codebooks, its generators, one process and two."""

import io
import socket

import numpy as np
import pytest
import torch
from transformers import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook

import oracle_rvq
from laminal.errors import RequestError
from laminal.nn.kmeans import kmeans
from laminal.nn.nearest import nearest, nearest_as_stock
from laminal.nn.quantizer import ResidualQuantizer

SMALL = {"dim": 6, "codebooks": 4, "codebook_size": 32, "dropout": 0.0, "seed": 3, "kmeans_frames": 64}


def latents(seed: int, batch: int = 3, frames: int = 40, dim: int = 6) -> torch.Tensor:
    return torch.randn(batch, frames, dim, generator=torch.Generator().manual_seed(seed))


def everything(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def started(**changes) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(**(SMALL | changes))
    quantizer.initialise(latents(100 + i).flatten(0, 1) for i in range(50))
    return quantizer


def state(quantizer: ResidualQuantizer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("which", ["z", "z_1", "z_rest"])
def test_gradients_to_the_latent_are_exactly_one(which, training):
    quantizer = started().train(training)
    x = latents(0).requires_grad_()
    getattr(quantizer(x, everything(x)), which).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_every_layer_has_a_commitment_gradient():
    for layer in range(4):
        x = latents(0).requires_grad_()
        started()(x, everything(x)).commitment[layer].backward()
        assert (x.grad.abs().sum(-1) > 0).all(), layer + 1


def test_values_and_gradients_are_those_of_the_formulas():
    quantizer = started().eval()
    x = latents(1).requires_grad_()
    out = quantizer(x, everything(x))
    embed = quantizer.embed.numpy().astype(np.float64)
    codes, _, sums = oracle_rvq.assign(x.detach().flatten(0, 1).numpy(), embed)
    assert np.array_equal(out.codes.transpose(0, 1).reshape(4, -1).numpy(), codes)
    assert np.allclose(out.sums.reshape(4, -1, 6).numpy(), sums, atol=1e-6)
    reference = x.detach().double().requires_grad_()
    chosen = [torch.from_numpy(embed[i][codes[i]]).view(3, 40, 6) for i in range(4)]
    expected = oracle_rvq.straight_through(reference, chosen)
    weights = torch.tensor([1.0, 0.5, -2.0, 3.0])
    heads = [torch.randn(3, 40, 6, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for values, term in (((out.z, out.z_1, out.z_rest), out.commitment), (expected[:3], expected[3])):
        sum((head.to(v) * v * v).sum() for head, v in zip(heads, values)).add((weights.to(term) * term).sum()).backward()
    for name, got, wanted in zip(("z", "z_1", "z_rest", "commitment"), (out.z, out.z_1, out.z_rest, out.commitment), expected):
        assert torch.allclose(got.double(), wanted, atol=1e-5), name
    assert torch.allclose(x.grad.double(), reference.grad, rtol=1e-4, atol=1e-5)


def test_z_is_what_the_codes_decode_to_bit_for_bit():
    quantizer = started().eval()
    x = latents(1)
    out = quantizer(x, everything(x))
    total = torch.zeros(())
    for layer in range(4):
        total = total + quantizer.embed[layer][out.codes[:, layer]]
    assert torch.equal(out.z, total) and torch.equal(out.z, out.sums[-1])


def test_codebooks_follow_the_moving_average():
    quantizer = started(dead=0.0)
    embed, average, size = (getattr(quantizer, name).numpy().astype(np.float64) for name in ("embed", "embed_avg", "cluster_size"))
    for step in range(3):
        x = latents(10 + step)
        codes, residuals, _ = oracle_rvq.assign(x.flatten(0, 1).numpy(), embed)
        embed, average, size = oracle_rvq.ema(embed, average, size, codes, residuals, decay=0.99)
        out = quantizer(x, everything(x))
        assert np.array_equal(out.codes.transpose(0, 1).reshape(4, -1).numpy(), codes)
        for layer in range(4):
            assert out.perplexity[layer].item() == pytest.approx(oracle_rvq.perplexity(codes[layer], 32), rel=1e-5)
            assert out.usage[layer].item() == pytest.approx(len(set(codes[layer])) / 32)
    for name, wanted in (("embed", embed), ("embed_avg", average), ("cluster_size", size)):
        assert np.allclose(getattr(quantizer, name).numpy(), wanted, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize("start", [True, False], ids=["started", "collecting"])
def test_padded_frames_count_nowhere(start):
    x, mask = latents(1, batch=2, frames=30), torch.ones(2, 30, dtype=torch.bool)
    mask[0, 17:] = False
    longer = torch.nn.functional.pad(x, (0, 0, 0, 20), value=1e3)
    longer[0, 17:] = -7e2
    results = []
    for latent, valid in ((x, mask), (longer, torch.nn.functional.pad(mask, (0, 20)))):
        quantizer = started(dead=0.5) if start else ResidualQuantizer(**SMALL)
        for _ in range(4):
            latent = latent.detach().clone().requires_grad_()
            out = quantizer(latent, valid)
        out.commitment.sum().backward()
        assert (latent.grad[~valid] == 0).all()
        codes = out.codes.transpose(1, 2)[valid]
        results.append((state(quantizer), out.commitment.detach(), out.perplexity, out.usage, latent.grad[valid], codes))
    (before, *a), (after, *b) = results
    for name in before:
        assert torch.allclose(before[name], after[name], rtol=1e-5, atol=1e-6), name
    assert all(torch.allclose(one, two, rtol=1e-4, atol=1e-6) for one, two in zip(a, b))


def test_eval_and_a_batch_without_a_valid_frame_touch_no_codebook():
    quantizer = started(dropout=0.5)
    before = state(quantizer)
    x = latents(4)
    quantizer.eval()(x, everything(x))
    assert same(before, state(quantizer))
    out = quantizer.train()(x, torch.zeros(3, 40, dtype=torch.bool))
    assert (out.commitment == 0).all() and torch.isfinite(out.perplexity).all() and torch.isfinite(quantizer.embed).all()


def clustered(seed: int) -> torch.Tensor:
    """Forty well separated clusters in 2-d."""
    centres = 10 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(40, (4, 100), generator=generator)
    return centres[chosen] + 0.05 * torch.randn(4, 100, 2, generator=generator)


def test_dead_codes_are_put_on_frames_and_live_on():
    quantizer = ResidualQuantizer(dim=2, codebooks=2, codebook_size=64, dropout=0.0, seed=0, kmeans_frames=64)
    quantizer.initialise(clustered(i).flatten(0, 1)[:64] for i in range(2))
    with torch.no_grad():  # all but one code far from everything, and unused
        quantizer.embed[:, 1:] = 1e3
        quantizer.embed_avg[:, 1:] = 0
        quantizer.cluster_size[:, 1:] = 0
    x = clustered(10)
    quantizer(x, everything(x))
    frames = {tuple(frame.tolist()) for frame in x.flatten(0, 1)}
    assert all(tuple(entry.tolist()) in frames for entry in quantizer.embed[0, 1:])
    for step in range(60):
        x = clustered(20 + step)
        out = quantizer(x, everything(x))
    assert out.usage[0] > 0.5 and quantizer.health().usage[0] > 0.6  # 40 clusters for 64 codes; encodec's own keeps 1 alive
    assert out.commitment[0] < 0.03 * x.var()


def test_no_two_dead_codes_get_one_frame_when_frames_are_few():
    quantizer = started()
    quantizer.cluster_size[:, 1:] = 0
    quantizer.embed_avg[:, 1:] = 0
    before = quantizer.embed.clone()
    x = latents(3, batch=1, frames=5)
    quantizer(x, everything(x))
    frames = {tuple(frame.tolist()) for frame in x[0]}
    on_frames = [entry for entry in range(32) if tuple(quantizer.embed[0, entry].tolist()) in frames]
    assert len(on_frames) == 5 == len(torch.unique(quantizer.embed[0, on_frames], dim=0))
    quantizer(latents(4), everything(latents(4)))  # enough for the rest
    assert not (quantizer.embed == before).all(-1).any() and (quantizer.cluster_size > 0).all()


def roundtrip(quantizer: ResidualQuantizer, **changes) -> ResidualQuantizer:
    stream = io.BytesIO()
    torch.save(quantizer.state_dict(), stream)
    stream.seek(0)
    fresh = ResidualQuantizer(**(SMALL | changes))
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    return fresh.train()


@pytest.mark.parametrize("steps", [1, 3, 4, 9])  # collecting for the 1st, the 2nd codebook; between; all started
def test_resume_is_exact(steps):
    changes = {"dropout": 0.5, "dead": 0.6, "window": 4, "kmeans_frames": 150}
    original = ResidualQuantizer(**(SMALL | changes))
    for step in range(steps):
        original(latents(step, frames=30), everything(latents(step, frames=30)))
    resumed = roundtrip(original, **changes)
    assert same(state(original), state(resumed))
    for step in range(steps, steps + 5):
        x = latents(step, frames=30)
        a, b = original(x, everything(x)), resumed(x, everything(x))
        assert torch.equal(a.z, b.z) and torch.equal(a.codes, b.codes) and torch.equal(a.commitment, b.commitment)
    assert same(state(original), state(resumed))
    assert torch.equal(original.health().perplexity, resumed.health().perplexity)


def test_codebooks_start_on_batches_of_their_own():
    taken = []

    def batches():
        for i in range(100):
            taken.append(i)
            yield latents(i, batch=1).flatten(0, 1)

    quantizer = ResidualQuantizer(**SMALL)
    assert quantizer.initialise(batches()) == 8 == len(taken)  # 64 frames = 2 batches of 40 each
    assert quantizer.ready.all() and (quantizer.cluster_size.sum(1) - 0.4).abs().max() < 1e-5  # weighs as one batch
    x = latents(500)
    out = quantizer.eval()(x, everything(x))
    assert (out.commitment.diff() < 0).all() and out.perplexity.min() > 8  # every layer has something left to do, and does it
    same_batch = ResidualQuantizer(**(SMALL | {"kmeans_frames": 32}))
    same_batch.initialise(iter([latents(0, batch=1, frames=32).flatten(0, 1)] * 4))
    assert same_batch.embed[2].abs().max() < 1e-3  # what it would be on one and the same batch


def test_too_few_batches_are_refused():
    with pytest.raises(RequestError, match="codebook 2 of 4"):
        ResidualQuantizer(**SMALL).initialise(iter([latents(0).flatten(0, 1)]))


def test_without_a_start_up_pass_codebooks_start_one_after_the_other():
    quantizer = ResidualQuantizer(**(SMALL | {"kmeans_frames": 200}))  # two steps of 120 frames a codebook
    for step in range(8):
        x = latents(step)
        out = quantizer(x, everything(x))
        assert int(quantizer.ready.sum()) == (step + 1) // 2
        assert (quantizer.embed[~quantizer.ready] == 0).all() and torch.isfinite(out.z).all()
    out = quantizer(latents(9), everything(latents(9)))
    assert out.perplexity.min() > 8 and (out.commitment.diff() < 0).all()


def test_autocast_changes_no_code():
    quantizer = started().train()
    x = latents(5)
    plain = roundtrip(quantizer)(x, everything(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = quantizer(x, everything(x))
    assert torch.equal(plain.codes, under.codes) and under.z.dtype == torch.float32 and torch.equal(plain.commitment, under.commitment)


def test_dropout_cuts_by_sample_and_leaves_the_global_generators_alone():
    quantizer = started(dropout=0.5)
    x = latents(5, batch=400, frames=2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = quantizer(x, everything(x)), quantizer(x, everything(x))
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    depth = []
    for sample in range(400):
        matches = [k + 1 for k in range(4) if torch.equal(first.z[sample], first.sums[k, sample])]
        assert matches, "a decoder input that is no sum of the first codebooks"
        depth.append(matches[-1])
    counts = np.bincount(depth, minlength=5)[1:]
    assert abs(counts[:3].mean() - 50) < 15 and abs(counts[3] - 250) < 40  # half of the samples, 1..4 with equal chance
    assert not torch.equal(first.z != first.sums[-1], second.z != second.sums[-1])  # other samples in the next step
    assert torch.equal(first.z_rest, first.sums[-1] - first.sums[0])
    still = quantizer.eval()(x, everything(x))
    assert torch.equal(still.z, still.sums[-1])


def test_health_looks_back_one_window():
    quantizer = started(window=3, dead=0.0)
    wanted = [[] for _ in range(4)]
    for step in range(5):
        x = latents(step)
        codes = quantizer(x, everything(x)).codes
        if step < 3:
            for layer in range(4):
                wanted[layer] += codes[:, layer].flatten().tolist()
    health = quantizer.health()
    for layer in range(4):
        assert health.perplexity[layer].item() == pytest.approx(oracle_rvq.perplexity(np.array(wanted[layer]), 32), rel=1e-5)
        assert health.counts[layer].sum() == 360


@pytest.mark.parametrize("size", [7, 32, 1024])
def test_nearest_is_the_first_of_the_smallest(size):
    generator = torch.Generator().manual_seed(size)
    vectors, entries = torch.randn(300, 5, generator=generator), torch.randn(size, 5, generator=generator)
    brute = ((vectors.double()[:, None] - entries.double()) ** 2).sum(-1).argmin(1)
    assert torch.equal(nearest(vectors, entries), brute) and torch.equal(nearest_as_stock(vectors, entries), brute)
    assert (nearest(vectors, torch.zeros(size, 5)) == 0).all()


@pytest.mark.parametrize("size,dim", [(8, 4), (64, 16), (1024, 128)])
def test_nearest_as_stock_is_stock_bit_for_bit(size, dim):
    stock = EncodecEuclideanCodebook(EncodecConfig(codebook_size=size, hidden_size=dim))
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(-3, 4, (size, dim), generator=generator).float() / 8  # a lattice: ties and near-ties everywhere
    stock.embed.copy_(coarse)
    vectors = torch.randint(-6, 7, (400, dim), generator=generator).float() / 16 + 1e-7 * torch.randn(400, dim, generator=generator)
    assert torch.equal(nearest_as_stock(vectors, coarse), stock.encode(vectors))
    assert torch.equal(nearest_as_stock(vectors, torch.zeros(size, dim)), torch.zeros(400, dtype=torch.int64))


def test_kmeans_finds_separated_clusters():
    vectors = clustered(1).flatten(0, 1)
    clusters = kmeans(vectors, 40, 30, np.random.default_rng(0))
    assert clusters.counts.sum() == 400
    start = kmeans(vectors, 40, 0, np.random.default_rng(0))
    spread, before = (torch.cdist(vectors, one.centres).amin(1).square().mean() for one in (clusters, start))
    assert spread < 0.7 * before
    for s in range(40):  # every centre is the mean of its own, to within the last move
        own = vectors[nearest(vectors, clusters.centres) == s]
        assert len(own) == clusters.counts[s]
        assert len(own) == 0 or torch.allclose(own.mean(0), clusters.centres[s], atol=1e-3)
    with pytest.raises(ValueError, match="0 vectors"):
        kmeans(vectors[:0], 4, 3, np.random.default_rng(0))
    assert (kmeans(vectors[:3], 8, 5, np.random.default_rng(0)).counts > 0).sum() == 3


RAGGED = ((3, 40), (2, 25))  # samples and frames of the two ranks' batches


def ragged(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch, frames = RAGGED[rank]
    x = torch.nn.functional.pad(latents(1000 * rank + step, batch, frames), (0, 0, 0, 40 - frames), value=50.0)
    mask = torch.zeros(batch, 40, dtype=torch.bool)
    mask[:, :frames] = True
    return x, mask


def learn(rank: int | None, start: bool) -> dict[str, torch.Tensor]:
    """Eight training steps on a rank's own batches, or (None) on those of both ranks joined."""
    quantizer = ResidualQuantizer(**(SMALL | {"dead": 0.6, "kmeans_frames": 160}))
    both = (0, 1) if rank is None else (rank,)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [ragged(step, r) for r in both]
        return torch.cat([x for x, _ in parts]), torch.cat([mask for _, mask in parts])

    if start:
        quantizer.initialise(x[mask] for x, mask in (batch(100 + i) for i in range(20)))
    for step in range(8):
        quantizer(*batch(step))
    return state(quantizer)


def on_rank(rank: int, port: int, start: bool, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save(learn(rank, start), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("start", [True, False], ids=["start-up", "collecting"])
def test_two_processes_learn_what_one_learns_from_both_batches(tmp_path, start):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(on_rank, (port, start, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = learn(None, start)
    assert same(first, second)
    for name, value in alone.items():
        assert torch.allclose(first[name].double(), value.double(), rtol=1e-5, atol=1e-6), name
