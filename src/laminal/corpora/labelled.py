"""A corpus whose utterances each belong to a class beside what is said: an emotion, a style of speaking."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from laminal.corpora.base import Corpus
from laminal.corpora.recordings import Recording, Tiers, corpus
from laminal.errors import RequestError

NO_TIERS = Tiers("words", "")


@dataclass(frozen=True)
class LabelledCorpus(Corpus):
    """Utterances with their classes, by id; `kind` says what the classes are, as "emotion"."""

    labels: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Classes, sorted."""
        return tuple(sorted(set(self.labels.values())))

    @cached_property
    def sha256(self) -> str:
        """Hash of what the utterances say and of their classes."""
        digest = hashlib.sha256(super().sha256.encode())
        digest.update("".join(f"{utterance.id} {self.labels[utterance.id]};" for utterance in self.utterances).encode())
        return digest.hexdigest()

    def subset(self, speakers: frozenset[str]) -> "LabelledCorpus":
        """Only the utterances of `speakers`, in the same order."""
        kept = super().subset(speakers)
        labels = {utterance.id: self.labels[utterance.id] for utterance in kept}
        return LabelledCorpus(self.name, kept.utterances, self.skipped, self.facts, labels, self.kind)


def labelled(
    name: str, kind: str, found: Iterable[tuple[Recording, str]], facts: Mapping[str, object], bad: Iterable[tuple[str, str]] = ()
) -> LabelledCorpus:
    """Read recordings with their classes, without words; raises RequestError where they are of fewer than two classes, or many are bad."""
    pairs = list(found)
    made = corpus(name, [recording for recording, _ in pairs], NO_TIERS, False, dict(facts), list(bad))
    of = {recording.id: label for recording, label in pairs}
    labels = {utterance.id: of[utterance.id] for utterance in made}
    classes = sorted(set(labels.values()))
    if len(classes) < 2:
        raise RequestError(f"corpus {name!r} has the one class {classes[0]!r}: at least 2 are told apart; give the whole archive")
    return LabelledCorpus(name, made.utterances, made.skipped, made.facts | {"classes": classes}, labels, kind)


def named(
    paths: Iterable[Path], read: Callable[[Path], tuple[Recording, str] | None], rule: str
) -> tuple[list[tuple[Recording, str]], list[tuple[str, str]]]:
    """Give the recordings that `read` knows by the names of their files, and those it does not with the `rule` that they break."""
    found, bad = [], []
    for path in paths:
        made = read(path)
        if made is None:
            bad.append((str(path), f"{path}: the name says no class; files are called {rule}"))
        else:
            found.append(made)
    return found, bad
