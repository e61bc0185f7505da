import dataclasses
import math

import numpy as np
import pytest
import torch

from laminal import config, experiment
from laminal.errors import RequestError
from laminal.measures.bootstrap import multiplicities
from laminal.probes.reconstruction import Reconstruction, chosen, clustered_mean, mismatched
from laminal.results import Context, Items, Results, Score, Undefined
from oracle_codec import Pcm, voices

SETTINGS = {
    "utterances": 6, "seconds": 1.5, "codebooks": None, "pesq_codebooks": None, "speaker": None, "asr": None, "draws": 1000, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return voices(tmp_path_factory.mktemp("voices"))


def probe(corpus, **settings):
    return Reconstruction(corpus, None, **(SETTINGS | settings))


def table(found):
    return {(each.metric, each.layer): each for each in found if isinstance(each, Score)}


@pytest.fixture(scope="module")
def scores(corpus):
    return table(probe(corpus).run(Pcm()))


def test_more_bits_are_better_in_every_metric_and_all_bits_are_perfect(scores):
    better = ("stoi", "estoi", "si_sdr", "pesq")
    for metric in better:
        values = [scores[metric, layer].value for layer in "124"]
        assert values == sorted(values) and values[0] < values[2], (metric, values)
    for metric in ("mel_distance", "mcd"):
        values = [scores[metric, layer].value for layer in "124"]
        assert values[0] > values[1] > values[2], (metric, values)
    perfect = {"stoi": 1, "estoi": 1, "f0_correlation": 1, "pesq": 4.644}
    for metric, value in perfect.items():
        assert scores[metric, "4"].value == pytest.approx(value, abs=1e-3)
    assert scores["voicing_error", "4"].value == 0
    assert scores["si_sdr", "4"].value > 70 and scores["mcd", "4"].value < 0.1  # half a step of 16 bits is left


def test_every_score_says_what_it_is(scores):
    for score in scores.values():
        assert score.n == 6 and score.clusters == 3 and score.layer_mode == "cumulative"
        assert score.low <= score.value <= score.high and math.isfinite(score.chance)
    best = {metric: scores[metric, "4"] for metric, _ in scores}
    for metric, score in best.items():
        assert score.value > score.chance if score.higher_is_better else score.value < score.chance, metric


def test_noise_at_10_db_is_10_db(corpus):
    def spoil(wav):
        noise = torch.randn(wav.shape, generator=torch.Generator().manual_seed(0))
        return wav + noise * (wav.square().sum(1, keepdim=True) / noise.square().sum(1, keepdim=True)).sqrt() * 10**-0.5

    found = table(probe(corpus, codebooks=[4]).run(Pcm(spoil)))
    assert found["si_sdr", "4"].value == pytest.approx(10, abs=0.2)


def test_values_are_those_of_the_items(corpus):
    found = list(probe(corpus, codebooks=[2], pesq_codebooks=[]).run(Pcm()))
    scores = table(found)
    items = {each.metric: each for each in found if isinstance(each, Items)}
    for (metric, _), score in scores.items():
        assert score.value == pytest.approx(items[metric].value.mean(), abs=1e-12)
        assert len(items[metric].a) == score.n and items[metric].cluster == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert items["stoi"].a[0] == "s0-0:0.2000-1.7000"
    results = Results(Context(run="r", codec="pcm", revision="1"))
    results.scores += list(scores.values())
    results.items += list(items.values())
    assert len(results.score_table()) == len(scores) and results.item_table().num_rows == 6 * len(items)


def test_again_is_the_same_to_the_last_bit(corpus):
    once = probe(corpus, codebooks=[1])
    first, second = (list(each.run(Pcm())) for each in (once, once))
    third = list(probe(corpus, codebooks=[1]).run(Pcm()))

    def plain(found):
        return [
            {name: value.tobytes() if isinstance(value, np.ndarray) else value for name, value in dataclasses.asdict(each).items()}
            for each in found
        ]

    assert plain(first) == plain(second) == plain(third)


def test_no_global_generator_is_touched(corpus):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    list(probe(corpus, codebooks=[1]).run(Pcm()))
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("samples", [-8, 150])
def test_a_decoder_may_be_short_or_long(corpus, samples):
    def spoil(wav):
        return wav[:, :samples] if samples < 0 else torch.nn.functional.pad(wav, (0, samples), value=0.5)

    found = table(probe(corpus, codebooks=[4], pesq_codebooks=[]).run(Pcm(spoil)))
    assert found["si_sdr", "4"].value > 25 and found["stoi", "4"].value > 0.99


def test_another_rate_changes_nothing_for_a_perfect_codec(corpus):
    found = table(probe(corpus, codebooks=[4], pesq_codebooks=[]).run(Pcm(sample_rate=24000)))
    assert found["si_sdr", "4"].value > 70 and found["mel_distance", "4"].value < 0.05


def test_what_is_not_finite_is_left_out_and_said(corpus):
    def one_bad(wav):
        wav = wav.clone()
        wav[0, 5] = float("nan")
        return wav

    found = list(probe(corpus, codebooks=[1]).run(Pcm(one_bad)))
    assert {score.n for score in table(found).values()} == {5}
    undefined = [each for each in found if isinstance(each, Undefined)]
    assert {each.what.split()[0] for each in undefined} == {metric for metric, _ in table(found)}
    assert all("1 of 6 utterances" in each.what and "not finite" in each.reason for each in undefined)
    everything = list(probe(corpus, codebooks=[1]).run(Pcm(lambda wav: wav * float("inf"))))
    assert not table(everything) and len([each for each in everything if isinstance(each, Undefined)]) == 8


def test_silence_is_scored_not_hidden(corpus):
    found = list(probe(corpus, codebooks=[1]).run(Pcm(torch.zeros_like)))
    scores = table(found)
    assert scores["si_sdr", "1"].value == -100 and scores["f0_correlation", "1"].value == 0
    assert ("pesq", "1") not in scores
    assert any(each.what == "pesq 1: 6 of 6 utterances" for each in found if isinstance(each, Undefined))


def test_pesq_at_some_codebooks_and_absent(corpus, monkeypatch):
    found = table(probe(corpus, pesq_codebooks=[1]).run(Pcm()))
    assert [layer for metric, layer in found if metric == "pesq"] == ["1", "4"]
    monkeypatch.setattr("laminal.probes.reconstruction.pesq_available", lambda: False)
    found = list(probe(corpus, codebooks=[1]).run(Pcm()))
    assert any(isinstance(each, Undefined) and "pip install" in each.reason for each in found)
    assert ("pesq", "1") not in table(found) and ("stoi", "1") in table(found)


def test_nothing_to_decode_and_too_little_speech(corpus):
    codec = Pcm()
    codec.codebooks = 0
    (only,) = probe(corpus).run(codec)
    assert only.what == "all" and "no codes" in only.reason
    (only,) = probe(corpus, utterances=1).run(Pcm())
    assert only.what == "all" and "1 usable" in only.reason


@pytest.mark.parametrize("wrong", [{"codebooks": [0, 1]}, {"pesq_codebooks": [-1]}, {"seconds": 0.2}])
def test_wrong_settings_are_refused(corpus, wrong):
    with pytest.raises(RequestError):
        probe(corpus, **wrong)


def test_codebooks_that_the_codec_has_not_are_refused(corpus):
    with pytest.raises(RequestError, match="pcm has 4"):
        list(probe(corpus, codebooks=[9]).run(Pcm()))


def test_unreadable_audio_is_left_out(corpus, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing")
    utterances = (dataclasses.replace(corpus[0], path=bad), *corpus.utterances[1:])
    found = table(probe(dataclasses.replace(corpus, utterances=utterances), codebooks=[1], pesq_codebooks=[]).run(Pcm()))
    assert found["stoi", "1"].n == 5


def test_a_speaker_teacher_hears_speakers(corpus):
    class Level:  # an embedding that tells the synthetic speakers apart: energy by band
        sample_rate, width = 8000, 16

        def embed(self, wav, mask=None):
            power = torch.fft.rfft(wav).abs()[:, :-1].square().unflatten(1, (16, -1)).sum(2)
            return power.log() - power.log().mean(1, keepdim=True)

    found = table(probe(corpus, codebooks=[4], pesq_codebooks=[], speaker=Level()).run(Pcm()))
    score = found["speaker_similarity", "4"]
    assert score.value > 0.999 > score.chance


def test_chosen_codebooks():
    assert chosen(None, 8) == [1, 2, 4, 8] and chosen(None, 6) == [1, 2, 4, 6] and chosen(None, 1) == [1]
    assert chosen([8, 1, 3], 4) == [1, 3]


def test_mismatched_pairs_cross_speakers():
    assert mismatched(["a", "a", "b", "c"]).tolist() == [2, 2, 3, 0]
    assert mismatched(["a", "a", "a"]).tolist() == [1, 2, 0] and mismatched(["a"]).tolist() == [0]


def test_interval_resamples_clusters():
    rng = np.random.default_rng(0)
    clusters = [name for name in "abcdefgh" for _ in range(5)]
    value = np.repeat(rng.standard_normal(8), 5) + 0.01 * rng.standard_normal(40)
    weight = rng.uniform(1, 3, 40)
    mean, low, high, count = clustered_mean(value, weight, clusters, 1000, 3)
    drawn = []
    for counts in multiplicities(8, 1000, 3):
        rows = [i for i, name in enumerate(clusters) for _ in range(int(counts["abcdefgh".index(name)]))]
        drawn.append(np.average(value[rows], weights=weight[rows]))
    factor = 2.364624 / 1.959964 * math.sqrt(8 / 7)  # t of 7 degrees of freedom, from a table
    assert (low, high) == pytest.approx(tuple(mean + factor * (end - mean) for end in np.quantile(drawn, [0.025, 0.975])), rel=1e-5)
    assert mean == pytest.approx(np.average(value, weights=weight)) and count == 8
    assert clustered_mean(value, weight, clusters, 1000, 3, (mean - 0.01, mean + 0.01))[1:3] == (mean - 0.01, mean + 0.01)
    by_item = clustered_mean(value, weight, [str(i) for i in range(40)], 1000, 3)
    assert high - low > 1.5 * (by_item[2] - by_item[1])


def test_the_twin_builds_it(corpus):
    made = experiment.probes({"reconstruction": config.twin("probes", "reconstruction")}, corpus, None)["reconstruction"]
    assert isinstance(made, Reconstruction) and {each.seconds for each in made.excerpts} == {2.0}


@pytest.mark.data
def test_degradations_of_real_speech_are_ordered(librispeech_mini):
    from laminal.corpora.librispeech import librispeech

    def hiss(level):
        return lambda wav: wav + level * wav.std(1, keepdim=True) * torch.randn(wav.shape, generator=torch.Generator().manual_seed(1))

    def lowpass(hz):
        def spoil(wav):
            spectrum = torch.fft.rfft(wav)
            spectrum[:, round(hz * wav.shape[1] / 16000) :] = 0
            return torch.fft.irfft(spectrum, wav.shape[1])

        return spoil

    def mulaw(steps):
        def spoil(wav):
            squeezed = torch.sign(wav) * torch.log1p(255 * wav.abs()) / math.log(256)
            squeezed = (squeezed * steps).round() / steps
            return torch.sign(squeezed) * (256 ** squeezed.abs() - 1) / 255

        return spoil

    shared = Reconstruction(librispeech(librispeech_mini), None, **(SETTINGS | {"utterances": 6, "seconds": 2.0, "codebooks": [4]}))
    kinds = {"hiss": [hiss(0.03), hiss(0.3), hiss(2.0)], "lowpass": [lowpass(7000), lowpass(2500), lowpass(700)]}
    kinds["mulaw"] = [mulaw(64), mulaw(12), mulaw(3)]
    for kind, spoils in kinds.items():
        runs = [table(shared.run(Pcm(spoil))) for spoil in spoils]
        for metric in ("pesq", "stoi", "estoi", "si_sdr", "mel_distance", "mcd"):
            values = [run[metric, "4"].value for run in runs]
            assert values == sorted(values, reverse=runs[0][metric, "4"].higher_is_better), (kind, metric, values)
        for run in runs[:2]:
            for metric in ("stoi", "estoi", "si_sdr", "mel_distance", "mcd", "f0_correlation", "voicing_error"):
                score = run[metric, "4"]
                assert (score.value - score.chance) * (1 if score.higher_is_better else -1) > 0, (kind, metric)
