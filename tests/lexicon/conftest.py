from collections.abc import Iterator

import pytest

from oracle_lexicon import NO_WORDNET, WORDNET, Wordnet, builder


@pytest.fixture(scope="session")
def nltk_wordnet() -> Iterator[Wordnet]:
    if not (WORDNET / "data.noun").exists():
        pytest.skip(NO_WORDNET)
    with builder().reader(WORDNET) as reader:
        yield Wordnet(reader)
