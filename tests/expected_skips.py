"""Read a log of pytest and fail on a skip whose reason is not on the list of expected ones."""

import re
import sys
from pathlib import Path

EXPECTED = (  # whole reasons; what `make test` installs is never one of them
    r"no \S+: set LAMINAL_(DATA|WEIGHTS) to run this on real material",  # real speech and weights are not in the repository
    r"no \S+/data\.noun: `apt install wordnet-base`, or set LAMINAL_WORDNET to a folder with WordNet 3\.0's files",
    r"no resemblyzer: pip install --no-deps resemblyzer to run this on its weights",  # GE2E's weights: an extra
    r"no C\+\+ compiler",  # for torch.compile's inductor
    r"the real extension is loaded: this torch has CUDA",
)


def unexpected(log: str) -> list[str]:
    """Lines of pytest's summary that tell of a skip nobody expects."""
    skips = re.findall(r"^SKIPPED \[\d+\] [^:]+(?::\d+)?: (.*)$", log, flags=re.MULTILINE)
    return [reason for reason in skips if not any(re.fullmatch(pattern, reason) for pattern in EXPECTED)]


if __name__ == "__main__":
    found = unexpected(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    for reason in found:
        print(f"unexpected skip: {reason}")
    sys.exit(1 if found else 0)
