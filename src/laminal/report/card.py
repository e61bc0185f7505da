"""A model card for the hub, made of what the run wrote down: scores with intervals and chance, corpus, configuration, licences."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from laminal import config as settings
from laminal.errors import RequestError
from laminal.report.headlines import Headline, headlines
from laminal.report.provenance import gathered, read_manifest
from laminal.report.selection import Checkpoint, checkpoints, corpora
from laminal.results import read_table

SHOWN = ("seed", "init", "data", "losses", "teachers", "balancer", "optimizer", "trainer")
HEAD = """---
library_name: transformers
license: other
license_name: see-the-section-licence
tags: [audio, speech, speech-tokenizer, neural-codec, laminal]
---
"""
SNIPPETS = {  # of the class that reads the export; laminal is not needed
    "encodec": """codes = model.encode(inputs["input_values"], bandwidth={kbps}).audio_codes  # (1, 1, {codebooks}, frames)
    audio = model.decode(codes, [None]).audio_values""",
    "mimi": """codes = model.encode(inputs["input_values"]).audio_codes  # (1, {codebooks}, frames)
    audio = model.decode(codes).audio_values""",
}
CLASSES = {"encodec": "EncodecModel", "mimi": "MimiModel"}


def text(run: Path, export: Path, revision: str, repo: str) -> str:
    """Give the card of `export` (a folder of save_pretrained in `run`) whose weights have the hash `revision`, as `repo` on the hub.

    Raises RequestError where the run holds no scores of these very weights.
    """
    points = list(scored(run, revision))
    manifest, config = read_manifest(run), OmegaConf.load(run / "config.yaml") if (run / "config.yaml").is_file() else OmegaConf.create()
    architecture = settings.plain(OmegaConf.load(export / "config.json"))
    kind = str(architecture["model_type"])
    facts = _facts(kind, export)
    name = repo.rpartition("/")[2]
    parts = [
        HEAD,
        f"# {name}\n",
        f"A speech tokenizer: {facts['said']}. transformers' `{CLASSES[kind]}` reads it, no other code is needed. "
        "`laminal` trained it and measured what follows; this card is written from the run's own files.\n",
        _loading(kind, facts, repo),
        "## Scores\n",
        "On speakers that training has not heard. Intervals are 95 % (over speakers, words or utterances, as each score says in the run's "
        "`scores.parquet`); chance is what no knowledge gives. An interval that holds chance or 0 shows nothing.\n",
        *(_table(corpus, point) for corpus, point in points),
        _training(manifest, settings.plain(config), points),
        _licence(manifest, settings.plain(config)),
    ]
    return "\n".join(parts)


def scored(run: Path, revision: str) -> Iterator[tuple[str, Checkpoint]]:
    """Give corpus and scores of the weights of hash `revision`; raises RequestError where there are none."""
    if not (run / "scores.parquet").is_file():
        raise RequestError(f"{run} has no scores.parquet, and a card is made of scores: probe it first, python probe.py ckpt={run}")
    scores = read_table(run / "scores.parquet")
    own = scores[scores["ckpt_sha256"] == revision]
    if own.empty:
        raise RequestError(f"the scores of {run} are of other weights than its export; probe them: python probe.py ckpt={run}")
    for corpus in corpora(own):
        yield corpus, checkpoints(own, corpus)[-1]


def _facts(kind: str, export: Path) -> dict[str, Any]:
    from laminal.nn.pretrained import kind_of

    built = kind_of(CLASSES[kind]).config_class.from_pretrained(export, local_files_only=True)
    rate = built.sampling_rate / built.hop_length if kind == "encodec" else built.frame_rate
    kbps = rate * built.num_quantizers * (built.codebook_size - 1).bit_length() / 1000
    size = f"{built.num_quantizers} codebooks of {built.codebook_size}"
    said = f"{built.sampling_rate} Hz mono, {rate:g} frames/s, {size}, {kbps:g} kbit/s, {built.num_filters} filters"
    bandwidth = max(built.target_bandwidths) if kind == "encodec" else None
    return {"said": said, "sample_rate": built.sampling_rate, "codebooks": built.num_quantizers, "kbps": bandwidth}


def _loading(kind: str, facts: dict[str, Any], repo: str) -> str:
    body = SNIPPETS[kind].format(**facts)
    return f"""## How to load it

```python
import torch
from transformers import AutoFeatureExtractor, {CLASSES[kind]}

model = {CLASSES[kind]}.from_pretrained("{repo}").eval()
extractor = AutoFeatureExtractor.from_pretrained("{repo}")
wav = torch.randn({facts["sample_rate"]}).mul(0.05).numpy()  # one second of your speech, mono, {facts["sample_rate"]} Hz
inputs = extractor(raw_audio=wav, sampling_rate={facts["sample_rate"]}, return_tensors="pt")
with torch.no_grad():
    {body}
```
"""


def _table(corpus: str, point: Checkpoint) -> str:
    lines = [f"On `{corpus}`, generator step {point.step}:\n", "| score | value | 95 % interval | chance | n | what it supports |"]
    lines += ["|---|---|---|---|---|---|", *(_row(each) for each in headlines([point]))]
    return "\n".join(lines) + "\n"


def _row(each: Headline) -> str:
    cells = (each.label, each.value(each.last), each.interval, each.chance, f"{each.last.n:,d}", each.verdict)
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def _training(manifest: dict[str, Any], config: dict[str, Any], points: list[tuple[str, Checkpoint]]) -> str:
    lines = ["## How it was trained\n"]
    known = manifest.get("corpus_facts", {})
    hours = f", {known['hours']:g} h" if isinstance(known.get("hours"), int | float) else ""
    source = f": {known['source']}" if isinstance(known.get("source"), str) else ""
    told = {
        "command": f"`python {shlex.join(_bare(manifest['argv']))}`" if manifest.get("argv") else "",
        "corpus": f"{manifest['corpus']}{hours}{source}" if manifest.get("corpus") else "",
        "hash of the corpus": str(manifest.get("corpus_sha256", ""))[:16],
        "generator steps": manifest.get("generator_steps", points[0][1].step),
        "started from": _bare(manifest["init"]["codec"]) if manifest.get("init") else "noise",
        "ended": (manifest.get("stopped") or {}).get("why", ""),
        "weights": f"their mean, decay {(config.get('optimizer') or {}).get('ema')}" if (config.get("optimizer") or {}).get("ema") else "",
        "seed": manifest.get("seed", ""),
        "versions": ", ".join(f"{name} {manifest['versions'][name]}" for name in ("laminal", "torch", "transformers"))
        if manifest.get("versions")
        else "",
        "git": manifest.get("git", ""),
    }
    lines += [f"- {name}: {value}" for name, value in told.items() if value != ""]
    shown = {name: _bare(config[name]) for name in SHOWN if config.get(name) not in (None, {})}
    for loss in shown.get("losses", {}).values():
        if isinstance(loss, dict):
            loss.pop("teacher", None)  # under `teachers`
    lines += ["", "<details><summary>Configuration</summary>\n", "```yaml", OmegaConf.to_yaml(OmegaConf.create(shown)).rstrip(), "```\n"]
    return "\n".join([*lines, "</details>\n"])


def _licence(manifest: dict[str, Any], config: dict[str, Any]) -> str:
    corpus = sorted({str(each) for each in _licences(manifest.get("corpus_facts", {}))}) or ["not stated by the corpus; say it here"]
    lines = [
        "## Licence\n",
        "laminal is Apache-2.0; that does not say what these weights are. They were made from the following, and whoever publishes them "
        "looks up what each allows, sets `license:` above and takes this sentence out:\n",
        *(f"- corpus {manifest.get('corpus', '')}: {each}" for each in corpus),
        *(f"- teacher `{name}`: {said}" for name, said in _teachers(config.get("teachers") or {})),
    ]
    if manifest.get("init"):
        lines.append(f"- fine-tuned from {_bare(manifest['init']['codec'])}: its own licence")
    return "\n".join(lines) + "\n"


def _licences(facts: Any) -> Iterator[Any]:
    if isinstance(facts, dict):
        yield from ([facts["licence"]] if isinstance(facts.get("licence"), str) else gathered(facts, "licence"))


def _teachers(teachers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name each teacher by the comment that heads the twin of its class and weights, which has the licence; of others nothing is known."""
    twins = {twin: settings.plain(settings.twin("teachers", twin)) for twin in settings.names("teachers")}
    for name, section in teachers.items():
        if isinstance(section, dict):
            same = [twin for twin, each in twins.items() if all(each.get(key) == section.get(key) for key in ("_target_", "path"))]
            if same:
                yield name, settings.find(same[0], "teachers").read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
            else:
                yield name, f"{section.get('_target_')}, weights {_bare(str(section.get('path')))}: licence not known here; say it"


def _bare(value: Any) -> Any:
    """Leave out folders of the machine that it was made on: of a path that is not within the run's folder the last part stays."""
    if isinstance(value, dict):
        return {key: _bare(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_bare(each) for each in value]
    if not isinstance(value, str):
        return value
    head, equals, path = value.rpartition("=")
    return f"{head}{equals}{Path(path).name if path.startswith(('/', '~', '.')) else path}"
