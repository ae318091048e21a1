"""Pictures of learned penalties: what their tables say."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skbamm import BilevelRegularizedRegressor
from skbamm.inspection import PenaltyDisplay
from skbamm.inspection._penalty import _places, _ticks

X, Y = load_diabetes(return_X_y=True, as_frame=True)
NAMES = list(X.columns)
GROUPS = {"person": NAMES[:4], "blood": NAMES[4:]}


@pytest.fixture(scope="module")
def model():
    return BilevelRegularizedRegressor(groups=GROUPS, n_repeats=1).fit(X, Y)


@pytest.fixture(scope="module")
def sparse_model():
    """Unpenalized features, and coefficients of exactly zero."""
    noise = np.random.default_rng(0).normal(size=(len(X), 5))
    table = X.assign(**{f"noise{j}": noise[:, j] for j in range(5)})
    options = {"groups": lambda name: name[:3], "alpha": {"age": 0}, "shrinkage": np.inf}
    return BilevelRegularizedRegressor("l1", **options, cv=3).fit(table, Y)


# Strengths


def test_its_table_has_the_strengths_from_weak_to_strong(model):
    frame = PenaltyDisplay.from_estimator(model).frame()
    order = np.argsort(model.alpha_)
    assert list(frame["feature"]) == [NAMES[j] for j in order]
    assert_array_equal(frame["alpha"], model.alpha_[order])
    assert_array_equal(frame["coefficient"], model.coef_[order])
    assert set(frame["group"][frame["feature"].isin(GROUPS["person"])]) == {"person"}
    assert set(frame["status"]) == {"penalized"}


def test_unpenalized_features_come_first_and_dropped_ones_last(sparse_model):
    frame = PenaltyDisplay.from_estimator(sparse_model).frame()
    assert frame["feature"][0] == "age" and frame["alpha"][0] == 0
    assert frame["status"][0] == "unpenalized"
    dropped = (frame["status"] == "dropped").to_numpy()
    assert dropped.any() and not dropped.all()
    assert (np.diff(dropped.astype(int)) >= 0).all()
    assert_array_equal(dropped, frame["coefficient"] == 0)


def test_an_infinite_strength_is_dropped_and_has_a_place():
    display = PenaltyDisplay(
        np.array(["a", "b", "c"]),
        np.array([np.inf, 0.0, 1.0]),
        np.array(["dropped", "unpenalized", "penalized"]),
    ).plot()
    assert list(display.frame()["feature"]) == ["b", "c", "a"]
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels[0].startswith("0") and labels[-1].startswith("∞")
    left, right = display.ax_.get_xlim()
    assert all(left < tick < right for tick in display.ax_.get_xticks())


def test_by_group_its_table_has_geometric_means(model):
    frame = PenaltyDisplay.from_estimator(model, by="group").frame()
    found = dict(zip(frame["group"], frame["alpha"], strict=True))
    assert found == pytest.approx(model.group_alpha_)


def test_a_group_is_unpenalized_if_all_of_it_is(sparse_model):
    frame = PenaltyDisplay.from_estimator(sparse_model, by="group").frame()
    status = dict(zip(frame["group"], frame["status"], strict=True))
    assert status["age"] == "unpenalized" and status["bmi"] == "penalized"


def test_names_come_from_the_steps_of_a_pipeline():
    pipeline = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), BilevelRegularizedRegressor()
    ).fit(X, Y)
    frame = PenaltyDisplay.from_estimator(pipeline).frame()
    assert set(frame["feature"]) == set(pipeline[:-1].get_feature_names_out())


@pytest.mark.parametrize("wrap", ["search", "target", "both"])
def test_it_looks_into_searches_and_transformed_targets(wrap):
    found = BilevelRegularizedRegressor(n_repeats=1)
    if wrap != "search":
        found = TransformedTargetRegressor(found, func=np.log, inverse_func=np.exp)
    if wrap != "target":
        name = "n_repeats" if wrap == "search" else "regressor__n_repeats"
        found = GridSearchCV(found, {name: [1]}, cv=2)
    frame = PenaltyDisplay.from_estimator(found.fit(X, Y)).frame()
    assert set(frame["feature"]) == set(NAMES)


def test_without_names_features_are_numbered():
    model = BilevelRegularizedRegressor(n_repeats=1).fit(X.to_numpy(), Y)
    display = PenaltyDisplay.from_estimator(model)
    assert set(display.frame()["feature"]) == {f"x{j}" for j in range(10)}


@pytest.mark.parametrize(
    ("convert", "kind"),
    [(lambda table: table, pd.DataFrame), (pl.from_pandas, pl.DataFrame)],
    ids=["pandas", "polars"],
)
def test_tables_are_of_the_kind_of_the_fit(convert, kind):
    model = BilevelRegularizedRegressor(n_repeats=1).fit(convert(X), Y)
    assert isinstance(PenaltyDisplay.from_estimator(model).frame(), kind)
    assert isinstance(PenaltyDisplay.from_estimator(model, kind="function").frame(), kind)


def test_of_many_features_the_weakest_are_named_and_the_others_share_a_row():
    n = 200
    alpha = np.geomspace(1e-3, 1e3, n)[::-1]
    names = np.array([f"feature {j}" for j in range(n)])
    display = PenaltyDisplay(names, alpha, np.full(n, "penalized"), max_items=20).plot()
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == [f"feature {j}" for j in range(n - 1, n - 21, -1)] + ["180 others"]
    drawn = np.concatenate([line.get_xdata() for line in display.ax_.lines])
    assert_allclose(np.sort(drawn), np.sort(np.log10(alpha)))
    assert len(display.frame()) == n


def test_no_labels_overlap_with_long_names():
    names = np.array([f"a very long name of a column that goes on and on {j}" for j in range(40)])
    display = PenaltyDisplay(names, np.geomspace(1, 2, 40), np.full(40, "penalized")).plot()
    display.figure_.canvas.draw()
    for axis in (display.ax_.get_yticklabels(), display.ax_.get_xticklabels()):
        boxes = [label.get_window_extent() for label in axis]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    lefts = [label.get_window_extent().x0 for label in display.ax_.get_yticklabels()]
    assert min(lefts) >= 0


def test_it_draws_on_given_axes(model):
    figure, axes = plt.subplots(1, 2)
    display = PenaltyDisplay.from_estimator(model, ax=axes[1])
    assert display.ax_ is axes[1] and display.figure_ is figure and not axes[0].lines


def test_targets_with_penalties_of_their_own_are_chosen():
    y = np.column_stack([Y, -X["bmi"]])
    model = BilevelRegularizedRegressor(alpha_per_target=True, n_repeats=1).fit(X, y)
    with pytest.raises(ValueError, match="differs between 2 targets: pass target=0 to 1"):
        PenaltyDisplay.from_estimator(model)
    display = PenaltyDisplay.from_estimator(model, target=1)
    assert_array_equal(display.frame()["alpha"], np.sort(model.alpha_[1]))
    assert list(display.powers.values()) == [2 - model.exponents_[1, 0]]
    groups = PenaltyDisplay.from_estimator(model, target=1, by="group").frame()
    assert list(groups["alpha"]) == list(model.group_alpha_[1].values())
    with pytest.raises(ValueError, match="target must be between 0 and 1: got 2"):
        PenaltyDisplay.from_estimator(model, target=2)


def test_several_targets_with_one_penalty_have_no_coefficient_column():
    model = BilevelRegularizedRegressor(n_repeats=1).fit(X, np.column_stack([Y, X["bmi"]]))
    assert "coefficient" not in PenaltyDisplay.from_estimator(model).frame()


def test_another_or_an_unfitted_estimator_is_an_error():
    with pytest.raises(TypeError, match="Ridge has no groups_"):
        PenaltyDisplay.from_estimator(Ridge().fit(X, Y))
    with pytest.raises(NotFittedError):
        PenaltyDisplay.from_estimator(BilevelRegularizedRegressor())


def test_an_unknown_kind_of_picture_or_of_row_is_an_error(model):
    with pytest.raises(ValueError, match="kind must be 'strength', 'function' or 'weight'"):
        PenaltyDisplay.from_estimator(model, kind="slope")
    with pytest.raises(ValueError, match="by must be 'feature' or 'group'"):
        PenaltyDisplay.from_estimator(model, by="column")


@pytest.mark.parametrize(
    "alpha", [[1.0], [1.0, 1.0], [1e-9, 1e6], [3.1, 3.2], [0.0, 0.0], [np.inf], [1e-30, 1e26]]
)
def test_every_strength_is_within_the_limits_and_some_tick_is_too(alpha):
    place, (left, right), (at, labels) = _places(np.array(alpha))
    assert ((left < place) & (place < right)).all()
    assert len(at) == len(labels) >= 1 and all(left <= tick <= right for tick in at)


@pytest.mark.parametrize(("low", "high"), [(-3.2, 5.1), (0.1, 0.4), (-30, 20), (-1, 1)])
def test_ticks_say_where_they_stand(low, high):
    at, labels = _ticks(low, high)
    for tick, label in zip(at, labels, strict=True):
        value = float(label.replace("$10^{", "1e").replace("}$", ""))
        assert value == pytest.approx(10**tick, rel=1e-3)
    assert 2 < len(at) < 14


# Functions


def phi(w, q, rounding=1e-3):
    return ((w**2 + rounding**2) ** (q / 2) - rounding**q) / q


def functions_of(powers, points=None, kind="function"):
    """A display of penalties of these powers."""
    of_one_feature = (np.array(["x"]), np.ones(1), np.array(["penalized"]))
    return PenaltyDisplay(*of_one_feature, powers=powers, points=points, kind=kind)


def function(frame, name):
    return frame[frame["function"] == name]


def learned_powers(model):
    return PenaltyDisplay.from_estimator(model, kind="function").powers


def test_the_function_of_the_adaptive_penalty_is_that_of_its_exponent(model):
    display = PenaltyDisplay.from_estimator(model, kind="function")
    [(name, power)] = display.powers.items()
    assert power == 2 - model.exponents_[0] and name.startswith("exponent")
    part = function(display.frame(), name)
    w = part["coefficient"].to_numpy()
    assert_allclose(part["penalty"], phi(w, power) / phi(1.0, power), rtol=1e-6, atol=1e-12)


def test_ridge_is_the_square_and_lasso_the_absolute_value(model):
    frame = PenaltyDisplay.from_estimator(model, kind="function").frame()
    ridge, lasso = function(frame, "ridge"), function(frame, "lasso")
    assert_allclose(ridge["penalty"], ridge["coefficient"] ** 2, atol=1e-5)
    assert_allclose(lasso["penalty"], lasso["coefficient"].abs(), atol=2e-3)
    assert_allclose(ridge["weight"], 1)


@pytest.mark.parametrize("power", [-1.0, -0.5, 0.0, 1e-9, 0.3, 1.0, 2.0])
def test_the_weight_is_the_derivative_of_the_penalty_divided_by_the_coefficient(power):
    points = np.linspace(0.5, 1.5, 4001)
    part = function(functions_of({"learned": power}, points).frame(), "learned")
    derivative = np.gradient(part["penalty"], points)[1:-1]
    ratio = derivative / points[1:-1] / part["weight"].to_numpy()[1:-1]
    assert_allclose(ratio, ratio[0], rtol=1e-4)


@pytest.mark.parametrize(("penalty", "power"), [("l2", 2.0), ("l1", 1.0)])
def test_fixed_functions_are_what_they_are(penalty, power):
    model = BilevelRegularizedRegressor(penalty, cv=2, max_iter=0).fit(X, Y)
    assert learned_powers(model) == {"learned": power}


def test_weights_are_drawn_on_logarithmic_axes(model):
    ax = PenaltyDisplay.from_estimator(model, kind="weight").ax_
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    # All are those of a coefficient of usual size, which is 1.
    for line in ax.lines:
        assert np.interp(0.0, np.log(line.get_xdata()), line.get_ydata()) == pytest.approx(1, 0.1)
