"""The mean of fits that the folds cannot tell apart, against scikit-learn's fits of its parts."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import position_folds
from skbamm.regularization._average import Average, first_best, with_best_strengths
from skbamm.regularization._constants import ADAPTIVE_INITIAL, STRENGTH_GAIN, STRENGTH_STEP
from skbamm.regularization._search import PenaltySearch
from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression

pytestmark = pytest.mark.filterwarnings(
    # What is reported of a mean must be right wherever a run ends.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

ONE_STRENGTH = "one strength"


@dataclass(frozen=True)
class Parts:
    """Scikit-learn's fits at the learned numbers of one candidate; targets in scaled units."""

    held_out: np.ndarray  # predictions of the rows of each fold without it, (n_samples, n_targets)
    coef: np.ndarray  # on all rows, (n_targets, n_features)
    intercept: np.ndarray
    log_alpha: np.ndarray


class Oracle:
    """Rows and folds, in the units in which the penalty acts."""

    def __init__(self, data, weighted=False, groups=None, splits=None):
        self.weight = data.weight if weighted else np.ones(len(data.y))
        self.groups = groups
        self.splits = data.splits if splits is None else splits
        y = data.y.reshape(len(data.y), -1)
        self.X_scale = reference.scales(data.X, self.weight)
        self.y_scale = reference.scales(y, self.weight)
        self.X, self.y = data.X / self.X_scale, y / self.y_scale

    def alpha(self, rows, hyper):
        return reference.adaptive_alpha(
            self.X[rows], self.y[rows], hyper, self.groups, self.weight[rows]
        )

    def ridge(self, rows, alpha):
        """A strength for each column by columns divided by its root."""
        weight = self.weight[rows]
        model = Ridge(weight.sum(), solver="svd")
        model.fit(self.X[rows] / np.sqrt(alpha), self.y[rows], weight)
        return np.atleast_2d(model.coef_) / np.sqrt(alpha), model.intercept_

    def parts(self, hyper):
        held_out, logs = np.zeros(self.y.shape), []
        for train, test in self.splits:
            alpha = self.alpha(train, hyper)
            coef, intercept = self.ridge(train, alpha)
            held_out[test] = self.X[test] @ coef.T + intercept
            logs.append(np.log(alpha))
        log_alpha = np.mean(logs, axis=0)
        coef, intercept = self.ridge(np.arange(len(self.X)), np.exp(log_alpha))
        coef = coef * self.y_scale[:, None] / self.X_scale
        return Parts(held_out, coef, intercept * self.y_scale, log_alpha)

    def by_fold(self, held_out):
        """Sums of each fold; their sum is the criterion."""
        square = self.weight * np.square(self.y - held_out).mean(axis=1)
        return np.array([square[test].sum() for _, test in self.splits]) / self.weight.sum()

    def weights(self, parts, standard_errors):
        errors = np.array([self.by_fold(one.held_out) for one in parts]) * len(self.splits)
        more = errors - errors[errors.mean(axis=1).argmin()]
        root = np.sqrt(len(self.splits))
        with np.errstate(invalid="ignore"):
            z = np.nan_to_num(more.mean(axis=1) / (more.std(axis=1, ddof=1) / root))
        weights = np.exp(-np.square(z / standard_errors) / 2)
        weights[weights < 1e-4] = 0
        weights[0] *= len(weights) - 1  # the half of what is known beforehand
        return weights / weights.sum()

    def criterion(self, parts, weights):
        """Of the mean coefficients, whose predictions are the mean of the predictions."""
        return self.by_fold(mean(parts, weights, "held_out")).sum()


def mean(parts, weights, name):
    return sum(share * getattr(one, name) for share, one in zip(weights, parts, strict=True))


def hypers(average):
    return [point.hyper[0].numpy() for point in average.points]


@pytest.fixture
def searches(monkeypatch):
    """The result of each search of a fit."""
    found, best = [], PenaltySearch.best

    def recorded(*args, **options):
        found.append(best(*args, **options))
        return found[-1]

    monkeypatch.setattr(PenaltySearch, "best", recorded)
    return found


def fit(data, weighted=False, **options):
    model = BilevelRegularizedRegressor(**{"cv": data.splits, "max_iter": 30, **options})
    return model.fit(data.X, data.y, data.weight if weighted else None)


# A fit is the mean of its parts


@pytest.mark.parametrize("shape", [(41, 6), (19, 30)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighted": True},
        {"standard_errors": 0.4},
        {"standard_errors": 3, "groups": 3, "weighted": True},
        {"n_targets": 2},
        {"max_iter": 0},
    ],
    ids=str,
)
def test_a_fit_is_the_weighted_mean_of_ridge_fits(shape, options, searches):
    options = dict(options)
    weighted, n_groups = options.pop("weighted", False), options.pop("groups", 0)
    data = make_regression(*shape, options.pop("n_targets", None), seed=3)
    if n_groups:
        options["groups"] = np.arange(shape[1]) % n_groups
    model = fit(data, weighted, **options)
    [found] = searches
    oracle = Oracle(data, weighted, options.get("groups"))
    parts = [oracle.parts(hyper) for hyper in hypers(found.learned)]
    weights = oracle.weights(parts, options.get("standard_errors", 1))
    assert np.count_nonzero(weights) > 1
    # Differences of errors are divided by their deviations over the folds.
    assert_allclose(found.learned.weights, weights, rtol=1e-5, atol=1e-7)
    initial = parts[: len(found.initial.points)]  # what needs no learning
    without = oracle.weights(initial, options.get("standard_errors", 1))
    assert_allclose(model.initial_criterion_, oracle.criterion(initial, without), rtol=1e-7)
    if oracle.criterion(parts, weights) > model.initial_criterion_:
        parts, weights = initial, without
    assert_allclose(model.criterion_, oracle.criterion(parts, weights), rtol=1e-7)
    size = np.abs(model.coef_).max()
    coef, intercept = mean(parts, weights, "coef"), mean(parts, weights, "intercept")
    assert_allclose(np.atleast_2d(model.coef_), coef, rtol=1e-6, atol=1e-6 * size)
    assert_allclose(np.atleast_1d(model.intercept_), intercept, rtol=1e-6, atol=1e-6 * size)
    assert_allclose(np.log(model.alpha_), mean(parts, weights, "log_alpha"), rtol=1e-5, atol=1e-5)


def test_candidates_are_ridge_and_what_each_pilot_gives(searches):
    data = make_regression(seed=3)
    fit(data)
    base, *initial = hypers(searches[0].initial)
    assert base[2] == 0 and base[0] == base[1]
    expected = [(np.log(pilot), exponent) for pilot, exponent in ADAPTIVE_INITIAL]
    assert_allclose([(one[0] - base[0], one[2]) for one in initial], expected)
    assert len(searches[0].learned.points) <= len(initial) + 2


def test_repeats_are_the_mean_of_their_means(searches):
    data = make_regression(seed=3)
    model = fit(data, cv=5, n_repeats=3)
    assert len(searches) == 3
    terms, criterion, shares = [], [], []
    for seed, found in enumerate(searches):
        label = position_folds(len(data.y), 5, seed)
        splits = [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in range(5)]
        oracle = Oracle(data, splits=splits)
        parts = [oracle.parts(hyper) for hyper in hypers(found.learned)]
        weights = oracle.weights(parts, 1)
        terms.append(mean(parts, weights, "coef"))
        criterion.append(oracle.criterion(parts, weights))
        shares.append(weights[0])
    assert_allclose(model.criterion_, np.mean(criterion), rtol=1e-7)
    assert_allclose(model.coef_, np.mean(terms, axis=0)[0], rtol=1e-6)
    assert_allclose(model.average_weights_[ONE_STRENGTH], np.mean(shares), rtol=1e-5)


def test_the_mean_of_a_huber_loss_is_weighed_by_that(searches):
    data = make_regression(seed=3)
    data.y[0] += 30
    fit(data, loss="huber")
    [found] = searches
    oracle = Oracle(data)
    threshold = found.learned.best.problem.upper.threshold

    def by_fold(held_out):
        size = np.abs(oracle.y - held_out)[:, 0]
        inside = np.minimum(size, threshold)
        huber = inside**2 + 2 * inside * (size - inside)
        return np.array([huber[test].sum() for _, test in oracle.splits]) / len(size)

    oracle.by_fold = by_fold
    parts = [oracle.parts(hyper) for hyper in hypers(found.learned)]
    weights = oracle.weights(parts, 1)
    assert 0 < threshold < 1 and np.count_nonzero(weights) > 1
    assert_allclose(found.learned.weights, weights, rtol=1e-5, atol=1e-7)
    assert_allclose(found.learned.criterion, oracle.criterion(parts, weights), rtol=1e-7)


# Names of the weights


def test_weights_have_names_and_sum_to_one(searches):
    data = make_regression(seed=3)
    model = fit(data)
    shares = list(model.average_weights_.values())
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1)
    learned = searches[0].learned
    by_name = {
        point.name: share for point, share in zip(learned.points, learned.weights, strict=True)
    }
    assert model.average_weights_ == pytest.approx({k: v for k, v in by_name.items() if v})


def test_weights_of_targets_are_listed_where_each_has_its_own():
    data = make_regression(n_targets=2)
    weights = fit(data, alpha_per_target=True).average_weights_
    assert [sum(one.values()) for one in weights] == pytest.approx([1, 1])
    assert sum(fit(data).average_weights_.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "options", [{"alpha": 0.3}, {"alpha": 0}, {"penalty": "l2", "max_iter": 0}]
)
def test_one_strength_is_all_where_there_is_no_choice(options):
    assert fit(make_regression(), **options).average_weights_ == {ONE_STRENGTH: 1.0}


@pytest.mark.parametrize("options", [{"standard_errors": 0}, {"positive": True}, {"cv": 2}])
def test_one_fit_has_all_the_weight_where_no_mean_is_taken(options):
    weights = fit(make_regression(seed=3), n_repeats=1, **options).average_weights_
    assert list(weights.values()) == [1.0]


# The rule


def average(errors, standard_errors=1.0, floor=0.0):
    """Weights of candidates with errors of shape (n_points, n_folds)."""
    points = [
        SimpleNamespace(criterion=np.mean(one), by_fold=lambda one=one: np.array(one))
        for one in errors
    ]
    return Average.of(points, standard_errors, floor).weights


# Its mean is 0, and its standard error 1.
NOISE = np.array([-1, 0, 1]) * 3**0.5


@pytest.mark.parametrize("standard_errors", [0.5, 1.0, 2.0])
def test_weights_fall_with_the_square_of_standard_errors(standard_errors):
    z = np.array([0, 0.5, 1, 2])
    errors = [10 * np.ones(3)] + [10 + one + NOISE for one in z[1:]]
    expected = np.exp(-np.square(z / standard_errors) / 2)
    expected[expected < 1e-4] = 0
    expected[0] *= 3  # the simplest fit's half
    assert_allclose(average(errors, standard_errors), expected / expected.sum())


def test_of_equal_candidates_the_simplest_has_half_and_others_share_the_rest():
    assert_allclose(average([[1.0, 2.0, 3.0]] * 4), [1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_candidates_far_worse_have_none():
    errors = [10 * np.ones(3), 10 + 4 + NOISE, 10 + 5 + NOISE]
    weights = average(errors)
    assert weights[1] > 0 and weights[2] == 0


def test_what_is_always_worse_by_the_same_has_none():
    assert_allclose(average([[1.0, 2.0, 3.0], [1.1, 2.1, 3.1]], floor=1e-9), [1, 0])


def test_differences_below_the_floor_are_none():
    errors = [[1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0]) + 1e-9]
    assert_allclose(average(errors, floor=1e-6), [0.5, 0.5], rtol=1e-6)
    assert_allclose(average(errors, floor=1e-10), [1, 0])


@pytest.mark.parametrize("n_folds", [5, 2, 1])
def test_the_best_alone(n_folds):
    errors = [np.full(n_folds, 2.0), np.full(n_folds, 1.0), np.full(n_folds, 1.0)]
    assert_allclose(average(errors, 0.0), [0, 1, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2.0, 1.0, 1.0], 1), ([1.0, 1 - 1e-9], 0), ([np.nan, 3.0, 2.0], 2), ([1e-20, 1e-30], 0)],
)
def test_an_earlier_one_is_the_best_unless_a_later_is_clearly_better(values, expected):
    assert first_best(values) == expected


# The best strength of each initial point


@pytest.mark.parametrize("n_steps", [0, 2, 40])
def test_best_strengths_are_those_of_a_grid(n_steps):
    centre = torch.tensor([0.3, -4.0, 7.0, 40.0, -40.0])

    def errors(points):
        return (1 + (points[:, 1] - points[:, 0]) ** 2).numpy()

    points = torch.stack([centre, torch.zeros(5), torch.arange(5.0)], dim=1).double()
    bounds = torch.tensor([[-100.0, -20, -9], [100, 20, 9]]).double().unbind()
    found = with_best_strengths(errors, points, 1, bounds, n_steps)
    grid = (np.arange(-n_steps, n_steps + 1) * STRENGTH_STEP).clip(-20, 20)
    expected = grid[np.abs(grid - centre[:, None].numpy()).argmin(axis=1)]
    assert_allclose(found[:, 1], expected)
    torch.testing.assert_close(found[:, [0, 2]], points[:, [0, 2]])
    assert not points[:, 1].any()  # what was given stays


@pytest.mark.parametrize("shape", [(40, 6), (20, 30)])
def test_initial_points_have_the_best_strength_of_a_grid(shape, searches):
    data = make_regression(*shape, seed=3)
    fit(data, max_iter=0)
    base, *initial = hypers(searches[0].initial)
    for hyper in initial:
        n_steps = (hyper[1] - base[1]) / STRENGTH_STEP
        assert n_steps == pytest.approx(np.round(n_steps))
        steps = np.arange(-9, 6)
        errors = [
            reference.adaptive_criterion(
                data.X, data.y, data.splits, [hyper[0], base[1] + step * STRENGTH_STEP, hyper[2]]
            )
            for step in steps
        ]
        # A further step is not taken where it gains next to nothing.
        assert errors[int(np.round(n_steps)) + 9] <= min(errors) * (1 + 2 * STRENGTH_GAIN)


# What must not matter


def folds(label):
    return [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in np.unique(label)]


@pytest.fixture(scope="module", params=[(40, 6), (20, 30)], ids=str)
def plain(request):
    """Rows, the fold of each, and a fit of them."""
    data = make_regression(*request.param, seed=4)
    label = np.arange(len(data.y)) % 5
    model = BilevelRegularizedRegressor(cv=folds(label)).fit(data.X, data.y)
    assert len(model.average_weights_) > 1
    return data, label, model


def assert_same_predictions(found, expected, y):
    assert_allclose(found, expected, rtol=0, atol=1e-7 * y.std())


def test_a_weight_of_two_is_a_row_given_twice(plain):
    data, label, _ = plain
    times = np.random.default_rng(0).integers(1, 3, len(label))
    rows = np.repeat(np.arange(len(label)), times)
    twice = BilevelRegularizedRegressor(cv=folds(label[rows])).fit(data.X[rows], data.y[rows])
    weighted = BilevelRegularizedRegressor(cv=folds(label)).fit(data.X, data.y, times)
    assert_same_predictions(weighted.predict(data.X), twice.predict(data.X), data.y)


@pytest.mark.parametrize("unit", [1e-5, 1e4])
def test_the_unit_of_the_target_does_not_matter(plain, unit):
    data, label, model = plain
    found = BilevelRegularizedRegressor(cv=folds(label)).fit(data.X, unit * data.y + 3 * unit)
    assert_same_predictions(found.predict(data.X) / unit - 3, model.predict(data.X), data.y)
    assert found.average_weights_ == pytest.approx(model.average_weights_, rel=1e-6)


def test_the_order_and_units_of_columns_do_not_matter(plain):
    data, label, model = plain
    order = np.random.default_rng(0).permutation(data.X.shape[1])
    units = np.geomspace(0.01, 100, len(order))
    found = BilevelRegularizedRegressor(cv=folds(label)).fit(data.X[:, order] * units, data.y)
    assert_same_predictions(found.coef_ * units, model.coef_[order], data.y)


def test_the_order_of_rows_and_folds_does_not_matter(plain):
    data, label, model = plain
    order = np.random.default_rng(0).permutation(len(label))
    found = BilevelRegularizedRegressor(cv=folds(4 - label[order])).fit(
        data.X[order], data.y[order]
    )
    assert_same_predictions(found.predict(data.X), model.predict(data.X), data.y)
