"""Shares of noise models in the label weights, by rows that neither fits nor weights have seen."""

from __future__ import annotations

import numpy as np

from ._constants import ADVANTAGE, ADVANTAGE_ROWS, LEAST_SHARE, STANDARD_ERRORS, VERIFIED_ROWS


def shares(found, residuals, log_densities, rows):
    """Of each model; that of models without wrong targets is split by held-out squares.

    Mixtures have to be likelier than the likeliest of these by an `ADVANTAGE`: what few rows far
    away make likelier may be errors of another kind. Verified rows take away what predicts them
    worse.
    """
    is_mixture = np.array([one.noise.is_mixture for one in found])
    is_usable = np.array([one.noise.is_usable for one in found])
    total = log_densities @ rows.weight
    null = int(np.where(is_mixture, -np.inf, total).argmax())
    share = np.where(is_usable & ~is_mixture, 1.0, 0.0)
    plain = share > 0
    share[plain] = nearness_by_rows(residuals[plain] ** 2, rows.weight, 1.0)
    share /= share.sum()
    if is_mixture.any():
        which = [null, *np.flatnonzero(is_mixture)]
        more = ADVANTAGE + ADVANTAGE_ROWS / rows.weight.sum()
        advantage = np.array([0.0] + [more] * (len(which) - 1))
        near = nearness_by_rows(-log_densities[which], rows.weight, STANDARD_ERRORS, advantage)
        share *= near[0]
        share[which[1:]] = near[1:]
    if rows.is_clean.sum() >= VERIFIED_ROWS:
        own = rows.is_clean
        near = nearness_by_rows(residuals[is_usable][:, own] ** 2, rows.weight[own], 1.0)
        share[is_usable] *= near
    share /= share.sum()
    share = np.where(share < LEAST_SHARE, 0.0, share)
    return share / share.sum()


def nearness_by_rows(losses, weight, standard_errors, advantage=None):
    """``exp(-z^2 / (2 c^2))`` of each to the best, z its loss over rows less the best one's.

    In standard errors over the rows. All but the first have to be better than it by an
    `advantage` in standard errors.
    """
    score = np.zeros(len(losses))
    if advantage is not None:
        score = advantage * _errors(losses - losses[0], weight)
    score = score + losses @ weight
    best = int(score.argmin())
    deviation = np.maximum(_errors(losses - losses[best], weight), np.finfo(float).tiny)
    # Differences of rounding are none.
    least = 1e-12 * np.abs(losses @ weight).max()
    more = score - score[best]
    z = np.where(more <= least, 0.0, more / deviation)
    return np.exp(-((np.minimum(z, 1e6) / standard_errors) ** 2) / 2)


def _errors(differences, weight):
    """Standard errors of weighted sums; weights count rows."""
    total = weight.sum()
    centred = differences - (differences @ weight / total)[:, None]
    return np.sqrt(centred**2 @ weight * total / max(total - 1, 1e-12))
