"""The articulation probe end to end: planted tracts, nulls, lags, baselines, the split of semantic codecs, and what is bad."""

import dataclasses

import numpy as np
import pytest

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
    assert one(results, "lag_pwcca", "lag+000ms", "2").value == pytest.approx(copy.value, abs=1e-3)
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


def test_too_few_tracks_and_impossible_sizes(corpus):
    results = found(in_turn(corpus, 3), Copying(corpus))
    assert not results.scores and "3 usable tracks and 4 folds" in results.undefined[0].reason
    for change, says in ((dict(shifts=99), "shifts=99"), (dict(folds=1), "folds=1"), (dict(rank=(0, 3)), "two numbers from 1 on")):
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
