"""Factors of the sample weights by class."""

from decimal import Decimal

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils import compute_class_weight

from skbamm import HyperCleaningClassifier
from skbamm.data._labels import class_factors
from tests.cleaning.label_data import make_labels

CLASSES, MASS = np.arange(3), np.array([2.0, 3.0, 5.0])


@pytest.fixture(scope="module")
def data():
    return make_labels(120, noise=0.0)


def fit(data, class_weight, y=None, **arguments):
    model = HyperCleaningClassifier(class_weight=class_weight, max_iter=0, cv=3)
    return model.fit(data.X, data.y if y is None else y, **arguments)


@pytest.mark.parametrize("class_weight", ["balanced", None, {}, {0: 2.0}, {0: 0, 1: 1, 2: 0.5}])
def test_factors_are_those_of_scikit_learn(class_weight):
    y, weight = np.array([0, 1, 1, 2, 2, 2]), np.array([1.0, 0.5, 3.0, 1.0, 2.0, 0.1])
    expected = compute_class_weight(class_weight, classes=CLASSES, y=y, sample_weight=weight)
    found = class_factors(class_weight, CLASSES, np.bincount(y, weight))
    np.testing.assert_array_equal(found, expected)


def test_balanced_leaves_a_class_without_weight_as_it_is():
    found = class_factors("balanced", np.arange(4), np.array([2.0, 0.0, 3.0, 5.0]))
    others = class_factors("balanced", CLASSES, MASS)
    assert np.isfinite(found).all()
    # One factor of all weights changes no mean.
    np.testing.assert_allclose(found[[0, 2, 3]] / found[0], others / others[0])


@pytest.mark.parametrize("labels", [["0", "1", "2"], [0.0, 1.0, 2.0], [-3, 0, 7], ["c", "b", "a"]])
@pytest.mark.parametrize("dtype", [None, object])
def test_classes_are_found_by_their_names(labels, dtype):
    classes = np.unique(labels).astype(dtype or np.asarray(labels).dtype)
    names = classes.tolist()
    found = class_factors({names[2]: 3.0, names[0]: 0.5}, classes, MASS)
    np.testing.assert_array_equal(found, [0.5, 1.0, 3.0])


def test_classes_that_a_fold_lacks_may_be_named():
    weights = {0: 1.0, 1: 2.0, 2: 3.0, 9: 4.0}
    np.testing.assert_array_equal(class_factors(weights, CLASSES, MASS), [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "class_weight",
    [
        *({0: bad, 1: 1.0, 2: 1.0} for bad in (-1.0, np.nan, np.inf, -np.inf, 1j)),
        *({0: 1.0, 1: bad, 2: 1.0} for bad in ("1", None, [1.0], Decimal(1))),
        {5: 1.0},
        {"0": 1.0, "1": 1.0, "2": 1.0},
        {0: 1.0, 1: 1.0, "2": 1.0},
        {0: 0.0, 1: 0.0, 2: 0.0},
        {0: 0.0, 1: 0.0, 2: 1.0},
        {0: 1e308, 1: 1e308, 2: 1e308},
        {0: 1e-300, 1: 1e-300, 2: 1e-300},
        [1.0, 1.0, 1.0],
        "balance",
        2.0,
    ],
)
def test_what_is_no_weight_of_classes_is_named(data, class_weight):
    with pytest.raises(ValueError, match="class_weight"):
        fit(data, class_weight)


@pytest.mark.parametrize("bad", [{0: 0.0, 1: 1.0}, {0: -1.0, 1: 1.0}, {0: np.nan, 1: 1.0}])
def test_of_two_classes_both_need_a_weight(data, bad):
    for y in (data.y > 0, 1 * (data.y > 0)):
        with pytest.raises(ValueError, match="class_weight must"):
            fit(data, bad, y, is_clean=data.is_clean)


@pytest.mark.parametrize("absent", [0, 1, 2])
@pytest.mark.parametrize("verified", ["mask", "none", "apart"])
@pytest.mark.parametrize("class_weight", ["balanced", None])
def test_a_class_of_weight_zero_is_as_good_as_left_out(absent, verified, class_weight):
    data = make_labels(300, n_features=3, noise=0.0, seed=1)
    weight = 1.0 * (data.y != absent)
    model = HyperCleaningClassifier(class_weight=class_weight, max_iter=2, tol=10, cv=3)
    clean = data.is_clean
    if verified == "apart":
        rows, apart = (
            (data.X[~clean], data.y[~clean], weight[~clean]),
            (data.X[clean], data.y[clean]),
        )
        names = ("X_val", "y_val", "sample_weight_val")
        model.fit(*rows, **dict(zip(names, (*apart, weight[clean]), strict=True)))
    else:
        model.fit(data.X, data.y, weight, is_clean=clean if verified == "mask" else None)
    kept = weight > 0
    plain = LogisticRegression(class_weight=class_weight).fit(data.X[kept], data.y[kept])
    found = model.predict_proba(data.X)
    assert model.classes_.tolist() == [0, 1, 2] and np.isfinite(model.coef_).all()
    assert found[:, absent].max() < 0.05
    assert np.mean(model.predict(data.X) == plain.predict(data.X)) > 0.9


def test_a_class_weight_of_zero_is_a_sample_weight_of_zero(data):
    found = fit(data, {0: 0.0, 1: 1.0, 2: 1.0}, is_clean=data.is_clean)
    expected = fit(data, None, sample_weight=1.0 * (data.y != 0), is_clean=data.is_clean)
    np.testing.assert_array_equal(found.coef_, expected.coef_)
