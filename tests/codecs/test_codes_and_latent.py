import pytest
import torch

from laminal.codecs.encodec import EncodecCodec
from laminal.nn.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def codec():
    tokenizer = Tokenizer(
        sample_rate=16000, ratios=[4, 4, 2], filters=4, dim=16, codebooks=4, codebook_size=16, lstm_layers=1, residual_layers=1,
        causal=True, norm="weight_norm", dropout=0.0, seed=0,
    )  # fmt: skip
    with torch.no_grad():
        tokenizer.quantizer.embed.copy_(torch.randn(tokenizer.quantizer.embed.shape, generator=torch.Generator().manual_seed(0)))
    return EncodecCodec.from_module(tokenizer)


@pytest.mark.parametrize("samples", [1, 333, 4000])
def test_one_pass_gives_the_same_bits(codec, samples):
    wav = 0.1 * torch.randn(3, samples, generator=torch.Generator().manual_seed(samples))
    codes, latent = codec.codes_and_latent(wav)
    assert torch.equal(codes, codec.encode(wav)) and torch.equal(latent, codec.layers(wav)["latent"])
    assert codes.float().std() > 0 or samples == 1
    for name, layer in codec.layers(codes).items():
        assert torch.equal(layer, codec.layers(wav)[name])
