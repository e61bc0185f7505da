"""Any folder: formats, transcripts, manifests, speakers, TextGrids; and vctk-mini as it stands."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import instantiate

import oracle_tree
from laminal import config
from laminal.corpora import folder as module
from laminal.corpora.folder import folder
from laminal.corpora.librispeech import librispeech
from laminal.errors import RequestError


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two speakers, all formats, rates and channels; transcripts and TextGrids beside the audio."""
    kinds = [("ann", "a1.wav", 44_100, 2), ("ann", "a.2.flac", 16_000, 1), ("bob", "b1.ogg", 22_050, 1), ("bob", "b2.mp3", 48_000, 2)]
    for speaker, name, rate, channels in kinds:
        path = oracle_tree.noise(tmp_path / "my set" / speaker / name, rate=rate, channels=channels)
        text = path.parent / f"{path.stem}.{'txt' if speaker == 'ann' else 'lab'}"
        text.write_text("Hello,  World!\n")
        oracle_tree.grid(path.parent / f"{path.stem}.TextGrid", "hello world")
    return tmp_path / "my set"


def test_any_format_rate_and_channels(mixed: Path) -> None:
    corpus = folder(mixed)
    assert corpus.name == "my set" and corpus.skipped == ()
    assert [(u.id, u.speaker) for u in corpus] == [("ann/a.2", "ann"), ("ann/a1", "ann"), ("bob/b1", "bob"), ("bob/b2", "bob")]
    for utterance in corpus:
        assert utterance.text == "Hello, World!" and [word.label for word in utterance.words] == ["hello", "world"]
        assert abs(len(corpus.wav(utterance, 16_000)) - 16_000) < 200
    assert folder(mixed, licence="CC0").facts["licence"] == "CC0" and "licence=" in str(corpus.facts["licence"])


def test_textgrids_in_parallel_or_flat_folders(mixed: Path, tmp_path: Path) -> None:
    beside = folder(mixed)
    for path in sorted(mixed.rglob("*.TextGrid")):
        for place in (tmp_path / "grids" / path.relative_to(mixed), tmp_path / "flat" / path.name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        path.unlink()
    assert folder(mixed, tmp_path / "grids").sha256 == folder(mixed, str(tmp_path / "flat")).sha256 == beside.sha256
    (tmp_path / "grids").rename(mixed / "alignments")
    assert folder(mixed).sha256 == beside.sha256


def test_transcripts_in_a_parallel_folder_or_in_latin_1(mixed: Path, tmp_path: Path) -> None:
    for path in sorted([*mixed.rglob("*.txt"), *mixed.rglob("*.lab")]):
        place = tmp_path / "texts" / path.relative_to(mixed)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    assert folder(mixed)[0].text == "hello world"  # from the TextGrid where there is no transcript
    (tmp_path / "texts/ann/a1.txt").write_bytes("café".encode("latin-1"))
    assert [u.text for u in folder(mixed, transcripts=tmp_path / "texts")] == ["Hello, World!", "café", "Hello, World!", "Hello, World!"]


def manifest(path: Path, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> Path:
    mark = "\t" if path.suffix == ".tsv" else ","
    path.write_text("\n".join(mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in [columns, *rows]) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_manifest_names_files_texts_speakers_and_textgrids(mixed: Path, tmp_path: Path, suffix: str) -> None:
    (mixed / "bob/b1.TextGrid").rename(tmp_path / "moved.TextGrid")
    rows = [("bob/b1.ogg", "one, two", "x", str(tmp_path / "moved.TextGrid")), (str(mixed / "ann/a1.wav"), "three", "y", "")]
    path = manifest(tmp_path / f"list.{suffix}", rows, ("path", "text", "speaker", "textgrid"))
    rows = [(u.speaker, u.text, len(u.words)) for u in folder(mixed, manifest=path, alignments=mixed / "ann")]
    assert sorted(rows) == [("x", "one, two", 2), ("y", "three", 2)]
    assert folder(mixed, manifest=path, alignments="none", speaker="parent").speakers == ("ann", "bob")


def test_manifests_with_missing_columns_or_files(mixed: Path, tmp_path: Path) -> None:
    path = manifest(tmp_path / "list.csv", [("ann/a1.wav", "a")], ("path", "words"))
    with pytest.raises(RequestError, match=r"no column text \(there: path, words\)"):
        folder(mixed, manifest=path)
    path = manifest(tmp_path / "list.csv", [("ann/a1.wav", "a")], ("path", "text"))
    assert folder(mixed, manifest=path).speakers == ("ann",)
    with pytest.raises(RequestError, match="no column speaker"):
        folder(mixed, manifest=path, speaker="manifest")
    with pytest.raises(RequestError, match="needs manifest=FILE"):
        folder(mixed, speaker="manifest")
    with pytest.raises(RequestError, match="is no file"):
        folder(mixed, manifest=tmp_path / "none.csv")
    path = manifest(tmp_path / "list.csv", [("ann/a1.wav", "a"), ("ann/gone.wav", "b")], ("path", "text"))
    with pytest.raises(RequestError, match="1 of 2 files are bad.*gone.wav: unreadable"):
        folder(mixed, manifest=path)


def test_speakers_by_a_regular_expression(mixed: Path) -> None:
    assert folder(mixed, speaker=r"/(.)[^/]*$").speakers == ("a", "b")
    with pytest.raises(RequestError, match="2 of 4 files are bad.*finds no speaker in 'ann/a.2'"):
        folder(mixed, speaker="(bob)")
    with pytest.raises(RequestError, match="has no group"):
        folder(mixed, speaker="bob")
    with pytest.raises(RequestError, match="no regular expression"):
        folder(mixed, speaker="(bob")


def test_a_bar_in_a_speakers_name_does_not_make_two(mixed: Path) -> None:
    (mixed / "ann").rename(mixed / "a|nn")
    assert folder(mixed).speakers == ("a/nn", "bob")


def test_missing_textgrids_name_the_command_or_are_made(mixed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    corpus = folder(mixed)
    grids = sorted(mixed.rglob("*.TextGrid"))
    kept = grids[0].read_bytes()
    for path in grids:
        path.unlink()
    with pytest.raises(RequestError, match=r"python -m laminal.corpora.align root=.*my set out=.*alignments, or say align=true"):
        folder(mixed)
    assert all(utterance.words == () for utterance in folder(mixed, "none"))
    asked = []

    def fake(recordings: list, out: Path) -> None:
        asked.extend(recording.id for recording in recordings)
        for recording in recordings:
            place = out / f"{recording.id}.TextGrid"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(kept)

    monkeypatch.setattr(module, "align_recordings", fake)
    assert folder(mixed, tmp_path / "made", align=True).sha256 == corpus.sha256
    assert asked == [utterance.id for utterance in corpus]
    assert folder(mixed, tmp_path / "made", align=True).sha256 == corpus.sha256 and len(asked) == 4  # nothing is made twice
    grids = sorted((tmp_path / "made").rglob("*.TextGrid"))
    grids[1].unlink()
    with pytest.raises(RequestError, match="1 of 4 files are bad.*no TextGrid ann/a1.TextGrid"):
        folder(mixed, tmp_path / "made")


def test_one_name_twice_keeps_the_first(tmp_path: Path) -> None:
    for index in range(20):
        oracle_tree.noise(tmp_path / f"{index:02d}.wav", seconds=0.2)
    oracle_tree.noise(tmp_path / "03.flac", seconds=0.2)
    (tmp_path / "._04.wav").write_bytes(b"left by macOS")
    corpus = folder(tmp_path, "none")
    assert len(corpus) == 20 and corpus.speakers == (tmp_path.name,)
    [(file, reason)] = corpus.skipped
    assert file.endswith("03.wav") and "03.flac has the same name" in reason


def test_an_empty_folder_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no audio file"):
        folder(tmp_path)
    with pytest.raises(RequestError, match="is no folder"):
        folder(tmp_path / "none")


def test_the_twin_has_all_arguments_and_loads(mixed: Path) -> None:
    twin = config.override(config.twin("corpora", "folder"), [f"root={mixed}"])
    assert len(instantiate(twin)) == 4
    assert {"_target_", *inspect.signature(folder).parameters} == set(twin)


@pytest.mark.data
def test_vctk_mini_loads_as_it_stands(vctk_mini: Path) -> None:
    corpus = folder(vctk_mini)
    assert (corpus.name, len(corpus), corpus.speakers) == ("vctk-mini", 40, ("p225", "p226", "p227", "p228"))
    assert corpus.skipped == () and corpus.facts["aligned_words"] == 1.0
    assert corpus[0].id == "p225/p225_003" and corpus[0].text.startswith("SIX SPOONS OF FRESH SNOW PEAS")
    for utterance in corpus:
        assert [word.label for word in utterance.words] == utterance.text.lower().split()


@pytest.mark.data
def test_librispeech_mini_says_the_same_through_folder(librispeech_mini: Path) -> None:
    corpus, other = librispeech(librispeech_mini), folder(librispeech_mini, speaker=r"^(\d+)/")
    assert corpus.speakers == other.speakers
    assert {u.id: u.words for u in corpus} == {u.id.split("/")[-1]: u.words for u in other}
