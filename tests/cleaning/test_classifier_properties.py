"""What must not change a fit of HyperCleaningClassifier, and what must."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _final_estimator
from skbamm.cleaning.label_quality import _stacking
from skbamm.solvers import SlBamm
from tests.cleaning.label_data import make_labels

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

# Long enough to move all numbers; two runs are compared wherever they end.
SHORT = 8
# Rounding that a run of some ten iterations carries on.
ROUNDING = {"rtol": 1e-7, "atol": 1e-8}
# Two runs that arrive at the same stationary point, to tol=1e-3, by other iterates.
LEARNED = {"rtol": 0, "atol": 0.02}


def fit(data, clean=True, *, X=None, y=None, weight=None, cv=None, **options):
    """A fit of the data with some of it replaced."""
    cv = data.splits if cv is None else cv
    model = HyperCleaningClassifier(**{"cv": cv, "max_iter": SHORT, **options})
    return model.fit(
        data.X if X is None else X,
        data.y if y is None else y,
        weight,
        is_clean=data.is_clean if clean is True else (None if clean is False else clean),
    )


@pytest.fixture(params=[True, False], ids=["verified", "none verified"])
def clean(request):
    return request.param


@pytest.fixture(params=["adaptive", "sample"])
def weighting(request):
    return request.param


@pytest.fixture(scope="module")
def data():
    return make_labels()


# Weights and rates


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_in_0_to_1_and_1_of_verified_labels(n_classes, weighting, clean):
    data = make_labels(n_classes=n_classes)
    weights = fit(data, clean, weighting=weighting).sample_weight_
    assert weights.shape == (120,)
    assert (weights >= 0).all() and (weights <= 1).all()
    assert not clean or (weights[data.is_clean] == 1).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_the_noise_rate_is_near_the_truth(noise, seed):
    data = make_labels(400, clean=0.4, noise=noise, seed=seed)
    found = fit(data, cv=5, max_iter=60).noise_rate_
    # Three standard errors of a share of 240 rows, most of which could be told apart.
    assert abs(found - data.is_wrong[data.noisy].mean()) < 0.1


def test_noise_of_one_class_is_seen_in_the_rates_by_class():
    data = make_labels(400, noise=0.0)
    random = np.random.default_rng(1)
    wrong = ~data.is_clean & (data.y == 0) & (random.random(400) < 0.5)
    rates = fit(data, y=np.where(wrong, 1, data.y), cv=5).class_noise_rate_
    assert rates.argmax() == 1  # given label 1, truly 0


def test_noise_rates_are_weighted_means_of_what_labels_lose(data):
    model = fit(data, weight=data.weight)
    noisy = data.noisy
    lost = 1 - model.sample_weight_
    expected = np.average(lost[noisy], weights=data.weight[noisy])
    np.testing.assert_allclose(model.noise_rate_, expected)
    for c in range(3):
        given = noisy[data.y[noisy] == c]
        expected = np.average(lost[given], weights=data.weight[given])
        np.testing.assert_allclose(model.class_noise_rate_[c], expected)


def test_free_weights_of_wrong_rows_are_lower():
    random = np.random.default_rng(0)
    truth = np.resize([0, 1, 2], 150)
    X = 3 * np.eye(3)[truth] + 0.7 * random.normal(size=(150, 3))
    is_clean = np.arange(150) < 60
    wrong = ~is_clean & (random.random(150) < 0.3)
    y = np.where(wrong, (truth + 1) % 3, truth)
    model = HyperCleaningClassifier("sample").fit(X, y, is_clean=is_clean)
    noisy = ~is_clean
    assert roc_auc_score(wrong[noisy], -model.sample_weight_[noisy]) > 0.8


# What must not matter


def test_order_of_rows_does_not_matter_for_given_splits(data, clean):
    order = np.random.default_rng(0).permutation(120)
    place = np.argsort(order)
    splits = [(place[train], place[test]) for train, test in data.splits]
    model = fit(data, clean, weight=data.weight)
    other = fit(
        data,
        data.is_clean[order] if clean else False,
        X=data.X[order],
        y=data.y[order],
        weight=data.weight[order],
        cv=splits,
    )
    np.testing.assert_allclose(other.coef_, model.coef_, **ROUNDING)
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_[order], **ROUNDING)


@pytest.mark.parametrize(
    "names",
    [["ant", "bee", "cow"], [-7, 100, 3000], [0.0, 1.0, 2.0]],
    ids=["strings", "integers", "floats"],
)
def test_names_of_classes_do_not_matter(data, names):
    model, other = fit(data), fit(data, y=np.array(names)[data.y])
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.classes_.tolist() == names
    predicted = [names[label] for label in model.predict(data.X)]
    assert other.predict(data.X).tolist() == predicted


@pytest.mark.parametrize("names", [[False, True], ["no", "yes"]])
def test_two_classes_may_have_any_names(names):
    data = make_labels(n_classes=2)
    model, other = fit(data), fit(data, y=np.array(names)[data.y])
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.classes_.tolist() == names
    assert other.coef_.shape == (1, 4) and other.intercept_.shape == (1,)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_order_of_classes_does_not_matter_for_given_splits(n_classes, clean):
    data = make_labels(n_classes=n_classes)
    model = fit(data, clean)
    other = fit(data, clean, y=n_classes - 1 - data.y)
    # Two classes change which score is zero: other roundings in each of the iterations.
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_, atol=1e-5)
    probabilities = other.predict_proba(data.X)[:, ::-1]
    np.testing.assert_allclose(probabilities, model.predict_proba(data.X), atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_units_of_columns_do_not_matter(data, weighting, clean, seed):
    units = 10.0 ** np.random.default_rng(seed).uniform(-6, 6, 4)
    model = fit(data, clean, weighting=weighting)
    other = fit(data, clean, weighting=weighting, X=data.X * units)
    np.testing.assert_allclose(other.coef_ * units, model.coef_, **ROUNDING)


def test_offsets_of_columns_do_not_matter(data, clean):
    model, other = fit(data, clean), fit(data, clean, X=data.X + np.array([1e3, 0, -50, 7]))
    # Columns of size 1e3 have lost three digits to begin with.
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_weights_does_not_matter(data, weighting, clean, factor):
    model = fit(data, clean, weighting=weighting, weight=data.weight)
    other = fit(data, clean, weighting=weighting, weight=factor * data.weight)
    np.testing.assert_allclose(other.coef_, model.coef_, **ROUNDING)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_integer_weights_are_repeated_rows_without_verified_rows(n_classes):
    """With verified rows the initialization counts rows: calibrated by how many they are."""
    data = make_labels(n_classes=n_classes)
    weight = np.random.default_rng(0).integers(0, 4, 120)
    rows = np.repeat(np.arange(120), weight)
    splits = [
        (np.flatnonzero(np.isin(rows, train)), np.flatnonzero(np.isin(rows, test)))
        for train, test in data.splits
    ]
    weighted = fit(data, False, weight=weight)
    repeated = fit(data, False, X=data.X[rows], y=data.y[rows], cv=splits)
    np.testing.assert_allclose(repeated.coef_, weighted.coef_, **ROUNDING)
    np.testing.assert_allclose(repeated.sample_weight_, weighted.sample_weight_[rows], **ROUNDING)


def test_rows_without_weight_are_as_good_as_left_out(data, clean):
    weight = (np.random.default_rng(0).random(120) < 0.8).astype(float)
    rows = np.flatnonzero(weight)
    splits = [
        (np.flatnonzero(np.isin(rows, train)), np.flatnonzero(np.isin(rows, test)))
        for train, test in data.splits
    ]
    weighted = fit(data, clean, weight=weight)
    fewer = fit(
        data, data.is_clean[rows] if clean else False, X=data.X[rows], y=data.y[rows], cv=splits
    )
    np.testing.assert_allclose(weighted.coef_, fewer.coef_, **ROUNDING)
    np.testing.assert_allclose(weighted.sample_weight_[rows], fewer.sample_weight_, **ROUNDING)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_columns_give_nearly_the_fit_of_dense_ones(n_classes, container):
    """Not centred, they have another start of the lower level and other intercepts' ridge."""
    data = make_labels(n_classes=n_classes)
    dense, thin = fit(data, max_iter=60), fit(data, X=container(data.X), max_iter=60)
    np.testing.assert_allclose(thin.sample_weight_, dense.sample_weight_, **LEARNED)
    np.testing.assert_allclose(
        thin.predict_proba(container(data.X)), dense.predict_proba(data.X), **LEARNED
    )


def test_sparse_columns_at_the_start_give_the_fit_of_dense_ones(data, clean):
    dense = fit(data, clean, max_iter=0)
    thin = fit(data, clean, max_iter=0, X=sparse.csr_matrix(data.X))
    # A ridge of 1e-6 on intercepts, which centring moves.
    np.testing.assert_allclose(thin.sample_weight_, dense.sample_weight_, atol=2e-3)
    np.testing.assert_allclose(thin.predict_proba(data.X), dense.predict_proba(data.X), atol=2e-3)


def test_float32_is_close_to_float64(data):
    model, other = fit(data, max_iter=5), fit(data, max_iter=5, X=data.X.astype(np.float32))
    # Seven digits of X, through five iterations.
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_, atol=1e-4)


def test_a_fit_repeats_itself(data, weighting, clean):
    first, second = (fit(data, clean, weighting=weighting, cv=3) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)


# Which rows are clean


def test_a_mask_of_all_false_is_no_mask(data, weighting):
    model = fit(data, False, weighting=weighting)
    other = fit(data, np.zeros(120, dtype=bool), weighting=weighting)
    np.testing.assert_array_equal(other.coef_, model.coef_)


@pytest.mark.parametrize("kind", [np.ndarray.tolist, np.int64, lambda mask: mask[:, None]])
def test_a_mask_may_be_a_list_integers_or_a_column(data, kind):
    model, other = fit(data, max_iter=2), fit(data, kind(data.is_clean), max_iter=2)
    np.testing.assert_array_equal(other.coef_, model.coef_)


def test_all_rows_clean_is_a_plain_fit_with_learned_alpha(data, weighting):
    model = fit(data, np.ones(120, dtype=bool), y=data.truth, weighting=weighting)
    assert (model.sample_weight_ == 1).all()
    assert model.noise_rate_ == 0
    plain = LogisticRegression(C=1 / (model.alpha_ * 120), tol=1e-8)
    plain.fit(StandardScaler().fit_transform(data.X), data.truth)
    np.testing.assert_allclose(
        model.predict_proba(data.X),
        plain.predict_proba(StandardScaler().fit_transform(data.X)),
        atol=1e-4,  # the tolerance of LogisticRegression, and our ridge of 1e-6 on intercepts
    )


def test_verified_rows_apart_are_verified_rows_last(data):
    order = np.argsort(data.is_clean, kind="stable")
    n_noisy = len(data.noisy)
    X, y, weight = data.X[order], data.y[order], data.weight[order]
    inside = HyperCleaningClassifier(max_iter=5).fit(X, y, weight, is_clean=data.is_clean[order])
    apart = HyperCleaningClassifier(max_iter=5).fit(
        X[:n_noisy],
        y[:n_noisy],
        weight[:n_noisy],
        X_val=X[n_noisy:],
        y_val=y[n_noisy:],
        sample_weight_val=weight[n_noisy:],
    )
    np.testing.assert_allclose(apart.coef_, inside.coef_, **ROUNDING)
    np.testing.assert_allclose(apart.sample_weight_, inside.sample_weight_[:n_noisy], **ROUNDING)


def test_sparse_rows_may_have_dense_verified_rows(data):
    X, y = data.X[data.noisy], data.y[data.noisy]
    clean = {"y_val": data.y[data.is_clean]}
    model = HyperCleaningClassifier(max_iter=0)
    thin = sparse.csr_matrix(data.X[data.is_clean])
    expected = model.fit(sparse.csr_matrix(X), y, X_val=thin, **clean).coef_
    found = model.fit(sparse.csr_matrix(X), y, X_val=thin.toarray(), **clean).coef_
    np.testing.assert_array_equal(found, expected)
    dense = model.fit(X, y, X_val=thin.toarray(), **clean).coef_
    found = model.fit(X, y, X_val=thin, **clean).coef_
    np.testing.assert_array_equal(found, dense)


def test_a_class_may_occur_among_verified_rows_only(data):
    keep = data.y[data.noisy] != 2
    X, y = data.X[data.noisy][keep], data.y[data.noisy][keep]
    model = HyperCleaningClassifier(max_iter=3)
    with pytest.warns(UserWarning, match="y_val has classes that y does not have"):
        model.fit(X, y, X_val=data.X[data.is_clean], y_val=data.y[data.is_clean])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.coef_.shape == (3, 4)
    assert (model.predict(data.X) == 2).any()
    assert model.class_noise_rate_[2] == 0


def test_a_class_may_be_absent_from_the_verified_rows(data):
    mask = data.is_clean & (data.y != 2)
    model = fit(data, mask, max_iter=5)
    assert np.isfinite(model.coef_).all()
    assert model.classes_.tolist() == [0, 1, 2]
    assert (model.predict_proba(data.X) > 0).all()


def test_one_verified_row_of_a_class_is_enough():
    data = make_labels(60, clean=0.0)
    mask = np.zeros(60, dtype=bool)
    mask[[np.flatnonzero(data.y == c)[0] for c in range(3)]] = True
    model = fit(data, mask, cv=5, max_iter=3)
    assert np.isfinite(model.coef_).all()
    assert 0 <= model.noise_rate_ <= 1


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


def test_without_standardizing_units_matter(data):
    scale = data.X.std(0)
    model = fit(data, X=(data.X - data.X.mean(0)) / scale, standardize=False)
    other = fit(data)
    np.testing.assert_allclose(model.coef_ / scale, other.coef_, rtol=1e-6, atol=1e-7)
    unscaled = fit(data, standardize=False)
    assert np.abs(unscaled.coef_ - other.coef_).max() > 1e-3


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
    model = HyperCleaningClassifier(cv=data.splits, warm_start=True, max_iter=SHORT)
    is_clean = data.is_clean if clean else None
    end = model.fit(data.X, data.y, is_clean=is_clean).criterion_
    start = model.fit(data.X, data.y, is_clean=is_clean).initial_criterion_
    np.testing.assert_allclose(start, end, rtol=1e-4)  # the lower level is solved to 1e-5


def test_a_warm_start_from_other_numbers_is_a_cold_one(data):
    model = HyperCleaningClassifier("sample", warm_start=True, cv=data.splits, max_iter=2)
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


def test_an_instance_of_the_solver_is_its_name(data):
    np.testing.assert_array_equal(fit(data, solver=SlBamm()).coef_, fit(data).coef_)


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
    options = {"standardize": False, "max_iter": 3}
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
        HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5),
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


@pytest.mark.parametrize(
    "final", [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())]
)
def test_a_final_estimator_that_takes_no_weights_is_an_error(data, final):
    with pytest.raises(ValueError, match=r"must accept sample_weight.*KNeighborsClassifier"):
        fit(data, final_estimator=final, max_iter=0)


def test_too_few_iterations_are_a_warning(data):
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=2"):
        fit(data, max_iter=2)
