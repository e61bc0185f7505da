"""Pronunciations of the CMU dictionary: ARPAbet phones without stress, every listed variant."""

from functools import lru_cache

from laminal.lexicon import base

_ARPABET = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
PHONES: tuple[str, ...] = tuple(_ARPABET.split())


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    return dict(row.split("\t") for row in base.rows("pronunciations"))


def pronunciations(word: str) -> tuple[tuple[str, ...], ...]:
    """Give the phones of each listed pronunciation of `word` (lower case), the dictionary's first first; () if it lists none."""
    listed = _table().get(word)
    return tuple(tuple(phones.split()) for phones in listed.split("|")) if listed else ()


@lru_cache(maxsize=1)
def words() -> frozenset[str]:
    """Give every word of the dictionary, in lower case: 126,052, names, abbreviations and possessives among them."""
    return frozenset(_table())
