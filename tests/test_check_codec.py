"""The codec contract: a codec that keeps it, one that breaks each rule, and the command's lines and exit codes."""

import re
from pathlib import Path

import pytest
import torch

import oracle_contract as planted
from laminal.check_codec import RULES, check, refuse_broken, summary
from laminal.codec_rules import Subject
from laminal.errors import RequestError

BROKEN = {
    planted.NoRevision: "attributes", planted.Int32: "codes", planted.TooLarge: "codes", planted.Unnamed: "layers",
    planted.NoLatent: "layers", planted.Gradients: "layers", planted.HalfRate: "rates", planted.Streaming: "determinism",
    planted.Dithering: "determinism", planted.NoisyDecoder: "determinism", planted.BatchNorm: "batch = single",
    planted.Unquantized: "look-up", planted.InContext: "look-up", planted.EachAlone: "layers sum", planted.AlwaysAll: "prefix",
    planted.DeafLayer: "decode hears", planted.DeafDecoder: "decode hears", planted.OtherScale: "decode layers",
    planted.TwoEncoders: "one pass", planted.Stretched: "round trip", planted.Explodes: "round trip", planted.Stereo: "round trip",
    planted.Late: "frame clock", planted.Squeezed: "frame clock", planted.LooksAhead: "causality", planted.WholeFrames: "short audio",
    planted.OddCodes: "odd lengths", planted.Normalising: "silence",
}  # fmt: skip


def verdicts(codec) -> dict[str, str]:
    return {finding.rule: finding.verdict for finding in check(codec)}


def test_a_codec_that_keeps_the_contract_passes_every_rule():
    found = list(check(planted.Sound()))
    assert [each.rule for each in found] == ["attributes", *RULES]
    assert {each.verdict for each in found} == {"ok"}, [each.line for each in found if each.verdict != "ok"]
    assert summary(found, "sound") == ""


@pytest.mark.parametrize("kind", [planted.OneMore, planted.Reflecting])
def test_frame_counts_and_first_frames_of_published_codecs_are_allowed(kind):
    found = list(check(kind()))
    assert {each.verdict for each in found} == {"ok"}, [each.line for each in found if each.verdict != "ok"]


@pytest.mark.parametrize("seconds", [0.4, 2.0])
def test_causality_is_asked_after_the_first_frames(seconds):
    codec = planted.Reflecting()
    sounds = torch.randn(2, round(seconds * codec.sample_rate), generator=torch.Generator().manual_seed(0)) / 10
    assert RULES["causality"](Subject(codec, sounds)).startswith("causal")


def test_every_rule_has_a_codec_that_breaks_it():
    assert set(BROKEN.values()) == {"attributes", *RULES}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_codec_fails_its_rule_with_a_cure(kind):
    found = {each.rule: each for each in check(kind())}
    broken = found[BROKEN[kind]]
    assert broken.verdict == "FAIL" and broken.said and broken.cure, [each.line for each in found.values()]
    assert "\n" not in broken.line and BROKEN[kind] in summary(list(found.values()), "x")


# what one fault breaks beside its own rule, and nothing else does
ALSO = {
    planted.Unnamed: None, planted.Gradients: set(), planted.NoLatent: {"one pass"}, planted.HalfRate: None, planted.Late: {"causality"},
    planted.Squeezed: {"causality", "rates"}, planted.Streaming: {"batch = single", "look-up", "causality", "one pass", "frame clock"},
    planted.Explodes: {"decode layers", "decode hears"}, planted.AlwaysAll: {"decode hears"}, planted.EachAlone: {"decode hears"},
    planted.NoisyDecoder: {"decode hears"}, planted.Stretched: set(), planted.BatchNorm: {"causality", "short audio", "silence"},
    planted.DeafLayer: {"look-up", "layers sum", "prefix"}, planted.OddCodes: {"look-up"}, planted.Unquantized: {"one pass"},
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_fault_is_not_blamed_on_rules_it_does_not_touch(kind):
    allowed = ALSO.get(kind, set())
    if allowed is not None:
        failed = {rule for rule, verdict in verdicts(kind()).items() if verdict == "FAIL"}
        assert failed <= allowed | {BROKEN[kind]}


def test_the_codec_of_the_docs_keeps_the_contract():
    text = (Path(__file__).resolve().parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
    made: dict = {}
    exec(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0], made)
    assert "FAIL" not in verdicts(made["Halves"]()).values()


def test_an_encoder_without_codes_is_asked_what_applies():
    found = verdicts(planted.Encoder())
    assert set(found.values()) == {"ok", "-"} and found["layers"] == found["frame clock"] == "ok" and found["codes"] == "-"


def test_sounds_of_a_corpus_are_used_at_least_two_seconds_long():
    seen = []

    class Listening(planted.Sound):
        def encode(self, wav):
            seen.append(wav.shape)
            return super().encode(wav)

    list(check(Listening(), [torch.randn(40_000) / 10, torch.randn(100), torch.randn(33_000) / 10]))
    assert seen[0] == (2, 32_000)


def test_measured_delay_is_said_and_held_against_what_the_codec_says():
    class Lagging(planted.Sound):
        def latent(self, wav):
            found = super().latent(wav)
            return torch.nn.functional.pad(found, (0, 0, 2, 0))[:, : found.shape[1]]

    line = next(each for each in check(Lagging()) if each.rule == "frame clock")
    assert line.verdict == "ok" and re.search(r"are (39|40|41) ms late", line.said)
    Lagging.delay = 0.0
    line = next(each for each in check(Lagging()) if each.rule == "frame clock")
    assert line.verdict == "FAIL" and "delay" in line.cure


def test_a_response_is_found_where_every_frame_moves():
    found = {each.rule: each for each in check(planted.Levelled())}
    assert found["frame clock"].verdict == "ok" and "ahead" in found["causality"].said, found["frame clock"].line


def test_a_codec_of_ones_own_is_refused_before_it_is_probed():
    refuse_broken(planted.Sound(), "x")
    with pytest.raises(RequestError, match="layers sum"):
        refuse_broken(planted.EachAlone(), "./mine.py:EachAlone")
    with pytest.raises(RequestError, match="decode hears"):
        refuse_broken(planted.DeafDecoder(), "x")
