"""Slow MiMo-Audio-Tokenizer: float64, one frame, head and pair at a time, from the formulas; and small folders in its published format.

Shares no code with laminal; weights are a dict by published name.
"""

import cmath
import json
import math

import numpy as np
import torch
from safetensors.torch import save_file

from oracle_signal import hann, htk_hz, htk_mel, triangles

SMALL = {
    "sampling_rate": 24000, "nfft": 96, "hop_length": 24, "window_size": 96, "fmin": 0, "fmax": None, "n_mels": 8,
    "d_model": 16, "kernel_size": 3, "stride_size": 2, "avg_pooler": 2,
    "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "encoder_skip_layer_id": 2, "encoder_causal": False,
    "encoder_attn_window_size": [-1, -1],
    "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 20, "decoder_kernel_size": 3, "decoder_stride_size": 2,
    "decoder_causal": True, "decoder_attn_window_size": [-1, -1],
    "vocoder_dim": 8, "vocoder_intermediate_dim": 12, "vocoder_num_layers": 2, "vocoder_attention_heads": 2,
    "vocoder_attn_window_size": [4, 1],
    "num_quantizers": 4, "codebook_size": [32, 16, 8, 8], "rope_theta": 100,
    # and what the published file holds beside
    "architectures": ["MiMoAudioTokenizer"], "max_audio_seconds": 1800, "scale_embedding": False, "activation_function": "gelu",
    "vocoder_padding": "same", "threshold_ema_dead_code": 2, "position_embedding_type": "rope", "rope_type": "default",
    "ln_type": "LayerNorm", "torch_dtype": "float32", "transformers_version": "4.49.0",
}  # fmt: skip


def layer_shapes(prefix, width, inner):
    shapes = {f"{prefix}self_attn.{part}_proj.weight": [width, width] for part in ("k", "v", "q", "out")}
    shapes |= {f"{prefix}self_attn.{part}_proj.bias": [width] for part in ("v", "q", "out")}
    shapes |= {f"{prefix}{norm}.{part}": [width] for norm in ("self_attn_layer_norm", "final_layer_norm") for part in ("weight", "bias")}
    return shapes | {f"{prefix}fc1.weight": [inner, width], f"{prefix}fc1.bias": [inner], f"{prefix}fc2.weight": [width, inner],
                     f"{prefix}fc2.bias": [width]}  # fmt: skip


def norm_shapes(prefix, width):
    return {f"{prefix}.weight": [width], f"{prefix}.bias": [width]}


def shapes(c):
    """Names and shapes of a file, from the published architecture."""
    d, m, v = c["d_model"], c["n_mels"], c["vocoder_dim"]
    found = {"encoder.conv1.weight": [d, m, c["kernel_size"]], "encoder.conv1.bias": [d],
             "encoder.conv2.weight": [d, d, c["kernel_size"]], "encoder.conv2.bias": [d],
             "encoder.down_sample_layer.0.weight": [d, d, c["avg_pooler"]],
             "decoder.dconv1.conv.weight": [d, d, c["avg_pooler"]], "decoder.dconv1.conv.bias": [d],
             "decoder.dconv2.conv.weight": [d, m, c["decoder_kernel_size"]], "decoder.dconv2.conv.bias": [m],
             "decoder.vocoder.embeddings.weight": [v, m], "decoder.vocoder.head.out.weight": [c["nfft"] + 2, v],
             "decoder.vocoder.head.out.bias": [c["nfft"] + 2], "decoder.vocoder.head.istft.window": [c["nfft"]]}  # fmt: skip
    for prefix, width in (("encoder.layer_norm", d), ("encoder.down_sample_norm", d), ("decoder.layer_norm", d), ("decoder.dconv1.norm", d),
                          ("decoder.dconv2.norm", m), ("decoder.vocoder.layer_norm", v)):  # fmt: skip
        found |= norm_shapes(prefix, width)
    for i in range(c["encoder_layers"]):
        found |= layer_shapes(f"encoder.layers.{i}.", d, c["encoder_ffn_dim"])
    for i in range(c["decoder_layers"]):
        found |= layer_shapes(f"decoder.layers.{i}.", d, c["decoder_ffn_dim"])
    for i in range(c["vocoder_num_layers"]):
        found |= layer_shapes(f"decoder.vocoder.layers.{i}.", v, c["vocoder_intermediate_dim"])
    for i in range(c["num_quantizers"]):
        size, prefix = c["codebook_size"][i], f"encoder.quantizer.vq.layers.{i}._codebook."
        found |= {prefix + "inited": [1], prefix + "cluster_size": [size], prefix + "embed": [size, d], prefix + "embed_avg": [size, d]}
    return found


def weights(c, seed=0):
    """Random weights in the published precisions: the encoder in bfloat16, its quantizer and the decoder in float32."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in sorted(shapes(c).items()):
        value = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif "_codebook" in name:
            value = value * 0.8 ** int(name.split("layers.")[1].split(".")[0])
        elif name.endswith("istft.window"):
            value = torch.hann_window(shape[0])
        else:
            value = 1.5 * value / math.sqrt(math.prod(shape[1:]))
        published_half = name.startswith("encoder.") and "quantizer" not in name
        found[name] = value.bfloat16() if published_half else value
    return found


def write(folder, seed=0, **changes):
    """A folder in the published format; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    c = SMALL | changes
    (folder / "config.json").write_text(json.dumps(c))
    save_file(weights(c, seed), folder / "model.safetensors")
    return folder


class Oracle:
    def __init__(self, folder, seed=0):
        self.c = json.loads((folder / "config.json").read_text())
        self.w = {name: value.double().numpy() for name, value in weights(self.c, seed).items()}

    def mel(self, wav):
        c = self.c
        size, edge = c["nfft"], c["nfft"] // 2
        rows, _ = triangles(c["n_mels"], size, c["sampling_rate"], htk_hz, htk_mel)
        padded = np.pad(np.asarray(wav, float), edge, mode="reflect")
        window, found = hann(size), []
        for start in range(0, len(wav) + 1, c["hop_length"]):
            piece = padded[start : start + size] * window
            bins = [abs(sum(piece[i] * cmath.exp(-2j * math.pi * i * k / size) for i in range(size))) for k in range(size // 2 + 1)]
            found.append([math.log(max(float(row @ np.array(bins)), 1e-7)) for row in rows])
        return np.array(found)

    def linear(self, name, x, bias=True):
        return self.w[f"{name}.weight"] @ x + (self.w[f"{name}.bias"] if bias else 0)

    def norm(self, name, x):
        return (x - x.mean()) / math.sqrt(((x - x.mean()) ** 2).mean() + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    @staticmethod
    def gelu(x):
        return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])

    def conv(self, name, x, stride, pad, bias=True):
        """Frames (n, c) by a convolution, output frame by output frame."""
        w = self.w[f"{name}.weight"]
        x = np.concatenate([np.zeros((pad, x.shape[1])), x, np.zeros((pad, x.shape[1]))])
        found = []
        for start in range(0, len(x) - w.shape[2] + 1, stride):
            total = self.w[f"{name}.bias"].copy() if bias else np.zeros(len(w))
            for k in range(w.shape[2]):
                total = total + w[:, :, k] @ x[start + k]
            found.append(total)
        return np.array(found)

    def attention(self, name, x, heads, causal, window):
        n, width = x.shape
        d = width // heads
        q, k, v = (np.array([self.linear(f"{name}.{part}_proj", row, part != "k") for row in x]) for part in "qkv")

        def turned(vector, position):
            """Pairs (i, i + d / 2) as complex numbers, turned."""
            pairs = [complex(vector[i], vector[i + d // 2]) for i in range(d // 2)]
            pairs = [pair * cmath.exp(1j * position * self.c["rope_theta"] ** (-2 * i / d)) for i, pair in enumerate(pairs)]
            return np.array([pair.real for pair in pairs] + [pair.imag for pair in pairs])

        found = np.zeros((n, width))
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            queries, keys = [turned(q[i, part], i) for i in range(n)], [turned(k[i, part], i) for i in range(n)]
            for i in range(n):
                first = 0 if window[0] < 0 else max(0, i - window[0])
                last = n - 1 if window[1] < 0 else min(n - 1, i + window[1])
                last = min(last, i) if causal else last
                scores = [float(queries[i] @ keys[j]) / math.sqrt(d) for j in range(first, last + 1)]
                powers = [math.exp(score - max(scores)) for score in scores]
                found[i, part] = sum(power * v[j, part] for power, j in zip(powers, range(first, last + 1))) / sum(powers)
        return np.array([self.linear(f"{name}.out_proj", row) for row in found])

    def transformer(self, name, x, layers, heads, causal, window, skip=None):
        kept = 0.0
        for number in range(layers):
            at = f"{name}.layers.{number}"
            x = x + self.attention(
                f"{at}.self_attn", np.array([self.norm(f"{at}.self_attn_layer_norm", r) for r in x]), heads, causal, window
            )
            x = x + np.array(
                [self.linear(f"{at}.fc2", self.gelu(self.linear(f"{at}.fc1", self.norm(f"{at}.final_layer_norm", r)))) for r in x]
            )
            if number + 1 == skip:
                kept = x.copy()
        return np.array([self.norm(f"{name}.layer_norm", row) for row in x + kept])

    def latent(self, wav):
        c = self.c
        x = np.array([self.gelu(row) for row in self.conv("encoder.conv1", self.mel(wav), 1, 1)])
        x = np.array([self.gelu(row) for row in self.conv("encoder.conv2", x, c["stride_size"], 1)])
        window, heads = c["encoder_attn_window_size"], c["encoder_attention_heads"]
        x = self.transformer("encoder", x, c["encoder_layers"], heads, c["encoder_causal"], window, c["encoder_skip_layer_id"])
        while len(x) % c["avg_pooler"]:
            x = np.concatenate([x, np.zeros((1, x.shape[1]))])
        x = self.conv("encoder.down_sample_layer.0", x, c["avg_pooler"], 0, bias=False)
        return np.array([self.norm("encoder.down_sample_norm", self.gelu(row)) for row in x])

    def entries(self, stage):
        return self.w[f"encoder.quantizer.vq.layers.{stage}._codebook.embed"]

    def codes(self, latent):
        """Codes (q, n), and by how much the nearest entry beats the next in squared distance, at the least."""
        found, margin = np.zeros((self.c["num_quantizers"], len(latent)), int), math.inf
        for n, residual in enumerate(latent):
            for stage in range(len(found)):
                distances = [float(((residual - entry) ** 2).sum()) for entry in self.entries(stage)]
                found[stage, n] = int(np.argmin(distances))
                margin = min(margin, np.diff(sorted(distances)[:2])[0])
                residual = residual - self.entries(stage)[found[stage, n]]
        return found, margin

    def summed(self, codes):
        return np.array([sum(self.entries(stage)[code] for stage, code in enumerate(frame)) for frame in codes.T])

    def upsampled(self, name, x, stride):
        """Every input frame adds its kernel; one norm over all frames and channels; the end is cut after it."""
        w, b = self.w[f"{name}.conv.weight"], self.w[f"{name}.conv.bias"]
        kernel = w.shape[2]
        y = np.tile(b, ((len(x) - 1) * stride + kernel, 1))
        for n, frame in enumerate(x):
            for k in range(kernel):
                y[n * stride + k] += frame @ w[:, :, k]
        y = (y - y.mean()) / math.sqrt(((y - y.mean()) ** 2).mean() + 1e-5)
        y = y * self.w[f"{name}.norm.weight"] + self.w[f"{name}.norm.bias"]
        return y[: len(x) * stride]

    def audio(self, summed):
        c = self.c
        x = self.upsampled("decoder.dconv1", summed, c["avg_pooler"])
        x = self.transformer(
            "decoder", x, c["decoder_layers"], c["decoder_attention_heads"], c["decoder_causal"], c["decoder_attn_window_size"]
        )
        x = self.upsampled("decoder.dconv2", x, c["decoder_stride_size"])
        x = np.array([self.linear("decoder.vocoder.embeddings", row, bias=False) for row in x])
        heads, window = c["vocoder_attention_heads"], c["vocoder_attn_window_size"]
        x = self.transformer("decoder.vocoder", x, c["vocoder_num_layers"], heads, False, window)
        size, hop = c["nfft"], c["hop_length"]
        out, weight = np.zeros((len(x) - 1) * hop + size), np.zeros((len(x) - 1) * hop + size)
        window = hann(size)
        for n, row in enumerate(x):
            values = self.linear("decoder.vocoder.head.out", row)
            half = size // 2 + 1
            bins = [min(math.exp(values[k]), 1e2) * cmath.exp(1j * values[half + k]) for k in range(half)]
            for i in range(size):  # a real signal: the edges once, as their real parts, the rest twice
                value = bins[0].real + (bins[-1] * cmath.exp(1j * math.pi * i)).real
                value += 2 * sum((bins[k] * cmath.exp(2j * math.pi * i * k / size)).real for k in range(1, half - 1))
                out[n * hop + i] += window[i] * value / size
                weight[n * hop + i] += window[i] ** 2
        edge = (size - hop) // 2
        return (out[edge:-edge]) / weight[edge:-edge]
