"""Read a log of pytest and fail on a skip whose reason is not on the list of expected ones."""

import re
import sys
from pathlib import Path

EXPECTED = (
    r"no .*: set LAMINAL_(DATA|WEIGHTS) to run this on real material",  # real speech and weights are not in the repository
    r"no .*(wordnet|WordNet)",  # the lexicon is rebuilt only where WordNet's files are
    r"could not import '(encodec|vector_quantize_pytorch|ai_edge_litert|resemblyzer|wandb_workspaces|tensorboard)'",  # extras, oracles
    r".*resemblyzer.*",
    r".*pip install.*",
)


def unexpected(log: str) -> list[str]:
    """Lines of pytest's summary that tell of a skip nobody expects."""
    skips = re.findall(r"^SKIPPED \[\d+\] [^:]+(?::\d+)?: (.*)$", log, flags=re.MULTILINE)
    return [reason for reason in skips if not any(re.match(pattern, reason) for pattern in EXPECTED)]


if __name__ == "__main__":
    found = unexpected(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    for reason in found:
        print(f"unexpected skip: {reason}")
    sys.exit(1 if found else 0)
