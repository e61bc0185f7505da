"""RAVDESS, CREMA-D and IEMOCAP from trees written as the archives are, and what is said where labels are missing."""

import dataclasses

import numpy as np
import pytest
import soundfile

from laminal import config, experiment
from laminal.corpora.crema_d import crema_d
from laminal.corpora.iemocap import iemocap
from laminal.corpora.labelled import LabelledCorpus
from laminal.corpora.ravdess import ravdess
from laminal.errors import RequestError


def sound(path, seconds=0.3):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(len(str(path))).standard_normal(round(16000 * seconds)), 16000)


@pytest.fixture
def ravdess_tree(tmp_path):
    for actor in (1, 2, 24):
        for emotion in ("01", "03", "05"):
            sound(tmp_path / f"Actor_{actor:02d}" / f"03-01-{emotion}-01-02-01-{actor:02d}.wav")
        sound(tmp_path / f"Actor_{actor:02d}" / f"03-02-04-01-01-01-{actor:02d}.wav")
    return tmp_path


def test_ravdess(ravdess_tree):
    made = ravdess(ravdess_tree)
    assert isinstance(made, LabelledCorpus) and len(made) == 9 and made.classes == ("angry", "happy", "neutral")
    assert made.speakers == ("ravdess01", "ravdess02", "ravdess24") and made.kind == "emotion"
    assert made.labels["03-01-05-01-02-01-24"] == "angry" and made[0].text == "dogs are sitting by the door"
    assert ravdess(ravdess_tree, emotions=["happy", "angry"]).classes == ("angry", "happy")
    with pytest.raises(RequestError, match="one class 'sad'"):
        ravdess(ravdess_tree, channel="song")


def test_ravdess_without_labels(tmp_path, ravdess_tree):
    for wrong in ({"channel": "shout"}, {"emotions": ["hungry"]}):
        with pytest.raises(RequestError):
            ravdess(ravdess_tree, **wrong)
    bare = tmp_path / "bare"
    sound(bare / "one.wav")
    with pytest.raises(RequestError, match="no labelled speech of RAVDESS: its files are called MODALITY-CHANNEL-EMOTION"):
        ravdess(bare)
    with pytest.raises(RequestError, match="no folder"):
        ravdess(tmp_path / "nowhere")


def test_crema_d(tmp_path):
    for actor in (1001, 1002):
        for emotion, level in (("ANG", "XX"), ("SAD", "HI"), ("NEU", "XX")):
            sound(tmp_path / "AudioWAV" / f"{actor}_ITS_{emotion}_{level}.wav")
    made = crema_d(tmp_path)
    assert len(made) == 6 and made.classes == ("angry", "neutral", "sad") and made.speakers == ("crema1001", "crema1002")
    assert made[0].text == "i think i've seen this before" and crema_d(tmp_path / "AudioWAV").sha256 == made.sha256
    sound(tmp_path / "AudioWAV" / "stray.wav")
    with pytest.raises(RequestError, match="1 of 7 files are bad"):
        crema_d(tmp_path)
    with pytest.raises(RequestError, match="ACTOR_SENTENCE_EMOTION_LEVEL"):
        (tmp_path / "empty").mkdir()
        crema_d(tmp_path / "empty")


TURNS = (("F", "000", "ang"), ("M", "000", "neu"), ("F", "001", "exc"), ("M", "001", "xxx"), ("F", "002", "sad"))


def session(root, number):
    dialogue = f"Ses0{number}F_impro01"
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    said = []
    for place, (who, turn, emotion) in enumerate(TURNS):
        name = f"{dialogue}_{who}{turn}"
        lines += [f"[{place:.4f} - {place + 1:.4f}]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]", "C-E2:\tNeutral;\t()", ""]
        said.append(f"{name} [{place:08.4f}-{place + 1:08.4f}]: Excuse me.")
        sound(root / f"Session{number}" / "sentences" / "wav" / dialogue / f"{name}.wav")
    for folder, content in (("EmoEvaluation", lines), ("transcriptions", said)):
        place = root / f"Session{number}" / "dialog" / folder
        place.mkdir(parents=True)
        (place / f"{dialogue}.txt").write_text("\n".join(content))


def test_iemocap(tmp_path):
    for number in (1, 2):
        session(tmp_path, number)
    made = iemocap(tmp_path)
    assert len(made) == 8 and made.classes == ("angry", "happy", "neutral", "sad")  # a turn that raters did not agree on is left out
    assert made.speakers == ("iemocap01F", "iemocap01M", "iemocap02F", "iemocap02M")  # by who speaks, not by the name of the dialogue
    assert made.labels["Ses01F_impro01_F001"] == "happy" and made[0].text == "excuse me."
    assert iemocap(tmp_path, {"ang": "angry", "sad": "sad"}).classes == ("angry", "sad")


@pytest.mark.parametrize(
    ("missing", "says"),
    [("dialog/EmoEvaluation", "the labels are missing"), ("sentences/wav", "the audio of its turns"), ("", "holds no Session1")],
)
def test_iemocap_without_its_parts(tmp_path, missing, says):
    import shutil

    session(tmp_path, 1)
    shutil.rmtree(tmp_path / "Session1" / missing)
    with pytest.raises(RequestError, match=says):
        iemocap(tmp_path)


def test_a_subset_keeps_its_labels_and_labels_are_in_the_hash(ravdess_tree):
    made = ravdess(ravdess_tree)
    part = made.subset(frozenset({"ravdess02"}))
    assert isinstance(part, LabelledCorpus) and len(part) == 3 and set(part.labels) == {each.id for each in part}
    other = dataclasses.replace(made, labels=made.labels | {made[0].id: "angry"})
    assert other.sha256 != made.sha256 and ravdess(ravdess_tree).sha256 == made.sha256


def test_the_twin_builds_it(ravdess_tree):
    assert len(experiment.corpus(config.load(["probe"], ["corpus=ravdess", f"corpus.root={ravdess_tree}"]))) == 9
