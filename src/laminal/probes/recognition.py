"""Speech recognition by any model of transformers' format, for word error rates: greedy, in float32."""

import re

import numpy as np
import torch
from jaxtyping import Float
from rapidfuzz.distance import Levenshtein

from laminal import compat
from laminal.errors import RequestError

RATE = 16000
MARKS = re.compile(r"[^\w' ]|_")


class Recogniser:
    """Whisper-like (sequence to sequence) or wav2vec2-like (CTC) model of a folder or a hub name; English where it knows many languages."""

    def __init__(self, model: str) -> None:
        """Load it without touching the global random generator; raises RequestError where it is no speech recogniser that can be read."""
        compat.torchaudio()
        from transformers import AutoConfig, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoProcessor
        from transformers.models.auto.modeling_auto import MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
        from transformers.utils import logging

        talk = logging.get_verbosity()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            with torch.random.fork_rng(devices=[]):
                self.spells = AutoConfig.from_pretrained(model).model_type not in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
                loader = AutoModelForCTC if self.spells else AutoModelForSpeechSeq2Seq
                self.model = loader.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
                self.processor = AutoProcessor.from_pretrained(model)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RequestError(f"asr={model}: no readable speech recogniser ({reason}); give a folder or a hub name") from error
        finally:
            logging.set_verbosity(talk)

    @torch.no_grad()
    def __call__(self, wav: Float[np.ndarray, " t"]) -> str:
        """Transcribe one waveform at 16 kHz, alone: padding would change what some models hear."""
        inputs = self.processor(wav, sampling_rate=RATE, return_tensors="pt")
        if self.spells:
            return str(self.processor.batch_decode(self.model(**inputs).logits.argmax(-1))[0])
        many = getattr(self.model.generation_config, "is_multilingual", False)
        language = {"language": "en", "task": "transcribe"} if many else {}
        tokens = self.model.generate(**inputs, do_sample=False, num_beams=1, **language)
        return str(self.processor.batch_decode(tokens, skip_special_tokens=True)[0])


def spoken_words(text: str) -> list[str]:
    """Lower case, no punctuation but apostrophes, split at blanks; no other normalisation: "99" and "Mrs" are not what they stand for."""
    return MARKS.sub(" ", text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).split()


def word_error_rate(reference: str, heard: str) -> float:
    """Substitutions, deletions and insertions over the words of `reference`, which has at least one."""
    words = spoken_words(reference)
    return Levenshtein.distance(words, spoken_words(heard)) / len(words)
