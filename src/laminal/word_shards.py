"""Words in codes: each stretch of audio is encoded once, and its codes and latents are kept in the cache, a part of the words at a time.

Batches are cuts of equal length, so the cut words go by blocks of thousands, in which many are equally long; utterances encoded whole are
a batch each, and their parts are small, which processes can share and a killed run keeps.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminal import parallel
from laminal.cache import CodesCache, Shard, file_sha256, smallest_integer
from laminal.codecs.base import Codec
from laminal.corpora.base import Corpus, Utterance
from laminal.errors import DataError, RequestError
from laminal.words import Token, frame_spans

Slice = Literal["audio", "features"]
TICK = 0.01  # seconds; aligners tick so, and lengths of cuts are rounded to it: few distinct lengths, no padding
BLOCK_TOKENS = 2048  # words encoded, cached and held at once, at most
PARTS, PART_TOKENS = 8, 256  # whole utterances make so many parts where words are few; no part smaller than this
BATCH_SECONDS = {"cpu": 4.0, "cuda": 16.0}  # of audio in one call of the codec: on a CPU, what its cache holds


@dataclass(frozen=True, slots=True)
class Part:
    """Whole utterances with the rows of their tokens, of one slice: what is one entry of the cache."""

    slice: Slice
    block: tuple[tuple[Utterance, tuple[int, ...]], ...]

    def seconds(self, tokens: Sequence[Token]) -> float:
        """Audio that is encoded."""
        if self.slice == "features":
            return sum(utterance.seconds for utterance, _ in self.block)
        return sum(tokens[row].end - tokens[row].start for _, rows in self.block for row in rows)

    def rows(self, shard: Shard) -> list[int]:
        """Rows of `shard`: all but those of utterances that could not be read."""
        bad = {place for place, _ in shard.bad}
        return [row for place, (_, rows) in enumerate(self.block) if place not in bad for row in rows]


def parts_of(corpus: Corpus, tokens: Sequence[Token], slices: Sequence[Slice]) -> list[list[Part]]:
    """Cut the words into blocks, in the order of the corpus, and each block into parts: one for audio slices, small ones for features.

    Parts of one block are worked through together, so that its audio is read once.
    """
    rows: dict[str, list[int]] = {}
    for row, token in enumerate(tokens):
        rows.setdefault(token.utterance_id, []).append(row)
    wanted = set(rows)
    named = [utterance for utterance in corpus if utterance.id in wanted]
    if len(named) > len(wanted):
        twice = next(name for name, times in Counter(utterance.id for utterance in named).items() if times > 1)
        raise RequestError(f"corpus {corpus.name} has two utterances {twice!r}: every utterance needs a name of its own")
    held = [(utterance, tuple(rows.pop(utterance.id))) for utterance in named]
    if rows:
        raise RequestError(f"tokens of {next(iter(rows))!r}, which is not in corpus {corpus.name}: take both from one place")
    few = min(BLOCK_TOKENS, max(PART_TOKENS, len(tokens) // PARTS))
    return [
        [Part(slice, part) for slice in slices for part in ([block] if slice == "audio" else _cut_up(block, few))]
        for block in _cut_up(held, BLOCK_TOKENS)
    ]


def _cut_up(held: Sequence[tuple[Utterance, tuple[int, ...]]], enough: int) -> Iterator[tuple[tuple[Utterance, tuple[int, ...]], ...]]:
    """Cut into runs of utterances with `enough` words each, or just over."""
    begin = count = 0
    for place, (_, rows) in enumerate(held):
        count += len(rows)
        if count >= enough or place == len(held) - 1:
            yield tuple(held[begin : place + 1])
            begin, count = place + 1, 0


def shards_of(codec: Codec, corpus: Corpus, parts: Sequence[Part], tokens: Sequence[Token], cache: CodesCache | None) -> list[Shard]:
    """Codes and latents of the words of each part, from the cache where they are there."""
    keys = _keys(codec, parts, tokens) if cache is not None else [""] * len(parts)
    held = [cache.get(key) if cache is not None else None for key in keys]
    for place, (part, shard) in enumerate(zip(parts, held)):
        if shard is not None and any(_readable(codec, corpus, *part.block[bad], tokens) for bad, _ in shard.bad):
            held[place] = None  # a decoder was installed since, or the disk is there again
    missing = [place for place, shard in enumerate(held) if shard is None]
    for place, shard in zip(missing, _made(codec, corpus, [parts[place] for place in missing], tokens), strict=True):
        held[place] = shard
        if cache is not None:
            cache.put(keys[place], shard)
    return [shard for shard in held if shard is not None]


def _made(codec: Codec, corpus: Corpus, parts: Sequence[Part], tokens: Sequence[Token]) -> list[Shard]:
    """Encode parts. Utterances are read a few at a time, once, and let go: a block may take its words from hours of them."""
    bad: dict[str, str] = {}
    cuts: dict[int, list[tuple[int, Tensor]]] = {}
    found: dict[Slice, dict[int, _Word]] = {"audio": {}, "features": {}}
    wanted = {slice: {utterance.id for part in parts if part.slice == slice for utterance, _ in part.block} for slice in found}
    every = {utterance.id: (utterance, rows) for part in parts for utterance, rows in part.block}

    def heard(held: tuple[Utterance, tuple[int, ...]]) -> tuple[list[tuple[int, Tensor]], list[tuple[int, _Word]]]:
        utterance, rows = held
        wav = _read(codec, corpus, utterance, rows, tokens)
        # clones, no views, which would hold the whole utterance
        alone = [(row, _cut(wav, tokens[row], codec.sample_rate).clone()) for row in rows] if utterance.id in wanted["audio"] else []
        return alone, _encoded_utterance(codec, wav, rows, tokens) if utterance.id in wanted["features"] else []

    for name, made in zip(every, parallel.each_or_reason(codec, heard, every.values()), strict=True):
        if isinstance(made, str):
            bad[name] = made
            continue
        alone, inside = made
        for row, cut in alone:
            cuts.setdefault(len(cut), []).append((row, cut))
        found["features"].update(inside)
    found["audio"].update(_encoded_cuts(codec, cuts))
    shards = []
    for part in parts:
        lost = tuple((place, bad[utterance.id]) for place, (utterance, _) in enumerate(part.block) if utterance.id in bad)
        good = [row for utterance, rows in part.block if utterance.id not in bad for row in rows]
        shards.append(_gather([found[part.slice][row] for row in good], lost))
    return shards


def _read(codec: Codec, corpus: Corpus, utterance: Utterance, rows: Sequence[int], tokens: Sequence[Token]) -> Float[Tensor, " t"]:
    wav = corpus.wav(utterance, codec.sample_rate)
    latest, length = max(tokens[row].end for row in rows), len(wav) / codec.sample_rate
    if latest > length + 2 * TICK:
        raise DataError(f"{utterance.path}: words to {latest:.2f} s but audio to {length:.2f} s; align it again")
    return wav


def _readable(codec: Codec, corpus: Corpus, utterance: Utterance, rows: Sequence[int], tokens: Sequence[Token]) -> bool:
    try:
        _read(codec, corpus, utterance, rows, tokens)
    except DataError:
        return False
    return True


def _keys(codec: Codec, parts: Sequence[Part], tokens: Sequence[Token]) -> list[str]:
    """Name the shard of each part by all it depends on: codec, audio and times, and how cuts are batched, on which the last bits depend."""
    audio: dict[str, str] = {}
    for utterance in {utterance.id: utterance for part in parts for utterance, _ in part.block}.values():
        try:
            audio[utterance.id] = file_sha256(utterance.path)
        except DataError:
            audio[utterance.id] = f"unreadable {utterance.path}"  # the entry says so; once the file is mended it has another name
    keys = []
    for part in parts:
        batched = _batch_seconds(codec) if part.slice == "audio" else ""
        digest = hashlib.sha256(f"{codec.name}\t{codec.revision}\t{codec.sample_rate}\t{part.slice} {batched}\n".encode())
        for utterance, rows in part.block:
            digest.update(audio[utterance.id].encode())
            digest.update("".join(f" {tokens[row].start!r}-{tokens[row].end!r}" for row in rows).encode())
        keys.append(digest.hexdigest())
    return keys


@dataclass(frozen=True, slots=True)
class _Word:
    codes: np.ndarray  # (q, n), of the smallest type
    direct: np.ndarray  # (direct, d)
    names: tuple[str, ...]
    empty: bool


def _encoded_cuts(codec: Codec, cuts: Mapping[int, Sequence[tuple[int, Tensor]]]) -> Iterator[tuple[int, _Word]]:
    """Encode each word's audio alone; equal lengths (samples, the keys of `cuts`) share a batch."""
    batches = []
    for length in sorted(cuts):
        group, size = cuts[length], max(1, int(_batch_seconds(codec) * codec.sample_rate / length))
        batches += [group[begin : begin + size] for begin in range(0, len(group), size)]
    for found in parallel.each(codec, partial(_encoded_batch, codec), batches):
        yield from found


def _batch_seconds(codec: Codec) -> float:
    return BATCH_SECONDS.get(torch.device(getattr(codec, "device", "cpu")).type, BATCH_SECONDS["cuda"])


def _encoded_batch(codec: Codec, batch: Sequence[tuple[int, Tensor]]) -> list[tuple[int, _Word]]:
    """Encode cuts of one length."""
    small = smallest_integer(codec.codebook_size)
    wav = torch.stack([cut for _, cut in batch])
    codes, direct, names = _analysed(codec, wav)
    first, stop, empty = frame_spans(np.zeros(1), np.array([wav.shape[1] / codec.sample_rate]), codec.frame_rate, direct.shape[2])
    part = np.s_[first[0] : stop[0]]
    means = direct[:, :, part].mean(2)
    return [(row, _Word(codes[index, :, part].astype(small), means[index], names, bool(empty[0]))) for index, (row, _) in enumerate(batch)]


def _cut(wav: Tensor, token: Token, sample_rate: int) -> Tensor:
    first = min(round(token.start * sample_rate), len(wav) - 1)
    return wav[first : first + max(1, round(round((token.end - token.start) / TICK) * TICK * sample_rate))]


def _encoded_utterance(codec: Codec, wav: Tensor, rows: Sequence[int], tokens: Sequence[Token]) -> list[tuple[int, _Word]]:
    """Encode an utterance whole and cut the frames of its words."""
    small = smallest_integer(codec.codebook_size)
    codes, direct, names = _analysed(codec, wav[None])
    start, end = (np.array([getattr(tokens[row], edge) for row in rows]) for edge in ("start", "end"))
    first, stop, empty = frame_spans(start, end, codec.frame_rate, direct.shape[2])
    found = []
    for index, row in enumerate(rows):
        part = np.s_[first[index] : stop[index]]
        found.append((row, _Word(codes[0, :, part].astype(small), direct[0, :, part].mean(1), names, bool(empty[index]))))
    return found


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
