"""Words in every layer of a codec: encode each stretch of audio once, look layers up from codes, average over a word's frames."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from laminal.cache import CodesCache, Shard, file_sha256, smallest_integer
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.errors import DataError, RequestError
from laminal.lexicon import pronounce
from laminal.progress import track

Slice = Literal["audio", "features"]
Mode = Literal["cumulative", "single", "residual"]
SHORTEST, LONGEST = 0.1, 1.5  # seconds
EDGE = 1e-9  # frames; a centre on the edge of a word lies inside, whatever the rounding of the edge's decimal
TICK = 0.01  # seconds; aligners tick so, and lengths of cuts are rounded to it: few distinct lengths, no padding
BLOCK_TOKENS = 2048  # words encoded, cached and held at once, at most
PARTS, PART_TOKENS = 8, 256  # fewer words make so many blocks, which processes share and a killed run keeps; blocks no smaller than this
BATCH_SECONDS = 16.0  # of audio in one call of the codec
LOOKUP_FRAMES = 4096  # frames looked up at once: the layers of so many stay in the processor's cache
BAD_SHARE = 0.05  # more unreadable utterances than this end the probe


@dataclass(frozen=True, slots=True)
class Token:
    """One spoken word; times in seconds within its utterance."""

    word: str
    utterance_id: str
    speaker: str
    start: float
    end: float

    @property
    def name(self) -> str:
        """`utterance:start-end`, enough to find the audio again."""
        return f"{self.utterance_id}:{self.start:.4f}-{self.end:.4f}"


@dataclass(frozen=True, slots=True)
class WordFeatures:
    """Mean over the frames of each word, for every layer; words of unreadable audio are NaN and not `ok`."""

    layers: tuple[str, ...]
    values: Float[np.ndarray, "w layers d"]  # float32
    ok: Bool[np.ndarray, " w"]
    empty: int  # words that held no frame centre and took the nearest frame
    failed: tuple[tuple[str, str], ...] = ()  # (utterance, reason)

    def in_mode(self, mode: Mode) -> "WordFeatures":
        """Give `single` (codebook k alone) or `residual` (1..k without 1) by subtraction; layers that have none are left out."""
        if mode == "cumulative":
            return self
        place = {name: index for index, name in enumerate(self.layers)}
        last = max((int(name) for name in self.layers if name.isdigit()), default=0)
        if mode == "single":
            kept = [name for name in self.layers if name.isdigit()]
            taken = [self.values[:, place[k]] - (self.values[:, place[str(int(k) - 1)]] if k != "1" else 0) for k in kept]
        else:
            kept = [str(k) for k in range(2, last + 1)]
            taken = [self.values[:, place[k]] - self.values[:, place["1"]] for k in kept]
        values = np.stack(taken, 1) if taken else self.values[:, :0]
        return WordFeatures(tuple(kept), values, self.ok, self.empty, self.failed)


def tokens(corpus: Corpus) -> tuple[Token, ...]:
    """Words of `corpus` that probes use: alphabetic, in the CMU dictionary, 0.1 to 1.5 s long."""
    known = pronounce.words()
    return tuple(
        Token(word.label, utterance.id, utterance.speaker, word.start, word.end)
        for utterance in corpus
        for word in utterance.words
        if SHORTEST - EDGE <= word.end - word.start <= LONGEST + EDGE and word.label.isalpha() and word.label in known
    )


def frame_spans(
    start: Float[np.ndarray, " w"], end: Float[np.ndarray, " w"], rate: float, count: int
) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " w"], Bool[np.ndarray, " w"]]:
    """First frame, frame after the last, and whether it was empty, of each word [start, end] (seconds) among `count` frames.

    Frame k is centred at (k + 0.5) / rate; a word holds the frames whose centre lies in it, edges included. A word without one takes the
    frame whose centre is nearest to its middle. Words past the last frame take the last one and count as empty.
    """
    first = np.maximum(np.ceil(start * rate - 0.5 - EDGE), 0).astype(np.int64)
    stop = np.minimum(np.floor(end * rate - 0.5 + EDGE) + 1, count).astype(np.int64)
    nearest = np.clip(np.floor((start + end) / 2 * rate), 0, count - 1).astype(np.int64)
    empty = first >= stop
    return np.where(empty, nearest, first), np.where(empty, nearest + 1, stop), empty


def word_features(codec: Codec, corpus: Corpus, tokens: Sequence[Token], slice: Slice, cache: CodesCache | None = None) -> WordFeatures:
    """Features of `tokens` in every layer of `codec`: "latent" and "1".."K", accumulated.

    `slice="audio"` cuts the waveform and encodes the cut alone; "features" encodes the utterance and cuts frames. Words are worked through
    in blocks of whole utterances, in the order of the corpus: equal requests make equal batches and equal bytes, cached or not.
    Unreadable utterances are listed and skipped; raises DataError where they are more than 5 %.
    """
    return features_by_slice(codec, corpus, tokens, (slice,), cache)[slice]


def features_by_slice(
    codec: Codec, corpus: Corpus, tokens: Sequence[Token], slices: Sequence[Slice], cache: CodesCache | None = None
) -> dict[Slice, WordFeatures]:
    """`word_features` of several slices, for which audio is read once."""
    blocks = list(_blocks(corpus, tokens))
    failed: dict[Slice, dict[str, str]] = {slice: {} for slice in slices}
    found: dict[Slice, list[_Looked]] = {slice: [] for slice in slices}
    for block in track(blocks, f"words, slice {' and '.join(slices)}", len(blocks)):
        for slice, (rows, shard) in _shards(codec, corpus, block, tokens, slices, cache, failed).items():
            if rows:
                found[slice].append((rows, *_layers(codec, shard), int(shard.empty.sum())))
    utterances = sum(map(len, blocks))
    return {slice: _collected(found[slice], len(tokens), failed[slice], utterances) for slice in slices}


_Looked = tuple[list[int], tuple[str, ...], np.ndarray, int]  # of a block: rows, names of layers, values, how many words had no frame


def _collected(found: Sequence[_Looked], count: int, failed: dict[str, str], utterances: int) -> WordFeatures:
    """Put the blocks of one slice together."""
    if len(failed) > BAD_SHARE * utterances:
        name, reason = next(iter(failed.items()))
        raise DataError(f"{len(failed)} of {utterances} utterances are unusable, over 5 % (the first: {name}: {reason}); mend the corpus")
    layers, shape = (found[0][1], found[0][2].shape[1:]) if found else ((), (0, 0))
    values, ok = np.full((count, *shape), np.nan, np.float32), np.zeros(count, bool)
    for rows, _, block_values, _ in found:
        values[rows], ok[rows] = block_values, True
    return WordFeatures(layers, values, ok, sum(empty for *_, empty in found), tuple(failed.items()))


def fill(codec: Codec, corpus: Corpus, tokens: Sequence[Token], slices: Sequence[Slice], cache: CodesCache, share: tuple[int, int]) -> None:
    """Encode one process's share (its number, how many there are) of what `word_features` will ask for, into the cache."""
    number, processes = share
    every = [(slice, block) for slice in slices for block in _blocks(corpus, tokens)]
    length = [_seconds(slice, block, tokens) for slice, block in every]
    loads, mine = [0.0] * processes, []
    for part in sorted(range(len(every)), key=lambda part: -length[part]):  # the longest first, each to who has least
        least = loads.index(min(loads))
        loads[least] += length[part]
        mine += [every[part]] if least == number else []
    for slice, block in track(mine, "words", len(mine)):
        _shards(codec, corpus, block, tokens, (slice,), cache, {slice: {}})


Block = list[tuple[Utterance, list[int]]]  # utterances and the rows of their tokens


def _seconds(slice: Slice, block: Block, tokens: Sequence[Token]) -> float:
    """Audio that `slice` of a block encodes."""
    if slice == "features":
        return sum(utterance.seconds for utterance, _ in block)
    return sum(tokens[row].end - tokens[row].start for _, rows in block for row in rows)


def _blocks(corpus: Corpus, tokens: Sequence[Token]) -> Iterator[Block]:
    rows: dict[str, list[int]] = {}
    for row, token in enumerate(tokens):
        rows.setdefault(token.utterance_id, []).append(row)
    enough = min(BLOCK_TOKENS, max(PART_TOKENS, len(tokens) // PARTS))
    block: Block = []
    count = 0
    for utterance in corpus:
        if utterance.id in rows:
            block.append((utterance, rows.pop(utterance.id)))
            count += len(block[-1][1])
        if count >= enough:
            yield block
            block, count = [], 0
    if rows:
        raise RequestError(f"tokens of {next(iter(rows))!r}, which is not in corpus {corpus.name}: take both from one place")
    if block:
        yield block


def _shards(
    codec: Codec,
    corpus: Corpus,
    block: Block,
    tokens: Sequence[Token],
    slices: Sequence[Slice],
    cache: CodesCache | None,
    failed: dict[Slice, dict[str, str]],
) -> dict[Slice, tuple[list[int], Shard]]:
    """Rows of the block that could be read, and their shard, of each slice; from the cache where it is there."""
    keys = _keys(codec, block, tokens, slices) if cache is not None else {}
    held = {slice: shard for slice, key in keys.items() if cache is not None and (shard := cache.get(key)) is not None}
    missing = [slice for slice in slices if slice not in held]
    if missing:
        for slice, shard in _made(codec, corpus, block, tokens, missing).items():
            held[slice] = shard
            if cache is not None:
                cache.put(keys[slice], shard)
    for slice in slices:
        failed[slice] |= {block[place][0].id: reason for place, reason in held[slice].bad}
    rows = {slice: _rows_but(block, {place for place, _ in held[slice].bad}) for slice in slices}
    return {slice: (rows[slice], held[slice]) for slice in slices}


def _rows_but(block: Block, bad: set[int]) -> list[int]:
    return [row for place, (_, rows) in enumerate(block) if place not in bad for row in rows]


def _made(codec: Codec, corpus: Corpus, block: Block, tokens: Sequence[Token], slices: Sequence[Slice]) -> dict[Slice, Shard]:
    """Encode a block. Utterances are read one at a time, once, and let go: a block may take its words from hours of them."""
    bad: list[tuple[int, str]] = []
    cuts: dict[int, list[tuple[int, Tensor]]] = {}
    found: dict[Slice, dict[int, _Word]] = {slice: {} for slice in slices}
    for place, (utterance, rows) in enumerate(block):
        try:
            wav = corpus.wav(utterance, codec.sample_rate)
            latest, length = max(tokens[row].end for row in rows), len(wav) / codec.sample_rate
            if latest > length + 2 * TICK:
                raise DataError(f"{utterance.path}: words to {latest:.2f} s but audio to {length:.2f} s; align it again")
        except DataError as error:
            bad.append((place, str(error)))
            continue
        if "audio" in found:
            for row in rows:
                cut = _cut(wav, tokens[row], codec.sample_rate).clone()  # not a view, which would hold the whole utterance
                cuts.setdefault(len(cut), []).append((row, cut))
        if "features" in found:
            found["features"].update(_encoded_utterance(codec, wav, rows, tokens))
    if "audio" in found:
        found["audio"].update(_encoded_cuts(codec, cuts))
    good = _rows_but(block, {place for place, _ in bad})
    return {slice: _gather([words[row] for row in good], tuple(bad)) for slice, words in found.items()}


def _keys(codec: Codec, block: Block, tokens: Sequence[Token], slices: Sequence[Slice]) -> dict[Slice, str]:
    """Name the shard of each slice by all it depends on: codec, audio and times."""
    about = []
    for utterance, rows in block:
        try:
            about.append(file_sha256(utterance.path))
        except DataError:
            about.append("unreadable")  # the entry says so; once the file is mended it has another name
        about += [f" {tokens[row].start!r}-{tokens[row].end!r}" for row in rows]
    end = "".join(about).encode()
    start = f"{codec.name}\t{codec.revision}\t{codec.sample_rate}"
    return {slice: hashlib.sha256(f"{start}\t{slice}\n".encode() + end).hexdigest() for slice in slices}


@dataclass(frozen=True, slots=True)
class _Word:
    codes: np.ndarray  # (q, n), of the smallest type
    direct: np.ndarray  # (direct, d)
    names: tuple[str, ...]
    empty: bool


def _encoded_cuts(codec: Codec, cuts: Mapping[int, Sequence[tuple[int, Tensor]]]) -> Iterator[tuple[int, _Word]]:
    """Encode each word's audio alone; equal lengths (samples, the keys of `cuts`) share a batch."""
    small = smallest_integer(codec.codebook_size)
    for length in sorted(cuts):
        group = cuts[length]
        size = max(1, int(BATCH_SECONDS * codec.sample_rate / length))
        seconds = np.array([length / codec.sample_rate])
        for begin in range(0, len(group), size):
            batch = group[begin : begin + size]
            codes, direct, names = _analysed(codec, torch.stack([cut for _, cut in batch]))
            first, stop, empty = frame_spans(np.zeros(1), seconds, codec.frame_rate, direct.shape[2])
            part = np.s_[first[0] : stop[0]]
            means = direct[:, :, part].mean(2)
            for index, (row, _) in enumerate(batch):
                yield row, _Word(codes[index, :, part].astype(small), means[index], names, bool(empty[0]))


def _cut(wav: Tensor, token: Token, sample_rate: int) -> Tensor:
    first = min(round(token.start * sample_rate), len(wav) - 1)
    return wav[first : first + max(1, round(round((token.end - token.start) / TICK) * TICK * sample_rate))]


def _encoded_utterance(codec: Codec, wav: Tensor, rows: Sequence[int], tokens: Sequence[Token]) -> Iterator[tuple[int, _Word]]:
    """Encode an utterance whole and cut the frames of its words."""
    small = smallest_integer(codec.codebook_size)
    codes, direct, names = _analysed(codec, wav[None])
    start, end = (np.array([getattr(tokens[row], edge) for row in rows]) for edge in ("start", "end"))
    first, stop, empty = frame_spans(start, end, codec.frame_rate, direct.shape[2])
    for index, row in enumerate(rows):
        part = np.s_[first[index] : stop[index]]
        yield row, _Word(codes[0, :, part].astype(small), direct[0, :, part].mean(1), names, bool(empty[index]))


def _analysed(
    codec: Codec, wav: Float[Tensor, "b t"]
) -> tuple[Int[np.ndarray, "b q n"], Float[np.ndarray, "b direct n d"], tuple[str, ...]]:
    """Codes and the latent of audio, from one pass of the codec's encoder.

    A codec gives both at once by a method `codes_and_latent(wav) -> (codes, latent)`. Of one that has none, or no codes, all layers are
    taken as they are: the same numbers, K times as much to keep.
    """
    with torch.no_grad():
        wav = wav.to(getattr(codec, "device", "cpu"))
        if hasattr(codec, "codes_and_latent"):
            codes, latent = codec.codes_and_latent(wav)
            return codes.cpu().numpy(), latent.float().cpu().numpy()[:, None], ("latent",)
        layers = codec.layers(wav)
        direct = torch.stack([layer.float() for layer in layers.values()], 1).cpu().numpy()
        return np.zeros((len(direct), 0, direct.shape[2]), np.int64), direct, tuple(layers)


def _gather(words: Sequence[_Word], bad: tuple[tuple[int, str], ...]) -> Shard:
    if not words:
        return Shard(np.zeros((0, 0), np.uint8), np.zeros(0, np.int64), np.zeros((0, 0, 0), np.float32), (), np.zeros(0, bool), bad)
    return Shard(
        np.concatenate([word.codes for word in words], 1),
        np.array([word.codes.shape[1] for word in words]),
        np.stack([word.direct for word in words]),
        words[0].names,
        np.array([word.empty for word in words]),
        bad,
    )


def _layers(codec: Codec, shard: Shard) -> tuple[tuple[str, ...], Float[np.ndarray, "w layers d"]]:
    """Names and word means of all layers: the direct ones as stored, the others looked up from codes some thousand frames at a time."""
    if not len(shard.codes):
        return shard.names, shard.direct
    ends = np.cumsum(shard.lengths)
    pieces: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    begin = 0
    while begin < len(ends):
        frame = ends[begin] - shard.lengths[begin]
        stop = max(begin + 1, int(np.searchsorted(ends, frame + LOOKUP_FRAMES, side="right")))
        codes = torch.from_numpy(shard.codes[:, frame : ends[stop - 1]].astype(np.int64))[None]
        codes = codes.to(getattr(codec, "device", "cpu"))
        with torch.no_grad():
            layers = codec.layers(codes)
            names = tuple(name for name in layers if name.isdigit())
            starts = torch.from_numpy(ends[begin:stop] - shard.lengths[begin:stop] - frame).to(codes.device)
            every = torch.arange(codes.shape[-1], device=codes.device)
            bags = [embedding_bag(every, layers[name][0].float(), starts, mode="sum") for name in names]  # a third of reduceat's time
        pieces.append(torch.stack(bags, 1).cpu().numpy() / shard.lengths[begin:stop, None, None].astype(np.float32))
        begin = stop
    return shard.names + names, np.concatenate([shard.direct, np.concatenate(pieces)], 1)
