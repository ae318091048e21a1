"""What the parameters of HyperCleaningClassifier do, and which shapes of data it takes."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _final_estimator
from skbamm.cleaning.label_quality import _stacking
from skbamm.solvers import SlBamm
from tests.cleaning.label_data import ROUNDING, SHORT, make_labels
from tests.cleaning.label_data import fit as short_fit

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def fit(data, clean=True, **options):
    """Averages of fits have nothing to do with other options, and take half the time."""
    return short_fit(data, clean, **{"standard_errors": 0, **options})


@pytest.fixture(scope="module")
def data():
    return make_labels()


@pytest.fixture(scope="module")
def plain(data):
    """A fit that no test changes."""
    return fit(data)


# Shapes of data


@pytest.mark.parametrize("n_classes", [2, 3])
def test_more_columns_than_rows_are_fitted(n_classes, clean):
    data = make_labels(40, 90, n_classes)
    model = fit(data, clean, max_iter=3)
    assert model.coef_.shape == (1 if n_classes == 2 else 3, 90)
    assert model.score(data.X[data.is_clean], data.y[data.is_clean]) > 0.9


def test_many_classes_are_fitted(clean):
    data = make_labels(240, 12, 12, noise=0.2)
    model = fit(data, clean, cv=3, max_iter=3)
    assert model.coef_.shape == (12, 12)
    np.testing.assert_allclose(model.predict_proba(data.X).sum(1), 1)
    assert model.score(data.X, data.truth) > 0.5


def test_rare_classes_are_fitted():
    data = make_labels(400, noise=0.2)
    keep = np.flatnonzero((data.truth != 2) | (np.arange(400) % 8 == 0))
    model = HyperCleaningClassifier(class_weight="balanced")
    model.fit(data.X[keep], data.y[keep], is_clean=data.is_clean[keep])
    rare = data.truth[keep] == 2
    assert model.score(data.X[keep][rare], data.truth[keep][rare]) > 0.5


def test_constant_and_repeated_columns_are_harmless(data):
    X = np.column_stack([data.X, np.full(120, 3.0), data.X[:, 0]])
    model = fit(data, X=X)
    assert np.isfinite(model.coef_).all()
    np.testing.assert_allclose(model.coef_[:, 0], model.coef_[:, 5], rtol=1e-5, atol=1e-8)


# Options


def test_a_dict_of_class_weights_is_a_sample_weight(data):
    factors = {0: 1.0, 1: 2.0, 2: 0.5}
    model = fit(data, class_weight=factors)
    other = fit(data, weight=np.array([1.0, 2.0, 0.5])[data.y])
    np.testing.assert_allclose(model.coef_, other.coef_, **ROUNDING)


def test_balanced_classes_have_equal_weight(data):
    model = fit(data, class_weight="balanced")
    other = fit(data, weight=1 / np.bincount(data.y)[data.y])
    np.testing.assert_allclose(model.coef_, other.coef_, **ROUNDING)


def test_a_splitter_is_the_list_of_its_splits(data):
    splitter = StratifiedKFold(3)
    model = fit(data, cv=splitter, max_iter=3)
    other = fit(data, cv=list(splitter.split(data.X, data.y)), max_iter=3)
    np.testing.assert_array_equal(model.coef_, other.coef_)


def test_the_seed_changes_the_folds(data):
    first, second = (fit(data, cv=3, random_state=seed, max_iter=0) for seed in (0, 1))
    assert first.criterion_ != second.criterion_


def test_a_random_state_is_drawn_from(data):
    model, other = (
        fit(data, cv=3, random_state=np.random.RandomState(5), max_iter=0) for _ in range(2)
    )
    np.testing.assert_array_equal(model.coef_, other.coef_)


def test_the_seed_does_not_matter_for_given_splits(data):
    first, second = (fit(data, random_state=seed, max_iter=3) for seed in (0, 1))
    np.testing.assert_array_equal(first.coef_, second.coef_)


def test_a_fixed_alpha_stays(data, weighting, clean):
    assert fit(data, clean, weighting=weighting, alpha=0.3).alpha_ == pytest.approx(0.3)


def test_alpha_0_is_no_ridge(data):
    assert np.isfinite(fit(data, alpha=0.0, max_iter=3).coef_).all()


def test_a_larger_alpha_shrinks(data):
    sizes = [np.abs(fit(data, alpha=alpha, max_iter=0).coef_).sum() for alpha in (1e-2, 1, 100)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_without_standardizing_units_matter(data, plain):
    scale = data.X.std(0)
    model = fit(data, X=(data.X - data.X.mean(0)) / scale, standardize=False)
    np.testing.assert_allclose(model.coef_ / scale, plain.coef_, rtol=1e-6, atol=1e-7)
    unscaled = fit(data, standardize=False)
    assert np.abs(unscaled.coef_ - plain.coef_).max() > 1e-3


def test_max_iter_0_is_bayes_rule(data):
    model = fit(data, max_iter=0)
    assert model.hyper_[:2].tolist() == [0, 1]
    assert model.n_iter_ == 1
    assert len(model.history_) == 0
    assert model.criterion_ == model.initial_criterion_
    assert "nothing was learned" in model.status_


def test_more_iterations_do_not_raise_the_criterion(data, weighting, clean):
    options = {"weighting": weighting, "tol": 0.0}
    if weighting == "sample":
        # The best iterate of a merely convex lower level is the one with the least residual.
        runs = [fit(data, clean, max_iter=n, **options) for n in (0, 40)]
    else:
        runs = [fit(data, clean, max_iter=n, **options) for n in (0, 5, 15)]
    criteria = [model.criterion_ for model in runs]
    assert criteria == sorted(criteria, reverse=True)


def test_the_history_has_a_row_for_each_iteration(data):
    model = fit(data, max_iter=4, tol=0.0)
    assert len(model.history_) == 4
    assert model.n_iter_ == 5
    assert model.history_["hyper"].shape == (4, 5)


def test_a_warm_start_takes_fewer_iterations(data, clean, weighting):
    model = HyperCleaningClassifier(weighting, cv=data.splits, warm_start=True)
    is_clean = data.is_clean if clean else None
    cold = model.fit(data.X, data.y, is_clean=is_clean).n_iter_
    assert model.fit(data.X, data.y, is_clean=is_clean).n_iter_ < cold


def test_a_warm_start_is_where_the_last_fit_ended(data, clean):
    options = {"cv": data.splits, "standard_errors": 0, "max_iter": SHORT}
    model = HyperCleaningClassifier(warm_start=True, **options)
    is_clean = data.is_clean if clean else None
    end = model.fit(data.X, data.y, is_clean=is_clean).criterion_
    start = model.fit(data.X, data.y, is_clean=is_clean).initial_criterion_
    np.testing.assert_allclose(start, end, rtol=1e-4)  # the lower level is solved to 1e-5


def test_a_warm_start_from_other_numbers_is_a_cold_one(data):
    options = {"cv": data.splits, "standard_errors": 0, "max_iter": 2}
    model = HyperCleaningClassifier("sample", warm_start=True, **options)
    model.fit(data.X, data.y)
    model.set_params(weighting="adaptive").fit(data.X, data.y, is_clean=data.is_clean)
    cold = fit(data, max_iter=2)
    np.testing.assert_array_equal(model.hyper_, cold.hyper_)


def test_a_warm_start_with_another_number_of_rows_is_a_cold_one(data):
    model = HyperCleaningClassifier("sample", warm_start=True, cv=3, max_iter=2)
    model.fit(data.X, data.y)
    model.fit(data.X[:90], data.y[:90])
    assert model.hyper_.shape == (90,)


@pytest.mark.parametrize(("verbose", "n_lines"), [(0, 0), (1, 3), (2, 13)])
def test_verbose_prints_lines(data, capsys, verbose, n_lines):
    model = fit(data, verbose=verbose, max_iter=12, tol=0.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == n_lines
    if lines:
        assert lines[-1].startswith(f"[HyperCleaningClassifier] {model.status_}; criterion ")


def test_lines_tell_residuals_in_the_unit_of_tol(data, weighting, clean, capsys):
    model = fit(data, clean, weighting=weighting, verbose=2, max_iter=12, tol=0.0)
    *lines, last = capsys.readouterr().out.splitlines()
    for line, residual in zip(lines, model.history_["residual"], strict=True):
        assert (f", residual {residual:.1e}" in line) == np.isfinite(residual)
    assert f"residual {model.residual_:.1e} > tol" in last
    assert last.endswith(f"without learning (max_iter=0) {model.initial_criterion_:.6g}")


def test_the_initial_criterion_is_what_max_iter_0_reaches(data, weighting, clean):
    options = {"weighting": weighting, "max_iter": 12}
    model, without = fit(data, clean, **options), fit(data, clean, **{**options, "max_iter": 0})
    assert model.criterion_ <= model.initial_criterion_
    assert model.initial_criterion_ == without.criterion_ == without.initial_criterion_


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_no_iterate_ends_above_the_initial_criterion(seed):
    """Of free weights the best iterate is not the one with the lowest criterion."""
    rng = np.random.default_rng(seed)
    X, y = 1000 * rng.normal(size=(20, 1)), np.r_[0, 1, rng.integers(2, size=18)]
    model = HyperCleaningClassifier("sample", max_iter=3)
    model.fit(X, y, np.eye(20)[0], X_val=X[:11], y_val=y[:11])
    assert model.criterion_ <= model.initial_criterion_


def test_an_instance_of_the_solver_is_its_name(data, plain):
    np.testing.assert_array_equal(fit(data, solver=SlBamm()).coef_, plain.coef_)


def test_options_of_a_solver_instance_can_be_set(data):
    model = HyperCleaningClassifier(solver=SlBamm(), cv=data.splits, max_iter=3)
    model.set_params(solver__averaging=0.3)
    assert model.solver.averaging == 0.3
    model.fit(data.X, data.y, is_clean=data.is_clean)
    assert (model.history_["averaging"] == 0.3).all()


# Final estimators


def test_without_relabelling_a_final_estimator_is_fitted_with_the_learned_weights(data):
    final = LogisticRegression(C=0.5)
    model = fit(data, final_estimator=final, relabel=False)
    weight = np.where(data.is_clean, model.clean_weight_, model.sample_weight_)
    expected = LogisticRegression(C=0.5).fit(data.X, data.y, weight)
    np.testing.assert_allclose(model.final_estimator_.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(data.X), expected.predict(data.X))
    np.testing.assert_allclose(model.predict_proba(data.X), expected.predict_proba(data.X))
    np.testing.assert_allclose(model.decision_function(data.X), expected.decision_function(data.X))


def test_a_final_estimator_sees_relabelled_rows_as_the_last_fit_does(data, monkeypatch):
    monkeypatch.setattr(_final_estimator, "LEAST_TARGET", 1e-6)
    monkeypatch.setattr(_stacking, "out_of_fold_scores", lambda *arguments: None)
    options = {"standardize": False, "max_iter": 3, "standard_errors": 0}
    own = fit(data, **options)
    # The last fit is logistic regression on rows whose noisy ones weigh 1, whatever their label.
    total = np.where(data.is_clean, own.clean_weight_, 1.0).sum()
    final = LogisticRegression(C=1 / (own.alpha_ * total), tol=1e-8)
    other = fit(data, final_estimator=final, **options)
    assert not np.allclose(own.sample_weight_, 1)
    # The ridge of 1e-6 on intercepts is ours alone.
    np.testing.assert_allclose(other.predict_proba(data.X), own.predict_proba(data.X), atol=1e-4)


def test_the_given_final_estimator_is_left_unfitted(data):
    final = LogisticRegression()
    model = fit(data, final_estimator=final, max_iter=0)
    assert not hasattr(final, "coef_")
    assert model.final_estimator is final


@pytest.mark.parametrize(
    "final",
    [
        HistGradientBoostingClassifier(max_iter=5, max_bins=32, min_samples_leaf=5),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["trees", "pipeline"],
)
def test_final_estimators_predict_the_users_labels(data, final):
    names = np.array(["ant", "bee", "cow"])
    model = fit(data, y=names[data.y], final_estimator=final, max_iter=2)
    assert set(model.predict(data.X)) <= set(names)
    assert model.predict_proba(data.X).shape == (120, 3)
    np.testing.assert_array_equal(model.final_estimator_.classes_, model.classes_)
    assert model.score(data.X, names[data.truth]) > 0.6


def test_final_estimators_of_sparse_columns_get_them_sparse(data):
    X = sparse.csr_matrix(data.X)
    model = fit(data, X=X, final_estimator=LogisticRegression(), max_iter=0)
    assert model.predict(X).shape == (120,)


def test_too_few_iterations_are_a_warning(data):
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=2"):
        fit(data, max_iter=2)
