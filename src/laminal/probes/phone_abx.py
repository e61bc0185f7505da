"""ABX over phones: which cells of phones and speakers there are, and the error of a layer in each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from laminal.measures.abx import abx_score, angular_dtw

TOKENS = 3  # of each phone and speaker in a cell
SHORTEST = 0.03  # seconds
DECIMALS = 6  # distances alike to so many are ties: the arc cosine of equal frames is off by 1e-8, which must not order them


@dataclass(frozen=True, slots=True)
class Phone:
    """One spoken phone, times in seconds within utterance number `utterance`."""

    label: str
    speaker: str
    utterance: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Cell:
    """A and X are tokens of one phone, B of another; `speaker` says A and B, X too unless the condition is across."""

    speaker: str
    a: tuple[Phone, ...]
    b: tuple[Phone, ...]
    x: tuple[Phone, ...]

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speaker of A and B, and of X where that is another."""
        return tuple(dict.fromkeys((self.speaker, self.x[0].speaker)))

    @property
    def name(self) -> str:
        """Speaker of A and B, the two phones, and the speaker of X."""
        return f"{self.speaker}:{self.a[0].label}-{self.b[0].label}:{self.x[0].speaker}"


def abx_cells(phones: Sequence[Phone], across: bool, count: int, seed: int) -> list[Cell]:
    """Draw `count` cells, each a speaker and an ordered pair of phones, uniformly over those that can be filled."""
    rng = np.random.default_rng([seed, 2, int(across)])
    said: dict[str, dict[str, list[Phone]]] = {}
    for phone in phones:
        if phone.end - phone.start >= SHORTEST:
            said.setdefault(phone.speaker, {}).setdefault(phone.label, []).append(phone)
    speakers = sorted(said)
    choices = []
    for speaker in speakers:
        for a in sorted(said[speaker]):
            others = [other for other in speakers if other != speaker and a in said[other]]
            if (across and others) or (not across and len(said[speaker][a]) > 1):
                choices += [(speaker, a, b, others) for b in sorted(said[speaker]) if b != a]
    cells = []
    for index in rng.permutation(len(choices))[:count]:
        speaker, a, b, others = choices[index]
        tokens = [said[speaker][a][i] for i in rng.permutation(len(said[speaker][a]))]
        b_tokens = [said[speaker][b][i] for i in rng.permutation(len(said[speaker][b]))[:TOKENS]]
        if across:
            other = said[others[int(rng.integers(len(others)))]][a]
            x_tokens, a_tokens = [other[i] for i in rng.permutation(len(other))[:TOKENS]], tokens[:TOKENS]
        else:
            half = min(TOKENS, len(tokens) // 2)
            x_tokens, a_tokens = tokens[:half], tokens[half : half + TOKENS]
        cells.append(Cell(speaker, tuple(a_tokens), tuple(b_tokens), tuple(x_tokens)))
    return cells


def abx_errors(
    cells: Sequence[Cell], layers: Mapping[str, Mapping[int, Float[np.ndarray, "_ d"]]], span: Callable[[Phone], tuple[int, int]]
) -> dict[str, Float[np.ndarray, " cells"]]:
    """Error of each cell in each layer, 1 - ABX score, by angular dynamic time warping of the phones' frames.

    `layers` holds the features of every utterance by its number, (n, d) each, and `span` says in which rows of them, first and after the
    last, a phone lies. Phones of equal length are warped together: no padding, fewer steps.
    """
    pairs = [(x, other) for cell in cells for x in cell.x for other in (*cell.a, *cell.b)]
    phones = list(dict.fromkeys(phone for pair in pairs for phone in pair))
    number = {phone: index for index, phone in enumerate(phones)}
    spans = [span(phone) for phone in phones]
    sides = np.array([(number[x], number[other]) for x, other in pairs])
    size = np.array([stop - first for first, stop in spans])
    shapes = size[sides]
    order = np.lexsort((shapes[:, 1], shapes[:, 0]))
    groups = np.split(order, np.flatnonzero((np.diff(shapes[order], axis=0) != 0).any(1)) + 1)
    found = {}
    for name, utterances in layers.items():
        frames = [utterances[phone.utterance][first:stop] for phone, (first, stop) in zip(phones, spans)]
        distances = np.empty(len(pairs))
        for group in groups:
            distances[group] = angular_dtw([frames[row] for row in sides[group, 0]], [frames[row] for row in sides[group, 1]])
        found[name] = _cell_errors(cells, distances.round(DECIMALS))
    return found


def _cell_errors(cells: Sequence[Cell], distances: Float[np.ndarray, " pairs"]) -> Float[np.ndarray, " cells"]:
    errors, place = [], 0
    for cell in cells:
        size = len(cell.x) * (len(cell.a) + len(cell.b))
        table = distances[place : place + size].reshape(len(cell.x), -1)
        errors.append(1 - abx_score(table[:, : len(cell.a)], table[:, len(cell.a) :]))
        place += size
    return np.array(errors)
