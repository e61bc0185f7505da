"""CCA the slow way: projection matrices over samples and their eigenvectors, least squares for the directions, one fold at a time."""

import numpy as np
import scipy.linalg


def projection(x):
    """Matrix (n, n) that projects on the centred columns of x, by QR with pivots."""
    centred = x - x.mean(0)
    q, r, _ = scipy.linalg.qr(centred, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > 1e-9 * np.abs(r[0, 0])).sum())
    return q[:, :rank] @ q[:, :rank].T, rank


def pwcca(x, y):
    """(rho, variates of x, weights, value), from the eigenvectors of P_x P_y P_x: their eigenvalues are rho squared."""
    (px, p), (py, q) = projection(x), projection(y)
    values, vectors = np.linalg.eigh(px @ py @ px)
    count = min(p, q)
    order = np.argsort(values)[::-1][:count]
    rho, variates = np.sqrt(np.clip(values[order], 0, 1)), vectors[:, order]
    centred = x - x.mean(0)
    alpha = [sum(abs(float(variates[:, i] @ centred[:, j])) for j in range(x.shape[1])) for i in range(count)]
    weights = np.array(alpha) / sum(alpha)
    return rho, variates, weights, float(weights @ rho)


def heldout(x, y, folds_of, folds, rank):
    """Mean over folds of the weighted signed correlations on held-out samples."""
    found = []
    for fold in range(folds):
        train, test = folds_of != fold, folds_of == fold
        sides = []
        for side in (x, y):
            centre = side[train].mean(0)
            _, s, v = np.linalg.svd(side[train] - centre, full_matrices=False)
            kept = v[s > 1e-8 * s[0]][:rank]
            sides.append((kept, (side - centre) @ kept.T))
        (_, a), (_, b) = sides
        # weights see the columns of x within its kept axes
        rho, variates, _, _ = pwcca(a[train], b[train])
        columns = a[train] @ sides[0][0]
        alpha = np.abs(variates.T @ columns).sum(1)
        to_x, *_ = np.linalg.lstsq(a[train], variates, rcond=None)
        _, right, _, _ = pwcca(b[train], a[train])
        to_y, *_ = np.linalg.lstsq(b[train], right, rcond=None)
        signs = np.sign([np.corrcoef(a[train] @ u, b[train] @ v)[0, 1] for u, v in zip(to_x.T, to_y.T)])
        held = np.array([np.corrcoef(a[test] @ u, b[test] @ v)[0, 1] for u, v in zip(to_x.T, to_y.T)]) * signs
        found.append(float(alpha @ held / alpha.sum()))
    return float(np.mean(found))
