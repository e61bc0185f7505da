"""torchaudio imports on a CPU-only torch, and what needs its missing extension says so only when called."""

import subprocess
import sys

import pytest

from laminal import compat


def test_torchaudio_works_and_is_imported_once():
    import torch

    audio = compat.torchaudio()
    assert compat.torchaudio() is audio
    assert audio.transforms.MFCC()(torch.zeros(1, 16000)).shape == (1, 40, 81)
    assert audio.functional.resample(torch.zeros(1, 16000), 16000, 8000).shape == (1, 8000)


def test_what_the_stub_lacks_raises_when_called_not_when_imported():
    import torch

    audio = compat.torchaudio()
    stub = sys.modules["torchaudio._extension"]
    if getattr(stub, "__file__", None):
        pytest.skip("the real extension is loaded: this torch has CUDA")
    with pytest.raises(RuntimeError, match="forced_align.*extension"):
        audio.functional.forced_align(torch.zeros(1, 5, 3), torch.zeros(1, 2, dtype=torch.int32))


@pytest.mark.slow
def test_speech_models_import_in_a_fresh_process():
    code = (
        "from laminal import compat; compat.torchaudio(); import transformers; "
        "from transformers import HubertModel, WhisperModel, MimiModel; from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
