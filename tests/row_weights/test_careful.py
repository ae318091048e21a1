"""Annotators of three and more classes: who looks at the items."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skbamm.row_weights._annotator import learn_annotator
from skbamm.row_weights._careful import careful_labels, labels_of_others, log_ratios
from skbamm.row_weights._record import Rows, equal_rows

K = 3


def balanced(n_items=120, n_each=4, n_random=8, kind="uniform", told=1.0, seed=0):
    """Classes as frequent as each other; the first of 20 annotators answer at random."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_items, 3))
    score = told * X + 0.3 * generator.gumbel(size=(n_items, K))
    item = np.repeat(np.arange(n_items), n_each)
    annotator = np.concatenate([generator.permutation(20)[:n_each] for _ in range(n_items)])
    labels = np.where(generator.random(len(item)) < 0.9, score.argmax(1)[item], 0)
    is_random = annotator < n_random
    drawn = generator.integers(0, K, len(item))
    labels[is_random] = (drawn if kind == "uniform" else generator.permutation(labels))[is_random]
    return X[item], labels, annotator, is_random


def learn(X, labels, annotator, weight=None):
    weight = np.ones(len(X)) if weight is None else weight
    item = equal_rows(X, np.ones(len(X), bool))
    return learn_annotator(Rows(X, np.eye(K)[labels], weight, labels), labels, annotator, item)


@pytest.mark.parametrize(
    "options", [{"told": 0.0}, {"kind": "shuffled"}, {"n_items": 600, "n_each": 1}]
)
def test_annotators_at_random_are_found_by_other_labels_or_by_columns(options):
    X, labels, annotator, is_random = balanced(**options)
    part = learn(X, labels, annotator)
    assert part.found and roc_auc_score(is_random, -part.weight) > 0.95
    assert part.weight[is_random].mean() < 0.5 * part.weight[~is_random].mean()


@pytest.mark.parametrize("options", [{}, {"told": 0.0}, {"n_items": 400, "n_each": 1}])
def test_careful_annotators_of_balanced_classes_count_alike(options):
    X, labels, annotator, _ = balanced(n_random=0, **options)
    assert not learn(X, labels, annotator).found


def test_the_order_of_classes_does_not_matter():
    X, labels, annotator, _ = balanced()
    part, other = (learn(X, one, annotator) for one in (labels, (labels + 1) % K))
    np.testing.assert_allclose(other.weight, part.weight, atol=0.01)


def test_labels_of_others_leave_out_all_of_the_same_annotator():
    generator = np.random.default_rng(0)
    labels, annotator, item = (generator.integers(0, n, 40) for n in (K, 4, 6))
    weight = generator.random(40)
    found = labels_of_others(labels, K, weight, annotator, item)
    for row, one in enumerate(found):
        others = (item == item[row]) & (annotator != annotator[row])
        expected = np.bincount(labels[others], weight[others], K)
        np.testing.assert_allclose(one, expected, atol=1e-12)


def test_one_label_for_all_items_is_as_likely_of_a_careful_annotator():
    X, labels, annotator, _ = balanced(n_random=0)
    labels = np.where(annotator == 0, 1, labels)
    weight, item = np.ones(len(labels)), equal_rows(X, np.ones(len(X), bool))
    others = labels_of_others(labels, K, weight, annotator, item)
    careful = careful_labels(labels, np.full((len(X), K), 1 / K), others, weight)
    np.testing.assert_allclose(careful.sum(axis=1), 1)
    ratios = log_ratios(labels, careful, weight, annotator)
    assert ratios.max(axis=0)[1:].min() > 5
    np.testing.assert_allclose(ratios[:, 0], 0, atol=1e-9)
