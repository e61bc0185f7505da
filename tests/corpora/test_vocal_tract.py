"""The simulated vocal tract: what is said, the scaled speaker, the walls, and a short recording where the tool is installed."""

import importlib.metadata
import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from laminal import audio
from laminal.corpora import vocal_tract, vocal_tract_text
from laminal.corpora.tract import TractCorpus
from laminal.corpora.vocal_tract_say import scaled_speaker, tract_states
from laminal.errors import DataError, RequestError
from laminal.lexicon.pronounce import PHONES, pronunciations
from laminal.measures.clock import MRI_RATE

TOOL = importlib.util.find_spec("vocaltractlab_cython") is not None
needs_tool = pytest.mark.skipif(not TOOL, reason="no vocaltractlab_cython: pip install 'laminal[vocaltract]'")  # `make test` has it
SPEAKER = """<speaker><vocal_tract_model><anatomy>
<palate><p0 x="0.2" z="-2.3" palate_height="1.3" palate_angle_deg="39.5"/></palate>
<tongue><root automatic_calc="1" trx_slope="0.9" trx_intercept="-5.0"/></tongue>
<velum max_nasal_port_area="2.0"><low points="-1.25 -0.7 "/></velum><piriform_fossa length="2.5" volume="1.5"/>
<param index="0" name="HX" min="0" max="1" neutral="1"/><param index="1" name="HY" min="-6" max="-3.5" neutral="-4.75"/>
<param index="7" name="VO" min="-0.1" max="1" neutral="-0.1"/></anatomy>
<shapes><shape name="a"><param name="TCX" value="0.5"/><param name="JA" value="-4"/></shape></shapes></vocal_tract_model>
<glottis_models><glottis_model type="Geometric glottis"><param name="XB" value="0.1"/></glottis_model></glottis_models></speaker>"""


def test_every_phone_has_segments_and_a_length():
    assert set(vocal_tract_text.SEGMENTS) == set(vocal_tract_text.SECONDS) == set(PHONES)
    for segments in vocal_tract_text.SEGMENTS.values():
        assert sum(share for _, share in segments) == pytest.approx(1)


def test_lines_are_exact_in_time():
    line = vocal_tract_text.line(["she sees the sea", "it is cold"], np.random.default_rng(0), 1.0)
    assert [word.label for word in line.words] == ["she", "sees", "the", "sea", "it", "is", "cold"]
    assert line.seconds == pytest.approx(sum(seconds for _, seconds in line.segments))
    said = [phone.label for phone in line.phones]
    assert said == [phone for word in line.words for phone in pronunciations(word.label)[0]]
    for word, after in zip(line.words, line.words[1:]):
        gap = vocal_tract_text.PAUSE if after.label == "it" else 0.0
        assert after.start - word.end == pytest.approx(gap)
    assert line.phones[0].start == vocal_tract_text.PAUSE and line.phones[-1].end == pytest.approx(line.seconds - vocal_tract_text.PAUSE)
    faster = vocal_tract_text.line(["she sees the sea"], np.random.default_rng(0), 1.1)
    assert faster.phones[0].end - faster.phones[0].start < line.phones[0].end - line.phones[0].start


def test_a_scaled_speaker_keeps_angles_and_grows_by_powers():
    root = ElementTree.fromstring(scaled_speaker(SPEAKER, 0.5, 0.9))
    palate = root.find(".//p0").attrib
    assert float(palate["x"]) == pytest.approx(0.1) and float(palate["palate_height"]) == pytest.approx(1.3 * 0.5 * 0.9)
    assert float(palate["palate_angle_deg"]) == 39.5
    tongue = root.find(".//root").attrib
    assert (float(tongue["trx_slope"]), float(tongue["trx_intercept"]), tongue["automatic_calc"]) == (0.9, -2.5, "1")
    assert float(root.find(".//velum").get("max_nasal_port_area")) == 0.5 and root.find(".//low").get("points").split()[0] == "-0.625000"
    assert float(root.find(".//piriform_fossa").get("volume")) == pytest.approx(1.5 / 8)
    values = {each.get("name"): each for each in root.iter("param")}
    assert float(values["HX"].get("max")) == 1 and float(values["HY"].get("min")) == -3 and float(values["VO"].get("max")) == 0.25
    assert float(values["TCX"].get("value")) == 0.25 and float(values["JA"].get("value")) == -4
    assert values["XB"].get("value") == "0.1"  # the glottis stays


def test_motor_files_hold_glottis_and_tract_in_turn():
    text = "# head\n#\nGeometric glottis\n2\n1 2 3\n10 20\n4 5 6\n30 40\n"
    np.testing.assert_array_equal(tract_states(text), [[10, 20], [30, 40]])


def test_the_lower_wall_runs_from_the_lips_over_the_tongue_to_the_larynx():
    lower = np.array([[-1, -7], [-1.5, -5], [-1.6, -4.9], [3.0, -2.0], [4.6, -1.5], [6.2, -1.6]])
    tongue, epiglottis = np.array([[-1.3, -3.9], [1.0, 0.0], [4.4, -1.8]]), np.array([[-1.9, -4.1], [-2.6, -3.5]])
    wall = vocal_tract.lower_wall(lower, tongue, epiglottis)
    np.testing.assert_array_equal(wall[0], [6.2, -1.6])
    np.testing.assert_array_equal(wall[-1], [-1, -7])
    assert [3.0, -2.0] not in wall.tolist()  # below the tongue
    assert len(wall) == 3 + 2 + 3 + 2


def test_voices_differ_and_are_the_same_again():
    voices = [vocal_tract.voice(number, 0) for number in range(6)]
    assert voices == [vocal_tract.voice(number, 0) for number in range(6)] and voices != [vocal_tract.voice(n, 1) for n in range(6)]
    assert voices[0].scale == 1.0 and all(a.scale < 0.93 <= b.scale for a, b in zip(voices[1::2], voices[::2]))
    assert all(a.pitch > 86 > b.pitch for a, b in zip(voices[1::2], voices[::2]))


def test_refuses_impossible_sizes_and_says_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="at least 1 of each"):
        vocal_tract.vocal_tract(0, 1, 2.0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'laminal\[vocaltract\]' \(GPL-3\)"):
        vocal_tract.vocal_tract(1, 1, 1.0, cache=tmp_path)


def test_recordings_are_kept_by_what_made_them_and_by_which_version_of_the_tool(tmp_path, monkeypatch):
    arguments = {"speakers": 1, "tracks": 1, "seconds": 1.0, "seed": 0}
    key = vocal_tract._key(arguments)
    source = Path(vocal_tract.__file__).read_bytes()
    monkeypatch.setattr(vocal_tract, "__file__", str(tmp_path / "other.py"))
    (tmp_path / "other.py").write_bytes(source)
    assert vocal_tract._key(arguments) == key
    (tmp_path / "other.py").write_bytes(source.replace(b"SMALL, LARGE = (0.82, 0.92)", b"SMALL, LARGE = (0.80, 0.92)"))
    assert vocal_tract._key(arguments) != key
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"vocaltractlab-cython": "9.9"}[name])
    assert vocal_tract._folder(tmp_path, key) == tmp_path / f"{key}-9.9"

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert vocal_tract._folder(tmp_path, key) == tmp_path / key
    (tmp_path / f"{key}-0.0.17").mkdir()
    assert vocal_tract._folder(tmp_path, key) == tmp_path / f"{key}-0.0.17"  # what was made with the tool is read without it


def test_outlines_that_were_cut_off_are_one_line(tmp_path):
    path = tmp_path / "o.npz"
    np.savez(path, upper=np.zeros((5, 9, 2)))
    for size in (None, 400, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match="delete its folder, it is made again"):
            vocal_tract.outlines(path)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tract")
    return vocal_tract.vocal_tract(1, 1, 1.0, seed=4, cache=folder, processes=1), folder


@needs_tool
@pytest.mark.slow
def test_a_recording_has_audio_and_tract_of_one_length(short):
    corpus, folder = short
    assert isinstance(corpus, TractCorpus) and len(corpus) == 1
    utterance = corpus[0]
    tract = corpus.tracts[utterance.id]
    assert tract.rate == MRI_RATE and abs(len(tract.vtd) / tract.rate - utterance.seconds) < 0.05
    wav = audio.read(utterance.path, 16000)
    pause = np.abs(wav[: int(0.1 * 16000)]).max()
    assert np.abs(wav).max() > 0.1 and np.abs(wav).max() < 1.0 and pause < 0.02
    inside = np.isfinite(tract.vtd)
    assert inside[:, 10:110].mean() > 0.95 and np.nanmax(tract.vtd) < 60
    moving = tract.vtd[:, 20:100].std(0)
    assert np.nanmedian(moving) > 0.3  # mm: the walls move
    again = vocal_tract.vocal_tract(1, 1, 1.0, seed=4, cache=folder)
    assert again.sha256 == corpus.sha256


@needs_tool
@pytest.mark.slow
def test_the_same_job_gives_the_same_bytes(short, tmp_path):
    corpus, _ = short
    again = vocal_tract.vocal_tract(1, 1, 1.0, seed=4, cache=tmp_path, processes=1)
    assert again.sha256 == corpus.sha256 and again[0].path.read_bytes() == corpus[0].path.read_bytes()


@needs_tool
@pytest.mark.slow
def test_what_the_tool_cannot_say_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(vocal_tract.vocal_tract_say, "__name__", "laminal.corpora.nowhere")
    with pytest.raises(DataError, match="VocalTractLab ended with 1 on tract00m-000"):
        vocal_tract.vocal_tract(1, 1, 1.0, cache=tmp_path, processes=1)
