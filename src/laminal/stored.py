"""What a folder already holds: which probes of which checkpoint were finished with which settings, so that nothing is measured twice."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from laminal import runfolder
from laminal.config import plain
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split
from laminal.results import Context, Results, Undefined, read_table
from laminal.results import stored as read_results

UNTOLD = ("cache",)  # arguments of a probe that change no number


def settings_of(section: Any, probe: Any, corpus: Corpus, split: Split | None, revision: str) -> str:
    """Hash all that a probe's numbers depend on: its arguments and version, corpus, split, and the codec's weights."""
    arguments = {key: value for key, value in plain(section).items() if key not in UNTOLD}
    parts: list[Any] = [arguments, getattr(probe, "version", 1), corpus.sha256, split.sha256() if split is not None else "", revision]
    parts += [own] if (own := material(probe)) else []
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def material(probe: Any) -> dict[str, Any]:
    """Say what a probe measures on where that is not the corpus (its `material`: name, hash); empty for most."""
    return dict(getattr(probe, "material", {}))


def entry(context: Context) -> str:
    """Name of a probing in the manifest."""
    return f"probing/{context.corpus}/" + (f"step={context.step}" if context.step >= 0 else context.run)


class Record:
    """The record of one probing in the manifest of its folder, kept up after every probe: what a kill leaves is known."""

    def __init__(self, folder: Path, context: Context):
        self.folder, self.context, self.key = folder, context, entry(context)
        found = runfolder.read_manifest(folder).get(self.key)
        self.facts: dict[str, Any] = found if isinstance(found, dict) else {}
        if not isinstance(self.facts.get("probes"), dict):
            self.facts["probes"] = {}

    @property
    def unfinished(self) -> bool:
        """Whether an earlier probing was stopped in the middle."""
        return self.facts.get("finished") is False

    def done(self, wanted: Mapping[str, str], probes: Mapping[str, Any], own: DictConfig | None, sections: Any) -> set[str]:
        """Probes (by their key in the configuration) whose rows are there and were made with the settings `wanted`.

        Rows without a record come from the training itself: they count where the run's configuration `own` has the section wanted.
        """
        path = self.folder / "scores.parquet"
        if not path.is_file():
            return set()
        table = read_table(path)
        here = self.context
        table = table[(table.step == here.step) & (table.corpus == here.corpus)]
        table = table[table.ckpt_sha256 == here.ckpt_sha256] if here.ckpt_sha256 else table[table.run == here.run]
        table = table[(table.revision == here.revision) & (table.corpus_sha256 == here.corpus_sha256)]
        found = set()
        for name, settings in wanted.items():
            rows = table[(table.probe == probes[name].name) & (table.probe_version == getattr(probes[name], "version", 1))]
            known = self.facts["probes"].get(name)
            if isinstance(known, dict):
                same = known.get("settings") == settings and known.get("rows") == len(rows)
            else:
                trained = plain(own).get("probes", {}).get(name) if own is not None else None
                same = bool(len(rows)) and trained is not None and _told(trained) == _told(plain(sections[name]))
            if same:
                found.add(name)
        return found

    def read(self, names: set[str], probes: Mapping[str, Any]) -> Results:
        """Give what is stored of these probes."""
        results = read_results(self.folder, self.context, {probes[name].name for name in names})
        for name in sorted(names & set(self.facts["probes"])):
            record = self.facts["probes"][name]
            results.undefined += [Undefined(**each) for each in record.get("undefined", [])]
            results.seconds[name] = record.get("seconds", 0.0)
        return results

    def begin(self, anew: set[str], **facts: Any) -> None:
        """Say that a probing runs; records of probes that are made anew go."""
        probes = {name: record for name, record in self.facts["probes"].items() if name not in anew}
        self.facts = facts | {"probes": probes, "finished": False}
        runfolder.update_manifest(self.folder, **{self.key: self.facts})

    def add(self, name: str, settings: str, results: Results, probe: Any) -> None:
        """Record a probe whose rows have just been stored."""
        undefined = [dataclasses.asdict(each) for each in results.undefined]
        record = {"settings": settings, "rows": len(results.scores), "seconds": results.seconds.get(name, 0.0), "undefined": undefined}
        if recalled := getattr(probe, "recalled", 0):
            record["recalled"] = recalled  # samples whose estimates were in the cache
        self.facts["probes"][name] = record | ({"material": own} if (own := material(probe)) else {})
        runfolder.update_manifest(self.folder, **{self.key: self.facts})

    def finish(self) -> None:
        """Say that the probing is whole."""
        self.facts["finished"] = True
        runfolder.update_manifest(self.folder, **{self.key: self.facts})


def _told(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in UNTOLD}
