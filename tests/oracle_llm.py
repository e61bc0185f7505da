"""Tiny models in the published names and layout: tokenizers of some letters, Moshi by transformers, MiMo-Audio tensor by tensor."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from laminal import compat

compat.torchaudio()
from transformers import MoshiConfig, MoshiForConditionalGeneration, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model  # noqa: E402

ALPHABET = " ".join("abcdefghijklmnopqrstuvwxyz")
TEXTS = [ALPHABET, *["the cat sat on the large mat", "a big dog and the small cat", "start the red read bread", "dogs cats mats"] * 3]
MIMO = {
    "model_type": "qwen2", "architectures": ["MiMoAudioForCausalLM"], "hidden_size": 20, "vocab_size": 300, "rms_norm_eps": 1e-6,
    "speech_vocab_size": "17-17-9-9-9-9-9-9", "speech_zeroemb_idx": "16-16-8-8-8-8-8-8", "group_size": 4, "audio_channels": 8,
    "local_dim": 16, "local_attn_heads": 4, "input_local_layers": 2, "input_full_attention": True, "rope_theta": 640000,
    "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 24,
}  # fmt: skip


def byte_pairs(folder: Path, size: int = 300) -> PreTrainedTokenizerFast:
    """GPT-2's and Qwen2's kind: a space belongs to the word after it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return saved(made, folder)


def sentence_pieces(folder: Path) -> PreTrainedTokenizerFast:
    """Moshi's and Llama's kind: a mark stands for the space, one is put before every text."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"])
    made.pre_tokenizer = pre_tokenizers.Metaspace(split=True, prepend_scheme="never")  # no piece crosses a space
    made.train_from_iterator(TEXTS, trainer)
    made.pre_tokenizer = None
    return saved(made, folder, unk_token="<unk>")


def word_pieces(folder: Path) -> PreTrainedTokenizerFast:
    """BERT's kind: pieces inside a word are marked, unknown letters make the word unknown."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=60, special_tokens=special))
    return saved(made, folder, unk_token="[UNK]", pad_token="[PAD]")


def saved(made: Tokenizer, folder: Path, **special: str) -> PreTrainedTokenizerFast:
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    fast.save_pretrained(folder)
    return fast


def moshi(folder: Path) -> MoshiForConditionalGeneration:
    """A tiny Moshi, saved in shards as the published one is."""
    tokenizer = sentence_pieces(folder)
    codec = {
        "model_type": "mimi", "num_filters": 2, "hidden_size": 8, "codebook_dim": 4, "codebook_size": 16, "num_quantizers": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 8, "head_dim": 4,
        "upsampling_ratios": [2, 2], "vector_quantization_hidden_dimension": 4, "upsample_groups": 8,
    }  # fmt: skip
    depth = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 8, "head_dim": 4, "audio_vocab_size": 16}
    config = MoshiConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, audio_vocab_size=16,
        num_codebooks=8, audio_encoder_config=codec, depth_decoder_config=depth,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MoshiForConditionalGeneration(config).eval()
    model.save_pretrained(folder, max_shard_size="4KB")
    return model


def mimo_audio(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors in the names of MiMo-Audio-7B, in two shards: what the probe reads, and what it must not (here: absent)."""
    byte_pairs(folder)
    (folder / "config.json").write_text(json.dumps(MIMO))
    random = torch.Generator().manual_seed(0)
    sizes = [17, 17, *[9] * 6]
    tensors = {f"speech_embeddings.{book}.weight": torch.randn(size, 16, generator=random) for book, size in enumerate(sizes)}
    local = Qwen2Model(local_config())
    with torch.no_grad():
        for parameter in local.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))
    weights = [(name, value.clone()) for name, value in local.state_dict().items() if "embed" not in name]
    tensors |= {f"input_local_transformer.{name}": value for name, value in weights}
    tensors |= {
        "speech_group_downcast.weight": torch.randn(20, 64, generator=random),
        "model.embed_tokens.weight": torch.randn(300, 20, generator=random),
    }  # fmt: skip
    tensors = {name: value.bfloat16() for name, value in tensors.items()}
    first, second = (f"model-{number:05d}-of-00002.safetensors" for number in (1, 2))
    save_file(tensors, folder / first, {"format": "pt"})
    places = dict.fromkeys(tensors, first) | dict.fromkeys(("model.layers.0.mlp.up_proj.weight", "lm_head.weight"), second)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return {name: value.float() for name, value in tensors.items()}


def local_config() -> Qwen2Config:
    return Qwen2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=64, vocab_size=1,
        rope_parameters={"rope_type": "default", "rope_theta": 640000.0}, attn_implementation="eager",
    )  # fmt: skip
