"""Made-up probings with the keys of real ones, stored through the real writer, and numbers of a report read back from its HTML."""

import json
import re
from pathlib import Path

import numpy as np

from laminal.results import Context, Items, Results, Score, Undefined, store

SETTINGS = {"same_word": -0.3, "near_homophone": -0.18, "synonym": -0.004, "synonym_core": -0.006, "same_speaker": -0.08}


def score(**given):
    """A score whose unnamed parts do not matter."""
    plain = {
        "probe": "word_pairs", "metric": "over_random", "value": 0.0, "low": 0.0, "high": 0.0, "n": 300, "clusters": 100, "chance": 0.0,
        "higher_is_better": None, "unit": "fraction of random",
    }  # fmt: skip
    return Score(**(plain | given))


def pairs(setting, value, half=0.01, **given):
    """A distance over random with a symmetric interval."""
    return score(setting=setting, value=value, low=value - half, high=value + half, **given)


def word_pairs(rng, epoch, codebooks, splits=("all", "trained", "new_pair", "new_word", "cross"), slices=("audio", "features")):
    """Rows as word_pairs yields them, of a tokenizer that learns its training pairs."""
    for split in splits:
        for slice in slices:
            for distance, scale in (("euclidean", 6.0), ("cosine", 0.5), ("scaled", 1.4)):
                for k, layer in enumerate(["latent", *map(str, range(1, codebooks + 1))]):
                    given = {"layer": layer, "layer_mode": "cumulative", "slice": slice, "distance": distance, "split": split}
                    yield from _of_column(rng, epoch, k, scale, given)


def _of_column(rng, epoch, k, scale, given):
    fade = 1 / (1 + 0.25 * max(k - 1, 0))
    wide = 0.035 if given["split"] == "new_word" else 0.008
    for setting, share in SETTINGS.items():
        value = share * fade * (0.5 + 0.1 * epoch) + rng.normal(0, 0.002)
        if setting == "synonym_core" and given["split"] == "trained":
            value -= 0.012 * epoch * fade
        random = scale * (1 + 0.02 * k) + rng.normal(0, 0.01)
        half = wide * random
        row = {**given, "setting": setting, "unit": "distance"}
        yield score(metric="mean", value=random * (1 + value), low=random * (1 + value) - half, high=random * (1 + value) + half,
                    **row | {"chance": random})  # fmt: skip
        yield score(metric="minus_random", value=random * value, low=random * value - half, high=random * value + half, **row)
        yield pairs(setting, value, wide, **given)
        yield score(metric="auc", value=0.5 - value, low=0.47 - value, high=0.53 - value, **row | {"chance": 0.5, "unit": "probability"})
        yield score(metric="mean", value=random, low=random - half, high=random + half,
                    **row | {"setting": f"random_for_{setting}", "chance": random})  # fmt: skip
    yield score(metric="phonsem", value=4.0, low=3.0, high=6.0, **given | {"unit": "ratio", "chance": float("nan")})


def units(rng, epoch, codebooks, size=256, dead=()):
    """Rows as the units probe yields them; `dead` names codebooks (from 1) with most codes unused."""
    ppl = []
    for book in range(1, codebooks + 1):
        own = {"probe": "units", "layer": str(book), "layer_mode": "single", "n": 20000, "clusters": 12, "chance": float("nan")}
        unused = int(0.62 * size) if book in dead else 2
        value = (0.3 * size + 8 * epoch + rng.normal(0, 2)) * (0.3 if book in dead else 1)
        ppl.append(value)
        up = {"higher_is_better": True}
        yield score(metric="perplexity", value=value, low=value - 4, high=value + 4, unit="codes", **own | up)
        use = 1 - unused / size
        yield score(metric="usage", value=use, low=use, high=use, unit="fraction", **own | up)
        yield score(metric="dead", value=float(unused), low=float(unused), high=float(unused), unit="codes", **own)
        for metric, base, level in (
            ("pnmi", 0.15, 0.08),
            ("phone_gain", 0.12, 0.0),
            ("phone_purity", 0.2, 0.12),
            ("cluster_purity", 0.1, 0.05),
            ("lexical_auc", 0.55, 0.5),
        ):
            found = base + 0.02 * epoch / book + rng.normal(0, 0.002)
            yield score(metric=metric, value=found, low=found - 0.01, high=found + 0.01, unit="fraction", **own | up | {"chance": level})
    for k, layer in enumerate(["latent", *map(str, range(1, codebooks + 1))]):
        for metric, base in (("abx_within", 0.25), ("abx_across", 0.3)):
            found = base - 0.01 * epoch - 0.005 * k
            yield score(probe="units", metric=metric, layer=layer, layer_mode="cumulative", value=found, low=found - 0.02,
                        high=found + 0.02, chance=0.5, higher_is_better=False, unit="error", n=400)  # fmt: skip
    flat = {"probe": "units", "unit": "bit/s", "chance": float("nan"), "n": 20000}
    nominal, entropy = 50 * codebooks * np.log2(size), 50 * sum(np.log2(ppl))
    yield score(metric="bits_nominal", value=nominal, low=nominal, high=nominal, **flat)
    yield score(metric="bits_entropy", value=entropy, low=entropy - 9, high=entropy + 9, **flat)


def reconstruction(rng, epoch, codebooks):
    """Rows as the reconstruction probe yields them."""
    kinds = {"pesq": (1.1, 0.06, 0.05, True), "stoi": (0.6, 0.03, 0.01, True), "estoi": (0.4, 0.03, 0.02, True),
             "si_sdr": (-4, 1, 0.8, True),
             "mel_distance": (1.4, -0.08, 0.05, False), "mcd": (9, -0.3, 0.4, False), "f0_correlation": (0.5, 0.03, 0.05, True),
             "voicing_error": (0.3, -0.02, 0.02, False), "speaker_similarity": (0.4, 0.03, 0.03, True)}  # fmt: skip
    for k in sorted({1, 2, 4, codebooks}):
        for metric, (start, step, half, better) in kinds.items():
            found = start + step * epoch + 0.3 * step * k + rng.normal(0, half / 20)
            yield score(probe="reconstruction", metric=metric, layer=str(k), layer_mode="cumulative", value=found, low=found - half,
                        high=found + half, chance=float("nan"), higher_is_better=better, unit="", n=60)  # fmt: skip


def fake_run(
    folder: Path, epochs: int = 8, codebooks: int = 8, dead=(5,), steps: int = 160, name: str = "semantic_rvq-20260101-120000"
) -> Path:
    """A run folder as training leaves it, less checkpoints."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    undefined = Undefined(probe="word_pairs", what="phonsem (new_word, seed 0): audio/cumulative/1/euclidean",
                          reason="the interval of random - synonym_core holds 0")  # fmt: skip
    for epoch in range(epochs):
        context = Context(run=name, codec="laminal", revision="r", ckpt_sha256=f"{epoch:064x}", epoch=epoch, step=(epoch + 1) * steps,
                          corpus="spoken", corpus_sha256="c" * 64)  # fmt: skip
        scores = [*word_pairs(rng, epoch, codebooks), *units(rng, epoch, codebooks, dead=dead), *reconstruction(rng, epoch, codebooks)]
        items = Items(probe="word_pairs", metric="distance", a=["u:0.1-0.4"], b=["v:0.2-0.5"], value=np.array([1.0]), setting="synonym")
        store(folder, Results(context, scores, [items], [undefined]))
    lines = ["epoch,step,name,value"]
    names = ["train/mel", "train/waveform", "train/total", "train/semantic_distill", "train/synonym_contrast", "train/lr", "norm/mel",
             "val/mel", *(f"codebooks/perplexity/L{k:02d}" for k in range(1, codebooks + 1))]  # fmt: skip
    for step in range(10, epochs * steps + 1, 10):
        for i, term in enumerate(names):
            lines.append(f"{(step - 1) // steps},{step},{term},{(1 + i) * (0.3 + np.exp(-step / 400)) + rng.normal(0, 0.02):.7g}")
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    missing = {"probe": undefined.probe, "what": undefined.what, "reason": undefined.reason}
    manifest = {"versions": {"laminal": "0.1.0", "torch": "2.13.0"}, "python": "3.11.9", "git": "b0eb88e", "config_sha256": "d" * 64,
                "seed": 0, "argv": ["train.py", "--config", "semantic_rvq.yaml"],
                "corpus": "spoken", "corpus_facts": {"hours": 2.5, "speakers": 40},
                "skipped": [["a.wav", "a.wav is empty; remove it"]],
                "probing/spoken/step=160": {"undefined": [missing]}}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "config.yaml").write_text("seed: 0\ntrainer:\n  epochs: 8\n", encoding="utf-8")
    listening(folder / "listening", codebooks)
    return folder


def listening(place: Path, codebooks: int) -> None:
    """Samples as `probes.listening.write_listening` names and lists them (its own test holds the two together)."""
    import soundfile

    place.mkdir(exist_ok=True)
    entries = []
    for number, utterance in enumerate(("reader-one", "reader-two"), start=1):
        files = {version: f"{number}-{utterance}.{version}.flac" for version in ("original", "1", "4", str(codebooks))}
        for version, file in files.items():
            soundfile.write(place / file, 0.1 * np.sin(np.arange(16000) * (0.05 + 0.01 * len(version))), 16000)
        entries.append({"id": utterance, "original": files.pop("original"), "decoded": files})
    (place / "index.json").write_text(json.dumps({"utterances": entries}), encoding="utf-8")


def embedded(html: str) -> dict:
    """The data that the charts of a report draw."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found, "no data in the page"
    return json.loads(found[1])


def unpacked(table: dict) -> dict[str, list]:
    """Columns of a packed table, as the page's script unpacks them."""
    made = {}
    for name, column in table.items():
        if isinstance(column, list):
            made[name] = column
        elif "codes" in column:
            made[name] = [column["levels"][code] for code in column["codes"]]
        else:
            runs = column["runs"]
            made[name] = [column["levels"][code] for code, times in zip(runs[::2], runs[1::2]) for _ in range(times)]
    return made
