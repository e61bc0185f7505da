import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal import compare, config
from laminal.callback import headline_metrics
from laminal.codecs.planted import Planted
from laminal.corpora.base import Corpus
from laminal.corpora.split import make_split
from laminal.errors import RequestError
from laminal.features import WordFeatures, word_features
from laminal.measures.bootstrap import interval, multiplicities
from laminal.measures.cka import gram, linear_cka, minibatch_cka, pseudo_values, rbf_cka
from laminal.probes.alignment_rows import METRICS
from laminal.probes.base import Probe
from laminal.probes.llm_words import heard_words, unfit
from laminal.probes.run import fill, run_probes
from laminal.probes.text_alignment import TextAlignment, open_space
from laminal.probes.word_types import (
    Types,
    candidates,
    drawn,
    duration_powers,
    durations,
    phone_counts,
    phones_at,
    place_powers,
    speaker_shares,
    type_means,
)
from laminal.results import Context, Items, Results, Score, Undefined, key
from laminal.words import Token
from oracle_cka import hsic_by_sums, inner, ratio
from oracle_llm import mimo_audio, moshi
from oracle_pairs import WORDS, FakeCodec, noise_corpus

ARGUMENTS = dict(
    slices=["audio"], modes=["cumulative"], words=1000, least=2, tokens=4, permutations=1000, subsets=3, batch=10, draws=1000, seed=0,
)  # fmt: skip


class Vectors:
    """A text space of given vectors."""

    name = "given"

    def __init__(self, vectors):
        self.of = vectors
        self.width = len(next(iter(vectors.values()))) if vectors else 1

    def vectors(self, words):
        there = np.array([word in self.of for word in words], dtype=bool)
        return np.array([self.of.get(word, np.full(self.width, np.nan)) for word in words], dtype=np.float64).reshape(-1, self.width), there


def spoken(seed=0, width=5):
    return Vectors(dict(zip(WORDS, np.random.default_rng(seed).standard_normal((len(WORDS), width)), strict=True)))


def probe(corpus, split=None, text=None, **changes):
    return TextAlignment(corpus, split, text=text or spoken(), **(ARGUMENTS | changes))


def results(measure, codec):
    found = Results(Context(run="r", codec=codec.name, revision=codec.revision, corpus=measure.corpus.name))
    for each in measure.run(codec):
        {Score: found.scores, Items: found.items, Undefined: found.undefined}[type(each)].append(each)
    return found


def pick(found, **keys):
    return [score for score in found.scores if all(getattr(score, name) == value for name, value in keys.items())]


def one(found, **keys):
    (score,) = pick(found, **keys)
    return score


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=5, utterances=3)


@pytest.fixture(scope="module")
def measured(corpus):
    measure = probe(corpus)
    return measure, results(measure, FakeCodec())


def by_hand(measure, features, layer):
    """Words and their mean features, token by token."""
    said = {}
    for token, vector in zip(measure.sample.types.tokens, features.values[:, features.layers.index(layer)], strict=True):
        said.setdefault(token.word, []).append(vector.astype(np.float64))
    assert all(1 <= len(tokens) <= 4 for tokens in said.values())
    words = list(measure.sample.types.words)
    return words, np.stack([sum(said[word]) / len(said[word]) for word in words])


@pytest.mark.parametrize("layer", ["latent", "2"])
def test_every_value_is_the_slow_one_on_word_means(corpus, measured, layer):
    measure, found = measured
    words, x = by_hand(measure, word_features(FakeCodec(), corpus, measure.sample.types.tokens, "audio"), layer)
    y = np.stack([measure.space.of[word] for word in words])
    here = {"layer": layer, "slice": "audio", "layer_mode": "cumulative"}
    cka = one(found, setting="text", metric="cka", **here)
    assert cka.value == pytest.approx(ratio(hsic_by_sums, inner(x), inner(y)), abs=1e-9)
    assert cka.n == cka.clusters == len(words) > 30 and cka.unit == "CKA with given" and cka.higher_is_better
    assert one(found, setting="text", metric="cka_biased", **here).value == pytest.approx(linear_cka(x, y, False), abs=1e-9)
    assert one(found, setting="text", metric="cka_rbf", **here).value == pytest.approx(rbf_cka(x, y, debiased=True), abs=1e-9)
    bag = phone_counts(words)
    phones = one(found, setting="phones_as_speech", metric="cka", slice="audio")
    assert phones.value == pytest.approx(linear_cka(bag, y), abs=1e-9) and phones.layer == ""
    assert one(found, setting="bag_of_phones", metric="cka", **here).value == pytest.approx(linear_cka(x, bag), abs=1e-9)
    assert one(found, setting="text", metric="over_phones", **here).value == pytest.approx(cka.value - phones.value, abs=1e-9)
    assert one(found, setting="random", metric="cka", **here).value == pytest.approx(linear_cka(x, measure.sample.random), abs=1e-9)


def test_the_interval_draws_words_through_their_pseudo_values(corpus, measured):
    measure, found = measured
    words, x = by_hand(measure, word_features(FakeCodec(), corpus, measure.sample.types.tokens, "audio"), "1")
    y = np.stack([measure.space.of[word] for word in words])
    pseudo = pseudo_values(gram(x), gram(y))
    low, high = interval((multiplicities(len(words), 1000, 0) @ pseudo / len(words))[:, None])
    score = one(found, setting="text", metric="cka", layer="1")
    assert (score.low, score.high) == pytest.approx((float(low[0]), float(high[0])), abs=1e-9)
    block = next(each for each in found.items if each.layer == "1")
    np.testing.assert_allclose(block.value, pseudo, atol=1e-9)
    assert list(block.a) == words == list(block.cluster) and set(block.b) == {"given"}
    assert block.value.mean() == pytest.approx(score.value, abs=1e-9)


def test_the_interval_over_few_mini_batches_is_students(corpus, measured):
    measure, found = measured
    words, x = by_hand(measure, word_features(FakeCodec(), corpus, measure.sample.types.tokens, "audio"), "1")
    y = np.stack([measure.space.of[word] for word in words])
    whole = len(words) // 10
    left = []
    for batch in range(whole):
        kept = np.delete(np.arange(10 * whole), np.s_[10 * batch : 10 * batch + 10])
        left.append(minibatch_cka(x[kept], y[kept], 10))
    score = one(found, setting="text", metric="cka_minibatch", layer="1")
    spread = np.sqrt((whole - 1) / whole * np.square(left - np.mean(left)).sum())  # the jackknife's
    assert whole == score.clusters == 5 and score.value == pytest.approx(minibatch_cka(x, y, 10))
    assert score.high - score.value == pytest.approx(2.776445 * spread, rel=1e-6) == score.value - score.low  # t(4)


def test_null_delta_z_and_p_belong_together(measured):
    _, found = measured
    for ending in ("", "_by_length"):
        for score in pick(found, setting="text", metric="cka"):
            at = {"setting": "text", "layer": score.layer}
            null, delta, z, p = (one(found, metric=f"{name}{ending}", **at) for name in ("null", "delta", "z", "p"))
            assert delta.value == pytest.approx(score.value - null.value) and delta.low == pytest.approx(score.low - null.value)
            assert z.value / z.high == pytest.approx(delta.value / delta.high) and null.low < null.value < null.high
            assert 1 / 1001 <= p.value <= 1 and p.low == p.high == p.value and round(p.value * 1001, 6).is_integer()
            assert (p.value < 0.025) == (score.value > null.high)
            if not ending:
                assert score.chance == null.value and abs(null.value) < 0.02


def test_chance_of_the_biased_value_is_its_mean_over_permutations(corpus, measured):
    measure, found = measured
    words, x = by_hand(measure, word_features(FakeCodec(), corpus, measure.sample.types.tokens, "audio"), "3")
    y = np.stack([measure.space.of[word] for word in words])
    random = np.random.default_rng(8)
    values = [linear_cka(x, y[random.permutation(len(y))], debiased=False) for _ in range(400)]
    score = one(found, setting="text", metric="cka_biased", layer="3")
    assert abs(score.chance - np.mean(values)) < 4 * np.std(values) / 20 and score.chance > 0.05
    assert one(found, setting="text", metric="cka_rbf", layer="3").chance == pytest.approx(0, abs=1e-12)


def test_rows_are_unique_finite_and_declared(measured, tmp_path_factory):
    _, found = measured
    table = found.score_table()  # raises where keys are shared
    assert np.isfinite(table[["value", "low", "high"]].to_numpy()).all()
    assert (table["low"] <= table["value"] + 1e-12).all() and (table["value"] <= table["high"] + 1e-12).all()
    for score in found.scores:
        name = f"{score.setting}/{score.metric}".strip("/")
        assert METRICS[name] == bool(score.layer), name
    assert len({key(score) for score in found.scores}) == len(found.scores)
    assert "probe/text_alignment/text/cka/L01" in {key(score) for score in found.scores}
    assert [score.n for score in pick(found, metric="cka_at_50", layer="1")] == [50] or len(WORDS) <= 50
    assert not pick(found, metric="cka_at_100") and len(pick(found, metric="words_without_frame")) == 1


def test_two_runs_are_the_same_cached_or_not_and_draw_nothing_global(corpus, measured, tmp_path):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    kept = probe(corpus, cache=str(tmp_path))
    assert isinstance(kept, Probe)
    fill(FakeCodec(), {"text_alignment": kept}, (0, 2))
    fill(FakeCodec(), {"text_alignment": kept}, (1, 2))
    codec = FakeCodec()
    first, second = results(kept, codec), results(kept, codec)
    assert not codec.encoded, "all of it was in the cache"
    assert repr(first.scores) == repr(second.scores) == repr(measured[1].scores)
    assert first.item_table().equals(measured[1].item_table())
    assert torch.equal(torch_state, torch.get_rng_state()) and (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_slices_and_modes_have_rows_of_their_own(corpus):
    found = results(probe(corpus, slices=["audio", "features"], modes=["cumulative", "single", "residual"]), FakeCodec())
    found.score_table()
    modes = {"cumulative": {"latent", "1", "2", "3"}, "single": {"1", "2", "3"}, "residual": {"2", "3"}}
    for mode, layers in modes.items():
        assert {score.layer for score in pick(found, metric="cka", setting="text", layer_mode=mode)} == layers
    assert {score.slice for score in pick(found, metric="cka")} == {"audio", "features"}


def meaning(corpus):
    """Vectors that planted meaning's own are a rotation of."""
    codec = Planted("meaning", corpus)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((64, 64)))[0]
    table = codec._tables[0].double().numpy()
    return Vectors({word: table[number] @ turn for word, number in codec.symbols.items()})


def test_planted_meaning_aligns_with_meaning_and_planted_phones_with_phones(corpus):
    text = meaning(corpus)
    for kind, aligned in (("meaning", True), ("phones", False), ("speaker", False), ("noise", False)):
        found = results(probe(corpus, text=text), Planted(kind, corpus))
        score, p = (one(found, setting="text", metric=metric, layer="1") for metric in ("cka", "p"))
        bag = one(found, setting="bag_of_phones", metric="cka", layer="1")
        null = one(found, setting="random", metric="cka", layer="1")
        assert null.low - 0.05 < 0 < null.high + 0.05, kind
        if aligned:
            assert score.value > 0.9 and score.low > 0.5 and p.value < 0.002
            assert one(found, setting="text", metric="over_phones", layer="1").low > 0
        else:
            assert score.low < 0.05 and abs(score.value) < 0.1, (kind, score)
        if kind == "phones":
            assert bag.value > 0.5 and bag.low > 0.3
            assert one(found, setting="text", metric="over_phones", layer="1").low <= 0


def test_beyond_form_leaves_meaning_and_takes_sound_out(tmp_path):
    from laminal.lexicon import pronounce, wordnet

    random = np.random.default_rng(5)
    short = sorted(word for word in pronounce.words() if word.isalpha() and len(word) < 9)
    words = [word for word in random.choice(short, 1200, replace=False).tolist() if wordnet.ranks(word)][:160]
    assert len(words) == 160
    corpus = noise_words(tmp_path, words, random)
    bag = phone_counts(words) @ random.standard_normal((len(pronounce.PHONES), 20))
    other = random.standard_normal((len(words), 20))
    found = results(probe(corpus, text=Vectors(dict(zip(words, bag, strict=True)))), Planted("phones", corpus))
    assert one(found, setting="text", metric="cka", layer="1").low > 0.2
    score = one(found, setting="text", metric="beyond_form", layer="1")
    assert score.low < 0.05 < 0.2 < one(found, setting="phones_as_speech", metric="cka").value
    assert abs(score.chance) < 0.02
    codec = Planted("meaning", corpus)
    table = codec._tables[0].double().numpy()
    both = {word: 3 * vector / np.linalg.norm(vector) + np.pad(part, (0, 44)) / 9
            for word, part, vector in zip(words, bag + other, (table[codec.symbols[word]] for word in words), strict=True)}  # fmt: skip
    found = results(probe(corpus, text=Vectors(both)), codec)
    assert one(found, setting="text", metric="beyond_form", layer="1").low > 0.2
    assert one(found, setting="text", metric="p_beyond_form", layer="1").value < 0.002


def test_beyond_controls_takes_out_how_words_begin_and_no_more(tmp_path):
    from laminal.lexicon import pronounce, wordnet

    random = np.random.default_rng(6)
    short = sorted(word for word in pronounce.words() if word.isalpha() and len(word) < 9)
    words = [word for word in random.choice(short, 2000, replace=False).tolist() if wordnet.ranks(word)][:220]
    corpus = noise_words(tmp_path, words, random)
    begin = phones_at(words, (0, 1))
    pieces = begin @ random.standard_normal((begin.shape[1], 64))  # as a text model's: words that begin alike are near
    meaning = random.standard_normal((len(words), 64))
    codec = Planted("meaning", corpus)
    rows = [codec.symbols[word] for word in words]

    def heard(layer, text):
        codec._tables[0][rows] = torch.tensor(layer / np.linalg.norm(layer, axis=1, keepdims=True), dtype=torch.float32)
        found = results(probe(corpus, text=Vectors(dict(zip(words, text, strict=True)))), codec)
        return [
            one(found, setting="text", metric=metric, layer="1")
            for metric in ("beyond_form", "p_beyond_form", "beyond_controls", "p_beyond_controls")
        ]

    form, p_form, rest, p_rest = heard(pieces + random.standard_normal(pieces.shape), pieces + random.standard_normal(pieces.shape))
    assert form.low > 0.1 and p_form.value < 0.002
    assert rest.low < 0.03 and abs(rest.chance) < 0.02 and p_rest.value > 0.005
    _, _, rest, p_rest = heard(pieces + 3 * meaning, pieces + 3 * meaning)
    assert rest.low > 0.3 and p_rest.value < 0.002


def test_beyond_controls_takes_out_who_says_a_word(tmp_path):
    from laminal.lexicon import pronounce, wordnet

    random = np.random.default_rng(7)
    short = sorted(word for word in pronounce.words() if word.isalpha() and len(word) < 9)
    words = [word for word in random.choice(short, 2000, replace=False).tolist() if wordnet.ranks(word)][:220]
    spoken = noise_words(tmp_path, words, random)
    corpus = Corpus("books", tuple(replace(each, speaker=f"reader{number % 11}") for number, each in enumerate(spoken) if number < 11))
    reader = np.array([next(number for number, each in enumerate(corpus) if word in {said.label for said in each.words}) for word in words])
    voices, books, own = (random.standard_normal((11, 64)), random.standard_normal((11, 64)), random.standard_normal((220, 64)))
    codec = Planted("meaning", corpus)
    layer = 2 * voices[reader] + random.standard_normal((220, 64)) + own
    codec._tables[0][[codec.symbols[word] for word in words]] = torch.tensor(
        layer / np.linalg.norm(layer, axis=1)[:, None], dtype=torch.float32
    )

    def measured(text):
        found = results(probe(corpus, text=Vectors(dict(zip(words, text, strict=True))), least=1), codec)
        return [one(found, setting="text", metric=metric, layer="1") for metric in ("beyond_form", "beyond_controls", "p_beyond_controls")]

    form, rest, p = measured(books[reader] + random.standard_normal((220, 64)))
    assert form.low > 0.1 and rest.low < 0.02 and abs(rest.value) < 0.05 and p.value > 0.005
    _, rest, p = measured(books[reader] + own)
    assert rest.low > 0.05 and p.value < 0.002


def test_shares_of_speakers_are_those_of_what_could_be_read():
    random = np.random.default_rng(8)
    tokens = tuple(Token("abc"[number % 3], "u", f"s{random.integers(4)}", number / 2, number / 2 + 0.4) for number in range(12))
    types, ok = Types(("a", "b", "c"), tokens, np.arange(12) % 3), np.arange(12) % 6 != 5
    found = speaker_shares(types, WordFeatures(("1",), np.zeros((12, 1, 1), np.float32), ok, 0))
    assert found.shape == (3, len({token.speaker for token in tokens}))
    for word, row in zip("abc", found, strict=True):
        said = [token.speaker for token, there in zip(tokens, ok, strict=True) if there and token.word == word]
        if said:
            expected = [said.count(name) / len(said) for name in sorted({token.speaker for token in tokens})]
        assert np.allclose(row, expected) if said else np.isnan(row).all()


def test_powers_of_places_are_means_over_what_could_be_read():
    random = np.random.default_rng(9)
    starts = random.uniform(0, 9, 12)
    tokens = tuple(Token("abc"[number % 3], "u", "s", float(start), float(start) + 0.4) for number, start in enumerate(starts))
    types, ok = Types(("a", "b", "c"), tokens, np.arange(12) % 3), np.arange(12) != 4
    found = place_powers(types, WordFeatures(("1",), np.zeros((12, 1, 1), np.float32), ok, 0))
    read = starts[ok] + 0.2
    for word in range(3):
        own = [(starts[token] + 0.2 - read.mean()) / read.std() for token in range(12) if ok[token] and token % 3 == word]
        assert np.allclose(found[word], [np.mean(np.array(own) ** power) for power in (1, 2, 3, 4)])


def test_phones_at_places_are_those_of_the_dictionary():
    from laminal.lexicon import pronounce

    words = ["a", "beat", "bit", "think", "i"]
    found = phones_at(words, (0, -1))
    assert found.shape[0] == 5 and set(found.sum(1)) == {2.0} and found.any(0).all()
    for one_word, row in zip(words, found, strict=True):
        phones = pronounce.pronunciations(one_word)[0]
        for other, others in zip(words, found, strict=True):
            theirs = pronounce.pronunciations(other)[0]
            assert row @ others == (phones[0] == theirs[0]) + (phones[-1] == theirs[-1])
    second = phones_at(words, (1,))
    assert [bool(row.any()) for row in second] == [len(pronounce.pronunciations(word)[0]) > 1 for word in words]


def noise_words(folder, words, random):
    """Two speakers say every word once, in noise."""
    from laminal import audio
    from laminal.corpora.base import Interval, Utterance
    from laminal.lexicon.pronounce import pronunciations

    made = []
    for speaker in range(2):
        for number in range(0, len(words), 20):
            spans, phones, tick = [], [], 5
            for word in words[number : number + 20]:
                said = pronunciations(word)[0]
                length = 6 * len(said) + int(random.integers(4, 12))
                spans.append(Interval(word, tick / 100, (tick + length) / 100))
                edges = np.linspace(tick / 100, (tick + length) / 100, len(said) + 1)
                phones += [Interval(p, float(a), float(b)) for p, a, b in zip(said, edges[:-1], edges[1:], strict=True)]
                tick += length + 2
            wav = (0.1 * random.standard_normal((tick + 20) * 160)).astype(np.float32)
            path = folder / f"{speaker}-{number}.wav"
            audio.write(path, wav, 16_000)
            made.append(Utterance(f"{speaker}-{number}", path, f"s{speaker}", tuple(spans), tuple(phones), "", len(wav) / 16_000))
    return Corpus("words", tuple(made))


def test_only_test_speakers_and_words_said_often_enough_count(corpus):
    split = make_split(corpus, seed=0, speakers=0.5)
    measure = probe(corpus, split, least=3, tokens=2)
    tokens = measure.sample.types.tokens
    assert {token.speaker for token in tokens} <= split.test_speakers
    said = candidates(measure.corpus, 1)
    assert all(len(said[word]) >= 3 for word in measure.sample.types.words)
    assert max(np.bincount(measure.sample.types.word)) == 2
    assert len(probe(corpus, words=31).sample.types.words) == 31


def test_tokens_come_from_as_many_speakers_as_there_are(corpus):
    said = candidates(corpus, 2)
    types = drawn(said, 1000, 3, 0)
    for place, word in enumerate(types.words):
        mine = [token for token, number in zip(types.tokens, types.word, strict=True) if number == place]
        assert len({token.speaker for token in mine}) == min(3, len({token.speaker for token in said[word]}))
    assert sorted(types.words) != list(types.words), "neighbours in the alphabet would share a mini-batch"


def test_type_means_leave_unreadable_words_out(corpus):
    types = drawn(candidates(corpus, 2), 40, 3, 0)
    found = word_features(FakeCodec(), corpus, types.tokens, "audio")
    gone = types.word == 7
    ok = found.ok & ~gone
    ok[np.flatnonzero(types.word == 9)[0]] = False
    means, kept = type_means(types, replace(found, ok=ok))
    assert kept.sum() == 39 and not kept[7] and means.shape == (4, 39, 6)
    rows = np.flatnonzero(types.word == 9)[1:]
    np.testing.assert_allclose(means[2, 8], found.values[rows, 2].astype(np.float64).mean(0), rtol=1e-12)
    length = durations(types, replace(found, ok=ok))
    seconds = np.mean([types.tokens[row].end - types.tokens[row].start for row in rows])
    assert np.isnan(length[7, 0]) and length[9, 0] == pytest.approx(math.log(seconds))
    powers = duration_powers(types, replace(found, ok=ok))
    logs = np.log([token.end - token.start for token, there in zip(types.tokens, ok, strict=True) if there])
    own = (np.log([types.tokens[row].end - types.tokens[row].start for row in rows]) - logs.mean()) / logs.std()
    assert np.isnan(powers[7]).all() and powers[9].tolist() == pytest.approx([np.mean(own**power) for power in (1, 2, 3, 4)])


# bad input


def test_no_word_in_the_text_space_is_a_wrong_request(corpus):
    with pytest.raises(RequestError, match=r"text space given: it has none of the \d+ words of noise \(accept, .* give a space"):
        results(probe(corpus, text=Vectors({"chat": np.ones(3)})), FakeCodec())


def test_too_few_words_are_counted_not_scored(corpus):
    few = Vectors({word: vector for word, vector in spoken().of.items() if word < "f"})
    found = results(probe(corpus, text=few), FakeCodec())
    (only,) = found.undefined
    count = sum(word in few.of for word in candidates(corpus, 2))
    assert not found.scores and only.what == "all"
    assert only.reason.startswith(f"{count} words of test speakers are said 2 times or more") and "at least 30 are needed" in only.reason
    silent = Corpus("silent", tuple(replace(utterance, words=()) for utterance in corpus))
    (only,) = results(probe(silent), FakeCodec()).undefined
    assert only.reason.startswith("0 words")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_cost_their_layer_alone(corpus, measured, bad):
    class Broken(FakeCodec):
        def layers(self, wav_or_codes):
            layers = super().layers(wav_or_codes)
            layers["2"] = layers["2"].clone()
            layers["2"][0, 0] = bad
            return layers

    found = results(probe(corpus), Broken())
    assert {score.layer for score in pick(found, metric="cka", setting="text")} == {"latent", "1", "3"}
    (said,) = [each for each in found.undefined if "NaN or infinity" in each.reason]
    bad_rows = int(said.reason.split(" of ")[0])  # one word of each look-up
    assert said.what == "text: audio/cumulative/2" and 0 < bad_rows < 10
    kept = [replace(score) for score in found.scores if score.layer in ("latent", "1", "3", "")]
    assert repr(kept) == repr([score for score in measured[1].scores if score.layer in ("latent", "1", "3", "")])


def test_text_vectors_that_are_no_numbers_cost_their_words_alone(corpus):
    text = spoken()
    whole = probe(corpus, text=text).sample.types.words
    spoilt = {word: vector.copy() for word, vector in text.of.items()}
    lost = sorted(whole)[:2]
    spoilt[lost[0]][1], spoilt[lost[1]][:] = np.nan, np.inf
    found = results(probe(corpus, text=Vectors(spoilt)), FakeCodec())
    (said,) = [each for each in found.undefined if each.what == "words"]
    assert said.reason == f"text space given: the vectors of 2 words are not finite ({lost[0]}, {lost[1]}): left out"
    assert one(found, setting="text", metric="cka", layer="1").n == len(whole) - 2
    less = {word: vector for word, vector in text.of.items() if word not in lost}
    assert repr(found.scores) == repr(results(probe(corpus, text=Vectors(less)), FakeCodec()).scores)


def test_layers_that_do_not_vary_and_unreadable_files_are_named(corpus, tmp_path):
    class Flat(FakeCodec):
        def layers(self, wav_or_codes):
            return {name: layer * (0 if name == "1" else 1) for name, layer in super().layers(wav_or_codes).items()}

    found = results(probe(corpus), Flat())
    assert not pick(found, metric="cka", layer="1") and any("do not vary" in each.reason for each in found.undefined)
    many = [*corpus, *(replace(u, id=f"{u.id}-again") for u in corpus)]
    broken = Corpus("noise", tuple(replace(u, path=tmp_path / "gone.wav") if number == 3 else u for number, u in enumerate(many)))
    found = results(probe(broken, tokens=100), FakeCodec())
    assert any(each.what == f"text, audio: {broken[3].id}" for each in found.undefined) and pick(found, metric="cka")


@pytest.mark.parametrize("change,message", [
    ({"permutations": 999}, "text_alignment.permutations=999: at least 1000"), ({"words": 10}, "words=10: at least 30"),
    ({"draws": 10}, "draws=10"), ({"batch": 3}, "batch=3: at least 4"), ({"slices": ["word"]}, "slices: 'word' is none of audio, features"),
    ({"modes": ["sum"]}, "modes: 'sum'"), ({"text": "glove"}, "is no text space; give one of minilm, .* moshi:NAME"),
    ({"text": "moshi"}, "name the model, as moshi:FOLDER"), ({"text": "vectors:/nowhere/v.txt"}, "no such file"),
])  # fmt: skip
def test_wrong_requests_say_the_rule(corpus, change, message):
    with pytest.raises(RequestError, match=message):
        probe(corpus, **change)


# the speech input of language models


class Sixteen(FakeCodec):
    codebook_size = 16


@pytest.mark.parametrize("kind", ["moshi", "moshi_user", "mimo_audio"])
def test_what_a_language_model_hears_is_measured_on_whole_utterances(corpus, tmp_path, kind):
    if kind == "mimo_audio":
        mimo_audio(tmp_path)
    else:
        moshi(tmp_path)
    codec = Sixteen(codebooks=9)
    if kind == "mimo_audio":
        codec.codebook_sizes = [16, 16, *[8] * 7]
        codec.quantize = lambda latent: torch.minimum(FakeCodec.quantize(codec, latent), torch.tensor([15, 15, *[7] * 7])[None, :, None])
    space = open_space(f"{kind}:{tmp_path}")
    measure = probe(corpus, text=f"{kind}:{tmp_path}")
    found = results(measure, codec)
    found.score_table()
    layers = [score.layer for score in pick(found, setting="llm_input", metric="cka")]
    assert layers == (["8"] if kind == "mimo_audio" else [str(book) for book in range(1, 9)])
    assert {score.slice for score in pick(found, setting="llm_input")} == {"features"}
    assert {score.slice for score in pick(found, setting="text")} == {"audio"}
    tokens = measure.sample.types.tokens
    words = heard_words(codec, measure.corpus, tokens, space, None)
    utterance = next(each for each in corpus if each.id == tokens[5].utterance_id)
    codes = codec.encode(corpus.wav(utterance, 16_000)[None])[0, :8]
    vectors = space.heard(codes)["8"]
    rate = 50 / space.group
    inside = [row for row in range(len(vectors)) if tokens[5].start <= (row + 0.5) / rate <= tokens[5].end]
    if inside:
        np.testing.assert_allclose(words.values[5, -1], vectors[inside].mean(0).numpy(), atol=1e-5)
    assert inside or kind == "mimo_audio"


def test_a_codec_that_the_language_model_does_not_read_is_named(corpus, tmp_path):
    moshi(tmp_path)
    found = results(probe(corpus, text=f"moshi:{tmp_path}"), FakeCodec())
    (said,) = [each for each in found.undefined if each.what.startswith("llm_input")]
    assert said.reason == "it reads 8 codebooks of 16 codes, and fake has 3 of 40" and pick(found, setting="text", metric="cka")
    assert not unfit(Sixteen(codebooks=8), open_space(f"moshi:{tmp_path}"))


# beside the other probes


def test_two_codecs_are_compared_word_by_word(corpus):
    text = meaning(corpus)
    found = {kind: results(probe(corpus, text=text), Planted(kind, corpus)) for kind in ("meaning", "noise")}
    compared = compare.paired([found["meaning"]], [found["noise"]])
    first = next(each for each in compared if each.probe == "text_alignment" and each.layer == "1")
    truth = [one(found[kind], setting="text", metric="cka", layer="1").value for kind in ("meaning", "noise")]
    assert (first.a, first.b) == pytest.approx(truth) and first.low > 0.3 and first.p < 0.01 and first.higher_is_better
    other = results(probe(corpus, text=spoken()), Planted("meaning", corpus))
    for block in other.items:
        object.__setattr__(block, "b", ["another"] * len(block.a))
    with pytest.raises(RequestError, match="different items"):
        compare.paired([found["meaning"]], [other])


def test_the_twin_builds_the_probe(corpus):
    section = config.plain(config.twin("probes", "text_alignment"))
    assert section.pop("_target_").endswith("TextAlignment") and section["text"] == "minilm"
    found = results(TextAlignment(corpus, None, **section | {"subsets": 2, "words": 60}), FakeCodec())
    assert one(found, setting="text", metric="cka", layer="1", slice="features").unit == "CKA with minilm"
    assert json.dumps([score.value for score in found.scores])


def test_a_training_probes_it_and_can_rank_checkpoints_by_it(corpus, measured):
    found = run_probes(FakeCodec(), {"text_alignment": probe(corpus)}, Context(run="r", codec="fake", revision="r"), tolerant=True)
    assert not found.failures and repr(found.scores) == repr(measured[1].scores)
    ranks = headline_metrics(found)
    assert ranks["probe/text_alignment/text/cka/L01"] == one(found, setting="text", metric="cka", layer="1").value
    gone = run_probes(FakeCodec(), {"text_alignment": probe(corpus, text=Vectors({"chat": np.ones(3)}))}, found.context, tolerant=True)
    assert "it has none of the" in gone.failures["text_alignment"] and not gone.scores
