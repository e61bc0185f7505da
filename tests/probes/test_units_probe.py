"""The units probe end to end: every number against plain loops over frames, intervals, chance, and codecs whose answer is known."""

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from scipy.stats import t

from laminal.codecs.planted import Planted
from laminal.corpora.base import Corpus, Interval
from laminal.corpora.split import Split
from laminal.measures.bootstrap import multiplicities
from laminal.probes.base import Probe
from laminal.probes.pair_sampling import sample_pairs
from laminal.probes.run import run_probes
from laminal.probes.unit_phones import Aligned, phones_of_frames, resampled_quality
from laminal.probes.units import Units, distinct_shares, in_turn, numbered
from laminal.results import KEY, Context
from oracle_pairs import FakeCodec, area, noise_corpus

ARGUMENTS = dict(utterances=7, nulls=3, cells=30, maximum=25, draws=1000, seed=0)
OFF = 0.0031  # seconds, by which phones and words are moved: no edge lies on the centre of a frame, where either side would do


class Few(FakeCodec):
    """Five codes a codebook, so that words by two speakers are spelt alike now and then."""

    codebook_size = 5


class Encoder:
    """A self-supervised encoder: features, no codes."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "encoder", 16_000, 50.0, 0, 0, "1"

    def __init__(self):
        self.inner = FakeCodec()

    def encode(self, wav):
        raise AssertionError("there are no codes to ask for")

    decode = encode

    def layers(self, wav):
        return {"latent": self.inner.latent(wav)}


def probe(corpus, split=None, **changes):
    return Units(corpus, split, **(ARGUMENTS | changes))


def results(measure, codec):
    return run_probes(codec, {"units": measure}, Context(run="r", codec=codec.name, revision=codec.revision, corpus=measure.corpus.name))


def one(found, metric, layer="1"):
    (score,) = [score for score in found.scores if (score.metric, score.layer) == (metric, layer)]
    return score


def with_words(corpus, kept):
    """The same corpus where only the words of `kept` are written down."""
    return Corpus(corpus.name, tuple(replace(each, words=tuple(word for word in each.words if word.label in kept)) for each in corpus))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    made = []
    for each in noise_corpus(tmp_path_factory.mktemp("noise"), speakers=4, utterances=2):
        words, phones = (tuple(replace(i, start=i.start + OFF, end=i.end + OFF) for i in tier) for tier in (each.words, each.phones))
        made.append(replace(each, words=words, phones=phones))
    return Corpus("noise", tuple(made))


@pytest.fixture(scope="module", params=["few", "phones"])
def measured(request, corpus):
    codec = Few(codebooks=3) if request.param == "few" else Planted("phones", corpus)
    measure = probe(corpus)
    return codec, results(measure, codec), list(frames(measure.corpus, codec))


def frames(corpus, codec):
    """(utterance, speaker, phone or None, codes) of every frame, one at a time."""
    for utterance in corpus:
        codes = codec.encode(corpus.wav(utterance, codec.sample_rate)[None])[0].T.tolist()
        for k, here in enumerate(codes):
            centre = (k + 0.5) / codec.frame_rate
            said = [phone.label for phone in utterance.phones if phone.start <= centre <= phone.end]
            yield utterance.id, utterance.speaker, said[-1] if said else None, here


def entropy(counts):
    total = sum(counts)
    return -sum(count / total * math.log(count / total) for count in counts if count)


def quality(pairs, times=None):
    """PNMI, phone purity, cluster purity of (speaker, phone, unit), where each speaker counts `times` over."""
    joint, phones, units = Counter(), Counter(), Counter()
    for speaker, phone, unit in pairs:
        times_here = 1 if times is None else times[speaker]
        joint[phone, unit] += times_here
        phones[phone] += times_here
        units[unit] += times_here
    total = sum(joint.values())
    mutual = sum(n / total * math.log(n * total / (phones[p] * units[u])) for (p, u), n in joint.items() if n)
    best_phone, best_unit = Counter(), Counter()
    for (p, u), n in joint.items():
        best_phone[u], best_unit[p] = max(best_phone[u], n), max(best_unit[p], n)
    return mutual / entropy(phones.values()), sum(best_phone.values()) / total, sum(best_unit.values()) / total


def spoken(heard, book):
    return [(speaker, phone, codes[book]) for _, speaker, phone, codes in heard if phone is not None]


def student(freedom):
    """By bisection of the distribution, not by its inverse."""
    low, high = 1.0, 100.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if t.cdf(middle, freedom) < 0.975 else (low, middle)
    return low


def widened(value, draws, clusters):
    """Percentiles of the draws, as much farther from the value as few clusters spread too little."""
    factor = student(clusters - 1) / 1.959964 * math.sqrt(clusters / (clusters - 1))
    low, high = (value + factor * (end - value) for end in np.nanquantile(draws, [0.025, 0.975]))
    return pytest.approx([max(low, 0.0), min(high, 1.0)], abs=1e-6)


def leaving_out(value, without, most=1.0, least=0.0):
    """Tukey's pseudo-values: their mean's standard error, by hand."""
    count, whole = len(without), float(value)
    pseudo = [count * whole - (count - 1) * each for each in without]
    error = math.sqrt(sum((each - sum(pseudo) / count) ** 2 for each in pseudo) / (count - 1) / count)
    return pytest.approx([max(whole - student(count - 1) * error, least), min(whole + student(count - 1) * error, most)], abs=1e-9)


def test_phones_of_frames():
    phones = [Interval("aa", 0.0, 0.05), Interval("b", 0.05, 0.07), Interval("s", 0.11, 0.13)]
    number = {"aa": 7, "b": 0, "s": 2}
    assert phones_of_frames(phones, number, 50.0, 8).tolist() == [7, 7, 0, 0, -1, 2, 2, -1]  # centres 0.01, 0.03 .. 0.15
    assert phones_of_frames(phones[1:], number, 50.0, 3).tolist() == [-1, -1, 0] and phones_of_frames((), number, 50.0, 2).tolist() == [
        -1,
        -1,
    ]
    rng = np.random.default_rng(0)
    for rate in (12.5, 75.0):
        edges = np.sort(rng.uniform(0, 3, 40))
        said = [Interval(str(i % 5), float(a), float(b)) for i, (a, b) in enumerate(zip(edges[:-1], edges[1:])) if i % 4]
        slow = []
        for k in range(int(3.2 * rate)):
            inside = [int(phone.label) for phone in said if phone.start <= (k + 0.5) / rate <= phone.end]
            slow.append(inside[0] if inside else -1)
        assert phones_of_frames(said, {str(i): i for i in range(5)}, rate, len(slow)).tolist() == slow


def test_what_each_codebook_says_of_phones(measured):
    codec, found, heard = measured
    pick = random.Random(0)
    for book in range(codec.codebooks):
        pairs = spoken(heard, book)
        phones, nulls = [phone for _, phone, _ in pairs], []
        for _ in range(12):
            pick.shuffle(phones)
            nulls.append(quality([(speaker, phone, unit) for (speaker, _, unit), phone in zip(pairs, phones, strict=True)]))
        for column, metric in enumerate(("pnmi", "phone_purity", "cluster_purity")):
            score = one(found, metric, str(book + 1))
            assert score.value == pytest.approx(quality(pairs)[column], abs=1e-9)
            assert (score.n, score.clusters, score.unit, score.layer_mode) == (len(pairs), 4, "fraction", "single")
            null = [each[column] for each in nulls]
            assert abs(score.chance - np.mean(null)) < 5 * np.std(null) + 1e-9 and score.higher_is_better


def test_intervals_of_pnmi_and_purities_leave_speakers_out(measured):
    codec, found, heard = measured
    pairs = spoken(heard, 0)
    speakers = sorted({speaker for speaker, _, _ in pairs})
    labels = sorted({phone for _, phone, _ in pairs})
    phones, voices = (np.array([names.index(each[at]) for each in pairs]) for names, at in ((labels, 1), (speakers, 0)))
    weights = multiplicities(len(speakers), 1000, 0)
    draws = resampled_quality(phones, np.array([unit for *_, unit in pairs]), voices, weights)
    for row in (0, 1, 2, 500, 999, int(weights.max(1).argmax())):
        assert draws[row] == pytest.approx(quality(pairs, dict(zip(speakers, weights[row], strict=True))), abs=1e-9)
    without = [quality([each for each in pairs if each[0] != speaker]) for speaker in speakers]
    for column, metric in enumerate(("pnmi", "phone_purity", "cluster_purity")):
        score = one(found, metric)
        assert [score.low, score.high] == leaving_out(score.value, [each[column] for each in without])
        assert score.low <= score.value <= score.high
    assert one(found, "pnmi").low < one(found, "pnmi").high or not isinstance(codec, Few)


def guess(heard, book):
    """Hits and frames by (utterance, speaker): the phone most often said with a code by the other speakers, by name where counts tie."""
    rows = [(who, speaker, phone, codes[book]) for who, speaker, phone, codes in heard if phone is not None]
    found = {}
    for speaker in {each[1] for each in rows}:
        others = Counter(phone for _, voice, phone, _ in rows if voice != speaker)
        by_code = {}
        for _, voice, phone, code in rows:
            if voice != speaker:
                by_code.setdefault(code, Counter())[phone] += 1
        for who, voice, phone, code in rows:
            if voice == speaker:
                counts = by_code.get(code, others)
                hits, frames = found.get((who, speaker), (0, 0))
                found[who, speaker] = hits + (min(counts, key=lambda each: (-counts[each], each)) == phone), frames + 1
    return found


def test_phone_accuracy_guesses_from_the_other_speakers(measured):
    codec, found, heard = measured
    for book in range(codec.codebooks):
        expected = guess(heard, book)
        score = one(found, "phone_accuracy", str(book + 1))
        frames = sum(n for _, n in expected.values())
        assert score.value == pytest.approx(sum(hits for hits, _ in expected.values()) / frames, abs=1e-12)
        assert (score.n, score.clusters, score.layer_mode, score.higher_is_better) == (frames, 4, "single", True)
        gain = one(found, "phone_gain", str(book + 1))
        assert gain.value == pytest.approx(score.value - score.chance) and gain.chance == 0 and gain.low <= gain.value <= gain.high
        (items,) = [each for each in found.items if (each.metric, each.layer) == ("phone_gain", str(book + 1))]
        assert np.average(items.value, weights=items.weight) == pytest.approx(gain.value)
        assert dict(zip(zip(items.a, items.cluster), items.weight)) == {key: n for key, (_, n) in expected.items()}
        voices = sorted({speaker for _, speaker in expected})
        right, all_of = (np.array([sum(v[at] for (_, s), v in expected.items() if s == voice) for voice in voices]) for at in (0, 1))
        draws = multiplicities(len(voices), 1000, 0)
        assert [score.low, score.high] == widened(score.value, (draws @ right) / (draws @ all_of), len(voices))
        assert 0 < score.chance < 0.5 and (score.value > 0.6 or isinstance(codec, Few))


def test_use_and_bits(measured):
    codec, found, heard = measured
    speakers = sorted({speaker for _, speaker, _, _ in heard})
    total, left = 0.0, np.zeros(len(speakers))
    for book in range(codec.codebooks):
        counts = Counter(codes[book] for *_, codes in heard)
        by_speaker = {speaker: Counter(codes[book] for _, who, _, codes in heard if who == speaker) for speaker in speakers}
        without = [entropy([count - by_speaker[who][code] for code, count in counts.items()]) for who in speakers]
        perplexity, layer = one(found, "perplexity", str(book + 1)), str(book + 1)
        assert perplexity.value == pytest.approx(math.exp(entropy(counts.values())))
        assert [perplexity.low, perplexity.high] == leaving_out(perplexity.value, np.exp(without), np.inf, least=1.0)
        unused = sum(code not in counts for code in range(codec.codebook_size))
        usage, dead = one(found, "usage", layer), one(found, "dead", layer)
        assert usage.value == usage.low == usage.high == pytest.approx(1 - unused / codec.codebook_size)
        assert dead.value == dead.low == dead.high == unused
        assert perplexity.n == usage.n == dead.n == len(heard) and perplexity.clusters == 4 and math.isnan(perplexity.chance)
        (items,) = [items for items in found.items if (items.metric, items.layer) == ("code_count", layer)]
        assert dict(zip(items.a, items.value)) == {str(code): counts[code] for code in range(codec.codebook_size)}
        total, left = total + entropy(counts.values()) / math.log(2), left + np.array(without) / math.log(2)
    nominal, coded = one(found, "bits_nominal", ""), one(found, "bits_entropy", "")
    assert nominal.value == nominal.low == nominal.high == pytest.approx(50 * codec.codebooks * math.log2(codec.codebook_size))
    assert coded.value == pytest.approx(50 * total) and [coded.low, coded.high] == leaving_out(coded.value, 50 * left, np.inf)
    assert coded.value < nominal.value and nominal.unit == coded.unit == "bit/s"


def spellings(sample, heard, book):
    """(word, string of codes without repeats) of each token."""
    codes = {name: [each[-1][book] for each in group] for name, group in groupby(heard, key=lambda each: each[0])}
    found = []
    for token in sample.tokens:
        here = codes[token.utterance_id]
        inside = [k for k in range(len(here)) if token.start <= (k + 0.5) / 50 <= token.end]
        found.append((token.word, tuple(code for code, _ in groupby(here[k] for k in inside))))
    return found


def distinct(spelt):
    """Mean over words with two tokens of the share of distinct spellings; and the words' own."""
    by_word = {}
    for word, string in spelt:
        by_word.setdefault(word, []).append(string)
    shares = [len(set(strings)) / len(strings) for strings in by_word.values() if len(strings) > 1]
    return sum(shares) / len(shares), shares


def edits(a, b):
    """Levenshtein's distance over the longer length, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        new = [i + 1]
        for j, y in enumerate(b):
            new.append(min(row[j] + (x != y), row[j + 1] + 1, new[j] + 1))
        row = new
    return row[-1] / max(len(a), len(b), 1)


@pytest.fixture(scope="module")
def sample(corpus):
    return sample_pairs(probe(corpus).corpus, None, 0, maximum=25, tier_maximum=25, token_pairs=2, randoms=2)


def test_spellings_per_token(measured, sample):
    codec, found, heard = measured
    pick = random.Random(1)
    for book in range(codec.codebooks):
        spelt, score = spellings(sample, heard, book), one(found, "spellings_per_token", str(book + 1))
        value, shares = distinct(spelt)
        assert score.value == pytest.approx(value) and score.n == score.clusters == len(shares) and score.higher_is_better is False
        words, strings, null = [word for word, _ in spelt], [string for _, string in spelt], []
        for _ in range(30):
            pick.shuffle(strings)
            null.append(distinct(zip(words, strings, strict=True))[0])
        assert abs(score.chance - np.mean(null)) < 4 * np.std(null) + 1e-9
        half = (score.high - score.low) / 2
        assert half == pytest.approx(1.96 * np.std(shares) / math.sqrt(len(shares)), rel=0.15, abs=1e-9)  # words are resampled
    assert value < 0.95 * score.chance or isinstance(codec, Few)


def test_distinct_shares_and_numbers():
    assert numbered(["b", (1, 2), "b", (2, 1), (1, 2)]).tolist() == [0, 1, 0, 2, 1]
    rng = np.random.default_rng(0)
    for _ in range(20):
        word, spelt = rng.integers(0, 9, 40), rng.integers(0, 6, 40)
        slow = [len(set(spelt[word == w])) / sum(word == w) for w in range(9) if sum(word == w) > 1]
        assert distinct_shares(word, spelt).tolist() == pytest.approx(slow)


def test_lexical_auc(measured, sample):
    codec, found, heard = measured
    weights = multiplicities(len(sample.words), 1000, 0)
    for book in range(codec.codebooks):
        string = [string for _, string in spellings(sample, heard, book)]
        sides = []
        for name in ("same_word", "random_for_same_word"):
            pairs = sample.sets[name]
            both = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
            assert all((sample.tokens[a].word == sample.tokens[b].word) == (name == "same_word") for a, b in both)
            assert all(sample.tokens[a].speaker != sample.tokens[b].speaker for a, b in both)
            sides.append([(sample.tokens[a].word, sample.tokens[b].word, edits(string[a], string[b])) for a, b in both])
        score = one(found, "lexical_auc", str(book + 1))
        assert score.value == pytest.approx(area(*sides), abs=1e-9) and score.chance == 0.5 and score.higher_is_better
        assert score.n == score.clusters == len({word for word, _, _ in sides[0]})
        if book == 0:
            draws = [area(*sides, dict(zip(sample.words, row, strict=True))) for row in weights[:60]]
            spread = score.high - score.low
            assert abs(np.quantile(draws, 0.025) - score.low) < 0.35 * spread + 1e-9
            assert abs(np.quantile(draws, 0.975) - score.high) < 0.35 * spread + 1e-9
    assert score.value > 0.95 or isinstance(codec, Few)


def test_abx_is_the_mean_of_its_items_and_resamples_speakers(measured):
    codec, found, _ = measured
    for metric in ("abx_within", "abx_across"):
        for layer in ("latent", *(str(k + 1) for k in range(codec.codebooks))):
            score = one(found, metric, layer)
            (items,) = [items for items in found.items if (items.metric, items.layer) == (metric, layer)]
            assert score.value == pytest.approx(np.mean(items.value)) and items.weight is None and score.chance == 0.5
            assert (score.n, score.layer_mode, score.unit, score.higher_is_better) == (30, "cumulative", "error", False)
            speakers = sorted({speaker for cluster in items.cluster for speaker in cluster.split("|")})
            assert score.clusters == len(speakers) and len(set(items.a)) == 30
            draws = []
            for row in multiplicities(len(speakers), 1000, 0):
                times = [math.prod(row[speakers.index(speaker)] for speaker in cluster.split("|")) for cluster in items.cluster]
                draws.append(np.dot(times, items.value) / sum(times) if sum(times) else np.nan)
            enough = np.isfinite(draws).mean() >= 0.95
            assert [score.low, score.high] == (
                widened(score.value, draws, len(speakers)) if enough else pytest.approx([np.nan] * 2, nan_ok=True)
            )
            for name, cluster in zip(items.a, items.cluster, strict=True):
                first, _, x = name.split(":")
                assert cluster == (first if metric == "abx_within" else f"{first}|{x}") and (x == first) == (metric == "abx_within")


@pytest.fixture(scope="module")
def planted(corpus):
    measure = probe(corpus, utterances=4, cells=60, nulls=1)
    return {kind: results(measure, Planted(kind, corpus)) for kind in ("phones", "meaning", "speaker", "noise")}


def test_planted_codecs_have_the_right_order(planted):
    phones, meaning, speaker, noise = planted.values()
    for book in ("1", "2"):
        assert one(phones, "pnmi", book).value == pytest.approx(1) == one(phones, "phone_purity", book).value
        assert one(phones, "cluster_purity", book).value == pytest.approx(1)
        assert 0.3 < one(meaning, "pnmi", book).value < 0.9
        assert one(phones, "phone_accuracy", book).value > 0.95
        for known in (speaker, noise):
            for metric in ("pnmi", "phone_purity", "cluster_purity", "phone_accuracy"):
                assert abs(one(known, metric, book).value - one(known, metric, book).chance) < 0.03
            assert abs(one(known, "phone_gain", book).value) < 0.03 < 0.3 < one(phones, "phone_gain", book).value
        assert one(speaker, "lexical_auc", book).value == 0.5 and abs(one(noise, "lexical_auc", book).value - 0.5) < 0.15
        assert one(phones, "lexical_auc", book).value > 0.95 and one(meaning, "lexical_auc", book).value > 0.9
        assert one(phones, "spellings_per_token", book).value < 0.6 < one(noise, "spellings_per_token", book).value == 1
    for layer in ("latent", "1", "2"):
        for metric in ("abx_within", "abx_across"):
            values = [one(found, metric, layer).value for found in (phones, meaning, speaker, noise)]
            assert values[0] == 0 and values[2] == 0.5 and abs(values[3] - 0.5) < 0.12
            assert 0.1 < values[1] < (0.45 if metric == "abx_across" else 0.6)  # nobody says a word twice here, but others say it


def test_encoders_without_codes_have_abx_alone(corpus):
    measure = probe(corpus, utterances=4)
    found, whole = results(measure, Encoder()), results(measure, FakeCodec(codebooks=1))
    *layered, books = found.scores
    assert {(score.metric, score.layer) for score in layered} == {("abx_within", "latent"), ("abx_across", "latent")}
    assert (books.metric, books.value, books.layer) == ("codebooks", 0.0, "")
    assert {items.metric for items in found.items} == {"abx_within", "abx_across"} and not found.undefined
    assert repr(layered) == repr([score for score in whole.scores if score.metric.startswith("abx") and score.layer == "latent"])


def uneven(corpus):
    """One, three, two and no utterances of four speakers, in a mixed order."""
    alone = {each.speaker: each for each in corpus}
    speakers = [corpus.speakers[number] for number in (1, 2, 1, 0, 2, 1)]
    return Corpus("uneven", tuple(replace(alone[speaker], id=f"u{number}") for number, speaker in enumerate(speakers)))


def test_utterances_come_from_each_speaker_in_turn(corpus):
    mixed = uneven(corpus)
    for count in range(8):
        queues = {speaker: [each.id for each in mixed if each.speaker == speaker] for speaker in mixed.speakers}
        taken = []
        while len(taken) < count and any(queues.values()):
            taken += [queue.pop(0) for queue in queues.values() if queue]
        assert [each.id for each in in_turn(mixed, count)] == sorted(taken[:count])


def test_only_test_speakers_are_measured(corpus):
    none = frozenset()
    split = Split(frozenset(corpus.speakers[:2]), frozenset(corpus.speakers[2:]), none, none, none, none)
    measure = probe(corpus, split, utterances=3)
    assert [each.speaker for each in measure.corpus] == [corpus.speakers[2], corpus.speakers[2], corpus.speakers[3]]
    found = results(measure, FakeCodec(codebooks=1))
    assert one(found, "perplexity").clusters == one(found, "pnmi").clusters == 2
    assert {name for items in found.items for each in items.cluster for name in each.split("|")} == set(corpus.speakers[2:])


def test_an_unreadable_utterance_is_left_out(corpus, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF, and no sound")
    listed = list(corpus)[:4]
    broken = Corpus("noise", (*listed[:2], replace(listed[2], path=bad), listed[3]))
    codec = FakeCodec(codebooks=1)
    left = Corpus("noise", (*listed[:2], listed[3]))
    found, without = (results(probe(each, utterances=4, cells=10), codec) for each in (broken, left))
    frames = [codec.encode(corpus.wav(each, 16_000)[None]).shape[2] for each in left]
    assert one(found, "perplexity").n == sum(frames)
    sides = [[score for score in each.scores if not score.metric.startswith("abx")] for each in (found, without)]
    assert repr(sides[0]) == repr(sides[1])  # repr: nan equals nan
    cells = [score for score in found.scores if score.metric.startswith("abx")]  # drawn before anything is read, so that they never change
    assert cells and all(2 <= score.n < 10 for score in cells)
    alone = results(probe(Corpus("noise", (listed[0], replace(listed[2], path=bad)))), codec)
    assert not alone.scores and not alone.items and [each.what for each in alone.undefined] == [f"utterance {listed[2].id}", "all"]
    assert "bad.wav" in alone.undefined[0].reason and f"utterance {listed[2].id}" in {each.what for each in found.undefined}


def test_keys_are_unique_and_shared_by_rows_and_items(corpus):
    measure, state = probe(corpus, utterances=4, seed=3), torch.get_rng_state()
    assert isinstance(measure, Probe)
    found, again = (results(measure, FakeCodec(codebooks=2)) for _ in range(2))
    assert repr(found.scores) == repr(again.scores) and torch.equal(torch.get_rng_state(), state)
    assert len(found.score_table()) == len(found.scores)  # raises where two share a key
    rows = {tuple(getattr(score, name, "") for name in KEY) for score in found.scores}
    blocks = [tuple(getattr(items, name, "") for name in KEY) for items in found.items]
    assert len(set(blocks)) == len(blocks) == 2 * 2 + 2 * 3  # of codebooks; of two conditions and three layers
    assert {key for key in blocks if key[KEY.index("metric")] != "code_count"} <= rows
    assert {each.seed for each in (*found.scores, *found.items)} == {3}
    assert {each.probe_version for each in (*found.scores, *found.items)} == {measure.version}
    assert found.item_table().num_rows == sum(len(items.value) for items in found.items)
    changed = results(probe(corpus, utterances=4), FakeCodec(codebooks=2))
    assert one(changed, "abx_within").value != one(found, "abx_within").value


def test_one_speaker_has_no_interval_and_no_guess(corpus):
    alone = Corpus("one", tuple(each for each in corpus if each.speaker == corpus.speakers[0]))
    found = results(probe(alone, utterances=2), FakeCodec(codebooks=1))
    assert {score.metric for score in found.scores} >= {"pnmi", "abx_within", "perplexity", "usage"}
    for score in (each for each in found.scores if each.metric != "spellings_per_token"):  # which resamples words
        exact = score.metric in ("usage", "dead", "bits_nominal")
        assert score.low == score.high == score.value if exact else math.isnan(score.low) and math.isnan(score.high)
    assert "one speaker" in next(each.reason for each in found.undefined if each.what == "phone_accuracy")


def test_a_speaker_without_phones_teaches_nothing(corpus):
    bare = Corpus("bare", tuple(each if each.speaker == corpus.speakers[0] else replace(each, phones=()) for each in corpus))
    found = results(probe(bare, utterances=8), FakeCodec(codebooks=1))
    assert "phone_accuracy" not in {score.metric for score in found.scores} and one(found, "pnmi").clusters == 1
    assert one(found, "perplexity").clusters == 4 and "phone_accuracy" in {each.what for each in found.undefined}


def test_what_lasts_several_frames_and_says_nothing_gains_nothing():
    """Phones of five frames and codes of five frames, drawn apart, few codes and many: no gain; shuffled frames would say otherwise."""
    for size, apart in ((8, 0.0), (64, 0.01), (512, 0.0)):
        gains, shuffles = [], []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            said_by_all = rng.dirichlet(np.full(30, 3.0))
            phones = [np.repeat(rng.choice(30, 120, p=said_by_all), 5) for _ in range(12)]
            codes = [np.repeat(rng.integers(size, size=121), 5)[None, 2:602] for _ in range(12)]
            said = Aligned.of(codes, phones, [f"s{number % 6}" for number in range(12)], 30, size)
            hits = said.hits(0).mean()
            gains.append(hits - np.mean([said.hits(0, said.shifted(rng)).mean() for _ in range(10)]))
            shuffles.append(hits - np.mean([said.hits(0, rng.permutation(said.phones)).mean() for _ in range(10)]))
        assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(8) + 0.003, size
        assert apart == 0 or np.mean(shuffles) < -apart, "what the circular shift is for"


def test_what_is_undefined_has_no_row(corpus):
    for words, phones in ((("cat", "bat", "couch"), True), ((), False)):
        silent = Corpus("few", tuple(each if phones else replace(each, phones=()) for each in with_words(corpus, words)))
        found = results(probe(silent, utterances=6, cells=4), FakeCodec(codebooks=2))
        assert all(math.isfinite(score.value) for score in found.scores)
        few = [score for score in found.scores if not math.isfinite(score.low + score.high)]  # 4 cells of few pairs of speakers
        assert all(score.clusters == 1 or score.metric == "abx_across" for score in few)
        missing = " ".join(each.what for each in found.undefined)
        present = {score.metric for score in found.scores}
        assert "lexical_auc" in missing and "lexical_auc" not in present
        for metric in ("pnmi", "abx_within", "abx_across"):
            assert (metric in present) == phones and (metric in missing) != phones
