"""Where the numbers come from: versions, hashes, seeds, configuration, what is undefined and why, which files were skipped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from laminal.report import html

MOST_ROWS = 200
APART = ("undefined", "failures", "skipped")  # shown in tables of their own


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read manifest.json; a missing or broken one is said on the page, the rest of which can still be made."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {"manifest.json": f"not readable: {error}"}
    return found if isinstance(found, dict) else {"manifest.json": "not an object"}


def facts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Flatten a manifest to (name, value), without what is shown apart."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            if key not in APART:
                yield from facts(each, f"{path}.{key}" if path else str(key))
    else:
        yield path, " ".join(map(str, value)) if isinstance(value, list) else str(value)


def gathered(value: Any, wanted: str) -> Iterator[Any]:
    """Every entry of the lists (or mappings) named `wanted`, at any depth."""
    if not isinstance(value, dict):
        return
    for key, each in value.items():
        if key == wanted:
            yield from each.items() if isinstance(each, dict) else each if isinstance(each, list) else [each]
        else:
            yield from gathered(each, wanted)


def section(folder: Path, scores: pd.DataFrame) -> str:
    """Make the section."""
    manifest = read_manifest(folder)
    made = [_sources(scores)]
    made.append(html.folded("Manifest", html.table(["", ""], list(facts(manifest)) if manifest else [], wrap=[1])))
    config = folder / "config.yaml"
    if config.is_file():
        made.append(html.folded("Configuration", f"<pre>{html.text(config.read_text(encoding='utf-8', errors='replace'))}</pre>"))
    undefined = [_undefined(each) for each in gathered(manifest, "undefined")]
    made.append(_listed("Scores that are undefined, and why", ["probe", "what", "reason"], undefined))
    made.append(_listed("Probes that failed", ["probe", "reason"], [_pair(each) for each in gathered(manifest, "failures")]))
    made.append(_listed("Files that were skipped", ["file", "reason"], [_pair(each) for each in gathered(manifest, "skipped")]))
    return html.section("provenance", "Where this comes from", "".join(made))


def _sources(scores: pd.DataFrame) -> str:
    if scores.empty:
        return ""
    names = ["run", "codec", "revision", "epoch", "step", "ckpt_sha256", "corpus", "corpus_sha256"]
    rows = scores.groupby(names, sort=True, dropna=False).size().reset_index(name="scores").sort_values(["corpus", "step"])
    shown = [[_short(value) for value in row] for row in rows.itertuples(index=False)]
    seeds = ", ".join(str(seed) for seed in sorted(set(scores["seed"])))
    versions = ", ".join(f"{probe} {version}" for probe, version in sorted(set(zip(scores["probe"], scores["probe_version"]))))
    return f'<p class="soft">Probes and their versions: {html.text(versions)}. Seeds: {html.text(seeds)}.</p>' + html.table(
        [*names, "scores"], shown
    )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) >= 40 and all(letter in "0123456789abcdef" for letter in text) else text


def _undefined(entry: Any) -> tuple[str, str, str]:
    found = entry if isinstance(entry, dict) else {"what": entry}
    return str(found.get("probe", "")), str(found.get("what", "")), str(found.get("reason", ""))


def _pair(entry: Any) -> tuple[str, str]:
    if isinstance(entry, (list, tuple)) and len(entry) == 2:
        return str(entry[0]), str(entry[1])
    return str(entry), ""


def _listed(title: str, heads: list[str], rows: list[Any]) -> str:
    unique = list(dict.fromkeys(rows))
    more = f'<p class="soft">and {len(unique) - MOST_ROWS:,} more, in manifest.json</p>' if len(unique) > MOST_ROWS else ""
    return (
        html.folded(f"{title} ({len(unique):,})", html.table(heads, unique[:MOST_ROWS], wrap=range(1, len(heads))) + more) if unique else ""
    )
