"""A small codec that keeps every rule of the contract, and one that breaks it for each rule."""

import math

import numpy as np
import torch

HOP, BOOKS, SIZE, WIDTH = 320, 3, 8, 6


def tables(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [0.5**book * torch.randn(SIZE, WIDTH, generator=generator) for book in range(BOOKS)]


class Sound:
    """Frames of 320 samples, projected to six numbers and quantized three times over."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "sound", 16000, 50.0, BOOKS, SIZE, "1"
    causal = True

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.project = torch.linalg.qr(torch.randn(HOP, WIDTH, generator=generator))[0]  # (320, 6), orthonormal
        self.tables = tables()

    def latent(self, wav):
        wav = torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP))
        return wav.unflatten(1, (-1, HOP)) @ self.project * 10

    def encode(self, wav):
        residual, codes = self.latent(wav), []
        for table in self.tables:
            codes.append(torch.cdist(residual, table[None]).argmin(2))
            residual = residual - table[codes[-1]]
        return torch.stack(codes, 1)

    def layers(self, wav_or_codes):
        if wav_or_codes.is_floating_point():
            return {"latent": self.latent(wav_or_codes)} | self.layers(self.encode(wav_or_codes))
        parts = torch.stack([table[wav_or_codes[:, book]] for book, table in enumerate(self.tables[: wav_or_codes.shape[1]])])
        return {str(k): value for k, value in enumerate(parts.cumsum(0), start=1)}

    def decode_features(self, features):
        return (features @ self.project.T / 10).flatten(1)

    def decode(self, codes):
        return self.decode_features(self.layers(codes)[str(codes.shape[1])])

    def codes_and_latent(self, wav):
        return self.encode(wav), self.latent(wav)


class NoRevision(Sound):
    revision = ""


class Int32(Sound):
    def encode(self, wav):
        return super().encode(wav).int()


class TooLarge(Sound):
    codebook_size = 4


class Unnamed(Sound):
    def layers(self, wav_or_codes):
        return {f"layer{name}" if name.isdigit() else name: value for name, value in super().layers(wav_or_codes).items()}


class NoLatent(Sound):
    def layers(self, wav_or_codes):
        return {name: value for name, value in super().layers(wav_or_codes).items() if name != "latent"}


class Gradients(Sound):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Parameter(self.project)


class HalfRate(Sound):
    frame_rate = 25.0


class Streaming(Sound):
    """Keeps the end of what it heard before."""

    before = 0.0

    def latent(self, wav):
        found = super().latent(wav)
        found = torch.cat([found[:, :1] + self.before, found[:, 1:]], 1)
        self.before = found[:1, -1:].mean()
        return found


class Dithering(Sound):
    def latent(self, wav):
        torch.rand(1)
        return super().latent(wav)


class NoisyDecoder(Sound):
    decode_features = None

    def __init__(self):
        super().__init__()
        self.own = torch.Generator().manual_seed(0)

    def decode(self, codes):
        wav = Sound.decode_features(self, self.layers(codes)[str(codes.shape[1])])
        return wav + 1e-3 * torch.randn(wav.shape, generator=self.own)


class BatchNorm(Sound):
    def latent(self, wav):
        found = super().latent(wav)
        return found / found.std((0, 1), keepdim=True)


class Unquantized(Sound):
    """Layers of audio are not those of its codes."""

    def layers(self, wav_or_codes):
        if not wav_or_codes.is_floating_point():
            return super().layers(wav_or_codes)
        return {"latent": self.latent(wav_or_codes)} | {str(k): self.latent(wav_or_codes) for k in range(1, BOOKS + 1)}


class InContext(Sound):
    """Layers after a convolution of the decoder."""

    def layers(self, wav_or_codes):
        found = super().layers(wav_or_codes)
        return {k: v if k == "latent" else (v + v.roll(1, 1)) / 2 for k, v in found.items()}


class EachAlone(Sound):
    """Layer k is codebook k alone."""

    decode_features = None

    def layers(self, wav_or_codes):
        if wav_or_codes.is_floating_point():
            return {"latent": self.latent(wav_or_codes)} | self.layers(self.encode(wav_or_codes))
        return {str(k + 1): table[wav_or_codes[:, k]] for k, table in enumerate(self.tables[: wav_or_codes.shape[1]])}

    def decode(self, codes):
        return Sound.decode_features(self, sum(self.layers(codes).values()))


class AlwaysAll(Sound):
    """Layers of a prefix name all codebooks."""

    def layers(self, wav_or_codes):
        if not wav_or_codes.is_floating_point() and wav_or_codes.shape[1] < BOOKS:
            wav_or_codes = torch.cat([wav_or_codes, wav_or_codes[:, :1].repeat(1, BOOKS - wav_or_codes.shape[1], 1)], 1)
        return super().layers(wav_or_codes)

    def decode(self, codes):
        return self.decode_features(super().layers(codes)[str(codes.shape[1])])


class DeafLayer(Sound):
    """The decoder is given codebook 2, layers 2 and 3 are not."""

    decode_features = None

    def layers(self, wav_or_codes):
        found = super().layers(wav_or_codes)
        second = self.tables[1][(self.encode(wav_or_codes) if wav_or_codes.is_floating_point() else wav_or_codes)[:, 1:2]].sum(1)
        return {k: v - second if k in ("2", "3") else v for k, v in found.items()} if "2" in found else found

    def decode(self, codes):
        return Sound.decode_features(self, Sound.layers(self, codes)[str(codes.shape[1])])


class DeafDecoder(Sound):
    decode_features = None

    def decode(self, codes):
        return Sound.decode_features(self, self.layers(codes)["1"])


class OtherScale(Sound):
    """Layers before the output projection."""

    def decode(self, codes):
        return super().decode_features(self.layers(codes)[str(codes.shape[1])] * 3)


class TwoEncoders(Sound):
    def codes_and_latent(self, wav):
        return self.encode(wav * 2), self.latent(wav)


class Stretched(Sound):
    """Decodes at half the rate."""

    def decode_features(self, features):
        return super().decode_features(features)[:, ::2]


class Explodes(Sound):
    def decode_features(self, features):
        return super().decode_features(features) * math.inf


class Stereo(Sound):
    def decode(self, codes):
        return super().decode(codes)[:, None]


class Late(Sound):
    """Frames are those of 0.4 s ago."""

    def latent(self, wav):
        found = super().latent(wav)
        return torch.nn.functional.pad(found, (0, 0, 20, 0))[:, : found.shape[1]]


class Squeezed(Sound):
    """Frames of a fixed count, stretched over whatever there is: the clock depends on the length."""

    def latent(self, wav):
        found = super().latent(wav)
        if found.shape[1] < 30:
            return found
        part = found[:, : found.shape[1] * 3 // 4]
        index = torch.from_numpy(np.linspace(0, part.shape[1] - 1, found.shape[1]).round().astype(int))
        return part[:, index]


class LooksAhead(Sound):
    def latent(self, wav):
        found = super().latent(wav)
        return found + 0.1 * torch.nn.functional.pad(found, (0, 0, 0, 4))[:, 4:]


class OneMore(Sound):
    """floor(t / hop) + 1 frames, as of a centred mel."""

    def latent(self, wav):
        wav = torch.nn.functional.pad(wav, (0, HOP * (wav.shape[1] // HOP + 1) - wav.shape[1]))
        return super().latent(wav)


class Reflecting(Sound):
    """Causal but for its first six frames, which padding by reflection lets hear the six after them."""

    def latent(self, wav):
        found = super().latent(wav)
        if found.shape[1] < 13:
            return found
        return torch.cat([found[:, :6] + 0.1 * found[:, 6:12].flip(1), found[:, 6:]], 1)


class WholeFrames(Sound):
    """Drops what is no whole frame."""

    def latent(self, wav):
        if wav.shape[1] < HOP:
            raise RuntimeError("kernel size cannot be greater than the input")
        return super().latent(wav[:, : wav.shape[1] // HOP * HOP])


class OddCodes(Sound):
    """One frame fewer in the codes where the length is odd."""

    def encode(self, wav):
        found = super().encode(wav)
        return found[:, :, :-1] if wav.shape[1] % HOP and found.shape[2] > 2 else found

    def layers(self, wav_or_codes):
        if not wav_or_codes.is_floating_point():
            return super().layers(wav_or_codes)
        return {"latent": self.latent(wav_or_codes)} | super().layers(super().encode(wav_or_codes))


class Normalising(Sound):
    def latent(self, wav):
        found = super().latent(wav)
        return found / found.norm(dim=2, keepdim=True)


class Encoder:
    """Hidden states without codes."""

    name, sample_rate, frame_rate, codebooks, codebook_size, revision = "encoder", 16000, 50.0, 0, 0, "1"

    def encode(self, wav):
        raise NotImplementedError("an encoder has no codes")

    decode = encode

    def layers(self, wav_or_codes):
        found = Sound().latent(wav_or_codes)
        return {"1": found, "2": found.tanh()}


class Levelled(Sound):
    """Keeps the contract, and every frame depends on the level of the whole: as encoders that normalise their input."""

    causal = False

    def latent(self, wav):
        return super().latent(wav / (wav.std(1, keepdim=True) + 1e-3)) / 10
