"""Residual vector quantizer: EMA codebooks, and gradients of one to the latent whichever codebooks a loss looks at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from laminal.errors import RequestError
from laminal.nn.commitment import commitment
from laminal.nn.kmeans import kmeans
from laminal.nn.nearest import nearest, nearest_as_stock
from laminal.nn.ranks import rows_of_all_ranks, sum_over_ranks, world

EPSILON = 1e-5  # Laplace smoothing of the cluster sizes, as in van den Oord et al. 2017
Assign = Callable[[Tensor, Tensor], Tensor]  # vectors (n d), entries (s d) -> the nearest entry of each (n)
KMEANS, REVIVAL, DROPOUT = range(3)  # what a private generator is for


@dataclass(frozen=True, slots=True)
class Quantized:
    """What the quantizer gives for one batch; `mask`ed frames count in none of the last three."""

    z: Float[Tensor, "b n d"]  # Q_K, or fewer codebooks where quantizer dropout cut: what the decoder gets
    z_1: Float[Tensor, "b n d"]  # the first codebook alone
    z_rest: Float[Tensor, "b n d"]  # the codebooks 2..K
    codes: Int[Tensor, "b q n"]
    sums: Float[Tensor, "q b n d"]  # Q_1 .. Q_K, without gradient
    commitment: Float[Tensor, " q"]  # per layer, mean over valid frames and features
    perplexity: Float[Tensor, " q"]  # of this step's code counts, over all ranks while training
    usage: Float[Tensor, " q"]  # share of the entries that this step used
    partial: Float[Tensor, "q b n d"] | None = None  # z_1:1 .. z_1:K, where they are not `sums` with gradient one to the latent


@dataclass(frozen=True, slots=True)
class Health:
    """How the codebooks were used over the last whole window of steps (or since the start, before one is whole)."""

    perplexity: Float[Tensor, " q"]
    usage: Float[Tensor, " q"]
    counts: Float[Tensor, "q s"]


class ResidualQuantizer(nn.Module):
    """Residual vector quantization (SoundStream, Zeghidour et al. 2021) with EMA codebooks (van den Oord et al. 2017).

    With q_i the quantized residual of layer i and Q_k = q_1 + .. + q_k, all without gradient: z = x + sg(Q_K - x),
    z_1 = x + sg(q_1 - x), z_2:K = (x - sg(q_1)) + sg(Q_K - q_1 - (x - q_1)), commit_i = mean ||r_i - sg(q_i)||^2. Each of
    the three has gradient one to x: in encodec and SpeechTokenizer the gradient through q_i is zero from the second codebook on.

    `decay`: of the EMA. `kmeans_frames`: frames that start one codebook. `dead`: an entry used less than this part of the mean
    is replaced by a frame. `dropout`: share of the samples whose decoder input keeps a random number of codebooks (all
    codebooks still learn from them). `window`: steps that `health` looks back on. `assign`: gives the entries in eval mode, by the
    arithmetic of the model that an export becomes. All state, also that of the private generators, is in `state_dict`. Every forward in
    training mode is one step of the EMA.
    Ranks see the same codebooks: statistics are summed whenever torch.distributed is initialised.
    """

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    ready: Tensor
    step: Tensor
    counted: Tensor
    last_counted: Tensor

    def __init__(
        self, *, dim: int, codebooks: int, codebook_size: int, dropout: float, seed: int, decay: float = 0.99,
        kmeans_frames: int = 2048, kmeans_iterations: int = 10, dead: float = 0.1, window: int = 100, assign: Assign = nearest_as_stock,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dim, self.codebooks, self.codebook_size, self.dropout, self.seed = dim, codebooks, codebook_size, dropout, seed
        self.decay, self.dead, self.window = decay, dead, window
        self.kmeans_frames, self.kmeans_iterations, self.assign = kmeans_frames, kmeans_iterations, assign
        self.register_buffer("embed", torch.zeros(codebooks, codebook_size, dim))
        self.register_buffer("embed_avg", torch.zeros(codebooks, codebook_size, dim))
        self.register_buffer("cluster_size", torch.zeros(codebooks, codebook_size))
        self.register_buffer("ready", torch.zeros(codebooks, dtype=torch.bool))  # k-means has started this codebook
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # training forwards so far: seeds the generators
        self.register_buffer("counted", torch.zeros(codebooks, codebook_size))
        self.register_buffer("last_counted", torch.zeros(codebooks, codebook_size))
        self._pool = torch.zeros(0, dim)  # frames kept for the next codebook to start, saved as extra state: its length varies

    def forward(self, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Quantized:
        """Quantize the latent `x`; `mask` holds the valid frames. The codebooks learn in training mode only; in eval no buffer changes."""
        batch, frames, _ = x.shape
        with torch.autocast(x.device.type, enabled=False):  # bf16 distances would change 6.9 % of the codes
            x = x.float()
            rows = x.detach().reshape(batch * frames, self.dim)
            codes, residuals, sums = self._assign(rows)
            counts = self._learn(codes, residuals, mask.reshape(-1)) if self.training else self._counts(codes, mask.reshape(-1))
            sums = sums.view(self.codebooks, batch, frames, self.dim)
            through = x - x.detach()  # exactly 0, with gradient one: values stay those that the codes decode to
            terms = commitment(x, residuals[1:].view_as(sums), mask)
        return Quantized(
            z=self._kept(sums) + through,
            z_1=sums[0] + through,
            z_rest=(sums[-1] - sums[0]) + through,
            codes=codes.view(self.codebooks, batch, frames).transpose(0, 1).contiguous(),
            sums=sums,
            commitment=terms,
            perplexity=_perplexity(counts),
            usage=(counts > 0).float().mean(1),
        )

    @torch.no_grad()
    def initialise(self, batches: Iterator[Float[Tensor, "n d"]]) -> int:
        """Start every codebook by k-means before training, each on batches of its own; returns how many batches were drawn.

        `batches` gives the valid frames of one training batch of this rank at a time: the same batch would leave later codebooks
        zero residual. Raises RequestError where they end too early.
        """
        drawn = 0
        for layer in range(self.codebooks):
            pool, steps = self.embed.new_zeros(0, self.dim), 0
            while len(pool) < self.kmeans_frames:
                batch = next(batches, None)
                if batch is None:
                    raise RequestError(
                        f"the batches ended after {drawn}, codebook {layer + 1} of {self.codebooks} has {len(pool)} of "
                        f"{self.kmeans_frames} frames to start from; give more or longer batches, or lower kmeans_frames"
                    )
                pool = torch.cat([pool, rows_of_all_ranks(batch.float())])
                drawn, steps = drawn + 1, steps + 1
            self._start(layer, pool, len(pool) / steps)
        return drawn

    @torch.no_grad()
    def take(self, layer: int, entries: Float[Tensor, "s d"], usage: Float[Tensor, " s"]) -> None:
        """Put the `entries` of a published codebook into codebook `layer` (from 0); `usage`: frames an entry stood for, by its own EMA.

        A file without that (sum below one frame) gets one frame each. Entries hardly used there are revived as any others are.
        """
        known = bool(usage.isfinite().all()) and float(usage.sum()) >= 1
        self.embed[layer] = entries
        self.cluster_size[layer] = usage if known else 1.0
        self.embed_avg[layer] = self.embed[layer] * self._smoothed()[layer][:, None]  # so that the next step finds the same entries
        self.ready[layer] = True

    def health(self) -> Health:
        """Perplexity and usage of each codebook over the last window of training steps."""
        counts = self.last_counted if bool(self.last_counted.any()) else self.counted
        return Health(_perplexity(counts), (counts > 0).float().mean(1), counts.clone())

    def entries(self, layer: int) -> dict[str, Tensor]:
        """Give the EMA state of codebook `layer` (from 0) by the names of transformers' EncodecEuclideanCodebook."""
        state = {"embed": self.embed[layer], "embed_avg": self.embed_avg[layer], "cluster_size": self.cluster_size[layer]}
        return state | {"inited": self.embed.new_ones(1)}  # a codebook that was never started is all zeros and adds nothing

    def get_extra_state(self) -> Tensor:
        """Frames collected so far for the next codebook, (n, d)."""
        return self._pool

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` gave."""
        self._pool = state.to(self.embed.device, copy=True)

    @torch.no_grad()
    def _assign(self, rows: Float[Tensor, "n d"]) -> tuple[Int[Tensor, "q n"], Float[Tensor, "q_and_1 n d"], Float[Tensor, "q n d"]]:
        """Codes, residuals before each layer (and after the last), and running sums of what was chosen."""
        choose = nearest if self.training else self.assign
        residuals = rows.new_empty(self.codebooks + 1, *rows.shape)
        sums = rows.new_empty(self.codebooks, *rows.shape)
        codes = torch.empty(self.codebooks, len(rows), dtype=torch.int64, device=rows.device)
        residuals[0] = rows
        for layer in range(self.codebooks):
            codes[layer] = choose(residuals[layer], self.embed[layer])
            chosen = functional.embedding(codes[layer], self.embed[layer])
            torch.sub(residuals[layer], chosen, out=residuals[layer + 1])
            torch.add(sums[layer - 1] if layer else torch.zeros_like(chosen), chosen, out=sums[layer])
        return codes, residuals, sums

    def _kept(self, sums: Float[Tensor, "q b n d"]) -> Float[Tensor, "b n d"]:
        """Give each sample's decoder input: all codebooks, or the first few of them where quantizer dropout strikes."""
        if not self.training or self.dropout == 0:
            return sums[-1]
        (rank, ranks), batch = world(), sums.shape[1]
        generator = self._generator(DROPOUT, int(self.step))
        struck, few = generator.random(ranks * batch) < self.dropout, generator.integers(1, self.codebooks + 1, ranks * batch)
        kept = np.where(struck, few, self.codebooks)
        mine = torch.from_numpy(kept[rank * batch : (rank + 1) * batch]).to(sums.device)
        return sums[mine - 1, torch.arange(batch, device=sums.device)]

    def _counts(self, codes: Int[Tensor, "q n"], valid: Bool[Tensor, " n"]) -> Float[Tensor, "q s"]:
        counts = torch.bincount(self._slots(codes, valid), minlength=self.codebooks * (self.codebook_size + 1))
        return counts.view(self.codebooks, -1)[:, :-1].float()

    def _slots(self, codes: Int[Tensor, "q n"], valid: Bool[Tensor, " n"]) -> Int[Tensor, " qn"]:
        """Row of each code in one table of all layers, each with a last row into which padded frames go."""
        first = torch.arange(self.codebooks, device=codes.device)[:, None] * (self.codebook_size + 1)
        return (torch.where(valid, codes, self.codebook_size) + first).flatten()

    @torch.no_grad()
    def _learn(self, codes: Int[Tensor, "q n"], residuals: Float[Tensor, "q_and_1 n d"], valid: Bool[Tensor, " n"]) -> Float[Tensor, "q s"]:
        """One EMA step, then revival; returns the counts of all ranks."""
        (rank, ranks), size = world(), self.codebook_size
        table = residuals.new_zeros(self.codebooks * (size + 1), self.dim)
        table.index_add_(0, self._slots(codes, valid), residuals[:-1].reshape(-1, self.dim))
        frames = residuals.new_zeros(ranks)
        frames[rank] = valid.sum()
        sums = table.view(self.codebooks, size + 1, self.dim)[:, :-1]
        flat = sum_over_ranks(torch.cat([frames, self._counts(codes, valid).flatten(), sums.flatten()]))  # one message for all layers
        frames, counts, sums = flat.split([ranks, self.codebooks * size, self.codebooks * size * self.dim])
        counts, sums = counts.view(self.codebooks, size), sums.view(self.codebooks, size, self.dim)
        rate = (1 - self.decay) * self.ready.float()[:, None]
        self.cluster_size.lerp_(counts, rate)
        self.embed_avg.lerp_(sums, rate[..., None])
        torch.div(self.embed_avg, self._smoothed()[..., None], out=self.embed)
        self._revive(residuals, valid, frames)
        if not bool(self.ready.all()):
            self._collect(residuals, valid, float(frames.sum()))
        self._remember(counts)
        return counts

    def _smoothed(self) -> Float[Tensor, "q s"]:
        """Cluster sizes with Laplace smoothing, above 0."""
        total = self.cluster_size.sum(1, keepdim=True)
        return ((self.cluster_size + EPSILON) / (total + self.codebook_size * EPSILON) * total).clamp_min(EPSILON**2)

    def _revive(self, residuals: Float[Tensor, "q_and_1 n d"], valid: Bool[Tensor, " n"], frames: Float[Tensor, " ranks"]) -> None:
        """Put entries that are hardly used on frames of this step, with the statistics of an average entry, so that they live on."""
        mean, total = self.cluster_size.mean(1, keepdim=True), int(frames.sum())
        dead = (self.cluster_size < self.dead * mean) & self.ready[:, None]
        layers, entries = (dead & (dead.cumsum(1) <= total)).nonzero().unbind(1)  # at most as many a layer as frames: no two the same
        if len(layers) == 0:
            return
        generator = self._generator(REVIVAL, int(self.step))
        drawn = [generator.permutation(total)[:count] for count in torch.bincount(layers).tolist()]
        index = torch.from_numpy(np.concatenate(drawn)).to(layers.device)  # among the valid frames of all ranks, in rank order
        rank, _ = world()
        local = index - int(frames[:rank].sum())
        mine = (local >= 0) & (local < int(frames[rank]))
        vectors = residuals.new_zeros(len(layers), self.dim)
        vectors[mine] = residuals[layers[mine], valid.nonzero().squeeze(1)[local[mine]]]
        sum_over_ranks(vectors)
        self.embed[layers, entries] = vectors
        self.cluster_size[layers, entries] = mean[layers, 0]
        self.embed_avg[layers, entries] = vectors * mean[layers]

    def _collect(self, residuals: Float[Tensor, "q_and_1 n d"], valid: Bool[Tensor, " n"], frames: float) -> None:
        """Without a start-up pass: keep this step's frames for the next codebook, and start it when there are enough."""
        layer = int(self.ready.sum())
        self._pool = torch.cat([self._pool.to(residuals.device), rows_of_all_ranks(residuals[0][valid])])[: self.kmeans_frames]
        if len(self._pool) == self.kmeans_frames:
            self._start(layer, self._pool, frames)
            self._pool = self._pool.new_zeros(0, self.dim)

    def _start(self, layer: int, pool: Float[Tensor, "n d"], frames: float) -> None:
        """Start codebook `layer` by k-means of the residuals of `pool`; its statistics weigh as one step of `frames` frames.

        So little, that the average of the first hundred steps is that of the steps themselves: the encoder moves fast then.
        """
        residual = pool
        for earlier in self.embed[:layer]:
            residual = residual - functional.embedding(nearest(residual, earlier), earlier)
        clusters = kmeans(residual, self.codebook_size, self.kmeans_iterations, self._generator(KMEANS, layer))
        self.embed[layer] = clusters.centres
        self.cluster_size[layer] = clusters.counts * ((1 - self.decay) * frames / len(pool))
        self.embed_avg[layer] = clusters.centres * self.cluster_size[layer][:, None]
        self.ready[layer] = True

    def _remember(self, counts: Float[Tensor, "q s"]) -> None:
        self.counted += counts
        self.step += 1
        if int(self.step) % self.window == 0:
            self.last_counted.copy_(self.counted)
            self.counted.zero_()

    def _generator(self, purpose: int, counter: int) -> np.random.Generator:
        """Make a generator that depends on nothing but the seed, the purpose and a counter of the checkpoint: the same on all ranks."""
        return np.random.default_rng([self.seed, purpose, counter])


def _perplexity(counts: Float[Tensor, "q s"]) -> Float[Tensor, " q"]:
    """Perplexity of each row, exp of its entropy; 1 where nothing was counted."""
    share = counts / counts.sum(1, keepdim=True).clamp_min(1)
    return torch.special.entr(share).sum(1).exp()
