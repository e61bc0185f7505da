"""A task corpus without its labels, and other wrong requests to the tasks: exit code 2, one line with what is missing and the cure."""

import shutil

import pytest

from oracle_commands import refusal


@pytest.fixture(scope="module")
def mute(tiny_corpus, tmp_path_factory):
    """Audio of two speakers without transcripts."""
    root = tmp_path_factory.mktemp("mute")
    for path in tiny_corpus.glob("s[01]/*.wav"):
        (root / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, root / path.parent.name)
    return root


def asked(root, probe, *words):
    corpus = ("corpus=folder", f"corpus.root={root}", "corpus.alignments=none")
    return ("codec=log_mel", "--config", "tasks", *corpus, f"probe={probe}", *words)


@pytest.mark.parametrize(
    ("probe", "words", "says"),
    [
        ("transcription", [], "has no transcripts, so nothing can be transcribed: add *.trans.txt or NAME.txt beside the audio"),
        ("transcription", ["probes.transcription.target=phones"], "has no aligned phones"),
        ("transcription", ["probes.transcription.target=words"], "give characters or phones"),
        ("speaker_verification", ["corpus.speaker=(s)"], "names 1 speaker, so nobody can be told apart: say whose each file is"),
        ("voice_conversion", ["corpus.speaker=(s)"], "names 1 speaker, and conversion needs two"),
        ("paralinguistic", ["probes.paralinguistic.labelled=null"], "has no classes (no emotion, no style), so none can be told: give"),
        ("speaker_verification", ["probes.speaker_verification.draws=10"], "at least 1000"),
    ],
)
def test_what_is_missing_is_one_line(mute, capsys, probe, words, says):
    assert says in refusal(capsys, "probe", *asked(mute, probe, *words))


@pytest.mark.parametrize(
    ("name", "says"),
    [("ravdess", "its files are called MODALITY"), ("crema_d", "its files are called ACTOR_"), ("iemocap", "holds no Session1")],
)
def test_a_corpus_of_classes_without_its_labels_is_one_line(mute, capsys, name, says):
    words = ("codec=log_mel", "--config", "tasks", f"corpus={name}", f"corpus.root={mute}", "probe=speaker_verification")
    assert says in refusal(capsys, "probe", *words)
