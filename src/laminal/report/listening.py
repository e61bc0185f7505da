"""Listening samples of a run folder: the original and what 1 .. K codebooks make of it, inlined where they are small."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from laminal.report import html

MOST_BYTES = 1_500_000  # of audio in one page
KINDS = {".flac": "audio/flac", ".wav": "audio/wav"}


def samples(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the recordings that index.json of `folder` lists, as {utterance: {version: path}}: "original", then how many codebooks."""
    try:
        listed = json.loads((folder / "index.json").read_text(encoding="utf-8"))["utterances"]
        found = {each["id"]: {"original": each["original"]} | each["decoded"] for each in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    there = {name: {version: folder / Path(file).name for version, file in of.items()} for name, of in found.items()}
    return {name: {version: path for version, path in of.items() if path.suffix in KINDS and path.is_file()} for name, of in there.items()}


def table(folder: Path) -> str:
    """Make the listening table; whole recordings that no longer fit are named, not shown."""
    found = samples(folder)
    if not found:
        return ""
    versions = sorted({each for of in found.values() for each in of}, key=_place)
    shown, left, used = [], [], 0
    for name, of in found.items():
        size = sum(path.stat().st_size for path in of.values())
        if used + size > MOST_BYTES:
            left.append(name)
            continue
        used += size
        shown.append((name, of))
    made = _grid(versions, shown)
    if left:
        where = f"{len(left)} more would make this page too large; they are in {folder.name}/: {', '.join(left)}"
        made += f'<p class="soft">{html.text(where)}</p>'
    return made


def _grid(versions: Sequence[str], shown: Sequence[tuple[str, dict[str, Path]]]) -> str:
    head = "".join(f"<th>{html.text(_said(version))}</th>" for version in versions)
    body = ""
    for name, of in shown:
        cells = "".join(f"<td>{_player(of[version]) if version in of else ''}</td>" for version in versions)
        body += f"<tr><td>{html.text(name)}</td>{cells}</tr>"
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>' if shown else ""


def _player(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<audio controls preload="none" src="data:{KINDS[path.suffix]};base64,{content}"></audio>'


def _said(version: str) -> str:
    if not version.isdigit():
        return version
    return "1 codebook" if version == "1" else f"{version} codebooks"


def _place(version: str) -> tuple[bool, int, str]:
    return (version != "original", int(version) if version.isdigit() else 0, version)
