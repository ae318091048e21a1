"""What BilevelRegularizedRegressor learns for each group and target, and from which alpha."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.reference import adaptive_ridge as reference
from tests.regularization.regression_data import LABELS, NAMES, make_regression, regressor


@pytest.fixture(scope="module")
def data():
    return make_regression(seed=1)


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
    options = {"alpha": {"fixed": 0.7, "free": 0}, "max_iter": 5, "standard_errors": 0}
    model = regressor(penalty, groups=groups, **options)
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


@pytest.mark.filterwarnings("ignore:Learned strengths lie at alpha_bounds:UserWarning")
def test_learned_alpha_stays_in_its_bounds(data):
    model = regressor(groups="feature", alpha_bounds=(0.05, 0.06)).fit(data.X, data.y)
    assert (model.alpha_ >= 0.05 * (1 - 1e-12)).all() and (model.alpha_ <= 0.06 * (1 + 1e-12)).all()


# Standard errors


@pytest.mark.parametrize("penalty", ["l2", "l1", "positive", "no strength"])
def test_standard_errors_change_nothing_where_there_is_no_mean(data, penalty):
    options = {
        "positive": {"penalty": "adaptive", "positive": True},
        "no strength": {"penalty": "adaptive", "alpha": 0.3},
    }.get(penalty, {"penalty": penalty})
    models = [
        regressor(standard_errors=s, max_iter=3, cv=data.splits, tol=10, **options) for s in (0, 3)
    ]
    coefs = [model.fit(data.X, data.y).coef_ for model in models]
    np.testing.assert_array_equal(*coefs)


def test_two_folds_have_no_standard_error(data):
    models = [regressor("adaptive", standard_errors=s, cv=2, n_repeats=1) for s in (0, 3)]
    coefs = [model.fit(data.X, data.y).coef_ for model in models]
    np.testing.assert_array_equal(*coefs)


def test_of_few_standard_errors_the_best_fit_is_left_alone(data):
    models = [regressor("adaptive", standard_errors=s, cv=data.splits) for s in (0, 1e-4, 1)]
    best, few, one = (model.fit(data.X, data.y).coef_ for model in models)
    np.testing.assert_array_equal(few, best)
    assert np.abs(one - best).max() > 1e-3


@pytest.mark.parametrize("groups", [None, LABELS], ids=["one group", "groups"])
@pytest.mark.parametrize("standard_errors", [0.5, 1, 100])
def test_no_number_of_standard_errors_gives_up_what_learning_gained(data, groups, standard_errors):
    options = {"cv": data.splits, "groups": groups}
    model = regressor("adaptive", standard_errors=standard_errors, **options)
    model.fit(data.X, data.y)
    assert model.criterion_ <= model.initial_criterion_
