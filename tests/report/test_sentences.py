"""Each branch of what the numbers are said to mean, on tables made by hand."""

import math

import numpy as np
import pytest

from laminal.probes import word_pairs
from laminal.report import sentences, words
from laminal.report.headlines import headlines
from laminal.report.selection import Reading, checkpoints
from laminal.results import Context, Results
from oracle_report import pairs, reconstruction, score, units


def table(*points, corpus="spoken", run="r"):
    """One table of the scores of several checkpoints."""
    import pandas as pd

    made = []
    for epoch, scores in enumerate(points):
        context = Context(run=run, codec="laminal", revision="r", epoch=epoch, step=10 * (epoch + 1), corpus=corpus)
        made.append(Results(context, list(scores)).score_table())
    return pd.concat(made, ignore_index=True)


def layer(sound, meaning, half=0.01, **given):
    given = {"layer": "1", "layer_mode": "cumulative", "slice": "audio", "distance": "euclidean"} | given
    return [pairs("near_homophone", sound, half, **given), pairs("synonym", meaning, half, **given)]


def core(trained, new_pair, new_word, wide=()):
    made = []
    for split, value in {"trained": trained, "new_pair": new_pair, "new_word": new_word}.items():
        half = 0.04 if split in wide else 0.01
        given = {"layer": "1", "layer_mode": "cumulative", "slice": "features", "distance": "euclidean", "split": split}
        made.append(pairs("synonym_core", value, half, **given))
    return made


def test_the_limit_is_that_of_the_probe():
    assert words.NARROW == word_pairs.NARROW


def test_the_sentence_of_the_issue():
    said = sentences.summary(table([*layer(-0.18, -0.004)]))
    sound = "At codebook 1 near-homophones are 18 % closer than random (17.0 to 19.0 %)"
    assert said[0] == f"{sound}, synonyms 0.4 % closer (interval holds 0): phonetic."


@pytest.mark.parametrize(
    ("sound", "meaning", "half", "end"),
    [
        (-0.18, -0.004, 0.01, "phonetic"),
        (-0.003, -0.05, 0.01, "semantic"),
        (-0.18, -0.05, 0.01, "more phonetic than semantic"),
        (-0.05, -0.18, 0.01, "more semantic than phonetic"),
        (-0.05, -0.06, 0.01, "both phonetic and semantic"),
        (0.0, 0.0, 0.01, "neither sound nor meaning shows"),
        (0.05, 0.05, 0.01, "neither sound nor meaning shows"),
        (-0.02, -0.02, 0.03, "cannot tell"),
        (-0.18, -0.05, 0.03, "more phonetic than semantic"),  # wide, and 0 is outside: the side shows
        (-0.18, -0.02, 0.03, "sound shows, of meaning one cannot tell"),
    ],
)
def test_the_verdict_of_a_layer(sound, meaning, half, end):
    said = sentences.summary(table(layer(sound, meaning, half)))[0]
    assert said.endswith(f": {end}.")


def test_one_side_that_cannot_be_told_leaves_the_other():
    given = {"layer": "1", "layer_mode": "cumulative", "slice": "audio", "distance": "euclidean"}
    rows = [pairs("near_homophone", -0.18, 0.01, **given), pairs("synonym", -0.04, 0.051, **given | {"n": 19})]
    said = sentences.summary(table(rows))[0]
    assert "synonyms (cannot tell: n = 19, half-width 5.1 %): sound shows, of meaning one cannot tell." in said
    assert "4 %" not in said and "4.0 %" not in said, "a value that cannot be told is not said"


def test_an_interval_of_nan_is_never_a_finding():
    reading = Reading(-0.2, math.nan, math.nan, 5, 0.0, None)
    assert words.side(reading) is None and not words.told(reading)


@pytest.mark.parametrize(
    ("values", "wide", "end"),
    [
        ((-0.09, -0.004, -0.004), (), "Trained pairs are closer than random; nothing shows beyond them."),
        ((-0.09, -0.004, -0.03), ("new_word",), "Trained pairs are closer than random; how far beyond them one cannot tell."),
        ((-0.09, -0.05, -0.004), (), "where both words were in training; words new to training are not."),
        ((-0.09, -0.05, -0.03), ("new_word",), "where both words were in training; of words new to training one cannot tell."),
        ((-0.09, -0.05, -0.04), (), "Synonyms are closer than random even among words that no lexical loss saw."),
        ((0.0, 0.0, 0.0), (), "In no tier are synonyms closer than random."),
        ((0.0, 0.0, 0.0), ("trained",), "half-width 4.0 %); new pairs of trained words 0.0 % closer than random (interval holds 0, "
                                        "n = 300); words new to training 0.0 % closer than random (interval holds 0, n = 300)."),
    ],
)  # fmt: skip
def test_how_far_meaning_reaches(values, wide, end):
    said = [line for line in sentences.summary(table(core(*values, wide=wide))) if line.startswith("Core synonyms")]
    assert len(said) == 1 and said[0].endswith(end) and "cut from whole utterances" in said[0]


def test_first_against_last_epoch():
    def speech(mel, stoi, pesq):
        given = {"probe": "reconstruction", "layer": "8", "unit": "", "chance": float("nan")}
        return [
            score(metric="mel_distance", value=mel, low=mel - 0.1, high=mel + 0.1, higher_is_better=False, **given),
            score(metric="stoi", value=stoi, low=stoi - 0.01, high=stoi + 0.01, higher_is_better=True, **given),
            score(metric="pesq", value=pesq, low=pesq - 0.2, high=pesq + 0.2, higher_is_better=True, **given),
        ]

    said = sentences.summary(table(speech(1.4, 0.7, 1.2), speech(0.8, 0.6, 1.3)))
    assert said == [
        "Speech rebuilt from 8 codebooks, epoch 0 to epoch 1: better beyond the interval: mel distance 1.4 to 0.8; "
        "worse beyond the interval: STOI 0.7 to 0.6; no difference beyond the interval: PESQ 1.2 to 1.3."
    ]
    alone = sentences.summary(table(speech(0.8, 0.6, 1.3)))
    assert alone == ["Speech rebuilt from 8 codebooks: mel distance 0.8 (0.7 to 0.9), STOI 0.6 (0.59 to 0.61), PESQ 1.3 (1.1 to 1.5)."]


def test_what_cannot_be_told_does_not_move():
    told, wide = layer(-0.1, 0.0, 0.01), layer(-0.04, 0.0, 0.05)
    assert not any("went from" in line for line in sentences.summary(table(told, wide)))
    moved = [line for line in sentences.summary(table(told, layer(-0.2, 0.0, 0.01))) if "went from" in line]
    end = "went from 10 % closer than random to 20 % closer (closer to each other beyond the interval)."
    assert moved[0].endswith(f"near-homophones at codebook 1 {end}")


def test_codebooks_and_units():
    rng = np.random.default_rng(1)
    said = sentences.summary(table(list(units(rng, 3, 6, dead=(5,)))))
    assert "Codebook 5: 62 % of codes never used." in said
    assert any(line.startswith("PNMI at codebook 1 is 0.2") and line.endswith("better than chance.") for line in said)
    assert any(line.startswith("ABX error across speakers at codebook 1 is") and line.endswith("better than chance.") for line in said)
    well = sentences.summary(table(list(units(rng, 3, 6))))
    assert any(line.startswith("Every codebook is alive: at least 99.2 % of the codes are used") for line in well)


def test_a_codebook_used_unevenly_is_reported_with_its_size():
    rows = list(units(np.random.default_rng(1), 0, 2, size=1024))
    flat = [row for row in rows if row.metric not in ("perplexity", "bits_entropy")]
    for book, ppl in (("1", 20.0), ("2", 400.0)):
        flat.append(score(probe="units", metric="perplexity", layer=book, layer_mode="single", value=ppl, low=ppl, high=ppl, unit="codes"))
    flat.append(score(probe="units", metric="bits_entropy", value=50 * (np.log2(20) + np.log2(400)), unit="bit/s"))
    said = sentences.summary(table(flat))
    assert [line for line in said if line.startswith("Codebook")] == ["Codebook 1: used as unevenly as if it had 20 of its 1,024 codes."]


@pytest.mark.parametrize(
    ("value", "low", "high", "chance", "better", "said"),
    [
        (0.2, 0.1, 0.3, 0.5, False, "better than chance"), (0.7, 0.6, 0.8, 0.5, False, "worse than chance"),
        (0.5, 0.4, 0.6, 0.5, True, "not told from chance"), (0.7, 0.6, 0.8, 0.5, None, "above chance"),
        (0.2, 0.1, 0.3, 0.5, None, "below chance"), (0.2, 0.1, 0.3, math.nan, True, ""),
    ],
)  # fmt: skip
def test_against_chance(value, low, high, chance, better, said):
    assert words.against_chance(Reading(value, low, high, 10, chance, better)) == said


def test_several_corpora_are_named_and_no_scores_are_said():
    import pandas as pd

    both = pd.concat([table(layer(-0.1, 0.0), layer(-0.1, 0.0)), table(layer(-0.2, 0.0), corpus="librispeech")], ignore_index=True)
    said = sentences.summary(both)
    assert said[0].startswith("On spoken: ") and said[-1].startswith("On librispeech: ")
    assert sentences.summary(both.iloc[:0]) == ["There are no scores yet."]


def test_nothing_short_of_all_is_written_as_all():
    assert words.percent(1023 / 1024) == "99.9 %" and words.percent(1.0) == "100 %" and words.percent(0.9996) == "99.9 %"
    assert words.number(-1e-16) == "0"


def test_the_terminal_table_holds_every_headline():
    rng = np.random.default_rng(0)
    points = [[*layer(-0.18, -0.004), *core(-0.09, 0.0, 0.0), *reconstruction(rng, e, 8), *units(rng, e, 8)] for e in (0, 4)]
    made = table(*points)
    drawn = sentences.table(made, width=240)
    lines = headlines(checkpoints(made))
    assert len(lines) >= 12
    for line in lines:
        row = next(each for each in drawn.splitlines() if f" {line.label} " in each)
        assert line.value(line.last) in row and line.value(line.first) in row and line.verdict in row
    alone = sentences.table(table(points[0]), width=240)
    assert "epoch 0" in alone and "epoch 1" not in alone


def test_more_codes_alone_do_not_better_pnmi():
    def point(value, chance, metric="pnmi"):
        return [score(probe="units", metric=metric, layer="1", layer_mode="single", value=value, low=value - 0.01, high=value + 0.01,
                      chance=chance, higher_is_better=True, n=900)]  # fmt: skip

    def moved(*points):
        return next(line.moved for line in headlines(checkpoints(table(*points))))

    assert moved(point(0.3, 0.2), point(0.6, 0.5)) == "no difference beyond the interval"
    assert moved(point(0.3, 0.2), point(0.6, 0.45)) == "better beyond the interval"
    assert moved(point(0.3, 0.2), point(0.3, 0.25)) == "worse beyond the interval"
    assert moved(point(0.3, 0.2, "lexical_auc"), point(0.6, 0.5, "lexical_auc")) == "better beyond the interval"


def test_layers_of_an_encoder_are_no_codebooks():
    rows = [*layer(-0.18, -0.004), *layer(-0.1, -0.004, layer="2")]
    said = sentences.summary(table([*rows, score(probe="word_pairs", metric="codebooks", value=0.0, low=0.0, high=0.0)]))
    assert said[0].startswith("At hidden layer 1 near-homophones") and said[1].startswith("At hidden layer 2") and len(said) == 2
    said = sentences.summary(table([*rows, score(probe="word_pairs", metric="codebooks", value=8.0, low=8.0, high=8.0)]))
    assert said[0].startswith("At codebook 1 ")
