"""One recording of the simulated vocal tract, made in a process of its own: `python -m laminal.corpora.vocal_tract_say JOB.json OUT.npz`.

VocalTractLab (GPL-3, extra `vocaltract`) holds one speaker in global state: a second one crashes it, and setting its anatomy forgets all
shapes. So each recording has its own process, which gives the tool its speaker, scaled, before it loads. The same job gives the same bytes.
"""

import importlib.util
import json
import os
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE, SPEAKER = "vocaltractlab_cython", Path("resources") / "JD3.speaker"
STATES = 400 + 10 / 11  # Hz: 44,100 / 110
LENGTHS = frozenset({"HY", "JX", "LP", "LD", *(f"T{part}{axis}" for part in "CTBR" for axis in "XY"), "TS1", "TS2", "TS3"})  # in cm
AREAS = frozenset({"VO"})  # in cm2; the others are angles, or shares
NO_LENGTH = re.compile(r"angle|slope|automatic")  # attributes of the anatomy that do not grow with it


def say(job: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Synthesise `job`: segments [[name, seconds], ..], pitch [[semitones, seconds], ..], scale, palate, and times (s) of the outlines.

    Gives audio (t,) at 44.1 kHz, and the outlines in cm at each time, (n, points, 2): upper, lower, tongue, epiglottis.
    """
    loaded_with(folder, job["scale"], job["palate"])
    import vocaltractlab_cython as vtl

    segments, gestures, motor = (str(folder / name) for name in ("segments.txt", "gestures.txt", "motor.txt"))
    lines = [f"name = {name}; duration_s = {seconds:.6f};" for name, seconds in job["segments"]]
    Path(segments).write_text("\n".join(lines) + "\n", encoding="ascii")
    vtl.phoneme_file_to_gesture_file(segments, gestures)
    _intone(Path(gestures), job["pitch"])
    vtl.gesture_file_to_motor_file(gestures, motor)
    states = tract_states(Path(motor).read_text(encoding="ascii"))
    at = np.clip(np.asarray(job["times"]) * STATES, 0, len(states) - 1)
    wanted = np.stack([np.interp(at, np.arange(len(states)), column) for column in states.T], 1)
    outlines = [vtl.get_outlines(np.ascontiguousarray(state)) for state in wanted]
    found = {name: np.stack([each[name] for each in outlines]).astype(np.float32) for name in ("upper", "lower", "tongue", "epiglottis")}
    return found | {"audio": vtl.gesture_file_to_audio(gestures).astype(np.float32)}


def loaded_with(folder: Path, scale: float, palate: float) -> None:
    """Lay the package out in `folder` by links, with a speaker of another size in place of its own, and let Python find it there."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}")
    source, target = Path(spec.origin).parent, folder / PACKAGE
    (target / SPEAKER.parent).mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            (target / path.name).symlink_to(path)
    (target / SPEAKER).write_text(scaled_speaker((source / SPEAKER).read_text(encoding="utf-8"), scale, palate), encoding="utf-8")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def scaled_speaker(text: str, scale: float, palate: float) -> str:
    """Scale anatomy and shapes of a speaker file by `scale` in length, and the height of its palate by `palate` besides."""
    root = ElementTree.fromstring(text)
    model = root.find("vocal_tract_model")
    assert model is not None
    for element in model.iter():
        if element.tag == "param":
            power = 1 if element.get("name") in LENGTHS else 2 if element.get("name") in AREAS else 0
            for key in ("min", "max", "neutral", "value"):
                if element.get(key) is not None:
                    element.set(key, f"{float(element.attrib[key]) * scale**power:.6f}")
            continue
        for key, value in element.attrib.items():
            if element.tag in ("shape", "shapes", "vocal_tract_model") or NO_LENGTH.search(key):
                continue
            power = 2 if "area" in key else 3 if "volume" in key else 1
            factor = scale**power * (palate if key == "palate_height" else 1.0)
            element.set(key, " ".join(f"{float(each) * factor:.6f}" for each in value.split()))
    return ElementTree.tostring(root, encoding="unicode")


def tract_states(text: str) -> np.ndarray:
    """Read the tract's parameters, (n, 19), from a motor file: after the comments name and count, then glottis and tract in turn."""
    rows = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return np.array([[float(each) for each in row.split()] for row in rows[3::2]])


def _intone(path: Path, pitch: list[tuple[float, float]]) -> None:
    """Write our own pitch gestures: (semitones above 1 Hz, seconds) each."""
    head, mark, rest = path.read_text(encoding="ascii").partition('<gesture_sequence type="f0-gestures" unit="st">')
    _, end, tail = rest.partition("</gesture_sequence>")
    shape = '<gesture value="{:.4f}" slope="0.000000" duration_s="{:.4f}" time_constant_s="0.030000" neutral="0" />'
    path.write_text(f"{head}{mark}\n{chr(10).join(shape.format(*each) for each in pitch)}\n{end}{tail}", encoding="ascii")


def main(job: Path, out: Path) -> None:
    """Say the job and write what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        found = say(json.loads(job.read_text(encoding="utf-8")), Path(folder))
    np.savez(out, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)  # its clean-up is not reliable
