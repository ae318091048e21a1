"""The classifier's problem: small examples of it, and a slow second implementation in NumPy.

The second implementation shares nothing with the package: each fold is a fit by
`LogisticRegression`, label quality goes in, the criterion comes out.
"""

import warnings

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

from skbamm.cleaning._constants import LOWER, UPPER, LabelNumbers
from skbamm.cleaning._problem import (
    FreeWeighting,
    LowerLevel,
    Prior,
    QualityWeighting,
    TrainingLoss,
    ValidationLoss,
)
from skbamm.linalg._softmax import LabelledRows
from skbamm.problems import BilevelProblem

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


def random_params(rows, n_folds=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (n_folds, rows.n_scores, rows.n_columns)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_weights(n_rows, n_folds=3, seed=2):
    """Positive weights of rows that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(n_folds, n_rows, generator=generator, dtype=torch.float64) + 0.1
    return weights / weights.sum(-1, keepdim=True)


def cleaning_problem(kind="verified", n_classes=2, *, seed=0, sparse_design=False, precision=0.01):
    """A `BilevelProblem` of three folds: "verified", "relabelled", "noisy" or "free" weights.

    "free" and "free, noisy" have a free weight for each noisy row; the others `LabelNumbers`. No
    row of "noisy" and "free, noisy" has a verified label.
    """
    rows = make_rows(n_classes, seed=seed, sparse_design=sparse_design)
    n_rows, n_folds = rows.n_rows, 3
    random = np.random.default_rng(seed + 1)
    has_verified = "noisy" not in kind
    is_verified = np.arange(n_rows) % 2 == 0 if has_verified else np.zeros(n_rows, dtype=bool)
    held_out = (np.arange(n_rows) // 2) % n_folds == np.arange(n_folds)[:, None]
    validates = held_out & (is_verified if has_verified else np.ones(n_rows, dtype=bool))
    row_weight = torch.from_numpy(random.uniform(0.5, 2.0, n_rows))
    in_training = torch.from_numpy((~validates).astype(float))
    validation = torch.from_numpy(validates.astype(float)) * row_weight
    noisy = torch.from_numpy(np.flatnonzero(~is_verified))
    suggested = None
    if kind == "relabelled":
        probabilities = torch.from_numpy(random.dirichlet(np.ones(n_classes), n_rows).T)
        suggested = probabilities[1:] if rows.has_reference else probabilities
    is_free = kind.startswith("free")
    if is_free:
        weighting = FreeWeighting(noisy, row_weight, in_training, 0.05)
        hyper = torch.from_numpy(random.normal(size=len(noisy)))
        lower, upper = -10.0, 10.0
    else:
        log_odds = torch.from_numpy(random.normal(size=len(noisy)) * 2)
        verified = torch.from_numpy(np.flatnonzero(is_verified))
        relabel = 0.7 if kind == "relabelled" else 0.0
        weighting = QualityWeighting(log_odds, noisy, verified, row_weight, in_training, relabel)
        fixed = {"log_verified_weight": 0.0, "log_inverse_temperature": 0.0}
        fixed = {} if has_verified else fixed
        numbers = LabelNumbers(0.2, 0.8, np.log(0.05), 0.6, 0.1)
        hyper, lower, upper = (
            torch.from_numpy(one._replace(**fixed).pack()) for one in (numbers, LOWER, UPPER)
        )
    validation = validation / validation.sum()
    training = TrainingLoss(rows, weighting, suggested)
    level = LowerLevel(training, validation, tol=1e-11)
    return BilevelProblem(
        upper=ValidationLoss(
            rows,
            validation,
            Prior(torch.full_like(hyper, precision), torch.zeros_like(hyper)),
            bounded=not has_verified,
            tempered=has_verified and not is_free,
        ),
        lower=training,
        initial_hyper=hyper,
        initial_params=level.minimize(hyper, rows.zeros(n_folds)),
        lower_bound=lower,
        upper_bound=upper,
        strongly_convex=True,
        metric=level.metric,
        solve_lower=level.minimize,
    )


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


def expanded(X, labels, weight, label_weight, others):
    """Every row once as its given label, and once for each other class with what that lost."""
    parts = [(X, labels, weight * label_weight)]
    for c in range(others.shape[1]):
        parts.append((X, np.full(len(labels), c), weight * (1 - label_weight) * others[:, c]))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def log_probabilities(X, coef, inverse_temperature=1.0):
    scores = inverse_temperature * (X @ coef[:, :-1].T + coef[:, -1])
    return scores - logsumexp(scores, axis=1, keepdims=True)


def cleaning_criterion(
    X, labels, is_clean, weight, splits, log_odds, hyper, precision=0.0, mean=0.0, others=None
):
    """Held-out loss of the adaptive weighting.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        In the units in which the ridge acts.
    splits : list of (train, test)
        Positions of rows; only verified test rows are scored, where there are any.
    log_odds : ndarray of shape (n_rows,)
        That labels are right; not read where `is_clean`.
    hyper : sequence of 5
        As `LabelNumbers`.
    others : ndarray of shape (n_rows, n_classes), default=None
        Targets of what labels lose in weight; None for nothing.
    """
    a, b, log_ridge, log_verified_weight, log_inverse_temperature = hyper
    label_weight = np.where(is_clean, 1.0, expit(a + b * log_odds))
    of_verified = np.where(is_clean, np.exp(log_verified_weight), 1.0)
    validates = is_clean if is_clean.any() else np.ones(len(labels), dtype=bool)
    n_classes = labels.max() + 1
    loss, total = 0.0, 0.0
    for train, test in splits:
        training = np.zeros(len(labels))
        training[train] = (weight * of_verified)[train]
        rows = X, labels, training * label_weight
        if others is not None:
            rows = expanded(X, labels, training, label_weight, others)
        coef = logistic_fit(*rows, np.exp(log_ridge), n_classes)
        test = test[validates[test]]
        given = log_probabilities(X[test], coef, np.exp(log_inverse_temperature))
        given = given[np.arange(len(test)), labels[test]]
        losses = -given if is_clean.any() else 1 - np.exp(given)
        loss += weight[test] @ losses
        total += weight[test].sum()
    return loss / total + np.sum(precision * np.square(np.asarray(hyper) - mean)) / 2
