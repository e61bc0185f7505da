"""Hold a codec against the codec contract: a finding a rule, and what to do where one fails."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from laminal.codec_rules import RULES, BrokenRuleError, NotApplicableError, Subject
from laminal.codecs.base import Codec
from laminal.errors import DataError, RequestError

SECONDS = 2.0
Verdict = Literal["ok", "FAIL", "-"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found; `cure` is empty where nothing is to be done."""

    rule: str
    verdict: Verdict  # "-": the rule does not apply to this codec
    said: str
    cure: str = ""

    @property
    def line(self) -> str:
        """Write the finding in one line."""
        return f"{self.verdict:<5} {self.rule:<15} {self.said}" + (f" -> {self.cure}" if self.cure else "")


def check(codec: Codec, sounds: Sequence[Tensor] = (), rules: Sequence[str] | None = None) -> Iterator[Finding]:
    """Hold `codec` against the contract; yields one finding a rule, in order, and stops where nothing further can be asked.

    `sounds`: waveforms at the codec's rate, (t,) each; where there are none, three synthetic voices. The codec's state is not changed.
    """
    missing = _missing(codec)
    yield missing
    if missing.verdict == "FAIL":
        return
    subject = Subject(codec, _sounds(codec, sounds))
    for name in rules or RULES:
        yield _found(name, subject)


def _found(name: str, subject: Subject) -> Finding:
    try:
        with torch.no_grad():
            return Finding(name, "ok", RULES[name](subject))
    except NotApplicableError as reason:
        return Finding(name, "-", str(reason))
    except BrokenRuleError as broken:
        return Finding(name, "FAIL", broken.said, broken.cure)
    except (OSError, DataError):
        raise
    except Exception as error:  # a codec of somebody else's: whatever it raises is a finding
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return Finding(name, "FAIL", said, "make it work on this input; the docstring of laminal.codecs.base.Codec says what goes in")


def summary(findings: Sequence[Finding], what: str) -> str:
    """Give one line for a codec that breaks rules; empty where it breaks none."""
    broken = [each.rule for each in findings if each.verdict == "FAIL"]
    asked = sum(each.verdict != "-" for each in findings)
    return f"codec={what} breaks {len(broken)} of {asked} rules of the codec contract: {', '.join(broken)}; mend them" if broken else ""


def refuse_broken(codec: Codec, what: str) -> None:
    """Ask the cheap rules of a codec that is not ours before hours are spent on it; raises RequestError with the first that fails."""
    for finding in check(codec, rules=("layers", "look-up", "layers sum", "prefix", "decode hears", "decode layers")):
        if finding.verdict == "FAIL":
            raise RequestError(f"codec={what} breaks the rule '{finding.rule}' of the codec contract: {finding.said}; {finding.cure}")


def _missing(codec: Codec) -> Finding:
    """Say whether all that the others need is there."""
    kinds: dict[str, Any] = {
        "name": str,
        "sample_rate": int,
        "frame_rate": (int, float),
        "codebooks": int,
        "codebook_size": int,
        "revision": str,
    }
    wrong = [name for name, kind in kinds.items() if not isinstance(getattr(codec, name, None), kind)]
    wrong += [name for name in ("encode", "decode", "layers") if not callable(getattr(codec, name, None))]
    positive = ("sample_rate", "frame_rate", *(["codebook_size"] if getattr(codec, "codebooks", 0) else []))  # without codes it may be 0
    wrong += [name for name in positive if name not in wrong and getattr(codec, name) <= 0]
    wrong += [name for name in ("name", "revision") if name not in wrong and not getattr(codec, name)]
    if "codebooks" not in wrong and codec.codebooks < 0:
        wrong.append("codebooks")
    if wrong:
        cure = "give them as laminal.codecs.base.Codec says (revision: a text that changes with the weights)"
        return Finding("attributes", "FAIL", f"missing, empty or of the wrong type: {', '.join(dict.fromkeys(wrong))}", cure)
    said = f"{codec.name}: {codec.sample_rate} Hz, {codec.frame_rate:g} frames/s, {codec.codebooks} codebooks of {codec.codebook_size}"
    return Finding("attributes", "ok", f"{said}, revision {codec.revision[:12]}")


def _sounds(codec: Codec, given: Sequence[Tensor]) -> Float[Tensor, "b t"]:
    length = round(SECONDS * codec.sample_rate)
    rows = [wav[:length] for wav in given if len(wav) >= length]
    if not rows:
        rows = [_voice(codec.sample_rate, length, seed) for seed in range(3)]
    elif len(rows) == 1:
        rows.append(rows[0].flip(0))
    return torch.stack(rows).float().to(getattr(codec, "device", "cpu"))


def _voice(sample_rate: int, length: int, seed: int) -> Float[Tensor, " t"]:
    """Gliding harmonics with pauses, over faint noise: every frame differs from its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    clock = torch.arange(length, dtype=torch.float64) / sample_rate
    pitch = 110 * (1 + 0.4 * seed) * (1 + 0.3 * torch.sin(2 * math.pi * (0.8 + 0.3 * seed) * clock))
    phase = 2 * math.pi * torch.cumsum(pitch, 0) / sample_rate
    voice = sum(torch.sin(k * phase) * torch.exp(-(((k * pitch - 700 - 600 * torch.sin(5 * clock)) / 900) ** 2)) for k in range(1, 24))
    loud = 0.5 + 0.5 * torch.sin(2 * math.pi * (2.1 + seed) * clock)
    return (0.1 * loud * voice + 0.01 * torch.randn(length, generator=generator, dtype=torch.float64)).float()
