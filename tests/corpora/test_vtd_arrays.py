"""Given distances beside their audio, and the table that comes with laminal."""

import json

import numpy as np
import pytest

from laminal import audio
from laminal.corpora.tract import Tract
from laminal.corpora.tract_table import FOLDER, packed, tract_table, unpacked
from laminal.corpora.vtd_arrays import vtd_arrays
from laminal.errors import DataError, RequestError
from laminal.measures.clock import MRI_RATE


def put(root, name, seconds=2.0, **arrays):
    path = root / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    audio.write(path.with_suffix(".wav"), 0.1 * np.sin(np.arange(int(16000 * seconds))), 16000)
    return path


def rows(count=200, lines=5):
    return np.random.default_rng(count).standard_normal((count, lines))


@pytest.fixture
def tree(tmp_path):
    for number in range(20):
        put(tmp_path, f"anna/{number:02d}", vtd=rows(), fps=100.0)
    return tmp_path


def test_given_arrays_come_back(tree):
    put(tree, "bert/a", vtd=rows(), first=np.array(0), offset=np.array(0.01))
    put(tree, "bert/b", vtd=rows(3), frames=np.array([0, 2, 199]), fps=100.0)
    corpus = vtd_arrays(tree, fps=100.0, licence="mine", name="given")
    assert corpus.speakers == ("anna", "bert") and len(corpus) == 22 and corpus.name == "given"
    assert corpus.tracts["bert/a"].times[0] == pytest.approx(0.015)
    gaps = corpus.tracts["bert/b"].vtd
    assert gaps.shape == (200, 5) and np.isnan(gaps[1]).all() and np.isfinite(gaps[[0, 2, 199]]).all()
    np.testing.assert_allclose(corpus.tracts["anna/00"].vtd, rows(), rtol=1e-6)
    assert corpus.subset(frozenset({"bert"})).tracts.keys() == {"bert/a", "bert/b"}
    other = vtd_arrays(tree, fps=50.0 * 2 + 1e-9, licence="mine", name="given")
    assert other.sha256 != corpus.sha256  # the rate of bert/a


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"vtd": rows()}, "fps=None; say the frames per second"),
        ({"fps": 100.0}, "vtd is missing"),
        ({"vtd": rows()[:, 0], "fps": 100.0}, r"vtd is \(200,\)"),
        ({"vtd": np.where(rows() > 3, np.inf, np.inf), "fps": 100.0}, "vtd is infinite in 200 frames"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.r_[0:199, 5]}, "must rise from 0"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.r_[0:199, 198]}, "must rise from 0"),
        ({"vtd": rows(80), "fps": 100.0}, "the tract ends at 0.80 s and its audio at 2.00 s"),
        ({"vtd": 1e300 * rows(), "fps": 100.0}, "vtd is infinite in 200 frames"),
        ({"vtd": rows(), "fps": "fast"}, "fps is fast: a finite number is needed"),
        ({"vtd": rows(), "fps": np.array([100.0, 100.0])}, "fps holds 2 numbers"),
        ({"vtd": rows(), "fps": np.inf}, "fps is inf: a finite number"),
        ({"vtd": rows(), "fps": -100.0}, "fps=-100.0; say the frames per second"),
        ({"vtd": rows(), "fps": 100.0, "offset": np.nan}, "offset is nan: a finite number"),
        ({"vtd": rows(), "fps": 100.0, "offset": "x"}, "offset is x: a finite number"),
        ({"vtd": rows(), "fps": 100.0, "offset": np.zeros(2)}, "offset holds 2 numbers"),
        ({"vtd": rows(), "fps": 100.0, "first": "x"}, "first is x: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "first": np.nan}, "first is nan: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "first": 0.5}, "first is 0.5: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "first": -3}, "first=-3; frames count from 0"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.r_[0:199, np.nan]}, "frames is nan: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.array(["a"] * 200)}, "frames is 200 values of <U1: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.arange(200) + 0.6}, "frames is 0.6: a whole number"),
        ({"vtd": rows(), "fps": 100.0, "frames": np.r_[0:199, 10**11]}, "over 1,000,000; mend the numbers"),
    ],
)
def test_a_bad_file_is_one_line_and_the_others_stay(tree, arrays, says):
    import re

    path = put(tree, "cleo/x", **arrays)
    corpus = vtd_arrays(tree)
    ((file, reason),) = corpus.skipped
    assert file == str(path) and re.search(says, reason) and len(corpus) == 20


@pytest.mark.parametrize("spoilt", ["cut", "empty", "npy"])
def test_a_file_that_is_no_whole_npz_is_one_line(tree, spoilt):
    path = put(tree, "cleo/x", vtd=rows(), fps=100.0)
    if spoilt == "npy":
        with path.open("wb") as file:
            np.save(file, rows())
    else:
        path.write_bytes(path.read_bytes()[: 300 if spoilt == "cut" else 0])
    ((file, reason),) = vtd_arrays(tree).skipped
    assert file == str(path) and "no whole .npz of plain arrays" in reason and "\n" not in reason and reason.endswith("by numpy.savez")


def test_a_tract_needs_a_clock_and_finite_distances():
    for clock in ({"rate": np.nan}, {"rate": 0.0}, {"rate": 83.0, "offset": np.nan}, {"rate": 83.0, "first": -1}):
        with pytest.raises(DataError, match="no clock"):
            Tract(rows().astype(np.float32), **clock)
    with pytest.raises(DataError, match="infinite in 1 frames"):
        Tract(np.array([[1.0], [np.inf]], np.float32), 83.0)


def test_refuses_a_folder_without_tracks_and_grids_of_two_sizes(tree, tmp_path_factory):
    with pytest.raises(RequestError, match="holds no track"):
        vtd_arrays(tmp_path_factory.mktemp("empty"))
    put(tree, "dora/x", vtd=rows(200, 7), fps=100.0)
    with pytest.raises(RequestError, match=r"tracks of \[5, 7\] lines"):
        vtd_arrays(tree)


def test_the_shipped_table_is_whole():
    corpus = tract_table()
    assert len(corpus.speakers) == 6 and len(corpus) == 24 and corpus.facts["tracks"] == 24
    for utterance in corpus:
        tract = corpus.tracts[utterance.id]
        assert tract.vtd.shape[1] == 120 and tract.rate == pytest.approx(MRI_RATE)
        assert abs(len(tract.vtd) / tract.rate - utterance.seconds) < 0.1
        assert audio.check(utterance.path).seconds == pytest.approx(utterance.seconds)
        assert utterance.words and utterance.phones and utterance.phones[-1].end < utterance.seconds
        known = np.isfinite(tract.vtd)
        assert known.mean() > 0.9 and tract.vtd[known].min() >= 0 and tract.vtd[known].max() < 60  # mm
        assert tract.vtd[known].min() < 1  # mm: closures
        assert abs(len(tract.vtd) / tract.rate - utterance.seconds) < 0.02
    folder = corpus[0].path.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000


def test_packing_loses_half_a_unit_at_most(tmp_path):
    vtd = np.abs(rows(50, 120)).astype(np.float32) * 10
    vtd[5:9, 3] = np.nan
    back = unpacked(*packed(vtd))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(vtd))
    np.testing.assert_allclose(back, vtd, atol=0.01001)
    (tmp_path / "table.json").write_text(json.dumps({"rate": 83.0}))
    with pytest.raises(DataError, match="not a whole table"):
        tract_table(tmp_path)
    (tmp_path / "table.json").write_text((FOLDER / "table.json").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "distances.npz").write_bytes((FOLDER / "distances.npz").read_bytes()[:5000])
    with pytest.raises(DataError, match="not a whole table.*no whole .npz.*install laminal again"):
        tract_table(tmp_path)
