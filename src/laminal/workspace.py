"""The layout of a W&B workspace: a section per probe, its scores by layer over the epochs, so that nobody clicks it together."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from laminal.results import Score, key, layer_order
from laminal.sinks import unusual

log = logging.getLogger("laminal")
NAME = "laminal: sound and meaning, layer by layer"
EPOCH, STEP = "probe/epoch", "train/step"
FIRST = ("over_random", "phonsem", "auc", "minus_random", "mean")  # metrics in the order in which a reader asks for them


def once(folder: Path, entity: str, project: str, scores: Sequence[Score], training: Sequence[str]) -> None:
    """Lay out the workspace of a W&B project unless a run beside this one did; needs a key and the extra `workspaces`."""
    done = folder.parent / ".wandb-workspaces"
    project_path = f"{entity}/{project}"
    if done.is_file() and project_path in done.read_text(encoding="utf-8").split("\n"):
        return
    made = layout(entity, project, scores, training)
    made.save()
    with done.open("a", encoding="utf-8") as file:
        file.write(project_path + "\n")
    log.info("W&B workspace: %s", made.url)


def layout(entity: str, project: str, scores: Sequence[Score], training: Sequence[str]) -> Any:
    """Build the workspace: `wandb_workspaces.workspaces.Workspace`; nothing is sent."""
    from wandb_workspaces import workspaces
    from wandb_workspaces.reports import v2 as panels

    def section(name: str, curves: Mapping[str, list[Any]], axis: str, is_open: bool) -> Any:
        plots = [panels.LinePlot(title=title, x=axis, y=keys) for title, keys in curves.items()]
        settings = workspaces.SectionPanelSettings(x_axis=axis)
        return workspaces.Section(name=name, panels=list(plots), is_open=is_open, panel_settings=settings)

    sections = [section(probe, curves(scores, probe), EPOCH, True) for probe in dict.fromkeys(score.probe for score in scores)]
    sections.append(section("training", training_groups(training), STEP, False))
    return workspaces.Workspace(entity=entity, project=project, name=NAME, sections=sections)


def curves(scores: Iterable[Score], probe: str) -> dict[str, list[str]]:
    """Panels of a probe: `setting: metric` and the keys of its layers, with the most usual choices that the probe has."""
    found: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        if score.probe == probe and not score.setting.startswith("random_for"):
            found.setdefault((score.metric, score.setting), []).append(score)
    panels = {}
    for metric, setting in sorted(found, key=lambda name: FIRST.index(name[0]) if name[0] in FIRST else len(FIRST)):
        rows = found[metric, setting]
        least = min(unusual(score) for score in rows)
        keys = {score.layer: key(score) for score in reversed(rows) if unusual(score) == least}
        panels[f"{setting}: {metric}" if setting else metric] = [keys[layer] for layer in layer_order(keys)]
    return panels


def training_groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Panels of training numbers: one a name; names of codebooks (`.../L01`) share one."""
    panels: dict[str, list[str]] = {}
    for name in names:
        head, _, last = name.rpartition("/")
        layered = last[:1] == "L" and last[1:].isdigit()
        panels.setdefault(head if layered else name, []).append(name)
    return panels
