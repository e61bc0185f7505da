"""The Annot-16 loader on a tree in exactly its format: numbers come back, and every fault is a line while the rest is kept."""

import shutil

import numpy as np
import pytest

from laminal.corpora.annot16 import _grid as annot16_grid
from laminal.corpora.annot16 import annot16, distances, read_track
from laminal.errors import DataError, RequestError
from laminal.measures.clock import MRI_RATE
from oracle_tract import SIXTEEN, annot16_tree, gap_of, write_track


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return annot16_tree(tmp_path_factory.mktemp("mri"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return annot16_tree(tmp_path_factory.mktemp("short"), subjects=(1, 75), tracks=11, frames=13)


@pytest.fixture
def few(short, tmp_path):
    """Two subjects to spoil: 22 tracks, so that one bad one is under 5 %."""
    return tuple(shutil.copytree(tree, tmp_path / tree.name) for tree in short)


def test_all_sixteen_come_back(trees):
    corpus = annot16(trees[0], trees[1])
    assert corpus.speakers == tuple(f"sub{number:03d}" for number in SIXTEEN)
    assert len(corpus) == 32 and not corpus.skipped and corpus.facts["tracks"] == 32
    one = corpus[1]
    assert one.id == "sub001_2drt_02_vcv2_r1" and one.path.is_file() and one.seconds == pytest.approx(20 / MRI_RATE, abs=1e-3)
    assert [(word.label, word.start) for word in one.words] == [("apa", 0.05)]  # from UTF-16
    assert [phone.label for phone in one.phones] == ["AA", "P"]
    for utterance in (one, corpus[17]):
        tract = corpus.tracts[utterance.id]
        subject, number = int(utterance.speaker[3:]), int(utterance.id[12:14]) - 1
        assert tract.vtd.shape == (20, 120) and tract.first == 0
        np.testing.assert_allclose(tract.times[:2], [0.5 / MRI_RATE, 1.5 / MRI_RATE])
        expected = np.array([2.4 * gap_of(subject, number, f) for f in range(1, 21)])
        missing = np.isin(np.arange(1, 21), (7, 8, 9, 12))
        np.testing.assert_allclose(tract.vtd[~missing, 60], expected[~missing], rtol=4e-3)  # mm, in the middle of the grid
        assert np.isnan(tract.vtd[missing]).all() and (tract.vtd[~missing][:, 10:110] > 0).all()


def test_given_grid_offsets_and_cache(trees, tmp_path):
    angle = np.linspace(np.pi, 0, 20)
    way = np.stack([np.cos(angle), np.sin(angle)], 1)
    np.save(tmp_path / "sub001.npy", np.array([42.0, 60.0]) + np.stack([5 * way, 45 * way], 1))
    given = {"grids": tmp_path, "subjects": ["sub001"], "offsets": {"sub001_2drt_01_vcv1_r1": 0.05}}
    corpus = annot16(trees[0], trees[1], **given)
    tract = corpus.tracts["sub001_2drt_01_vcv1_r1"]
    assert tract.vtd.shape == (20, 20) and tract.times[0] == pytest.approx(0.05 + 0.5 / MRI_RATE)
    np.testing.assert_allclose(tract.vtd[0, 1:-1], 2.4 * gap_of(1, 0, 1), rtol=4e-3)  # every line: the walls are concentric
    assert corpus.tracts["sub001_2drt_02_vcv2_r1"].offset == 0
    again = annot16(trees[0], trees[1], cache=tmp_path / "kept", **given)
    (kept,) = (tmp_path / "kept").glob("*.npz")
    written = kept.stat().st_mtime_ns
    third = annot16(trees[0], trees[1], cache=tmp_path / "kept", **given)
    assert corpus.sha256 == again.sha256 == third.sha256 and kept.stat().st_mtime_ns == written
    with pytest.raises(RequestError, match="gridlines"):
        annot16(trees[0], trees[1], grids=trees[0], subjects=["sub001"])
    with pytest.raises(RequestError, match="subjects=sub099"):
        annot16(trees[0], trees[1], subjects=["sub099"])


def unknown_id(cells):
    cells[0, 4]["contours"]["segment"][0, 0]["i"][3] = 9


def doubled(cells):
    cells[0, 4]["frameNo"] = cells[0, 3]["frameNo"]


def backwards(cells):
    cells[0, 4]["frameNo"] = 2.0


def infinite(cells):
    cells[0, 4]["contours"]["segment"][0, 2]["v"][0, 0] = np.inf


def numbered(value):
    def change(cells):
        cells[0, 4]["frameNo"] = value

    return change


def identified(value):
    def change(cells):
        segment = cells[0, 4]["contours"]["segment"][0, 0]
        segment["i"] = segment["i"].astype(float)
        segment["i"][3] = value

    return change


def without(segment, number):
    """Lose one part of a wall, all points but one."""

    def change(cells):
        part = cells[0, 4]["contours"]["segment"][0, segment - 1]
        kept = part["i"][:, 0] != number
        kept[np.flatnonzero(~kept)[0]] = True
        part["v"], part["i"] = part["v"][kept], part["i"][kept]

    return change


def far(cells):
    cells[0, 11]["frameNo"] = 5e9


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (numbered(np.nan), "a frame number is nan: a whole number is needed"),
        (numbered(np.zeros((0, 0))), "a frame number holds 0 numbers: one is needed"),
        (numbered("x"), "a frame number is x: a whole number is needed"),
        (numbered(np.array([5.0, 6.0])), "a frame number holds 2 numbers"),
        (numbered(5.4), "a frame number is 5.4: a whole number"),
        (identified(np.nan), "segment 1: an id is nan: a whole number"),
        (identified(2.5), "segment 1: an id is 2.5: a whole number"),
        (far, "frame number 4999999999 is 4999999999 after the first, 0: over 1,000,000"),
        (unknown_id, "frame 5, segment 1 has the unknown id 9; ids are 1 to 6"),
        (doubled, "frame number 4 comes after 4: they must rise"),
        (backwards, "frame number 2 comes after 4"),
        (infinite, "frame 5, segment 3 has a point that is not finite"),
    ],
)
def test_a_bad_track_is_one_line_and_the_others_stay(few, change, says):
    path = few[0] / "sub001" / "track" / "sub001_2drt_03_vcv3_r1_track.mat"
    write_track(path, [(f, (20.0, 30.0)) for f in range(1, 13)], change)
    with pytest.raises(DataError, match=says):
        read_track(path)
    corpus = annot16(*few)
    assert len(corpus) == 21
    ((file, reason),) = corpus.skipped
    assert file == str(path) and says in reason and "\n" not in reason


ANGLE = np.linspace(np.pi, 0, 41)  # from lips to larynx
RADIAL = np.array([42.0, 60.0]) + np.stack([radius * np.stack([np.cos(ANGLE), np.sin(ANGLE)], 1) for radius in (5, 45)], 1)


@pytest.mark.parametrize(("segment", "number", "ends"), [(1, 2, (0.2, 0.8)), (3, 2, (0.45, 0.6)), (2, 4, (0.0, 0.15)), (1, 4, (0.9, 1.0))])
def test_a_part_of_a_wall_that_was_lost_is_missing_and_no_straight_wall(tmp_path, segment, number, ends):
    write_track(tmp_path / "x_track.mat", [(f, (20.0, 30.0)) for f in range(1, 13)], without(segment, number))
    track = read_track(tmp_path / "x_track.mat")
    found, _ = distances(track, RADIAL)
    lost = (ANGLE / np.pi > ends[0] + 0.01) & (ANGLE / np.pi < ends[1] - 0.01)
    kept = (ANGLE / np.pi < ends[0] - 0.01) | (ANGLE / np.pi > ends[1] + 0.01)
    kept[[0, -1]] = False  # ends of the walls
    np.testing.assert_allclose(found[3, 1:-1], 24, rtol=4e-3)
    assert lost.sum() > 2 and np.isnan(found[4, lost]).all()
    np.testing.assert_allclose(found[4, kept], 24, rtol=4e-3)


def test_frames_with_a_lost_part_do_not_bend_the_grid(tmp_path):
    def half(cells):
        for place in range(6):
            without(1, 2)({(0, 4): cells[0, place]})

    def grid(name, change):
        write_track(tmp_path / name, [(f, (20.0, 30.0)) for f in range(1, 13)], change)
        return annot16_grid({tmp_path / name: read_track(tmp_path / name)})

    np.testing.assert_allclose(grid("lost_track.mat", half), grid("whole_track.mat", None), atol=1e-9)
    with pytest.raises(DataError, match="in no frame is every part of both walls there.*grids="):
        grid("none_track.mat", lambda cells: [without(1, 2)({(0, 4): cells[0, place]}) for place in range(12)])


def test_a_subject_without_a_grid_is_listed(few):
    for path in sorted((few[0] / "sub075" / "track").glob("*.mat"))[1:]:
        path.unlink()
    (path,) = (few[0] / "sub075" / "track").glob("*.mat")
    write_track(path, [(f, (20.0, 30.0)) for f in range(1, 13)], lambda cells: [without(1, 2)({(0, 4): cells[0, n]}) for n in range(12)])
    with pytest.raises(RequestError, match="1 of 12 tracks are bad.*sub075: in no frame is every part of both walls there"):
        annot16(*few)


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ({"sub001_2drt_01_vcv1_r2": 0.05}, "offsets: sub001_2drt_01_vcv1_r2 is no track here; did you mean sub001_2drt_01_vcv1_r1"),
        ({"sub001_2drt_01_vcv1_r1": float("nan")}, "offsets: sub001_2drt_01_vcv1_r1 is nan: a finite number is needed; give seconds"),
        ({"sub001_2drt_01_vcv1_r1": "late"}, "is late: a finite number is needed"),
    ],
)
def test_offsets_of_no_track_or_no_time_are_refused(few, offsets, says):
    with pytest.raises(RequestError, match=says):
        annot16(*few, offsets=offsets)
    assert len(annot16(*few, subjects=["sub001"], offsets={"sub075_2drt_01_vcv1_r1": 0.0})) == 11  # of a subject that is not asked for


def test_a_cache_that_was_cut_off_is_made_again(few, tmp_path):
    once = annot16(*few, cache=tmp_path / "kept")
    kept = sorted((tmp_path / "kept").glob("*.npz"))
    for path, size in zip(kept, (500, 0)):
        path.write_bytes(path.read_bytes()[:size])
    assert annot16(*few, cache=tmp_path / "kept").sha256 == once.sha256
    assert min(path.stat().st_size for path in kept) > 500


def test_audio_that_is_missing_or_of_another_length(few):
    sound = few[1] / "sub001" / "2drt" / "audio" / "sub001_2drt_03_vcv3_r1_audio.wav"
    longer = annot16_tree(few[0].parent / "longer", subjects=(1,), tracks=3, frames=13, seconds=1.2)[1]
    shutil.copy(longer / "sub001" / "2drt" / "audio" / sound.name, sound)
    (reason,) = [reason for _, reason in annot16(*few).skipped]
    assert "the tract ends at 0.16 s and its audio at 1.20 s, over 0.5 s apart" in reason
    sound.unlink()
    (reason,) = [reason for _, reason in annot16(*few).skipped]
    assert "fetch the audio of the 75-Speaker set" in reason


def test_lost_tracks_and_other_files(few):
    path = few[0] / "sub075" / "track" / "sub075_2drt_01_vcv1_r1_track.mat"
    write_track(path, [(f, None) for f in range(1, 13)])
    with pytest.raises(DataError, match="none of its 12 frames has contours"):
        read_track(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(1000))
    with pytest.raises(DataError, match="no MAT v5 file"):
        read_track(path)
    assert len(annot16(*few)) == 21
    for number in (4, 5, 6):
        (few[0] / "sub075" / "track" / f"sub075_2drt_{number:02d}_vcv{number}_r1_track.mat").write_bytes(b"")
    with pytest.raises(RequestError, match="4 of 22 tracks are bad, at most 5%"):
        annot16(*few)
    with pytest.raises(RequestError, match="holds no subNNN/track"):
        annot16(few[1])
