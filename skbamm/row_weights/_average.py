"""Shares of candidate weightings in a mean, and whether any is better than rows as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data._fold_weights import nearness, standard_error

# Errors are in units of the targets' variance: differences below this one are rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Average:
    """Shares of candidates, each with its strengths as members of the mean."""

    share: np.ndarray  # (n_candidates, n_strengths), summing to 1
    best: tuple[int, int]  # the member of least error
    first: int  # strength of the best plain member
    gain: float  # of the best member over the best plain one, in standard errors

    @property
    def by_candidate(self):
        return self.share.sum(axis=1)


def shares_by_name(shares, candidates, *, is_last_learned):
    """What each candidate is called and its share; those that print alike count together."""
    names = [str(one) for one in candidates]
    if is_last_learned:
        names[-1] = f"learned: {names[-1]}"
    found = dict.fromkeys(names, 0.0)
    for name, share in zip(names, shares, strict=True):
        found[name] += float(share)
    return found


def average(errors, plain, standard_errors, *, advantage=0.0):
    """An `Average` of errors by (candidate, strength, block or row).

    Shares fall with ``exp(-z^2 / (2 c^2))``, z a paired difference to the best member in standard
    errors, c `standard_errors` of them. `plain` is the number of the candidate that leaves rows as
    they are; the others must be better than it by an `advantage` in standard errors.
    """
    shape = errors.shape[:2]
    members = errors.reshape(-1, errors.shape[-1])
    start = plain * shape[1]
    first = start + int(members[start : start + shape[1]].mean(axis=1).argmin())
    order = np.append(first, np.delete(np.arange(len(members)), first))
    some = members[order]
    best = int(some.mean(axis=1).argmin())
    near = nearness(some, standard_errors, best, floor=ROUNDING, advantage=advantage)
    share = np.empty(len(members))
    share[order] = near / near.sum()
    more = some[0] - some[best]
    gain = float(more.mean() / np.hypot(standard_error(more), ROUNDING))
    return Average(share.reshape(shape), divmod(int(order[best]), shape[1]), first - start, gain)
