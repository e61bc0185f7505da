"""Slow, obviously right residual quantization: loops and float64, written from the formulas, sharing no code with laminal."""

import numpy as np
import torch


def assign(x: np.ndarray, embed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (q, n), residuals before each layer (q, n, d), running sums (q, n, d) of vectors x (n, d) by codebooks (q, s, d)."""
    layers, size, _ = embed.shape
    codes = np.zeros((layers, len(x)), dtype=int)
    residuals, sums = np.zeros((layers, *x.shape)), np.zeros((layers, *x.shape))
    for n, vector in enumerate(x.astype(np.float64)):
        residual, total = vector.copy(), np.zeros_like(vector)
        for i in range(layers):
            distances = [((residual - embed[i, s]) ** 2).sum() for s in range(size)]
            codes[i, n] = int(np.argmin(distances))
            residuals[i, n] = residual
            residual, total = residual - embed[i, codes[i, n]], total + embed[i, codes[i, n]]
            sums[i, n] = total
    return codes, residuals, sums


def ema(embed, average, size, codes, residuals, decay: float, epsilon: float = 1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One step of exponential moving averages, entry by entry (van den Oord et al. 2017, appendix A.1, with Laplace smoothing)."""
    embed, average, size = embed.copy(), average.copy(), size.copy()
    for i in range(len(embed)):
        for s in range(embed.shape[1]):
            mine = residuals[i][codes[i] == s]
            size[i, s] = decay * size[i, s] + (1 - decay) * len(mine)
            average[i, s] = decay * average[i, s] + (1 - decay) * mine.sum(axis=0)
        total = size[i].sum()
        for s in range(embed.shape[1]):
            embed[i, s] = average[i, s] / ((size[i, s] + epsilon) / (total + embed.shape[1] * epsilon) * total)
    return embed, average, size


def straight_through(x: torch.Tensor, chosen: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """z, z_1, z_2:K and commitments, letter for letter: `chosen` are the q_i, without gradient."""

    def stop(value: torch.Tensor) -> torch.Tensor:
        return value.detach()

    total = torch.stack(chosen).sum(0)
    first = chosen[0]
    z = x + stop(total - x)
    z_1 = x + stop(first - x)
    z_rest = (x - stop(first)) + stop(total - first - (x - first))
    residual, terms = x, []
    for q in chosen:
        terms.append(((residual - stop(q)) ** 2).mean())
        residual = residual - stop(q)
    return z, z_1, z_rest, torch.stack(terms)


def perplexity(codes: np.ndarray, size: int) -> float:
    """exp of the entropy of the code counts."""
    shares = [np.mean(codes == s) for s in range(size)]
    return float(np.exp(-sum(p * np.log(p) for p in shares if p > 0)))
