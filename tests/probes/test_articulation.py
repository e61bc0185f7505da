"""The articulation probe end to end: planted tracts, nulls, lags, baselines, the split of semantic codecs, and what is bad."""

import dataclasses

import numpy as np
import pytest
import torch

from laminal import stored
from laminal.cache import CodesCache
from laminal.codecs.log_mel import LogMel
from laminal.corpora.base import Corpus
from laminal.corpora.tract import Tract, TractCorpus
from laminal.corpora.tract_table import tract_table
from laminal.errors import DataError, RequestError
from laminal.measures.cca import fold_of_groups, heldout_pwcca
from laminal.probes.articulation import Articulation
from laminal.probes.base import Probe
from laminal.probes.run import run_probes
from laminal.probes.tract_baselines import RandomCodebooks, log_mel, pitch_and_energy, powers
from laminal.probes.tract_frames import in_turn, scaled, shifts
from laminal.probes.tract_scores import level_ends
from laminal.results import Context, key
from oracle_tract import LINES, RATE, Copying, Quantised, tract_corpus

SIZES = dict(tract=None, tracks=None, folds=4, rank=(5, 12), shifts=100, lags_ms=(-40, -20, 20, 40), draws=1000, seed=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tract_corpus(tmp_path_factory.mktemp("tracts"))


def found(corpus, codec, **changes):
    probe = Articulation(corpus, None, **(SIZES | changes))
    assert isinstance(probe, Probe)
    context = Context(run="r", codec=codec.name, revision=codec.revision, corpus=corpus.name)
    results = run_probes(codec, {"articulation": probe}, context)
    results.score_table()  # raises where two rows share a key
    names = [key(score) for score in results.scores]
    assert len(set(names)) == len(names)  # nor two of them a key of W&B
    return results


def one(results, metric="heldout_pwcca", setting="", layer="", mode=None):
    (score,) = [
        each for each in results.scores
        if (each.metric, each.setting, each.layer) == (metric, setting, layer) and mode in (None, each.layer_mode)
    ]  # fmt: skip
    return score


def test_a_codec_that_copies_the_tract_and_one_that_shuffles_it(corpus):
    results = found(corpus, Copying(corpus))
    copy = one(results, layer="2")
    assert copy.value > 0.97 and copy.low - 1e-9 <= copy.value <= copy.high + 1e-9 and copy.clusters == 3
    assert 0.9 * 75 * 50 < copy.n <= 80 * 50  # frames of 78 s
    band = one(results, "null", layer="2")
    assert band.low < copy.chance == band.value < band.high and abs(copy.chance) < 0.05
    assert one(results, "above_null", layer="2").value == pytest.approx((copy.value - copy.chance) / (1 - copy.chance))
    assert one(results, layer="1").value < 0.6  # one line of twelve, and nothing for the other directions
    assert one(results, layer="3").value > 0.9  # at rank 12 its loud nonsense takes four axes
    assert one(results, "best_lag", layer="2").value == 0
    at_once = one(results, "lag_pwcca", "lag+000ms", "2")
    assert at_once.value == pytest.approx(copy.value, abs=3e-3) and at_once.clusters == copy.clusters == 3
    assert copy.n - 8 * len(corpus) <= at_once.n < copy.n  # frames that have a tract 40 ms before and after
    assert at_once.high - at_once.low == pytest.approx(copy.high - copy.low, rel=0.3)  # one basis: speakers
    assert one(results, "best_lag_gain", layer="2").value == 0
    assert one(results, "lag_pwcca", "lag-040ms", "2").value < copy.value > one(results, "lag_pwcca", "lag+040ms", "2").value
    growth = one(results, "last_minus_first")
    assert growth.value == pytest.approx(one(results, layer="3").value - one(results, layer="1").value) and growth.low > 0
    shuffled = found(corpus, Copying(corpus, shuffled=True))
    nothing = one(shuffled, layer="2")
    band = one(shuffled, "null", layer="2")
    assert abs(nothing.value) < 0.06 and band.low - 0.03 < nothing.value < band.high + 0.03


def test_values_are_those_of_the_definition(corpus):
    codec = Copying(corpus, frame_rate=25.0)
    results = found(corpus, codec)
    tracts, features, groups = [], [], []
    for each in scaled(corpus):
        wav = corpus.wav(each.utterance, RATE)[None]
        y = codec.layers(wav)["2"][0].double().numpy()
        x = each.at(25.0, len(y), 0.0)
        inside = np.isfinite(x).all(1) & ((np.arange(len(y)) + 0.5) / 25 <= each.utterance.seconds)
        tracts.append(x[inside])
        features.append(y[inside])
        groups += [each.utterance.id] * int(inside.sum())
    expected = heldout_pwcca(np.concatenate(tracts), np.concatenate(features), groups, 4, (5, 12))
    assert one(results, layer="2").value == pytest.approx(expected.pwcca, abs=1e-6)
    assert one(results, layer="2").n == len(groups)


def test_features_that_answer_late_peak_at_a_negative_lag(corpus):
    results = found(corpus, Copying(corpus, late=0.04))
    assert one(results, "best_lag", layer="2").value == -40
    assert one(results, "best_lag_pwcca", layer="2").value > one(results, layer="2").value + 0.02
    gain, best = one(results, "best_lag_gain", layer="2"), one(results, "best_lag", layer="2")
    at_once = one(results, "lag_pwcca", "lag+000ms", "2")
    assert gain.value == pytest.approx(one(results, "best_lag_pwcca", layer="2").value - at_once.value) and gain.low > 0
    assert (best.low, best.high) == (-40, -40)  # every other lag is told from it


def test_lags_that_are_not_told_apart_are_the_interval_of_the_best(corpus):
    shuffled = found(corpus, Copying(corpus, shuffled=True))
    best, gain = one(shuffled, "best_lag", layer="2"), one(shuffled, "best_lag_gain", layer="2")
    assert best.low < best.value < best.high or best.low <= 0 <= best.high
    assert best.high - best.low >= 40 and (gain.low <= 0 or best.value == 0)


def test_lags_beyond_the_tracks_are_undefined_and_the_rest_stays(corpus):
    results = found(corpus, Copying(corpus), lags_ms=(-9000,))
    assert {each.what.split(" of ")[0] for each in results.undefined} == {"lags"}
    assert "0 frames have a tract at every lag; give shorter lags_ms" in results.undefined[0].reason
    assert not [each for each in results.scores if "lag" in each.metric] and one(results, layer="2").value > 0.97


def test_differences_are_students_over_speakers_and_levels_are_stretched(corpus):
    results = found(corpus, Copying(corpus))
    own = {each.layer: each.value for each in results.items if each.metric == "speaker_pwcca"}
    growth = one(results, "last_minus_first")
    half = 4.30265 * (own["3"] - own["1"]).std(ddof=1) / np.sqrt(3)  # t(2)
    assert growth.high - growth.value == pytest.approx(half, rel=1e-4) == growth.value - growth.low
    alone = one(results, "speaker_pwcca", layer="1")
    assert alone.high - alone.value == pytest.approx(4.30265 * own["1"].std(ddof=1) / np.sqrt(3), rel=1e-4)
    level = one(results, layer="1")  # percentiles of three speakers are at most their range
    assert level.high - level.low > 1.5 * np.ptp(own["1"]) and level.low < own["1"].min() < own["1"].max() < level.high
    paired = one(results, "minus_log_mel", layer="2")
    assert paired.value == pytest.approx(one(results, layer="2").value - one(results, setting="log_mel").value) and paired.low > 0
    assert all(-1 <= each.low <= each.high <= 1 for each in results.scores if each.metric in ("heldout_pwcca", "speaker_pwcca"))


def test_an_interval_holds_its_value_even_where_no_draw_does():
    drawn = np.stack([np.linspace(0.5, 0.6, 1000), np.linspace(-0.2, 0.9, 1000), np.linspace(0.9, 0.99, 1000)], 1)
    value = np.array([0.45, 0.3, 0.995])  # below all draws, among them, above all of them
    low, high = level_ends(value, drawn, 2)
    assert (low <= value).all() and (value <= high).all() and low.min() >= -1 and high.max() <= 1
    assert high[0] > 0.6 and low[2] < 0.9  # no narrower than the draws
    assert (low[1], high[1]) == (-1.0, 1.0)


def test_rows_say_on_what_and_with_how_many_axes(corpus):
    results = found(corpus, Copying(corpus))
    seconds = one(results, "seconds_of_tract", "made_up")
    assert (seconds.n, seconds.clusters) == (12, 3) and seconds.value == pytest.approx(sum(each.seconds for each in corpus))
    assert one(results, "tract_axes").value == 5 and 0.9 < one(results, "tract_variance").value < 1
    axes = {layer: one(results, "feature_axes", layer=layer).value for layer in ("1", "2", "3")}
    assert axes == {"1": 1, "2": 12, "3": 12} and one(results, "feature_axes", "f0_energy").value == 1  # noise has no pitch
    assert one(results, "codebooks").value == 0 and one(found(corpus, Quantised(corpus)), "codebooks").value == 3
    alone = found(corpus.subset(frozenset({"s1"})), Copying(corpus), folds=2)
    seconds = one(alone, "seconds_of_tract", "made_up")
    assert (seconds.n, seconds.clusters) == (4, 1)


def test_a_layer_of_few_dimensions_cannot_reach_one(corpus):
    class Narrow(Copying):
        def layers(self, wav):
            return {"1": super().layers(wav)["2"][..., :3]}  # exact, but three of twelve lines

    results = found(corpus, Narrow(corpus), rank=(10, 12))
    assert one(results, "feature_axes", layer="1").value == 3 and one(results, layer="1").value < 0.8


def test_the_tracts_are_named_where_they_are_of_another_corpus(corpus):
    probe = Articulation(Corpus("plain", corpus.utterances), None, **(SIZES | {"tracks": 5}))
    assert probe.material == {"corpus": "tract_table", "corpus_sha256": probe.corpus.sha256, "tracks": 5, "speakers": 5}
    assert stored.material(probe) == probe.material and stored.material(object()) == {}
    spoilt = dataclasses.replace(corpus, skipped=(("a_track.mat", "frame 5, segment 1 has the unknown id 9"),))
    told = Articulation(Corpus("plain", corpus.utterances), None, **(SIZES | {"tract": spoilt, "tracks": 5})).material
    assert told["skipped"] == [["a_track.mat", "frame 5, segment 1 has the unknown id 9"]]  # of another corpus than the run's, too
    whole = Articulation(Corpus("plain", corpus.utterances), None, **SIZES)
    settings = [stored.settings_of({"tracks": 5}, each, corpus, None, "1") for each in (probe, whole)]
    assert settings[0] != settings[1]  # another table of tracts is another measurement


@pytest.mark.parametrize("rate", [12.5, 25.0, 75.0, 100.0])
def test_any_frame_rate(corpus, rate):
    results = found(corpus, Copying(corpus, frame_rate=rate), lags_ms=())
    assert one(results, layer="2").value > 0.95


def test_random_codebooks_random_codes_and_the_latent_stand_beside_a_codec(corpus):
    results = found(corpus, Quantised(corpus))
    latent, last = one(results, layer="latent"), one(results, layer="3")
    assert latent.value > 0.97 and 0.3 < last.value < latent.value
    for layer in ("1", "2", "3"):
        assert one(results, setting="random_codebook", layer=layer).value > 0.1
    chance = one(results, setting="random_codes", layer="3")
    band = one(results, "null", "random_codes", "3")
    assert abs(chance.value) < 0.06 and band.low - 0.04 < chance.value < band.high + 0.04
    assert {score.layer_mode for score in results.scores if not score.setting} == {"cumulative", ""}


def test_semantic_first_codecs_have_the_rest_alone(corpus):
    codec = Quantised(corpus, semantic=1)
    results = found(corpus, codec)
    assert [s.layer for s in results.scores if s.layer_mode == "residual" and s.metric == "heldout_pwcca"] == ["2", "3"]
    rest, whole = one(results, layer="3", mode="residual"), one(results, layer="3", mode="cumulative")
    assert rest.value < whole.value


def test_speakers_have_their_own_values(corpus):
    results = found(corpus, Copying(corpus))
    score = one(results, "speaker_pwcca", layer="2")
    (items,) = [each for each in results.items if each.layer == "2" and each.metric == "speaker_pwcca"]
    assert list(items.a) == ["s0", "s1", "s2"] == list(items.cluster)
    assert score.value == pytest.approx(np.mean(items.value)) and (items.value > 0.9).all() and score.n == 3
    alone = found(corpus.subset(frozenset({"s1"})), Copying(corpus), folds=2)
    assert one(alone, layer="2").clusters == 4  # tracks, where there is one speaker
    assert not [s for s in alone.scores if s.metric == "speaker_pwcca"]


def test_in_sample_is_marked_where_frames_are_few(corpus):
    results = found(corpus, Copying(corpus, frame_rate=12.5))
    many = one(results, "in_sample_pwcca", layer="2")  # 960 frames, 12 + 12 dimensions
    assert many.value > 0.9 and many.low <= many.value <= many.high and 0 < many.chance < 0.5
    few = found(in_turn(corpus, 4), Copying(corpus, frame_rate=2.5), folds=2, lags_ms=())
    assert one(few, "in_sample_pwcca", "few_frames", "2").chance > 0.3  # by chance alone
    assert not [s for s in few.scores if s.metric == "in_sample_pwcca" and not s.setting and s.layer == "2"]


def test_two_calls_a_cache_and_shares_give_the_same_bytes(corpus, tmp_path):
    codec = Quantised(corpus)
    once = found(corpus, codec).score_table()
    codec.calls = 0
    probe = Articulation(corpus, None, **SIZES)
    probe.cache = CodesCache(tmp_path)
    for share in range(3):
        probe.fill(codec, (share, 3))
    filled = codec.calls
    assert filled == len(corpus)
    context = Context(run="r", codec=codec.name, revision=codec.revision, corpus=corpus.name)
    again = run_probes(codec, {"articulation": probe}, context).score_table()
    assert codec.calls == filled and again.equals(once)
    assert found(corpus, codec).score_table().equals(once)


def test_tracks_that_cannot_be_used_are_listed_and_the_others_count(corpus, tmp_path):
    broken, short, lost = corpus[0], corpus[5], corpus[7]
    path = tmp_path / "broken.wav"
    path.write_bytes(b"RIFF")
    tracts = dict(corpus.tracts)
    tracts[short.id] = Tract(tracts[short.id].vtd[:200], tracts[short.id].rate)  # 2.4 s
    tracts[lost.id] = Tract(np.full_like(tracts[lost.id].vtd, np.nan), tracts[lost.id].rate)
    utterances = (dataclasses.replace(broken, path=path), *corpus.utterances[1:])
    spoilt = TractCorpus("spoilt", utterances, (), {}, tracts)
    results = found(spoilt, Copying(corpus))
    reasons = {each.what: each.reason for each in results.undefined}
    assert set(reasons) == {broken.id, short.id, lost.id} and "unreadable" in reasons[broken.id]
    assert "2.40 s with a tract" in reasons[short.id] or "2.38 s" in reasons[short.id]
    assert one(results, "seconds_of_tract", "spoilt").n == len(corpus) - 3 and one(results, layer="2").value > 0.97


def test_a_layer_that_is_not_finite_is_listed_and_the_others_stay(corpus):
    whole, spoilt = found(corpus, Copying(corpus)), found(corpus, Copying(corpus, spoilt=["1"]))
    ((what, reason),) = [(each.what, each.reason) for each in spoilt.undefined]
    assert what == "cumulative 1" and "frames are not finite on s0-0" in reason
    assert one(spoilt, layer="2").value == one(whole, layer="2").value


def test_a_layer_that_does_not_vary_is_one_line(corpus):
    class Flat(Copying):
        def layers(self, wav):
            return {name: layer * (name != "1") for name, layer in super().layers(wav).items()}

    results = found(corpus, Flat(corpus))
    ((what, reason),) = [(each.what, each.reason) for each in results.undefined]
    assert what == "cumulative 1" and reason.startswith("it does not vary over") and one(results, layer="2").value > 0.97


def test_random_codebooks_of_a_latent_that_is_not_finite_are_listed(corpus):
    class Broken(Quantised):
        def layers(self, given):
            made = super().layers(given)
            return made | {"latent": torch.full_like(made["latent"], float("nan"))} if "latent" in made else made

        def codes_and_latent(self, wav):
            codes, latent = super().codes_and_latent(wav)
            return codes, torch.full_like(latent, float("nan"))

    results = found(corpus, Broken(corpus))
    reasons = {each.what: each.reason for each in results.undefined}
    assert "the latent that they are drawn about is not finite" in reasons["random_codebook, random_codes"]
    assert "cumulative latent" in reasons and one(results, layer="3").value > 0.3


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_speaker_without_a_tract_or_with_one_that_stands_still_is_listed(corpus):
    for spoilt, says in ((np.nan, "no frame has a distance"), (3.0, "none of 12 lines varies and has a value in 80%")):
        tracts = dict(corpus.tracts)
        for each in corpus:
            if each.speaker == "s1":
                tracts[each.id] = Tract(np.full_like(tracts[each.id].vtd, spoilt), tracts[each.id].rate)
        results = found(TractCorpus("spoilt", corpus.utterances, (), {}, tracts), Copying(corpus))
        assert [each.what for each in results.undefined] == [f"s1-{number}" for number in range(4)]
        assert all(each.reason.startswith(f"speaker s1: {says}") for each in results.undefined)
        assert one(results, layer="2").value > 0.97 and one(results, layer="2").clusters == 2


def test_too_few_tracks_and_impossible_sizes(corpus):
    results = found(in_turn(corpus, 3), Copying(corpus))
    assert not results.scores and "3 usable tracks and 4 folds" in results.undefined[0].reason
    for change, says in ((dict(shifts=99), "shifts=99"), (dict(folds=1), "folds=1"), (dict(rank=(0, 3)), "two whole numbers")):
        with pytest.raises(RequestError, match=says):
            Articulation(corpus, None, **(SIZES | change))
    for change, says in (
        (dict(rank="ab"), "rank=ab: two whole numbers"), (dict(rank=(5.0, 12)), "two whole numbers"), (dict(draws=0), "draws=0"),
        (dict(tracks=-1), "tracks=-1"), (dict(tracks=0), "tracks=0"), (dict(lags_ms=(float("nan"),)), "whole milliseconds"),
        (dict(lags_ms=(0.4,)), "whole milliseconds"), (dict(lags_ms=("late",)), "whole milliseconds"),
    ):  # fmt: skip
        with pytest.raises(RequestError, match=says):
            Articulation(corpus, None, **(SIZES | change))
    uneven = dict(corpus.tracts) | {corpus[0].id: Tract(corpus.tracts[corpus[0].id].vtd[:, : LINES - 1], 83.3)}
    with pytest.raises(DataError, match="tracts of .11, 12. lines"):
        found(TractCorpus("uneven", corpus.utterances, (), {}, uneven), Copying(corpus))


def test_another_corpus_takes_the_shipped_table(corpus):
    plain = Corpus("plain", corpus.utterances)
    assert Articulation(plain, None, **SIZES).corpus.name == "tract_table"
    assert Articulation(plain, None, **(SIZES | {"tract": corpus})).corpus.name == "made_up"
    assert len(Articulation(plain, None, **(SIZES | {"tracks": 5})).corpus) == 5


def test_log_mel_follows_the_simulated_tract_and_peaks_at_0(corpus):
    table = tract_table()
    probe = Articulation(table, None, **(SIZES | dict(tracks=8, rank=(10, 64), lags_ms=range(-120, 121, 40))))
    codec = LogMel(16000, 320, 400, 80)
    results = run_probes(codec, {"a": probe}, Context(run="r", codec="log_mel", revision="1", corpus="tract_table"))
    mel, pitched = one(results, layer="1"), one(results, setting="f0_energy")
    assert one(results, "best_lag", layer="1").value == 0
    assert mel.value > 0.3 and 0 < pitched.value < 0.3 and abs(mel.chance) < 0.05
    assert one(results, "minus_log_mel", layer="1").value == pytest.approx(mel.value - one(results, setting="log_mel").value)
    assert one(results, "lag_pwcca", "lag-120ms", "1").value < 0.6 * mel.value > one(results, "lag_pwcca", "lag+120ms", "1").value


def test_baselines_stand_on_the_codecs_clock():
    wav = np.zeros(RATE, np.float32)
    wav[8000:] = 0.3 * np.sin(2 * np.pi * 150 * np.arange(8000) / RATE)
    mel, tune = log_mel(wav, 50.0, 50), pitch_and_energy(wav, 50.0, 50)
    assert mel.shape == (50, 80) and tune.shape == (50, 3) and np.isfinite(mel).all() and np.isfinite(tune).all()
    assert mel[23].max() < mel[26].max() and tune[20, 1] == 0 and tune[30, 1] == 1
    assert np.exp(tune[35, 0]) == pytest.approx(150, rel=0.02) and tune[35, 2] == pytest.approx(np.log(0.3 / np.sqrt(2)), abs=0.05)
    assert abs(np.flatnonzero(tune[:, 2] > -4)[0] - 25) <= 1


def test_random_codebooks_come_nearer_with_each_and_codes_by_chance_do_not():
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((500, 6)).astype(np.float32) * 3 + 1
    books = RandomCodebooks(latent, 4, 32, 0)
    found = books.layers(latent, [1, 2, 4])
    error = [np.square(found[k] - latent).sum() for k in (1, 2, 4)]
    assert sorted(found) == [1, 2, 4] and error[0] > error[1] > error[2] < 0.3 * np.square(latent - latent.mean(0)).sum()
    chance = books.chance(500, np.random.default_rng(0))
    assert chance.shape == (500, 6) and np.square(chance - latent).sum() > error[0]
    assert powers(1) == [1] and powers(6) == [1, 2, 4, 6] and powers(8) == [1, 2, 4, 8]


def test_shifts_leave_two_seconds_either_way():
    drawn = shifts(300, 100, 1000, np.random.default_rng(0))
    assert drawn.min() == 100 and drawn.max() == 200
    assert shifts(199, 100, 5, np.random.default_rng(0)) is None and shifts(200, 100, 5, np.random.default_rng(0)).tolist() == [100] * 5
    assert fold_of_groups(["a", "b"], [5, 5], 2).tolist() == [0, 1]
