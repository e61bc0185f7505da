"""MiMo-Audio-Tokenizer's module: the published names, shapes and file size; windows; its mel; random weights."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from laminal import compat
from laminal.errors import RequestError
from laminal.nn.mimo_config import PUBLISHED, read_config
from laminal.nn.mimo_mel import LogMel
from laminal.nn.mimo_tokenizer import MimoTokenizer, random_tokenizer
from laminal.nn.mimo_transformer import rotate, rotation, visible
from oracle_mimo import SMALL, shapes

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "mimo_published.json").read_text())


def recorded() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every published tensor."""
    found = {}
    for group in RECORDED["groups"]:
        for number in range(group.get("from", 0), group.get("to", 0) + 1):
            for name, shape in group["tensors"].items():
                found[group["prefix"].replace("#", str(number)) + name] = (group["dtype"], tuple(shape))
    return found


def file_size(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> int:
    """Bytes of a safetensors file without metadata: 8, the header (JSON, widest types first, then by name, filled up to 8), the data."""
    header, offset = {}, 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: (item[1][0] != "F32", item[0])):
        size = math.prod(shape) * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + text + -text % 8 + offset


def test_the_record_gives_the_published_files_size_to_the_byte():
    found = recorded()
    assert len(found) == RECORDED["count"] == 1305 and file_size(found) == RECORDED["bytes"] == 3_906_690_080
    for missing in ("encoder.quantizer.vq.layers.0._codebook.inited", "decoder.vocoder.head.istft.window", "decoder.layers.31.fc2.bias"):
        assert file_size({name: value for name, value in found.items() if name != missing}) != RECORDED["bytes"]


def test_the_full_size_has_the_published_names_and_shapes():
    assert read_config(RECORDED["config"], "config.json") == PUBLISHED
    with torch.device("meta"):
        model = MimoTokenizer(PUBLISHED)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == {n: shape for n, (_, shape) in recorded().items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_284_653_122  # the authors say 1.2 B


def test_a_small_one_has_the_same_pattern():
    with torch.device("meta"):
        model = MimoTokenizer(read_config(SMALL, "config.json"))
    assert {name: list(value.shape) for name, value in model.state_dict().items()} == shapes(SMALL)
    patterns = [{re.sub(r"\.\d+\.", ".#.", name) for name in names} for names in (shapes(SMALL), recorded())]
    assert patterns[0] == patterns[1]


@pytest.mark.parametrize(
    "causal,window", [(False, (-1, -1)), (True, (-1, -1)), (False, (2, 1)), (True, (2, 3)), (False, (-1, 0)), (False, (40, 10))]
)
def test_who_sees_whom(causal, window):
    seen = visible(6, causal, window, torch.device("cpu"))
    for i in range(6):
        for j in range(6):
            back, ahead = (window[0] < 0 or i - j <= window[0]), (window[1] < 0 or j - i <= window[1])
            assert (seen is None or bool(seen[i, j])) == (back and ahead and not (causal and j > i))
    assert (seen is None) == (not causal and window in ((-1, -1), (40, 10)))


def test_rotated_products_depend_on_distance_alone():
    q, k = torch.randn(2, 1, 1, 8, generator=torch.Generator().manual_seed(0)).expand(2, 1, 9, 8)
    q, k = (rotate(x, rotation(9, 8, 10000.0, x.device))[0] for x in (q, k))
    products = q @ k.T
    assert products[0].std() > 0.1
    for offset in range(-8, 9):
        assert products.diagonal(offset).sub(products.diagonal(offset)[0]).abs().max() < 1e-5


@pytest.mark.parametrize("changes", [{}, {"fmin": 20, "fmax": 11000}])
def test_mel_is_torchaudios(changes):
    transforms = compat.torchaudio().transforms
    c = RECORDED["config"] | changes
    made = transforms.MelSpectrogram(
        c["sampling_rate"], c["nfft"], c["window_size"], c["hop_length"], float(c["fmin"]), c["fmax"] and float(c["fmax"]),
        n_mels=c["n_mels"], power=1.0, center=True,
    )  # fmt: skip
    mel = LogMel(read_config(c, "config.json"))
    for samples in (481, 5003, 24000):
        wav = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(samples))
        assert torch.equal(mel(wav), torch.log(torch.clip(made(wav[None]), min=1e-7))[0])  # difference 0
    assert mel(torch.zeros(5000)).unique().tolist() == pytest.approx([math.log(1e-7)])
    assert torch.equal(mel(torch.ones(1)), mel(torch.cat([torch.ones(1), torch.zeros(480)])))


def test_random_weights_follow_the_seed_and_use_their_codebooks():
    config, before = read_config(SMALL, "config.json"), torch.get_rng_state()
    one, same, other = random_tokenizer(config, 3), random_tokenizer(config, 3), random_tokenizer(config, 4)
    assert torch.equal(before, torch.get_rng_state())
    assert {name: list(value.shape) for name, value in one.state_dict().items()} == shapes(SMALL)
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(one.encoder.conv1.weight, other.encoder.conv1.weight)
    assert not one.training and not any(parameter.requires_grad for parameter in one.parameters())
    noise = torch.randn(24000, generator=torch.Generator().manual_seed(0)) * (10 ** (-5 * torch.rand(250)).repeat_interleave(96))
    mel = LogMel(config)(noise)
    heard = random_tokenizer(config, 3, [mel])
    assert torch.equal(heard.encoder.conv1.weight, one.encoder.conv1.weight)
    for model, share in ((one, 0.1), (heard, 0.5)):
        codes = model.encoder.quantizer.encode(model.encoder(mel))
        assert all(len(book.unique()) >= share * size for book, size in zip(codes, config.codebook_size))


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"hybrid_attention": True}, "hybrid_attention=True"),
        ({"ln_type": "RMSNorm"}, "ln_type='RMSNorm'"),
        ({"d_model": None}, "d_model=None"),
        ({"encoder_layers": "32"}, "encoder_layers='32'"),
        ({"encoder_causal": 1}, "encoder_causal=1"),
        ({"vocoder_attn_window_size": [40]}, r"vocoder_attn_window_size=\[40\]"),
        ({"codebook_size": "1024"}, "codebook_size='1024'"),
        ({"codebook_size": []}, r"codebook_size=\[\]"),
        ({"encoder_attention_heads": 3}, "3 heads of encoder"),
        ({"avg_pooler": 1}, "avg_pooler=1"),
        ({"decoder_stride_size": 3}, "96 samples a frame are read and 144 written"),
    ],
)
def test_another_architecture_is_refused_in_one_line(changes, says):
    with pytest.raises(RequestError, match=says) as error:
        read_config(SMALL | changes, "config.json")
    assert "\n" not in str(error.value)


def test_fields_that_may_be_absent_or_short():
    with pytest.raises(RequestError, match="n_mels, rope_theta missing"):
        read_config({key: value for key, value in SMALL.items() if key not in ("rope_theta", "n_mels")}, "config.json")
    bare = {key: value for key, value in SMALL.items() if key not in ("ln_type", "architectures", "activation_function")}
    assert read_config(bare, "config.json") == read_config(SMALL, "config.json")
    assert read_config(SMALL | {"codebook_size": [32, 8]}, "x").codebook_size == (32, 8, 8, 8)
    assert read_config(SMALL | {"codebook_size": 16}, "x").codebook_size == (16,) * 4
    assert read_config(SMALL | {"encoder_skip_layer_id": None}, "x").encoder_skip_layer_id is None
