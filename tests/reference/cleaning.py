"""The classifier's problem: small examples of it, and a slow second implementation in NumPy.

The second implementation shares nothing with the package: each fold is a fit by
`LogisticRegression`, the evidence goes in, the criterion comes out.
"""

import warnings
from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

from skbamm.cleaning._problem import CleaningProblem, TrustedLoss
from skbamm.cleaning._weighting import EvidenceWeighting, FreeWeighting
from skbamm.linalg._softmax import LabelledRows

# Examples of problems

CPU = torch.device("cpu")


def make_rows(n_classes=2, n_rows=24, n_columns=4, *, seed=0, sparse_design=False):
    """Rows with a column of ones last; every class occurs; sparse ones have zeros."""
    random = np.random.default_rng(seed)
    columns = random.normal(size=(n_rows, n_columns - 1))
    columns[random.random(columns.shape) < 0.3] = 0.0
    effects = random.normal(size=(n_columns - 1, n_classes))
    labels = (columns @ effects + random.gumbel(size=(n_rows, n_classes))).argmax(1)
    labels[:n_classes] = np.arange(n_classes)
    design = np.hstack([columns, np.ones((n_rows, 1))])
    design = sparse.csr_matrix(design) if sparse_design else design
    return LabelledRows(design, labels, n_classes, CPU)


def random_params(rows, n_candidates=2, n_folds=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (n_candidates, n_folds, rows.n_scores, rows.n_columns)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_weights(n_rows, n_candidates=2, n_folds=3, seed=2):
    """Positive weights of rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_candidates, n_folds, n_rows)
    weights = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    return weights / weights.sum(-1, keepdim=True)


def cleaning_problem(kind="clean", n_classes=2, *, seed=0, sparse_design=False, pull=0.01):
    """A `BilevelProblem` of three folds: "clean", "relabelled", "no clean" or "free" weights.

    "free" and "free, no clean" have a free weight for each noisy row.
    """
    rows = make_rows(n_classes, seed=seed, sparse_design=sparse_design)
    n_rows, n_folds = rows.indicator.shape[1], 3
    random = np.random.default_rng(seed + 1)
    has_clean = "no clean" not in kind
    is_clean = np.arange(n_rows) % 2 == 0 if has_clean else np.zeros(n_rows, dtype=bool)
    held_out = (np.arange(n_rows) // 2) % n_folds == np.arange(n_folds)[:, None]
    judges = is_clean if has_clean else np.ones(n_rows, dtype=bool)
    row_weight = torch.from_numpy(random.uniform(0.5, 2.0, n_rows))
    in_training = torch.from_numpy((~(held_out & judges)).astype(float))
    judging = torch.from_numpy((held_out & judges).astype(float)) * row_weight
    noisy = torch.from_numpy(np.flatnonzero(~is_clean))
    suggested = None
    if kind == "relabelled":
        shares = torch.from_numpy(random.dirichlet(np.ones(n_classes), n_rows).T)
        suggested = shares[1:] if rows.has_reference else shares
    if kind.startswith("free"):
        weighting = FreeWeighting(noisy, row_weight, in_training, 0.05)
        hyper = torch.from_numpy(random.normal(size=(2, len(noisy))))
        bound = torch.full((len(noisy),), 10.0, dtype=torch.float64)
        lower, upper = -bound, bound
        sharpness, strongly_convex = None, True
    else:
        evidence = torch.from_numpy(random.normal(size=len(noisy)) * 2)
        clean = torch.from_numpy(np.flatnonzero(is_clean))
        relabel = 0.7 if kind == "relabelled" else 0.0
        weighting = EvidenceWeighting(evidence, noisy, clean, row_weight, in_training, relabel)
        hyper = torch.tensor(
            [[0.2, 0.8, np.log(0.05), 0.6, 0.1], [-0.3, 1.2, np.log(0.02), 0.4, -0.2]],
            dtype=torch.float64,
        )
        lower = torch.tensor([-8, 0.1, -9, 0, -2], dtype=torch.float64)
        upper = torch.tensor([8, 4, 2, 5, 3], dtype=torch.float64)
        if not has_clean:
            hyper[:, 3:] = lower[3:] = upper[3:] = 0.0
        sharpness = EvidenceWeighting.LOG_SHARPNESS if has_clean else None
        strongly_convex = True
    loss = TrustedLoss(
        rows,
        judging / judging.sum(),
        torch.full_like(hyper[0], pull),
        torch.zeros_like(hyper[0]),
        bounded=not has_clean,
        sharpness=sharpness,
    )
    problem = CleaningProblem(
        rows,
        weighting,
        loss,
        loss.weight,
        strongly_convex=strongly_convex,
        suggested=suggested,
        tol=1e-11,
    )
    start = random_params(rows) * 0
    bilevel = problem.problem(hyper, lower, upper, start)
    return replace(bilevel, initial_params=problem.solve_lower(hyper, start))


# A second implementation


def logistic_fit(X, labels, weight, ridge, n_classes):
    """Scores' coefficients and intercepts of all classes, (n_classes, n_features + 1).

    Minimises the weighted mean cross-entropy plus ``ridge |W|^2 / 2``.
    """
    used = weight > 0
    weight = weight[used] / weight[used].sum()
    model = LogisticRegression(C=1 / ridge, tol=1e-10, max_iter=10_000, solver="newton-cg")
    with warnings.catch_warnings():
        # Its line search ends at rounding, which is where it should end.
        warnings.simplefilter("ignore")
        model.fit(X[used], labels[used], sample_weight=weight)
    coef = np.hstack([model.coef_, model.intercept_[:, None]])
    if n_classes == 2:
        return np.vstack([np.zeros_like(coef), coef])
    return coef


def expanded(X, labels, weight, trust, others):
    """Every row once as its given label, and once for each other class as far as not trusted."""
    parts = [(X, labels, weight * trust)]
    for c in range(others.shape[1]):
        parts.append((X, np.full(len(labels), c), weight * (1 - trust) * others[:, c]))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def log_probabilities(X, coef, sharpness=1.0):
    scores = sharpness * (X @ coef[:, :-1].T + coef[:, -1])
    return scores - logsumexp(scores, axis=1, keepdims=True)


def cleaning_criterion(
    X, labels, is_clean, weight, splits, evidence, hyper, pull=0.0, centre=0.0, others=None
):
    """Held-out loss of the adaptive weighting.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        In the units in which the ridge acts.
    splits : list of (train, test)
        Positions of rows; only clean test rows are scored, where there are any.
    evidence : ndarray of shape (n_rows,)
        Log odds; not read where `is_clean`.
    hyper : sequence of 5
        a, b, log ridge, log weight of clean rows, log sharpness.
    others : ndarray of shape (n_rows, n_classes), default=None
        What rows are trained to be as far as their label is not trusted; None for nothing.
    """
    a, b, log_ridge, log_clean, log_sharpness = hyper
    trust = np.where(is_clean, 1.0, expit(a + b * evidence))
    weight_of_clean = np.where(is_clean, np.exp(log_clean), 1.0)
    judges = is_clean if is_clean.any() else np.ones(len(labels), dtype=bool)
    n_classes = labels.max() + 1
    loss, total = 0.0, 0.0
    for train, test in splits:
        training = np.zeros(len(labels))
        training[train] = (weight * weight_of_clean)[train]
        rows = X, labels, training * trust
        if others is not None:
            rows = expanded(X, labels, training, trust, others)
        coef = logistic_fit(*rows, np.exp(log_ridge), n_classes)
        test = test[judges[test]]
        given = log_probabilities(X[test], coef, np.exp(log_sharpness))
        given = given[np.arange(len(test)), labels[test]]
        losses = -given if is_clean.any() else 1 - np.exp(given)
        loss += weight[test] @ losses
        total += weight[test].sum()
    return loss / total + np.sum(pull * np.square(np.asarray(hyper) - centre)) / 2
