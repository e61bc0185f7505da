"""The trained tokenizer as a folder that transformers loads with no code of ours."""

import os
import shutil
import uuid
from pathlib import Path

from laminal import compat
from laminal.errors import RequestError
from laminal.nn.tokenizer import TrainedTokenizer


def export(tokenizer: TrainedTokenizer, folder: Path) -> None:
    """Write `tokenizer` (safetensors) for `from_pretrained(folder)` of the class `tokenizer.exported`; it appears whole or stays as it was.

    Weight norm is kept and the codebook buffers are filled, so that codes and audio are identical to this module's in eval mode.
    Raises RequestError where no class of transformers gives them.
    """
    if not tokenizer.exported:
        raise RequestError("no model of transformers gives this tokenizer's codes, so it has no export; its checkpoints can be probed")
    compat.torchaudio()  # the feature extractor imports it
    from transformers import EncodecFeatureExtractor
    from transformers.utils import logging

    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    fresh, stale = folder.with_name(f".{folder.name}.{mark}.new"), folder.with_name(f".{folder.name}.{mark}.old")
    logging.disable_progress_bar()  # a bar for one file, in the middle of the training's own
    try:
        tokenizer.stock().save_pretrained(fresh)
        EncodecFeatureExtractor(feature_size=1, sampling_rate=tokenizer.sample_rate).save_pretrained(fresh)
        if folder.exists():
            folder.rename(stale)  # a folder cannot be replaced in one step: the old one steps aside first
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(stale, ignore_errors=True)
