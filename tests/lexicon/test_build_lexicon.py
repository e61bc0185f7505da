"""The shipped tables are what the script makes from WordNet and the dictionary."""

import gzip

import pytest

from laminal.lexicon import base
from oracle_lexicon import NO_WORDNET, WORDNET, builder


def test_shipped_tables_are_small_timeless_and_licensed() -> None:
    packed = {name: (base.DATA / f"{name}.tsv.gz").read_bytes() for name in base.TABLES}
    assert sum(map(len, packed.values())) < 6e6
    assert all(data[3:8] == bytes(5) for data in packed.values())  # no file name, no time
    assert "Carnegie Mellon" in (base.DATA / "LICENSE.cmudict").read_text() and "Princeton" in (base.DATA / "LICENSE.wordnet").read_text()


def test_dictionary_entries_are_gathered_and_stripped(tmp_path) -> None:
    source = tmp_path / "some.dict"
    source.write_text(";;; comment\nREAD  R EH1 D\nread(2) R IY1 D # past\nread(3) R IY0 D\na AH\n")
    assert builder().pronunciation_table(source) == [("a", "AH"), ("read", "R EH D|R IY D")]


def test_pronunciations_rebuilt_are_the_shipped() -> None:
    pytest.importorskip("pocketsphinx", reason="no pocketsphinx, whose wheel holds the dictionary: pip install 'laminal[align]'")
    script = builder()
    assert script.text(script.pronunciation_table(script.pocketsphinx_dictionary())).splitlines() == base.rows("pronunciations")


@pytest.mark.slow
def test_wordnet_rebuilt_is_the_shipped() -> None:
    if not (WORDNET / "data.noun").exists():
        pytest.skip(NO_WORDNET)
    script = builder()
    with script.reader(WORDNET) as reader:
        tables = script.wordnet_tables(reader)
    assert sorted([*tables, "pronunciations"]) == sorted(base.TABLES)
    for name, rows in tables.items():
        shipped = (base.DATA / f"{name}.tsv.gz").read_bytes()
        assert script.text(rows) == gzip.decompress(shipped).decode("utf-8"), name
        assert script.compressed(script.text(rows)) == script.compressed(script.text(rows))
