"""What is estimated of word pairs, as arrays: one entry a split, set and column. The cache keeps it, for bootstraps are most of a probing.

Figures are a function of features, pairs, settings and code, and all four name their entry: nothing is taken over that this code would not
compute from these features again, to the last bits in which processors differ.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from laminal import parallel
from laminal.cache import CodesCache
from laminal.features import Mode, WordFeatures
from laminal.measures.bootstrap import multiplicities
from laminal.measures.contrast import Estimate, contrasts, drawn, estimate, phonsem
from laminal.measures.distances import Distance, pair_distances
from laminal.probes.pair_sampling import Sample
from laminal.word_shards import Slice

MINIMUM = 10  # type pairs below which a setting has no score
AGAINST_RANDOM = ("mean", "minus_random", "over_random", "auc")  # metrics of a setting; random pairs have the first alone
INDEX = ("near_homophone", "synonym_core")  # settings that PhonSem is made of
PACKAGE = Path(__file__).resolve().parents[1]


class Column(NamedTuple):
    """One way to measure a distance."""

    slice: Slice
    layer_mode: Mode
    layer: str
    distance: Distance


@dataclass(frozen=True, slots=True)
class SetFigures:
    """One set of pairs in one split."""

    n: int  # type pairs
    clusters: int  # word types
    kept: Int[np.ndarray, " p"]  # rows of the set that count here
    level: Float[np.ndarray, " k"]  # mean of the sample itself, also where its interval is undefined
    estimates: dict[str, Estimate]  # by metric; none of a setting whose random pairs are too few


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """All sets in one split (None: fewer than 10 type pairs), and PhonSem with where it is defined."""

    sets: dict[str, SetFigures | None]
    phonsem: tuple[Estimate, Bool[np.ndarray, " k"]] | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All splits, the distances of every pair of every set in the columns that are listed, and whether all that was in the cache."""

    splits: dict[str, SplitFigures]
    listed: dict[str, Float[np.ndarray, "all listed"]]
    recalled: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured of one sample, and how."""

    sample: Sample
    words: Mapping[Slice, WordFeatures]
    modes: tuple[Mode, ...]
    distances: tuple[Distance, ...]
    items: tuple[Distance, ...]  # whose single pairs are listed
    draws: int
    seed: int

    @property
    def columns(self) -> list[Column]:
        """Every slice, mode, layer and distance, in the order of the figures."""
        return [
            Column(slice, mode, layer, distance)
            for slice, found in self.words.items()
            for mode in self.modes
            for layer in found.layers_of(mode)
            for distance in self.distances
        ]

    @property
    def listed(self) -> list[int]:
        """Columns whose single pairs are listed."""
        return [number for number, column in enumerate(self.columns) if column.distance in self.items]

    def key(self) -> str:
        """Name the entry of the cache by all that the figures depend on."""
        digest = hashlib.sha256(f"figures {SOURCE} numpy {np.__version__} torch {torch.__version__}\n".encode())
        digest.update(repr((self.modes, self.distances, self.items, self.draws, self.seed, len(self.sample.words))).encode())
        digest.update(repr((self.sample.splits, self.sample.randoms)).encode())
        for name, pairs in self.sample.sets.items():
            _add(digest, name, pairs.first, pairs.second, pairs.group, pairs.types)
            for split, member in pairs.member.items():
                _add(digest, split, member)
        for slice, found in self.words.items():
            _add(digest, f"{slice} {found.layers!r}", found.values, found.ok)
        return digest.hexdigest()

    def compute(self) -> Figures:
        """Estimate every set of every split, in every column; on one thread, so that numbers do not hang on how many there are."""
        with parallel.one_thread():
            return self._computed()

    def _computed(self) -> Figures:
        ok = np.logical_and.reduce([found.ok for found in self.words.values()])
        values = self._distances()
        counts = np.concatenate([np.ones((1, len(self.sample.words))), multiplicities(len(self.sample.words), self.draws, self.seed)])
        order, randoms = same_order(self.columns), self.sample.randoms
        splits = {}
        for split in self.sample.splits:
            found = {
                name: drawn(values[name], pairs.group, pairs.types, keep, counts, MINIMUM)
                for name, pairs in self.sample.sets.items()
                for keep in [ok[pairs.first] & ok[pairs.second] & pairs.member[split][pairs.group]]
            }
            estimates: dict[str, dict[str, Estimate]] = {}
            for name, ours in found.items():
                if ours is None:
                    continue
                if name not in randoms:
                    estimates[name] = {"mean": estimate(ours.means)}
                elif (theirs := found[randoms[name]]) is not None:
                    estimates[name] = contrasts(ours, theirs, order)
            sets = {
                name: None if ours is None else SetFigures(ours.n, ours.clusters, ours.kept, ours.means[0], estimates.get(name, {}))
                for name, ours in found.items()
            }
            compared = [found.get(name) for setting in INDEX for name in (setting, randoms.get(setting, ""))]
            ratio = None if None in compared else phonsem(*(each for each in compared if each is not None))
            splits[split] = SplitFigures(sets, ratio)
        listed = self.listed
        return Figures(splits, {name: each[:, listed] for name, each in values.items()})

    def _distances(self) -> dict[str, Float[np.ndarray, "p k"]]:
        """Distances of all pairs of every set in every column."""
        sets = self.sample.sets
        ends = np.cumsum([len(pairs.first) for pairs in sets.values()])
        first, second = (np.concatenate([getattr(pairs, side) for pairs in sets.values()]) for side in ("first", "second"))
        measured = [
            pair_distances(found.in_mode(mode).values, first, second, self.distances).reshape(len(first), -1)
            for found in self.words.values()
            for mode in self.modes
        ]
        return dict(zip(sets, np.split(np.concatenate(measured, 1), ends[:-1]), strict=True))


def figures(measured: Measured, cache: CodesCache | None) -> Figures:
    """Give the figures, from the cache where they are there."""
    if cache is None or SOURCE is None or source_sha256() != SOURCE:  # edited since it was loaded: what computes has no name
        return measured.compute()
    sample, columns = measured.sample, len(measured.columns)
    key = measured.key()
    names = [f"{split}/{part}" for split in sample.splits for part in ("sizes", "levels", "estimates", "phonsem")]
    names += [f"{split}/kept/{name}" for split in sample.splits for name in sample.sets] + [f"listed/{name}" for name in sample.sets]
    if (held := cache.fetch(key, tuple(names))) is not None:
        splits = {split: _unpacked(sample, split, held) for split in sample.splits}
        return Figures(splits, {name: held[f"listed/{name}"] for name in sample.sets}, recalled=True)
    found = measured.compute()
    arrays = {name: array for split, each in found.splits.items() for name, array in _packed(split, each, columns).items()}
    cache.store(key, **arrays, **{f"listed/{name}": array for name, array in found.listed.items()})
    return found


def source_sha256() -> str | None:
    """Hash the source of laminal: what one version of it computed is not given out as what another would. None where it is not there."""
    digest, own = hashlib.sha256(), False
    try:
        for path in sorted(PACKAGE.rglob("[!.]*.py")):
            digest.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
            own |= path == Path(__file__).resolve()
    except OSError:
        return None
    return digest.hexdigest() if own else None  # a package of compiled files alone, or in a zip


SOURCE = source_sha256()  # as it was when it was loaded


def same_order(columns: Sequence[Column]) -> list[int]:
    """Euclidean and scaled order pairs alike, so they share the AUC; intervals are for cumulative layers alone (-1: none)."""
    place: dict[tuple[str, str, bool], int] = {}
    keys = [(column.slice, column.layer, column.distance == "cosine") for column in columns]
    cumulative = [column.layer_mode == "cumulative" for column in columns]
    return [place.setdefault(key, number) if cumulative[number] else -1 for number, key in enumerate(keys)]


def _packed(split: str, found: SplitFigures, columns: int) -> dict[str, np.ndarray]:
    """Give the figures of a split as a few arrays; sets without pairs have size 0, and what there is not is NaN."""
    arrays: dict[str, np.ndarray] = {
        "sizes": np.array([(0, 0) if each is None else (each.n, each.clusters) for each in found.sets.values()]),
        "levels": np.full((len(found.sets), columns), np.nan),
        "estimates": np.full((len(found.sets), len(AGAINST_RANDOM), 3, columns), np.nan),
        "phonsem": np.full((4, columns), np.nan),
    }
    for place, (name, each) in enumerate(found.sets.items()):
        arrays[f"kept/{name}"] = np.zeros(0, np.int64) if each is None else each.kept
        if each is not None:
            arrays["levels"][place] = each.level
            for metric, one in each.estimates.items():
                arrays["estimates"][place, AGAINST_RANDOM.index(metric)] = one.value, one.low, one.high
    if found.phonsem is not None:
        ratio, defined = found.phonsem
        arrays["phonsem"][:] = ratio.value, ratio.low, ratio.high, defined
    return {f"{split}/{name}": array for name, array in arrays.items()}


def _unpacked(sample: Sample, split: str, held: Mapping[str, np.ndarray]) -> SplitFigures:
    there = {name: bool(size[0]) for name, size in zip(sample.sets, held[f"{split}/sizes"], strict=True)}
    sets: dict[str, SetFigures | None] = dict.fromkeys(sample.sets)
    for place, name in enumerate(sample.sets):
        random = sample.randoms.get(name)
        metrics = AGAINST_RANDOM[:1] if random is None else AGAINST_RANDOM if there[random] else ()
        if there[name]:
            estimates = {metric: Estimate(*one) for metric, one in zip(metrics, held[f"{split}/estimates"][place])}
            n, clusters = held[f"{split}/sizes"][place].tolist()
            sets[name] = SetFigures(n, clusters, held[f"{split}/kept/{name}"], held[f"{split}/levels"][place], estimates)
    value, low, high, defined = held[f"{split}/phonsem"]
    compared = [there.get(name, False) for setting in INDEX for name in (setting, sample.randoms.get(setting, ""))]
    return SplitFigures(sets, (Estimate(value, low, high), defined == 1) if all(compared) else None)


def _add(digest: Any, name: str, *arrays: np.ndarray) -> None:
    """Take arrays into a hash, each with its name, shape and type."""
    for array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array))
