"""Small random models of every published architecture, saved by the original classes; codebooks spread so that all codes are used."""

from pathlib import Path

import torch

from laminal import compat

compat.torchaudio()
import transformers  # noqa: E402
from transformers.utils import logging  # noqa: E402

BODY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
CONV = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}


def noise(seed: int, batch: int, samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(seed))


def saved(model, folder: Path) -> Path:
    logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    return folder


def spread(embeds, latent, scale=0.3) -> None:
    """Fill codebooks that the library starts at zero."""
    for number, embed in enumerate(embeds):
        embed.copy_(torch.randn(embed.shape) * latent.std() * scale * 0.8**number + (latent.mean() if number == 0 else 0))


def dac(folder: Path, ratios=(2, 4, 5, 8), rate=24000) -> Path:
    config = transformers.DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, downsampling_ratios=list(ratios), n_codebooks=5, codebook_size=64, sampling_rate=rate
    )
    model = transformers.DacModel(config)
    with torch.no_grad():
        for weight in (module.weight for module in model.modules() if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d)):
            weight.copy_(torch.randn_like(weight) / (weight[0].numel() ** 0.5))  # the library's own initialisation lets the signal die out
    return saved(model, folder)


def mimi(folder: Path) -> Path:
    config = transformers.MimiConfig(
        num_filters=4, num_attention_heads=4, num_key_value_heads=4, hidden_size=32, num_hidden_layers=2, intermediate_size=48,
        codebook_size=64, codebook_dim=16, vector_quantization_hidden_dimension=16, num_quantizers=6, upsample_groups=32,
        sliding_window=20, layer_scale_initial_scale=0.5,
    )  # fmt: skip
    model = transformers.MimiModel(config).eval()
    with torch.no_grad():
        latent = model.encoder(noise(0, 1, 48000)[:, None]).latents
        for half in (model.quantizer.semantic_residual_vector_quantizer, model.quantizer.acoustic_residual_vector_quantizer):
            spread([layer.codebook.embed_sum for layer in half.layers], half.input_proj(latent))
            for layer in half.layers:
                layer.codebook.cluster_usage.copy_(torch.rand(64) + 0.5)
                layer.codebook.embed_sum.mul_(layer.codebook.cluster_usage[:, None])
    return saved(model, folder)


def summed(folder: Path, name: str, ratios=(8, 5, 4, 2), **settings) -> Path:
    """X-Codec and what is built like it."""
    config = getattr(transformers, f"{name}Config")(
        acoustic_model_config={"model_type": "dac", "encoder_hidden_size": 4, "decoder_hidden_size": 32,
                               "downsampling_ratios": list(ratios), "hidden_size": 16},
        semantic_model_config={"model_type": "hubert", **BODY, **CONV}, codebook_size=64, **settings,
    )  # fmt: skip
    model = getattr(transformers, f"{name}Model")(config).eval()
    with torch.no_grad():
        model.fc.weight.copy_(torch.randn_like(model.fc.weight))
        spread([each.codebook.embed for each in model.quantizer.quantizers], torch.tensor([-1.0, 1.0]))
    return saved(model, folder)


def xcodec(folder: Path) -> Path:
    return summed(folder, "Xcodec", target_bandwidths=[0.3, 0.6, 1.2])


def higgs(folder: Path) -> Path:
    return summed(folder, "HiggsAudioV2Tokenizer", (8, 5, 4, 2, 3), target_bandwidths=[0.3, 0.6], codebook_dim=8)


def hubert(folder: Path) -> Path:
    return saved(transformers.HubertModel(transformers.HubertConfig(**BODY, **CONV)), folder)


def wavlm(folder: Path) -> Path:
    config = transformers.WavLMConfig(**BODY, **CONV, feat_extract_norm="layer", do_stable_layer_norm=True)
    return saved(transformers.WavLMModel(config), folder)


def wav2vec2(folder: Path) -> Path:
    return saved(transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**BODY, **CONV)), folder)


def whisper(folder: Path) -> Path:
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=48, decoder_layers=1, decoder_attention_heads=2,
        decoder_ffn_dim=32, max_source_positions=50, max_target_positions=8, vocab_size=8, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=0, begin_suppress_tokens=[0],
    )  # fmt: skip
    return saved(transformers.WhisperModel(config), folder)
