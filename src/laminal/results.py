"""Scores and items: the one schema of every number that laminal reports."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from laminal.atomic import alone, replacing
from laminal.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with its interval, its chance level and how many things it was computed from.

    `layer` is "latent", "1".."K", or "" where the score is not of a layer; low = high = value where it is exact.
    """

    probe: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    clusters: int
    chance: float  # nan where there is no chance level
    higher_is_better: bool | None  # None where neither direction is better
    unit: str
    setting: str = ""
    layer: str = ""
    layer_mode: str = ""  # cumulative, single, residual
    slice: str = ""  # audio, features
    distance: str = ""  # euclidean, cosine, scaled
    split: str = "all"  # all, trained, new_pair, new_word, cross
    seed: int = 0
    probe_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """What the scores were computed from, in columns: tokens as `utterance:start-end` in seconds, one value each.

    The score is the mean of `value`, weighted by `weight` where there is one (words of an utterance, for its word error rate).
    """

    probe: str
    metric: str
    a: Sequence[str]
    value: np.ndarray
    b: Sequence[str] = ()  # empty where an item has one side
    cluster: Sequence[str] = ()  # what the bootstrap resamples: a word type, a speaker, or "a|b" for pairs of types
    weight: np.ndarray | None = None  # all 1 where None
    setting: str = ""
    layer: str = ""
    layer_mode: str = ""
    slice: str = ""
    distance: str = ""
    split: str = "all"
    seed: int = 0
    probe_version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Undefined:
    """A score that could not be computed, with its reason: listed in the manifest, never a row."""

    probe: str
    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is the same for every row of one probing: which codec, at which point of which run, on which corpus.

    `ckpt_sha256` is of the tokenizer's weights and description, so that a checkpoint and its export have the same; "" for published codecs.
    """

    run: str
    codec: str
    revision: str
    ckpt_sha256: str = ""
    epoch: int = -1
    step: int = -1
    corpus: str = ""
    corpus_sha256: str = ""


KEY = ("probe", "setting", "metric", "layer", "layer_mode", "slice", "distance", "split", "corpus", "seed")
COLUMNS = (
    "run", "codec", "revision", "ckpt_sha256", "epoch", "step", "probe", "probe_version", "corpus", "corpus_sha256", "split",
    "setting", "metric", "layer", "layer_mode", "slice", "distance", "value", "low", "high", "n", "clusters", "chance",
    "higher_is_better", "unit", "seed",
)  # fmt: skip
ITEM_COLUMNS = (
    "run", "ckpt_sha256", "epoch", "step", "probe", "probe_version", "corpus", "split", "setting", "metric", "layer", "layer_mode",
    "slice", "distance", "seed", "item", "a", "b", "cluster", "weight", "value",
)  # fmt: skip


@dataclass(slots=True)
class Results:
    """All that one probing of one checkpoint gave."""

    context: Context
    scores: list[Score] = field(default_factory=list)
    items: list[Items] = field(default_factory=list)
    undefined: list[Undefined] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)  # wall time by probe
    failures: dict[str, str] = field(default_factory=dict)  # probe: what it raised

    @property
    def probes(self) -> set[str]:
        """Names of the probes that these are results of."""
        named = {score.probe for score in self.scores} | {block.probe for block in self.items}
        return named | {each.probe for each in self.undefined} | set(self.seconds)

    def add(self, others: "Results") -> None:
        """Take over what other probes gave."""
        self.scores += others.scores
        self.items += others.items
        self.undefined += others.undefined
        self.seconds |= others.seconds
        self.failures |= others.failures

    def score_table(self) -> pd.DataFrame:
        """Rows in COLUMNS' order; raises RequestError where two rows share a key."""
        rows = [asdict(self.context) | asdict(score) for score in self.scores]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        doubled = table[table.duplicated(list(KEY), keep=False)]
        if len(doubled):
            raise RequestError(f"two scores share the key {doubled.iloc[0][list(KEY)].to_dict()}; a probe must name them apart")
        return table.astype({"higher_is_better": "boolean"})

    def item_table(self) -> pa.Table:
        """One row per pair, word or utterance, in ITEM_COLUMNS' order."""
        blocks = [_block(self.context, block) for block in self.items]
        return pa.concat_tables(blocks).unify_dictionaries() if blocks else ITEM_SCHEMA.empty_table()


_TYPES = {"epoch": pa.int64(), "step": pa.int64(), "probe_version": pa.int64(), "seed": pa.int64(), "n": pa.int64(), "clusters": pa.int64()}
_TYPES |= {name: pa.float64() for name in ("value", "low", "high", "chance")} | {"higher_is_better": pa.bool_()}
SCORE_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
_NUMBERS = {name: pa.int64() for name in ("epoch", "step", "probe_version", "seed", "item")} | {
    "weight": pa.float64(),
    "value": pa.float64(),
}
ITEM_SCHEMA = pa.schema([(name, _NUMBERS.get(name, pa.dictionary(pa.int32(), pa.string()))) for name in ITEM_COLUMNS])


def _block(context: Context, block: Items) -> pa.Table:
    count = len(block.value)
    empty = [""] * count
    columns = {"item": np.arange(count), "a": list(block.a), "b": list(block.b) or empty, "cluster": list(block.cluster) or empty}
    columns["value"] = np.asarray(block.value, dtype=np.float64)
    columns["weight"] = np.ones(count) if block.weight is None else np.asarray(block.weight, dtype=np.float64)
    constant = asdict(context) | {f.name: getattr(block, f.name) for f in fields(block) if f.name not in columns}
    arrays = []
    for column in ITEM_SCHEMA:
        if column.name in columns:
            arrays.append(pa.array(columns[column.name]).cast(column.type))
        elif column.name in _NUMBERS:
            arrays.append(pa.repeat(pa.scalar(constant[column.name], column.type), count))
        else:  # one text for the whole block: a dictionary of one entry
            indices = pa.array(np.zeros(count, dtype=np.int32))
            arrays.append(pa.DictionaryArray.from_arrays(indices, pa.array([constant[column.name]], pa.string())))
    return pa.table(arrays, schema=ITEM_SCHEMA)


def store(folder: Path, results: Results) -> None:
    """Write `results` into scores.parquet and items.parquet of `folder`.

    They take the place of earlier rows of the same weights, step, corpus and probes; what other probes said stays.
    """
    scores = pa.Table.from_pandas(results.score_table(), schema=SCORE_SCHEMA, preserve_index=False)
    items = results.item_table()
    with alone(folder):  # items first: scores without their items could not be taken over
        _rewrite(folder / "items.parquet", items, ITEM_SCHEMA, results.context, results.probes)
        _rewrite(folder / "scores.parquet", scores, SCORE_SCHEMA, results.context, results.probes)


def stored(folder: Path, context: Context, probes: Iterable[str]) -> Results:
    """Read back what `store` wrote of these probes, for this run, step and corpus; undefined scores and times are in the manifest."""
    chosen = [(name, "=", getattr(context, name)) for name in ("run", "corpus", "step")] + [("probe", "in", sorted(probes))]
    results = Results(context)
    if not (folder / "scores.parquet").is_file() or not chosen[-1][2]:
        return results
    names = [each.name for each in fields(Score)]
    rows = _read(folder / "scores.parquet", chosen)
    for values in zip(*(rows[name].tolist() for name in names), strict=True):
        row = dict(zip(names, values))
        better, chance = row["higher_is_better"], row["chance"]
        row |= {"higher_is_better": None if pd.isna(better) else bool(better), "chance": float("nan") if chance is None else chance}
        results.scores.append(Score(**row))
    if (folder / "items.parquet").is_file():
        results.items += item_blocks(_read(folder / "items.parquet", chosen))
    return results


BLOCK = ("probe", "setting", "layer", "layer_mode", "slice", "distance", "split", "metric", "seed", "probe_version")


def item_blocks(table: pd.DataFrame) -> Iterator[Items]:
    """Put the rows of items.parquet of one checkpoint and corpus back into blocks, as the probes gave them."""
    for values, rows in table.groupby(list(BLOCK), sort=False, observed=True):
        block = rows.sort_values("item")
        a, b, clusters = ([str(each) for each in block[name]] for name in ("a", "b", "cluster"))
        facts: dict[str, Any] = {name: str(value) for name, value in zip(BLOCK, values)}
        facts |= {"seed": int(values[-2]), "probe_version": int(values[-1])}
        weight = block["weight"].to_numpy()
        yield Items(
            a=a, b=b if any(b) else (), cluster=clusters if all(clusters) else (), value=block["value"].to_numpy(),
            weight=None if (weight == 1).all() else weight, **facts,
        )  # fmt: skip


def _read(path: Path, chosen: list[tuple[str, str, Any]]) -> pd.DataFrame:
    _open(path).close()
    table = pq.read_table(path, filters=chosen)
    return (completed(table, ITEM_SCHEMA) if path.name == "items.parquet" else table).to_pandas()


def forget_after(folder: Path, step: int) -> None:
    """Drop the rows of steps later than `step`: a run that goes on from there writes them anew."""
    for name, schema in (("scores.parquet", SCORE_SCHEMA), ("items.parquet", ITEM_SCHEMA)):
        if (folder / name).exists():
            with alone(folder):
                _copy(folder / name, schema, None, lambda table: pc.less_equal(table["step"], step))


def _rewrite(path: Path, new: pa.Table, schema: pa.Schema, context: Context, probes: Collection[str]) -> None:
    """Copy all rows but those that `new` is to replace: a folder may be renamed, so weights tell a checkpoint, and names a codec."""
    whose = ("ckpt_sha256",) if context.ckpt_sha256 else ("ckpt_sha256", "run")

    def others(table: pa.Table) -> pa.ChunkedArray:
        same = pc.and_(
            pc.equal(table["step"], context.step), pc.is_in(table["probe"].cast(pa.string()), pa.array(sorted(probes), pa.string()))
        )
        for name in ("corpus", *whose):
            same = pc.and_(same, pc.equal(table[name].cast(pa.string()), getattr(context, name)))
        return pc.invert(same)

    _copy(path, schema, new, others)


def _copy(path: Path, schema: pa.Schema, new: pa.Table | None, keep: Callable[[pa.Table], pa.ChunkedArray]) -> None:
    """Copy row group by row group (one a step), so memory holds one step however long the run is."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        if path.exists():
            old = _open(path)
            for group in range(old.num_row_groups):
                table = completed(old.read_row_group(group), schema).select(schema.names).cast(schema)
                kept = table.filter(keep(table))
                if kept.num_rows:
                    writer.write_table(kept, row_group_size=kept.num_rows)
        if new is not None and new.num_rows:
            writer.write_table(new, row_group_size=new.num_rows)


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give rows written before items had a seed and a weight theirs: 0 and 1."""
    for name, value in (("seed", 0), ("weight", 1.0)):
        if name in schema.names and name not in table.column_names:
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not a readable table of scores ({error}); run probe.py again to make it") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write any table as parquet, atomically."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def read_table(path: Path) -> pd.DataFrame:
    """Read scores.parquet or items.parquet; raises RequestError where it is none."""
    return _open(path).read().to_pandas()


DEFAULTS = {"slice": ("", "audio"), "distance": ("", "euclidean"), "split": ("all",), "layer_mode": ("", "cumulative")}
BY_CODEBOOK = ("units",)  # probes of a codebook alone: `single` is their default


def key(score: Score) -> str:
    """Name a score in dashboards: `probe/<probe>/<setting>/<metric>/L00`, with `@choice` for what is not the default.

    No two scores of one probing share a name: every key column but the corpus is in it.
    """
    usual = DEFAULTS | ({"layer_mode": ("", "cumulative", "single")} if score.probe in BY_CODEBOOK else {})
    choices = "".join(f"@{getattr(score, name)}" for name, values in usual.items() if getattr(score, name) not in values)
    layer = [f"L{int(score.layer):02d}" if score.layer.isdigit() else score.layer] if score.layer else []
    seed = f"@seed{score.seed}" if score.seed else ""
    setting = [score.setting] if score.setting else []
    return "/".join(["probe", score.probe, *setting, score.metric, *layer]) + choices + seed


def layer_order(layers: Iterable[str]) -> list[str]:
    """Sort layer names: latent first, then by number."""
    return sorted(set(layers), key=lambda name: (name != "latent", int(name) if name.isdigit() else -1, name))
