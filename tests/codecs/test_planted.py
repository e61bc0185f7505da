"""Planted codecs: features follow from one thing only, and they are codecs like any other."""

import numpy as np
import pytest
import torch

from laminal.codecs.base import Codec
from laminal.codecs.planted import HOP, Planted
from laminal.lexicon import wordnet
from oracle_pairs import noise_corpus

KINDS = ("phones", "meaning", "speaker", "noise")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return noise_corpus(tmp_path_factory.mktemp("noise"), speakers=3, utterances=2)


@pytest.fixture(scope="module", params=KINDS)
def codec(request, corpus):
    return Planted(request.param, corpus)


def cut(corpus, utterance, word):
    wav = corpus.wav(utterance, 16_000)
    return wav[None, round(word.start * 16_000) : round(word.end * 16_000)]


def test_it_is_a_codec(codec, corpus):
    wav = corpus.wav(corpus[0], 16_000)[None]
    assert isinstance(codec, Codec)
    codes = codec.encode(wav)
    assert codes.dtype == torch.int64 and codes.shape == (1, 2, -(-wav.shape[1] // HOP))
    assert 0 <= int(codes.min()) <= int(codes.max()) < codec.codebook_size
    assert codec.decode(codes).shape == (1, codes.shape[2] * HOP) and codec.decode(codes[:, :1]).shape == (1, codes.shape[2] * HOP)
    from_audio, from_codes = codec.layers(wav), codec.layers(codes)
    assert list(from_audio) == ["latent", "1", "2"] and list(from_codes) == ["1", "2"] and list(codec.layers(codes[:, :1])) == ["1"]
    for name in ("1", "2"):
        assert torch.equal(from_audio[name], from_codes[name])
    alone = codec.layers(torch.stack([codes[:, 1], codes[:, 1]], 1))["2"] - codec.layers(codes[:, 1:])["1"]
    torch.testing.assert_close(from_codes["2"] - from_codes["1"], alone, atol=1e-5, rtol=0)


def test_batches_and_prefixes(codec, corpus):
    waves = [corpus.wav(utterance, 16_000)[:8000] for utterance in corpus]
    together = codec.encode(torch.stack(waves))
    for row, wav in zip(together, waves, strict=True):
        assert torch.equal(row, codec.encode(wav[None])[0])
        assert torch.equal(codec.encode(wav[None, : 10 * HOP])[0], row[:, :10])


def test_a_cut_says_what_the_utterance_says_there(corpus):
    for kind in ("phones", "meaning", "speaker"):
        codec = Planted(kind, corpus)
        for utterance in corpus:
            for word in utterance.words[:8]:
                codes = codec.encode(cut(corpus, utterance, word))[0, 0].tolist()
                for frame, code in enumerate(codes):
                    time = word.start + (frame + 0.5) / 50
                    if kind == "speaker":
                        assert code == codec.symbols[utterance.speaker]
                    elif time <= word.end - 1e-6:
                        tier = utterance.phones if kind == "phones" else utterance.words
                        here = [i.label for i in tier if i.start - 1e-6 <= time <= i.end + 1e-6]
                        assert code in [codec.symbols[label] for label in here]


def test_the_same_word_has_the_same_meaning_and_synonyms_share_it(corpus):
    codec = Planted("meaning", corpus)
    said = {word.label: (utterance, word) for utterance in corpus for word in utterance.words}
    vector = {label: codec.layers(cut(corpus, *place))["2"][0, 0] for label, place in said.items()}

    def alike(a, b):
        return float(torch.nn.functional.cosine_similarity(vector[a], vector[b], dim=0))

    labels = sorted(said)
    related = [alike(a, b) for a in labels for b in labels if a < b and wordnet.synonyms_core(a, b)]
    others = [alike(a, b) for a in labels for b in labels if a < b and not wordnet.synonyms(a, b)]
    assert np.mean(related) > 0.25 and abs(np.mean(others)) < 0.02 and np.std(others) < 0.15


def test_elsewhere_there_is_nothing(corpus):
    stranger = torch.randn(1, 3200, generator=torch.Generator().manual_seed(0))
    for kind in ("phones", "meaning", "speaker"):
        codec = Planted(kind, corpus)
        assert int(codec.encode(stranger).abs().max()) == 0 and float(codec.layers(stranger)["2"].abs().max()) == 0
    noise = Planted("noise", corpus).encode(stranger)
    assert len(set(noise[0, 0].tolist())) > 5


def test_revision_follows_what_is_planted(corpus):
    revisions = {Planted(kind, corpus, seed=seed).revision for kind in KINDS for seed in (0, 1)}
    assert len(revisions) == 8
    assert Planted("noise", corpus).revision == Planted("noise", corpus).revision
    assert Planted("noise", corpus.subset(frozenset(corpus.speakers[:1]))).revision not in revisions
