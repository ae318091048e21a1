"""Pairs of columns that interact on the scale of logits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from skbamm import SmoothTerms
from skbamm.terms._logit_screening import (
    CELL_RIDGE,
    N_BINS,
    LogitScreening,
    OffsetFit,
    _enough,
    log_losses,
)


def draw(seed, effect, n_rows=500, n_classes=2):
    """Uniform columns, and labels whose logits are sums but for one effect of two columns."""
    random = np.random.default_rng(seed)
    X = random.uniform(-1, 1, size=(n_rows, 6))
    logit = 2 * np.sin(3 * X[:, 0]) + 2 * X[:, 1] + 1.5 * X[:, 2] ** 2 + effect(X[:, 3], X[:, 4])
    if n_classes == 2:
        return X, random.uniform(size=n_rows) < expit(logit)
    scores = np.column_stack([logit, 2 * np.cos(3 * X[:, 1]), np.zeros(n_rows)])
    return X, (scores + random.gumbel(size=scores.shape)).argmax(axis=1)


EFFECTS = {
    "exclusive or": lambda first, second: 2 * np.sign(first * second),
    "threshold": lambda first, second: 5.0 * ((first > 0) & (second > 0)),
    "product": lambda first, second: 6 * first * second,
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_pairs_that_interact_are_found(effect):
    for seed in range(2):
        X, y = draw(seed, EFFECTS[effect], n_rows=800)
        assert SmoothTerms().fit(X, y).interactions_[0] == ("x3", "x4")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_sums_of_logits_hardly_ever_have_pairs(n_classes):
    def nothing(first, second):
        return 0.0 * first

    found = [
        SmoothTerms(target_type="classes").fit(*draw(seed, nothing, n_classes=n_classes))
        for seed in range(5)
    ]
    # 6 of 160 draws had some.
    assert sum(bool(one.interactions_) for one in found) <= 1


def test_of_many_columns_those_that_matter_are_screened():
    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, size=(600, 120))
    logit = 2 * X[:, 7] + 2 * X[:, 90] + 4 * np.sign(X[:, 7] * X[:, 90])
    y = random.uniform(size=600) < expit(logit)
    assert SmoothTerms(interactions=1).fit(X, y).interactions_ == [("x7", "x90")]


def test_gains_of_cells_are_penalized_newton_steps():
    random = np.random.default_rng(0)
    bins, weight = random.integers(3, size=(80, 2)), random.uniform(0.5, 2, 80)
    weight /= weight.mean()
    target, scores = (random.uniform(size=80) < 0.3) * 1.0, random.normal(size=80)
    probability = expit(scores)
    residual, curvature = target - probability, probability * (1 - probability)
    noise = weight @ residual**2 / (weight @ curvature)

    def gain(rows):
        variance = (weight * curvature)[rows].sum()
        return ((weight * residual)[rows].sum() ** 2 - noise * variance) / (variance + CELL_RIDGE)

    def total(of):
        return sum(gain(of == one) for one in np.unique(of))

    expected = total(3 * bins[:, 0] + bins[:, 1]) - total(bins[:, 0]) - total(bins[:, 1])
    screening = LogitScreening(bins, target[:, None], np.arange(2))
    [[found]] = screening.gains(scores[:, None], weight, np.array([0, 1]))[:1, 1:]
    assert_allclose(found, expected, rtol=1e-5)
    assert bins.max() < N_BINS


@pytest.mark.parametrize("n_classes", [2, 3])
def test_effects_of_pairs_are_logistic_fits_to_what_scores_leave(n_classes):
    random = np.random.default_rng(1)
    columns, known = random.normal(size=(400, 3)), random.normal(size=(400, n_classes))
    scores = known + columns @ random.normal(size=(3, n_classes))
    labels = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    targets, weight = np.eye(n_classes)[labels], random.uniform(0.5, 2, 400)
    if n_classes == 2:
        targets, known = targets[:, 1:], known[:, 1:] - known[:, :1]
    strength, share = 0.05, weight / weight.sum()
    [coef] = OffsetFit.of(columns, targets, known, weight).first(3, [strength])

    def objective(coef):
        loss = share @ log_losses(known + columns @ coef, targets)
        return loss + strength * np.square(coef).sum() / 2

    least = objective(coef)
    assert least < objective(0 * coef) - 0.02
    steps = 0.05 * np.eye(coef.size).reshape(-1, *coef.shape)
    assert min(objective(coef + sign * step) for step in steps for sign in (-1, 1)) > least - 1e-3


def test_without_known_scores_it_is_a_logistic_regression():
    random = np.random.default_rng(1)
    columns = random.normal(size=(300, 2))
    labels = random.uniform(size=300) < expit(columns[:, 0])
    nothing = np.zeros((300, 1))
    fit = OffsetFit.of(columns, labels[:, None] * 1.0, nothing, np.ones(300))
    [coef] = fit.first(2, [0.1])
    model = LogisticRegression(C=1 / (300 * 0.1), fit_intercept=False, tol=1e-8)
    assert_allclose(coef.T, model.fit(columns, labels).coef_, rtol=2e-2)


def test_pairs_have_to_be_better_by_more_than_chance():
    random = np.random.default_rng(0)
    losses = np.ones((400, 2, 6))
    losses[:, 1, 3] -= 0.2 * random.normal(size=400) + 0.005
    assert _enough(losses, np.ones(400)) == 0
    losses[:, 1, 3] -= 0.05
    assert _enough(losses, np.ones(400)) == 4
    assert _enough(losses, np.full(400, 1e-6)) == 4
