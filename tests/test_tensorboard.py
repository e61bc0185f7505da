"""The TensorBoard sink, read back through TensorBoard's own reader."""

import sys

import numpy as np
import pytest
import soundfile

from laminal.results import Context, Items, Results, Score
from laminal.tensorboard import TensorBoard


def results(epoch: int) -> Results:
    def score(setting: str, value: float, layer: str) -> Score:
        return Score(
            probe="word_pairs", metric="mean", setting=setting, value=value, layer=layer, low=0.0, high=9.0, n=9, clusters=3,
            chance=float("nan"), higher_is_better=None, unit="", slice="audio", distance="euclidean", layer_mode="cumulative",
        )  # fmt: skip

    counts = Items(probe="units", metric="code_count", layer="2", a=list("abcd"), value=np.array([4.0, 0.0, 6.0, 1.0]))
    scores = [score("synonym", epoch + 0.5, "1"), score("synonym", epoch + 1.5, "2"), score("synonym", 1.0, "latent")]
    return Results(Context(run="r", codec="c", revision="1", epoch=epoch, step=10 * epoch), scores, [counts])


def read(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0, "audio": 0, "images": 0})
    found.Reload()
    return found


def points(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Epochs 0 to 2 of a run that was killed in epoch 2, which its resume does again."""
    made = tmp_path_factory.mktemp("run")
    for epochs, shift in (((0, 1, 2), 0.0), ((2, 3), 0.25)):
        sink = TensorBoard(made)
        for epoch in epochs:
            sink.scalars(10 * epoch + 5, epoch, {"train/mel": 1.0 * epoch + shift})
            (made / "listening").mkdir(exist_ok=True)
            if epoch == 0:
                soundfile.write(made / "listening" / "1-u.4.flac", np.linspace(-0.5, 0.5, 800), 16_000)
            sink.probe(results(epoch))
        sink.close()
        assert not sink._guard.broken
    return made


def test_training_numbers_are_over_steps_and_a_resume_takes_back_what_lies_after_it(folder):
    found = read(folder / "tensorboard" / "training")
    assert found.Tags()["scalars"] == ["train/mel"]
    assert points(found, "train/mel") == [(5, 0.0), (15, 1.0), (25, 2.25), (35, 3.25)]


def test_scores_are_over_epochs(folder):
    found = read(folder / "tensorboard" / "probes")
    assert set(found.Tags()["scalars"]) == {f"probe/word_pairs/synonym/mean/{layer}" for layer in ("L01", "L02", "latent")}
    assert points(found, "probe/word_pairs/synonym/mean/L02") == [(0, 1.5), (1, 2.5), (2, 3.5), (3, 4.5)]


def test_code_use_sounds_and_pictures_are_there(folder):
    found = read(folder / "tensorboard" / "probes")
    histograms = found.Histograms("codes/L02")
    assert [event.step for event in histograms] == [0, 1, 2, 3]
    first = histograms[0].histogram_value
    assert first.num == 11 and [count for count in first.bucket if count] == [6, 4, 1]
    assert [event.step for event in found.Audio("listening/1-u/4")] == [0, 2]  # a resumed run says again what it finds
    assert [event.step for event in found.Images("plots/layer_curves")] == [0, 1, 2, 3]


def test_an_absent_tensorboard_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    sink = TensorBoard(tmp_path)
    sink.scalars(1, 0, {"train/mel": 1.0})
    sink.scalars(2, 0, {"train/mel": 1.0})
    sink.probe(results(0))
    sink.close()
    assert len([record for record in caplog.records if record.message.startswith("TensorBoard is left out")]) == 1
