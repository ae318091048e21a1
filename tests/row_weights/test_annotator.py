import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skbamm.row_weights import _annotator
from skbamm.row_weights._annotator import LEVELS, rating_levels
from skbamm.row_weights._record import Rows
from tests.row_weights.made_rows import ratings


def learn_annotator(weight, y, annotator, X=None):
    """Of ratings that have nothing to do with X, or with the one given."""
    X = np.random.default_rng(9).normal(size=(len(y), 2)) if X is None else X
    return _annotator.learn_annotator(Rows(X, y[:, None], weight), y, annotator)


@pytest.mark.parametrize("spam", [False, True])
def test_honest_labels_of_balanced_items_are_not_random(spam):
    """They are as likely at each level as coins; X tells them apart."""
    generator = np.random.default_rng(0)
    X, annotator = generator.normal(size=(1600, 3)), np.arange(1600) % 40
    y = (X[:, 0] + 0.3 * generator.normal(size=1600) > 0).astype(float)
    if spam:
        y = np.where(annotator >= 20, generator.random(1600) < 0.8, y).astype(float)
    part = learn_annotator(np.ones(1600), y, annotator, X)
    assert (
        not part.found or part.weight[annotator < 20].mean() > part.weight[annotator >= 20].mean()
    )


def test_annotators_who_answer_at_random_are_found():
    _, y, annotator, is_random, _ = ratings()
    part = learn_annotator(np.ones(len(y)), y, annotator)
    assert part.found and roc_auc_score(is_random, -part.weight) > 0.85
    assert part.weight[is_random].mean() < 0.6 * part.weight[~is_random].mean()


def test_annotators_alike_count_alike():
    for seed in range(4):
        _, y, annotator, _, _ = ratings(n_random=0, seed=seed)
        part = learn_annotator(np.ones(len(y)), y, annotator)
        assert not part.found and "no sign" in part.sentence


def test_names_of_annotators_order_of_ratings_and_the_scale_do_not_matter():
    _, y, annotator, _, _ = ratings()
    part = learn_annotator(np.ones(len(y)), y, annotator)
    order = np.random.default_rng(0).permutation(len(y))
    other = learn_annotator(np.ones(len(y)), 10 * y[order] + 3, 2 * annotator[order])
    np.testing.assert_allclose(other.weight, part.weight[order], rtol=1e-4)


def test_a_rating_of_weight_two_is_two_ratings():
    _, y, annotator, _, _ = ratings()
    weight = 1.0 + (np.arange(len(y)) < 40)
    twice = np.repeat(np.arange(len(y)), weight.astype(int))
    part = learn_annotator(weight, y, annotator)
    other = learn_annotator(np.ones(len(twice)), y[twice], annotator[twice])
    np.testing.assert_allclose(part.weight[twice], other.weight)


@pytest.mark.parametrize("values", [np.array([1.0, 1, 2, 5]), np.arange(7.0)])
def test_few_ratings_are_levels(values):
    index, n_levels = rating_levels(values)
    assert n_levels == len(np.unique(values))
    np.testing.assert_array_equal(np.unique(values)[index], values)


def test_many_ratings_are_bins_of_one_width():
    index, n_levels = rating_levels(np.linspace(0, 1, 701))
    assert n_levels == LEVELS
    np.testing.assert_allclose(np.bincount(index), 100, atol=1)


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
