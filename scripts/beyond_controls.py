"""Which control of text_alignment takes what out of CKA with text: `python scripts/beyond_controls.py codec=log_mel corpus=... ...`.

Takes the words of probe.py. Prints, for the first and the last layer of each slice, CKA beyond form alone, and beyond form and each further
thing that a network without meanings may share with a text space: which phones words begin or end with, who says them, where in their
utterances they stand, how loud they are (no control of the probe), and all of the probe's together.
"""

import sys
from functools import cache

import numpy as np
from jaxtyping import Float

from laminal import cli, commands
from laminal.corpora.base import Corpus
from laminal.errors import DataError
from laminal.features import WordFeatures, word_features
from laminal.probes.alignment_rows import Space
from laminal.probes.beyond_form import ONSET, Beyond, form_of, words_of
from laminal.probes.text_alignment import TextAlignment
from laminal.probes.word_types import (
    Types,
    phones_at,
    place_powers,
    speaker_shares,
    standardised_powers,
    type_means,
)  # fmt: skip

RATE = 16_000


def loudness(corpus: Corpus, types: Types, found: WordFeatures) -> Float[np.ndarray, "types columns"]:
    """Powers of the log energy of a word, and of that over its utterance's."""
    utterances = {each.id: each for each in corpus}
    heard = cache(lambda name: corpus.wav(utterances[name], RATE).numpy().astype(float))
    levels = []
    for token in types.tokens:
        wav = heard(token.utterance_id)
        energy = np.square(wav[int(token.start * RATE) : int(token.end * RATE)]).mean() + 1e-9
        levels.append((np.log(energy), np.log(energy / np.square(wav).mean())))
    return np.concatenate([standardised_powers(types, found, np.array(column)) for column in zip(*levels, strict=True)], axis=1)


def main(words: list[str]) -> None:
    """Print a line for each slice, layer and set of controls."""
    own, rest = {"probe": "text_alignment"}, []
    request = cli.parse(words, ())
    for word in request.overrides:
        key, _, value = word.partition("=")
        if key in ("codec", "ckpt"):
            own[key] = value
        else:
            rest.append(word)
    target, on = commands.prepared(own, request.configs, rest)
    probe = on.probes["text_alignment"]
    assert isinstance(probe, TextAlignment)
    types, text = probe.sample.types, probe.sample.text
    for slice in probe.slices:
        found = word_features(target.codec, probe.corpus, types.tokens, slice, probe.cache)
        means, kept = type_means(types, found)
        said = words_of(types, kept)
        space = Space("text", text[kept])
        form = form_of(types, found, kept)
        begin, voices, places = phones_at(said, ONSET), speaker_shares(types, found)[kept], place_powers(types, found)[kept]
        controls = {
            "form": [], "first two phones": [begin], "last two phones": [phones_at(said, (-2, -1))], "speakers": [voices],
            "places in utterances": [places], "loudness": [loudness(probe.corpus, types, found)[kept]],
            "first two phones and speakers": [begin, voices], "all controls of the probe": [begin, voices, places],
        }  # fmt: skip
        for name, more in controls.items():
            try:
                beyond = Beyond(np.concatenate([form, *more], axis=1), space, probe.permutations, probe.seed, hollowed=True)
            except DataError as error:
                print(f"{slice}, {name}: {error}")
                continue
            ends = sorted({0, len(found.layers) - 1})
            for layer, part in zip(ends, beyond.of([means[layer] for layer in ends]), strict=True):
                assert not isinstance(part, DataError)
                where, left = f"{slice}, layer {found.layers[layer]}", beyond.basis.shape[1]
                print(f"{where}, beyond {name} ({left} dimensions left): {part.value:.4f}, p {part.p:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
