"""The task probes in a training's callback: scores at every probed step, a section on the page, and no trace in the weights."""

import pytest

from laminal.report import folder
from laminal.results import read_table
from oracle_training import differences, settings, train, weights

TASKS = [
    "probes.transcription=transcription", "probes.transcription.utterances=8", "probes.transcription.folds=2",
    "probes.transcription.steps=2",
    "probes.transcription.width=8", "probes.transcription.codebooks=[1]", "probes.transcription.modes=[cumulative]",
    "probes.speaker_verification=speaker_verification", "probes.speaker_verification.folds=2", "probes.voice_conversion=voice_conversion",
    "probes.voice_conversion.pairs=2", "probes.voice_conversion.seconds=1.0", "split.speakers=0.67",
]  # fmt: skip
OTHERS = ["probes.word_pairs=null", "probes.units=null", "split.speakers=0.67"]


@pytest.mark.slow
def test_they_run_in_the_callback_and_leave_no_trace(tiny_corpus, tmp_path):
    train(settings(tiny_corpus, *OTHERS, *TASKS), tmp_path / "probed")
    scores = read_table(tmp_path / "probed" / "scores.parquet")
    for probe, metric in (("transcription", "cer"), ("speaker_verification", "eer"), ("voice_conversion", "similarity_to_target")):
        rows = scores[(scores.probe == probe) & (scores.metric == metric)]
        assert set(rows.step) == {4, 8}, probe
    floors = scores[(scores.setting == "log_mel") & (scores.metric == "cer")]
    assert floors.value.nunique() == 1  # measured once, stored at every step
    folder.write(tmp_path / "probed")
    assert "speaker trials wrong" in (tmp_path / "probed" / "report.html").read_text(encoding="utf-8")
    train(settings(tiny_corpus, *OTHERS, "probing.every_epochs=null"), tmp_path / "bare")
    assert differences(weights(tmp_path / "probed" / "last.ckpt"), weights(tmp_path / "bare" / "last.ckpt")) == []
