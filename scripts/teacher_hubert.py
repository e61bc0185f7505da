"""Train the small HuBERT-shaped teacher: the exact phone of every frame, through random channels and masked spans."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from teacher_augment import channel
from teacher_data import HOP, Bank, draw
from torch import Generator, Tensor, nn

from laminal import compat
from laminal.teachers.hubert import PAD

SIZES: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "conv_dim": [24, 32, 64, 96, 128, 128, 128],
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 16,
    "mask_time_prob": 0.05,  # > 0 makes the masked embedding; the spans are drawn here, not by transformers
    "mask_feature_prob": 0.0,
    **dict.fromkeys(("layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0),
}
ROWS, SAMPLES = 8, 100 * HOP  # crops of 2 s
SPEED = 0.18  # log spread of tempo, pitch and formants together
MASK_START, MASK_SPAN = 0.03, 8  # share of frames that start a span, and its frames: about a fifth of all
RATE_PEAK, DECAY = 1.5e-3, 0.02


def new(sizes: dict[str, Any], seed: int) -> Any:
    """Make a HubertModel of `sizes` with random weights from `seed`."""
    compat.torchaudio()
    from transformers import HubertConfig, HubertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HubertModel(HubertConfig(**sizes))


def spans(frames: int, rows: int, generator: Generator) -> Bool[Tensor, "b n"]:
    """Mark spans of MASK_SPAN frames."""
    start = (torch.rand(rows, 1, frames, generator=generator) < MASK_START).float()
    reach = nn.functional.max_pool1d(nn.functional.pad(start, (MASK_SPAN - 1, 0)), MASK_SPAN, 1)
    return reach[:, 0].bool()


def prepared(wav: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Normalise and pad as HubertTeacher does."""
    level = (wav - wav.mean(1, keepdim=True)) / (wav.var(1, keepdim=True, unbiased=False) + 1e-7).sqrt()
    return nn.functional.pad(level, (PAD, PAD))


def train(bank: Bank, utterances: np.ndarray, steps: int, seed: int, folder: Path) -> None:
    """Train on `utterances` of `bank` for `steps` steps of 16 s; save to `folder` in transformers' format, fp16.

    Phones are read off the last layer and off the mean of all layers by a linear layer each, so both are worth distilling from.
    """
    model = new(SIZES, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        heads = nn.ModuleList([nn.Linear(SIZES["hidden_size"], len(bank.names)) for _ in range(2)])
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE_PEAK, betas=(0.9, 0.98), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_PEAK, total_steps=steps, pct_start=0.1)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    model.train()
    right, begun = [], time.time()
    for step in range(1, steps + 1):
        crops = draw(bank, rng.choice(utterances, ROWS), SAMPLES, np.exp(rng.uniform(-SPEED, SPEED, ROWS)), rng)
        wav = prepared(channel(crops.wav, 1.0, generator))
        mask = spans(SAMPLES // HOP, ROWS, generator) & (step > 0.05 * steps)
        with torch.autocast("cpu", torch.bfloat16):
            states = model(wav, mask_time_indices=mask, output_hidden_states=True).hidden_states
            last, mean = heads[0](states[-1]), heads[1](torch.stack(states[1:]).mean(0))
        target = crops.phones.flatten()
        loss = sum(
            weight * nn.functional.cross_entropy(logits.float().flatten(0, 1), target, label_smoothing=0.05)
            for logits, weight in ((last, 1.0), (mean, 0.5))
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        right.append(float((last.argmax(-1).flatten() == target).float().mean()))
        if step % 100 == 0:
            seconds = time.time() - begun
            print(f"hubert step {step}: loss {loss.item():.3f}, frames right {np.mean(right[-100:]):.3f}, {seconds:.0f} s", flush=True)
        if step % 1000 == 0 or step == steps:
            save(model, folder)


def save(model: Any, folder: Path) -> None:
    """Write `model` to `folder` as config.json, preprocessor_config.json and fp16 safetensors."""
    from transformers import Wav2Vec2FeatureExtractor

    half = type(model)(model.config).half()
    half.load_state_dict(model.state_dict())
    half.eval().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
