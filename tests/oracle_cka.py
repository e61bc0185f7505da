"""Slow, plainly right references for CKA: kernels entry by entry, the unbiased HSIC as a U-statistic over quadruples, copies left out."""

from itertools import permutations as orders

import numpy as np


def inner(x):
    return np.array([[sum(float(a) * float(b) for a, b in zip(row, other)) for other in x] for row in x])


def rbf(x, threshold):
    d = np.array([[sum((float(a) - float(b)) ** 2 for a, b in zip(row, other)) for other in x] for row in x])
    return np.exp(-d / (2 * threshold**2 * np.median(d)))


def hsic_by_quadruples(k, m):
    """Mean over ordered quadruples of different items of k_ij (l_ij + l_qr - 2 l_iq): Song et al. 2012, eq. 4; for n <= 8."""
    found = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in orders(range(len(k)), 4)]
    return sum(found) / len(found)


def hsic_biased(k, m):
    n = len(k)
    centre = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ centre @ m @ centre)


def hsic_by_sums(k, m):
    """Song et al. 2012, eq. 5, as it is printed."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    ones = np.ones(n)
    return (
        np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (ones @ k @ m @ ones)
    ) / (n * (n - 3))


def ratio(hsic, k, m):
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def leave_one_out(k, m, hsic):
    rest = [np.delete(np.arange(len(k)), i) for i in range(len(k))]
    return np.array([ratio(hsic, k[np.ix_(kept, kept)], m[np.ix_(kept, kept)]) for kept in rest])
