"""What must not change what BilevelRegularizedClassifier learns."""

import numpy as np
import pytest

from tests.regularization.class_data import classifier, make_classes

PENALTIES = pytest.mark.parametrize("penalty", ["adaptive", "l2", "l1"])
CLASSES = pytest.mark.parametrize("n_classes", [2, 3])


def fit(data, penalty, X=None, y=None, **options):
    model = classifier(penalty, cv=data.splits, **options)
    return model.fit(data.X if X is None else X, data.y if y is None else y)


def assert_same(found, expected, rtol=1e-6):
    """Up to what runs leave in numbers that rounding moves."""
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@PENALTIES
@CLASSES
def test_a_weight_of_two_is_the_row_twice_and_none_its_absence(penalty, n_classes):
    data = make_classes(n_classes, n_samples=60)
    counts = np.random.default_rng(0).integers(0, 3, len(data.y))
    counts[:6] = 1
    rows = np.repeat(np.arange(len(data.y)), counts)
    splits = [tuple(np.flatnonzero(np.isin(rows, part)) for part in split) for split in data.splits]
    weighted = classifier(penalty, cv=data.splits).fit(data.X, data.y, counts)
    repeated = classifier(penalty, cv=splits).fit(data.X[rows], data.y[rows])
    assert_same(weighted.coef_, repeated.coef_)
    assert weighted.criterion_ == pytest.approx(repeated.criterion_, rel=1e-6)


@PENALTIES
def test_units_of_columns_make_no_difference(penalty):
    data = make_classes(3)
    units = np.geomspace(1e-3, 1e3, data.X.shape[1])
    scaled = fit(data, penalty, X=data.X * units + 5 * units)
    assert_same(scaled.coef_ * units, fit(data, penalty).coef_)


@PENALTIES
def test_the_order_of_columns_makes_no_difference(penalty):
    data = make_classes(3)
    order = np.random.default_rng(0).permutation(data.X.shape[1])
    assert_same(fit(data, penalty, X=data.X[:, order]).coef_, fit(data, penalty).coef_[:, order])


@PENALTIES
def test_names_of_classes_make_no_difference(penalty):
    data = make_classes(3)
    names = np.array(["b", "c", "a"])
    named, numbered = fit(data, penalty, y=names[data.y]), fit(data, penalty)
    assert named.classes_.tolist() == ["a", "b", "c"]
    assert_same(named.coef_, numbered.coef_[[2, 0, 1]], rtol=1e-5)
    np.testing.assert_array_equal(named.predict(data.X), names[numbered.predict(data.X)])


def test_swapping_two_classes_turns_signs():
    data = make_classes(2)
    assert_same(fit(data, "adaptive", y=1 - data.y).coef_, -fit(data, "adaptive").coef_)


def test_groups_under_other_names_are_the_same_groups():
    data = make_classes(2)
    options = {"shrinkage": 0.01, "max_iter": 20}
    found, other = (
        fit(data, "l2", groups=labels, **options)
        for labels in (["a", "a", "b", "b", "c", "c"], [3, 3, 1, 1, 2, 2])
    )
    assert_same(found.coef_, other.coef_)
    assert list(found.group_alpha_.values()) == pytest.approx(list(other.group_alpha_.values()))


def test_factors_of_penalties_multiply_strengths():
    data = make_classes(2)
    model = classifier("l2", alpha=0.1, penalty_factors=[1, 2, 4, 0, 1, 1]).fit(data.X, data.y)
    np.testing.assert_allclose(model.alpha_, 0.1 * np.array([1, 2, 4, 0, 1, 1]))


def test_a_constant_column_has_no_coefficient():
    data = make_classes(3)
    model = fit(data, "adaptive", X=np.column_stack([data.X, np.full(len(data.y), 7.0)]))
    assert (model.coef_[:, -1] == 0).all()
    assert_same(model.coef_[:, :-1], fit(data, "adaptive").coef_)
