"""What every codec must keep, as functions that each assert one rule; `quiet` audio stands for a codec's usual input."""

import math

import numpy as np
import torch
from small_models import noise

from laminal.codecs.base import Codec
from laminal.features import word_features
from laminal.words import Token

CLOSE = 1e-4  # of the largest feature


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= CLOSE * float(b.abs().max())


def hop_of(codec) -> float:
    return codec.sample_rate / codec.frame_rate


def it_is_a_codec(codec) -> None:
    assert isinstance(codec, Codec) and len(codec.revision) == 64 and codec.name
    assert codec.encode(noise(0, 1, 4000)).dtype == torch.int64 if codec.codebooks else codec.codebook_size == 0


def a_frame_for_every_hop_begun(codec) -> None:
    hop = hop_of(codec)
    for samples in (1, 100, math.floor(hop) - 1, math.floor(hop), math.floor(hop) + 1, round(4.7 * hop), round(7 * hop)):
        frames = math.ceil(samples / hop)
        layers = codec.layers(noise(1, 2, samples))
        assert {layer.shape[:2] for layer in layers.values()} == {(2, frames)}, samples
        assert all(torch.isfinite(layer).all() for layer in layers.values()), samples
        if codec.codebooks:
            codes = codec.encode(noise(1, 2, samples))
            assert codes.shape == (2, codec.codebooks, frames) and 0 <= int(codes.min()) <= int(codes.max()) < codec.codebook_size
            if getattr(codec, "decodes", True):
                wav = codec.decode(codes)
                assert wav.shape == (2, round(frames * hop)) and torch.isfinite(wav).all()


def layers_come_from_codes(codec) -> None:
    wav = noise(2, 2, 9001)
    layers, codes = codec.layers(wav), codec.encode(wav)
    names = [str(number) for number in range(1, codec.codebooks + 1)]
    assert list(layers) == ["latent", *names] and list(codec.layers(codes)) == names
    assert all(torch.equal(layer, layers[name]) for name, layer in codec.layers(codes).items())
    few = codec.layers(codes[:, :1])
    assert list(few) == ["1"] and torch.equal(few["1"], layers["1"])
    together, latent = codec.codes_and_latent(wav)
    assert torch.equal(together, codes) and torch.equal(latent, layers["latent"])
    assert len(codes.unique()) > codec.codebook_size / 8, "the model is too dull to test anything"


def a_batch_is_its_rows(codec) -> None:
    wav = noise(3, 3, 7777)
    layers = codec.layers(wav)
    for row in range(3):
        if codec.codebooks:
            assert torch.equal(codec.encode(wav[row : row + 1])[0], codec.encode(wav)[row])
        assert all(close(alone[0], layers[name][row]) for name, alone in codec.layers(wav[row : row + 1]).items())


def nothing_is_drawn_and_nothing_changes(codec) -> None:
    wav = noise(4, 1, 5000)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, revision = codec.layers(wav), codec.revision
    codec.layers(noise(5, 1, 3000))  # no state is left from other audio
    assert all(torch.equal(layer, first[name]) for name, layer in codec.layers(wav).items()) and codec.revision == revision
    assert torch.equal(before[0], torch.get_rng_state()) and np.array_equal(before[1], np.random.get_state()[1])
    assert not any(layer.requires_grad for layer in first.values())


def a_causal_codec_hears_no_future(codec, first: int = 5) -> None:
    """Audio changed from sample s on changes no frame before floor(s / hop), and that one or a later one it does; tried from `first` on."""
    assert codec.causal
    hop = round(hop_of(codec))
    wav = noise(6, 1, (first + 7) * hop)
    before = codec.layers(wav)
    for start in (first * hop - 1, first * hop, first * hop + 1, (first + 2) * hop + hop // 3):
        moved = wav.clone()
        moved[0, start:] += 0.3
        for name, layer in codec.layers(moved).items():
            change = (layer - before[name])[0].abs().amax(1)
            assert float(change[: start // hop].max()) == 0, (name, start)
            assert float(change[start // hop :].max()) > 0, (name, start)


def the_delay_is_told(codec, frames: float) -> None:
    """The middle of the response lies within some frames of the sound; measured once."""
    delay = codec.delay
    assert math.isfinite(delay) and abs(delay) <= frames / codec.frame_rate and codec.delay == delay


def probes_can_read_words(codec, corpus) -> None:
    """The road of the probes: words of a corpus of another rate, by cuts and by whole utterances."""
    tokens = [Token(word.label, each.id, each.speaker, word.start, word.end) for each in corpus for word in each.words]
    for how in ("audio", "features"):
        found = word_features(codec, corpus, tokens, how)
        assert found.ok.all() and not found.failed and np.isfinite(found.values).all() and found.values.shape[1] == len(found.layers)
        assert float(found.values.std(0).max()) > 0
