"""What a probe is: it takes a codec and yields scores, the items behind them, and what is undefined."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from laminal.codecs.base import Codec
from laminal.results import Items, Score, Undefined


@runtime_checkable
class Probe(Protocol):
    """Built from configs/probes/NAME.yaml with `corpus` and `split`; changes nothing of the codec, draws from private generators only."""

    name: str
    version: int  # raised whenever its numbers may change

    def run(self, codec: Codec) -> Iterator[Score | Items | Undefined]:
        """Measure `codec`; two identical calls yield identical numbers.

        A probe that encodes much may also have an attribute `cache` and a method `fill(codec, share)`, which puts what `run` will need, the
        part number `share[0]` of `share[1]`, into the cache: so several processes share the encoding, and `run` gives the same numbers.
        One that measures on other data than `corpus` says what in an attribute `material` (name, hash), which goes into the manifest.
        """
