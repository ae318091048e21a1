"""Which rows are held out when."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, LeaveOneOut, RepeatedKFold, ShuffleSplit, TimeSeriesSplit

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.data._folds import (
    Folds,
    make_folds,
    position_folds,
    stratified_position_folds,
)

X = np.zeros((12, 1))
y = np.arange(12.0)


@pytest.mark.parametrize("n_samples", [2, 7, 10, 103])
@pytest.mark.parametrize("n_folds", [2, 5])
def test_position_folds_are_balanced(n_samples, n_folds):
    sizes = np.bincount(position_folds(n_samples, n_folds, seed=0), minlength=n_folds)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("n_samples", [1, 13, 50])
def test_fold_of_a_row_does_not_depend_on_how_many_rows_follow(n_samples):
    few, many = position_folds(n_samples, 5, seed=3), position_folds(200, 5, seed=3)
    np.testing.assert_array_equal(few, many[:n_samples])


def test_seed_changes_position_folds():
    assert (position_folds(50, 5, seed=0) != position_folds(50, 5, seed=1)).any()


def test_position_folds_have_no_period():
    folds = position_folds(500, 5, seed=0).reshape(-1, 5)
    assert len(np.unique(folds, axis=0)) > 50


def test_stratified_folds_spread_every_class():
    labels = np.repeat([0, 1, 2], [20, 11, 6])
    folds = stratified_position_folds(labels, 5, seed=0)
    for label in range(3):
        sizes = np.bincount(folds[labels == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1


def test_stratified_folds_do_not_depend_on_names_of_classes():
    labels = np.array([1, 0, 2, 2, 0, 1] * 3)
    folds = stratified_position_folds(labels, 3, seed=0)
    for names in (np.array(["b", "c", "a"]), np.array([5, 9, 7])):
        np.testing.assert_array_equal(stratified_position_folds(names[labels], 3, seed=0), folds)


def test_int_cv_holds_every_row_out_once():
    folds = make_folds(5, X, y, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds.splits])), y)


def test_int_cv_trains_on_the_complement():
    for train, test in make_folds(5, X, y, seed=0).splits:
        np.testing.assert_array_equal(np.sort(np.append(train, test)), y)


def test_more_folds_than_rows_become_as_many_as_rows():
    assert len(make_folds(5, X[:3], y[:3], seed=0)) == 3


def test_more_folds_than_rows_are_told():
    rows = np.arange(12.0).reshape(6, 2)
    with pytest.warns(UserWarning, match="cv=9 asks for more folds than there are rows: 6 folds"):
        BilevelRegularizedRegressor(cv=9, max_iter=0).fit(rows, [0, 1, 0, 2, 1, 3])
    X = np.random.default_rng(0).normal(size=(30, 2))
    is_clean = np.arange(30) < 4
    with pytest.warns(UserWarning, match="more folds than there are verified rows: 4 folds"):
        HyperCleaningClassifier(max_iter=0).fit(X, X[:, 0] > 0, is_clean=is_clean)


@pytest.mark.parametrize("cv", [KFold(4), LeaveOneOut()])
def test_a_partition_is_recognised(cv):
    folds = make_folds(cv, X, y, seed=0)
    for k, (_, test) in enumerate(folds.splits):
        np.testing.assert_array_equal(np.flatnonzero(folds.label == k), test)


@pytest.mark.parametrize(
    "cv",
    [
        TimeSeriesSplit(3),
        ShuffleSplit(3, random_state=0),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
        [(np.arange(12), np.arange(12))],
        [(np.arange(6), np.arange(6, 12))],
        [(np.array([0, 0, 1, 2, 3, 4]), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))],
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_what_is_no_partition_gets_no_labels(cv):
    assert make_folds(cv, X, y, seed=0).label is None


def test_splits_are_kept_as_given():
    splits = [(np.array([3, 1, 1]), np.array([2, 0])), (np.array([0]), np.array([5]))]
    for (train, test), given in zip(make_folds(splits, X, y, seed=0).splits, splits, strict=True):
        np.testing.assert_array_equal(train, given[0])
        np.testing.assert_array_equal(test, given[1])


def test_boolean_splits_are_the_rows_that_they_mark():
    held_out = np.arange(12) % 3 == 0
    folds = make_folds([(~held_out, held_out), (held_out, ~held_out)], X, y, seed=0)
    np.testing.assert_array_equal(folds.splits[0][1], [0, 3, 6, 9])
    np.testing.assert_array_equal(folds.label, held_out == 0)


def test_negative_positions_count_from_the_end():
    folds = make_folds([(np.arange(11), [-1]), ([-1], np.arange(11))], X, y, seed=0)
    np.testing.assert_array_equal(folds.splits[0][1], [11])


def test_a_generator_of_splits_is_accepted():
    folds = make_folds((split for split in KFold(3).split(X)), X, y, seed=0)
    assert len(folds) == 3


def test_labels_name_the_held_out_rows():
    folds = Folds.from_labels(np.array([0, 1, 0]), 2)
    np.testing.assert_array_equal(folds.splits[0][1], [0, 2])


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "at least 2 folds: got cv=1"),
        ([], "at least one split: got none"),
        ([(np.arange(5), np.array([], dtype=int))], "one test row: got 5 and 0"),
        ([(np.array([], dtype=int), np.arange(5))], "one test row: got 0 and 5"),
        ([(np.zeros(12, dtype=bool), np.ones(12, dtype=bool))], "one test row: got 0 and 12"),
    ],
)
def test_unusable_cv_is_an_error_that_says_so(cv, message):
    with pytest.raises(ValueError, match=message):
        make_folds(cv, X, y, seed=0)
