"""Voice conversion by codecs that part content and voice wholly, or not at all; pairs never lend the words with the voice."""

import dataclasses

import numpy as np
import pytest
import soundfile
import torch

from laminal import config, experiment
from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.split import Split
from laminal.errors import RequestError
from laminal.probes.conversion_pairs import conversion_pairs
from laminal.probes.voice_conversion import VoiceConversion, converted, fitted
from laminal.results import Context, Items, Results, Score, Undefined

RATE, HOP = 16000, 160
SENTENCES = (("one", "two"), ("three", "four"), ("five", "six"))


def said(speaker, sentence, seconds):
    """A harmonic sound: the speaker is its slope over frequency, the sentence its melody, the speed its length."""
    clock = np.arange(round(RATE * seconds)) / RATE
    melody = 140 * (1 + 0.2 * np.sin(2 * np.pi * (1 + sentence) * clock / seconds))
    phase = 2 * np.pi * np.cumsum(melody) / RATE
    wav = sum(np.exp(-0.25 * speaker * k) * np.sin((k + 1) * phase) for k in range(12))
    return (0.2 * wav / np.abs(wav).max()).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("said"), []
    for speaker in range(4):
        for sentence, words in enumerate(SENTENCES):
            seconds = 1.2 + 0.1 * speaker
            name = f"s{speaker}-{sentence}"
            soundfile.write(folder / f"{name}.wav", said(speaker, sentence, seconds), RATE)
            half = seconds / 2
            timed = (Interval(words[0], 0.1, half), Interval(words[1], half, seconds - 0.1))
            made.append(Utterance(name, folder / f"{name}.wav", f"s{speaker}", timed, (), " ".join(words), seconds))
    return Corpus("said", tuple(made))


class Halves:
    """Frames of samples in one codebook as their number in a list, and nothing in the other: all of it is content, or all is voice."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "halves", RATE, RATE / HOP, 2, 1 << 20, "1"

    def __init__(self, place):
        self.place, self.frames = place, []

    def encode(self, wav):
        codes = torch.zeros(len(wav), 2, -(-wav.shape[1] // HOP), dtype=torch.int64)
        for row, whole in enumerate(torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP)).unfold(1, HOP, HOP)):
            codes[row, self.place] = torch.arange(len(self.frames), len(self.frames) + len(whole))
            self.frames += list(whole)
        return codes

    def decode(self, codes):
        return torch.stack([torch.cat([self.frames[number] for number in row[self.place].tolist()]) for row in codes])

    def layers(self, wav_or_codes):
        raise AssertionError("a conversion needs no layers")


class Slope:
    """A speaker teacher that hears how energy falls over frequency."""

    sample_rate, width = 16000, 16

    def embed(self, wav, mask=None):
        power = torch.fft.rfft(wav).abs()[:, : wav.shape[1] // 8].square()
        power = power[:, : power.shape[1] // 16 * 16].unflatten(1, (16, -1)).mean(2)
        found = (power + 1e-9).log()
        return found - found.mean(1, keepdim=True)


SETTINGS = {"pairs": 8, "seconds": 2.0, "content": [1], "speaker": Slope(), "asr": None, "draws": 1000, "seed": 0}


def probe(corpus, **settings):
    return VoiceConversion(corpus, None, **(SETTINGS | settings))


def table(found):
    return {(each.setting, each.metric): each for each in found if isinstance(each, Score)}


@pytest.fixture(scope="module")
def found(corpus):
    shared = probe(corpus)
    return {place: list(shared.run(Halves(place))) for place in (0, 1)}


def test_what_holds_all_in_the_content_converts_nothing(found):
    scores = table(found[0])
    for metric in ("similarity_to_target", "similarity_to_source", "f0_correlation", "mcd"):
        assert scores["", metric].value == scores["source", metric].value
    assert scores["", "similarity_to_source"].value > 0.999 and scores["", "f0_correlation"].value > 0.999
    assert scores["", "similarity_to_target"].value < 0.95


def test_what_holds_all_in_the_voice_says_nothing_of_the_source(found):
    scores = table(found[1])
    for metric in ("similarity_to_target", "similarity_to_source", "f0_correlation"):
        assert scores["", metric].value == scores["target", metric].value
    assert scores["", "similarity_to_target"].value > 0.98 > scores["", "similarity_to_source"].value
    assert scores["", "f0_correlation"].value < 0.9


def test_the_ends_of_the_line_do_not_depend_on_where_things_are(found):
    first, second = (table(each) for each in found.values())
    for key in first:
        if key[0]:
            assert first[key].value == second[key].value
    assert first["target", "mcd"].value == 0  # the target's own saying of the words, as it was recorded
    assert first["source", "mcd"].value > 1


def test_every_score_says_what_it_is(found):
    for (setting, metric), score in table(found[0]).items():
        assert score.low <= score.value <= score.high and score.n == 8 and score.clusters == 4
        assert score.layer == ("" if setting else "1") and np.isfinite(score.chance) == (not setting), metric
    for each in (each for each in found[0] if isinstance(each, Items)):
        assert each.value.mean() == pytest.approx(table(found[0])[each.setting, each.metric].value)
        assert all(a[:2] != b[:2] for a, b in zip(each.a, each.b)) and each.cluster == [f"{a[:2]}|{b[:2]}" for a, b in zip(each.a, each.b)]
    results = Results(Context(run="r", codec="c", revision="1"))
    results.scores += list(table(found[0]).values())
    assert len(results.score_table()) == 12


def test_chance_is_of_another_pair(corpus, found):
    """By loops: what is converted, held against the recordings of the next pair of other speakers."""
    score = table(found[0])["", "similarity_to_source"]  # the copy of the source, so its recording
    pairs = probe(corpus).pairs
    voices = [Slope().embed(pair.source.wav(corpus, RATE)[None])[0].double().numpy() for pair in pairs]
    values = []
    for row, pair in enumerate(pairs):
        order = [(row + step) % len(pairs) for step in range(1, len(pairs))]
        other = next((each for each in order if not set(pair.speakers) & set(pairs[each].speakers)), order[0])
        values.append(voices[row] @ voices[other] / np.linalg.norm(voices[row]) / np.linalg.norm(voices[other]))
    assert score.chance == pytest.approx(np.mean(values), abs=1e-3) and score.chance < 0.95 < 0.999 < score.value


def test_pairs_lend_no_words_with_the_voice(corpus):
    pairs = conversion_pairs(corpus, 24, 2.0, 0)
    assert len(pairs) == 24 and all(pair.saying is not None for pair in pairs)
    for pair in pairs:
        words = [tuple(word.label for word in each.utterance.words) for each in (pair.source, pair.reference, pair.saying)]
        assert words[0] == words[2] != words[1] and pair.text == " ".join(words[0])
        assert pair.speakers[0] != pair.speakers[1] == pair.saying.utterance.speaker
    assert {sum(pair.speakers[0] == f"s{number}" for pair in pairs[:8]) for number in range(4)} == {2}  # in turn
    again = tuple(dataclasses.replace(each, id=f"{each.id}-again") for each in corpus)  # who says a sentence twice lends neither
    for pair in conversion_pairs(Corpus("twice", (*corpus.utterances, *again)), 60, 2.0, 0):
        assert pair.saying is not None and pair.reference.utterance.text != pair.source.utterance.text
    assert conversion_pairs(corpus, 24, 2.0, 0) == pairs != conversion_pairs(corpus, 24, 2.0, 1)


def test_no_reference_has_the_words_of_the_source_where_there_is_no_saying(corpus):
    """Without alignments, and beyond the pairs that have a saying: a reference of the same words would lend them with the voice."""
    bare = Corpus("bare", tuple(dataclasses.replace(each, words=(), text=each.text.upper()) for each in corpus))
    pairs = conversion_pairs(bare, 12, 2.0, 0)
    assert len(pairs) == 12 and all(pair.reference.utterance.text != pair.source.utterance.text for pair in pairs)
    one = Corpus(
        "one", tuple(each for each in corpus if each.id.endswith("0") or each.speaker == "s0")
    )  # the others have one sentence each
    for pair in conversion_pairs(one, 40, 2.0, 0):
        assert pair.reference.utterance.text != pair.source.utterance.text
    alike = Corpus("alike", tuple(each for each in corpus if each.id.endswith("0")))
    assert conversion_pairs(alike, 8, 2.0, 0) == ()
    unknown = Corpus("unknown", tuple(dataclasses.replace(each, words=(), text="") for each in alike))
    assert len(conversion_pairs(unknown, 4, 2.0, 0)) == 4


def test_a_saying_is_cut_at_the_same_words(corpus):
    for pair in conversion_pairs(corpus, 8, 0.9, 0):
        assert pair.text == pair.source.utterance.words[0].label
        for each in (pair.source, pair.saying):
            assert each.start + each.seconds == pytest.approx(each.utterance.words[0].end, abs=0.011)


def test_without_a_saying_or_words_there_is_no_mcd(corpus):
    alone = tuple(dataclasses.replace(each, words=(), text="") for each in corpus)
    found = list(probe(Corpus("alone", alone)).run(Halves(0)))
    assert ("", "mcd") not in table(found) and ("", "similarity_to_target") in table(found)
    said = {each.what: each.reason for each in found if isinstance(each, Undefined)}
    assert "no other speaker says" in said["mcd 1: 8 of 8 pairs"]


def test_codes_are_cut_or_repeated():
    source, reference = torch.arange(10).reshape(1, 2, 5), 100 + torch.arange(6).reshape(1, 2, 3)
    assert converted(source, reference, 1).tolist() == [[[0, 1, 2, 3, 4], [103, 104, 105, 103, 104]]]
    assert fitted(source, 3).tolist() == [[[0, 1, 2], [5, 6, 7]]]


def test_again_is_the_same_and_no_generator_moves(corpus):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    runs = [repr(table(probe(corpus, pairs=3).run(Halves(1)))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


def test_what_cannot_be_measured_is_said(corpus):
    with pytest.raises(RequestError, match="names 1 speaker, and conversion needs two"):
        probe(corpus.subset(frozenset({"s0"})))
    for wrong in ({"pairs": 1}, {"seconds": 0.2}, {"content": []}, {"content": [0]}, {"speaker": object()}):
        with pytest.raises(RequestError):
            probe(corpus, **wrong)
    (only,) = probe(corpus, content=[2]).run(Halves(0))
    assert isinstance(only, Undefined) and "some must be left for the voice" in only.reason
    mute = Halves(0)
    mute.codebooks = 0
    (only,) = probe(corpus).run(mute)
    assert "no codes to decode" in only.reason
    nan = Halves(0)
    nan.decode = lambda codes: torch.full((len(codes), codes.shape[2] * HOP), float("nan"))
    assert not table(probe(corpus, pairs=2).run(nan))


def test_the_twin_builds_it(corpus):
    made = experiment.probes({"v": config.twin("probes", "voice_conversion")}, corpus, None)["v"]
    assert isinstance(made, VoiceConversion) and len(made.pairs) == 40
    assert sum(pair.saying is not None for pair in made.pairs) == 36  # all that there are: 4 speakers, 3 sentences, 3 others


def test_what_is_not_a_number_is_listed_and_words_without_letters_are_no_words(corpus, monkeypatch):
    from laminal.probes import voice_conversion

    class Confused(Slope):
        def embed(self, wav, mask=None):
            return super().embed(wav, mask) * float("nan")

    found = list(probe(corpus, pairs=3, speaker=Confused()).run(Halves(0)))
    assert not any("similarity" in metric for _, metric in table(found)) and ("", "f0_correlation") in table(found)
    assert any(each.what.startswith("similarity_to_target") for each in found if isinstance(each, Undefined))
    monkeypatch.setattr(voice_conversion, "Recogniser", lambda model: lambda wav: "one two")
    mute = tuple(dataclasses.replace(each, words=(), text="..." if each.id.endswith("0") else "One, two!") for each in corpus)
    scores = table(probe(Corpus("mute", mute), asr="any").run(Halves(0)))
    assert scores["", "wer"].value == 0 and scores["", "wer"].n < 8


def test_only_speakers_that_the_tokenizer_has_not_heard(corpus):
    none = frozenset()
    split = Split(frozenset({"s0"}), frozenset({"s1", "s2", "s3"}), none, none, none, none)
    made = VoiceConversion(corpus, split, **SETTINGS)
    assert {speaker for pair in made.pairs for speaker in pair.speakers} == {"s1", "s2", "s3"}
