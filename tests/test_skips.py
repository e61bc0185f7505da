"""The list of expected skips lets through what it names, and nothing that only resembles it."""

import pytest

from expected_skips import unexpected
from oracle_lexicon import NO_WORDNET


@pytest.mark.parametrize(
    "reason",
    [
        "no /a/b/librispeech-mini: set LAMINAL_DATA to run this on real material",
        "no ../shared/weights/whisper_base_encoder: set LAMINAL_WEIGHTS to run this on real material",
        "no resemblyzer: pip install --no-deps resemblyzer to run this on its weights",
        NO_WORDNET,
    ],
)
def test_expected(reason):
    assert unexpected(f"SKIPPED [2] tests/a/test_b.py:12: {reason}\n") == []


@pytest.mark.parametrize(
    "reason",
    [
        "no pocketsphinx, whose wheel holds the dictionary: pip install 'laminal[align]'",
        "could not import 'pocketsphinx': No module named 'pocketsphinx'",
        "could not import 'wandb_workspaces': No module named 'wandb_workspaces'",
        "extra quality",
        "no time: set LAMINAL_DATA to run this on real material, some day",
        "resemblyzer is slow",
        "unconditional skip",
    ],
)
def test_unexpected(reason):
    log = f"1 passed\nSKIPPED [1] tests/test_b.py:3: {reason}\nSKIPPED [1] tests/test_c.py: {reason}\n"
    assert unexpected(log) == [reason, reason]
