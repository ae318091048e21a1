"""Evidence that labels are right: calibration, confusions of classes, Bayes' rule."""

import numpy as np
import pytest

from skbamm.cleaning.label_quality._scores import (
    MAX_LOG_ODDS,
    NoiseModel,
    calibrate,
    fit_noise_model,
    label_likelihood,
    log_odds,
    log_softmax,
    other_labels,
    plain_log_odds,
    transition_matrix,
)

TRANSITION = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.0, 0.4, 0.6]])


def noisy_labels(n_rows=6000, seed=0):
    """True labels, and given ones that follow `TRANSITION`."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n_rows)
    given = np.array([random.choice(3, p=TRANSITION[label]) for label in truth])
    return truth, given


def random_probabilities(n_rows=50, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(n_classes), n_rows)
    return probabilities, random.integers(0, n_classes, n_rows)


def posterior_log_odds(probabilities, labels, transition):
    return log_odds(NoiseModel(transition).posterior(probabilities, labels), labels)


def test_log_softmax_does_not_overflow():
    found = log_softmax(np.array([[1e4, 0.0], [-1e4, -1e4]]))
    np.testing.assert_allclose(np.exp(found), [[1, 0], [0.5, 0.5]])


# Confusions of classes


def test_transition_of_perfect_predictions_is_the_true_one():
    truth, given = noisy_labels()
    found = transition_matrix(np.eye(3)[truth], given, np.ones(6000), 3, pseudo_count=1e-6)
    counts = np.array([[np.mean(given[truth == c] == g) for g in range(3)] for c in range(3)])
    np.testing.assert_allclose(found, counts, atol=1e-6)  # the pseudo counts
    # 2000 rows of each class: three standard errors of a share.
    np.testing.assert_allclose(found, TRANSITION, atol=3 * 0.5 / np.sqrt(2000))


def test_transition_of_calibrated_predictions_is_near_the_true_one():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(0.3 * np.ones(3), 20_000)
    truth = (probabilities.cumsum(1) > random.random((20_000, 1))).argmax(1)
    given = (TRANSITION[truth].cumsum(1) > random.random((20_000, 1))).argmax(1)
    found = transition_matrix(probabilities, given, np.ones(20_000), 3, pseudo_count=1e-6)
    # Predictions tell less than the truth: some 4000 rows' worth for each class.
    np.testing.assert_allclose(found, TRANSITION, atol=0.03)


@pytest.mark.parametrize("pseudo_count", [1e-6, 10, 1e4])
def test_rows_of_a_transition_sum_to_one(pseudo_count):
    probabilities, labels = random_probabilities()
    found = transition_matrix(probabilities, labels, np.ones(50), 3, pseudo_count=pseudo_count)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found >= 0).all()


def test_many_pseudo_counts_give_one_noise_rate():
    truth, given = noisy_labels()
    found = transition_matrix(np.eye(3)[truth], given, np.ones(6000), 3, pseudo_count=1e9)
    off = found[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off, off[0], rtol=1e-4)  # 2000 rows beside 1e9
    np.testing.assert_allclose(1 - found[0, 0], np.mean(truth != given), rtol=1e-4)


def test_the_scale_of_weights_does_not_change_the_transition():
    probabilities, labels = random_probabilities()
    weight = np.random.default_rng(2).uniform(0.1, 2, 50)
    found = transition_matrix(probabilities, labels, weight, 3, pseudo_count=10)
    other = transition_matrix(probabilities, labels, 1e3 * weight, 3, pseudo_count=10)
    np.testing.assert_allclose(other, found)


def test_rows_without_weight_do_not_change_the_transition():
    probabilities, labels = random_probabilities()
    weight = (np.arange(50) < 30).astype(float)
    found = transition_matrix(probabilities, labels, weight, 3, pseudo_count=10)
    part = transition_matrix(probabilities[:30], labels[:30], np.ones(30), 3, pseudo_count=10)
    np.testing.assert_allclose(found, part)


# Noise that depends on the row


def tilted_labels(n_rows=4000, seed=0):
    """Classes known for certain, labels whose noise goes where each row's tilt says."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n_rows)
    tilt = np.exp(random.normal(size=(n_rows, 3)))
    chances = TRANSITION[truth] * tilt
    chances /= chances.sum(1, keepdims=True)
    given = (chances.cumsum(1) > random.random((n_rows, 1))).argmax(1)
    return truth, given, tilt, chances


def test_tilted_likelihoods_are_chances_of_labels():
    truth, given, tilt, chances = tilted_labels()
    rows = np.arange(len(truth))
    found = label_likelihood(TRANSITION, given, tilt)
    np.testing.assert_allclose(found[rows, truth], chances[rows, given])
    every = sum(label_likelihood(TRANSITION, np.full(len(truth), g), tilt) for g in range(3))
    np.testing.assert_allclose(every, 1)


def test_a_tilt_that_is_the_same_for_all_labels_changes_nothing():
    probabilities, labels = random_probabilities()
    options = {"weight": np.ones(50), "n_classes": 3, "pseudo_count": 10}
    found = transition_matrix(probabilities, labels, tilt=np.full((50, 3), 0.7), **options)
    np.testing.assert_allclose(found, transition_matrix(probabilities, labels, **options))


def test_transition_under_a_known_tilt_is_near_the_true_one():
    truth, given, tilt, _ = tilted_labels(20_000)
    found = transition_matrix(
        np.eye(3)[truth], given, np.ones(20_000), 3, pseudo_count=1e-6, tilt=tilt, n_iter=200
    )
    np.testing.assert_allclose(found, TRANSITION, atol=0.03)  # three standard errors


@pytest.mark.parametrize("depends", [True, False])
def test_noise_depends_on_the_row_if_that_makes_labels_likelier(depends):
    truth, given, tilt, _ = tilted_labels()
    if not depends:
        _, given = noisy_labels(4000)
    # The noise model takes the root of the chances.
    noise = fit_noise_model(
        np.eye(3)[truth], given, np.ones(4000), log_given=2 * np.log(tilt), pseudo_count=10
    )
    assert (noise.tilt is not None) == depends


def test_other_labels_are_the_rest_of_the_posterior():
    posterior = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    found = other_labels(posterior, np.array([0, 0]))
    np.testing.assert_allclose(found, [[0, 0.6, 0.4], [0, 0.5, 0.5]], rtol=1e-9)


# Log odds


def test_posterior_odds_are_those_of_bayes_rule():
    probabilities, labels = random_probabilities()
    found = posterior_log_odds(probabilities, labels, TRANSITION)
    for i, given in enumerate(labels):
        joint = [probabilities[i, true] * TRANSITION[true, given] for true in range(3)]
        posterior = joint[given] / sum(joint)
        # 1e-12 is added to both sides of the odds.
        np.testing.assert_allclose(found[i], np.log(posterior / (1 - posterior)), rtol=1e-6)


def test_symmetric_noise_of_chance_says_what_predictions_say():
    """A given label that is independent of the true one adds nothing to the predictions."""
    probabilities, labels = random_probabilities()
    found = posterior_log_odds(probabilities, labels, np.full((3, 3), 1 / 3))
    np.testing.assert_allclose(found, plain_log_odds(probabilities, labels))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_odds_of_certain_predictions_are_bounded(probability):
    probabilities = np.array([[probability, 1 - probability]])
    transition = np.array([[0.8, 0.2], [0.2, 0.8]])
    sign = 1 if probability else -1
    assert posterior_log_odds(probabilities, np.array([0]), transition)[0] == sign * MAX_LOG_ODDS
    plain = plain_log_odds(probabilities, np.array([0]))[0]
    np.testing.assert_allclose(plain, sign * np.log(1e6), rtol=1e-6)


def test_plain_odds_are_those_of_the_given_label():
    probabilities, labels = random_probabilities()
    given = probabilities[np.arange(50), labels]
    found = plain_log_odds(probabilities, labels)
    np.testing.assert_allclose(found, np.log(given / (1 - given)))


# Calibration


def held_out_scores(seed=0, n_rows=200, factor=0.5):
    """Scores that are too sharp by ``1 / factor``, and labels."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n_rows, 3)) * 3
    labels = (factor * scores + random.gumbel(size=scores.shape)).argmax(1)
    return scores, labels


def test_calibration_finds_the_best_factor_of_a_grid():
    scores, labels = held_out_scores()
    factors, loss = calibrate(scores[None], labels, np.ones(200), start=np.ones(1), pull=0.0)
    grid = np.linspace(0.01, 3, 300)
    losses = [-log_softmax(g * scores)[np.arange(200), labels].mean() for g in grid]
    np.testing.assert_allclose(factors[0], grid[np.argmin(losses)], atol=0.01)  # a grid step
    np.testing.assert_allclose(loss, min(losses), rtol=1e-4)


def test_calibration_pools_two_models_as_a_grid_does():
    scores, labels = held_out_scores()
    other = np.roll(scores, 1, axis=0)
    both = np.stack([scores, other])
    factors, loss = calibrate(both, labels, np.ones(200), start=np.ones(2), pull=0.0)
    grid = np.linspace(0, 1, 51)
    losses = np.array(
        [
            [-log_softmax(g * scores + h * other)[np.arange(200), labels].mean() for h in grid]
            for g in grid
        ]
    )
    best = np.unravel_index(losses.argmin(), losses.shape)
    np.testing.assert_allclose(factors, grid[list(best)], atol=0.02)  # a grid step
    assert loss <= losses.min() + 1e-9


def test_calibration_pulls_towards_the_start():
    scores, labels = held_out_scores()

    def factor(pull):
        found, _ = calibrate(scores[None], labels, np.ones(200), start=np.ones(1), pull=pull)
        return found[0]

    assert factor(0.0) < factor(10.0) < factor(1e3) < 1
    np.testing.assert_allclose(factor(1e9), 1, rtol=1e-6)


def test_factors_of_useless_models_are_not_negative():
    scores, labels = held_out_scores()
    factors, _ = calibrate(-scores[None], labels, np.ones(200), start=np.ones(1), pull=0.0)
    assert factors[0] == 0


def test_the_calibrated_loss_does_not_contain_the_pull():
    scores, labels = held_out_scores()
    factors, loss = calibrate(scores[None], labels, np.ones(200), start=np.ones(1), pull=50.0)
    expected = -log_softmax(factors[0] * scores)[np.arange(200), labels].mean()
    np.testing.assert_allclose(loss, expected)


def test_rows_without_weight_do_not_calibrate():
    scores, labels = held_out_scores()
    weight = (np.arange(200) % 2).astype(float)
    found, _ = calibrate(scores[None], labels, weight, start=np.ones(1), pull=1.0)
    odd = slice(1, None, 2)
    part, _ = calibrate(scores[None, odd], labels[odd], np.ones(100), start=np.ones(1), pull=1.0)
    np.testing.assert_allclose(found, part, rtol=1e-6)
