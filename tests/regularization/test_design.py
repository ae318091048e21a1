"""Columns that need care: constant ones, far from zero, in extreme units."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor

GROUPS = [0, 0, 1, 1, 1]
OPTIONS = {
    "adaptive": {},
    "l2": {"penalty": "l2", "groups": GROUPS},
    "l1": {"penalty": "l1"},
    "exact_zeros": {"exact_zeros": True},
    "groups": {"groups": GROUPS},
    "descriptions": {"alpha_features": [0.1, 2.0, 0.3, 0.2, 0.5], "shrinkage": 0.1},
    "unpenalized": {"alpha": {0: 0, 1: "learn"}, "groups": GROUPS},
    "huber": {"loss": "huber"},
    "positive": {"positive": True},
}
every_option = pytest.mark.parametrize("option", OPTIONS)


def make_rows(n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5)) * [1, 2, 0.5, 3, 1] + [0, 1, -2, 5, 0]
    cv = [(np.flatnonzero(np.arange(n) % 3 != k), np.arange(k, n, 3)) for k in range(3)]
    return X, X @ [1, 0.5, 0, 0, 0.3] + rng.normal(size=n), cv


def with_more(options, n_more):
    """Options for tables with further columns, in the groups there are."""
    options = dict(options)
    if "groups" in options:
        options["groups"] = GROUPS + [1, 0] * (n_more // 2)
    if "alpha_features" in options:
        options["alpha_features"] = options["alpha_features"] + [7.0, -3.0] * (n_more // 2)
    return options


@every_option
@pytest.mark.parametrize(("n", "n_more"), [(60, 4), (12, 30)])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_constant_columns_change_nothing(option, n, n_more, convert):
    X, y, cv = make_rows(n)
    weight = np.arange(n) % 4 != 3  # rows without weight may vary
    constant = np.tile([1.0, 0.0, 0.1, 1e6], n_more // 4 + 1)[:n_more] * np.ones((n, 1))
    constant[3::4] = 7.0
    tables = X, np.hstack([X, constant])
    plain, model = (
        BilevelRegularizedRegressor(**with_more(OPTIONS[option], extra), cv=cv).fit(
            convert(table), y, sample_weight=weight.astype(float)
        )
        for table, extra in zip(tables, (0, n_more), strict=True)
    )
    np.testing.assert_array_equal(model.coef_[5:], 0)
    np.testing.assert_allclose(model.coef_[:5], plain.coef_, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(model.intercept_, plain.intercept_, rtol=1e-8)
    np.testing.assert_allclose(model.alpha_[:5], plain.alpha_, rtol=1e-7)
    assert model.group_alpha_ == pytest.approx(plain.group_alpha_, rel=1e-7)


def test_constant_columns_do_not_make_a_table_large():
    X, y, cv = make_rows()
    more = np.hstack([X, np.ones((60, 300))])
    rows = np.tile(np.arange(60), 6)
    folds = np.arange(360) % 3
    cv = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    plain, model = (
        BilevelRegularizedRegressor(cv=cv).fit(table[rows], y[rows]) for table in (X, more)
    )
    np.testing.assert_allclose(model.coef_[:5], plain.coef_, rtol=1e-8)


def test_without_an_intercept_a_constant_column_takes_its_place():
    X, y, _ = make_rows()
    more = np.column_stack([X, np.ones(60), np.zeros(60)])
    model = BilevelRegularizedRegressor(alpha=0, fit_intercept=False).fit(more, y)
    expected = np.linalg.lstsq(more[:, :6], y)[0]
    np.testing.assert_allclose(model.coef_[:6], expected, rtol=1e-8)
    assert model.coef_[6] == 0


@pytest.mark.parametrize("option", ["adaptive", "l1", "huber", "exact_zeros"])
@pytest.mark.parametrize("n", [60, 4])
def test_sparse_columns_may_be_far_from_zero(option, n):
    X, y, cv = make_rows(n)
    cv = cv if n > 5 else 2
    far = X + np.array([1e7, 0, 0, -3e8, 0])
    fits = (
        BilevelRegularizedRegressor(**OPTIONS[option], cv=cv).fit(table, y)
        for table in (X, sparse.csr_array(far))
    )
    plain, model = fits
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=0, atol=1e-5)


def test_sparse_validation_rows_may_have_zeros_where_training_rows_have_none():
    X, y, _ = make_rows(30)
    X_val, y_val, _ = make_rows(12)
    X_val[::3, :2] = 0
    # More columns than rows.
    wide, wide_val = (np.hstack([table, table[:, :4] ** 2] * 4) for table in (X, X_val))
    fits = []
    for convert in (np.asarray, sparse.csr_matrix):
        model = BilevelRegularizedRegressor("l2")
        model.fit(convert(wide + 5.0), y, X_val=convert(wide_val), y_val=y_val)
        fits.append(model.coef_)
    np.testing.assert_allclose(*fits, rtol=1e-6, atol=1e-9)
