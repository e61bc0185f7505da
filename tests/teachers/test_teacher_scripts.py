"""How the small teachers are trained and measured: labels, crops, channels, classifier, equal error rate, bootstrap."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from laminal.corpora.base import Corpus, Interval, Utterance

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import teacher_augment  # noqa: E402
import teacher_data  # noqa: E402
import teacher_ecapa  # noqa: E402
import teacher_phones  # noqa: E402
import teacher_speakers  # noqa: E402


@pytest.fixture
def corpus(tmp_path):
    """Two speakers; phone P0, P1, ... of utterance k is a tone of its own frequency, so that labels can be checked by ear."""
    rng, utterances = np.random.default_rng(0), []
    for number in range(4):
        edges = np.cumsum(rng.uniform(0.1, 0.3, 9))
        phones = tuple(Interval(f"P{i % 3}", float(a), float(b)) for i, (a, b) in enumerate(zip(edges[:-1], edges[1:])))
        time = np.arange(int((edges[-1] + 0.2) * 16000)) / 16000
        wav = 1e-3 * rng.standard_normal(len(time))
        for phone in phones:
            inside = (time >= phone.start) & (time < phone.end)
            wav[inside] += 0.3 * np.sin(2 * np.pi * (500 + 1000 * int(phone.label[1])) * time[inside])
        path = tmp_path / f"u{number}.wav"
        soundfile.write(path, wav, 16000)
        utterances.append(Utterance(f"u{number}", path, f"s{number % 2}", (), phones, "", len(wav) / 16000))
    return Corpus("tones", tuple(utterances))


@pytest.mark.parametrize("speed", [1.0, 0.87, 1.13])
def test_crops_carry_the_phone_that_sounds(corpus, speed):
    bank = teacher_data.bank(corpus)
    rng = np.random.default_rng(1)
    crops = teacher_data.draw(bank, np.array([0, 1, 2, 3]), 16000, np.full(4, speed), rng)
    assert crops.speaker.tolist() == [0, 1, 0, 1]
    heard = 0
    for row in range(4):
        for frame in range(1, 49):
            label = int(crops.phones[row, frame])
            steady = set(crops.phones[row, frame - 1 : frame + 2].tolist()) == {label}
            if steady and label:
                cut = crops.wav[row, 320 * frame : 320 * frame + 320].numpy() * np.hanning(320)
                peak = np.argmax(np.abs(np.fft.rfft(cut, 16000)))
                assert abs(peak - (500 + 1000 * (label - 1)) * speed) < 60
                heard += 1
    assert heard > 50


def test_labels_agree_with_the_probe(corpus):
    bank = teacher_data.bank(corpus)
    index = {name: number for number, name in enumerate(bank.names)}
    for number, utterance in enumerate(corpus):
        frames = int(utterance.seconds * 50)
        mine = teacher_data.frame_labels(bank, number, (np.arange(frames) * 320 + 160) / 16000)
        theirs = teacher_phones.phone_frames(utterance, frames, index)
        np.testing.assert_array_equal(mine, np.where(theirs < 0, 0, theirs))


def test_channels_are_private_and_bounded():
    wav = 0.1 * torch.randn(4, 16000, generator=torch.Generator().manual_seed(0))
    state = torch.random.get_rng_state()
    a = teacher_augment.channel(wav, 1.0, torch.Generator().manual_seed(3))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(a, teacher_augment.channel(wav, 1.0, torch.Generator().manual_seed(3)), atol=0, rtol=0)
    torch.testing.assert_close(a.square().mean(1).sqrt(), torch.full((4,), 0.08), atol=1e-4, rtol=0)
    none = teacher_augment.channel(wav, 0.0, torch.Generator().manual_seed(3))
    cosine = torch.nn.functional.cosine_similarity(none, wav, dim=1)
    assert (cosine > 0.999).all()  # no channel: the same up to its level
    assert (torch.nn.functional.cosine_similarity(a, wav, dim=1) < 0.99).any()


def test_warp_moves_a_peak_to_another_frequency():
    mel = torch.zeros(1, 1, 80)
    mel[0, 0, 40] = 1
    edge = 2595 * np.log10(1 + 8000 / 700)
    hertz = 700 * (10 ** (np.linspace(0, edge, 82)[1:-1] / 2595) - 1)
    torch.testing.assert_close(teacher_ecapa.warped(mel, torch.ones(1)), mel, atol=1e-4, rtol=0)
    moved = int(teacher_ecapa.warped(mel, torch.tensor([1.2]))[0, 0].argmax())
    assert moved == int(np.argmin(np.abs(hertz * 1.2 - hertz[40])))


def test_room_and_noise_only_add_power():
    generator = torch.Generator().manual_seed(0)
    mel = -30 + 5 * torch.randn(3, 60, 80, generator=generator)
    assert (teacher_ecapa.room(mel, 1.0, generator) >= mel - 1e-3).all()
    torch.testing.assert_close(teacher_ecapa.room(mel, 0.0, generator), mel, atol=1e-3, rtol=0)
    assert (teacher_ecapa.noisy(mel, generator) >= mel - 1e-3).all()
    torch.testing.assert_close(teacher_ecapa.mixed(torch.tensor([10.0]), torch.tensor([10.0])), torch.tensor([13.0103]))


def test_classifier_learns_what_is_linear_and_no_more():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (2000,), generator=generator)
    x = torch.randn(2000, 10, generator=generator)
    x[:, :4] += 3 * torch.nn.functional.one_hot(y, 4)
    train = torch.arange(1000)
    assert (teacher_phones.classify(x, y, train)[1000:] == y[1000:]).float().mean() > 0.9
    chance = (teacher_phones.classify(torch.randn(2000, 10, generator=generator), y, train)[1000:] == y[1000:]).float().mean()
    assert 0.18 < chance < 0.32


def test_bootstrap_is_over_speakers():
    speaker = np.repeat(np.arange(20), 100)
    values = np.repeat(np.random.default_rng(0).random(20), 100)  # all that varies is the speaker
    draws = teacher_phones.resampled(speaker, values)
    expected = np.random.default_rng(0).random(20).std() / np.sqrt(20)
    assert abs(draws.std() / expected - 1) < 0.1


def _slow_rate(same, weight, score):
    """Where misses and false alarms meet, threshold by threshold."""
    rates = []
    for threshold in np.sort(score):
        miss = weight[same & (score <= threshold)].sum() / weight[same].sum()
        false = weight[~same & (score > threshold)].sum() / weight[~same].sum()
        rates.append((miss >= false, (miss + false) / 2))
    return next(rate for met, rate in rates if met)


def test_equal_error_rate():
    rng = np.random.default_rng(0)
    same = rng.random(300) < 0.3
    score, weight = rng.normal(same * 1.5), rng.random(300)
    order = np.argsort(score)
    assert teacher_speakers.error_rate(same[order], weight[order]) == pytest.approx(_slow_rate(same, weight, score))
    two = np.sqrt(2) * 1.5  # d' of 1.5 * sqrt(2): EER = Phi(-d'/2)
    many = rng.random(200000) < 0.5
    score = rng.normal(many * two)
    order = np.argsort(score)
    assert teacher_speakers.error_rate(many[order], np.ones(200000)) == pytest.approx(0.1444, abs=0.004)


def test_every_speaker_counts_once():
    trials = teacher_speakers.Trials.of(np.array(["a"] * 5 + ["b"] * 2 + ["c"]))
    assert trials.targets == 2 and trials.weight[trials.same].sum() == pytest.approx(2)
    assert trials.weight[~trials.same].sum() == pytest.approx(3)


def test_perfect_and_useless_vectors():
    who = np.repeat(np.arange(30), 3)
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(30, 16, generator=generator)
    found = teacher_speakers.speaker_errors({"perfect": centre[who], "useless": torch.randn(90, 16, generator=generator)}, who, draws=50)
    assert found["perfect"][0].value < 0.01 and 0.4 < found["useless"][0].value < 0.6
