"""Paired comparison against a slow restatement, and what several seeds add."""

from dataclasses import replace

import numpy as np
import pytest

from laminal.compare import DRAWS, paired, sentences
from laminal.errors import RequestError
from laminal.measures.bootstrap import multiplicities, t_spread
from laminal.results import Context, Items, Results

WORDS = [f"w{number}" for number in range(24)]


def results(shift: float, seed: int = 0, corpus: str = "c", noise: float = 0.01) -> Results:
    """Word pairs whose core synonyms lie `shift` closer than random, and utterances whose STOI is 0.5 + shift."""
    fixed, own = np.random.default_rng(1), np.random.default_rng([2, seed])
    blocks = []
    for setting, level in (("synonym_core", 1 - shift), ("random_for_synonym_core", 1.0)):
        pairs = [tuple(sorted(fixed.choice(WORDS, 2, replace=False))) for _ in range(60)]
        base = fixed.normal(0, 0.05, 60)
        for layer in ("1", "2"):
            blocks.append(Items(
                probe="word_pairs", metric="distance", setting=setting, layer=layer, layer_mode="cumulative", slice="audio",
                distance="euclidean", a=[f"u{i}:0-1" for i in range(60)], b=[f"v{i}:0-1" for i in range(60)],
                cluster=["|".join(pair) for pair in pairs], value=level + base + own.normal(0, noise, 60),
            ))  # fmt: skip
    speakers = [f"s{i % 5}" for i in range(20)]
    blocks.append(Items(
        probe="reconstruction", metric="stoi", layer="2", layer_mode="cumulative", a=[f"u{i}" for i in range(20)], cluster=speakers,
        value=0.5 + shift + fixed.normal(0, 0.1, 20),
    ))  # fmt: skip
    return Results(Context(run=f"r{shift}", codec="k", revision="1", corpus=corpus, corpus_sha256=corpus), items=blocks)


def by(found, probe: str, layer: str):
    return next(each for each in found if each.probe == probe and each.layer == layer)


def test_difference_is_that_of_plain_loops():
    a, b = results(0.1), results(0.02)
    found = by(paired([a], [b]), "word_pairs", "1")

    def over_random(side):
        means = []
        for setting in ("synonym_core", "random_for_synonym_core"):
            block = next(each for each in side.items if each.setting == setting and each.layer == "1")
            types: dict[str, list[float]] = {}
            for pair, value in zip(block.cluster, block.value):
                types.setdefault(pair, []).append(value)
            means.append(np.mean([np.mean(values) for values in types.values()]))
        return (means[0] - means[1]) / means[1]

    assert found.a == pytest.approx(over_random(a)) and found.b == pytest.approx(over_random(b))
    assert found.difference == pytest.approx(over_random(a) - over_random(b))
    assert found.low < found.difference < found.high < 0 and found.p < 0.01


def test_a_run_against_itself_differs_by_nothing():
    found = paired([results(0.1)], [results(0.1)])
    assert all(each.difference == 0 and each.low <= 0 <= each.high and each.p == 1 for each in found)


def test_utterances_are_paired_and_speakers_resampled():
    found = by(paired([results(0.1)], [results(0.05)]), "reconstruction", "2")
    assert found.difference == pytest.approx(0.05) and found.low == pytest.approx(0.05) and found.clusters == 5


def test_items_of_two_speakers_weigh_by_both():
    rng = np.random.default_rng(0)
    speakers = [f"s{number}" for number in range(7)]
    pairs = [("s0", "s0"), *((speakers[i], speakers[j]) for i in range(7) for j in range(i) if (i + j) % 2)]
    given = dict(probe="voice_conversion", metric="mcd", a=[f"u{i}" for i in range(len(pairs))])
    cluster = ["|".join(dict.fromkeys(pair)) for pair in pairs]
    effect = dict(zip(speakers, rng.normal(0, 1, 7)))
    values = [np.array([effect[a] + effect[b] for a, b in pairs]) + rng.normal(0, 0.1, len(pairs)), np.zeros(len(pairs))]
    sides = [
        Results(Context(run="r", codec="k", revision="1", corpus_sha256="c"), items=[Items(**given, cluster=cluster, value=value)])
        for value in values
    ]
    (found,) = paired([sides[0]], [sides[1]])
    draws = [values[0].mean()]
    for counts in multiplicities(7, DRAWS, 0).astype(int):
        times = dict(zip(speakers, counts))
        copies = [value for value, (a, b) in zip(values[0], pairs) for _ in range(times[a] if a == b else times[a] * times[b])]
        draws.append(np.mean(copies) if copies else np.nan)
    spread = t_spread(np.array(draws), 7, 0)
    assert found.clusters == 7 and found.difference == pytest.approx(draws[0])
    assert [found.low, found.high] == pytest.approx(np.nanquantile(spread[1:], [0.025, 0.975]))
    assert sum(speaker_of_one == "s0" for speaker_of_one in cluster) == 1  # an item of one speaker among them


def test_seeds_that_disagree_widen_the_interval():
    alike = by(paired([results(0.1, s) for s in range(3)], [results(0.05, s) for s in range(3)]), "word_pairs", "1")
    apart = by(paired([results(v, 0) for v in (0.0, 0.1, 0.2)], [results(v, 0) for v in (0.0, 0.05, 0.1)]), "word_pairs", "1")
    assert apart.seeds == (3, 3) and apart.high - apart.low > 3 * (alike.high - alike.low)


def test_p_is_corrected_over_layers():
    one = paired([results(0.03, noise=0.2)], [results(0.02, noise=0.2, seed=1)])
    ps = sorted(each.p for each in one if each.probe == "word_pairs")
    assert ps[0] <= ps[1] <= 1 and ps[0] >= 2 / 2001


def test_other_items_are_refused():
    a, b = results(0.1), results(0.1, corpus="d")
    with pytest.raises(RequestError, match="different corpora"):
        paired([a], [b])
    b = results(0.1)
    b.items[0] = replace(b.items[0], a=[f"another{i}:0-1" for i in range(60)])
    with pytest.raises(RequestError, match="different items"):
        paired([a], [b])


def test_sentences_claim_no_more_than_the_interval():
    said = sentences(paired([results(0.1)], [results(0.02)]))
    assert any("closer in A" in line for line in said)
    said = sentences(paired([results(0.1)], [results(0.1)]))
    assert said and not any("closer" in line or "is better" in line for line in said)


def test_a_score_that_one_side_lacks_for_an_utterance_stops_nothing():
    a, b = results(0.1), results(0.05)
    short = b.items[-1]
    b.items[-1] = replace(short, a=short.a[1:], cluster=short.cluster[1:], value=short.value[1:])
    found = paired([a], [b])
    assert by(found, "reconstruction", "2").n == 19 and by(found, "reconstruction", "2").difference == pytest.approx(0.05)
    assert by(found, "word_pairs", "1").n > 0
    assert len(a.items[-1].value) == 20, "the caller's results are left as they were"


def test_weights_count_as_in_the_score():
    def side(value):
        rows = {"a": ["u", "v", "w"], "cluster": ["s", "t", "t"], "weight": np.array([1.0, 19.0, 0.0]), "value": np.array([value, 0, 5.0])}
        block = Items(probe="reconstruction", metric="wer", layer="1", layer_mode="cumulative", **rows)
        return Results(Context(run="r", codec="k", revision="1", corpus_sha256="c"), items=[block])

    (found,) = paired([side(1.0)], [side(0.0)])
    assert found.a == pytest.approx(0.05) and found.difference == pytest.approx(0.05)


def test_layer_modes_and_seeds_are_told_apart():
    sides = []
    for shift in (0.1, 0.02):
        made, other = results(shift), results(0.02)
        made.items += [replace(block, layer_mode="single") for block in other.items if block.probe == "word_pairs"]
        made.items += [replace(block, seed=7) for block in other.items if block.probe == "word_pairs"]
        sides.append(made)
    found = paired(*[[side] for side in sides])
    keys = [(each.layer, each.layer_mode, each.seed) for each in found if each.probe == "word_pairs"]
    assert len(keys) == len(set(keys)) == 6
    told = {key: each.difference for key, each in zip(keys, [each for each in found if each.probe == "word_pairs"])}
    assert told["1", "cumulative", 0] < -0.05 and told["1", "single", 0] == told["1", "cumulative", 7] == 0


def test_a_verdict_needs_the_corrected_p():
    found = by(paired([results(0.1)], [results(0.02)]), "word_pairs", "1")
    assert "closer in A" in sentences([found])[0]
    doubtful = replace(found, p=0.18)
    assert "closer in A" not in sentences([doubtful])[0]


def tracts(shift: float, seed: int = 0, speakers: int = 6) -> Results:
    """Correlations with the vocal tract, one a speaker, of two layers."""
    fixed, own = np.random.default_rng(1), np.random.default_rng([3, seed])
    names = [f"s{number}" for number in range(speakers)]
    blocks = [
        Items(
            probe="articulation", metric="speaker_pwcca", layer=layer, layer_mode="cumulative", a=names, cluster=names,
            value=0.3 + shift + fixed.normal(0, 0.05, speakers) + own.normal(0, 0.01, speakers),
        )
        for layer in ("1", "8")
    ]  # fmt: skip
    return Results(Context(run="r", codec="k", revision="1", corpus="c", corpus_sha256="c"), items=blocks)


def test_articulation_of_few_speakers_is_compared_as_wide_as_student_would():
    a, b = tracts(0.1), tracts(0.0, 1)
    found = by(paired([a], [b]), "articulation", "1")
    each = a.items[0].value - b.items[0].value
    half = 2.570582 * each.std(ddof=1) / np.sqrt(6)
    assert found.difference == pytest.approx(each.mean()) and found.clusters == 6
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)  # percentiles alone are 0.69 of it
    wrong = 0
    for trial in range(150):  # two runs that are equally good
        draw = np.random.default_rng(trial)
        pair = [tracts(0.0), tracts(0.0)]
        for side in pair:
            side.items[:] = [replace(block, value=draw.standard_normal(6)) for block in side.items[:1]]
        (one,) = paired([pair[0]], [pair[1]])
        wrong += not one.low <= 0 <= one.high
    assert wrong <= 0.1 * 150


def test_articulation_has_a_sentence():
    said = sentences(paired([tracts(0.1)], [tracts(0.0, 1)]))
    assert len(said) == 2 and said[0].startswith("articulation, layer 1: correlation with the vocal tract 0.4")
    assert "mean of 6 speakers (interval of the difference +0.0" in said[0] and "A follows the vocal tract more closely (p 0.0" in said[0]
    assert "B follows the vocal tract more closely" in sentences(paired([tracts(0.0, 1)], [tracts(0.1)]))[1]
    assert "no difference found" in sentences(paired([tracts(0.0)], [tracts(0.0, 1)]))[0]
    few = sentences(paired([tracts(0.5, speakers=3)], [tracts(0.0, 1, speakers=3)]))
    assert all(line.endswith("cannot tell: 3 speakers, 5 are needed.") for line in few)


def test_a_sentence_says_which_slices_it_is_of():
    words = WORDS[:4]
    rows = {"a": words, "cluster": words, "value": np.array([0.1, 0.2, 0.3, 0.4])}
    keys = {"probe": "text_alignment", "metric": "cka", "setting": "text", "layer": "1"}
    blocks = [Items(**keys, slice=slice, **rows) for slice in ("audio", "features")]
    a, b = (Results(Context(run=run, codec="c", revision=run, corpus="c", corpus_sha256="c"), items=blocks) for run in ("a", "b"))
    said = sentences(paired([a], [b]))
    assert [line.split(":")[0] for line in said] == ["cka, layer 1, audio slices", "cka, layer 1, features slices"]
