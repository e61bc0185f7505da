"""Planted styles: every sentence in every style by every speaker, the same bytes again, and each style does what it is called."""

import numpy as np
import pytest

from laminal.corpora.spoken_voices import speaker
from laminal.corpora.styles import FIRST, STYLES, styles
from laminal.errors import RequestError
from laminal.measures.pitch import pitch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return styles(4, 2, cache=tmp_path_factory.mktemp("styles"))


def test_classes_are_balanced_over_speakers_and_sentences(made):
    assert len(made) == 4 * 2 * len(STYLES) and made.classes == tuple(sorted(STYLES)) and "style" in made.kind
    by_label = {label: sorted((each.speaker, each.text) for each in made if made.labels[each.id] == label) for label in made.classes}
    assert len({tuple(each) for each in by_label.values()}) == 1  # who and what say nothing of how
    assert not any(each.speaker.startswith("spk") for each in made)  # nobody of the spoken corpus
    assert "not emotion" in str(made.facts["source"])


def test_voices_are_none_of_the_spoken_corpus():
    assert speaker(FIRST, 0).tract not in {speaker(number, 0).tract for number in range(40)}


def test_the_same_bytes_again(made, tmp_path):
    again = styles(4, 2, cache=tmp_path)
    assert again.sha256 == made.sha256 and [a.path.read_bytes() for a in again] == [b.path.read_bytes() for b in made]
    assert styles(4, 2, seed=1, cache=tmp_path).sha256 != made.sha256


def test_each_style_is_what_it_is_called(made):
    found = {label: {"seconds": [], "hertz": [], "spread": [], "voiced": [], "level": []} for label in made.classes}
    for utterance in made:
        wav = made.wav(utterance, 16000)
        track = pitch(wav[None], 16000)
        said = track.f0[0][track.voiced[0]].log().numpy()
        mine = found[made.labels[utterance.id]]
        mine["seconds"].append(utterance.seconds)
        mine["voiced"].append(float(track.voiced.float().mean()))
        mine["hertz"].append(float(np.exp(np.median(said))) if len(said) else np.nan)
        mine["spread"].append(float(said.std()) if len(said) else np.nan)
        mine["level"].append(float(wav.std()))
    mean = {label: {name: np.nanmean(values) for name, values in each.items()} for label, each in found.items()}
    plain = mean["plain"]
    assert mean["fast"]["seconds"] < 0.85 * plain["seconds"] and mean["slow"]["seconds"] > 1.15 * plain["seconds"]
    assert mean["high"]["hertz"] > 1.15 * plain["hertz"] and mean["flat"]["spread"] < 0.8 * plain["spread"]
    assert mean["whispered"]["voiced"] < 0.4 * plain["voiced"]
    assert max(each["level"] for each in mean.values()) < 1.3 * min(each["level"] for each in mean.values())  # loudness gives nothing away


def test_impossible_sizes_and_a_broken_folder(made, tmp_path):
    with pytest.raises(RequestError, match="at least 2 speakers"):
        styles(1, 2, cache=tmp_path)
    folder = made[0].path.parent
    (folder / "manifest.json").write_text("{")
    with pytest.raises(RequestError, match="not a whole corpus"):
        styles(4, 2, cache=folder.parent)
