"""Values up to the limits of floating-point numbers: the same fit, or a message that names them."""

import numpy as np
import pytest
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.regularization._search import PenaltySearch

OPTIONS = {
    "adaptive": {},
    "l2 groups": {"penalty": "l2", "groups": [0, 0, 1, 1], "shrinkage": 0.1},
    "l1": {"penalty": "l1"},
    "exact_zeros": {"exact_zeros": True},
    "huber": {"loss": "huber"},
    "positive": {"positive": True},
    "no intercept": {"fit_intercept": False},
}


def make_rows(n=40):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    return X, X @ [1, 0.5, 0, 0] + rng.normal(size=n), rng.uniform(0.2, 2, n)


def fitted(X, y, weight=None, **options):
    return BilevelRegularizedRegressor(n_repeats=1, **options).fit(X, y, sample_weight=weight)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("unit", [1e-300, 1e155, 1e307])
def test_units_do_not_matter_however_large_or_small(option, unit):
    X, y, weight = make_rows()
    plain = fitted(X, y, weight, **OPTIONS[option])
    huge_y = fitted(X, y * unit, weight, **OPTIONS[option])
    np.testing.assert_allclose(huge_y.coef_ / unit, plain.coef_, rtol=1e-9, atol=1e-12)
    assert huge_y.criterion_ == pytest.approx(plain.criterion_)
    huge = fitted(X * unit, y * unit, weight, **OPTIONS[option])
    np.testing.assert_allclose(huge.coef_, plain.coef_, rtol=1e-9, atol=1e-12)
    unit_of_weights = min(unit, 1e300)
    weighted = fitted(X, y, weight * unit_of_weights, **OPTIONS[option])
    np.testing.assert_allclose(weighted.coef_, plain.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("n", [40, 3])
def test_each_column_may_have_a_unit_of_its_own(convert, n):
    X, y, _ = make_rows(n)
    units = np.array([1e200, 1, 1e-200, 1e-300])
    found = fitted(convert(X * units), y, cv=2).coef_ * units
    np.testing.assert_allclose(found, fitted(X, y, cv=2).coef_, rtol=1e-7, atol=1e-9)


def test_each_target_may_have_a_unit_of_its_own():
    X, y, _ = make_rows()
    Y = np.column_stack([y, X[:, 1] - y])
    for per_target in (False, True):
        huge, plain = (
            fitted(X, Y * units, alpha_per_target=per_target).coef_ / np.reshape(units, (2, 1))
            for units in ([1e200, 1e-200], [1, 1])
        )
        np.testing.assert_allclose(huge, plain, rtol=1e-9)


def test_fixed_strengths_of_the_lasso_have_the_unit_of_the_target():
    X, y, _ = make_rows()
    plain, huge = (fitted(X, y * unit, penalty="l1", alpha=0.1 * unit) for unit in (1, 1e180))
    np.testing.assert_allclose(huge.coef_ / 1e180, plain.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(huge.alpha_, 1e179)


@pytest.mark.parametrize("unit", [1e-60, 1e20, 1e70])
@pytest.mark.parametrize("penalty", ["adaptive", "l1"])
def test_without_standardizing_a_common_unit_does_not_matter(unit, penalty):
    X, y, _ = make_rows()
    plain, huge = (fitted(X * u, y, penalty=penalty, standardize=False) for u in (1, unit))
    np.testing.assert_allclose(huge.coef_ * unit, plain.coef_, rtol=1e-9, atol=1e-12)
    of_alpha = unit if penalty == "l1" else unit**2
    np.testing.assert_allclose(huge.alpha_ / of_alpha, plain.alpha_, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-20, 1e20])
def test_nor_does_it_where_the_fit_is_exact(unit):
    """Found at random: beyond 1e12 the criterion of two rows in a plane was 1e12."""
    X, y = np.random.default_rng(0).normal(size=(2, 8)) * unit, np.array([4.0, -3.0])
    model = BilevelRegularizedRegressor(standardize=False).fit(X, y, X_val=X, y_val=y)
    assert model.criterion_ < 1e-15
    np.testing.assert_allclose(model.predict(X), y, rtol=1e-5)


def test_validation_rows_have_the_units_of_the_training_rows():
    X, y, weight = make_rows()
    held_out = {"X_val": X[:9] + 0.1, "y_val": y[:9], "sample_weight_val": weight[:9]}
    plain = BilevelRegularizedRegressor().fit(X, y, **held_out)
    held_out = {
        "X_val": held_out["X_val"] * 1e180,
        "y_val": y[:9] * 1e190,
        "sample_weight_val": weight[:9] * 1e-250,
    }
    huge = BilevelRegularizedRegressor().fit(X * 1e180, y * 1e190, **held_out)
    np.testing.assert_allclose(huge.coef_ / 1e10, plain.coef_, rtol=1e-9)
    with pytest.raises(ValueError, match="X_val has values too large"):
        BilevelRegularizedRegressor().fit(X, y * 1e190, **held_out)


def test_rows_without_weight_may_hold_anything():
    X, y, weight = make_rows()
    weight[::4] = 0
    other = X.copy()
    other[::4, 1] = 1e300
    found, expected = (fitted(table, y, weight).coef_ for table in (other, X))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.filterwarnings("error")
def test_sparse_rows_without_weight_stay_sparse():
    X, y, weight = make_rows()
    weight[::4] = 0
    found, expected = (
        fitted(convert(X), y * 1e150, weight, tol=1e3).coef_ / 1e150
        for convert in (sparse.csr_array, np.asarray)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [40, 3])
@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_validation_rows_are_compared_in_double_precision(n, dtype, convert):
    X, y, _ = make_rows(n)
    X = convert(X.astype(dtype))
    plain, extreme = (
        BilevelRegularizedRegressor(max_iter=2).fit(X, y * unit, X_val=X, y_val=y * unit).coef_
        / unit
        for unit in (1, 1e150)
    )
    np.testing.assert_allclose(extreme, plain, rtol=1e-7)


@pytest.mark.parametrize(("size", "weight"), [(1e150, 1e29), (1e130, 1.0)])
def test_validation_rows_whose_products_overflow_are_refused_by_name(size, weight):
    X, y, _ = make_rows()
    unit = 1.0 if weight > 1 else 1e-70
    held_out = {"X_val": X * size, "y_val": y, "sample_weight_val": np.full(len(y), weight)}
    with pytest.raises(ValueError, match="Input X_val"):
        BilevelRegularizedRegressor(max_iter=1).fit(X * unit, y, **held_out)


@pytest.mark.parametrize("name", ["coef", "intercept"])
def test_what_is_not_finite_never_becomes_an_attribute(monkeypatch, name):
    """The last guard, should a cause escape the others."""
    X, y, _ = make_rows()
    refit = PenaltySearch.in_raw_units

    def broken(*args, **options):
        fit = dict(zip(("coef", "intercept"), refit(*args, **options), strict=True))
        fit[name] = fit[name] * np.nan
        return tuple(fit.values())

    model = fitted(X, y)
    before = model.coef_.copy()
    monkeypatch.setattr(PenaltySearch, "in_raw_units", broken)
    with pytest.raises(ValueError, match="values of X, y or sample_weight differ"):
        model.fit(X, 2 * y)
    np.testing.assert_array_equal(model.coef_, before)


def test_huber_with_nothing_to_learn_takes_sparse_columns():
    """No column varies: params have no entries."""
    X = sparse.csr_array(np.zeros((9, 2)))
    y = np.arange(9.0)
    model = fitted(X, y, loss="huber", fit_intercept=False)
    np.testing.assert_array_equal(model.coef_, [0, 0])


def test_what_no_number_holds_is_refused_by_name():
    X, y, _ = make_rows()
    with pytest.raises(ValueError, match="units of X and y"):
        fitted(X * 1e-200, y * 1e200)
    with pytest.raises(ValueError, match="units of X and y"):
        fitted(X * 1e200, y * 1e-200)
    with pytest.raises(ValueError, match="Input X has columns"):
        fitted(X * 1e160, y, standardize=False)


def test_digits_that_single_precision_lost_are_told_of():
    X, y, _ = make_rows()
    far = (X + np.array([0, 1e6, 0, 0])).astype("f")
    with pytest.warns(UserWarning, match=r"float32 keeps few digits.*\[1\]"):
        fitted(far, y)
    # In double precision there is no loss, and nothing to tell.
    fitted(X + np.array([0, 1e6, 0, 0]), y)
    fitted((X + 10).astype("f"), y)
    fitted(np.column_stack([X, np.full(len(X), 0.1)]).astype("f"), y)
