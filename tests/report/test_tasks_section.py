"""Tasks on the page: the numbers drawn are the table's, and a place on the line is said only where the intervals support it."""

import math

import pytest

from laminal.report import folder, tasks
from laminal.report.board import Board
from laminal.report.frames import Points
from laminal.report.selection import checkpoints
from laminal.results import Context, Results, read_table, store
from oracle_report import embedded, score, unpacked

BOTH = {"alone": {"1": 0.7, "2": 0.5, "3": 0.66}, "together": {"latent": 0.4, "1": 0.7, "2": 0.45, "3": 0.3}}


def rows(probe="transcription", metric="cer", ends=None, half=0.02, better=False, **layers):
    """Rows as a task yields them: each codebook alone, accumulated, floor and ceiling, each +- half."""
    common = {"probe": probe, "metric": metric, "n": 40, "clusters": 9, "chance": 0.5, "unit": "fraction", "higher_is_better": better}
    for mode, name in (("alone", "single"), ("together", "cumulative")):
        for layer, value in layers.get(mode, {}).items():
            yield score(**common, layer=layer, layer_mode=name, value=value, low=value - half, high=value + half)
    for setting, value in (ends or {"log_mel": 0.6, "teacher": 0.2}).items():
        yield score(**common, setting=setting, value=value, low=value - half, high=value + half)


def point(tmp_path, *parts):
    context = Context(run="r", codec="laminal", revision="1", ckpt_sha256="1", epoch=0, step=0, corpus="spoken")
    store(tmp_path, Results(context, [each for part in parts for each in part]))
    return checkpoints(read_table(tmp_path / "scores.parquet"), "spoken")[-1]


def test_places_on_the_line(tmp_path):
    (line,) = tasks.lines(point(tmp_path, rows(**BOTH)))
    assert line.way(line.alone["2"]) == pytest.approx(0.25) and line.place(line.alone["2"]) == "25 % of the way"
    assert line.place(line.alone["1"]) == "worse than log-mel" and line.place(line.together["3"]) == "75 % of the way"
    near = tasks.Number(0.61, 0.59, 0.63, 40)
    assert line.place(near) == "not told from log-mel"
    assert line.place(tasks.Number(0.1, 0.08, 0.12, 40)) == "better than the teacher"
    assert line.place(tasks.Number(0.19, 0.17, 0.21, 40)) == "100 % of the way"


def test_sentences(tmp_path):
    (said,) = tasks.said(point(tmp_path, rows(**BOTH)))
    assert said.startswith("characters wrong (CER): codebook 1 alone 0.7 (0.68 to 0.72), worse than log-mel; codebook 2 alone 0.5 ")
    assert "codebooks 1 to 3 0.3 (0.28 to 0.32), 75 % of the way" in said
    assert said.endswith("(log-mel 0.6 (0.58 to 0.62); the teacher 0.2 (0.18 to 0.22)).")


def test_a_line_without_length_places_nothing(tmp_path):
    found = point(tmp_path, rows(ends={"log_mel": 0.6, "teacher": 0.59}, **BOTH))
    (line,) = tasks.lines(found)
    assert math.isnan(line.way(line.alone["2"])) and line.place(line.alone["2"]) == ""
    (said,) = tasks.said(found)
    assert "which intervals do not tell apart" in said and "of the way" not in said
    (alone,) = tasks.lines(point(tmp_path / "none", rows(ends={"log_mel": 0.6}, **BOTH)))
    assert alone.place(alone.alone["2"]) == "" and alone.ceiling is None


def test_more_is_better_and_conversion(tmp_path):
    both = {"1": 0.3, "2": 0.5}
    uar = rows("paralinguistic", "uar", {"log_mel": 0.4, "teacher": 0.6}, better=True, alone=both, together=both)
    voice = rows("voice_conversion", "similarity_to_target", {"source": 0.5, "target": 0.9}, better=True, together={"1": 0.7, "4": 0.6})
    said = list(tasks.said(point(tmp_path, uar, voice)))
    assert "codebook 2 alone 0.5 (0.48 to 0.52), 50 % of the way" in said[0]
    assert "content from codebook 1 0.7 (0.68 to 0.72), 50 % of the way" in said[1]
    assert "the source unconverted 0.5" in said[1] and "the target speaker's own 0.9" in said[1]


@pytest.mark.parametrize(
    ("metric", "best"), [("similarity_to_target", "target"), ("mcd", "target"), ("f0_correlation", "source"), ("wer", "source")]
)
def test_the_best_copy_is_the_end_of_the_line(tmp_path, metric, best):
    """A target speaker's own voice and envelope are the best there can be, and the source's own melody and words."""
    better = metric in ("similarity_to_target", "f0_correlation")
    ends = {setting: 0.9 if (setting == best) is better else 0.1 for setting in ("source", "target")}
    (line,) = tasks.lines(point(tmp_path, rows("voice_conversion", metric, ends, better=better, together={"1": 0.3})))
    assert line.spans and line.way(line.together["1"]) == pytest.approx(0.25 if better else 0.75)


def test_an_encoder_without_codes_has_its_best_layer(tmp_path):
    (said,) = tasks.said(point(tmp_path, rows(together={"latent": 0.6, "1": 0.5, "2": 0.25})))
    assert "layer 2 0.25" in said and "alone" not in said


def test_the_page_draws_what_the_table_holds(tmp_path):
    found = point(tmp_path, rows(**BOTH), rows("speaker_verification", "eer", **BOTH))
    board = Board([Points("spoken", [found])])
    content = tasks.section(board)
    assert 'id="tasks"' in content and len(board.drawn) == 2 and "75 % of the way" in content
    page = folder.write(tmp_path)
    table = unpacked(embedded(page.read_text(encoding="utf-8"))["tables"]["tasks"])
    drawn = {(task, what, layer): value for task, what, layer, value in zip(*(table[name] for name in ("task", "what", "layer", "value")))}
    label = "characters wrong (CER)"
    assert drawn[label, tasks.ALONE, "2"] == 0.5 and drawn[label, tasks.TOGETHER, "3"] == 0.3
    assert drawn[label, tasks.FLOOR, "latent"] == 0.6 and drawn[label, tasks.CEILING, "3"] == 0.2
    assert ("speaker trials wrong (EER)", tasks.CHANCE, "1") in drawn and (label, tasks.CHANCE, "1") not in drawn
    assert "<h2>transcription</h2>" not in page.read_text(encoding="utf-8")  # no second section of the same numbers


def test_several_codecs_side_by_side(tmp_path):
    points = {name: point(tmp_path / name, rows(**BOTH)) for name in ("a", "b")}
    content = tasks.side_by_side(points)
    assert content.count(", each codebook alone") == 2 and content.count("<td>log-mel</td>") == 1
    assert tasks.side_by_side({}) == ""


def test_a_teacher_that_is_worse_than_the_floor_is_no_ceiling(tmp_path):
    """Its line would run backwards: who is better than log-mel would be called worse, and who is worst of all better than the teacher."""
    uar = rows("paralinguistic", "uar", {"log_mel": 0.6, "teacher": 0.4}, better=True, alone={"1": 0.8, "2": 0.3}, together={"1": 0.8})
    cer = rows(ends={"log_mel": 0.4, "teacher": 0.6}, **BOTH)
    found = point(tmp_path, uar, cer)
    for line in tasks.lines(found):
        assert line.upside_down and not line.spans
        assert {line.place(each) for each in (*line.alone.values(), *line.together.values())} == {""}
    for said in tasks.said(found):
        assert "the teacher is worse than log-mel" in said and "worse than log-mel;" not in said and "better than" not in said


def test_runs_with_ends_of_their_own_keep_them(tmp_path):
    points = {"a": point(tmp_path / "a", rows(**BOTH)), "b": point(tmp_path / "b", rows(ends={"log_mel": 0.55, "teacher": 0.2}, **BOTH))}
    content = tasks.side_by_side(points)
    assert "<td>a, log-mel</td><td>0.6 (" in content and "<td>b, log-mel</td><td>0.55 (" in content
