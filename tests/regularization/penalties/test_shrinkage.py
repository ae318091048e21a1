"""How strongly groups shrink to what is common, and how that is chosen."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import Folds
from skbamm.regularization._constants import SHRINKAGES
from skbamm.regularization._options import resolve_shrinkage
from skbamm.regularization.penalties._shrinkage import choose_shrinkage
from tests.regularization.regression_data import make_regression

GROUPS = np.array([0, 1, 2, 0, 1, 2])

pytestmark = pytest.mark.filterwarnings(
    # The prior is compared between runs of few iterations.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


def fit(data, shrinkage, penalty="l2", *, groups=GROUPS, **options):
    options = {"groups": groups, "shrinkage": shrinkage, "cv": data.splits, **options}
    return BilevelRegularizedRegressor(penalty, **options).fit(data.X, data.y)


def spread(model):
    return np.std(np.log(list(model.group_alpha_.values())))


# Given


@pytest.mark.parametrize("penalty", ["l2", "adaptive", "l1"])
def test_infinite_shrinkage_is_no_groups(data, penalty):
    model = fit(data, np.inf, penalty, max_iter=2)
    plain = fit(data, 0, penalty, groups=None, max_iter=2)
    assert_array_equal(model.coef_, plain.coef_)


def test_infinite_shrinkage_learns_one_common_strength(data):
    assert len(np.unique(fit(data, np.inf).alpha_)) == 1


def test_zero_shrinkage_is_the_lowest_criterion(data):
    criteria = [fit(data, s, tol=1e-4).criterion_ for s in (0, 0.01, 1, np.inf)]
    # Each run stops at a gradient of 1e-4.
    assert_allclose(min(criteria), criteria[0], rtol=1e-5)


def test_larger_shrinkage_brings_groups_closer_together(data):
    spreads = [spread(fit(data, s, tol=1e-4)) for s in (0.001, 0.1, 10)]
    assert spreads[0] > spreads[1] > spreads[2]


def test_larger_shrinkage_brings_deviations_of_adaptive_weights_closer_to_zero(data):
    sizes = [
        np.linalg.norm(fit(data, s, "adaptive", max_iter=20).hyper_[-3:]) for s in (0.001, 0.1, 10)
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_large_shrinkage_is_almost_one_strength(data):
    # Deviations are of the order of the gradient relative to the shrinkage.
    assert 0 < spread(fit(data, 99.0)) < 1e-2


@pytest.mark.parametrize("shrinkage", [100.0, 1e6])
def test_from_a_hundred_on_shrinkage_is_infinite(data, shrinkage):
    model = fit(data, shrinkage)
    assert model.shrinkage_ == np.inf
    assert_array_equal(model.coef_, fit(data, np.inf).coef_)


def test_prior_is_centred_at_the_common_strength_and_not_at_one(data):
    """Whatever the unit of the columns, where the penalty acts on them as they are."""
    shrunk, common = (fit(data, s, standardize=False, tol=1e-6) for s in (99, np.inf))
    # Both stop at a gradient of 1e-6, at an optimum that is flat.
    assert_allclose(shrunk.alpha_, common.alpha_, rtol=1e-2)


def test_shrinkage_is_relative_to_the_held_out_error(data):
    model = fit(data, 0.1)
    scaled = BilevelRegularizedRegressor("l2", groups=GROUPS, shrinkage=0.1, cv=data.splits)
    scaled.fit(data.X, 1e6 * data.y)
    assert_allclose(scaled.alpha_, model.alpha_, rtol=1e-6)


def test_shrinkage_that_is_given_is_reported(data):
    assert fit(data, 0.25, max_iter=1).shrinkage_ == 0.25


@pytest.mark.parametrize("shrinkage", [-1, -1e-9, np.nan, "none", True])
def test_unusable_shrinkage_is_an_error_that_says_so(data, shrinkage):
    with pytest.raises(ValueError, match="shrinkage"):
        fit(data, shrinkage)


@pytest.mark.parametrize("shrinkage", ["auto", 0, 0.0, 1, np.float32(0.5), np.inf])
def test_numbers_from_zero_to_infinity_are_shrinkages(shrinkage):
    resolve_shrinkage(shrinkage)


# Chosen


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_the_choice_is_one_of_the_candidates(data, penalty):
    assert fit(data, "auto", penalty, max_iter=5).shrinkage_ in SHRINKAGES


def test_the_choice_equals_the_same_number_given(data):
    chosen = fit(data, "auto")
    given = fit(data, chosen.shrinkage_)
    assert_array_equal(chosen.coef_, given.coef_)


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_what_is_reported_has_the_same_shape_whatever_was_chosen(penalty):
    shapes = set()
    for seed in range(4):
        data = make_regression(20, 6, seed=seed)
        shapes.add(fit(data, "auto", penalty, max_iter=3).hyper_.shape)
    assert len(shapes) == 1


def test_strengths_that_differ_widely_are_set_free():
    random = np.random.default_rng(0)
    X = random.normal(size=(80, 20))
    y = X[:, :10] @ random.normal(size=10) + random.normal(size=80)
    model = BilevelRegularizedRegressor("l2", groups=np.arange(20) // 10).fit(X, y)
    assert model.shrinkage_ < np.inf


def test_groups_at_random_are_not_set_free():
    random = np.random.default_rng(3)
    X = random.normal(size=(40, 8))
    y = X @ random.choice([-1.0, 1.0], 8) + random.normal(size=40)
    model = BilevelRegularizedRegressor("l2", groups="feature").fit(X, y)
    assert model.shrinkage_ == np.inf


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_without_groups_there_is_nothing_to_choose(data, penalty):
    assert fit(data, "auto", penalty, groups=None).shrinkage_ == 0.0


def test_a_single_split_leaves_nothing_to_choose_by(data):
    model = BilevelRegularizedRegressor("l2", groups=GROUPS, cv=data.splits[:1])
    assert model.fit(data.X, data.y).shrinkage_ == np.inf


def test_validation_rows_are_halved_to_choose_by(data):
    val = make_regression(30, seed=1)
    model = BilevelRegularizedRegressor("l2", groups=GROUPS)
    model.fit(data.X, data.y, X_val=val.X, y_val=val.y)
    assert model.shrinkage_ in SHRINKAGES


class FakeSearch:
    """Has the errors of a table: one row for each pair, one column for each candidate."""

    def __init__(self, data, shrinkage, errors):
        self.row = errors[data]
        self.is_common = np.isinf(shrinkage)

    def learn(self, solver, *, max_iter, tol, shrinkages):
        assert np.isfinite(shrinkages).all()
        return np.zeros((len(shrinkages), 1))

    def error(self, hyper):
        return self.row[:1] if self.is_common else self.row[1:]


def chosen(errors, standard_errors=0.5):
    errors = np.asarray(errors, dtype=float)
    return choose_shrinkage(
        [(k, k) for k in range(len(errors))],
        lambda data, shrinkage: FakeSearch(data, shrinkage, errors),
        "sl-bamm",
        max_iter=1,
        tol=1.0,
        standard_errors=standard_errors,
    )


def test_the_lowest_mean_error_is_chosen_where_folds_agree():
    assert chosen([[5, 4, 3, 1, 2]] * 3) == SHRINKAGES[3]


def test_no_deviation_wins_ties():
    assert chosen([[1, 1, 1, 1, 1], [3, 3, 3, 3, 3]]) == np.inf


def test_rounding_does_not_flip_the_choice():
    assert chosen([[1 + 1e-9, 1, 1, 1, 1]] * 3) == np.inf


@pytest.mark.parametrize(
    ("standard_errors", "expected"), [(0, 4), (0.99, 4), (1.01, 2), (2.99, 2), (3.01, 1)]
)
def test_the_largest_shrinkage_within_the_standard_errors_is_chosen(standard_errors, expected):
    # The mean of these is 0, and its standard error 1.
    noise = np.array([-1, 0, 1]) * 3**0.5
    flat = np.ones(3)
    errors = np.column_stack([99 * flat, 13 + noise, 11 + noise, 20 * flat, 10 * flat])
    assert chosen(errors, standard_errors) == SHRINKAGES[expected]


def test_one_pair_of_folds_chooses_no_deviations():
    assert chosen([[5, 4, 3, 2, 1]]) == np.inf


# Nested folds


@pytest.fixture(params=["partition", "overlapping"])
def folds(request):
    rows = np.arange(12)
    if request.param == "partition":
        return Folds.from_splits(KFold(3).split(rows), 12)
    return Folds.from_splits(
        [(rows[:8], rows[6:]), (rows[4:], rows[:6]), (rows[::2], rows[1::2])], 12
    )


def test_nested_folds_are_validated_on_each_fold_in_turn(folds):
    for (train, test), (_, validated_on) in zip(folds.splits, folds.nested(), strict=True):
        assert len(validated_on) == 1
        assert_array_equal(validated_on.splits[0][0], train)
        assert_array_equal(validated_on.splits[0][1], test)


def test_nested_folds_learn_from_training_rows_alone(folds):
    for (train, _), (learned_from, _) in zip(folds.splits, folds.nested(), strict=True):
        rows = np.concatenate([part for split in learned_from.splits for part in split])
        assert np.isin(rows, train).all()


def test_nested_folds_of_a_partition_hold_out_every_training_row_once():
    folds = Folds.from_splits(KFold(3).split(np.arange(12)), 12)
    for (train, _), (learned_from, _) in zip(folds.splits, folds.nested(), strict=True):
        held_out = np.concatenate([test for _, test in learned_from.splits])
        assert_array_equal(np.sort(held_out), train)
        for inner_train, inner_test in learned_from.splits:
            assert_array_equal(np.sort(np.append(inner_train, inner_test)), train)


def test_a_single_fold_has_nothing_nested():
    assert Folds([(np.arange(3), np.arange(3, 6))]).nested() == []


def test_nested_folds_without_rows_are_left_out():
    disjoint = Folds([(np.array([0, 1]), np.array([2])), (np.array([3, 4]), np.array([5]))])
    assert disjoint.nested() == []
