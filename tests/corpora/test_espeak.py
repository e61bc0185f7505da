"""espeak-ng: phones of all accents are known, times are exact, and nothing depends on what was said before."""

import random
import re
import sys

import numpy as np
import pytest

from laminal.corpora import espeak, espeak_phones
from laminal.errors import DataError, RequestError
from laminal.lexicon import pronounce, wordnet

SENTENCES = (
    "she went to the market in the morning, and in front of the bakery she met one of us",
    "humans came to drink the butter of the bigger bottle",
    "a paper about rapid acting",
    "the french treat food with gentle awe",
)


def voice(accent="en-us", variant="", rate=175):
    return espeak.Voice(accent, variant, rate, 50, 50)


def say(text, *how):
    return espeak.engine().say(text, voice(*how), pronounce.pronunciations)


def test_every_phoneme_of_every_accent_is_an_arpabet_phone():
    words = sorted(word for word in pronounce.words() if word.isascii() and word.isalpha())
    random.Random(0).shuffle(words)
    examples = [line for line in (e.text.lower() for e in wordnet.examples()[::600]) if re.fullmatch(r"[a-z' ,]+", line)]
    unknown = set()
    for accent in espeak.ACCENTS:
        for text in [" ".join(words[i : i + 12]) for i in range(0, 360, 12)] + examples:
            events = espeak.engine().raw(text, voice(accent, rate=350))[1]
            names = {e.name for e in events if e.kind == espeak_phones.PHONEME} - espeak_phones.PAUSES
            unknown |= {(accent, name) for name in names if name not in espeak_phones.ARPABET}
    assert not unknown
    known = {phone for phones in (*espeak_phones.ARPABET.values(), *espeak_phones.NON_RHOTIC.values()) for phone in phones}
    assert known == set(pronounce.PHONES)


def test_an_unknown_phoneme_names_itself_and_the_accent():
    with pytest.raises(DataError, match=r"'qq' of en-us.*ARPABET"):
        espeak_phones.arpabet("qq", "en-us")


def test_accents_differ_where_r_is_said():
    assert [p.label for p in say("card").phones] == ["K", "AA", "R", "D"]
    assert [p.label for p in say("card", "en-gb-x-rp").phones] == ["K", "AA", "D"]
    assert [p.label for p in say("the bird").phones][-3:] == ["B", "ER", "D"]
    assert [p.label for p in say("the bird", "en-gb-scotland").phones][-3:] == ["B", "ER", "D"]


@pytest.mark.parametrize("accent", espeak.ACCENTS)
@pytest.mark.parametrize("text", SENTENCES)
def test_words_and_phones_tile(accent, text):
    said = say(text, accent, "m3")
    assert [w.label for w in said.words] == re.findall(r"[a-z']+", text)
    assert all(a.end <= b.start for tier in (said.words, said.phones) for a, b in zip(tier, tier[1:], strict=False))
    assert said.words[0].start >= 0 and said.words[-1].end <= len(said.samples)
    for word in said.words:
        inside = [p for p in said.phones if word.start <= p.start and p.end <= word.end]
        assert inside[0].start == word.start and inside[-1].end == word.end
        assert all(a.end == b.start for a, b in zip(inside, inside[1:], strict=False)) and all(p.end > p.start for p in inside)
    assert sum(len([p for p in said.phones if w.start <= p.start < w.end]) for w in said.words) == len(said.phones)


def test_words_run_together_are_cut_where_the_dictionary_says():
    said = say("he stood in the front of the house in front of the table")
    for word in said.words:
        phones = tuple(p.label for p in said.phones if word.start <= p.start < word.end)
        if word.label in ("in", "the", "of"):
            assert phones in pronounce.pronunciations(word.label) or phones == ("DH", "IH"), (word.label, phones)


def test_a_stop_begins_with_its_closure():
    """By ear and by every aligner: the silence before a burst is the stop's, within a word and at its beginning."""
    said = say("rapid actors copy a paper")
    closed = [p for p in said.phones[1:] if p.label in ("P", "K") and np.abs(said.samples[p.start : p.start + 600].astype(int)).max() <= 2]
    stops = [p for p in said.phones[1:] if p.label in ("P", "K")]
    assert len(stops) >= 5 and len(closed) == len(stops)
    for phone in stops:
        assert np.abs(said.samples[phone.start - 60 : phone.start].astype(int)).max() > 2  # and with nothing before it


def test_a_phoneme_without_word_event_is_not_placed_by_the_sentence_before():
    long = "the very last of the many words in this long sentence was quite another"
    before = say("humans, knee and toad came to drink", "en-us-nyc")
    say(long, "en-us-nyc")
    after = say("humans, knee and toad came to drink", "en-us-nyc")
    assert after.words == before.words and after.words[0].label == "humans"


def test_every_call_is_independent_of_the_calls_before():
    voices = [("en-us", "f1"), ("en-gb-x-rp", "klatt2"), ("en-029", "steph"), ("en", "m8", 220), ("en-us", "Reed"), ("en-gb-scotland", "")]
    calls = [(text, *how) for text in SENTENCES for how in voices]
    first = {call: say(*call) for call in calls}
    for order in (0, 1):
        for call in random.Random(order).sample(calls, len(calls)):
            again = say(*call)
            assert np.array_equal(again.samples, first[call].samples), call
            assert again.words == first[call].words and again.phones == first[call].phones


def test_times_are_those_of_an_independent_aligner():
    """pocketsphinx marks phone boundaries some 8 ms early; around that the two agree within 10 ms."""
    pytest.importorskip("pocketsphinx")
    soxr = pytest.importorskip("soxr")
    from laminal.corpora.forced import Aligner

    aligner, words, phones = Aligner(), [], []
    texts = ("she went to the market in the morning", "the farmer saw a cow in the field", "the children fed the happy goat at the zoo")
    for text in texts:
        said = say(text)
        found = aligner.align(soxr.resample(said.samples.astype(np.float32) / 32768, said.sample_rate, 16000), text)
        assert [i.label for i in found.words] == [w.label for w in said.words]
        words += [w.start / said.sample_rate - i.start for i, w in zip(found.words, said.words, strict=True)]
        if len(found.phones) == len(said.phones):
            phones += [w.start / said.sample_rate - i.start for i, w in zip(found.phones, said.phones, strict=True)]
    assert len(words) == 25 and len(phones) >= 20
    assert np.median(np.abs(words)) <= 0.012 and np.median(np.abs(phones)) <= 0.016
    assert np.median(np.abs(phones - np.median(phones))) <= 0.010


def test_without_the_extra_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(RequestError, match=r"pip install 'laminal\[spoken\]'"):
        espeak.Engine()


def test_an_unknown_voice_is_refused():
    with pytest.raises(RequestError, match="en-xx"):
        say("hello", "en-xx")
