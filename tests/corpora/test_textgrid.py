"""TextGrids: both text formats, both encodings, and every way to be broken."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle_textgrid
from laminal.corpora import textgrid
from laminal.corpora.base import Interval
from laminal.corpora.textgrid import TextGrid, Tier
from laminal.errors import DataError

WORDS = [(0.0, 0.25, ""), (0.25, 0.5, "Go"), (0.5, 0.5, ""), (0.5, 1.125, 'say ""now"'), (1.125, 1.5, "sp")]
PHONES = [(0.0, 0.25, "sil"), (0.25, 0.3, "G"), (0.3, 0.5, "OW1"), (0.5, 1.125, "ey2"), (1.125, 1.5, "spn")]
TIERS = [("words", WORDS), ("phones", PHONES)]


def plain(grid: TextGrid) -> oracle_textgrid.Tiers:
    return [(tier.name, [(i.start, i.end, i.label) for i in tier.intervals]) for tier in grid.tiers]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("form", ["long", "short", "old short"])
def test_reads_every_text_format_and_encoding(tmp_path: Path, encoding: str, form: str) -> None:
    tiers = [("wörds", [*WORDS[:-1], (1.125, 1.5, "naïve 3 <b> ! 1.5")]), TIERS[1]]
    text = oracle_textgrid.long(tiers, 1.5) if form == "long" else oracle_textgrid.short(tiers, 1.5)
    if form == "old short":
        text = oracle_textgrid.short(tiers, 1.5, header="ooTextFile short")
    raw = text.encode(encoding)
    path = tmp_path / "a.TextGrid"
    path.write_bytes(b"\xfe\xff" + raw if encoding == "utf-16-be" else raw)
    grid = textgrid.read(path)
    assert plain(grid) == tiers
    assert (grid.start, grid.end) == (0.0, 1.5)


def test_comments_and_line_ends_of_windows_change_nothing() -> None:
    text = oracle_textgrid.short(TIERS, 1.5).replace("<exists>\n", "<exists> ! 7 is no count\n").replace("\n", "\r\n")
    assert plain(textgrid.parse(text)) == TIERS


def test_point_tiers_are_read_and_refused_for_words() -> None:
    text = oracle_textgrid.short(TIERS, 1.5).replace("<exists>\n2", '<exists>\n3\n"TextTier"\n"clicks"\n0\n1.5\n2\n0.5\n"a"\n0.75\n"b"')
    grid = textgrid.parse(text)
    assert plain(grid)[1:] == TIERS
    assert grid.tiers[0] == Tier("clicks", (Interval("a", 0.5, 0.5), Interval("b", 0.75, 0.75)), points=True)
    with pytest.raises(DataError, match="point tier"):
        grid.tier("clicks")


def test_tiers_by_name_number_and_speaker() -> None:
    grid = TextGrid(0.0, 1.0, (Tier("Words", ()), Tier("84 - phones", ())))
    assert grid.tier("words") is grid.tiers[0]
    assert grid.tier("phones") is grid.tiers[1]
    assert grid.tier(2) is grid.tiers[1]
    for wrong in ("syllables", 0, 3):
        with pytest.raises(DataError, match="'Words', '84 - phones'"):
            grid.tier(wrong)
    with pytest.raises(DataError, match="2 tiers are called 'words'"):
        TextGrid(0.0, 1.0, (Tier("words", ()), Tier("Words", ()))).tier("words")


def test_silences_go_words_are_lowered_and_stress_is_stripped() -> None:
    grid = textgrid.parse(oracle_textgrid.long(TIERS, 1.5))
    assert textgrid.words(grid.tier("words"), 1.5) == (Interval("go", 0.25, 0.5), Interval('say ""now"', 0.5, 1.125))
    assert textgrid.phones(grid.tier("phones"), 1.5) == (Interval("G", 0.25, 0.3), Interval("OW", 0.3, 0.5), Interval("EY", 0.5, 1.125))


def test_grid_may_run_50_ms_past_its_audio_and_is_clipped() -> None:
    tier = Tier("words", (Interval("go", 0.0, 0.5), Interval("on", 0.5, 1.04), Interval("", 1.04, 9.0)))
    assert textgrid.words(tier, 1.0)[-1] == Interval("on", 0.5, 1.0)
    with pytest.raises(DataError, match=r"'on' at 0.5-1.04 s lies outside the 0.980 s"):
        textgrid.words(tier, 0.98)


@pytest.mark.parametrize(
    ("intervals", "says"),
    [
        ([(0.0, 0.5, "a"), (0.4, 1.0, "b")], r"'b' starts at 0.4 s, before its neighbour ends at 0.5 s"),
        ([(0.5, 0.2, "a")], r"'a' ends at 0.2 s, before its start at 0.5 s"),
    ],
)
@pytest.mark.parametrize("form", [oracle_textgrid.long, oracle_textgrid.short])
def test_disorder_is_refused(tmp_path: Path, intervals: list, says: str, form) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.TextGrid"
    path.write_text(form([("words", intervals)], 1.0))
    with pytest.raises(DataError, match=says) as caught:
        textgrid.read(path)
    assert str(path) in str(caught.value)


def test_labelled_intervals_outside_time_or_without_length_are_refused() -> None:
    with pytest.raises(DataError, match="outside"):
        textgrid.words(Tier("words", (Interval("a", -0.5, 0.5),)), 1.0)
    with pytest.raises(DataError, match="no length"):
        textgrid.words(Tier("words", (Interval("a", 0.5, 0.5),)), 1.0)
    with pytest.raises(DataError, match="outside"):
        textgrid.words(Tier("words", (Interval("a", 1.01, 1.04),)), 1.0)  # wholly past the end


@pytest.mark.parametrize("form", [oracle_textgrid.long, oracle_textgrid.short])
def test_cut_anywhere_it_is_refused(form) -> None:  # type: ignore[no-untyped-def]
    text = form(TIERS, 1.5).rstrip()
    for end in range(len(text)):
        with pytest.raises(DataError):
            textgrid.parse(text[:end])
    assert plain(textgrid.parse(text)) == TIERS


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not a TextGrid"),
        (b"ooBinaryFile\x08TextGrid\x00\x01", "not a TextGrid"),
        (b'File type = "ooTextFile"\nObject class = "Sound 2"\n0\n1\n', "'Sound 2' is no TextGrid"),
        (b'"ooTextFile"\n"TextGrid"\n0 1 <exists> 1 "WordTier" "w" 0 1 0', "'WordTier'"),
        (b'"ooTextFile"\n"TextGrid"\n0 1 <exists> 1e999', "no count"),
        (b'"ooTextFile"\n"TextGrid"\n0 1 <exists> -1', "no count"),
        (b'"ooTextFile"\n"TextGrid"\n0 "x" <exists> 1', "number was due"),
        (b'"ooTextFile"\n"TextGrid"\n0 1 <exists> 1 7 7 0 1 0', "text was due"),
        (b'"ooTextFile"\n"TextGrid"\n0 1.2.3 <exists> 1', "number was due"),
        (b"\xff\xfe\x00", "TextGrid"),  # half a UTF-16 character
    ],
)
def test_what_is_no_textgrid_is_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    path = tmp_path / "no.TextGrid"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=says):
        textgrid.read(path)


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        textgrid.read(tmp_path / "none.TextGrid")


LABELS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1000), LABELS), max_size=6, unique_by=lambda pair: pair[0]), LABELS)
def test_written_grids_read_back_the_same(tmp_path_factory: pytest.TempPathFactory, pairs: list, name: str) -> None:
    pairs = sorted(pairs)
    edges = [start for start, _ in pairs] + [1000.0]
    intervals = tuple(Interval(label, start, end) for (start, label), end in zip(pairs, edges[1:], strict=True))
    grid = TextGrid(0.0, 1000.0, (Tier(name, intervals), Tier("phones", ())))
    path = tmp_path_factory.mktemp("grids") / "a.TextGrid"
    textgrid.write(path, grid)
    assert textgrid.read(path) == grid
    assert list(path.parent.iterdir()) == [path]


def test_writer_writes_what_a_plain_reader_reads(tmp_path: Path) -> None:
    grid = TextGrid(0.0, 1.5, tuple(Tier(name, tuple(Interval(t, a, b) for a, b, t in rows)) for name, rows in TIERS))
    textgrid.write(tmp_path / "a.TextGrid", grid)
    assert oracle_textgrid.read_long((tmp_path / "a.TextGrid").read_text()) == TIERS


def test_filled_leaves_no_gap() -> None:
    full = textgrid.filled([Interval("a", 0.1, 0.2), Interval("b", 0.2, 0.5)], 1.0)
    assert [(i.label, i.start, i.end) for i in full] == [("", 0.0, 0.1), ("a", 0.1, 0.2), ("b", 0.2, 0.5), ("", 0.5, 1.0)]
    assert textgrid.filled([], 1.0) == (Interval("", 0.0, 1.0),)


@pytest.mark.data
def test_real_grids_read_as_a_plain_reader_reads_them(librispeech_mini: Path) -> None:
    paths = sorted((librispeech_mini / "alignments").rglob("*.TextGrid"))[::6]
    assert len(paths) > 20
    for path in paths:
        assert plain(textgrid.read(path)) == oracle_textgrid.read_long(path.read_text(encoding="utf-8"))
