"""The adapter of our own split tokenizers: the live one, its export, its checkpoint; parallel and serial."""

import codec_contract as contract
import numpy as np
import pytest
import torch
from small_models import noise

from laminal.check_codec import check
from laminal.codecs.load import codec_of, load_checkpoint, load_codec
from laminal.codecs.mimi import MimiCodec
from laminal.nn.export import export
from laminal.nn.split_tokenizer import SplitTokenizer

RATES = (25.0, 12.5, 6.25)


def recipe(order: str, rate: float) -> dict:
    return {
        "_target_": "laminal.nn.split_tokenizer.SplitTokenizer", "sample_rate": 16000, "frame_rate": rate, "filters": 4, "dim": 16,
        "codebook_dim": 8, "codebooks": 5, "codebook_size": 64, "residual_layers": 1, "transformer_layers": 1, "heads": 2, "order": order,
        "dropout": 0.0, "seed": 5, "quantizer": {"kmeans_frames": 128},
    }  # fmt: skip


@pytest.fixture(scope="module", params=[(order, rate) for order in ("parallel", "serial") for rate in RATES], ids=str)
def tokenizer(request) -> SplitTokenizer:
    made = SplitTokenizer(**{name: value for name, value in recipe(*request.param).items() if name != "_target_"})
    made.initialise((noise(i, 4, 16000), torch.ones(4, 16000, dtype=torch.bool)) for i in range(200))
    return made.train()


@pytest.fixture(scope="module")
def codec(tokenizer) -> MimiCodec:
    return codec_of(tokenizer)


def test_it_keeps_the_contract(codec):
    contract.it_is_a_codec(codec)
    contract.a_frame_for_every_hop_begun(codec)
    contract.layers_come_from_codes(codec)
    contract.nothing_is_drawn_and_nothing_changes(codec)
    contract.a_causal_codec_hears_no_future(codec, first=2)
    contract.the_delay_is_told(codec, frames=3)


def test_the_check_of_the_command_passes_every_rule(codec):
    """Among them that a batch gives the codes of its rows, but for frames between two entries."""
    failed = [finding.line for finding in check(codec) if finding.verdict == "FAIL"]
    assert not failed, failed


def test_layers_follow_the_formulas_of_the_design(codec, tokenizer):
    """F_1 = S.out(codebook 1), F_(1+j) = F_1 + A.out(sum of the first j acoustic ones); the last is the decoder's input."""
    codes = codec.encode(wav := noise(2, 2, 20000))
    layers, quantizer = codec.layers(wav), tokenizer.quantizer
    with torch.no_grad():
        first = quantizer.semantic.embed[0][codes[:, 0]] @ quantizer.semantic_out.weight[:, :, 0].T
        total = torch.zeros(())
        torch.testing.assert_close(layers["1"], first)
        for layer in range(4):
            total = total + quantizer.acoustic.embed[layer][codes[:, 1 + layer]]
            torch.testing.assert_close(layers[str(2 + layer)], first + total @ quantizer.acoustic_out.weight[:, :, 0].T)
        assert torch.equal(codec.decode(codes), tokenizer.decode(layers["5"]))


def test_the_live_tokenizer_gives_the_numbers_of_its_training_module(codec, tokenizer):
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    wav = noise(2, 2, 20000)
    live = codec_of(tokenizer)
    assert tokenizer.training and all(p.requires_grad for p in tokenizer.parameters())
    tokenizer.eval()
    with torch.no_grad():
        out = tokenizer(wav, torch.ones_like(wav, dtype=torch.bool))
    tokenizer.train()
    assert torch.equal(live.encode(wav), out.codes) and torch.equal(live.decode(out.codes)[:, :20000], out.audio)
    assert all(torch.equal(live.layers(wav)[str(k)], out.sums[k - 1]) for k in range(1, 6))
    assert all(torch.equal(before[name], value) for name, value in tokenizer.state_dict().items())
    assert live.revision == codec.revision
    with torch.no_grad():
        tokenizer.quantizer.acoustic.embed[0, 0, 0] += 1
    assert codec_of(tokenizer).revision != live.revision
    with torch.no_grad():
        tokenizer.quantizer.acoustic.embed.copy_(before["quantizer.acoustic.embed"])


def test_export_and_checkpoint_are_the_same_codec(codec, tokenizer, tmp_path):
    wav = noise(3, 1, 20000)
    order = tokenizer.order
    held = {f"tokenizer.{name}": value for name, value in tokenizer.state_dict().items()}
    own = {"generator_step": 3, "rng": {}, "tokenizer": recipe(order, tokenizer.frame_rate)}
    torch.save({"state_dict": held, "epoch": 0, "laminal": own}, tmp_path / "step=000003.ckpt")
    loaded = load_checkpoint(tmp_path / "step=000003.ckpt").codec
    assert loaded.revision == codec.revision and torch.equal(loaded.encode(wav), codec.encode(wav))
    if order == "serial":
        parallel = MimiCodec.__new__(MimiCodec)
        parallel._take(tokenizer.stock(), "laminal", 5)
        assert parallel.revision != codec.revision and not torch.equal(parallel.encode(wav)[:, 1:], codec.encode(wav)[:, 1:])
        return
    export(tokenizer, tmp_path / "tokenizer")
    stored = load_codec(str(tmp_path / "tokenizer"))
    assert isinstance(stored, MimiCodec) and stored.revision == codec.revision
    assert torch.equal(stored.encode(wav), codec.encode(wav)) and torch.equal(
        stored.decode(codec.encode(wav)), codec.decode(codec.encode(wav))
    )
    torch.save({"state_dict": {}, "epoch": 0, "laminal": {"generator_step": 3, "weights": "tokenizer"}}, tmp_path / "last.ckpt")
    beside = load_checkpoint(tmp_path).codec
    assert beside.name == "laminal" and beside.revision == codec.revision


def test_the_first_acoustic_codebook_of_the_serial_order_encodes_what_is_left(codec, tokenizer):
    """Its codes follow the semantic entry chosen: moving that entry changes them, and in the parallel order it does not."""
    wav = noise(4, 2, 20000)
    before = codec.encode(wav)
    kept = tokenizer.quantizer.semantic.embed.clone()
    with torch.no_grad():
        tokenizer.quantizer.semantic.embed.add_(float(kept.std()) * torch.from_numpy(np.ones(8, np.float32)))
        moved = codec_of(tokenizer)
        latent = torch.equal(moved.layers(wav)["latent"], codec.layers(wav)["latent"])
        changed = not torch.equal(moved.encode(wav)[:, 1:], before[:, 1:])
        tokenizer.quantizer.semantic.embed.copy_(kept)
    assert latent and changed is (tokenizer.order == "serial")
