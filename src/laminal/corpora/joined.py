"""Several corpora as one: aligned speech to probe with, and any other audio to train on."""

from collections import Counter
from collections.abc import Mapping

from laminal.corpora.base import Corpus, Packed
from laminal.errors import RequestError


def joined(parts: Mapping[str, Corpus | None], name: str) -> Corpus:
    """Join `parts` (any names) into one corpus, utterances in the order of their ids; a part that is null is left out.

    Speakers of one name are one speaker: parts of LibriSpeech agree on theirs. Raises RequestError where two parts hold an utterance of the
    same id, or there is no part.
    """
    corpora = {key: part for key, part in parts.items() if part is not None}
    if not corpora:
        raise RequestError("corpus.parts is empty: give it corpora by name, as configs/corpora/librispeech_parts.yaml does")
    found = sorted((utterance for part in corpora.values() for utterance in part), key=lambda utterance: utterance.id)
    doubled = [key for key, count in Counter(utterance.id for utterance in found).items() if count > 1]
    if doubled:
        raise RequestError(f"{len(doubled)} utterances are in more than one part of {sorted(corpora)}, as {doubled[0]}; leave one part out")
    facts: dict[str, object] = {key: part.facts for key, part in corpora.items()}
    return Corpus(name, Packed(found), tuple(skip for part in corpora.values() for skip in part.skipped), facts)
