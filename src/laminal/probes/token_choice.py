"""Which spoken tokens stand for the chosen word types: few, and in few utterances, since what is chosen must be encoded."""

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int


class TokenChoice:
    """Tokens by row: `type_of`, `speaker_of` and `utterance_of` number their word type, speaker and utterance; `order` breaks ties."""

    def __init__(
        self,
        type_of: Int[np.ndarray, " w"],
        speaker_of: Int[np.ndarray, " w"],
        utterance_of: Int[np.ndarray, " w"],
        order: Int[np.ndarray, " w"],
    ):
        self.kind, self.speaker, self.utterance = type_of.tolist(), speaker_of.tolist(), utterance_of.tolist()
        self.order: list[int] = order.tolist()
        self.chosen: dict[int, list[int]] = {}
        self.heard: dict[int, set[int]] = {}
        self.open: set[int] = set()  # utterances in use

    def choose(self, needs: dict[int, int], pairs: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
        """Choose rows for each type: `needs[type]` of them by different speakers, or as many as it has, greedily by utterance.

        The utterance that holds most of what is still needed comes first. Then tokens are added until every pair of types in `pairs`
        can be said by two different speakers, where that is possible at all.
        """
        self.chosen, self.heard = {kind: [] for kind in needs}, {kind: set() for kind in needs}
        held: dict[int, list[int]] = {}
        spoken: dict[int, list[int]] = {kind: [] for kind in needs}
        for row in self.order:
            if self.kind[row] in needs:
                held.setdefault(self.utterance[row], []).append(row)
                spoken[self.kind[row]].append(row)
        queue = [(-len(self._wanted(rows, needs)), place, utterance) for place, (utterance, rows) in enumerate(held.items())]
        heapq.heapify(queue)
        while queue and queue[0][0] < 0:
            gain, place, utterance = heapq.heappop(queue)
            rows = self._wanted(held[utterance], needs)
            if len(rows) < -gain:  # others have said some of it since; gains only fall
                heapq.heappush(queue, (-len(rows), place, utterance))
                continue
            for row in rows:
                self._take(row)
        for a, b in sorted(pairs):
            self._part(a, b, spoken)
        return self.chosen

    def _wanted(self, rows: Sequence[int], needs: dict[int, int]) -> list[int]:
        """Give the rows that would add to what is needed, one a type."""
        first: dict[int, int] = {}
        for row in rows:
            kind = self.kind[row]
            if len(self.chosen[kind]) < needs[kind] and self.speaker[row] not in self.heard[kind]:
                first.setdefault(kind, row)
        return list(first.values())

    def _take(self, row: int) -> None:
        self.chosen[self.kind[row]].append(row)
        self.heard[self.kind[row]].add(self.speaker[row])
        self.open.add(self.utterance[row])

    def _part(self, a: int, b: int, spoken: dict[int, list[int]]) -> None:
        """Add a token by a second speaker to a pair of types that one speaker says."""
        heard = self.heard[a] | self.heard[b]
        if len(heard) < 2:
            others = [row for kind in dict.fromkeys((a, b)) for row in spoken[kind] if self.speaker[row] not in heard]
            if others:
                self._take(min(others, key=lambda row: self.utterance[row] not in self.open))
