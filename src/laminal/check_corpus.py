"""What a corpus is good for: hours, speakers, alignment, pairs per setting and tier, and how wide the intervals will be."""

from collections import Counter

import numpy as np
from omegaconf import DictConfig

from laminal import experiment
from laminal.corpora.base import Corpus
from laminal.corpora.split import Split, make_split
from laminal.features import tokens
from laminal.probes.pair_sampling import SETTINGS, Sample, sample_pairs

MAXIMUM = 5000  # type pairs counted in each setting and split
SPREAD = 0.35  # standard deviation of a pair's distance over its mean, about what trained codecs show on librispeech-mini
PUBLISHED = 0.025  # effects that the seed study reports are no larger


def describe(config: DictConfig) -> str:
    """Describe the corpus of `config` for whoever wants to know what its numbers can say."""
    corpus = experiment.corpus(config)
    lines = [*_facts(corpus), ""]
    sizes = {"maximum": MAXIMUM, "tier_maximum": MAXIMUM, "token_pairs": 1, "randoms": 1}
    whole = sample_pairs(corpus, None, 0, **sizes)
    lines += ["all speakers, no training on it (the `all` of a published codec):", *_table(whole), ""]
    if len(corpus.speakers) >= 5:
        split = make_split(corpus, 0)
        lines += [_split_line(split), *_table(sample_pairs(corpus, split, 0, **sizes))]
    else:
        lines += [f"{len(corpus.speakers)} speakers: too few to hold some out, so it can test a tokenizer but not train one"]
    lines += ["", f"half-width: expected, of (mean - random) / random; above {PUBLISHED:.1%} a null decides nothing"]
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
            pairs = sample.sets[setting]
            types = pairs.types[pairs.member[split]]
            cells.append(f"{len(types):>10} ± {half_width(types):>6.1%}   " if len(types) else f"{0:>10}            ")
        lines.append(f"  {setting:<16}" + "".join(f"{cell:>22}" for cell in cells))
    return lines


def half_width(types: np.ndarray) -> float:
    """Expect the half-width of a 95 % interval of (mean - random) / random for these type pairs, words resampled.

    A word type in m of n pairs weighs m / n: the effective number of pairs is 1 / sum (m / n)^2 * 2, at most n. The spread of one pair is
    SPREAD of the mean, and the random pairs contribute as much again.
    """
    uses = np.bincount(types.ravel())
    effective = min(len(types), 4 / float((uses[uses > 0] / len(types)) @ (uses[uses > 0] / len(types))) / 2)
    return float(1.96 * SPREAD * np.sqrt(2 / max(effective, 1)))
