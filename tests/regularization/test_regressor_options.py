"""What the parameters of BilevelRegularizedRegressor do."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)

from skbamm import BilevelRegularizedRegressor
from skbamm.solvers import SlBamm
from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import make_regression

NAMES = ["num__a", "num__b", "cat__c", "num__d", "cat__e", "num__f"]
LABELS = [name.split("__")[0] for name in NAMES]


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


@pytest.fixture(scope="module")
def held_out():
    """Rows of the same distribution."""
    data = make_regression(70, seed=1)
    X, y, weight = data.X[40:], data.y[40:], data.weight[40:]
    return data.X[:40], data.y[:40], data.weight[:40], X, y, weight


def regressor(penalty="l2", **options):
    return BilevelRegularizedRegressor(penalty, **options)


# Shapes of what is learned


@pytest.mark.parametrize("y_shape", [(40,), (40, 1), (40, 3)])
@pytest.mark.parametrize("per_target", [True, False])
def test_attributes_have_the_shape_of_the_targets(y_shape, per_target):
    data = make_regression(n_targets=3)
    y = data.y[:, 0] if len(y_shape) == 1 else data.y[:, : y_shape[1]]
    model = regressor("adaptive", alpha_per_target=per_target).fit(data.X, y)
    targets = y_shape[1:]
    assert model.coef_.shape == (*targets, 6)
    assert np.shape(model.intercept_) == targets
    assert model.predict(data.X).shape == y_shape
    assert model.alpha_.shape == ((*targets, 6) if per_target else (6,))
    assert np.shape(model.criterion_) == (targets if per_target else ())


@pytest.mark.parametrize("n_targets", [1, 2])
def test_group_alpha_lists_the_targets_with_alpha_per_target(n_targets):
    data = make_regression(n_targets=n_targets)
    model = regressor(groups=LABELS, alpha_per_target=True).fit(data.X, data.y)
    assert [list(one) for one in model.group_alpha_] == [["num", "cat"]] * n_targets


def test_no_intercept_is_zero(data):
    assert regressor(fit_intercept=False).fit(data.X, data.y).intercept_ == 0.0


@pytest.mark.parametrize("groups", [None, LABELS])
def test_groups_have_a_share_where_given(data, groups):
    model = regressor("adaptive", groups=groups, max_iter=0).fit(data.X, data.y)
    assert model.exponents_.shape == (1,)
    assert (model.group_share_ > 0) == (groups is not None)


def test_group_alpha_is_the_strength_of_each_group(data):
    model = regressor(groups=LABELS).fit(data.X, data.y)
    expected = {"num": model.alpha_[0], "cat": model.alpha_[2]}
    assert model.group_alpha_ == pytest.approx(expected)


# Groups


def test_groups_by_name_equal_groups_by_label(data):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(data.X, columns=NAMES)
    expected = regressor(groups=LABELS, max_iter=0).fit(data.X, data.y).coef_
    spellings = [
        {"num": ["num__a", "num__b", "num__d", "num__f"], "cat": [2, 4]},
        {"num": [0, 1, 3, 5], "cat": slice(2, 5, 2)},
        lambda name: name[:3],
        "prefix",
    ]
    for groups in spellings:
        model = regressor(groups=groups, max_iter=0).fit(X, data.y)
        np.testing.assert_allclose(model.coef_, expected)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_prefix_groups_any_dataframe(data, library):
    frames = pytest.importorskip(library)
    make = frames.table if library == "pyarrow" else frames.DataFrame
    X = make(dict(zip(NAMES, data.X.T, strict=True)))
    model = regressor(groups="prefix").fit(X, data.y)
    expected = regressor(groups=LABELS).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, expected.coef_)


def test_one_group_is_no_group(data):
    model = regressor("adaptive", groups=["all"] * 6).fit(data.X, data.y)
    expected = regressor("adaptive").fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_a_group_of_noise_is_penalized_more():
    random = np.random.default_rng(0)
    X = random.normal(size=(80, 20))
    y = X[:, :10] @ random.normal(size=10) + random.normal(size=80)
    strengths = regressor(groups=np.arange(20) // 10).fit(X, y).group_alpha_
    assert strengths[1] > 10 * strengths[0]


# alpha


def test_a_mapping_mixes_fixed_learned_and_unpenalized_groups(data):
    alpha = {"fixed": 0.7, "free": 0}
    model = regressor(groups=["fixed", "free", "x", "x", "y", "y"], alpha=alpha)
    model.fit(data.X, data.y)
    assert model.group_alpha_["fixed"] == pytest.approx(0.7)
    assert model.group_alpha_["free"] == 0
    assert len(model.hyper_) == 2


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
def test_coefficients_are_ridge_at_the_alpha_that_is_reported(penalty, shape):
    data = make_regression(*shape)
    groups = np.array(["fixed", "free", "learned"])[np.r_[0, 1, np.full(shape[1] - 2, 2)]]
    model = regressor(penalty, groups=groups, alpha={"fixed": 0.7, "free": 0}, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # wherever it ends
        model.fit(data.X, data.y, data.weight)
    strength = model.alpha_ * reference.scales(data.X, data.weight) ** 2
    coef, _ = reference.ridge(data.X, data.y, strength, data.weight)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-7, atol=1e-8)


def test_a_mapping_that_says_learn_equals_learn(data):
    model = regressor(groups=LABELS, alpha={"num": "learn"}).fit(data.X, data.y)
    expected = regressor(groups=LABELS).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_fixing_every_group_equals_one_number(data):
    model = regressor(groups=LABELS, alpha={"num": 0.2, "cat": 0.2}).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, regressor(alpha=0.2).fit(data.X, data.y).coef_)


def test_learned_alpha_stays_in_its_bounds(data):
    model = regressor(groups="feature", alpha_bounds=(0.05, 0.06)).fit(data.X, data.y)
    assert (model.alpha_ >= 0.05 * (1 - 1e-12)).all() and (model.alpha_ <= 0.06 * (1 + 1e-12)).all()


# Folds


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3),
        LeaveOneOut(),
        TimeSeriesSplit(3),
        ShuffleSplit(3, random_state=0),
        RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    ],
    ids=lambda cv: type(cv).__name__,
)
@pytest.mark.parametrize("shape", [(30, 4), (10, 14)])
def test_criterion_is_the_error_on_the_rows_that_the_splitter_holds_out(cv, shape):
    data = make_regression(*shape)
    model = regressor(cv=cv, alpha=0.1).fit(data.X, data.y, data.weight)
    expected = reference.held_out_error(
        data.X, data.y, list(cv.split(data.X)), lambda *_: 0.1, data.weight
    )
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-8)


def test_a_generator_of_splits_equals_their_list(data):
    model = regressor(cv=(split for split in data.splits)).fit(data.X, data.y)
    expected = regressor(cv=data.splits).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_boolean_splits_equal_positions(data):
    rows = np.arange(len(data.y))
    masks = [(np.isin(rows, train), np.isin(rows, test)) for train, test in data.splits[:2]]
    model = regressor(cv=masks).fit(data.X, data.y)
    expected = regressor(cv=data.splits[:2]).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_random_state_seeds_the_folds(data):
    criteria = [
        regressor(alpha=0.1, random_state=seed).fit(data.X, data.y).criterion_
        for seed in (0, 0, 1, np.random.RandomState(0))
    ]
    assert criteria[0] == criteria[1]
    assert len(set(criteria)) == 3


def test_sorted_rows_are_no_pitfall():
    random = np.random.default_rng(0)
    X = np.sort(random.normal(size=(60, 1)), axis=0)
    y = X[:, 0] + 0.1 * random.normal(size=60)
    assert regressor().fit(X, y).criterion_ < 0.02


# Validation rows


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_with_x_val_the_criterion_is_the_error_there(shape, weighted, container):
    n_samples = shape[0]
    data = make_regression(n_samples + 9, shape[1])
    X, y = data.X[:n_samples], data.y[:n_samples]
    X_val, y_val, weight_val = (part[n_samples:] for part in (data.X, data.y, data.weight))
    validation = {"X_val": container(X_val), "y_val": y_val}
    if weighted:
        validation["sample_weight_val"] = weight_val
    model = regressor().fit(container(X), y, **validation)
    square = (model.predict(X_val) - y_val) ** 2
    error = np.average(square, weights=weight_val if weighted else None)
    np.testing.assert_allclose(model.criterion_, error / y.var(), rtol=1e-8)


def test_with_x_val_coefficients_are_fitted_on_x_alone(held_out):
    X, y, weight, X_val, y_val, weight_val = held_out
    model = regressor(standardize=False)
    model.fit(X, y, weight, X_val=X_val, y_val=y_val, sample_weight_val=weight_val)
    oracle = Ridge(model.alpha_[0] * weight.sum(), solver="svd").fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, oracle.coef_, rtol=1e-8)


def test_x_val_equals_a_single_split(held_out):
    X, y, _, X_val, y_val, _ = held_out
    # Units are those of X alone with X_val, those of all rows with a split.
    options = {"standardize": False, "alpha_bounds": (1e-12, 1e12), "tol": 1e-8}
    model = regressor(**options).fit(X, y, X_val=X_val, y_val=y_val)
    both, target = np.vstack([X, X_val]), np.append(y, y_val)
    split = [(np.arange(40), np.arange(40, 70))]
    other = regressor(**options, cv=split).fit(both, target)
    # The run stops at a gradient of 1e-8, at an optimum that is flat.
    np.testing.assert_allclose(other.alpha_, model.alpha_, rtol=1e-3)
    np.testing.assert_allclose(
        other.criterion_ * target.var(), model.criterion_ * y.var(), rtol=1e-7
    )


def test_x_val_replaces_cv(held_out):
    X, y, _, X_val, y_val, _ = held_out
    model = regressor(cv=2).fit(X, y, X_val=X_val, y_val=y_val)
    other = regressor(cv=7).fit(X, y, X_val=X_val, y_val=y_val)
    np.testing.assert_array_equal(model.coef_, other.coef_)


@pytest.mark.parametrize("shape", [(40, 6), (12, 18)])
@pytest.mark.parametrize(
    ("train", "val"),
    [(np.asarray, sparse.csr_matrix), (sparse.csr_matrix, np.asarray)],
    ids=["sparse X_val", "sparse X"],
)
def test_x_val_may_be_sparse_where_x_is_dense_and_the_reverse(shape, train, val):
    data = make_regression(shape[0] + 9, shape[1])
    X, y = data.X[: shape[0]], data.y[: shape[0]]
    X_val, y_val = data.X[shape[0] :], data.y[shape[0] :]
    validation = {"y_val": y_val, "sample_weight_val": data.weight[shape[0] :]}
    model = regressor(alpha=0.1).fit(train(X), y, X_val=val(X_val), **validation)
    expected = regressor(alpha=0.1).fit(X, y, X_val=X_val, **validation)
    np.testing.assert_allclose(model.criterion_, expected.criterion_)


def test_integer_weights_of_x_val_are_repeated_rows(held_out):
    X, y, _, X_val, y_val, _ = held_out
    weight = np.arange(len(y_val)) % 3
    model = regressor().fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    X_val, y_val = np.repeat(X_val, weight, axis=0), np.repeat(y_val, weight)
    other = regressor().fit(X, y, X_val=X_val, y_val=y_val)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-6)


# Standard errors


@pytest.fixture(scope="module", params=[None, LABELS], ids=["one group", "groups"])
def by_rule(request, data):
    """Fits that give up nothing and half a standard error."""
    options = {"groups": request.param, "cv": data.splits}
    return [
        regressor("adaptive", standard_errors=s, **options).fit(data.X, data.y) for s in (0, 0.5)
    ]


def test_standard_errors_only_make_the_penalty_stronger(by_rule):
    best, stronger = by_rule
    change = stronger.hyper_ - best.hyper_
    assert change[1] >= 0
    np.testing.assert_array_equal(np.delete(change, 1), 0)


def test_standard_errors_give_up_no_more_than_learning_gained(by_rule):
    best, stronger = by_rule
    assert best.criterion_ <= stronger.criterion_ <= stronger.initial_criterion_


def test_standard_errors_take_the_strongest_penalty_that_the_folds_allow(data):
    options = {"cv": data.splits, "max_iter": 0}
    models = [
        regressor("adaptive", standard_errors=s, **options).fit(data.X, data.y)
        for s in (0, 0.3, 1, 3)
    ]
    strengths = [model.hyper_[1] for model in models]
    assert strengths == sorted(strengths) and strengths[-1] > strengths[0]


def test_no_number_of_standard_errors_gives_up_more_than_that(data):
    model = regressor("adaptive", standard_errors=100, cv=data.splits).fit(data.X, data.y)
    assert model.criterion_ <= model.initial_criterion_


def test_criterion_is_that_of_the_stronger_penalty(data):
    model = regressor("adaptive", standard_errors=1, cv=data.splits).fit(data.X, data.y)
    expected = reference.adaptive_criterion(data.X, data.y, data.splits, model.hyper_)
    np.testing.assert_allclose(model.criterion_, expected, rtol=1e-8)


# Iterations


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_max_iter_zero_keeps_the_start(data, penalty):
    model = regressor(penalty, max_iter=0).fit(data.X, data.y)
    assert model.n_iter_ == 1
    assert len(model.history_) == 0
    assert "nothing was learned" in model.status_


def test_max_iter_zero_of_l2_is_the_best_ridge(data):
    model = regressor(max_iter=0).fit(data.X, data.y)
    assert model.criterion_ == model.initial_criterion_


def test_learning_beats_the_frozen_start(data):
    options = {"groups": "feature", "cv": data.splits}
    frozen = regressor(**options, max_iter=0).fit(data.X, data.y)
    assert regressor(**options).fit(data.X, data.y).criterion_ < frozen.criterion_


def test_fixed_alpha_learns_nothing(data):
    model = regressor("adaptive", alpha=0.3).fit(data.X, data.y)
    assert model.n_iter_ == 1 and model.hyper_.shape == (0,)


def test_a_run_that_gets_there_says_so(data):
    model = regressor().fit(data.X, data.y)
    assert model.status_.startswith("converged after")
    assert model.residual_ <= model.tol


def test_n_iter_counts_the_start_and_the_iterations(data):
    model = regressor().fit(data.X, data.y)
    assert model.n_iter_ == len(model.history_) + 1


def test_the_criterion_is_the_lowest_of_the_history(data):
    model = regressor("adaptive", standard_errors=0, n_repeats=1).fit(data.X, data.y)
    assert model.criterion_ == min(model.initial_criterion_, *model.history_["criterion"])


@pytest.mark.parametrize("penalty", ["l2", "adaptive"])
def test_too_few_iterations_warn(data, penalty):
    model = regressor(penalty, max_iter=1, tol=1e-8)
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=1.*Increase max_iter"):
        model.fit(data.X, data.y)


def test_the_status_is_what_the_warning_says(data):
    model = regressor(max_iter=1, tol=1e-8)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(data.X, data.y)
    assert model.status_ in str(caught[0].message)


def test_the_warning_points_at_the_line_that_called_fit(data):
    with pytest.warns(ConvergenceWarning) as caught:
        regressor(max_iter=1, tol=1e-8).fit(data.X, data.y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("max_iter", [10, 20, 40, 80])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_the_status_says_on_which_side_of_tol_the_residual_is(noise, max_iter):
    data = make_regression(12, 30, noise=noise, seed=1)
    model = regressor("adaptive", max_iter=max_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data.X, data.y)
    assert ("> tol" in model.status_) == (model.residual_ > model.tol)


@pytest.mark.parametrize("noise", [1e-3, 1e3])
def test_tol_is_relative_to_the_error_of_ridge(noise):
    data = make_regression(noise=noise)
    model = regressor(cv=data.splits, tol=1e-3, max_iter=50).fit(data.X, data.y)
    assert model.status_.startswith("converged") and model.residual_ <= 1e-3


# Warm starts


def test_a_warm_start_begins_where_the_last_fit_ended(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    hyper = model.hyper_
    model.set_params(max_iter=0).fit(data.X, data.y)
    np.testing.assert_allclose(model.hyper_, hyper)


def test_a_warm_start_never_ends_above_where_it_began(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    cold = model.criterion_
    # A simpler start is preferred unless another beats it by 1e-6.
    assert model.fit(data.X, data.y).criterion_ <= cold * (1 + 1e-6)


def test_the_initial_criterion_of_a_warm_start_is_still_that_of_a_cold_one(data):
    model = regressor(groups="feature", warm_start=True, cv=data.splits).fit(data.X, data.y)
    cold = model.initial_criterion_
    assert model.fit(data.X, data.y).initial_criterion_ == pytest.approx(cold)


def test_without_warm_start_the_last_fit_is_forgotten(data):
    model = regressor(cv=data.splits).fit(data.X, 3 * data.X[:, 0])
    again = model.fit(data.X, data.y).coef_
    np.testing.assert_array_equal(again, clone(model).fit(data.X, data.y).coef_)


@pytest.mark.parametrize("change", [{"groups": LABELS}, {"penalty": "adaptive"}])
def test_a_warm_start_of_another_kind_starts_afresh(data, change):
    model = regressor(warm_start=True, max_iter=0).fit(data.X, data.y)
    model.set_params(**change).fit(data.X, data.y)
    expected = regressor(**{**{"max_iter": 0}, **change}).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, expected.coef_)


def test_a_warm_start_works_for_each_target():
    data = make_regression(n_targets=2)
    options = {"alpha_per_target": True, "warm_start": True, "n_repeats": 1}
    model = regressor(**options).fit(data.X, data.y)
    hyper = model.hyper_
    model.set_params(max_iter=0).fit(data.X, data.y)
    np.testing.assert_allclose(model.hyper_, hyper)


# Solvers and progress


def test_a_solver_instance_equals_its_name(data):
    model = regressor(solver=SlBamm()).fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, regressor().fit(data.X, data.y).coef_)


def test_parameters_reach_a_solver_instance():
    model = regressor(solver=SlBamm()).set_params(solver__averaging=0.25)
    assert model.solver.averaging == 0.25


def test_clone_copies_the_solver():
    model = regressor(solver=SlBamm(memory=3))
    assert clone(model).solver is not model.solver
    assert clone(model).solver.memory == 3


def test_fit_leaves_the_solver_alone(data):
    solver = SlBamm()
    before = dict(vars(solver))
    regressor(solver=solver).fit(data.X, data.y)
    assert vars(solver) == before


def test_parameters_of_a_solver_name_are_an_error():
    with pytest.raises(ValueError, match=r"solver='sl-bamm' is a name .*skbamm.solvers.SlBamm\(\)"):
        regressor().set_params(solver__averaging=0.25)


def test_name_and_parameters_of_a_solver_can_change_together():
    model = regressor().set_params(solver=SlBamm(), solver__memory=4)
    assert model.solver.memory == 4


@pytest.mark.parametrize(("verbose", "every"), [(1, 10), (2, 1), (True, 10)])
def test_verbose_prints_progress(data, capsys, verbose, every):
    model = regressor("adaptive", verbose=verbose, tol=1e-6).fit(data.X, data.y)
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"[BilevelRegularizedRegressor] {model.status_}; criterion ")
    n_iter = model.n_iter_ - 1
    assert len(lines) == (n_iter if every == 1 else n_iter // 10 + 1)
    assert lines[0].startswith("[BilevelRegularizedRegressor] iteration 1: best criterion ")


def test_silence_is_the_default(data, capsys):
    regressor().fit(data.X, data.y)
    assert capsys.readouterr() == ("", "")


def test_device_auto_works_anywhere(data):
    model = regressor(device="auto", alpha=0.1).fit(data.X, data.y)
    np.testing.assert_allclose(model.coef_, regressor(alpha=0.1).fit(data.X, data.y).coef_)
