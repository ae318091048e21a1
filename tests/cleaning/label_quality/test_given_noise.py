"""Noise of given labels where no verified one tells."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime, minimize
from scipy.special import softmax

from skbamm.cleaning.label_quality._given_noise import (
    GivenNoise,
    _centred_logs,
    _Mixture,
    confident_joint,
    fit_given_noise,
    off_diagonal_shares,
)

UNIFORM = np.full((3, 3), 1 / 3)
CONFUSED = np.array([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def labelled(transition=None, n_rows=3000, bias=(0.0, 0.0, 0.0), factor=1.0, seed=0):
    """Predictions of overlapping classes, and labels given by a transition matrix."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2, (n_rows, len(bias))) + bias
    truth = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    given = truth
    if transition is not None:
        given = (np.cumsum(transition, axis=1)[truth] > random.random((n_rows, 1))).argmax(axis=1)
    return softmax(scores / factor, axis=1), given, truth


def shares_wrong(given, truth, n_classes=3):
    return [np.mean(truth[given == label] != label) for label in range(n_classes)]


def estimated(noise, predictions, given):
    right = noise.posterior(predictions, given)[np.arange(len(given)), given]
    return [1 - right[given == label].mean() for label in range(predictions.shape[1])]


def fit_noisy(predictions, given, weight=None):
    """No label is verified, and rows are dealt to five folds."""
    rows = np.arange(len(given))
    weight = np.ones(len(given)) if weight is None else weight
    return fit_given_noise(predictions, given, weight, rows % 5, rows < 0)


def test_the_posterior_is_bayes_rule():
    predictions, given, _ = labelled(n_rows=20)
    noise = GivenNoise(2.0, np.array([0.5, -0.5, 0.0]), CONFUSED)
    prior = predictions**2 * np.exp([0.5, -0.5, 0.0])
    expected = prior / prior.sum(axis=1, keepdims=True) * CONFUSED[:, given].T
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(noise.posterior(predictions, given), expected)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    "transition", [0.7 * np.eye(3) + 0.3 * UNIFORM, 0.4 * np.eye(3) + 0.6 * UNIFORM, CONFUSED]
)
def test_noise_is_told_from_overlap_however_sure_the_predictions(transition, factor):
    predictions, given, truth = labelled(transition, factor=factor)
    noise = fit_noisy(predictions, given)
    # Surely predicted rows say which classes are confused, so overlap blurs the matrix.
    assert_allclose(estimated(noise, predictions, given), shares_wrong(given, truth), atol=0.12)


@pytest.mark.parametrize("bias", [(0, 0, 0), (0, 0, -4), (0, -2)])
@pytest.mark.parametrize("seed", range(3))
def test_overlapping_and_rare_classes_are_no_noise(bias, seed):
    predictions, given, _ = labelled(bias=bias, seed=seed)
    noise = fit_noisy(predictions, given)
    np.testing.assert_array_equal(noise.transition, np.eye(len(bias)))


@pytest.mark.parametrize("n_typos", [1, 3])
def test_mistyped_labels_hide_no_other_noise(n_typos):
    """A class of its own for a few rows: uniform noise would make it as large as others."""
    predictions, given, truth = labelled(0.7 * np.eye(3) + 0.3 * UNIFORM, 600, factor=0.5)
    given[:n_typos] = 3
    predictions = np.column_stack([predictions * 0.999, np.full(600, 0.001)])
    noise = fit_noisy(predictions, given)
    found = estimated(noise, predictions, given)
    assert_allclose(found[:3], shares_wrong(given, truth), atol=0.08)


@pytest.fixture
def mixture():
    random = np.random.default_rng(0)
    predictions, labels = random.dirichlet(np.ones(4), 300), random.integers(0, 4, 300)
    transition = random.dirichlet(np.ones(4), 4)
    scores, counts = _centred_logs(predictions), np.array([2.0, 3.0])
    is_clean = random.random(300) < 0.3
    return _Mixture(scores, labels, random.random(300), is_clean, transition, counts)


def test_derivatives_are_those_of_the_value(mixture):
    numbers = np.random.default_rng(1).normal(0, 0.5, 6)

    def value(numbers):
        return mixture.value_and_gradient(numbers)[0]

    def gradient(numbers):
        return mixture.value_and_gradient(numbers)[1]

    assert_allclose(gradient(numbers), approx_fprime(numbers, value, 1e-7), rtol=1e-4, atol=1e-4)
    hessian = approx_fprime(numbers, gradient, 1e-7)
    assert_allclose(mixture.hessian(numbers), hessian, rtol=1e-4, atol=1e-4)


def test_the_fit_is_the_likeliest():
    predictions, given, _ = labelled(0.7 * np.eye(3) + 0.3 * UNIFORM, 500)
    counts = np.array([2.0, 3.0])
    rows = _centred_logs(predictions), given, np.ones(500), np.zeros(500, dtype=bool)
    mixture = _Mixture(*rows, UNIFORM, counts)
    found, initial = mixture.fitted().noise, np.random.default_rng(2).normal(0, 0.5, 5)
    options = {"method": "BFGS", "options": {"gtol": 1e-4}}
    other = minimize(mixture.value_and_gradient, initial, jac=True, **options).x
    assert_allclose([np.log(found.factor), *found.bias], other[:-1], atol=1e-4)
    assert_allclose(found.transition[0, 0], 1 - 2 / 3 / (1 + np.exp(-other[-1])), atol=1e-4)


def test_standard_errors_are_the_spread_over_draws():
    draws = [labelled(0.7 * np.eye(3) + 0.3 * UNIFORM, 1500, seed=seed)[:2] for seed in range(20)]
    found = [fit_noisy(*draw) for draw in draws]
    spread = np.std([noise.transition for noise in found], axis=0)
    mean = np.sqrt(np.mean([noise.transition_std**2 for noise in found], axis=0))
    # All entries are of one share here, and there is more to sample in general.
    assert (mean > 0.9 * spread).all() and (mean < 2 * spread).all()


def test_where_no_noise_shows_standard_errors_are_those_of_what_may_hide():
    predictions, given, _ = labelled(n_rows=600)
    noise = fit_noisy(predictions, given)
    assert not noise.is_shown and (noise.transition_std > 0).all()


def test_order_and_unit_of_weights_and_rows_without_weight_do_not_matter():
    predictions, given, _ = labelled(CONFUSED, 400)
    weight = np.random.default_rng(0).integers(0, 3, 400).astype(float)
    own, is_clean = np.arange(400) % 5, np.zeros(400, dtype=bool)
    expected = fit_given_noise(predictions, given, weight, own, is_clean)
    order = np.random.default_rng(1).permutation(np.flatnonzero(weight))
    rows = predictions[order], given[order], 7 * weight[order], own[order], is_clean[order]
    found = fit_given_noise(*rows)
    assert_allclose(found.transition, expected.transition, atol=1e-9)
    assert_allclose(found.transition_std, expected.transition_std, atol=1e-9)


def test_confident_rates_are_those_of_sure_predictions():
    labels = np.arange(2000) % 2
    wrong = np.random.default_rng(0).random(2000) < 0.25
    truth = np.where(wrong, 1 - labels, labels)
    predictions = np.where(np.eye(2)[truth] == 1, 0.8, 0.2)
    rates = off_diagonal_shares(confident_joint(predictions, labels, np.ones(2000)))
    assert_allclose(rates, [wrong[labels == c].mean() for c in (0, 1)])
