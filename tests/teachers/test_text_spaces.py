import gzip
import json
import math
import resource
import struct
import sys

import numpy as np
import pytest
import torch

from laminal import compat
from laminal.errors import DataError, RequestError
from laminal.nn.tables import Tensors, Tokenizer
from laminal.teachers import text
from laminal.teachers.mimo_audio import MimoAudio
from laminal.teachers.moshi import Moshi
from laminal.teachers.text import Encoder, Static, Table, open_text
from oracle_llm import byte_pairs, local_config, mimo_audio, moshi, sentence_pieces, word_pieces

compat.torchaudio()
from transformers import AutoModel, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM  # noqa: E402

WORDS = ["cat", "large", "bread", "mats"]


@pytest.fixture(scope="module")
def tiny_moshi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moshi")
    return folder, moshi(folder)


@pytest.fixture(scope="module")
def tiny_mimo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mimo_audio")
    return folder, mimo_audio(folder)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_the_table_is_the_models_input_embeddings(tmp_path, kind):
    torch.manual_seed(0)
    match kind:
        case "bert":
            size = len(word_pieces(tmp_path))
            model = BertModel(BertConfig(vocab_size=size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
        case "gpt2":
            size = len(byte_pairs(tmp_path))
            model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=8, n_layer=1, n_head=2))
        case "llama":
            size = len(sentence_pieces(tmp_path))
            config = LlamaConfig(vocab_size=size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
            model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size="1KB" if kind == "llama" else "1GB")
    space = Table(tmp_path)
    found, known = space.vectors(WORDS)
    weight = AutoModel.from_pretrained(tmp_path).get_input_embeddings().weight.detach().double().numpy()
    for word, vector in zip(WORDS, found, strict=True):
        ids = space.tokenizer.pieces(word)
        np.testing.assert_allclose(vector, weight[ids].mean(0), atol=1e-12)
    assert known.all() and found.dtype == np.float64
    state = torch.get_rng_state()
    Table(tmp_path)
    assert torch.equal(state, torch.get_rng_state())


def test_words_are_tokenised_as_in_a_sentence(tmp_path):
    for made in (byte_pairs, sentence_pieces, word_pieces):
        folder = tmp_path / made.__name__
        folder.mkdir()
        fast, tokenizer = made(folder), Tokenizer(folder)
        for word in WORDS:
            whole = fast(f"the {word}", add_special_tokens=False)["input_ids"]
            before = fast("the", add_special_tokens=False)["input_ids"]
            assert whole == before + tokenizer.pieces(word), (made.__name__, word)
    assert Tokenizer(tmp_path / "byte_pairs").pieces("cat") != byte_pairs(tmp_path / "byte_pairs")("cat")["input_ids"]
    assert Tokenizer(tmp_path / "word_pieces").pieces("\u4e16") == [] == Tokenizer(tmp_path / "sentence_pieces").pieces("\u4e16")


def test_only_the_shard_of_the_table_is_needed(tiny_moshi):
    folder, _ = tiny_moshi
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    table = Tensors(folder)
    table._files = index | {"decoder.model.layers.0.x.weight": "gone.safetensors"}
    assert len(set(index.values())) > 3
    assert table.rows("decoder.model.embed_tokens.weight", [3, 1, 3]).shape == (3, 16)
    with pytest.raises(RequestError, match="has no gone.safetensors; download it into that folder .other shards are not needed"):
        table.tensor("decoder.model.layers.0.x.weight")


def test_rows_of_a_large_file_are_read_without_the_rest(tmp_path):
    width, rows = 64, 1000
    huge = 3 * 2**30  # bytes of the other tensor: the file is sparse, only what is written takes room
    size = rows * width * 4
    tensors = {"table.weight": {"dtype": "F32", "shape": [rows, width], "data_offsets": [0, size]},
               "layers.weight": {"dtype": "F32", "shape": [huge // 4], "data_offsets": [size, size + huge]}}  # fmt: skip
    header = json.dumps(tensors).encode()
    header += b" " * (-len(header) % 8)
    values = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + values.tobytes())
        file.truncate(8 + len(header) + size + huge)
    (tmp_path / "config.json").write_text("{}")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Tensors(tmp_path).rows("table.weight", [7, 999, 7])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < huge / 10
    assert torch.equal(found, torch.from_numpy(values[[7, 999, 7]]))


def test_moshi_reads_what_the_library_sums(tiny_moshi):
    folder, model = tiny_moshi
    codes = torch.from_numpy(np.random.default_rng(0).integers(16, size=(8, 9)))
    shifted, _ = model.build_delay_pattern_mask(codes[None], bos_token_id=16, pad_token_id=16, max_length=20)
    for stream, first in (("moshi", 0), ("user", 8)):
        space = Moshi(str(folder), stream)
        layers = space.heard(codes)
        assert list(layers) == [str(book) for book in range(1, 9)] and space.sizes == (16,) * 8
        for many in (1, 5, 8):
            truth = sum(model.embed_tokens[first + book](shifted[:, book]) for book in range(many))[0]
            torch.testing.assert_close(layers[str(many)], truth.detach(), atol=1e-6, rtol=0)
    found, known = Moshi(str(folder)).vectors(WORDS)
    weight = model.decoder.model.embed_tokens.weight.detach().double().numpy()
    assert known.all()
    np.testing.assert_allclose(found[1], weight[Moshi(str(folder)).tokenizer.pieces("large")].mean(0), atol=1e-12)


def test_moshi_acoustic_codes_lag_one_step(tiny_moshi):
    space = Moshi(str(tiny_moshi[0]))
    codes = torch.zeros(8, 6, dtype=torch.int64)
    changed = codes.clone()
    changed[0, 2] = changed[3, 2] = 5
    before, after = space.heard(codes), space.heard(changed)
    moved = {layer: (before[layer] != after[layer]).any(1).nonzero().flatten().tolist() for layer in before}
    assert moved["1"] == moved["3"] == [2] and moved["4"] == moved["8"] == [2, 3]


def slow_mimo(tensors, codes, full):
    """Group by group, layer by layer, head by head."""
    rows = []
    for begin in range(0, codes.shape[1] - 3, 4):
        x = torch.zeros(4, 16)
        for book in range(8):
            for frame in range(4):
                code = int(codes[book, begin + frame])
                if code != (16 if book < 2 else 8):
                    x[frame] += tensors[f"speech_embeddings.{book}.weight"][code]
        for layer in range(2):
            x = slow_layer({k.split(f"layers.{layer}.")[1]: v for k, v in tensors.items() if f"transformer.layers.{layer}." in k}, x, full)
        x = x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * tensors["input_local_transformer.norm.weight"]
        rows.append(tensors["speech_group_downcast.weight"] @ x.flatten())
    return torch.stack(rows)


def slow_layer(w, x, full):
    def norm(values, name):
        return values * torch.rsqrt(values.square().mean(1, keepdim=True) + 1e-6) * w[name]

    h = norm(x, "input_layernorm.weight")
    q, k, v = (h @ w[f"self_attn.{n}_proj.weight"].T + w[f"self_attn.{n}_proj.bias"] for n in "qkv")
    out = torch.zeros(4, 16)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)

        def turned(values, at):
            angles = [at * 640000.0 ** (-2 * i / 4) for i in range(2)]
            a, b = values[:2], values[2:]
            cos, sin = (torch.tensor([f(each) for each in angles]) for f in (math.cos, math.sin))
            return torch.cat([a * cos - b * sin, b * cos + a * sin])

        for i in range(4):
            seen = range(4) if full else range(i + 1)
            scores = torch.stack([turned(q[i, part], i) @ turned(k[j, part], j) / 2 for j in seen])
            out[i, part] = scores.softmax(0) @ v[list(seen), part]
    x = x + out @ w["self_attn.o_proj.weight"].T
    h = norm(x, "post_attention_layernorm.weight")
    gated = torch.nn.functional.silu(h @ w["mlp.gate_proj.weight"].T) * (h @ w["mlp.up_proj.weight"].T)
    return x + gated @ w["mlp.down_proj.weight"].T


@pytest.mark.parametrize("full", [True, False])
def test_mimo_audio_against_the_slow_network(tiny_mimo, full):
    folder, tensors = tiny_mimo
    space = MimoAudio(str(folder))
    space.tensors.config["input_full_attention"] = full
    random = np.random.default_rng(1)
    codes = torch.from_numpy(np.stack([random.integers(17 if book < 2 else 9, size=14) for book in range(8)]))  # empty codes too
    layers = space.heard(codes)
    assert list(layers) == ["8"] and layers["8"].shape == (3, 20), "two frames at the end fill no group"
    torch.testing.assert_close(layers["8"], slow_mimo(tensors, codes, full), atol=1e-4, rtol=1e-4)
    assert (space.codebooks, space.group, space.sizes) == (8, 4, (16, 16, 8, 8, 8, 8, 8, 8))
    assert space.heard(codes[:, :3])["8"].shape == (0, 20)


def test_mimo_audio_text_is_the_table_of_the_llm(tiny_mimo):
    folder, tensors = tiny_mimo
    found, known = MimoAudio(str(folder)).vectors(WORDS)
    ids = Tokenizer(folder).pieces("bread")
    np.testing.assert_allclose(found[2], tensors["model.embed_tokens.weight"][ids].double().mean(0).numpy(), atol=1e-7)
    named, _ = open_text(f"table:{folder}#model.embed_tokens.weight").vectors(WORDS)
    np.testing.assert_array_equal(found, named)
    assert known.all() and local_config().hidden_size == 16


def test_the_minilm_of_pypi_is_there_and_means_something():
    table, known = open_text("minilm").vectors(["big", "large", "window", "banana"])
    encoder, _ = open_text("minilm_encoder").vectors(["big", "large", "window", "banana"])
    assert known.all() and table.shape == encoder.shape == (4, 384)
    for vectors in (table, encoder):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        near = unit @ unit.T
        assert near[0, 1] > max(near[0, 2], near[0, 3], near[1, 2], near[1, 3]) + 0.1


def test_a_sentence_encoder_is_the_mean_over_its_tokens():
    model = AutoModel.from_pretrained(text.minilm()).eval()
    space = Encoder(text.minilm())
    words = ["cat", "extraordinarily"]
    found, _ = space.vectors(words)
    for word, vector in zip(words, found, strict=True):
        with torch.no_grad():
            states = model(**Tokenizer(text.minilm()).fast(word, return_tensors="pt")).last_hidden_state[0]
        np.testing.assert_allclose(vector, states.double().mean(0).numpy(), atol=1e-5)


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_static_vectors(tmp_path, header):
    lines = header + "cat 1 -2.5\nlarge 0.5 1e-3 \ncat 9 9\n"
    (tmp_path / "glove.txt").write_text(lines)
    with gzip.open(tmp_path / "glove.vec.gz", "wt") as file:
        file.write(lines)
    for name in ("glove.txt", "glove.vec.gz"):
        space = open_text(f"vectors:{tmp_path / name}")
        found, known = space.vectors(["large", "dog", "cat"])
        assert known.tolist() == [True, False, True] and space.name == "glove"
        np.testing.assert_array_equal(found[[0, 2]], [[0.5, 1e-3], [1, -2.5]])
        assert np.isnan(found[1]).all()


@pytest.mark.parametrize("lines,said", [
    ("cat 1 2\ndog 1\n", "line 2: 1 numbers, and 2 before"), ("cat 1 two\n", "line 1: 'cat' has what is no number"),
    ("cat 1 nan\n", "line 1: the vector of 'cat' holds NaN"), ("cat\n", "line 1: 0 numbers"),
])  # fmt: skip
def test_broken_vectors_are_named_by_line(tmp_path, lines, said):
    (tmp_path / "v.txt").write_text(lines)
    with pytest.raises(DataError, match=said):
        Static(tmp_path / "v.txt").vectors(["cat", "dog"])


def test_binary_vectors_are_refused(tmp_path):
    (tmp_path / "v.bin").write_bytes(b"2 2\ncat \xff\xfe\x00\x80\x3f\x00")
    with pytest.raises(DataError, match="not readable as text"):
        Static(tmp_path / "v.bin").vectors(["cat"])


def test_wrong_requests_say_the_cure(tmp_path, tiny_moshi, tiny_mimo, monkeypatch):
    for asked in ("word2vec", "table:", "vectors", "minilm:x"):
        with pytest.raises(RequestError, match="is no text space; give one of minilm, "):
            open_text(asked)
    with pytest.raises(RequestError, match="no such file"):
        open_text(f"vectors:{tmp_path}/gone.txt")
    with pytest.raises(RequestError, match="is no folder"):
        open_text(f"table:{tmp_path}/gone")
    with pytest.raises(RequestError, match="name the table yourself"):
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd" / "config.json").write_text('{"model_type": "nobody knows"}')
        (tmp_path / "odd" / "model.safetensors.index.json").write_text('{"weight_map": {"x": "y"}}')
        Table(tmp_path / "odd")
    with pytest.raises(RequestError, match="not 'moshi'"):
        Moshi(str(tiny_mimo[0]))
    with pytest.raises(RequestError, match="reads two, moshi and user"):
        Moshi(str(tiny_moshi[0]), "nobody")
    with pytest.raises(RequestError, match="has no speech_vocab_size"):
        MimoAudio(str(tiny_moshi[0]))
    monkeypatch.setattr(text, "MINILM", "no_such_package_here")
    with pytest.raises(RequestError, match="pip install 'laminal.text.'"):
        open_text("minilm")
