"""What a corpus is good for: hours, speakers, alignment, pairs per setting and tier, and how wide the intervals will be."""

from collections import Counter

import numpy as np
from omegaconf import DictConfig

from laminal import experiment
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split, make_split
from laminal.measures.bootstrap import multiplicities
from laminal.measures.contrast import contrasts, drawn
from laminal.probes.pair_sampling import SETTINGS, Sample, sample_pairs
from laminal.words import tokens

DRAWS = 400
FEWEST = 10  # type pairs
# standard deviations over the mean distance: of type pairs, of token pairs about these, and of random pairs, each another type pair.
# Laptop tokenizers on librispeech-mini and spoken have 0.35-0.49, 0.57-0.76 and 0.63-0.87; where yours vary less, so do intervals
BETWEEN, WITHIN, RANDOM = 0.45, 0.68, 0.75
PUBLISHED = 0.025  # effects that the seed study reports are no larger


def describe(config: DictConfig) -> str:
    """Describe the corpus of `config` for whoever wants to know what its numbers can say."""
    corpus = experiment.corpus(config)
    lines = [*_facts(corpus), ""]
    sizes = {name: config.probes.word_pairs[name] for name in ("maximum", "tier_maximum", "token_pairs", "randoms")}
    sizes["tier_maximum"] = sizes["tier_maximum"] or sizes["maximum"]
    whole = sample_pairs(corpus, None, 0, **sizes)
    lines += ["all speakers, no training on it (the `all` of a published codec):", *_table(whole), ""]
    if len(corpus.speakers) >= 5:
        split = make_split(corpus, 0)
        lines += [_split_line(split), *_table(sample_pairs(corpus, split, 0, **sizes))]
    else:
        lines += [f"{len(corpus.speakers)} speakers: too few to hold some out, so it can test a tokenizer but not train one"]
    lines += [
        "",
        f"at most {sizes['maximum']} type pairs (probes.word_pairs.maximum), each of {sizes['token_pairs']} token pairs, "
        f"with {sizes['randoms']} random pairs;",
        f"half-width: expected, of (mean - random) / random, by simulated distances; above {PUBLISHED:.1%} a null decides nothing",
    ]
    return "\n".join(lines)


def _facts(corpus: Corpus) -> list[str]:
    seconds = sum(utterance.seconds for utterance in corpus)
    aligned = sum(bool(utterance.words) for utterance in corpus)
    words = Counter(word.label for utterance in corpus for word in utterance.words)
    used = tokens(corpus)
    per_speaker = Counter(utterance.speaker for utterance in corpus)
    lines = [
        f"corpus {corpus.name}: {seconds / 3600:.2f} h, {len(corpus)} utterances, {len(per_speaker)} speakers "
        f"({min(per_speaker.values())} to {max(per_speaker.values())} utterances each)",
        f"alignment: {aligned} of {len(corpus)} utterances have words ({aligned / len(corpus):.1%}); "
        f"{sum(words.values())} words of {len(words)} types, {len(used)} usable (alphabetic, in CMUdict, 0.1 to 1.5 s)",
        f"skipped: {len(corpus.skipped)}" + "".join(f"\n  {name}: {reason}" for name, reason in corpus.skipped[:10]),
    ]
    return lines + [f"{key}: {corpus.facts[key]}" for key in ("licence", "source") if corpus.facts.get(key)]


def _split_line(split: Split) -> str:
    return (
        f"a generalisation split (seed 0): {len(split.train_speakers)} speakers to train, {len(split.test_speakers)} to test; "
        f"{len(split.held_types)} types held out; {len(split.positives)} synonym pairs to train on; pairs of the test speakers:"
    )


def _table(sample: Sample) -> list[str]:
    lines = [f"  {'setting':<16}" + "".join(f"{split:>22}" for split in sample.splits)]
    for setting in SETTINGS:
        cells = []
        for split in sample.splits:
            count, width = int(sample.sets[setting].member[split].sum()), half_width(sample, setting, split)
            cells.append(f"{count:>10}" + (f" ± {width:>6.1%}   " if np.isfinite(width) else " " * 12))
        lines.append(f"  {setting:<16}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


def half_width(sample: Sample, setting: str, split: str) -> float:
    """Expect the half-width of the 95 % interval of (mean - random) / random: that of word_pairs, on distances drawn at random.

    NaN where there are too few pairs for a score.
    """
    rng = np.random.default_rng(0)
    counts = np.concatenate([np.ones((1, len(sample.words))), multiplicities(len(sample.words), DRAWS, 0)])
    sides = []
    for name in (setting, sample.randoms[setting]):
        pairs = sample.sets[name]
        between, within = (BETWEEN, WITHIN) if name == setting else (RANDOM, 0.0)
        values = 1 + between * rng.standard_normal(len(pairs.types))[pairs.group] + within * rng.standard_normal(len(pairs.group))
        sides.append(drawn(values[:, None], pairs.group, pairs.types, pairs.member[split][pairs.group], counts, FEWEST))
    mine, random = sides
    if mine is None or random is None:
        return float("nan")
    found = contrasts(mine, random, [-1])["over_random"]
    return float(found.high[0] - found.low[0]) / 2
