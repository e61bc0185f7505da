"""Log-mel: the plainest front end there is, as a codec of one layer without codes, a baseline for all the others."""

import hashlib

import torch
from jaxtyping import Float
from torch import Tensor

from laminal import compat
from laminal.codecs.base import Encoder, whole_frames
from laminal.errors import RequestError

FLOOR = 1e-5  # of the amplitude: quieter is as quiet (16-bit audio has steps of 3e-5)


class LogMel(Encoder):
    """Layer "1" = natural logarithm of the mel amplitudes, frame k centred at (k + 0.5) hops; it has no weights, so no random copy."""

    def __init__(self, sample_rate: int, hop: int, window: int, mels: int, device: str = "cpu") -> None:
        """`hop` and `window` (Hann) in samples; Slaney's mel scale and areas, 0 Hz to half the rate."""
        if not 0 < hop <= window:
            raise RequestError(f"hop={hop}, window={window}: the window must cover the hop; give for example hop=160 window=400")
        functional = compat.torchaudio().functional
        self.device = torch.device(device)
        self.name, self.sample_rate, self.frame_rate = "log_mel", sample_rate, sample_rate / hop
        self.hop, self.hann = hop, torch.hann_window(window, device=self.device)
        self.bank = functional.melscale_fbanks(
            window // 2 + 1, 0.0, sample_rate / 2, mels, sample_rate, norm="slaney", mel_scale="slaney"
        ).to(self.device)
        self.revision = hashlib.sha256(f"log_mel 1 {sample_rate} {hop} {window} {mels} {FLOOR}".encode()).hexdigest()

    @torch.no_grad()
    def layers(self, wav_or_codes: Tensor) -> dict[str, Float[Tensor, "b n d"]]:
        """Log-mel of audio (b t), silence around it."""
        whole = whole_frames(self._from_audio(wav_or_codes), self.hop)
        window, spare = len(self.hann), len(self.hann) - self.hop
        padded = torch.nn.functional.pad(whole, (spare // 2, spare - spare // 2))
        frames = padded.unfold(1, window, self.hop) * self.hann  # (b, n, window)
        return {"1": (torch.fft.rfft(frames).abs() @ self.bank).clamp(min=FLOOR).log()}
