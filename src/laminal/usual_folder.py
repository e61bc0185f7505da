"""Where laminal keeps what it made or fetched, when nothing else is said."""

import os
from pathlib import Path


def usual_folder(kind: str, given: str | Path | None = None) -> Path:
    """Folder for things of a kind ("codes", "spoken", ...): `given`, else $LAMINAL_CACHE/KIND, else ~/.cache/laminal/KIND."""
    if given is not None:
        return Path(given).expanduser()
    return Path(os.environ.get("LAMINAL_CACHE") or Path.home() / ".cache" / "laminal") / kind
