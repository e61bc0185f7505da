"""ABX over phones: cells against what can be listed by hand, errors against a naive warping of angles."""

import math
from collections import Counter
from functools import cache

import numpy as np
import pytest

from laminal.probes.phone_abx import SHORTEST, TOKENS, Cell, Phone, abx_cells, abx_errors
from laminal.words import frame_spans

EVERY = 10_000  # more cells than there are


@pytest.fixture(scope="module")
def phones():
    """Four speakers, up to eight tokens of each phone, some too short; "zh" by one speaker alone, "oy" once by each, no "b" by one."""
    rng = np.random.default_rng(0)
    made = []
    for number, speaker in enumerate("dbca"):
        tokens = {"aa": int(rng.integers(3, 9)), "b": number * 2, "s": int(rng.integers(2, 5)), "oy": 1, "zh": 4 * (speaker == "c")}
        for label, count in tokens.items():
            for _ in range(count):
                start = float(rng.uniform(0, 1.9))
                made.append(Phone(label, speaker, number, start, start + float(rng.uniform(0.02 if label == "aa" else 0.031, 0.2))))
    assert any(phone.end - phone.start < SHORTEST for phone in made)
    return made


def counted(phones):
    return Counter((phone.speaker, phone.label) for phone in phones if phone.end - phone.start >= SHORTEST)


def fillable(phones, across):
    """Every (speaker, phone of A and X, phone of B), by going through all of them."""
    said = counted(phones)
    found = []
    for speaker, a in said:
        for other, b in said:
            enough = any(v != speaker and label == a for v, label in said) if across else said[speaker, a] >= 2
            if other == speaker and b != a and enough:
                found.append((speaker, a, b))
    return sorted(found)


def key(cell):
    return cell.speaker, cell.a[0].label, cell.b[0].label


@pytest.mark.parametrize("across", [False, True])
def test_the_cells_are_all_that_can_be_filled(phones, across):
    cells = abx_cells(phones, across, EVERY, 0)
    assert sorted(map(key, cells)) == fillable(phones, across)
    said = counted(phones)
    for cell in cells:
        speaker, a, b = key(cell)
        for side, label in ((cell.a, a), (cell.b, b), (cell.x, a)):
            assert {phone.label for phone in side} == {label} and len(set(side)) == len(side) <= TOKENS
            assert all(phone in phones and phone.end - phone.start >= SHORTEST for phone in side)
        assert {phone.speaker for phone in cell.a + cell.b} == {speaker} and len(cell.b) == min(TOKENS, said[speaker, b])
        (voice,) = {phone.speaker for phone in cell.x}
        assert cell.name == f"{speaker}:{a}-{b}:{voice}"
        if across:
            assert voice != speaker and len(cell.x) == min(TOKENS, said[voice, a]) and len(cell.a) == min(TOKENS, said[speaker, a])
        else:
            assert voice == speaker and not set(cell.a) & set(cell.x)
            half = min(TOKENS, said[speaker, a] // 2)
            assert len(cell.x) == half and len(cell.a) == min(TOKENS, said[speaker, a] - half)
    assert len({cell.name for cell in cells}) == len(cells)


def test_the_lonely_phone_is_b_across_but_never_a(phones):
    across = [key(cell) for cell in abx_cells(phones, True, EVERY, 0)]
    assert any(b == "zh" for _, _, b in across) and all(a != "zh" for _, a, _ in across)
    within = [key(cell) for cell in abx_cells(phones, False, EVERY, 0)]
    assert any(b == "oy" for _, _, b in within) and all(a != "oy" for _, a, _ in within)  # said once: no X beside A


def test_cells_tokens_and_voices_are_drawn_evenly(phones):
    listed = fillable(phones, True)
    draws = [abx_cells(phones, True, 6, seed) for seed in range(300)]
    assert all(len(drawn) == 6 and len(set(map(key, drawn))) == 6 for drawn in draws)
    often = Counter(key(cell) for drawn in draws for cell in drawn)
    expected = 300 * 6 / len(listed)
    assert set(often) == set(listed) and all(abs(times - expected) < 5 * math.sqrt(expected) for times in often.values())
    every = [cell for seed in range(60) for cell in abx_cells(phones, True, EVERY, seed)]
    said = counted(phones)
    for speaker, a, _ in listed:
        voices = Counter(cell.x[0].speaker for cell in every if key(cell)[:2] == (speaker, a))
        assert set(voices) == {voice for voice, label in said if label == a and voice != speaker}
        tokens = {phone for cell in every if key(cell)[:2] == (speaker, a) for phone in cell.a}
        assert len(tokens) == said[speaker, a]
    assert draws[0] == abx_cells(phones, True, 6, 0) != draws[1]


def angle(x, y):
    dot = sum(float(a) * float(b) for a, b in zip(x, y, strict=True))
    size = math.sqrt(sum(float(a) ** 2 for a in x) * sum(float(b) ** 2 for b in y))
    return math.acos(max(-1.0, min(1.0, dot / size))) / math.pi


def warped(first, second):
    """Mean angle along the cheapest path from corner to corner; of equally cheap ones the diagonal goes first."""

    @cache
    def best(i, j):
        if i == j == 0:
            return angle(first[0], second[0]), 1
        before = [best(*place) for place in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if min(place) >= 0]
        total, steps = min(before, key=lambda found: found[0])
        return total + angle(first[i], second[j]), steps + 1

    total, steps = best(len(first) - 1, len(second) - 1)
    return total / steps


def held(phone, features, rate):
    """Frames whose centre lies in the phone; the nearest to its middle where there is none."""
    centres = [(k + 0.5) / rate for k in range(len(features))]
    inside = [k for k, centre in enumerate(centres) if phone.start <= centre <= phone.end]
    middle = (phone.start + phone.end) / 2
    return [features[k] for k in inside or [min(range(len(centres)), key=lambda k: abs(centres[k] - middle))]]


def error(cell, layer, rate):
    lost, triples = 0.0, 0
    for x in cell.x:
        near = [warped(held(x, layer[x.utterance], rate), held(a, layer[a.utterance], rate)) for a in cell.a]
        far = [warped(held(x, layer[x.utterance], rate), held(b, layer[b.utterance], rate)) for b in cell.b]
        for a in near:
            for b in far:
                lost += 0.5 if abs(a - b) < 1e-7 else float(a > b)
                triples += 1
    return lost / triples


def errors(cells, layers, rate):
    """What the probe gets for layers that hold every frame of every utterance."""
    counts = [len(each) for each in next(iter(layers.values()))]

    def span(phone):
        first, stop, _ = frame_spans(np.array([phone.start]), np.array([phone.end]), rate, counts[phone.utterance])
        return int(first[0]), int(stop[0])

    return abx_errors(cells, {name: dict(enumerate(layer)) for name, layer in layers.items()}, span)


@pytest.mark.parametrize("rate,across", [(50.0, False), (50.0, True), (12.5, True), (12.5, False)])
def test_errors_equal_the_naive_loop(phones, rate, across):
    rng = np.random.default_rng(1)
    frames = [round(seconds * rate) for seconds in (2.1, 1.8, 2.2, 2.0)]  # the second ends before its last phones may
    layers = {name: [rng.normal(size=(n, d)).astype(np.float32) for n in frames] for name, d in (("latent", 3), ("1", 7))}
    few = rng.normal(size=(3, 4)).astype(np.float32)
    layers["2"] = [few[rng.integers(0, 3, n)] for n in frames]  # three codes: many ties
    cells = abx_cells(phones, across, 12, 0)
    found = errors(cells, layers, rate)
    assert list(found) == ["latent", "1", "2"]
    for name, layer in layers.items():
        assert found[name] == pytest.approx([error(cell, layer, rate) for cell in cells], abs=1e-12), name
    assert len(set(found["1"].tolist())) > 3


def test_perfect_useless_and_perverse_features(phones):
    rng = np.random.default_rng(2)
    vector = {label: rng.normal(size=64).astype(np.float32) for label in ("aa", "b", "s", "oy", "zh")}
    voice = {speaker: rng.normal(size=64).astype(np.float32) for speaker in "abcd"}
    apart = [Phone(each.label, each.speaker, index, each.start, each.end) for index, each in enumerate(phones)]  # one utterance each
    layers = {
        "phone": [np.tile(vector[each.label], (120, 1)) for each in apart],
        "speaker": [np.tile(voice[each.speaker], (120, 1)) for each in apart],
        "both": [np.tile(vector[each.label] + 0.3 * voice[each.speaker], (120, 1)) for each in apart],
    }
    for across in (False, True):
        found = errors(abx_cells(apart, across, EVERY, 0), layers, 50.0)
        assert not found["phone"].any() and not found["both"].any()
        assert (found["speaker"] == 0.5).all()  # ties, all of them: rounding must not decide
    a, b = (Phone(label, "a", number, 0.1, 0.2) for number, label in enumerate(("aa", "b")))
    x = Phone("aa", "b", 2, 0.1, 0.3)
    swapped = [np.tile(vector[label], (20, 1)) for label in ("aa", "b", "b")]
    assert errors([Cell("a", (a,), (b,), (x,))], {"1": swapped}, 50.0)["1"].tolist() == [1.0]
