"""The report on labels."""

import numpy as np
import pytest

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._report import LabelRecord, RowIndex, row_index
from skbamm.cleaning.label_quality._scores import confident_noise_rates, is_rather_wrong
from skbamm.data import _tables

CLASSES = np.array(["cat", "dog", "owl"])
LABELS = np.array([0, 1, 2, 0, 1, 2])
WEIGHT = np.array([1.0, 0.9, 0.05, 0.2, 0.1, 1.0])
SUGGESTED = np.array([1, 1, 0, 2, 1, 0])


def report(backend="", noise_rate=0.5, labels=None):
    return report_of(RowIndex(labels, backend), noise_rate)


def report_of(index, noise_rate=0.5):
    record = LabelRecord(index, LABELS, SUGGESTED, WEIGHT < 1, WEIGHT < 0.5)
    return record.report(CLASSES, WEIGHT, noise_rate)


@pytest.fixture
def no_pandas(monkeypatch):
    monkeypatch.setattr(_tables, "find_spec", lambda name: None)


def test_without_dataframes_it_is_a_dict_of_arrays(no_pandas):
    found = report()
    assert type(found) is dict
    assert all(isinstance(values, np.ndarray) for values in found.values())


def test_its_columns_are_the_documented_ones(no_pandas):
    names = ["index", "given_label", "suggested_label", "weight", "is_issue"]
    assert list(report()) == names


def test_given_labels_are_in_the_users_words(no_pandas):
    assert report()["given_label"].tolist() == ["cat", "dog", "owl", "cat", "dog", "owl"]


def test_verified_rows_keep_their_label(no_pandas):
    found = report()["suggested_label"]
    assert found.tolist() == ["cat", "dog", "cat", "owl", "dog", "owl"]


def test_issues_are_the_lowest_weights_that_another_label_suits(no_pandas):
    """Half of four noisy rows: the two lowest weights, of which one keeps its label."""
    assert report()["is_issue"].tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize(("rate", "n_issues"), [(0.0, 0), (0.25, 1), (0.75, 2), (1.0, 2)])
def test_there_are_not_more_issues_than_the_noise_rate_says(no_pandas, rate, n_issues):
    assert report(noise_rate=rate)["is_issue"].sum() == n_issues


def test_fixed_labels_are_the_given_ones_but_for_issues():
    record = LabelRecord(RowIndex(None, ""), LABELS, SUGGESTED, WEIGHT < 1, WEIGHT < 0.5)
    fixed = record.fixed(CLASSES, WEIGHT, 0.5)
    assert fixed.tolist() == ["cat", "dog", "cat", "cat", "dog", "owl"]


def test_labels_of_high_weight_are_not_fixed():
    weight = np.where(WEIGHT < 1, 0.4 + 2 * WEIGHT, 1)
    record = LabelRecord(RowIndex(None, ""), LABELS, SUGGESTED, WEIGHT < 1, weight < 0.5)
    fixed = record.fixed(CLASSES, weight, 1.0)
    assert fixed.tolist() == ["cat", "dog", "owl", "cat", "dog", "owl"]


def test_it_shares_no_memory_with_the_model(no_pandas):
    assert not np.shares_memory(report()["weight"], WEIGHT)


def test_it_leaves_the_suggestions_alone(no_pandas):
    before = SUGGESTED.copy()
    report()
    np.testing.assert_array_equal(SUGGESTED, before)


def test_it_is_a_pandas_frame_where_pandas_is_installed():
    pandas = pytest.importorskip("pandas")
    assert isinstance(report(), pandas.DataFrame)


@pytest.mark.parametrize(
    ("library", "kind"), [("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")]
)
def test_it_is_a_table_of_the_users_kind(library, kind):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    index = row_index(make({"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}))
    found = report_of(index)
    assert isinstance(found, getattr(module, kind))
    assert len(found) == 6


def test_it_has_the_index_of_a_pandas_frame():
    pandas = pytest.importorskip("pandas")
    index = row_index(pandas.DataFrame({"a": np.zeros(6)}, index=list("uvwxyz")))
    found = report_of(index)
    assert found["index"].tolist() == list("uvwxyz")


@pytest.mark.parametrize("X", [np.zeros((6, 2)), [[0.0], [1.0]]], ids=["array", "list"])
def test_rows_of_arrays_are_numbered(no_pandas, X):
    assert row_index(X) == RowIndex()
    assert report()["index"].tolist() == [0, 1, 2, 3, 4, 5]


# How much noise there is


def noisy_problem(name, noise=0.3):
    from sklearn.datasets import load_breast_cancer, load_digits

    X, y = {"digits": load_digits, "breast_cancer": load_breast_cancer}[name](return_X_y=True)
    generator = np.random.default_rng(0)
    wrong = generator.random(len(y)) < noise
    n_classes = y.max() + 1
    return X, y, np.where(wrong, (y + generator.integers(1, n_classes, len(y))) % n_classes, y)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_noise_is_estimated_without_verified_labels(name):
    X, y, given = noisy_problem(name)
    model = HyperCleaningClassifier(max_iter=0).fit(X, given)
    assert model.noise_rate_ == pytest.approx((given != y).mean(), abs=0.05)
    # Poor predictions are not taken for noise: the weights alone would say more.
    assert 1 - model.sample_weight_.mean() > model.noise_rate_


def test_without_verified_labels_fixed_ones_are_better_bets():
    X, y, given = noisy_problem("digits")
    model = HyperCleaningClassifier(max_iter=0).fit(X, given)
    assert (model.fix_labels() == y).mean() > (given == y).mean() + 0.2


def test_confident_noise_rates_are_those_of_sure_predictions():
    labels = np.arange(2000) % 2
    wrong = np.random.default_rng(0).random(2000) < 0.25
    truth = np.where(wrong, 1 - labels, labels)
    predictions = np.where(np.eye(2)[truth] == 1, 0.8, 0.2)
    rates = confident_noise_rates(predictions, labels, np.ones(2000))
    np.testing.assert_allclose(rates, [wrong[labels == c].mean() for c in (0, 1)])


def test_a_label_needs_more_to_be_wrong_where_few_are():
    predictions = np.array([[0.7, 0.3]] * 2)
    labels, label_weight = np.array([1, 1]), np.array([0.3, 0.3])
    assert is_rather_wrong(predictions, labels, label_weight, 0.5).all()
    assert not is_rather_wrong(predictions, labels, label_weight, 0.2).any()
