"""What a fit says of itself: strengths at their bounds, and no gain worth a word."""

import re
import warnings

import numpy as np
import pytest

from skbamm import BilevelRegularizedRegressor
from tests.regularization.regression_data import make_regression

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(80, 8))
NOISE = RANDOM.normal(size=80)
EFFECTS = ROWS[:, :3].sum(axis=1)
DATA = make_regression()


def fit(X, y, penalty="adaptive", **options):
    return BilevelRegularizedRegressor(penalty, **options).fit(X, y)


# Bounds


@pytest.mark.parametrize("penalty", ["adaptive", "l2", "l1"])
@pytest.mark.parametrize(("bounds", "end"), [((10, 1e3), "lower"), ((1e-9, 1e-5), "upper")])
def test_a_warning_names_a_bound_that_costs_something(penalty, bounds, end):
    y = EFFECTS + (NOISE if end == "lower" else 3 * NOISE)
    X = ROWS if end == "lower" else np.hstack([ROWS, RANDOM.normal(size=(80, 60))])
    message = re.escape(f"alpha_bounds={bounds} (alpha at the {end} one)")
    with pytest.warns(UserWarning, match=message):
        fit(X, y, penalty, alpha_bounds=bounds)


def test_it_says_by_how_much_the_error_is_lower_and_it_is():
    with pytest.warns(UserWarning) as caught:
        narrow = fit(ROWS, EFFECTS + NOISE, "l2", alpha_bounds=(1, 1e3))
    told = float(re.search(r"([\d.e+]+) % lower", str(caught[0].message))[1])
    wide = fit(ROWS, EFFECTS + NOISE, "l2")
    assert told == pytest.approx(100 * (1 - wide.criterion_ / narrow.criterion_), rel=0.1)


def test_groups_at_a_bound_are_named():
    options = {"groups": list("aaabbbbb"), "shrinkage": 0, "alpha_bounds": (1, 1e3)}
    with pytest.warns(UserWarning, match=re.escape("(alpha[a] at the lower one)")):
        fit(ROWS, EFFECTS + NOISE, "l2", **options)


@pytest.mark.parametrize("bounds", [(1e-9, 1e6), (1e-6, 1e3)])
@pytest.mark.parametrize("y", [NOISE, EFFECTS], ids=["noise", "no noise"])
def test_where_a_bound_is_the_natural_answer_there_is_no_warning(y, bounds):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(ROWS, y, "l2", alpha_bounds=bounds)


def test_of_several_targets_one_warning_is_enough():
    y = np.column_stack([EFFECTS, EFFECTS + NOISE])
    with pytest.warns(UserWarning) as caught:
        fit(ROWS, y, "l2", alpha_bounds=(10, 1e3), alpha_per_target=True)
    assert len(caught) == 1


# No gain


def test_without_a_gain_over_one_strength_the_status_says_so():
    y = ROWS.sum(axis=1) + NOISE
    model = fit(ROWS, y)
    [baseline] = re.findall(r"with one strength ([\d.]+)\)", model.status_)
    assert (
        model.status_.startswith("converged")
        and "; less than 1% gained over one strength" in model.status_
    )
    # All columns matter alike, so that ridge is the right tool.
    assert model.criterion_ > 0.99 * float(baseline)
    assert float(baseline) == pytest.approx(fit(ROWS, y, "l2").criterion_, rel=0.01)


def test_of_several_targets_it_counts_those_without_a_gain():
    wide = RANDOM.normal(size=(80, 60))
    y = np.column_stack([wide.sum(axis=1), 5 * wide[:, 0]]) + NOISE[:, None]
    model = fit(wide, y, alpha_per_target=True)
    assert "gained over one strength for all features for 1 of 2 targets" in model.status_


@pytest.mark.parametrize(
    "options",
    [{}, {"penalty": "l2"}, {"alpha": 0.1}],
    ids=["a gain", "there is one strength alone", "nothing is learned"],
)
def test_else_it_says_nothing_of_a_gain(options):
    wide = RANDOM.normal(size=(80, 60))
    assert "gained" not in fit(wide, 5 * wide[:, 0] + NOISE, **options).status_
