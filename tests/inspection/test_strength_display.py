"""The held-out error along the overall strength of a learned penalty."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.inspection import StrengthDisplay
from tests.regularization.regression_data import make_regression

DATA = make_regression()
MULTIPLES = [0.1, 1.0, 20.0]
DRAW = StrengthDisplay.from_estimator


def fit(penalty="l2", data=DATA, **options):
    return BilevelRegularizedRegressor(penalty, **options).fit(data.X, data.y)


def ridge_errors(alpha):
    """Held-out error of each fold of the same number of rows, in units of the variance of y."""
    errors = []
    for train, test in DATA.splits:
        model = Ridge(alpha * len(train)).fit(DATA.X[train], DATA.y[train])
        errors.append(np.mean((DATA.y[test] - model.predict(DATA.X[test])) ** 2))
    return np.array(errors) / DATA.y.var()


def test_errors_and_standard_errors_are_those_of_ridge():
    model = fit(cv=DATA.splits, standardize=False)
    display = DRAW(model, DATA.X, DATA.y, multiples=MULTIPLES)
    errors = np.array([ridge_errors(c * model.alpha_[0]) for c in MULTIPLES])
    assert_allclose(display.error, errors.mean(axis=1), rtol=1e-8)
    more = errors - errors[errors.mean(axis=1).argmin()]
    assert_allclose(display.standard_error, more.std(axis=1, ddof=1) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"penalty": "adaptive", "groups": list("aabbcc")},
        {"groups": list("aabbcc")},
        {"groups": list("aabbcc"), "shrinkage": 0.01, "alpha_features": np.arange(6)},
        {"penalty": "l1"},
        {"loss": "huber"},
        {"alpha_per_target": True, "penalty_factors": [1, 2, 3, 0, 1, 1]},
    ],
    ids=str,
)
def test_at_one_stands_the_criterion_of_the_best_fit(options):
    options = {"penalty": "l2", **options}
    model = fit(**options, n_repeats=1, standard_errors=0)
    display = DRAW(model, DATA.X, DATA.y, multiples=[1.0])
    assert_allclose(display.error, model.criterion_, rtol=1e-6)


def test_it_changes_nothing_of_the_estimator():
    model = fit("adaptive")
    before = dict(vars(model))
    display = DRAW(model, DATA.X, DATA.y)
    assert all(vars(model)[name] is value for name, value in before.items())
    assert len(vars(model)) == len(before) and len(display.multiple) == 25


def test_rows_go_through_the_steps_before():
    model = make_pipeline(StandardScaler(), BilevelRegularizedRegressor("l2"))
    model.fit(DATA.X, DATA.y)
    found = DRAW(model, DATA.X, DATA.y)
    expected = DRAW(model[-1], model[0].transform(DATA.X), DATA.y)
    assert_array_equal(found.error, expected.error)


def test_weights_validation_rows_and_row_groups_are_those_of_fit():
    weight, other = DATA.weight, make_regression(seed=1)
    held_out = {"X_val": other.X, "y_val": other.y}
    model = BilevelRegularizedRegressor("l2", n_repeats=1)
    model.fit(DATA.X, DATA.y, weight, **held_out)
    display = DRAW(model, DATA.X, DATA.y, sample_weight=weight, multiples=[1.0], **held_out)
    assert_allclose(display.error, model.criterion_)
    assert np.isnan(display.standard_error).all()
    groups = np.arange(40) // 2
    model.set_params(cv=GroupKFold(4)).fit(DATA.X, DATA.y, groups=groups)
    display = DRAW(model, DATA.X, DATA.y, groups=groups, multiples=[1.0])
    assert_allclose(display.error, model.criterion_)


def test_a_target_of_several_has_a_curve_of_its_own():
    data = make_regression(n_targets=2)
    model = fit(data=data, alpha_per_target=True, n_repeats=1)
    display = DRAW(model, data.X, data.y, target=1, multiples=[1.0])
    assert_allclose(display.error, model.criterion_[1])
    with pytest.raises(ValueError, match="pass target=0 to 1"):
        DRAW(model, data.X, data.y)


def test_without_a_learned_strength_there_is_no_curve():
    with pytest.raises(ValueError, match="No strength was learned"):
        DRAW(fit(alpha=0.1), DATA.X, DATA.y)


def test_the_picture_has_the_curve_and_what_is_used():
    display = DRAW(fit("adaptive"), DATA.X, DATA.y)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels[0] == "best fit" and labels[2:] == ["as learned", "criterion_"]
    curve = display.ax_.get_lines()[0].get_xydata()
    assert_array_equal(curve, np.column_stack([display.multiple, display.error]))


def test_rows_and_multiples_must_fit_the_estimator():
    X, y = np.random.default_rng(0).normal(size=(2, 40, 3))
    model = BilevelRegularizedRegressor(max_iter=0).fit(X, y[:, 0])
    with pytest.raises(ValueError, match="with 3 columns and 1 targets: got 2 and 1"):
        StrengthDisplay.from_estimator(model, X[:, :2], y[:, 0])
    with pytest.raises(ValueError, match="got 3 and 3"):
        StrengthDisplay.from_estimator(model, X, y)
    for multiples in ([], 1, [-1, 1], [np.nan]):
        with pytest.raises(ValueError, match="multiples must be numbers above 0"):
            StrengthDisplay.from_estimator(model, X, y[:, 0], multiples=multiples)
