"""What must not change a fit of HyperCleaningClassifier, and what must."""

import functools

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from tests.cleaning.label_data import ROUNDING, fit, make_labels

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)
# Two runs that arrive at the same stationary point, to tol=1e-3, by other iterates.
LEARNED = {"rtol": 0, "atol": 0.02}


@pytest.fixture(scope="module")
def data():
    return make_labels()


@functools.cache
def plain(clean=True, weighting="adaptive", weighted=False):
    """A fit that no test changes."""
    data = make_labels()
    return fit(data, clean, weighting=weighting, weight=data.weight if weighted else None)


# Weights and rates

# Where averages of fits have nothing to do with it: half the time.
ONE_FIT = {"standard_errors": 0}


@pytest.mark.parametrize("n_classes", [2, 3])
def test_weights_are_in_0_to_1_and_1_of_verified_labels(n_classes, weighting, clean):
    data = make_labels(n_classes=n_classes)
    weights = fit(data, clean, weighting=weighting).sample_weight_
    assert weights.shape == (120,)
    assert (weights >= 0).all() and (weights <= 1).all()
    assert not clean or (weights[data.is_clean] == 1).all()


@pytest.mark.parametrize(("noise", "seed"), [(0.1, 0), (0.4, 1)])
def test_the_noise_rate_is_near_the_truth(noise, seed):
    data = make_labels(400, clean=0.4, noise=noise, seed=seed)
    found = fit(data, max_iter=60, **ONE_FIT).noise_rate_
    # Three standard errors of a share of 240 rows, most of which could be told apart.
    assert abs(found - data.is_wrong[data.noisy].mean()) < 0.1


def test_noise_of_one_class_is_seen_in_the_rates_by_class():
    data = make_labels(400, noise=0.0)
    random = np.random.default_rng(1)
    wrong = ~data.is_clean & (data.y == 0) & (random.random(400) < 0.5)
    rates = fit(data, y=np.where(wrong, 1, data.y), **ONE_FIT).class_noise_rate_
    assert rates.argmax() == 1  # given label 1, truly 0


def test_noise_rates_are_weighted_means_of_what_labels_lose(data):
    model = plain(weighted=True)
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
    model = plain(clean, weighted=True)
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
    model, other = plain(clean=False), fit(data, False, y=np.array(names)[data.y])
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.classes_.tolist() == names
    predicted = [names[label] for label in model.predict(data.X)]
    assert other.predict(data.X).tolist() == predicted


@pytest.mark.parametrize("names", [[False, True], ["no", "yes"]])
def test_two_classes_may_have_any_names(names):
    data = make_labels(n_classes=2)
    model, other = (fit(data, y=y, **ONE_FIT) for y in (data.y, np.array(names)[data.y]))
    np.testing.assert_array_equal(other.coef_, model.coef_)
    assert other.classes_.tolist() == names
    assert other.coef_.shape == (1, 4) and other.intercept_.shape == (1,)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_order_of_classes_does_not_matter(n_classes, clean):
    data = make_labels(n_classes=n_classes)
    model = fit(data, clean, cv=3)
    other = fit(data, clean, y=n_classes - 1 - data.y, cv=3)
    # Two classes change which score is zero: other roundings in each of the iterations.
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_, atol=1e-5)
    probabilities = other.predict_proba(data.X)[:, ::-1]
    np.testing.assert_allclose(probabilities, model.predict_proba(data.X), atol=1e-5)


def one_hot(X):
    """Columns of zeros and ones, that add up to 1 and are equally frequent."""
    return np.hstack([np.eye(3)[np.argsort(np.argsort(column)) % 3] for column in X.T])


def wide(X):
    """More columns than rows, that vary together."""
    random = np.random.default_rng(0)
    return X @ random.normal(size=(4, 130)) + random.normal(size=(len(X), 130))


@pytest.mark.parametrize(
    "kind", [np.asarray, one_hot, wide, lambda X: sparse.csr_array(one_hot(X))]
)
def test_order_of_columns_does_not_matter(kind, clean):
    data = make_labels()
    X = kind(data.X)
    order = np.random.default_rng(0).permutation(X.shape[1])
    model, other = (
        fit(data, clean, X=columns, cv=3, **(ONE_FIT if kind is wide else {}))
        for columns in (X, X[:, order])
    )
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_, atol=1e-6)
    # Averaged fits end nearby, as rounding leads them.
    np.testing.assert_allclose(other.predict_proba(X[:, order]), model.predict_proba(X), atol=1e-4)


def test_units_of_columns_do_not_matter(data, weighting, clean):
    units = 10.0 ** np.random.default_rng(0).uniform(-6, 6, 4)
    model = plain(clean, weighting)
    other = fit(data, clean, weighting=weighting, X=data.X * units)
    np.testing.assert_allclose(other.coef_ * units, model.coef_, **ROUNDING)


def test_offsets_of_columns_do_not_matter(data, clean):
    model, other = plain(clean), fit(data, clean, X=data.X + np.array([1e3, 0, -50, 7]))
    # Columns of size 1e3 have lost three digits to begin with.
    np.testing.assert_allclose(other.coef_, model.coef_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_weights_does_not_matter(data, weighting, clean, factor):
    model = plain(clean, weighting, weighted=True)
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


@pytest.mark.parametrize(
    ("n_classes", "container"), [(2, sparse.csr_matrix), (3, sparse.csc_array)]
)
def test_sparse_columns_give_nearly_the_fit_of_dense_ones(n_classes, container):
    """Not centred, they have another start of the lower level and other intercepts' ridge."""
    data = make_labels(n_classes=n_classes)
    dense, thin = (fit(data, X=X, max_iter=60, **ONE_FIT) for X in (data.X, container(data.X)))
    np.testing.assert_allclose(thin.sample_weight_, dense.sample_weight_, **LEARNED)
    np.testing.assert_allclose(
        thin.predict_proba(container(data.X)), dense.predict_proba(data.X), **LEARNED
    )


def test_sparse_columns_at_the_start_give_the_fit_of_dense_ones(data, clean):
    dense = fit(data, clean, max_iter=0)
    thin = fit(data, clean, max_iter=0, X=sparse.csr_matrix(data.X))
    # A ridge of 1e-6 on intercepts, which centring moves, and so the weights of averaged fits.
    np.testing.assert_allclose(thin.sample_weight_, dense.sample_weight_, atol=2e-3)
    np.testing.assert_allclose(thin.predict_proba(data.X), dense.predict_proba(data.X), atol=4e-3)


def test_float32_is_close_to_float64(data):
    model, other = (fit(data, max_iter=5, X=data.X.astype(dtype)) for dtype in "df")
    # Seven digits of X, through five iterations.
    np.testing.assert_allclose(other.sample_weight_, model.sample_weight_, atol=1e-4)


def test_a_fit_repeats_itself(data, weighting, clean):
    first, second = (fit(data, clean, weighting=weighting, cv=3, max_iter=3) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)


# Which rows are clean


def test_a_mask_of_all_false_is_no_mask(data, weighting):
    model = plain(False, weighting)
    other = fit(data, np.zeros(120, dtype=bool), weighting=weighting)
    np.testing.assert_array_equal(other.coef_, model.coef_)


@pytest.mark.parametrize("kind", [np.ndarray.tolist, np.int64, lambda mask: mask[:, None]])
def test_a_mask_may_be_a_list_integers_or_a_column(data, kind):
    options = {"weighting": "sample", "max_iter": 2}
    model, other = fit(data, **options), fit(data, kind(data.is_clean), **options)
    np.testing.assert_array_equal(other.coef_, model.coef_)


def test_all_rows_clean_is_a_plain_fit_with_learned_alpha(data, weighting):
    clean, options = np.ones(120, dtype=bool), {"weighting": weighting, "standard_errors": 0}
    model = fit(data, clean, y=data.truth, **options)
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
    model = HyperCleaningClassifier(max_iter=0, **ONE_FIT)
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


@pytest.mark.filterwarnings("ignore:cv=5 asks for more folds")
def test_one_verified_row_of_a_class_is_enough():
    data = make_labels(60, clean=0.0)
    mask = np.zeros(60, dtype=bool)
    mask[[np.flatnonzero(data.y == c)[0] for c in range(3)]] = True
    model = fit(data, mask, cv=5, max_iter=3)
    assert np.isfinite(model.coef_).all()
    assert 0 <= model.noise_rate_ <= 1
