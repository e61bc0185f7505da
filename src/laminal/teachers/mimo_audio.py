"""What MiMo-Audio reads (Xiaomi 2025): four frames of eight codes, through a small transformer, as one vector; and its text table."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from laminal.errors import RequestError
from laminal.nn import pretrained
from laminal.nn.tables import Tensors, Tokenizer, word_rows

TEXT = "model.embed_tokens.weight"
AUDIO = "speech_embeddings.{}.weight"
LOCAL = "input_local_transformer."
DOWNCAST = "speech_group_downcast.weight"
NEEDED = ("speech_vocab_size", "group_size", "audio_channels", "local_dim", "input_local_layers")  # of config.json


class MimoAudio:
    """MiMo-Audio-7B in its published layout (XiaomiMiMo/MiMo-Audio-7B-Base, -Instruct).

    The eight codes of a frame are embedded and summed (an empty code counts nothing); `group_size` consecutive frames go through
    `input_local_transformer`, each group alone; its outputs, one after the other, through `speech_group_downcast`: 25 Hz become 6.25 Hz.
    The 7 B transformer is never read; the small one, the tables and the rows of the words asked for are.
    """

    def __init__(self, source: str):
        """Open `source`, a folder or a hub name; raises RequestError where the layout is another."""
        self.name = "mimo_audio"
        self.tensors = Tensors(source)
        config: dict[str, Any] = self.tensors.config
        missing = [key for key in NEEDED if key not in config]
        if missing:
            raise RequestError(f"{source}: its config.json has no {', '.join(missing)}; take MiMo-Audio-7B's folder, not its tokenizer's")
        self.codebooks, self.group = int(config["audio_channels"]), int(config["group_size"])
        self.empty = listed(config.get("speech_zeroemb_idx", -1), self.codebooks)
        self.sizes = tuple(size - 1 for size in listed(config["speech_vocab_size"], self.codebooks))  # the last entry is the empty code
        self.tokenizer = Tokenizer(self.tensors.folder)

    def vectors(self, words: Sequence[str]) -> tuple[Float[np.ndarray, "w d"], Bool[np.ndarray, " w"]]:
        """Give the mean of each word's sub-tokens in the text table, and which words it has."""
        return word_rows(self.tensors, TEXT, self.tokenizer, words)

    @torch.no_grad()
    def heard(self, codes: Int[Tensor, "q n"]) -> dict[str, Float[Tensor, "m d"]]:
        """Give the vector of each whole group of frames, under the name of the last codebook; frames that fill no group are left out."""
        groups = codes.shape[1] // self.group
        total = torch.zeros(())
        for book, table in enumerate(self._tables):
            said = codes[book, : groups * self.group].cpu()
            total = total + torch.nn.functional.embedding(said, table) * (said != self.empty[book])[:, None]
        frames = total.unflatten(0, (groups, self.group))
        seen = {"full_attention": None} if self.tensors.config.get("input_full_attention") else None
        out = self._local(inputs_embeds=frames, attention_mask=seen).last_hidden_state if groups else frames
        return {str(self.codebooks): out.flatten(1) @ self._downcast.T}

    @cached_property
    def _tables(self) -> list[Tensor]:
        return [self.tensors.tensor(AUDIO.format(book)) for book in range(self.codebooks)]

    @cached_property
    def _downcast(self) -> Tensor:
        return self.tensors.tensor(DOWNCAST)

    @cached_property
    def _local(self) -> Any:
        """Build the small transformer, a Qwen2 without an input table, and load it strictly."""
        own = self.tensors.config
        width, heads = int(own.get("input_local_dim") or own["local_dim"]), int(own.get("local_attn_heads", 64))
        config = pretrained.kind_of("Qwen2Config")(
            hidden_size=width, num_hidden_layers=int(own["input_local_layers"]), num_attention_heads=heads, num_key_value_heads=heads,
            intermediate_size=4 * width, rms_norm_eps=float(own.get("rms_norm_eps", 1e-6)), vocab_size=1, use_cache=False,
            rope_parameters={"rope_type": "default", "rope_theta": _rope(own)},
        )  # fmt: skip
        config._attn_implementation = "eager"  # the one whose mask None means: every frame of the group sees every other
        with torch.random.fork_rng(devices=[]):
            model = pretrained.kind_of("Qwen2Model")(config).float().eval().requires_grad_(False)
        model.embed_tokens = None
        weights = {name.removeprefix(LOCAL): self.tensors.tensor(name) for name in self.tensors.names if name.startswith(LOCAL)}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise RequestError(f"{self.tensors.source}: {LOCAL}* does not fit its config.json ({reason}); download it again") from error
        return model


def _rope(config: dict[str, Any]) -> float:
    parameters = config.get("rope_parameters") or config
    return float(parameters.get("rope_theta", 640_000.0))  # the published model's


def listed(value: Any, count: int) -> tuple[int, ...]:
    """Read `1025-1025-129`, or one number for all codebooks."""
    parts = str(value).split("-") if isinstance(value, str) and "-" in value else [value] * count
    if len(parts) != count:
        raise RequestError(f"config.json: {value!r} names {len(parts)} codebooks, and audio_channels is {count}; download it again")
    return tuple(int(each) for each in parts)
