"""How much of the vocal tract's shape is in each layer? PWCCA with vocal-tract distances, held out, against circular shifts.

Seed study: arXiv 2603.10371, sections 2.4 and 3.2 (Figs. 3 and 4); PWCCA: Morcos et al. 2018, arXiv 1806.05759.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from laminal.cache import open_cache
from laminal.codecs.base import Codec
from laminal.corpora import tract_table
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.corpora.tract import TractCorpus
from laminal.encoded import utterance_frames
from laminal.errors import DataError, RequestError
from laminal.measures.bootstrap import interval, multiplicities
from laminal.measures.cca import fold_of_groups
from laminal.measures.heldout import Held, HeldOut, Track, student
from laminal.probes import tract_baselines as baselines
from laminal.probes.tract_frames import Scaled, in_turn, scaled, shifts
from laminal.progress import track as shown
from laminal.results import Items, Score, Undefined

SHIFT = 2.0  # s: least circular shift of the null
FEWEST_SHIFTS = 100
FULL_SHIFTS = 3  # of them also in sample at full rank
HELD_BYTES = 1 << 28  # of features kept between the two passes; the others are looked up again
LOG_MEL, PITCH, RANDOM_BOOK, RANDOM_CODES = "log_mel", "f0_energy", "random_codebook", "random_codes"


@dataclass(frozen=True, slots=True)
class Column:
    """A set of features: the codec's layer (setting ""), or a baseline beside it."""

    setting: str
    layer: str
    mode: str

    @property
    def name(self) -> str:
        """Name it for the engine."""
        return f"{self.setting}|{self.layer}|{self.mode}"


@dataclass(frozen=True, slots=True)
class Aligned:
    """A recording on the codec's frames: how many there are, the numbers of those that count, its fold and its shifts."""

    source: Scaled
    count: int
    rows: Int[np.ndarray, " t"]
    shifts: Int[np.ndarray, " s"]
    fold: int = 0


class Articulation:
    """Held-out PWCCA of vocal-tract distances with every layer, at one rank for all, with its null, baselines, lags and speakers.

    `heldout_pwcca` is fitted on four fifths of the tracks and correlated on the rest, weights from the tract; chance is its mean over
    circular shifts within each track by 2 s or more, `null` their 95 % band, `above_null` = (value - null) / (1 - null). Settings: "" the
    codec, `log_mel`, `f0_energy`, `random_codebook` (as many codebooks of the same size, drawn at random about the codec's latent),
    `random_codes` (drawn evenly: chance). `lag_pwcca` by lag (positive: the tract after the frame; what answers late peaks below 0),
    `best_lag` and its value `best_lag_pwcca`; `speaker_pwcca`, the mean over speakers of each one's own value, with an item a speaker;
    `last_minus_first` and `minus_log_mel`, paired; `in_sample_pwcca` at full rank, secondary, its setting `few_frames` where
    n < 10 (p + q): then it is mostly sample size. Codecs with a semantic first codebook have the sum of the others too (`residual`; the
    seed study's Fig. 4). Intervals resample speakers (tracks where one speaker is all there is) with the fit held; those of
    `in_sample_pwcca` are of the jackknife over folds, those by lag of the spread over folds.
    """

    name = "articulation"
    version = 1
    metrics = dict.fromkeys(("heldout_pwcca", "null", "above_null", "minus_log_mel", "in_sample_pwcca", "speaker_pwcca"), True)
    metrics |= {"best_lag_pwcca": True, "last_minus_first": False}

    def __init__(
        self, corpus: Corpus, split: Split | None, *, tract: TractCorpus | None, tracks: int | None, folds: int, rank: Sequence[int],
        shifts: int, lags_ms: Sequence[int | float], draws: int, seed: int, cache: str | bool | None = None,
    ):  # fmt: skip
        """`tract`: recordings with tracts; None takes `corpus` if it has them (its test speakers), else the small table that is shipped.

        `tracks`: at most so many, in turn from each speaker; `cache`: a folder or "off". Raises RequestError for fewer than 100 shifts or 2
        folds.
        """
        if shifts < FEWEST_SHIFTS or folds < 2:
            raise RequestError(f"articulation: shifts={shifts} folds={folds}: at least {FEWEST_SHIFTS} and 2; raise them")
        if len(rank) != 2 or min(rank) < 1:
            raise RequestError(f"articulation.rank={list(rank)}: two numbers from 1 on, axes of the tract and of the features, as [10, 64]")
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
        self._held: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}  # layers of the codec in hand, while there is room
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
        lagged = [each.name for each in source.columns if each.setting in ("", LOG_MEL)]
        engine = HeldOut([each.name for each in source.columns], self.folds, self.rank, self.shifts, FULL_SHIFTS, self.lags, lagged)
        for each in shown(tracks, "tracks for articulation", len(tracks)):
            engine.learn(self._track(each, codec.frame_rate), source.of(each), each.source.utterance.id)
        engine.ready()
        for column in source.columns:
            if column.name in engine.failed:
                what = " ".join(part for part in (column.setting, column.mode, column.layer) if part)
                yield Undefined(probe=self.name, what=what, reason=engine.failed[column.name])
        if not engine.names:
            return
        for each in shown(tracks, "tracks held out", len(tracks)):
            engine.weigh(self._track(each, codec.frame_rate), source.of(each))
        columns = {column.name: column for column in source.columns}
        yield from self._scores(engine, engine.finish(), [columns[name] for name in engine.names], tracks)

    def fill(self, codec: Codec, share: tuple[int, int]) -> None:
        """Encode one process's share (its number, how many there are) of what `run` needs, into the cache."""
        number, processes = share
        self._held, self._room = {}, 0
        for each in self._scaled[number::processes]:
            try:
                self._frames(codec, each)
            except DataError:
                continue  # `run` lists it

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

    def _frames(self, codec: Codec, each: Scaled) -> tuple[Int[np.ndarray, " m"], dict[str, Float[np.ndarray, "m d"]]]:
        """Numbers of the frames that lie in the audio, and every layer there."""
        name = each.utterance.id
        if name in self._held:
            return self._held[name]
        made = utterance_frames(codec, self.corpus, each.utterance, ((0.0, each.utterance.seconds),), self.cache)
        found = made.frames, made.layers
        self._room -= sum(layer.nbytes for layer in made.layers.values())
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
        for number, each in enumerate(self._scaled):
            name = each.utterance.id
            try:
                frames, _ = self._frames(codec, each)
            except DataError as error:
                yield Undefined(probe=self.name, what=name, reason=str(error))
                continue
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
            usable = [replace(each, fold=place) for each, place in zip(usable, fold.tolist(), strict=True)]
        yield from usable

    def _track(self, each: Aligned, rate: float) -> Track:
        found = {lag: values[each.rows] for lag, values in self._at(each.source, rate, each.count).items()}
        return Track(found[0.0], found, each.fold, each.shifts)

    def _scores(self, engine: HeldOut, held: Held, columns: list[Column], tracks: list[Aligned]) -> Iterator[Score | Items | Undefined]:
        n = sum(len(each.rows) for each in tracks)
        speakers = [each.source.utterance.speaker for each in tracks]
        named = speakers if len(set(speakers)) > 1 else [each.source.utterance.id for each in tracks]
        clusters, row = np.unique(named, return_inverse=True)
        drawn = held.weighted(_by_fold(multiplicities(len(clusters), self.draws, self.seed)[:, row], tracks, self.folds))
        low, high = interval(drawn)
        null, band = held.null.mean(0), np.quantile(held.null, [0.025, 0.975], axis=0)
        place = {column: number for number, column in enumerate(columns)}
        mel = next((number for column, number in place.items() if column.setting == LOG_MEL), None)
        common: dict[str, Any] = {"probe": self.name, "probe_version": self.version, "seed": self.seed, "n": n, "clusters": len(clusters)}
        common |= {"unit": "correlation", "higher_is_better": None}
        seconds = sum(each.source.utterance.seconds for each in tracks)
        yield Score(
            **common | {"unit": "s", "n": len(tracks)}, metric="seconds_of_tract", setting=self.corpus.name, value=seconds, low=seconds,
            high=seconds, chance=float("nan"),
        )  # fmt: skip
        for column, at in place.items():
            facts = common | {"setting": column.setting, "layer": column.layer, "layer_mode": column.mode, "chance": float(null[at])}
            value, ends = float(held.values[at]), (float(low[at]), float(high[at]))
            yield Score(**facts, metric="heldout_pwcca", value=value, low=ends[0], high=ends[1])
            yield Score(**facts, metric="null", value=float(null[at]), low=float(band[0, at]), high=float(band[1, at]))
            above = [(each - null[at]) / (1 - null[at]) for each in (value, *ends)]
            yield Score(**facts | {"chance": 0.0}, metric="above_null", value=above[0], low=above[1], high=above[2])
            if not column.setting and mel is not None:
                yield self._difference("minus_log_mel", held, drawn, at, mel, facts)
            if not column.setting:
                yield from self._in_sample(engine.in_sample(column.name), facts)
            if column.setting in ("", LOG_MEL):
                yield from self._lags(held.lagged[..., at], facts)
        yield from self._growth(held, drawn, place, common)
        yield from self._speakers(held, columns, tracks, common)

    def _difference(
        self, metric: str, held: Held, drawn: Float[np.ndarray, "draws c"], at: int, other: int, facts: dict[str, Any]
    ) -> Score:
        low, high = (float(end[0]) for end in interval((drawn[:, at] - drawn[:, other])[:, None]))
        value = float(held.values[at] - held.values[other])
        return Score(**facts | {"chance": 0.0}, metric=metric, value=value, low=low, high=high)

    def _growth(
        self, held: Held, drawn: Float[np.ndarray, "draws c"], place: Mapping[Column, int], common: dict[str, Any]
    ) -> Iterator[Score]:
        """Whether more layers mean more articulation: the last numbered layer minus the first."""
        own = [(column.layer, at) for column, at in place.items() if not column.setting and column.mode == "cumulative"]
        layers = sorted((int(layer), at) for layer, at in own if layer.isdigit())
        if len(layers) > 1:
            yield self._difference("last_minus_first", held, drawn, layers[-1][1], layers[0][1], common)

    def _in_sample(self, found: Any, facts: dict[str, Any]) -> Iterator[Score]:
        own = facts | {"chance": found.null, "setting": "few_frames" if found.few else "", "clusters": self.folds}
        yield Score(**own, metric="in_sample_pwcca", value=found.value, low=found.low, high=found.high)

    def _lags(self, values: Float[np.ndarray, "lags f"], facts: dict[str, Any]) -> Iterator[Score]:
        """Value by lag, with an interval from its spread over folds; the lag of the highest, with those of single folds."""
        half = student(self.folds - 1) * values.std(1, ddof=1) / np.sqrt(self.folds)
        mean = values.mean(1)
        own = facts | {"clusters": self.folds}

        def score(metric: str, at: int, **about: Any) -> Score:
            low, high = float(mean[at] - half[at]), float(mean[at] + half[at])
            return Score(**own | about, metric=metric, value=float(mean[at]), low=low, high=high)

        for at, lag in enumerate(self.lags):
            yield score("lag_pwcca", at, setting=f"{facts['setting']}{'_' if facts['setting'] else ''}lag{1000 * lag:+04.0f}ms")
        highest = int(mean.argmax())
        yield score("best_lag_pwcca", highest)
        best = 1000 * np.array(self.lags)[[highest, *values.argmax(0)]]
        about = own | {"chance": float("nan"), "unit": "ms"}
        yield Score(**about, metric="best_lag", value=float(best[0]), low=float(best.min()), high=float(best.max()))

    def _speakers(self, held: Held, columns: list[Column], tracks: list[Aligned], common: dict[str, Any]) -> Iterator[Score | Items]:
        """Each speaker's own value, along directions fitted on all speakers' other tracks."""
        names = sorted({each.source.utterance.speaker for each in tracks})
        if len(names) < 2:
            return
        chosen = np.array([[float(each.source.utterance.speaker == name) for each in tracks] for name in names])
        values = held.weighted(_by_fold(chosen, tracks, self.folds))
        drawn = multiplicities(len(names), self.draws, self.seed) / len(names)
        for at, column in enumerate(columns):
            if column.setting:
                continue
            facts: dict[str, Any] = {"layer": column.layer, "layer_mode": column.mode, "metric": "speaker_pwcca"}
            low, high = (float(end[0]) for end in interval((drawn @ values[:, at])[:, None]))
            mean = float(values[:, at].mean())
            yield Score(**common | facts | {"n": len(names)}, value=mean, low=low, high=high, chance=float(held.null[:, at].mean()))
            about: dict[str, Any] = {"probe": self.name, "seed": self.seed, "probe_version": self.version}
            yield Items(**about | facts, a=names, cluster=names, value=values[:, at])


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
        if codec.codebooks and "latent" in first:
            step = max(1, sum(len(each.rows) for each in tracks) // baselines.FITTED)
            latent = np.concatenate([probe._frames(codec, each.source)[1]["latent"][::step] for each in tracks])
            if np.isfinite(latent).all():
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


def _by_fold(weights: Float[np.ndarray, "draws t"], tracks: Sequence[Aligned], folds: int) -> list[Float[np.ndarray, "draws f"]]:
    """Cut weights of all tracks into those of each fold's tracks."""
    fold = np.array([each.fold for each in tracks])
    return [weights[:, fold == number] for number in range(folds)]
