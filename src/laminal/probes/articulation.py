"""How much of the vocal tract's shape is in each layer? PWCCA with vocal-tract distances, held out, against circular shifts.

Seed study: arXiv 2603.10371, sections 2.4 and 3.2 (Figs. 3 and 4); PWCCA: Morcos et al. 2018, arXiv 1806.05759.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from laminal import parallel
from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora import tract_table
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.corpora.tract import TractCorpus
from laminal.encoded import utterance_frames
from laminal.errors import DataError, RequestError
from laminal.measures.cca import fold_of_groups
from laminal.measures.heldout import HeldOut, Track
from laminal.probes import tract_baselines as baselines
from laminal.probes.tract_frames import Scaled, in_turn, scaled, shifts
from laminal.probes.tract_scores import LOG_MEL, PITCH, RANDOM_BOOK, RANDOM_CODES, Column, Material, Rows
from laminal.progress import track as shown
from laminal.results import Items, Score, Undefined

SHIFT = 2.0  # s: least circular shift of the null
FEWEST_SHIFTS = 100
FEWEST_DRAWS = 100
FULL_SHIFTS = 3  # of them also in sample at full rank
HELD_BYTES = 1 << 28  # of features kept between the two passes; the others are looked up again


Heard = tuple[Int[np.ndarray, " m"], dict[str, Float[np.ndarray, "m d"]]]  # numbers of frames, and every layer there


@dataclass(frozen=True, slots=True)
class Aligned:
    """A recording on the codec's frames: how many there are, the numbers of those that count, its fold and its shifts."""

    source: Scaled
    count: int
    rows: Int[np.ndarray, " t"]
    shifts: Int[np.ndarray, " s"]
    fold: int = 0
    cluster: int = 0


class Articulation:
    """Held-out PWCCA of vocal-tract distances with every layer, at one rank for all, with its null, baselines, lags and speakers.

    `heldout_pwcca` is fitted on four fifths of the tracks and correlated on the rest, weights from the tract; chance is its mean over
    circular shifts within each track by 2 s or more, `null` their 95 % band, `above_null` = (value - null) / (1 - null). Settings: "" the
    codec, `log_mel`, `f0_energy`, `random_codebook` (as many codebooks of the same size, drawn at random about the codec's latent),
    `random_codes` (drawn evenly: chance). `minus_log_mel`, `minus_random_codebook`, `last_minus_first`: paired differences.
    `lag_pwcca` by lag (positive: the tract after the frame; what answers late peaks below 0) on the frames that have a tract at every lag,
    `best_lag`, its value `best_lag_pwcca` and, paired, its `best_lag_gain` over lag 0. `speaker_pwcca`: the mean over speakers of each
    one's own value, with an item a speaker. `in_sample_pwcca` at full rank, secondary, its setting `few_frames` where n < 10 (p + q): then
    it is mostly sample size. Codecs with a semantic first codebook have the sum of the others too (`residual`; the seed study's Fig. 4).
    Facts: `seconds_of_tract` (setting: the corpus of the tracts; n tracks, clusters speakers), `tract_axes`, `tract_variance` (their
    share), `feature_axes` (a layer with fewer than the tract cannot reach 1), `codebooks`.

    Intervals are over speakers (tracks where one speaker is all there is): of levels the bootstrap with the fit held, stretched for their
    number; of differences t over the speakers' own values (`measures/bootstrap.py`); of `in_sample_pwcca` the jackknife over folds.
    """

    name = "articulation"
    version = 2
    metrics = dict.fromkeys(("heldout_pwcca", "null", "above_null", "minus_log_mel", "in_sample_pwcca", "speaker_pwcca"), True)
    metrics |= {"best_lag_pwcca": True, "last_minus_first": False, "minus_random_codebook": True}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, tract: TractCorpus | None, tracks: int | None, folds: int, rank: Sequence[Any],
        shifts: int, lags_ms: Sequence[Any], draws: int, seed: int, cache: str | bool | None = None,
    ):  # fmt: skip
        """`tract`: recordings with tracts; None takes `corpus` if it has them (its test speakers), else the small table that is shipped.

        `tracks`: at most so many, in turn from each speaker; `cache`: a folder or "off". Raises RequestError for impossible sizes.
        """
        if shifts < FEWEST_SHIFTS or folds < 2 or draws < FEWEST_DRAWS or (tracks is not None and tracks < 1):
            raise RequestError(
                f"articulation: shifts={shifts} folds={folds} draws={draws} tracks={tracks}: at least {FEWEST_SHIFTS}, 2, {FEWEST_DRAWS} "
                "and 1; raise them"
            )
        if isinstance(rank, str) or len(rank) != 2 or not all(isinstance(each, Integral) and int(each) >= 1 for each in rank):
            given = rank if isinstance(rank, str) else list(rank)
            raise RequestError(f"articulation.rank={given}: two whole numbers from 1 on, axes of tract and features, as [10, 64]")
        if not all(isinstance(lag, int | float) and float(lag).is_integer() for lag in lags_ms):
            raise RequestError(f"articulation.lags_ms={list(lags_ms)}: whole milliseconds, as [-40, 0, 40]")
        if tract is None and isinstance(corpus, TractCorpus):
            tract = corpus if split is None else corpus.subset(split.test_speakers)
        self.corpus = in_turn(tract_table.tract_table() if tract is None else tract, tracks)
        widths = {each.vtd.shape[1] for each in self.corpus.tracts.values()}
        if len(widths) > 1:
            raise DataError(f"{self.corpus.name}: tracts of {sorted(widths)} lines; measure them on grids of one size")
        self.folds, self.rank, self.shifts, self.draws, self.seed = folds, (rank[0], rank[1]), shifts, draws, seed
        self.lags = sorted({0.0, *(float(lag) / 1000 for lag in lags_ms)})
        self.cache = open_cache(cache)
        self._clocked: dict[tuple[str, float, int], dict[float, np.ndarray]] = {}
        self._held: dict[str, Heard] = {}  # layers of the codec in hand, while there is room
        self._room = 0
        self._beside: dict[tuple[str, str, float, int], np.ndarray] = {}  # baselines, the same at every checkpoint

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure every layer."""
        self._held, self._room = {}, HELD_BYTES
        try:
            yield from self._run(codec)
        finally:
            self._held = {}

    def _run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        aligned = list(self._aligned(codec))
        yield from (each for each in aligned if isinstance(each, Undefined))
        tracks = [each for each in aligned if isinstance(each, Aligned)]
        if len(tracks) < self.folds:
            reason = f"{len(tracks)} usable tracks and {self.folds} folds; give more tracks, or probes.articulation.folds=2"
            yield Undefined(probe=self.name, what="all", reason=reason)
            return
        source = _Features(self, codec, tracks)
        if source.lacks:
            yield Undefined(probe=self.name, what=f"{RANDOM_BOOK}, {RANDOM_CODES}", reason=source.lacks)
        lagged = [each.name for each in source.columns if each.setting in ("", LOG_MEL)]
        engine = HeldOut([each.name for each in source.columns], self.folds, self.rank, self.shifts, FULL_SHIFTS, self.lags, lagged)
        for each in shown(tracks, "tracks for articulation", len(tracks)):
            engine.learn(self._track(each, codec.frame_rate), source.of(each), each.source.utterance.id)
        engine.ready()
        for column in source.columns:
            if column.name in engine.failed:
                reason = engine.failed[column.name].replace(column.name, "it")
                yield Undefined(probe=self.name, what=column.said, reason=reason)
        if not engine.names:
            return
        for each in shown(tracks, "tracks held out", len(tracks)):
            engine.weigh(self._track(each, codec.frame_rate), source.of(each))
        columns = {column.name: column for column in source.columns}
        common = {"probe": self.name, "probe_version": self.version, "seed": self.seed, "n": sum(len(each.rows) for each in tracks)}
        rows = Rows(engine, engine.finish(), [columns[name] for name in engine.names], _clusters(tracks), self.draws, common)
        used = [each.source.utterance for each in tracks]
        speakers, seconds = len({each.speaker for each in used}), sum(each.seconds for each in used)
        yield from rows.all(Material(self.corpus.name, len(used), seconds, speakers, int(codec.codebooks)))

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        number, processes = share
        self._held, self._room = {}, 0
        for each in self._scaled[number::processes]:
            try:
                self._frames(codec, each)
            except DataError:
                continue  # `run` lists it

    @property
    def material(self) -> dict[str, Any]:
        """Say what the tracts are, which need not be of the corpus that is probed: its name, hash, and bad files, for the manifest."""
        about = {"corpus": self.corpus.name, "corpus_sha256": self.corpus.sha256, "tracks": len(self.corpus)}
        bad = {"skipped": [list(each) for each in self.corpus.skipped]} if self.corpus.skipped else {}
        return about | {"speakers": len(self.corpus.speakers)} | bad

    @cached_property
    def _refused(self) -> list[tuple[str, str]]:
        return [each for each in scaled(self.corpus) if isinstance(each, tuple)]

    @cached_property
    def _scaled(self) -> list[Scaled]:
        return [each for each in scaled(self.corpus) if isinstance(each, Scaled)]

    def _at(self, each: Scaled, rate: float, count: int) -> dict[float, Float[np.ndarray, "n g"]]:
        """Tract on codec frames at every lag; kept while there is room, as every checkpoint asks for the same."""
        key = (each.utterance.id, rate, count)
        if key in self._clocked:
            return self._clocked[key]
        made = {lag: each.at(rate, count, lag) for lag in self.lags}
        size = sum(values.nbytes for values in made.values())
        if size * (len(self._clocked) + 1) < HELD_BYTES:
            self._clocked[key] = made
        return made

    def _frames(self, codec: Codec, each: Scaled) -> Heard:
        """Numbers of the frames that lie in the audio, and every layer there."""
        name = each.utterance.id
        if name not in self._held:
            return self._kept(name, self._encoded(codec, each))
        return self._held[name]

    def _encoded(self, codec: Codec, each: Scaled) -> Heard:
        made = utterance_frames(codec, self.corpus, each.utterance, ((0.0, each.utterance.seconds),), self.cache)
        return made.frames, made.layers

    def _kept(self, name: str, found: Heard) -> Heard:
        self._room -= sum(layer.nbytes for layer in found[1].values())
        if self._room > 0:
            self._held[name] = found
        return found

    def _aligned(self, codec: Codec) -> Iterator[Aligned | Undefined]:
        """Tracks on the codec's clock with their folds and shifts; what cannot be used, with reasons."""
        for name, reason in self._refused:
            yield Undefined(probe=self.name, what=name, reason=reason)
        rate = codec.frame_rate
        usable: list[Aligned] = []
        least = int(np.ceil(SHIFT * rate))
        every = parallel.each_or_reason(codec, partial(self._encoded, codec), self._scaled)
        for number, (each, heard) in enumerate(zip(self._scaled, every, strict=True)):
            name = each.utterance.id
            if isinstance(heard, str):
                yield Undefined(probe=self.name, what=name, reason=heard)
                continue
            frames, _ = self._kept(name, heard)
            count = int(frames[-1]) + 1 if len(frames) else 0
            x = self._at(each, rate, count)[0.0]
            rows = frames[np.isfinite(x[frames]).all(1)] if count else frames
            drawn = shifts(len(rows), least, self.shifts, np.random.default_rng([self.seed, 1, number]))
            if drawn is None:
                reason = f"{len(rows) / rate:.2f} s with a tract; circular shifts of {SHIFT:g} s need {2 * SHIFT:g} s: give longer tracks"
                yield Undefined(probe=self.name, what=name, reason=reason)
                continue
            usable.append(Aligned(each, count, rows, drawn))
        if len(usable) >= self.folds:
            fold = fold_of_groups([each.source.utterance.id for each in usable], [len(each.rows) for each in usable], self.folds)
            names = {name: number for number, name in enumerate(_clusters(usable))}
            placed = zip(usable, fold.tolist(), _named(usable), strict=True)
            usable = [replace(each, fold=place, cluster=names[cluster]) for each, place, cluster in placed]
        yield from usable

    def _track(self, each: Aligned, rate: float) -> Track:
        found = {lag: values[each.rows] for lag, values in self._at(each.source, rate, each.count).items()}
        return Track(found[0.0], found, each.fold, each.shifts, each.cluster)


def _named(tracks: Sequence[Aligned]) -> list[str]:
    """Name what intervals resample, by track: the speaker, or the track itself where there is one speaker."""
    speakers = [each.source.utterance.speaker for each in tracks]
    return speakers if len(set(speakers)) > 1 else [each.source.utterance.id for each in tracks]


def _clusters(tracks: Sequence[Aligned]) -> list[str]:
    return sorted(set(_named(tracks)))


class _Features:
    """Every column's features of a track, on the frames that count: kept while there is room, else looked up again."""

    def __init__(self, probe: Articulation, codec: Codec, tracks: Sequence[Aligned]):
        self.probe, self.codec = probe, codec
        self._kept: dict[str, dict[str, np.ndarray]] = {}
        self._room = HELD_BYTES
        _, first = probe._frames(codec, tracks[0].source)
        self.columns = [Column("", layer, "cumulative") for layer in first]
        last = max((int(layer) for layer in first if layer.isdigit()), default=0)
        self.semantic = int(getattr(codec, "semantic", 0))  # codebooks of a quantizer of its own, before the acoustic ones
        if self.semantic:
            self.columns += [Column("", str(number), "residual") for number in range(self.semantic + 1, last + 1)]
        self.columns += [Column(LOG_MEL, "", ""), Column(PITCH, "", "")]
        self.books: baselines.RandomCodebooks | None = None
        self.lacks = ""  # why there are no random codebooks
        if codec.codebooks and "latent" in first:
            step = max(1, sum(len(each.rows) for each in tracks) // baselines.FITTED)
            latent = np.concatenate([probe._frames(codec, each.source)[1]["latent"][::step] for each in tracks])
            if not np.isfinite(latent).all():
                self.lacks = f"the latent that they are drawn about is not finite in {int((~np.isfinite(latent)).any(1).sum())} frames"
            else:
                self.books = baselines.RandomCodebooks(latent, codec.codebooks, codec.codebook_size, probe.seed)
                self.powers = baselines.powers(codec.codebooks)
                self.columns += [Column(RANDOM_BOOK, str(number), "cumulative") for number in self.powers]
                self.columns += [Column(RANDOM_CODES, str(codec.codebooks), "cumulative")]

    def of(self, each: Aligned) -> dict[str, Float[np.ndarray, "t d"]]:
        """Features by the names of the columns."""
        key = each.source.utterance.id
        if key in self._kept:
            return {name: value.astype(np.float64) for name, value in self._kept[key].items()}
        made = self._made(each)
        small = {name: value.astype(np.float32) for name, value in made.items()}
        size = sum(value.nbytes for value in small.values())
        if size <= self._room:
            self._room -= size
            self._kept[key] = small
        return {name: value.astype(np.float64) for name, value in small.items()}

    def _made(self, each: Aligned) -> dict[str, np.ndarray]:
        frames, layers = self.probe._frames(self.codec, each.source)
        inside = np.searchsorted(frames, each.rows)
        count = int(frames[-1]) + 1
        found = {Column("", layer, "cumulative").name: value[inside] for layer, value in layers.items()}
        for column in self.columns:
            if column.mode == "residual":
                found[column.name] = layers[column.layer][inside] - layers[str(self.semantic)][inside]
        found[Column(LOG_MEL, "", "").name] = self._beside(LOG_MEL, each, count)[each.rows]
        found[Column(PITCH, "", "").name] = self._beside(PITCH, each, count)[each.rows]
        if self.books is not None:
            for number, value in self.books.layers(layers["latent"][inside], self.powers).items():
                found[Column(RANDOM_BOOK, str(number), "cumulative").name] = value
            rng = np.random.default_rng([self.probe.seed, 2, *each.source.utterance.id.encode()])
            found[Column(RANDOM_CODES, str(self.codec.codebooks), "cumulative").name] = self.books.chance(len(each.rows), rng)
        return found

    def _beside(self, what: str, each: Aligned, count: int) -> np.ndarray:
        key = (what, each.source.utterance.id, self.codec.frame_rate, count)
        if key not in self.probe._beside:
            wav = self.probe.corpus.wav(each.source.utterance, baselines.RATE).numpy()
            make = baselines.log_mel if what == LOG_MEL else baselines.pitch_and_energy
            self.probe._beside[key] = make(wav, self.codec.frame_rate, count).astype(np.float32)
        return self.probe._beside[key]
