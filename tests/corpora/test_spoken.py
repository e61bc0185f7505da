"""The spoken corpus: bit-exact, cached, shared by processes; who says what; voices that differ."""

import json
import math
import multiprocessing
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from laminal.corpora import espeak, spoken_plan, spoken_templates, spoken_text, spoken_voices
from laminal.corpora import spoken as module
from laminal.corpora.base import Corpus, Interval, Utterance
from laminal.corpora.split import make_split
from laminal.corpora.spoken import spoken
from laminal.errors import RequestError
from laminal.lexicon import pairs, pronounce, wordnet

SMALL = {"speakers": 6, "utterances": 48}


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("spoken")


@pytest.fixture(scope="module")
def corpus(cache):
    return spoken(**SMALL, cache=cache)


@pytest.fixture(scope="module")
def vocabulary():
    return spoken_text.vocabulary(spoken_text.material(), 240)


def test_two_builds_have_the_same_bytes(corpus, cache, tmp_path):
    again = spoken(**SMALL, cache=tmp_path)
    assert files(tmp_path) == files(cache)
    assert len(files(cache)) == 48 + 2
    assert again.sha256 == corpus.sha256 and again.facts["audio_sha256"] == corpus.facts["audio_sha256"]


def test_arguments_change_the_corpus(corpus, tmp_path):
    keys = {module._key(SMALL | extra) for extra in ({}, {"seed": 1}, {"speakers": 5}, {"utterances": 47}, {"examples": 0.2})}
    assert len(keys) == 5
    assert spoken(**SMALL, seed=1, cache=tmp_path).sha256 != corpus.sha256


def test_the_second_start_reads_what_is_there(corpus, cache, monkeypatch):
    monkeypatch.setattr(module, "_build", lambda *_, **__: pytest.fail("built again"))
    assert spoken(**SMALL, cache=cache).sha256 == corpus.sha256


def test_the_cache_is_where_the_environment_says(cache, corpus, monkeypatch, tmp_path):
    monkeypatch.setenv("LAMINAL_CACHE", str(tmp_path))
    shutil.copytree(cache, tmp_path / "spoken")
    monkeypatch.setattr(module, "_build", lambda *_, **__: pytest.fail("built again"))
    assert spoken(**SMALL)[0].path.is_relative_to(tmp_path / "spoken")


def test_an_utterance_alone_is_the_utterance_in_the_whole(corpus):
    for utterance in random.Random(0).sample(list(corpus), 12):
        speaker, number = (int(part.removeprefix("spk")) for part in utterance.id.split("-"))
        who = spoken_voices.speaker(speaker, 0)
        made = spoken_voices.record(espeak.engine().say(utterance.text, who.voice, pronounce.pronunciations), who, (0, 5, number))
        stored, rate = soundfile.read(utterance.path, dtype="int16")
        assert rate == 16000 and np.abs(stored - np.clip(np.round(made.samples * 32768), -32768, 32767)).max() <= 1
        assert tuple(Interval(*word) for word in made.words) == utterance.words
        assert tuple(Interval(*phone) for phone in made.phones) == utterance.phones


def test_utterances_are_sorted_and_timed(corpus):
    assert [u.id for u in corpus] == sorted(u.id for u in corpus) and len(corpus) == 48 and not corpus.skipped
    for utterance in corpus:
        assert [w.label for w in utterance.words] == spoken_text.tokens(utterance.text)
        assert {p.label for p in utterance.phones} <= set(pronounce.PHONES)
        assert utterance.seconds == soundfile.info(utterance.path).frames / 16000
        assert utterance.words[0].start > 0.02 and utterance.words[-1].end < utterance.seconds
        starts = {p.start for p in utterance.phones}
        assert all(w.start in starts for w in utterance.words)


def test_the_time_stamps_follow_the_vocal_tract(corpus):
    """Energy lies inside the words: times that were not scaled with the resampling would drift past them."""
    for utterance in corpus:
        wav = corpus.wav(utterance, 16000).numpy()
        first, last = (round(t * 16000) for t in (utterance.words[0].start, utterance.words[-1].end))
        inside = np.sqrt(np.mean(wav[first:last] ** 2))
        for edge in (wav[: first - 80], wav[last + 80 :]):
            assert np.sqrt(np.mean(edge**2)) < 0.2 * inside, utterance.id


def test_levels_and_backgrounds_vary(corpus):
    level, noise = {}, {}
    for utterance in corpus:
        wav = corpus.wav(utterance, 16000).numpy()
        assert np.abs(wav).max() <= 0.98
        level[utterance.id] = 20 * np.log10(np.sqrt(np.mean(wav**2)))
        noise[utterance.speaker] = 20 * np.log10(np.sqrt(np.mean(wav[:400] ** 2)))
    assert min(level.values()) > -36 and max(level.values()) < -14 and np.std(list(level.values())) > 1.5
    assert max(noise.values()) - min(noise.values()) > 6 and max(noise.values()) < -50


def test_speakers_sound_different(corpus):
    """The mean log spectrum of half of a speaker's utterances, whatever its level, finds the other half among all speakers."""
    halves: dict[str, list[list[np.ndarray]]] = defaultdict(lambda: [[], []])
    for place, utterance in enumerate(sorted(corpus, key=lambda u: u.id)):
        wav = corpus.wav(utterance, 16000).numpy()
        frames = np.abs(np.fft.rfft(wav[: len(wav) // 400 * 400].reshape(-1, 400) * np.hanning(400), 512)) ** 2
        voiced = frames[frames.sum(1) > 1e-3 * frames.sum(1).max()]
        bands = np.log(voiced[:, :256].reshape(len(voiced), 32, 8).mean(2) + 1e-10).mean(0)
        halves[utterance.speaker][place % 2].append(bands - bands.mean())
    means = [np.stack([np.mean(halves[s][h], 0) for s in sorted(halves)]) for h in (0, 1)]
    distance = ((means[0][:, None] - means[1][None]) ** 2).sum(-1)
    assert (distance.argmin(1) == np.arange(len(distance))).mean() >= 0.8


def test_speakers_do_not_depend_on_their_number():
    voices = [spoken_voices.speaker(number, 0) for number in range(120)]
    assert spoken_voices.speaker(7, 0).voice == voices[7].voice and spoken_voices.speaker(7, 1).voice != voices[7].voice
    assert len({v.voice for v in voices}) == 120
    assert {v.voice.variant for v in voices[: len(spoken_voices.VARIANTS)]} == set(spoken_voices.VARIANTS)
    assert {v.voice.accent for v in voices[:13]} == set(espeak.ACCENTS)
    assert math.gcd(len(spoken_voices.ACCENTS), len(spoken_voices.VARIANTS)) == 1  # so combinations do not come round early
    assert min(v.tract for v in voices) < 0.9 and max(v.tract for v in voices) > 1.13


def build(cache: str) -> str:
    return spoken(**SMALL, cache=cache).sha256


def test_two_processes_at_once_make_one_corpus(corpus, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(build, [str(tmp_path)] * 2, chunksize=1) == [corpus.sha256] * 2
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_what_a_dead_process_left_is_removed_and_made_anew(corpus, tmp_path):
    name = corpus[0].path.parents[2].name
    (tmp_path / name / "audio").mkdir(parents=True)  # a folder without manifest is no corpus
    (tmp_path / f".{name}.part-dead" / "audio").mkdir(parents=True)
    assert spoken(**SMALL, cache=tmp_path).sha256 == corpus.sha256
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [name]


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.soundfile, "write", full)
    with pytest.raises(RequestError, match=r"No space left.*LAMINAL_CACHE"):
        spoken(**SMALL, cache=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_damaged_corpus_is_named(cache, corpus, tmp_path):
    shutil.copytree(cache, tmp_path / "cache")
    folder = tmp_path / "cache" / corpus[0].path.parents[2].name
    next(folder.rglob("*.flac")).unlink()
    with pytest.raises(RequestError, match="47 audio files for 48 utterances.*delete"):
        spoken(**SMALL, cache=tmp_path / "cache")


@pytest.mark.parametrize("wrong", [{"speakers": 0}, {"speakers": 9, "utterances": 8}, {"examples": 1.5}])
def test_impossible_sizes_are_refused(wrong, tmp_path):
    with pytest.raises(RequestError):
        spoken(**(SMALL | wrong), cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_vocabulary_stops_growing_at_what_there_is():
    assert spoken_plan.vocabulary_size(10**6) == spoken_plan.MOST_WORDS
    largest = spoken_text.vocabulary(spoken_text.material(), spoken_plan.MOST_WORDS)
    together = sum(a in largest.sentences and b in largest.sentences for a, b in spoken_text.material().core)
    assert together >= 4000  # 1,200 of them can be held out


def test_more_words_than_there_are_is_refused():
    with pytest.raises(RequestError, match="offer"):
        spoken_text.vocabulary(spoken_text.material(), 50_000)


def test_the_manifest_says_where_it_comes_from(corpus):
    manifest = json.loads((corpus[0].path.parents[2] / "manifest.json").read_text())
    assert manifest["arguments"] == SMALL | {"seed": 0, "examples": 0.5} and len(manifest["vocabulary"]) >= 8
    assert "GPL-3" in corpus.facts["licence"] and corpus.facts["hours"] == pytest.approx(sum(u.seconds for u in corpus) / 3600, abs=1e-4)


# the sentences


def test_templates_are_many_and_their_words_known():
    classes = Counter(name for template in spoken_templates.TEMPLATES for name in set(spoken_templates.slots(template)))
    assert len(set(spoken_templates.TEMPLATES)) == len(spoken_templates.TEMPLATES) >= 60 and len(classes) >= 15
    assert set(classes) <= {wordnet.lexname(e.synset) for e in wordnet.examples()}
    assert sum(times >= 2 for times in classes.values()) >= 30
    for template in spoken_templates.TEMPLATES:
        assert set(spoken_text.tokens(spoken_templates.bare(template))) <= pronounce.words(), template


def test_articles_go_by_sound():
    assert spoken_templates.articles("a hour with an apple, an university and a dog") == "an hour with an apple, a university and a dog"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("He left; she stayed.", "he left, she stayed"),
        ("Did you see it?", "did you see it?"),
        ("it cost 50 dollars", None),
        ("a `quoted' word here", None),
        ("two words", None),
        ("a qqqzx on the table", None),
        ("mail a package c.o.d", None),
    ],
)
def test_examples_are_cleaned(text, line):
    assert spoken_text.clean(text) == line


def test_no_chain_of_synonyms_is_long():
    """Counted anew from what is said, by breadth-first search."""
    source = spoken_text.material()
    vocabulary = spoken_text.vocabulary(source, 600)
    lines = spoken_plan.plan(vocabulary, 20, 1200, 0, 0.5)
    said = {word for line in lines for word in spoken_text.tokens(line.text) if word.isalpha()}
    near = defaultdict(set)
    for pair in pairs.synonyms_core(said):
        near[pair.a].add(pair.b)
        near[pair.b].add(pair.a)
    sizes, seen = [], set()
    for word in near:
        if word not in seen:
            part, edge = {word}, [word]
            while edge:
                fresh = near[edge.pop()] - part
                part |= fresh
                edge += fresh
            seen |= part
            sizes.append(len(part))
    assert max(sizes) <= spoken_text.LARGEST_COMPONENT and len(sizes) > 50
    assert not said & spoken_text.UNSAID


def test_words_of_a_slot_are_of_its_class(vocabulary):
    for word in vocabulary.words:
        first = {s.lexname for s in wordnet.senses(word) if s.rank < 2}
        assert set(vocabulary.classes[word]) <= first, word
        assert vocabulary.near[word] & set(vocabulary.words)
    found = Counter(name for names in vocabulary.classes.values() for name in names)
    assert len(found) >= 35 and found["adj.all"] < 0.4 * len(vocabulary.words)  # classes are balanced


def test_swapped_examples_are_of_the_word_own_synset(vocabulary):
    source = spoken_text.material()
    held = defaultdict(set)
    for text, synset, _ in source.examples:
        held[text].add(synset)
    swapped = 0
    for word in vocabulary.words[:40]:
        own = {s.synset for s in wordnet.senses(word) if s.rank < 2}
        for line in set(vocabulary.sentences[word]) - held.keys():
            swapped += 1
            as_said = " ".join(spoken_text.tokens(line))
            others = [(text, m) for synset in own for text, members in source.examples_of.get(synset, ()) for m in members]
            swaps = ([word if w == m else w for w in spoken_text.tokens(text)] for text, m in others)
            origins = [said for said in swaps if spoken_templates.articles(" ".join(said)) == as_said]
            assert origins, (word, line)
    assert swapped > 20


def test_every_word_is_said_by_many_speakers_in_any_part(vocabulary):
    lines = spoken_plan.plan(vocabulary, 20, 600, 0, 0.5)
    assert Counter(Counter(line.speaker for line in lines).values()) == {30: 20}
    assert 0.4 < np.mean([line.source == "example" for line in lines]) < 0.6
    said = defaultdict(set)
    for line in lines:
        for word in spoken_text.tokens(line.text):
            said[word].add(line.speaker)
    counts = [len(said[word]) for word in vocabulary.words]
    assert min(counts) >= 4 and np.median(counts) <= min(counts) + 2  # evenly
    for seed in range(5):  # whichever fifth is held out: nearly all words are trained by 2 speakers, most are tested
        test = set(random.Random(seed).sample(range(20), 4))
        assert np.mean([len(said[word] - test) >= 2 for word in vocabulary.words]) > 0.98
        assert np.mean([len(said[word] & test) >= 1 for word in vocabulary.words]) > 0.55
    texts = Counter((line.speaker, line.text) for line in lines)
    assert max(texts.values()) == 1
    assert lines == spoken_plan.plan(vocabulary, 20, 600, 0, 0.5) != spoken_plan.plan(vocabulary, 20, 600, 1, 0.5)


def test_the_share_of_examples_is_an_argument(vocabulary):
    assert {line.source for line in spoken_plan.plan(vocabulary, 4, 60, 0, 1.0)} == {"example"}
    assert sum(line.source == "template" for line in spoken_plan.plan(vocabulary, 4, 60, 0, 0.0)) > 45  # a few words fit no slot


@pytest.mark.slow
def test_the_default_size_tests_300_pairs_of_each_kind():
    """Planned, not said: every word 0.3 s long; new_pair and new_word in test speakers, by two of them."""
    vocabulary = spoken_text.vocabulary(spoken_text.material(), spoken_plan.vocabulary_size(7600))
    lines = spoken_plan.plan(vocabulary, 40, 7600, 0, 0.5)
    utterances = []
    for number, line in enumerate(lines):
        words = tuple(Interval(word, 0.3 * i, 0.3 * i + 0.3) for i, word in enumerate(spoken_text.tokens(line.text)))
        utterances.append(Utterance(f"{number:05d}", Path("none"), f"spk{line.speaker}", words, (), line.text, 0.3 * len(words)))
    corpus = Corpus("planned", tuple(utterances))
    for seed in range(3):
        split = make_split(corpus, seed)
        by = defaultdict(set)
        for utterance in corpus.subset(split.test_speakers):
            for word in utterance.words:
                if word.label.isalpha():
                    by[word.label].add(utterance.speaker)
        for found in (pairs.synonyms_core(by), pairs.synonyms(by), pairs.near_homophones(by)):
            tiers = Counter(split.tier(pair.a, pair.b) for pair in found if len(by[pair.a] | by[pair.b]) > 1)
            assert min(tiers["new_pair"], tiers["new_word"], tiers["trained"]) >= 300, tiers
