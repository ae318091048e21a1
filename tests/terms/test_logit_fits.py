"""Penalized logistic fits of all folds at once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skbamm import BilevelRegularizedClassifier
from skbamm.terms._fold_fits import Fold
from skbamm.terms._logit_fits import LogitFits, held_out_losses

ALPHA = 0.05


def rows(n_classes):
    random = np.random.default_rng(0)
    design = random.normal(size=(120, 4))
    labels = np.digitize(design[:, 0] + random.logistic(size=120), [0.0, 1.0][: n_classes - 1])
    weight, fold = random.uniform(0.5, 2, 120), np.arange(120) % 3
    folds = [Fold(weight * (fold != k), weight * (fold == k)) for k in range(3)]
    return design, labels, weight, folds


@pytest.mark.parametrize("n_classes", [2, 3])
def test_each_fold_is_a_logistic_regression(n_classes):
    design, labels, weight, folds = rows(n_classes)
    fits = LogitFits.of(design, labels, n_classes, weight, folds)
    params = fits.params(ALPHA)
    scores, losses = fits.scores(params), fits.held_out(params)
    for number, train in enumerate([*(fold.train for fold in folds), weight]):
        model = LogisticRegression(C=1 / ALPHA, tol=1e-8, max_iter=1000)
        model.fit(design, labels, sample_weight=train / train.sum())
        expected = model.decision_function(design).reshape(len(design), -1)
        expected -= expected.mean(axis=1, keepdims=True) * (n_classes > 2)
        found = scores[number] - scores[number].mean(axis=1, keepdims=True) * (n_classes > 2)
        assert_allclose(found, expected, atol=5e-3)
        if number < len(folds):
            test = folds[number].test
            loss = log_loss(labels, model.predict_proba(design), sample_weight=test)
            assert_allclose(losses[number], loss, rtol=1e-3)


def test_what_is_known_of_another_strength_changes_nothing():
    fits = LogitFits.of(*rows(3)[:2], 3, *rows(3)[2:])
    begun = fits.params(ALPHA, fits.params(10 * ALPHA))
    assert_allclose(fits.scores(begun), fits.scores(fits.params(ALPHA)), atol=5e-3)


def test_losses_have_the_mean_of_the_criterion():
    design, labels, weight, folds = rows(2)
    model = BilevelRegularizedClassifier(
        "l2", groups="feature", alpha={0: 0.01, 1: 1.0, 2: 1.0, 3: 1.0}, standardize=False
    ).fit(design, labels, weight)
    found = held_out_losses(design, labels, 2, weight, folds, model)
    fits = LogitFits.of(design, labels, 2, weight, folds)
    assert_allclose(found.mean(), model.criterion_)
    own = fits.held_out(fits.params(model.alpha_))
    assert_allclose(found - found.mean(), own - own.mean(), atol=1e-3)
