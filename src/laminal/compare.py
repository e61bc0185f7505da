"""Two codecs on the same items: difference, interval, p corrected over layers, and a sentence for each finding."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from laminal.errors import RequestError
from laminal.measures.bootstrap import interval, multiplicities, pair_weights, t_spread
from laminal.measures.contrast import Drawn, drawn
from laminal.results import Items, Results, layer_order

DRAWS = 2000
FEWEST = 10  # pairs of word types
WIDEST = 0.025  # half-width beyond which nothing is said: published effects are no larger
BY_PAIR = ("probe", "setting", "layer", "layer_mode", "slice", "distance", "split", "seed")
FAMILY = ("probe", "metric", "setting", "split", "slice", "distance", "layer_mode", "seed")  # its layers share one correction of p
SHARED = 0.5  # of the items of either side: with fewer in common the two were not probed alike
SURE = 0.05
FEWEST_SPEAKERS = 5  # below, nothing is said of articulation
HEADLINES = ("near_homophone", "synonym_core", "synonym")
TOLD = ("mel_distance", "stoi", "pesq", "wer", "phone_gain", "abx_across", "cka", "cer", "eer", "uar", "similarity_to_target")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A minus B of one score; `p` is two-sided and corrected by Holm over the layers of its family."""

    probe: str
    metric: str
    setting: str
    split: str
    slice: str
    distance: str
    layer: str
    layer_mode: str
    seed: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    n: int
    clusters: int
    seeds: tuple[int, int]
    higher_is_better: bool | None
    unit: str
    names: tuple[str, str] = ("A", "B")


LAST = "last"  # the layer of all codebooks, where A and B have different numbers of them


def with_first(found: Sequence[Results]) -> list[Comparison]:
    """Compare every codec with the first one; what two of them share no items of is left out."""
    return [
        each for other in found[1:] for each in paired([other], [found[0]], names=(other.context.run, found[0].context.run), strict=False)
    ]


def paired(
    a: Sequence[Results], b: Sequence[Results], seed: int = 0, names: tuple[str, str] = ("A", "B"), strict: bool = True
) -> list[Comparison]:
    """Compare the runs `a` (seeds of one recipe, at least one) with `b`, item by item.

    Word pairs: difference of (mean - random) / random, word types resampled by one draw for both. Others: mean difference of the items,
    their clusters resampled. With several runs a side, what the seeds spread enters as Student's t with Welch's degrees of freedom.
    Distances are relative to random ones of the same layer, so their unit, which depends on a codec's dimensions and scale, cancels;
    where A and B have different numbers of codebooks, layers are paired by number, and all codebooks with all ("last").
    Raises RequestError where the two were not probed on the same items; not `strict`: where they share none there is nothing to compare.
    """
    if {r.context.corpus_sha256 for r in (*a, *b)} != {a[0].context.corpus_sha256}:
        raise RequestError("A and B were probed on different corpora: give the same corpus=NAME for both")
    blocks_a, blocks_b = [_blocks(r) for r in a], [_blocks(r) for r in b]
    if len({_deepest(blocks) for blocks in (*blocks_a, *blocks_b)}) > 1:
        for blocks in (*blocks_a, *blocks_b):
            blocks |= _as_last(blocks)
    shared = [key for key in blocks_a[0] if all(key in blocks for blocks in (*blocks_a, *blocks_b))]
    if not shared and not strict:
        return []
    if not shared:
        raise RequestError("A and B share no items: probe both with the same probes and sizes")
    _match(shared, [*blocks_a, *blocks_b])
    found = [*_pairs(shared, blocks_a, blocks_b, seed), *_means(shared, blocks_a, blocks_b, seed)]
    return [replace(each, names=names) for each in _holm(found)]


Key = tuple[str, ...]  # BY_PAIR, then the metric


def _blocks(results: Results) -> dict[Key, Items]:
    """Items by key; those without clusters (counts of codes) are no sample, so nothing can be said of their difference."""
    return {(*(str(getattr(block, name)) for name in BY_PAIR), block.metric): block for block in results.items if len(block.cluster)}


def _deepest(blocks: dict[Key, Items]) -> int:
    return max((int(block.layer) for block in blocks.values() if block.probe == "word_pairs" and block.layer.isdigit()), default=0)


def _as_last(blocks: dict[Key, Items]) -> dict[Key, Items]:
    """Give the deepest layer of each kind once more, under the name of LAST."""
    place = BY_PAIR.index("layer")
    deepest: dict[Key, int] = {}
    for key, block in blocks.items():
        if block.layer.isdigit():
            kind = (*key[:place], *key[place + 1 :])
            deepest[kind] = max(deepest.get(kind, 0), int(block.layer))
    layers = {(*kind[:place], str(layer), *kind[place:]): (*kind[:place], LAST, *kind[place:]) for kind, layer in deepest.items()}
    return {name: blocks[key] for key, name in layers.items()}


def _match(shared: Iterable[Key], sides: Sequence[dict[Key, Items]]) -> None:
    """Leave in every side the items that all have, in one order; a score that one side lacks for an utterance does not stop the others."""
    for key in shared:
        blocks = [side[key] for side in sides]
        if all(list(block.a) == list(blocks[0].a) and list(block.b) == list(blocks[0].b) for block in blocks[1:]):
            continue
        names = [_names(block) for block in blocks]
        common = set(names[0]).intersection(*names[1:])
        if len(common) < SHARED * max(map(len, names)):
            where = "/".join(filter(None, key))
            raise RequestError(f"A and B were measured on different items of {where}: take the same seed, sizes and split for both")
        for side, block, of in zip(sides, blocks, names):
            place = {name: row for row, name in enumerate(of)}
            side[key] = _rows(block, [place[name] for name in names[0] if name in common])


def _names(block: Items) -> list[tuple[str, str, int]]:
    """Name each item by its tokens, and by which one of the same tokens it is."""
    seen: dict[tuple[str, str], int] = {}
    found = []
    for pair in zip(block.a, block.b or [""] * len(block.a)):
        seen[pair] = seen.get(pair, 0) + 1
        found.append((*pair, seen[pair]))
    return found


def _rows(block: Items, rows: list[int]) -> Items:
    a, b, cluster = ([side[row] for row in rows] if len(side) else [] for side in (block.a, block.b, block.cluster))
    weight = None if block.weight is None else block.weight[rows]
    return replace(block, a=a, b=b, cluster=cluster, value=np.asarray(block.value)[rows], weight=weight)


def _pairs(shared: list[Key], a: list[dict[Key, Items]], b: list[dict[Key, Items]], seed: int) -> Iterable[Comparison]:
    """Word pairs of every setting that has matched random pairs, all layers at once."""
    table = pd.DataFrame(shared, columns=[*BY_PAIR, "metric"])
    table = table[(table.probe == "word_pairs") & ~table.setting.str.startswith("random")]
    family = ["setting", "split", "slice", "distance", "layer_mode", "seed"]
    for names, rows in table.groupby(family, sort=False):
        layers = layer_order(rows.layer)
        keys = [_key(rows, layer) for layer in layers]
        against = [(k[0], f"random_for_{k[1]}", *k[2:]) for k in keys]
        if any(k not in blocks for k in against for blocks in (*a, *b)):
            continue
        sides = [_over_random(blocks, keys, against, seed) for blocks in (*a, *b)]
        if any(side is None for side in sides):
            continue
        draws = np.stack([side[0] for side in sides if side is not None])  # runs, draws, layers
        n, clusters = next((side[1], side[2]) for side in sides if side is not None)
        facts = dict(zip(family, names))
        for column, layer in enumerate(layers):
            yield _comparison(
                draws[: len(a), :, column], draws[len(a) :, :, column], seed,
                probe="word_pairs", metric="over_random", setting=facts["setting"], split=facts["split"], slice=facts["slice"],
                distance=facts["distance"], layer=layer, layer_mode=facts["layer_mode"], probe_seed=int(facts["seed"]), n=n,
                clusters=clusters, higher_is_better=None, unit="fraction of random",
            )  # fmt: skip


def _key(rows: pd.DataFrame, layer: str) -> Key:
    row = rows[rows.layer == layer].iloc[0]
    return tuple(str(row[name]) for name in (*BY_PAIR, "metric"))


def _over_random(
    blocks: dict[Key, Items], keys: list[Key], against: list[Key], seed: int
) -> tuple[Float[np.ndarray, "draws layers"], int, int] | None:
    names = sorted({word for k in (keys[0], against[0]) for pair in blocks[k].cluster for word in pair.split("|")})
    number = {name: index for index, name in enumerate(names)}
    counts = np.concatenate([np.ones((1, len(names))), multiplicities(len(names), DRAWS, seed)])
    pairs, random = (_drawn(blocks, group, number, counts) for group in (keys, against))
    if pairs is None or random is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return (pairs.means - random.means) / random.means, pairs.n, pairs.clusters


def _drawn(blocks: dict[Key, Items], keys: list[Key], number: dict[str, int], counts: Float[np.ndarray, "draws c"]) -> Drawn | None:
    types, group = _types(blocks[keys[0]].cluster, number)
    values = np.stack([blocks[key].value for key in keys], axis=1)
    return drawn(values, group, types, np.isfinite(values).all(1), counts, FEWEST)


def _types(clusters: Sequence[str], number: dict[str, int]) -> tuple[Int[np.ndarray, "g 2"], Int[np.ndarray, " p"]]:
    unique, group = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    types = [[number[word] for word in (pair.split("|") * 2)[:2]] for pair in unique]
    return np.array(types, dtype=np.int64).reshape(-1, 2), group.ravel().astype(np.int64)


def _means(shared: list[Key], a: list[dict[Key, Items]], b: list[dict[Key, Items]], seed: int) -> Iterable[Comparison]:
    """Items with one value each (utterances): the mean of each run, clusters resampled, of which there may be few."""
    for key in shared:
        if key[0] == "word_pairs":
            continue
        blocks = [side[key] for side in (*a, *b)]
        values = np.stack([np.asarray(block.value, dtype=np.float64) for block in blocks], axis=1)
        kept = np.isfinite(values).all(1)
        clusters = np.asarray(blocks[0].cluster, dtype=str)[kept]
        names = sorted({name for cluster in set(clusters.tolist()) for name in cluster.split("|")})
        if len(names) < 2:
            continue
        types, group = _types(clusters.tolist(), {name: index for index, name in enumerate(names)})
        counts = np.concatenate([np.ones((1, len(names))), multiplicities(len(names), DRAWS, seed)])
        counts = pair_weights(counts, *types[group].T).T  # of an item of two speakers the product
        weights = np.stack([np.ones(len(block.value)) if block.weight is None else block.weight for block in blocks], axis=1)[kept]
        with np.errstate(invalid="ignore"):
            draws = t_spread((counts @ (weights * values[kept]) / (counts @ weights)).T, len(names), seed)  # runs, draws
        facts = dict(zip(BY_PAIR, key))
        yield _comparison(
            draws[: len(a)], draws[len(a) :], seed, probe=facts["probe"], metric=key[-1], setting=facts["setting"], split=facts["split"],
            slice=facts["slice"], distance=facts["distance"], layer=facts["layer"], layer_mode=facts["layer_mode"],
            probe_seed=int(facts["seed"]), n=int(kept.sum()), clusters=len(names),
            higher_is_better=DIRECTIONS.get(key[-1]), unit="",
        )  # fmt: skip


DIRECTIONS = {
    "pesq": True, "stoi": True, "estoi": True, "si_sdr": True, "speaker_similarity": True, "f0_correlation": True, "mel_distance": False,
    "phone_gain": True, "mcd": False, "voicing_error": False, "wer": False, "cer": False, "per": False, "eer": False,
    "eer_same_recording": False, "uar": True, "similarity_to_target": True, "similarity_to_source": False, "abx_within": False,
    "abx_across": False, "cka": True,
}  # fmt: skip


def _comparison(a: Float[np.ndarray, "_ draws"], b: Float[np.ndarray, "_ draws"], seed: int, **facts: Any) -> Comparison:
    """Draw 0 of each run is the sample itself; the spread over seeds is added to the others."""
    draws = a.mean(0) - b.mean(0)
    noise, freedom = _seed_error(a[:, 0], b[:, 0])
    if noise > 0:
        draws[1:] += noise * np.random.default_rng([seed, 7]).standard_t(freedom, size=len(draws) - 1)
    low, high = (float(bound[0]) for bound in interval(draws[1:, None]))
    centred = draws[1:] - draws[0]
    p = (1 + int((np.abs(centred) >= abs(draws[0])).sum())) / (1 + len(centred))
    facts |= {"a": float(a[:, 0].mean()), "b": float(b[:, 0].mean()), "difference": float(draws[0]), "seed": facts.pop("probe_seed")}
    return Comparison(low=low, high=high, p=p, seeds=(len(a), len(b)), **facts)


def _seed_error(a: Float[np.ndarray, " _"], b: Float[np.ndarray, " _"]) -> tuple[float, float]:
    """Give the standard error of the difference of the two means over seeds, and Welch's degrees of freedom."""
    errors = [(side.var(ddof=1) / len(side), len(side) - 1) for side in (a, b) if len(side) > 1]
    total = sum(error for error, _ in errors)
    if total <= 0:
        return 0.0, 1.0
    return float(np.sqrt(total)), float(total**2 / sum(error**2 / free for error, free in errors if free))


def _holm(found: Sequence[Comparison]) -> list[Comparison]:
    """Correct p over the layers of each family (Holm 1979)."""
    families: dict[tuple[Any, ...], list[int]] = {}
    for index, each in enumerate(found):
        families.setdefault(tuple(getattr(each, name) for name in FAMILY), []).append(index)
    corrected = list(found)
    for members in families.values():
        order = sorted(members, key=lambda index: found[index].p)
        running = 0.0
        for rank, index in enumerate(order):
            running = max(running, min(1.0, found[index].p * (len(order) - rank)))
            corrected[index] = replace(found[index], p=running)
    return corrected


def table(found: Sequence[Comparison]) -> pd.DataFrame:
    """Give the comparisons as a table, one row each."""
    rows = [asdict(each) | {"seeds_a": each.seeds[0], "seeds_b": each.seeds[1]} for each in found]
    rows = [row | {"run_a": row["names"][0], "run_b": row["names"][1]} for row in rows]
    return pd.DataFrame(rows, columns=None if rows else TABLE).drop(columns=["names", "seeds"], errors="ignore")


TABLE = [
    "probe", "metric", "setting", "split", "slice", "distance", "layer", "layer_mode", "seed", "run_a", "run_b", "a", "b", "difference",
    "low", "high", "p", "n",
]  # fmt: skip


def sentences(found: Sequence[Comparison]) -> list[str]:
    """Say the headlines of the first and last codebook: near-homophones and synonyms by tier, articulation, the quality of the speech."""
    said = []
    for each in found:
        ends = _ends(found, each.names)
        if each.probe == "word_pairs":
            if each.setting in HEADLINES and each.layer in ends and each.distance == "euclidean" and each.layer_mode == "cumulative":
                said.append(_pair_sentence(each))
        elif each.probe == "articulation":
            if each.layer in ends and each.layer_mode == "cumulative":
                said.append(_articulation_sentence(each))
        elif each.metric in TOLD and each.layer in ends:
            numbers = f"{each.a:.3f} against {each.b:.3f} ({_interval(each, '')})"
            said.append(f"{_what(each)}{_versus(each)}: {numbers}: {_verdict(each)}.")
    return said


def _ends(found: Sequence[Comparison], names: tuple[str, str]) -> set[str]:
    layers = {each.layer for each in found if each.names == names}
    numbers = [int(layer) for layer in layers if layer.isdigit()]
    return ({"1", LAST if LAST in layers else str(max(numbers))} if numbers else set()) | ({LAST} & layers)


def _what(each: Comparison) -> str:
    if each.probe == "reconstruction":
        return f"{each.metric} with {'all' if each.layer == LAST else each.layer} codebooks"
    through = " through a head" if each.distance == "lda" else ""
    return f"{each.metric}{through}, {_layer(each)}" + (f", {each.slice} slices" if each.slice else "")


def _layer(each: Comparison) -> str:
    """Name the layer: of codebooks, or of an encoder that has none."""
    alone = " alone" if each.layer_mode == "single" else ""
    return f"{'last layer' if each.layer == LAST else f'layer {each.layer}'}{alone}"


def _versus(each: Comparison) -> str:
    return "" if each.names == ("A", "B") else f", {each.names[0]} against {each.names[1]}"


def _pair_sentence(each: Comparison) -> str:
    where = f"{_layer(each)}, {each.slice} slices, {each.split}{_versus(each)}"
    shown = f"{each.a:+.1%} of random against {each.b:+.1%}"
    half = (each.high - each.low) / 2
    if half > WIDEST and not _sure(each):
        end = f"cannot tell: n {each.n}, half-width {half:.1%}"
    elif not _sure(each):
        end = f"no difference found (p {each.p:.3f})"
    else:
        end = f"{each.setting} pairs are {'farther apart' if each.difference > 0 else 'closer'} in {each.names[0]} (p {each.p:.3f})"
    return f"{each.setting}, {where}: {shown}, difference {each.difference:+.1%} ({_interval(each, '%')}): {end}."


def _articulation_sentence(each: Comparison) -> str:
    numbers = f"{each.a:.3f} against {each.b:.3f}, mean of {each.clusters} speakers ({_interval(each, '')})"
    if each.clusters < FEWEST_SPEAKERS:
        end = f"cannot tell: {each.clusters} speakers, {FEWEST_SPEAKERS} are needed"
    elif not _sure(each):
        end = f"no difference found (p {each.p:.3f})"
    else:
        end = f"{each.names[0 if each.difference > 0 else 1]} follows the vocal tract more closely (p {each.p:.3f})"
    return f"articulation, {_layer(each)}{_versus(each)}: correlation with the vocal tract {numbers}: {end}."


def _sure(each: Comparison) -> bool:
    """Say whether a difference is there: the interval does not hold 0, and p does not pass SURE for all the layers looked at."""
    return not each.low <= 0 <= each.high and each.p < SURE


def _interval(each: Comparison, percent: str) -> str:
    return f"interval {each.low:+.1%} to {each.high:+.1%}" if percent else f"interval of the difference {each.low:+.3f} to {each.high:+.3f}"


def _verdict(each: Comparison) -> str:
    if not _sure(each) or each.higher_is_better is None:
        return f"no difference found (p {each.p:.3f})"
    better = each.names[0] if (each.difference > 0) == each.higher_is_better else each.names[1]
    return f"{better} is better (p {each.p:.3f})"
