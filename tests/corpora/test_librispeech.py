"""LibriSpeech: every layout of the tree, subsets, bad files, and the real thing."""

import hashlib
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra.utils import instantiate

import oracle_textgrid
import oracle_tree
from laminal import config
from laminal.corpora.base import Corpus, Interval, Packed, Utterance
from laminal.corpora.librispeech import librispeech
from laminal.errors import RequestError

SUBSETS = ("dev-clean", "train-clean-100")


def test_a_small_tree_gives_words_phones_speakers_and_facts(tmp_path: Path) -> None:
    ids = oracle_tree.librispeech(tmp_path / "audio", tmp_path / "alignments")
    corpus = librispeech(tmp_path)
    assert [utterance.id for utterance in corpus] == ids and len(corpus) == 12
    assert corpus.speakers == ("100", "101")
    first = corpus[0]
    assert first.text == "hello world" and first.seconds == 1.0
    assert first.words == (Interval("hello", 0.2, 0.5), Interval("world", 0.5, 0.8))
    assert [(phone.label, phone.start) for phone in first.phones] == [("K", 0.2), ("AE", 0.35), ("K", 0.5), ("AE", 0.65)]
    assert corpus.wav(first, 8_000).shape == (8_000,)
    assert corpus.skipped == ()
    wanted = {"utterances": 12, "speakers": 2, "words": 24, "phones": 48, "transcribed": 12, "aligned_words": 1.0}
    assert {key: corpus.facts[key] for key in wanted} == wanted
    assert corpus.facts["hours"] == pytest.approx(12 / 3600, abs=1e-4) and corpus.facts["licence"] == "CC BY 4.0"
    assert "openslr.org/12" in str(corpus.facts["source"]) and "zenodo" in str(corpus.facts["source"])


def test_every_layout_is_the_same_corpus(tmp_path: Path) -> None:
    ids = oracle_tree.librispeech(tmp_path / "LibriSpeech", tmp_path / "grids", SUBSETS)
    oracle_tree.librispeech(tmp_path / "both", tmp_path / "both", SUBSETS)  # TextGrids beside the audio
    flat = tmp_path / "flat"  # without SUBSET
    for subset in SUBSETS:
        for grid in (tmp_path / "grids" / subset).rglob("*.TextGrid"):
            place = flat / grid.relative_to(tmp_path / "grids" / subset)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(grid.read_bytes())
    corpora = [
        librispeech(tmp_path, tmp_path / "grids"),  # as the archives unpack: root/LibriSpeech/SUBSET
        librispeech(str(tmp_path / "LibriSpeech"), str(tmp_path / "grids")),
        librispeech(tmp_path / "LibriSpeech", flat),
        librispeech(tmp_path / "both"),
        librispeech(tmp_path / "LibriSpeech", tmp_path / "grids", list(SUBSETS)),
    ]
    assert [utterance.id for utterance in corpora[0]] == ids
    assert len({corpus.sha256 for corpus in corpora}) == 1
    one = librispeech(tmp_path / "LibriSpeech" / "dev-clean", tmp_path / "grids")
    assert one.sha256 == librispeech(tmp_path / "LibriSpeech", tmp_path / "grids", "dev-clean").sha256
    assert one.speakers == ("100", "101") and corpora[0].speakers == ("100", "101", "200", "201")


def test_audio_without_words_must_be_asked_for(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path, None)
    with pytest.raises(RequestError, match=r"no TextGrid.*python -m laminal.corpora.align root=.*alignments=none"):
        librispeech(tmp_path)
    corpus = librispeech(tmp_path, "none")
    assert len(corpus) == 12 and corpus.facts["aligned_utterances"] == 0.0
    assert corpus[0].words == corpus[0].phones == () and corpus[0].text == "hello world"
    for transcript in tmp_path.rglob("*.trans.txt"):
        transcript.unlink()
    assert librispeech(tmp_path, "none")[0].text == ""


def test_wrong_requests_name_value_rule_and_cure(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path / "tree", tmp_path / "grids", SUBSETS[:1])
    (tmp_path / "empty").mkdir()
    for arguments, says in [
        ((tmp_path / "nowhere",), "nowhere is no folder"),
        ((tmp_path / "tree", tmp_path / "nowhere"), "alignments=.*nowhere is no folder"),
        ((tmp_path / "tree", tmp_path / "empty"), "holds no TextGrid"),
        ((tmp_path / "tree", tmp_path / "grids", ["dev-claen"]), "no subset dev-claen; its subsets are dev-clean"),
        ((tmp_path / "tree", tmp_path / "grids", ["test-other"]), r"lacks test-other \(there: dev-clean\)"),
        ((tmp_path / "empty", "none"), "holds no SPEAKER-CHAPTER-UTTERANCE.flac"),
        ((tmp_path / "tree", tmp_path / "grids", None, "syllables"), "the tiers are 'words', 'phones'"),
    ]:
        with pytest.raises(RequestError, match=says):
            librispeech(*arguments)


def spoil(kind: str, audio: Path, grid: Path) -> None:
    """Make one recording bad."""
    wav = np.random.default_rng(0).normal(0, 0.1, 16_000)
    match kind:
        case "unreadable":
            audio.write_text("this is no audio")
        case "empty":
            audio.write_bytes(b"")
        case "truncated":
            audio.write_bytes(audio.read_bytes()[:9_000])
        case "NaN":
            wav[500] = np.nan
            audio.unlink()
            soundfile.write(str(audio.with_suffix(".wav")), wav, 16_000, subtype="FLOAT")
        case "shorter than":
            soundfile.write(str(audio), wav[:1], 16_000)
        case "no TextGrid":
            grid.unlink()
        case "in the middle of a tier":
            grid.write_text(grid.read_text()[:700])
        case "before its neighbour":
            grid.write_text(grid.read_text().replace("xmin = 0.5", "xmin = 0.4", 1))
        case "before its start":
            grid.write_text(grid.read_text().replace("xmax = 0.5", "xmax = 0.1", 1))
        case "past the end":
            soundfile.write(str(audio), wav[:11_000], 16_000)


BAD = ["unreadable", "empty", "truncated", "NaN", "shorter than", "no TextGrid", "in the middle of a tier", "before its neighbour",
       "before its start", "past the end"]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_skipped_and_counted(tmp_path: Path, kind: str) -> None:
    ids = oracle_tree.librispeech(tmp_path / "audio", tmp_path / "alignments", each=5)
    victim = "100/2/100-2-0003"
    spoil(kind, tmp_path / "audio" / f"{victim}.flac", tmp_path / "alignments" / f"{victim}.TextGrid")
    corpus = librispeech(tmp_path)
    assert [utterance.id for utterance in corpus] == [name for name in ids if name != "100-2-0003"]
    [(file, reason)] = corpus.skipped
    assert "100-2-0003" in file and "100-2-0003" in reason and kind in reason
    assert corpus.facts["skipped"] == 1


def test_eight_channels_are_no_fault(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path / "audio", tmp_path / "alignments")
    oracle_tree.noise(tmp_path / "audio/100/1/100-1-0000.flac", channels=8)
    corpus = librispeech(tmp_path)
    assert corpus.skipped == () and corpus.wav(corpus[0], 16_000).shape == (16_000,)


def test_more_than_five_percent_bad_fails_with_the_head_of_the_list(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path / "audio", tmp_path / "alignments", each=10)  # 40 utterances: 2 may be bad
    victims = sorted((tmp_path / "audio").rglob("*.flac"))
    for victim in victims[:2]:
        victim.write_bytes(b"")
    assert len(librispeech(tmp_path).skipped) == 2
    for victim in victims[2:7]:
        victim.write_bytes(b"")
    with pytest.raises(RequestError, match=r"7 of 40 files are bad, at most 5% may be: .*100-1-0000.*100-1-0004.*and 2 more") as caught:
        librispeech(tmp_path)
    assert "100-1-0005" not in str(caught.value) and "\n" not in str(caught.value)


def test_packed_utterances_are_the_utterances() -> None:
    rows = [
        Utterance(f"u{i}", Path(f"{i}.wav"), f"s{i % 2}", tuple(Interval(f"w{j}", 0.1 * j, 0.1 * j + 0.1) for j in range(i)),
                  (Interval("AE", 1 / 3, 2 / 3),) * (i % 3), f"text {i}", i + 0.1)
        for i in range(7)
    ]  # fmt: skip
    packed = Packed(iter(rows))
    assert list(packed) == rows and packed[-1] == rows[-1] and packed[2:5] == tuple(rows[2:5])
    assert packed == rows and Packed(rows[:6]) != packed
    with pytest.raises(IndexError):
        packed[7]
    assert pickle.loads(pickle.dumps(packed)) == packed
    loose, dense = Corpus("c", tuple(rows)), Corpus("c", packed)
    assert loose.sha256 == dense.sha256 and loose.speakers == dense.speakers == ("s0", "s1")
    assert list(loose.subset(frozenset({"s1"}))) == list(dense.subset(frozenset({"s1"}))) == rows[1::2]
    assert len(Packed([])) == 0


def test_hash_says_what_is_said_and_not_where(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path / "a" / "audio", tmp_path / "a" / "alignments")
    oracle_tree.librispeech(tmp_path / "b" / "audio", tmp_path / "b" / "alignments")
    a, b = librispeech(tmp_path / "a"), librispeech(tmp_path / "b")
    digest = hashlib.sha256()
    for u in a:
        digest.update(f"{u.id}\t{u.speaker}\t{u.seconds:.4f}\n".encode())
        for tier in (u.words, u.phones):
            for i in tier:
                digest.update(f"{i.label} {i.start:.4f} {i.end:.4f};".encode())
    assert a.sha256 == b.sha256 == digest.hexdigest()
    oracle_tree.grid(tmp_path / "b/alignments/100/1/100-1-0000.TextGrid", "HELLO WORD")
    assert librispeech(tmp_path / "b").sha256 != a.sha256


def test_the_twin_has_all_arguments_and_loads(tmp_path: Path) -> None:
    oracle_tree.librispeech(tmp_path / "audio", tmp_path / "alignments")
    twin = config.override(config.twin("corpora", "librispeech"), [f"root={tmp_path}", "alignments=none"])
    assert len(instantiate(twin)) == 12
    assert {"_target_", *inspect.signature(librispeech).parameters} == set(twin)


@pytest.mark.data
def test_librispeech_mini_loads_as_it_stands(librispeech_mini: Path) -> None:
    corpus = librispeech(librispeech_mini)
    assert (len(corpus), len(corpus.speakers), sum(len(u.words) for u in corpus)) == (178, 104, 4769)
    assert corpus.skipped == () and corpus.facts["aligned_words"] == 1.0
    assert corpus.facts["hours"] == pytest.approx(30.1 / 60, abs=1e-3)
    phones = {phone.label for utterance in corpus for phone in utterance.phones}
    assert len(phones) == 39 and all(phone.isalpha() for phone in phones)
    for utterance in corpus:
        assert [word.label for word in utterance.words] == utterance.text.split()
        for tier in (utterance.words, utterance.phones):
            assert all(a.end <= b.start + 1e-6 for a, b in zip(tier, tier[1:]))
            assert all(0 <= i.start < i.end <= utterance.seconds for i in tier)
    other = librispeech(librispeech_mini / "audio", librispeech_mini / "alignments")
    assert other.sha256 == corpus.sha256
    path = librispeech_mini / "alignments/84/121123/84-121123-0002.TextGrid"
    wanted = [row for row in oracle_textgrid.read_long(path.read_text())[0][1] if row[2]]
    utterance = next(u for u in corpus if u.id == "84-121123-0002")
    assert [(w.start, w.end, w.label) for w in utterance.words] == wanted
    assert corpus.crop(utterance, wanted[3][0], 0.3, 16_000).shape == (4_800,)


@pytest.mark.data
def test_untranscribed_audio_loads_without_words(librispeech_untranscribed: Path) -> None:
    corpus = librispeech(librispeech_untranscribed, "none")
    assert (len(corpus), len(corpus.speakers)) == (154, 154)
    assert all(utterance.words == () and utterance.text == "" for utterance in corpus)
