"""Forced alignment: against speech whose times are exact, against real grids, and as a command that can be cut off."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from laminal import audio
from laminal.corpora import textgrid
from laminal.corpora.align import COLUMNS, align, align_recordings, main, read_dictionary
from laminal.corpora.base import Interval
from laminal.corpora.espeak import Voice, engine
from laminal.corpora.folder import folder
from laminal.corpora.forced import Aligner, spelled, spoken_words
from laminal.corpora.librispeech import librispeech
from laminal.corpora.recordings import Recording
from laminal.errors import DataError, RequestError
from laminal.lexicon.pronounce import pronunciations

TEXTS = {
    "ann/a1": "the old man walked slowly down to the river",
    "ann/a2": "she bought seven yellow flowers this morning",
    "bob/b1": "nobody could explain why the window was open",
    "bob/b2": "he carried the heavy table across the garden",
}


def say(text: str, accent: str = "en-us") -> tuple[np.ndarray, list[Interval]]:
    """Speech at 16 kHz and its words with exact times."""
    speech = engine().say(text, Voice(accent, "", 160, 50, 50), pronunciations)
    wav = audio.resample(speech.samples.astype(np.float32) / 32768, speech.sample_rate, 16_000)
    return wav, [Interval(word.label, word.start / speech.sample_rate, word.end / speech.sample_rate) for word in speech.words]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spoken")
    for name, text in TEXTS.items():
        path = root / f"{name}.flac"
        path.parent.mkdir(exist_ok=True)
        audio.write(path, say(text)[0], 16_000)
        path.with_suffix(".txt").write_text(text.capitalize() + ".")
    return root


@pytest.fixture
def copied(spoken: Path, tmp_path: Path) -> Path:
    for path in spoken.rglob("*.*"):
        place = tmp_path / "set" / path.relative_to(spoken)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return tmp_path / "set"


def quality(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}


def test_words_are_found_where_they_are_said() -> None:
    aligner, off = Aligner(), []
    for text in TEXTS.values():
        wav, exact = say(text)
        found = aligner.align(wav, text)
        assert [word.label for word in found.words] == text.split()
        off += [abs(a.start - b.start) + abs(a.end - b.end) for a, b in zip(found.words, exact, strict=True)]
        assert found.spelled == () and -30 < found.score < 0 and found.worst_score <= found.score
        assert found.worst_word in text.split() and 0 <= found.shortest < 0.5 and 0.05 < found.longest < 1.0
        for word in found.words:  # each is its phones, laid end to end, as one of its pronunciations
            inside = [phone for phone in found.phones if word.start <= phone.start < word.end]
            assert (inside[0].start, inside[-1].end) == (word.start, word.end)
            assert all(a.end == b.start for a, b in zip(inside, inside[1:]))
            assert tuple(phone.label for phone in inside) in pronunciations(word.label)
    assert np.mean(off) / 2 < 0.03 and np.median(off) / 2 < 0.015  # s; measured 0.014 and 0.007 over three accents


def test_nothing_depends_on_what_came_before() -> None:
    first, _ = say(TEXTS["ann/a1"])
    other, _ = say(TEXTS["bob/b1"], "en-gb-scotland")
    kept = first.copy()
    fresh = Aligner().align(first, TEXTS["ann/a1"])
    used = Aligner()
    used.align(other, TEXTS["bob/b1"])
    with pytest.raises(DataError, match="400 words do not fit"):
        used.align(other, "hello " * 400)
    with pytest.raises(DataError, match="digits"):
        used.align(other, "it is 5 o'clock")
    assert used.align(first, TEXTS["ann/a1"]) == fresh
    np.testing.assert_array_equal(first, kept)  # the audio given is left alone


def test_unknown_words_are_spelled_looked_up_or_refused() -> None:
    text = "the zorbling walked slowly down to the river"
    wav, exact = say("the old man walked slowly down to the river")
    guessed = Aligner().align(wav, text)
    assert guessed.spelled == ("zorbling",) and [word.label for word in guessed.words] == text.split()
    with pytest.raises(DataError, match="'zorbling' is in no dictionary; .*dictionary=.*unknown=spell"):
        Aligner(spell=False).align(wav, text)
    told = Aligner({"zorbling": (("Z", "AO"), ("OW", "L", "D", "M", "AE", "N"))}, spell=False).align(wav, text)
    assert told.spelled == ()
    assert abs(told.words[1].start - exact[1].start) < 0.05 and abs(told.words[1].end - exact[2].end) < 0.05
    assert [p.label for p in told.phones if told.words[1].start <= p.start < told.words[1].end] == ["OW", "L", "D", "M", "AE", "N"]
    with pytest.raises(DataError, match="cannot be pronounced 'QQ'"):
        Aligner({"zorbling": (("QQ",),)}).align(wav, text)


def test_audio_without_speech_or_text_without_words() -> None:
    for text in ("", "...", "\u2014 -"):
        with pytest.raises(DataError, match="no words"):
            Aligner().align(np.zeros(16_000, np.float32), text)
    with pytest.raises(DataError, match="do not fit"):
        Aligner().align(np.zeros(1_600, np.float32), TEXTS["ann/a1"] * 3)


def test_transcripts_become_words() -> None:
    assert spoken_words("\u201cWell-known,\u201d said Ren\u00e9; \u2019tis o\u2019clock & all\u2014THE end.") == (
        "well", "known", "said", "rene", "'tis", "o'clock", "and", "all", "the", "end",
    )  # fmt: skip
    with pytest.raises(DataError, match="'4th' has digits"):
        spoken_words("on the 4th of July")


@pytest.mark.parametrize(
    ("word", "phones"),
    [("ship", "SH IH P"), ("o'er", "AA ER"), ("nation", "N AE SH AH N"), ("bake", "B AE K"), ("queen", "K W IY N")],
)
def test_spelling_by_rule(word: str, phones: str) -> None:
    assert spelled(word) == tuple(phones.split())


def test_the_command_writes_grids_and_figures_and_does_nothing_twice(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"root={copied}"]) == 0
    assert "4 TextGrids written" in capsys.readouterr().out
    out = copied / "alignments"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.TextGrid")}
    assert sorted(path.relative_to(out).as_posix() for path in before) == [f"{name}.TextGrid" for name in TEXTS]
    rows = quality(out / "quality.tsv")
    assert list(rows) == list(TEXTS) and list(rows["ann/a1"]) == list(COLUMNS)
    for name, row in rows.items():
        assert int(row["words"]) == len(TEXTS[name].split()) and row["reason"] == "" and 0.3 < float(row["speech"]) <= 1.0
        grid = textgrid.read(out / f"{name}.TextGrid")
        assert grid.end == audio.info(copied / f"{name}.flac").seconds
        for tier in grid.tiers:  # no gaps, from 0 to the end
            assert tier.intervals[0].start == 0.0 and tier.intervals[-1].end == grid.end
            assert all(a.end == b.start for a, b in zip(tier.intervals, tier.intervals[1:]))
    corpus = folder(copied)
    assert [(u.id, [w.label for w in u.words]) for u in corpus] == [(name, text.split()) for name, text in TEXTS.items()]

    assert main([f"root={copied}"]) == 0
    assert "0 TextGrids written; 4 were there" in capsys.readouterr().out
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.rglob("*.TextGrid")}


def test_a_run_cut_off_goes_on_to_the_same_end(copied: Path, tmp_path: Path) -> None:
    whole = align(str(copied), str(tmp_path / "whole"))
    assert (whole.written, whole.there, whole.refused) == (4, 0, ())
    out = tmp_path / "cut"
    align(str(copied), str(out))
    (out / "bob/b1.TextGrid").unlink()  # killed between the row and the grid,
    (out / "bob/b2.TextGrid").unlink()
    rows = (out / "quality.tsv").read_text().splitlines(keepends=True)
    (out / "quality.tsv").write_text("".join(rows[:-1]) + rows[-1][:9])  # and in the middle of a row
    again = align(str(copied), str(out))
    assert (again.written, again.there) == (2, 2)
    for path in (tmp_path / "whole").rglob("*.*"):
        assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_a_killed_process_leaves_whole_grids_only(copied: Path, tmp_path: Path) -> None:
    for index in range(30):
        for suffix in ("flac", "txt"):
            (copied / f"more{index:02d}.{suffix}").write_bytes((copied / f"ann/a1.{suffix}").read_bytes())
    out = tmp_path / "out"
    command = [sys.executable, "-m", "laminal.corpora.align", f"root={copied}", f"out={out}"]
    process = subprocess.Popen(command, start_new_session=True)
    began = time.monotonic()
    while len(list(out.rglob("[!.]*.TextGrid"))) < 5 and time.monotonic() - began < 60:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = list(out.rglob("[!.]*.TextGrid"))
    assert 5 <= len(there) < 34
    for path in there:
        textgrid.read(path)
    assert subprocess.run(command, check=False).returncode == 0
    assert len(list(out.rglob("[!.]*.TextGrid"))) == 34 and len(quality(out / "quality.tsv")) == 34
    assert len({path.read_bytes() for path in out.glob("more*.TextGrid")}) == 1


def test_what_cannot_be_aligned_is_refused_with_a_reason_and_tried_again(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "ann/a2.txt").write_text("room 101")
    (copied / "bob/b1.txt").unlink()
    (copied / "bob/b2.flac").write_bytes(b"")
    assert main([f"root={copied}"]) == 1
    told = capsys.readouterr()
    assert "1 TextGrids written" in told.out and "3 utterances refused" in told.out
    assert "'101' has digits" in told.err and "no transcript" in told.err and "empty audio" in told.err
    rows = quality(copied / "alignments/quality.tsv")
    assert {name: bool(row["reason"]) for name, row in rows.items()} == dict(zip(TEXTS, [False, True, True, True], strict=True))
    (copied / "ann/a2.txt").write_text(TEXTS["ann/a2"])
    assert main([f"root={copied}"]) == 1
    assert quality(copied / "alignments/quality.tsv")["ann/a2"]["reason"] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing given; say root=DIR"),
        (["root=."], "holds no audio"),
        (["root=nowhere"], "nowhere is no folder"),
        (["rot=."], "rot given; say root=DIR"),
        (["root=SET", "jobs=two"], "jobs=two is no count"),
        (["root=SET", "unknown=guess"], "neither spell nor skip"),
        (["root=SET", "dictionary=none.dict"], "dictionary=none.dict cannot be read"),
        (["root=SET", "manifest=none.csv"], "none.csv is no file"),
    ],
)
def test_wrong_requests_exit_with_2_and_one_line(
    copied: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main([argument.replace("SET", str(copied)) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1


def test_dictionaries_are_read(tmp_path: Path) -> None:
    path = tmp_path / "my.dict"
    path.write_text("Villefort V IH1 L F AO2 R\n\nvillefort(2) v iy l f ao r\nkine K AY N\n")
    villefort = (("V", "IH", "L", "F", "AO", "R"), ("V", "IY", "L", "F", "AO", "R"))
    assert read_dictionary(path) == {"villefort": villefort, "kine": (("K", "AY", "N"),)}
    path.write_text("kine\n")
    with pytest.raises(RequestError, match="'kine' has no phones"):
        read_dictionary(path)


def test_manifests_and_folders_can_be_aligned(copied: Path, tmp_path: Path) -> None:
    (copied / "list.csv").write_text("path,text,speaker\nann/a1.flac,The old man walked slowly down to the river.,Ann\n")
    assert align(str(copied), str(tmp_path / "a"), manifest=str(copied / "list.csv")).written == 1
    corpus = folder(copied, tmp_path / "b", manifest=copied / "list.csv", align=True)
    assert corpus.speakers == ("Ann",) and [w.label for w in corpus[0].words] == TEXTS["ann/a1"].split()
    assert folder(copied, align=True).facts["aligned_utterances"] == 1.0
    assert len(list((copied / "alignments").rglob("*.TextGrid"))) == 4


@pytest.mark.slow
def test_processes_change_nothing(copied: Path, tmp_path: Path) -> None:
    align(str(copied), str(tmp_path / "one"))
    align(str(copied), str(tmp_path / "two"), jobs="2")
    for path in (tmp_path / "one").rglob("*.*"):
        assert (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes() == path.read_bytes()


@pytest.mark.data
def test_real_speech_is_aligned_as_its_grids_are(librispeech_mini: Path, tmp_path: Path) -> None:
    corpus = librispeech(librispeech_mini)
    some = [corpus[index] for index in range(0, 178, 30)]
    recordings = [Recording(u.id, u.path, u.speaker, u.text, None) for u in some]
    assert align_recordings(recordings, tmp_path, librispeech_mini / "oov_manual.dict").refused == ()
    off = []
    for u in some:
        words = textgrid.words(textgrid.read(tmp_path / f"{u.id}.TextGrid").tier("words"), u.seconds)
        assert [word.label for word in words] == [word.label for word in u.words]
        off += [abs(a.start - b.start) for a, b in zip(words, u.words)] + [abs(a.end - b.end) for a, b in zip(words, u.words)]
    assert np.mean(off) < 0.02 and np.median(off) < 0.0101  # s; measured 0.0066 and 0 over all 178


@pytest.mark.data
def test_quality_figures_tell_a_wrong_transcript(librispeech_mini: Path) -> None:
    corpus = librispeech(librispeech_mini)
    right, wrong = [], []
    aligner = Aligner()
    short = sorted((u for u in corpus if len(u.words) > 8), key=lambda u: u.seconds)[:6]
    for u, other in zip(short, short[::-1], strict=True):
        wav = audio.read(u.path, 16_000)
        right.append(aligner.align(wav, u.text).score)
        count = min(len(u.text.split()), len(other.text.split()))
        try:
            wrong.append(aligner.align(wav, " ".join(other.text.split()[:count])).score)
        except DataError:
            wrong.append(-np.inf)
    assert all(a > b for a, b in zip(right, wrong, strict=True)), (right, wrong)


def test_stereo_at_another_rate_is_aligned(copied: Path, tmp_path: Path) -> None:
    wav = audio.resample(say(TEXTS["ann/a1"])[0], 16_000, 44_100)
    soundfile.write(str(tmp_path / "a.wav"), np.stack([wav, 0.5 * wav], axis=1), 44_100)
    (tmp_path / "a.lab").write_text(TEXTS["ann/a1"])
    corpus = folder(tmp_path, align=True, speaker="(.)")
    assert [w.label for w in corpus[0].words] == TEXTS["ann/a1"].split()
