"""Learning from a sample where rows are many, and weighing rows that were not in the fit."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_classification

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows
from skbamm.cleaning._rows import LabelRows, search_sample

N = 900


def make_data(n_classes, n_samples=2 * N, seed=0):
    """Rows of which the first half is for a fit; noisy labels, some of them verified."""
    X, y = make_classification(
        n_samples, 8, n_informative=5, n_classes=n_classes, class_sep=1.5, random_state=seed
    )
    generator = np.random.default_rng(seed)
    is_clean = generator.random(n_samples) < 0.15
    is_wrong = ~is_clean & (generator.random(n_samples) < 0.3)
    given = np.where(is_wrong, (y + 1) % n_classes, y)
    return X, given, is_clean, is_wrong


@pytest.fixture(params=[2, 3], ids="{} classes".format)
def data(request):
    return make_data(request.param)


def allow(monkeypatch, n_rows):
    """Samples of so many noisy rows, and as many verified ones."""
    monkeypatch.setattr(_rows, "ENOUGH", n_rows)
    monkeypatch.setattr(_rows, "PER_CLASS", 1)


def rows_of(labels, is_clean, n_features=3):
    X = np.zeros((len(labels), n_features))
    n_classes = int(labels.max()) + 1
    weight = np.ones(len(labels))
    return LabelRows(X, labels, weight, is_clean, len(labels), np.arange(n_classes))


# The sample


def test_few_rows_are_all_taken():
    assert search_sample(rows_of(np.arange(500) % 3, np.arange(500) < 50), 0) is None


def test_many_rows_are_sampled_verified_and_noisy_apart(monkeypatch):
    allow(monkeypatch, 1000)
    is_clean = np.arange(9000) < 600
    sample = search_sample(rows_of(np.arange(9000) % 3, is_clean), 0)
    assert (is_clean[sample.positions]).sum() == 600
    assert (~is_clean[sample.positions]).sum() == pytest.approx(1000, abs=3)
    assert (np.diff(sample.positions) > 0).all()


def test_a_rare_class_keeps_its_rows_and_its_share(monkeypatch):
    allow(monkeypatch, 1000)
    labels = np.where(np.arange(20_000) % 200 == 0, 1, 0)
    sample = search_sample(rows_of(labels, np.zeros(20_000, dtype=bool)), 0)
    of_rare = labels[sample.positions] == 1
    assert of_rare.sum() == _rows.LEAST_ROWS
    share = sample.factor[of_rare].sum() / sample.factor.sum()
    assert share == pytest.approx(100 / 20_000, rel=0.02)


def test_a_row_is_taken_by_its_position_alone(monkeypatch):
    allow(monkeypatch, 1000)
    labels = np.arange(9000) % 3
    mask = np.zeros(9000, dtype=bool)
    first, again = (search_sample(rows_of(labels, mask), 0).positions for _ in range(2))
    other = search_sample(rows_of(labels, mask), 1).positions
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_wide_tables_and_many_classes_get_larger_samples():
    labels = np.arange(40_000) % 50
    sample = search_sample(rows_of(labels, np.zeros(40_000, dtype=bool)), 0)
    assert len(sample.positions) == 50 * _rows.PER_CLASS


# Fits


@pytest.mark.parametrize("with_verified", [True, False])
def test_a_fit_from_a_sample_is_near_the_one_from_all_rows(monkeypatch, data, with_verified):
    X, given, is_clean, is_wrong = data
    options = {"is_clean": is_clean} if with_verified else {}
    whole = HyperCleaningClassifier(final_estimator="linear").fit(X, given, **options)
    allow(monkeypatch, N)
    part = HyperCleaningClassifier(final_estimator="linear").fit(X, given, **options)
    assert part.sample_weight_.shape == (2 * N,)
    assert (part.predict(X) == whole.predict(X)).mean() > 0.93
    noisy = ~is_clean if with_verified else np.ones(2 * N, dtype=bool)
    assert np.corrcoef(part.sample_weight_[noisy], whole.sample_weight_[noisy])[0, 1] > 0.88
    assert part.noise_rate_ == pytest.approx(whole.noise_rate_, abs=0.05)
    assert 3 * part.sample_weight_[is_wrong].mean() < part.sample_weight_[~is_wrong].mean()


def test_verified_rows_keep_their_weight_in_and_out_of_the_sample(monkeypatch, data):
    X, given, is_clean, _ = data
    allow(monkeypatch, 100)
    model = HyperCleaningClassifier(final_estimator="linear").fit(X, given, is_clean=is_clean)
    assert (model.sample_weight_[is_clean] == 1).all()
    assert (model.sample_weight_[~is_clean] < 1).all()


def test_rows_out_of_the_sample_are_weighed_as_others_are(monkeypatch, data):
    X, given, is_clean, _ = data
    allow(monkeypatch, 200)
    model = HyperCleaningClassifier(final_estimator="linear").fit(X, given, is_clean=is_clean)
    rows = rows_of(np.searchsorted(model.classes_, given), is_clean, n_features=X.shape[1])
    left = np.setdiff1d(np.arange(len(X)), search_sample(rows, 0).positions)
    left = left[~is_clean[left]]
    assert len(left) > N
    np.testing.assert_allclose(
        model.weigh(X[left], given[left]), model.sample_weight_[left], rtol=1e-10, atol=1e-12
    )


def test_a_sampled_fit_is_logistic_regression_with_its_weights(monkeypatch, data):
    from sklearn.linear_model import LogisticRegression

    X, given, is_clean, _ = data
    allow(monkeypatch, 300)
    model = HyperCleaningClassifier(relabel=False, standardize=False, standard_errors=0)
    model.fit(X, given, is_clean=is_clean)
    weight = model.sample_weight_ * np.where(is_clean, model.clean_weight_, 1.0)
    plain = LogisticRegression(C=1 / (model.alpha_ * weight.sum()), tol=1e-10, max_iter=10_000)
    plain.fit(X, given, sample_weight=weight)
    # The ridge of 1e-6 on intercepts is ours alone.
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=0, atol=3e-4)


def test_groups_of_rows_stay_together_in_a_sampled_fit(monkeypatch, data):
    X, given, is_clean, _ = data
    allow(monkeypatch, 300)
    parts = np.array_split(np.arange(len(X)), 4)
    splits = [(np.setdiff1d(np.arange(len(X)), part), part) for part in parts]
    model = HyperCleaningClassifier(cv=splits, max_iter=0).fit(X, given, is_clean=is_clean)
    assert np.isfinite(model.predict_proba(X)).all()


# Rows that were not in the fit


@pytest.mark.parametrize("with_verified", [True, False])
def test_weigh_tells_wrong_labels_of_new_rows(data, with_verified):
    X, given, is_clean, is_wrong = data
    options = {"is_clean": is_clean[:N]} if with_verified else {}
    model = HyperCleaningClassifier(final_estimator="linear").fit(X[:N], given[:N], **options)
    weight = model.weigh(X[N:], given[N:])
    assert ((weight >= 0) & (weight <= 1)).all()
    assert weight[is_wrong[N:]].mean() + 0.3 < weight[~is_wrong[N:]].mean()


def test_weigh_does_not_depend_on_the_block(monkeypatch, data):
    X, given, is_clean, _ = data
    model = HyperCleaningClassifier(final_estimator="linear").fit(
        X[:N], given[:N], is_clean=is_clean[:N]
    )
    whole = model.weigh(X[N:], given[N:])
    parts = [model.weigh(X[i : i + 100], given[i : i + 100]) for i in range(N, 2 * N, 100)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-10)
    monkeypatch.setattr("skbamm.cleaning.label_quality._scorer.BLOCK_ROWS", 64)
    np.testing.assert_allclose(model.weigh(X[N:], given[N:]), whole, rtol=1e-10)


def test_weigh_takes_sparse_columns_and_string_labels(data):
    X, given, is_clean, _ = data
    names = np.array(["ant", "bee", "cow"])[given]
    plain = HyperCleaningClassifier(max_iter=0, final_estimator="linear").fit(
        X[:N], given[:N], is_clean=is_clean[:N]
    )
    named = HyperCleaningClassifier(max_iter=0, final_estimator="linear").fit(
        X[:N], names[:N], is_clean=is_clean[:N]
    )
    found = named.weigh(sparse.csr_matrix(X[N:]), names[N:])
    np.testing.assert_allclose(found, plain.weigh(X[N:], given[N:]), rtol=1e-7, atol=1e-9)


def test_unknown_labels_are_named(data):
    X, given, is_clean, _ = data
    model = HyperCleaningClassifier(max_iter=0, final_estimator="linear").fit(
        X[:N], given[:N], is_clean=is_clean[:N]
    )
    with pytest.raises(ValueError, match=r"labels that were not in fit: got \[7\]"):
        model.weigh(X[:3], [0, 7, 1])


def test_a_free_weight_for_each_row_weighs_no_others(data):
    X, given, is_clean, _ = data
    model = HyperCleaningClassifier("sample", max_iter=0).fit(X, given, is_clean=is_clean)
    assert not hasattr(model, "weigh")
    with pytest.raises(AttributeError) as raised:
        model.weigh(X, given)
    assert "weighting='adaptive'" in str(raised.value)
