"""Is `beyond_controls` 0 where nothing is shared, and how wide is its interval? `python scripts/beyond_coverage.py REPEATS corpus=... `.

The words, controls and text space are those of the probe on that corpus (words of probe.py without a codec); layers are simulated: strongly
dependent on the controls, with noise alike in all words or falling with the root of a word's tokens, or (signal) sharing half of their
variance with a simulated text. Prints means, rates of p, and how often the interval holds 0 (the mean, of the signal).
"""

import sys

import numpy as np

from laminal import cli, commands
from laminal.features import WordFeatures
from laminal.probes.alignment_rows import Space
from laminal.probes.beyond_form import Beyond, controls_of, form_of
from laminal.probes.text_alignment import TextAlignment

WIDTH, PERMUTATIONS = 20, 199


def main(words: list[str]) -> None:
    """Print a line for each regression, estimator and kind of noise."""
    request = cli.parse(words[1:], ())
    _, on = commands.prepared({"codec": "log_mel", "probe": "text_alignment"}, request.configs, list(request.overrides))
    probe = on.probes["text_alignment"]
    assert isinstance(probe, TextAlignment)
    types, text = probe.sample.types, probe.sample.text
    found = WordFeatures(("1",), np.zeros((len(types.tokens), 1, 1), np.float32), np.ones(len(types.tokens), bool), 0)
    kept = np.ones(len(types.words), dtype=bool)
    exact = np.sqrt(np.bincount(types.word))[:, None]
    for name, given in (("form", form_of(types, found, kept)), ("all controls", controls_of(types, found, kept))):
        for hollowed in (False, True):
            for noise in ("alike", "by tokens", "signal"):
                rng, rows = np.random.default_rng(0), []
                for repeat in range(int(words[0])):
                    drawn = [given @ rng.standard_normal((given.shape[1], WIDTH)) / 3 for _ in range(2)]
                    own = [rng.standard_normal((len(given), WIDTH)) for _ in range(3)]
                    layer = drawn[0] + (own[0] / exact if noise == "by tokens" else own[0])
                    other = text
                    if noise == "signal":
                        layer, other = layer + own[2], drawn[1] + own[1] + own[2]
                    beyond = Beyond(given, Space("text", other), PERMUTATIONS, repeat, hollowed)
                    (part,) = beyond.of([layer])
                    half = 1.96 * part.stretch * part.pseudo.std(ddof=1) / np.sqrt(len(given))
                    rows.append((part.value, part.p, half))
                value, p, half = np.array(rows).T
                truth = value.mean() if noise == "signal" else 0.0
                what = f"{name}, {beyond.basis.shape[1]} dimensions left, {'hollow' if hollowed else 'turned'} kernels, noise {noise}"
                held = f"interval holds {truth:.2f} in {(np.abs(value - truth) <= half).mean():.2f}"
                print(f"{what}: mean {value.mean():.4f}, p <= 0.05 in {(p <= 0.05).mean():.2f}, {held}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
