"""Label quality: mixing weights, noise transition matrices, Bayes' rule."""

import numpy as np
import pytest

from skbamm.cleaning.label_quality._scores import (
    MAX_LOG_ODDS,
    NoiseModel,
    fit_noise_model,
    label_likelihood,
    log_odds,
    log_softmax,
    mixing_weights,
    noise_transition_matrix,
    other_labels,
    plain_log_odds,
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


# Noise transition matrices


def test_transition_of_perfect_predictions_is_the_true_one():
    truth, given = noisy_labels()
    found = noise_transition_matrix(np.eye(3)[truth], given, np.ones(6000), 3, pseudo_count=1e-6)
    counts = np.array([[np.mean(given[truth == c] == g) for g in range(3)] for c in range(3)])
    np.testing.assert_allclose(found, counts, atol=1e-6)  # the pseudo counts
    # 2000 rows of each class: three standard errors of a share.
    np.testing.assert_allclose(found, TRANSITION, atol=3 * 0.5 / np.sqrt(2000))


def test_transition_of_calibrated_predictions_is_near_the_true_one():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(0.3 * np.ones(3), 20_000)
    truth = (probabilities.cumsum(1) > random.random((20_000, 1))).argmax(1)
    given = (TRANSITION[truth].cumsum(1) > random.random((20_000, 1))).argmax(1)
    found = noise_transition_matrix(probabilities, given, np.ones(20_000), 3, pseudo_count=1e-6)
    # Predictions tell less than the truth: some 4000 rows' worth for each class.
    np.testing.assert_allclose(found, TRANSITION, atol=0.03)


@pytest.mark.parametrize("pseudo_count", [1e-6, 10, 1e4])
def test_rows_of_a_transition_sum_to_one(pseudo_count):
    probabilities, labels = random_probabilities()
    found = noise_transition_matrix(
        probabilities, labels, np.ones(50), 3, pseudo_count=pseudo_count
    )
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found >= 0).all()


def test_many_pseudo_counts_give_one_noise_rate():
    truth, given = noisy_labels()
    found = noise_transition_matrix(np.eye(3)[truth], given, np.ones(6000), 3, pseudo_count=1e9)
    off = found[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(off, off[0], rtol=1e-4)  # 2000 rows relative to 1e9
    np.testing.assert_allclose(1 - found[0, 0], np.mean(truth != given), rtol=1e-4)


def test_the_scale_of_weights_does_not_change_the_transition():
    probabilities, labels = random_probabilities()
    weight = np.random.default_rng(2).uniform(0.1, 2, 50)
    found = noise_transition_matrix(probabilities, labels, weight, 3, pseudo_count=10)
    other = noise_transition_matrix(probabilities, labels, 1e3 * weight, 3, pseudo_count=10)
    np.testing.assert_allclose(other, found)


def test_rows_without_weight_do_not_change_the_transition():
    probabilities, labels = random_probabilities()
    weight = (np.arange(50) < 30).astype(float)
    found = noise_transition_matrix(probabilities, labels, weight, 3, pseudo_count=10)
    part = noise_transition_matrix(probabilities[:30], labels[:30], np.ones(30), 3, pseudo_count=10)
    np.testing.assert_allclose(found, part)


# Noise that depends on the row


def tilted_labels(n_rows=4000, seed=0):
    """Classes known for certain, labels whose noise goes where each row's tilt says."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n_rows)
    tilt = np.exp(random.normal(size=(n_rows, 3)))
    probability = TRANSITION[truth] * tilt
    probability /= probability.sum(1, keepdims=True)
    given = (probability.cumsum(1) > random.random((n_rows, 1))).argmax(1)
    return truth, given, tilt, probability


def test_tilted_likelihoods_are_probability_of_labels():
    truth, given, tilt, probability = tilted_labels()
    rows = np.arange(len(truth))
    found = label_likelihood(TRANSITION, given, tilt)
    np.testing.assert_allclose(found[rows, truth], probability[rows, given])
    every = sum(label_likelihood(TRANSITION, np.full(len(truth), g), tilt) for g in range(3))
    np.testing.assert_allclose(every, 1)


def test_a_tilt_that_is_the_same_for_all_labels_changes_nothing():
    probabilities, labels = random_probabilities()
    options = {"weight": np.ones(50), "n_classes": 3, "pseudo_count": 10}
    found = noise_transition_matrix(probabilities, labels, tilt=np.full((50, 3), 0.7), **options)
    np.testing.assert_allclose(found, noise_transition_matrix(probabilities, labels, **options))


def test_transition_under_a_known_tilt_is_near_the_true_one():
    truth, given, tilt, _ = tilted_labels(20_000)
    found = noise_transition_matrix(
        np.eye(3)[truth], given, np.ones(20_000), 3, pseudo_count=1e-6, tilt=tilt, n_iter=200
    )
    np.testing.assert_allclose(found, TRANSITION, atol=0.03)  # three standard errors


@pytest.mark.parametrize("depends", [True, False])
def test_noise_depends_on_the_row_if_that_makes_labels_likelier(depends):
    truth, given, tilt, _ = tilted_labels()
    if not depends:
        _, given = noisy_labels(4000)
    # The noise model takes the root of the probability.
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


# Mixing weights


def held_out_scores(seed=0, n_rows=200, factor=0.5):
    """Scores that are too large by ``1 / factor``, and labels."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(n_rows, 3)) * 3
    labels = (factor * scores + random.gumbel(size=scores.shape)).argmax(1)
    return scores, labels


def single(scores, labels, precision=0.0, weight=None):
    """The factor of one model, and its loss."""
    weight = np.ones(len(labels)) if weight is None else weight
    factors, loss = mixing_weights(
        scores[None], labels, weight, initial=np.ones(1), precision=precision
    )
    return factors[0], loss


def test_the_factor_is_the_best_of_a_grid():
    scores, labels = held_out_scores()
    factor, loss = single(scores, labels)
    grid = np.linspace(0.01, 3, 300)
    losses = [-log_softmax(g * scores)[np.arange(200), labels].mean() for g in grid]
    np.testing.assert_allclose(factor, grid[np.argmin(losses)], atol=0.01)  # a grid step
    np.testing.assert_allclose(loss, min(losses), rtol=1e-4)


def test_two_models_are_stacked_as_a_grid_stacks_them():
    scores, labels = held_out_scores()
    other = np.roll(scores, 1, axis=0)
    both = np.stack([scores, other])
    factors, loss = mixing_weights(both, labels, np.ones(200), initial=np.ones(2), precision=0.0)
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


def test_a_prior_keeps_factors_near_the_initial_ones():
    scores, labels = held_out_scores()

    factors = [single(scores, labels, precision)[0] for precision in (0.0, 10.0, 1e3, 1e9)]
    assert factors[0] < factors[1] < factors[2] < 1
    np.testing.assert_allclose(factors[3], 1, rtol=1e-6)


def test_factors_of_useless_models_are_not_negative():
    scores, labels = held_out_scores()
    assert single(-scores, labels)[0] == 0


def test_the_loss_does_not_contain_the_prior():
    scores, labels = held_out_scores()
    factor, loss = single(scores, labels, 50.0)
    expected = -log_softmax(factor * scores)[np.arange(200), labels].mean()
    np.testing.assert_allclose(loss, expected)


def test_rows_without_weight_do_not_change_mixing_weights():
    scores, labels = held_out_scores()
    weight = (np.arange(200) % 2).astype(float)
    found, _ = single(scores, labels, 1.0, weight)
    alone, _ = single(scores[1::2], labels[1::2], 1.0)
    np.testing.assert_allclose(found, alone, rtol=1e-6)
