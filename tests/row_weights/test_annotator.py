import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skbamm.row_weights import _annotator
from skbamm.row_weights._annotator import Pairs
from skbamm.row_weights._raters import LEVELS, rating_levels
from skbamm.row_weights._record import Rows, equal_rows
from tests.row_weights.made_rows import ratings


def learn_annotator(weight, y, annotator, X=None, labels=None):
    """Of ratings that have nothing to do with X, or with the one given."""
    X = np.random.default_rng(9).normal(size=(len(y), 2)) if X is None else X
    item = equal_rows(X, np.ones(len(y), bool))
    if labels is not None:
        y, labels = np.eye(int(y.max()) + 1)[y.astype(int)], y.astype(int)
    rows = Rows(X, y.reshape(len(y), -1), weight, labels)
    return _annotator.learn_annotator(rows, y if labels is None else labels, annotator, item)


@pytest.mark.parametrize("labels", [None, True])
@pytest.mark.parametrize("spam", [False, True])
def test_honest_labels_of_balanced_items_are_not_random(spam, labels):
    """They are as likely at each level as coins; X tells them apart."""
    generator = np.random.default_rng(0)
    X, annotator = generator.normal(size=(1600, 3)), np.arange(1600) % 40
    y = (X[:, 0] + 0.3 * generator.normal(size=1600) > 0).astype(float)
    if spam:
        y = np.where(annotator >= 20, generator.random(1600) < 0.8, y).astype(float)
    part = learn_annotator(np.ones(1600), y, annotator, X, labels)
    assert (
        not part.found or part.weight[annotator < 20].mean() > part.weight[annotator >= 20].mean()
    )


@pytest.mark.parametrize("labels", [None, True])
def test_annotators_who_answer_at_random_are_found(labels):
    X, y, annotator, is_random, _ = ratings()
    part = learn_annotator(np.ones(len(y)), y - 1, annotator, X, labels)
    assert part.found and roc_auc_score(is_random, -part.weight) > 0.85
    assert part.weight[is_random].mean() < 0.6 * part.weight[~is_random].mean()


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("kind", ["permuted", "drawn"])
def test_answers_that_have_nothing_to_do_with_the_items_are_found(kind, scale):
    """Their levels are as frequent as anyone's; they don't follow X or others' ratings."""
    generator = np.random.default_rng(0)
    X, y, annotator, is_random, _ = ratings(n_random=0)
    if scale:
        y = y + generator.normal(size=len(y)) / 3
    is_random = annotator >= 28
    y[is_random] = generator.permutation(y[is_random] if kind == "permuted" else y)[
        : is_random.sum()
    ]
    part = learn_annotator(np.ones(len(y)), y, annotator, X)
    assert part.found and roc_auc_score(is_random, -part.weight) > 0.9
    assert part.weight[is_random].mean() < 0.6 * part.weight[~is_random].mean()


@pytest.mark.parametrize("labels", [None, True])
def test_annotators_alike_count_alike(labels):
    parts = []
    for seed in range(2):
        X, y, annotator, _, _ = ratings(n_random=0, seed=seed)
        parts.append(learn_annotator(np.ones(len(y)), y - 1, annotator, X, labels))
    assert all(not part.found and "no sign" in part.sentence for part in parts)


def test_levels_of_annotators_are_found():
    X, y, annotator, _, _ = ratings(n_random=0)
    level = np.random.default_rng(1).normal(size=40)
    part = learn_annotator(np.ones(len(y)), y + level[annotator], annotator, X)
    assert np.corrcoef(part.level[:, 0], level[annotator])[0, 1] > 0.95
    np.testing.assert_allclose(part.level[:, 0].std(), level[annotator].std(), rtol=0.15)
    assert part.weight.min() > 0.5


def test_careful_annotators_count_more():
    generator = np.random.default_rng(0)
    X, y, annotator, _, _ = ratings(n_random=0)
    noise = np.where(annotator < 20, 0.1, 2.0)
    part = learn_annotator(np.ones(len(y)), y + noise * generator.normal(size=900), annotator, X)
    assert part.weight[annotator < 20].mean() > 1.5 * part.weight[annotator >= 20].mean()


def test_levels_are_the_best_predictions_of_crossed_intercepts():
    generator = np.random.default_rng(0)
    annotator, item = generator.integers(0, 6, 60), generator.integers(0, 15, 60)
    y = generator.normal(size=6)[annotator] + generator.normal(size=15)[item]
    y += 0.5 * generator.normal(size=60)
    pairs = Pairs.of(y, np.ones(60), annotator, item)
    level, _ = pairs.levels()
    own, items = pairs.variance(pairs.annotator), pairs.variance(pairs.item)
    noise = pairs.variance() - own - items
    Z = np.hstack([np.eye(6)[pairs.annotator], np.eye(15)[pairs.item]])
    penalty = np.repeat([noise / own, noise / items], [6, 15])
    square = Z.T @ (pairs.weight[:, None] * Z) + np.diag(penalty)
    direct = np.linalg.solve(square, Z.T @ (pairs.weight * pairs.residual))
    np.testing.assert_allclose(level, direct[:6], rtol=1e-6)


def test_names_of_annotators_and_the_scale_do_not_matter():
    X, y, annotator, _, _ = ratings()
    part = learn_annotator(np.ones(len(y)), y, annotator, X)
    other = learn_annotator(np.ones(len(y)), 10 * y + 3, (2 * annotator).astype(str), X)
    np.testing.assert_allclose(other.weight, part.weight, rtol=1e-3)
    assert (other.level is None) == (part.level is None)


@pytest.mark.parametrize("labels", [None, True])
def test_a_rating_of_weight_two_is_two_ratings(labels):
    X, y, annotator, _, _ = ratings()
    weight = 1.0 + (np.arange(len(y)) < 40)
    twice = np.repeat(np.arange(len(y)), weight.astype(int))
    part = learn_annotator(weight, y - 1, annotator, X, labels)
    other = learn_annotator(np.ones(len(twice)), y[twice] - 1, annotator[twice], X[twice], labels)
    np.testing.assert_allclose(part.weight[twice], other.weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("values", [np.array([1.0, 1, 2, 5]), np.arange(7.0)])
def test_few_ratings_are_levels(values):
    index, uniform = rating_levels(values, np.ones(len(values)))
    np.testing.assert_array_equal(np.unique(values)[index], values)
    np.testing.assert_allclose(uniform, 1 / len(np.unique(values)))


def test_many_ratings_are_bins_of_one_size():
    y = np.linspace(0, 1, 701) ** 3
    index, uniform = rating_levels(y, np.ones(len(y)))
    np.testing.assert_allclose(np.bincount(index), 701 / LEVELS, atol=1)
    edges = (np.arange(LEVELS + 1) / LEVELS) ** 3
    np.testing.assert_allclose(uniform, np.diff(edges), atol=0.01)


def test_uniform_answers_on_nine_levels_are_as_likely_at_each():
    y = np.repeat(np.arange(9.0), [400, 300, 200, 100, 50, 20, 10, 5, 5])
    index, uniform = rating_levels(y, np.ones(len(y)))
    n_values = [len(np.unique(y[index == k])) for k in range(len(uniform))]
    np.testing.assert_allclose(uniform, np.array(n_values) / 9)


def test_an_annotator_with_one_rating_has_a_weight():
    _, y, annotator, _, _ = ratings()
    annotator = np.append(annotator, 99)
    part = learn_annotator(np.ones(len(annotator)), np.append(y, 3.0), annotator)
    assert 0 < part.weight[-1] <= 1


@pytest.mark.parametrize(
    ("y", "annotator", "said"),
    [(np.arange(4.0), np.zeros(4), "one annotator"), (np.ones(4), np.arange(4), "one rating")],
)
def test_nothing_to_compare_leaves_ratings_alone(y, annotator, said):
    part = learn_annotator(np.ones(4), y, annotator)
    assert not part.found and said in part.sentence


def test_shuffled_labels_of_two_classes_are_found():
    X, y, annotator, _, _ = ratings(n_random=0)
    labels, is_random = (y > 3).astype(float), annotator >= 28
    labels[is_random] = np.random.default_rng(0).permutation(labels[is_random])
    part = learn_annotator(np.ones(len(y)), labels, annotator, X, labels)
    assert part.level is None and roc_auc_score(is_random, -part.weight) > 0.9
