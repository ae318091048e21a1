"""BilevelRegularizedClassifier against answers that are known by other means."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from skbamm.export import to_sklearn
from tests.regularization.class_data import classifier, make_classes

ALPHA = 0.03


def logistic(data, weight=None, **options):
    """scikit-learn's on standardized columns, and its coefficients in raw units."""
    scaler = StandardScaler().fit(data.X, sample_weight=weight)
    total = len(data.y) if weight is None else weight.sum()
    model = LogisticRegression(C=1 / (ALPHA * total), tol=1e-10, max_iter=10_000, **options)
    model.fit(scaler.transform(data.X), data.y, sample_weight=weight)
    coef = model.coef_ / scaler.scale_
    return coef, model.intercept_ - coef @ scaler.mean_


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_a_fixed_strength_is_logistic_regression(n_classes, is_weighted):
    data = make_classes(n_classes)
    weight = data.weight if is_weighted else None
    model = classifier("l2", alpha=ALPHA).fit(data.X, data.y, weight)
    coef, intercept = logistic(data, weight, solver="newton-cg")
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fixed_lasso_is_logistic_regression(n_classes):
    data = make_classes(n_classes)
    model = classifier("l1", alpha=ALPHA).fit(data.X, data.y)
    coef, intercept = logistic(data, solver="saga", l1_ratio=1.0, random_state=0)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-4, atol=1e-5)
    found = model.intercept_ - model.intercept_.mean()  # which says nothing of several classes
    if n_classes > 2:
        intercept = intercept - intercept.mean()
        np.testing.assert_allclose(found, intercept, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(model.coef_ == 0, coef == 0)


def test_class_weights_are_those_of_logistic_regression():
    data = make_classes(3)
    y = np.where(data.y == 2, 1, data.y)  # one class twice as frequent
    options = {"class_weight": "balanced"}
    model = classifier("l2", alpha=ALPHA, standardize=False, **options).fit(data.X, y)
    other = LogisticRegression(C=1 / (ALPHA * len(y)), tol=1e-10, max_iter=1000, **options)
    np.testing.assert_allclose(model.coef_, other.fit(data.X, y).coef_, rtol=1e-6)


def test_without_penalty_it_is_logistic_regression_without():
    data = make_classes(2, n_samples=300)
    model = classifier(alpha=0).fit(data.X, data.y)
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    np.testing.assert_allclose(model.coef_, other.fit(data.X, data.y).coef_, rtol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_criterion_is_the_held_out_log_loss(n_classes):
    data = make_classes(n_classes)
    model = classifier("l2", alpha=ALPHA, cv=data.splits, standardize=False)
    model.fit(data.X, data.y, data.weight)
    losses = 0.0
    for train, test in data.splits:
        weight = data.weight[train]
        other = LogisticRegression(C=1 / (ALPHA * weight.sum()), tol=1e-10, max_iter=1000)
        other.fit(data.X[train], data.y[train], sample_weight=weight)
        probabilities = other.predict_proba(data.X[test])
        options = {"sample_weight": data.weight[test], "normalize": False}
        losses += log_loss(data.y[test], probabilities, labels=model.classes_, **options)
    assert model.criterion_ == pytest.approx(losses / data.weight.sum(), rel=1e-3)


def test_validation_rows_take_the_place_of_folds():
    data, other = make_classes(2), make_classes(2, n_samples=60, seed=1)
    held_out = {"X_val": other.X, "y_val": other.y}
    model = classifier("l2", alpha=ALPHA).fit(data.X, data.y, **held_out)
    expected = log_loss(other.y, model.predict_proba(other.X))
    assert model.criterion_ == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(model.coef_, logistic(data)[0], rtol=1e-5, atol=1e-6)


def test_an_adaptive_penalty_is_ridge_of_scaled_columns():
    data = make_classes(2)
    model = classifier(standard_errors=0).fit(data.X, data.y)
    scaler = StandardScaler(with_std=False).fit(data.X)
    scale = data.X.std(axis=0) * np.sqrt(model.alpha_ * len(data.y))
    other = LogisticRegression(C=1.0, tol=1e-12, max_iter=1000)
    other.fit(scaler.transform(data.X) / scale, data.y)
    assert np.ptp(np.log(model.alpha_)) > 0
    np.testing.assert_allclose(model.coef_, other.coef_ / scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("penalty", ["adaptive", "l1"])
def test_sparse_rows_give_what_dense_ones_do(penalty):
    data = make_classes(3)
    X = np.where(data.X > 0, data.X, 0.0)
    dense, stored = (
        classifier(penalty, max_iter=5, tol=1e-8).set_params(tol=10.0).fit(table, data.y)
        for table in (X, sparse.csr_matrix(X))
    )
    np.testing.assert_allclose(stored.coef_, dense.coef_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stored.criterion_, dense.criterion_, rtol=1e-4)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_plain_twin_predicts_the_same(n_classes):
    data = make_classes(n_classes)
    model = classifier().fit(data.X, data.y)
    twin = to_sklearn(model)
    assert type(twin) is LogisticRegression
    np.testing.assert_allclose(twin.predict_proba(data.X), model.predict_proba(data.X), rtol=1e-12)
    np.testing.assert_array_equal(twin.predict(data.X), model.predict(data.X))
