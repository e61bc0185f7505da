"""Texts in the encodings that people save them in."""

import pytest

from laminal.corpora.folder import folder
from laminal.corpora.transcripts import trans
from laminal.errors import RequestError


def test_a_manifest_of_another_encoding_is_read(tiny_corpus, tmp_path):
    paths = sorted(tiny_corpus.rglob("*.wav"))
    rows = "path,text,speaker\n" + "".join(f"{path},caf\u00e9 big dog,s{n % 3}\n" for n, path in enumerate(paths))
    for number, encoding in enumerate(("utf-8", "utf-8-sig", "latin-1", "utf-16")):
        (tmp_path / f"{number}.csv").write_bytes(rows.encode(encoding))
        made = folder(tiny_corpus, manifest=tmp_path / f"{number}.csv", alignments="none")
        assert len(made) == len(paths) and {utterance.text for utterance in made} == {"caf\u00e9 big dog"}, encoding
    (tmp_path / "1-2.trans.txt").write_bytes("1-2-0 CAF\u00c9 BIG\n1-2-1 DOG\n".encode("latin-1"))
    assert trans(tmp_path) == {"1-2-0": "CAF\u00c9 BIG", "1-2-1": "DOG"}
    (tmp_path / "broken.csv").write_text('path,text\n"' + "x" * 200_000 + '"\n')
    with pytest.raises(RequestError, match="line 1: field larger"):
        folder(tiny_corpus, manifest=tmp_path / "broken.csv", alignments="none")
