"""word_pairs end to end: numbers against the slow double loop, intervals, splits, and codecs whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from laminal import config
from laminal.codecs.planted import Planted
from laminal.corpora.base import Corpus
from laminal.corpora.split import make_split
from laminal.errors import RequestError
from laminal.features import word_features
from laminal.measures.bootstrap import multiplicities
from laminal.probes.base import Probe
from laminal.probes.pair_sampling import SETTINGS, TIERS
from laminal.probes.word_pairs import WordPairs, conclusive
from laminal.results import Context, Items, Results, Score, Undefined
from oracle_pairs import FakeCodec, area, distance, mean, noise_corpus, spread

ARGUMENTS = dict(
    style="matched", slices=["audio", "features"], distances=["euclidean", "cosine", "scaled"], modes=["cumulative"],
    maximum=300, tier_maximum=300, token_pairs=2, randoms=2, draws=1000, items=["euclidean", "cosine"], seed=0,
)  # fmt: skip


def probe(corpus, split=None, **changes):
    return WordPairs(corpus, split, **(ARGUMENTS | changes))


def results(measure, codec):
    found = Results(Context(run="r", codec=codec.name, revision=codec.revision, corpus=measure.corpus.name))
    for each in measure.run(codec):
        {Score: found.scores, Items: found.items, Undefined: found.undefined}[type(each)].append(each)
    return found


def pick(found, **keys):
    return [score for score in found.scores if all(getattr(score, key) == value for key, value in keys.items())]


def one(found, **keys):
    (score,) = pick(found, **keys)
    return score


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=10, utterances=3)


@pytest.fixture(scope="module")
def split(corpus):
    return make_split(corpus, seed=0, speakers=0.5)


@pytest.fixture(scope="module")
def measured(corpus, split):
    measure = probe(corpus, split)
    return measure, results(measure, FakeCodec())


def triples(measure, features, setting, split, layer, kind):
    """Token pairs of one setting and split with their distance, by the slow loop."""
    sample = measure.sample(0)
    pairs = sample.sets[setting]
    vectors = features.values[:, features.layers.index(layer)]
    unit = spread(vectors) if kind == "scaled" else 1.0
    return [
        (sample.tokens[a].word, sample.tokens[b].word, distance(vectors[a], vectors[b], kind, unit))
        for a, b, group in zip(pairs.first, pairs.second, pairs.group, strict=True)
        if pairs.member[split][group]
    ]


@pytest.mark.parametrize("slice,layer,kind,tier", [
    ("audio", "latent", "euclidean", "all"), ("features", "2", "cosine", "all"), ("audio", "3", "scaled", "cross"),
    ("features", "1", "scaled", "all"),
])  # fmt: skip
def test_every_number_equals_the_double_loop(corpus, measured, slice, layer, kind, tier):
    measure, found = measured
    features = word_features(FakeCodec(), corpus, measure.sample(0).tokens, slice)
    key = {"slice": slice, "layer": layer, "distance": kind, "split": tier, "layer_mode": "cumulative", "seed": 0}
    compared = 0
    for setting in SETTINGS:
        if not pick(found, setting=setting, metric="mean", **key):
            continue
        pairs = triples(measure, features, setting, tier, layer, kind)
        random = triples(measure, features, f"random_for_{setting}", tier, layer, kind)
        near, far = mean(pairs), mean(random)
        truth = {"mean": near, "minus_random": near - far, "over_random": (near - far) / far, "auc": area(pairs, random)}
        for metric, value in truth.items():
            score = one(found, setting=setting, metric=metric, **key)
            assert math.isclose(score.value, value, rel_tol=1e-9, abs_tol=1e-9), (setting, metric)
            assert score.n == len({frozenset((a, b)) for a, b, _ in pairs})
            assert score.clusters == len({word for a, b, _ in pairs for word in (a, b)})
        assert math.isclose(one(found, setting=setting, metric="mean", **key).chance, far, rel_tol=1e-9)
        assert math.isclose(one(found, setting=f"random_for_{setting}", metric="mean", **key).value, far, rel_tol=1e-9)
        compared += 1
    assert compared == 5 if tier == "all" else compared


def test_the_interval_is_of_word_types_drawn_alike_for_a_setting_and_its_random_pairs(corpus, measured):
    measure, found = measured
    sample = measure.sample(0)
    features = word_features(FakeCodec(), corpus, sample.tokens, "audio")
    key = {"slice": "audio", "layer": "1", "distance": "euclidean", "split": "all", "setting": "near_homophone"}
    pairs, random = (triples(measure, features, name, "all", "1", "euclidean") for name in ("near_homophone", "random_for_near_homophone"))
    differences, areas = [], []
    for counts in multiplicities(len(sample.words), 1000, 0)[:150]:
        times = dict(zip(sample.words, counts, strict=True))
        differences.append(mean(pairs, times) - mean(random, times))
        areas.append(area(pairs, random, times) if len(areas) < 20 else areas[0])
    score = one(found, metric="minus_random", **key)
    low, high = np.quantile(differences, [0.025, 0.975])
    width = score.high - score.low
    assert abs(low - score.low) < 0.2 * width and abs(high - score.high) < 0.2 * width
    auc = one(found, metric="auc", **key)
    assert auc.low - 0.1 < min(areas) and max(areas) < auc.high + 0.1 and auc.low < auc.value < auc.high


def test_index_is_the_formula(corpus):
    measure = probe(corpus, slices=["audio"])
    codec = Planted("meaning", corpus)
    found = results(measure, codec)
    features = word_features(codec, corpus, measure.sample(0).tokens, "audio")
    part = {
        name: mean(triples(measure, features, name, "all", "1", "cosine"))
        for setting in ("near_homophone", "synonym_core")
        for name in (setting, f"random_for_{setting}")
    }
    truth = (part["random_for_near_homophone"] - part["near_homophone"]) / (part["random_for_synonym_core"] - part["synonym_core"])
    score = one(found, metric="phonsem", layer="1", distance="cosine")
    assert math.isclose(score.value, truth, rel_tol=1e-9, abs_tol=1e-12)
    assert score.low < score.value < score.high and math.isnan(score.chance)


def test_index_is_undefined_where_synonyms_are_no_closer(corpus):
    found = results(probe(corpus, slices=["audio"]), Planted("phones", corpus))
    assert not pick(found, metric="phonsem", layer="1")
    assert any("phonsem" in each.what and "holds 0" in each.reason for each in found.undefined)


def test_two_runs_are_the_same_and_the_codec_is_untouched(corpus, split, measured):
    codec = FakeCodec()
    books, state, numpy_state = codec.books.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = results(probe(corpus, split), codec)
    assert repr(again.scores) == repr(measured[1].scores)
    assert again.item_table().equals(measured[1].item_table())
    assert torch.equal(books, codec.books) and torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # noqa: NPY002


def test_the_cache_changes_no_score(corpus, split, measured, tmp_path):
    kept = probe(corpus, split, cache=str(tmp_path))
    cold, warm = results(kept, FakeCodec()), results(kept, FakeCodec())
    assert repr(cold.scores) == repr(warm.scores) == repr(measured[1].scores)
    assert kept.cache.hits and not kept.cache.corrupt


def test_rows_are_unique_finite_and_complete(measured):
    _, found = measured
    table = found.score_table()  # raises where keys are shared
    assert np.isfinite(table[["value", "low", "high"]].to_numpy()).all()
    assert ((table["low"] <= table["value"] + 1e-12) & (table["value"] <= table["high"] + 1e-12)).mean() > 0.99
    assert set(table["split"]) >= {"all", "new_word", "cross"} and set(table["layer"]) == {"", "latent", "1", "2", "3"}
    assert (table[table["metric"] == "auc"]["chance"] == 0.5).all() and (table[table["metric"] == "minus_random"]["chance"] == 0).all()
    scaled, plain = (pick(found, metric="auc", distance=kind) for kind in ("scaled", "euclidean"))
    assert [replace(score, distance="euclidean") for score in scaled] == plain
    assert len(pick(found, metric="words_without_frame")) == 2 and len(pick(found, metric="random_from_next_bin")) == len(SETTINGS)


def test_items_are_the_pairs_behind_the_scores(measured):
    measure, found = measured
    table = found.item_table().to_pandas()
    key = (table.setting == "near_homophone") & (table.split == "all") & (table.slice == "audio") & (table.layer == "2")
    rows = table[key & (table.distance == "cosine")]
    near = mean([(*cluster.split("|"), value) for cluster, value in zip(rows.cluster, rows.value, strict=True)])
    score = one(found, setting="near_homophone", split="all", slice="audio", layer="2", distance="cosine", metric="mean")
    assert math.isclose(score.value, near, rel_tol=1e-12)
    names = {token.name: token for token in measure.sample(0).tokens}
    for a, b, cluster in zip(rows.a, rows.b, rows.cluster, strict=True):
        assert cluster == f"{names[a].word}|{names[b].word}"
    assert set(table.distance) == {"euclidean", "cosine"} and set(table.setting) >= {"random_for_synonym", "synonym"}


def test_modes_have_rows_of_their_own(corpus):
    found = results(probe(corpus, modes=["cumulative", "single", "residual"], slices=["features"], items=[]), FakeCodec())
    layers = {mode: {s.layer for s in pick(found, metric="mean", layer_mode=mode)} for mode in ("cumulative", "single", "residual")}
    assert layers == {"cumulative": {"latent", "1", "2", "3"}, "single": {"1", "2", "3"}, "residual": {"2", "3"}}
    assert {score.layer_mode for score in pick(found, metric="auc")} == {"cumulative"} and not found.items
    key = {"setting": "synonym", "metric": "mean", "layer": "1", "distance": "euclidean"}
    assert one(found, layer_mode="cumulative", **key).value == one(found, layer_mode="single", **key).value
    assert not any("auc" in each.what for each in found.undefined)


PLANTED = {  # setting: is it closer than random? None: not asked
    "phones": {"same_word": True, "near_homophone": True, "synonym": False, "synonym_core": False, "same_speaker": False},
    "meaning": {"same_word": True, "near_homophone": False, "synonym": True, "synonym_core": True, "same_speaker": False},
    "speaker": {"same_word": False, "near_homophone": False, "synonym": False, "synonym_core": False, "same_speaker": True},
    "noise": dict.fromkeys(SETTINGS, False),
}


def ordering(found, kind):
    for setting, closer in PLANTED[kind].items():
        for score in pick(found, setting=setting, metric="over_random", split="all", layer_mode="cumulative"):
            where = (kind, setting, score.slice, score.layer, score.distance, score.value, score.low, score.high)
            if closer:
                assert score.high < 0, where
            else:
                slack = (score.high - score.low) / 2  # some of many intervals miss 0 by chance, none by far
                assert score.low - slack < 0 < score.high + slack, where


@pytest.mark.parametrize("kind", list(PLANTED))
def test_planted_codecs_are_told_apart(corpus, kind):
    found = results(probe(corpus, items=[]), Planted(kind, corpus))
    assert {score.setting for score in pick(found, metric="over_random")} == set(SETTINGS)
    ordering(found, kind)


def test_planted_codecs_keep_their_order_in_every_tier(corpus, split):
    found = results(probe(corpus, split, slices=["audio"], items=[]), Planted("phones", corpus))
    tiers = {score.split for score in pick(found, setting="near_homophone", metric="auc")}
    assert len(tiers) >= 3 and all(score.low > 0.5 for score in pick(found, setting="near_homophone", metric="auc"))


def test_too_few_pairs_are_named_not_scored(corpus, split):
    small = Corpus("small", tuple(utterance for utterance in corpus if utterance.speaker in ("s0", "s1"))[:2])
    found = results(probe(small), FakeCodec())
    assert any(each.what.startswith("synonym_core (all") and "fewer than 10 type pairs" in each.reason for each in found.undefined)
    assert not pick(found, setting="synonym_core", metric="mean")
    silent = Corpus("silent", tuple(replace(utterance, words=()) for utterance in corpus))
    (only,) = results(probe(silent), FakeCodec()).undefined
    assert only.what == "all" and "silent" in only.reason


def test_features_without_spread_are_undefined(corpus):
    class Flat(FakeCodec):
        def latent(self, wav):
            return super().latent(wav) * 0

        def layers(self, wav_or_codes):
            return {name: layer * 0 for name, layer in super().layers(wav_or_codes).items()}

    found = results(probe(corpus, items=[]), Flat())
    assert {score.distance for score in pick(found, metric="mean")} == {"euclidean"}
    assert any("mean" in each.what and "cosine" in each.what for each in found.undefined)
    assert all(score.value == 0 for score in pick(found, metric="mean"))


def test_an_unreadable_utterance_costs_its_pairs_only(corpus, tmp_path):
    broken = [replace(u, path=tmp_path / "gone.wav") if number == 4 else u for number, u in enumerate(corpus)]
    found = results(probe(Corpus("noise", tuple(broken)), slices=["audio"]), FakeCodec())
    whole = results(probe(corpus, slices=["audio"]), FakeCodec())
    assert sum(broken[4].id in each.what for each in found.undefined) == 1
    names = {name.split(":")[0] for items in found.items for name in (*items.a, *items.b)}
    assert broken[4].id not in names and len(names) == len(broken) - 1
    kept, before = (sum(len(items.value) for items in each.items) for each in (found, whole))
    assert 0.5 * before < kept < before


@pytest.mark.parametrize("change,message", [
    ({"slices": ["word"]}, "word_pairs.slices: 'word' is none of audio, features"),
    ({"distances": ["l1"]}, "word_pairs.distances: 'l1'"),
    ({"distances": ["cosine"], "items": ["euclidean"]}, "word_pairs.items: 'euclidean' is none of cosine"),
    ({"modes": ["sum"]}, "word_pairs.modes"), ({"style": "seed"}, "none of matched, choi"),
    ({"draws": 100}, "draws=100: at least 1000"), ({"maximum": 50}, "maximum=50: at least 300"),
])  # fmt: skip
def test_wrong_requests_say_the_rule(corpus, change, message):
    with pytest.raises(RequestError, match=message):
        probe(corpus, **change)


def test_conclusive_says_when_it_cannot_tell():
    numbers = {"value": -0.01, "low": -0.06, "high": 0.02, "n": 19, "clusters": 30, "chance": 0.0}
    score = Score(probe="word_pairs", metric="over_random", higher_is_better=None, unit="", **numbers)
    assert conclusive(score) == "cannot tell: n = 19, half-width 4.0 %"
    assert conclusive(replace(score, low=-0.03, high=0.01)) == "" == conclusive(replace(score, value=-0.1, low=-0.19, high=-0.01))
    assert conclusive(replace(score, metric="mean", value=9.5, low=8.5, high=10.5, chance=10.0)) == "cannot tell: n = 19, half-width 10.0 %"


def test_published_style_has_five_seeds_and_one_random(corpus):
    found = results(probe(corpus, style="choi", slices=["audio"], distances=["cosine"], items=[]), Planted("phones", corpus))
    found.score_table()
    near = pick(found, setting="near_homophone", metric="over_random", layer="1")
    assert sorted(score.seed for score in near) == [0, 1, 2, 3, 4] and all(score.high < 0 for score in near)
    assert len(pick(found, setting="random", metric="mean", layer="1")) == 5 and not pick(found, metric="phonsem")


def test_the_twin_builds_it(corpus, split):
    from hydra.utils import instantiate

    built = instantiate(config.twin("probes", "word_pairs"), _partial_=True, _convert_="all")(corpus=corpus, split=split)
    assert isinstance(built, Probe) and built.split is split and built.cache is None and built.sizes["maximum"] >= 300


@pytest.mark.data
@pytest.mark.slow
def test_orders_real_speech(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    corpus = librispeech(librispeech_mini)
    split = make_split(corpus, seed=0, speakers=0.5)
    measure = probe(corpus, maximum=1000, items=[])
    for kind in PLANTED:
        ordering(results(measure, Planted(kind, corpus)), kind)
    found = results(probe(corpus, split, slices=["audio"], items=[]), Planted("meaning", corpus))
    assert {score.split for score in pick(found, setting="near_homophone", metric="mean")} == {"all", *TIERS}
    assert all(score.high < 0 for score in pick(found, setting="synonym_core", metric="over_random", split="all"))


class LogMel:
    """Not a codec: the log-mel spectrum as the only layer of an encoder without codes."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "logmel", 16_000, 100.0, 0, 1, "1"

    def __init__(self):
        from laminal import compat

        self.mel = compat.torchaudio().transforms.MelSpectrogram(16_000, n_fft=512, win_length=400, hop_length=160, n_mels=40)

    def encode(self, wav):
        raise NotImplementedError

    decode = encode

    def layers(self, wav):
        return {"1": (self.mel(wav) + 1e-6).log().transpose(1, 2)[:, : -(-wav.shape[1] // 160)]}


@pytest.mark.data
def test_the_spectrum_is_phonetic_not_semantic(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    found = results(probe(librispeech(librispeech_mini), maximum=1000, items=[], slices=["features"]), LogMel())
    closer = {score.setting: score for score in pick(found, metric="over_random", distance="euclidean")}
    assert closer["same_word"].value < closer["near_homophone"].value < min(closer["synonym"].value, closer["synonym_core"].value)
    assert closer["near_homophone"].high < 0 and closer["same_speaker"].high < 0
    assert closer["synonym"].low < 0 < closer["synonym"].high or abs(closer["synonym"].value) < 0.025
