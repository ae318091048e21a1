"""The report on labels."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from skbamm import HyperCleaningClassifier
from skbamm.cleaning._report import ClassSums, LabelRecord, predicted_classes, true_classes
from skbamm.cleaning._rows import LabelRows
from skbamm.cleaning.label_quality._given_noise import GivenNoise
from skbamm.data import _tables
from skbamm.data._containers import RowContainer
from tests.cleaning.label_data import make_labels

CLASSES = np.array(["cat", "dog", "owl"])
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0])
WEIGHT = np.array([1.0, 0.9, 0.05, 0.2, 0.1, 1.0, 0.3, 0.6])
OTHER = np.array([1, 2, 0, 2, 0, 0, 1, 2])
RATES = np.array([0.6, 0.5, 0.9])


def record(rates=RATES, told=(True,) * 3, weight=None, rows=None):
    weight = np.ones(8) if weight is None else weight
    return LabelRecord(
        LABELS,
        OTHER,
        WEIGHT,
        1 - WEIGHT,
        WEIGHT < 1,
        weight,
        noise_rates=np.array(rates),
        is_told=np.array(told),
        rows=rows or RowContainer(),
    )


def report(**options):
    return record(**options).report(CLASSES, WEIGHT)


@pytest.fixture
def no_pandas(monkeypatch):
    monkeypatch.setattr(_tables, "find_spec", lambda name: None)


def test_without_dataframes_it_is_a_dict_of_arrays(no_pandas):
    found = report()
    assert type(found) is dict
    assert all(isinstance(values, np.ndarray) for values in found.values())


def test_its_columns_are_the_documented_ones(no_pandas):
    assert list(report()) == [
        "index",
        "given_label",
        "probability",
        "suggested_label",
        "suggested_probability",
        "weight",
        "is_issue",
        "fixed_label",
    ]


def test_given_labels_are_in_the_users_words(no_pandas):
    assert report()["given_label"].tolist() == CLASSES[LABELS].tolist()


def test_issues_are_the_lowest_of_their_class():
    """Of class 0 two of three noisy rows, of class 1 one of two, of class 2 the only one."""
    assert np.flatnonzero(record().is_issue()).tolist() == [2, 3, 4, 6]


def test_suggested_are_other_labels_of_issues_and_else_the_most_probable_ones(no_pandas):
    found = report(rates=[0.0, 0.5, 0.9])
    suggested = ["cat", "dog", "cat", "owl", "cat", "owl", "dog", "cat"]
    assert found["suggested_label"].tolist() == suggested
    np.testing.assert_allclose(
        found["suggested_probability"], [1, 0.9, 0.95, 0.8, 0.9, 1, 0.7, 0.6]
    )
    np.testing.assert_array_equal(found["probability"], WEIGHT)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.34, 0.6, 1.0])
def test_as_much_weight_is_flagged_as_the_rate_says(rate):
    weight = np.random.default_rng(0).random(8)
    found = record(rates=[rate] * 3, weight=weight)
    own = (LABELS == 0) & (WEIGHT < 1)
    gap = abs(weight[own & found.is_issue()].sum() - rate * weight[own].sum())
    assert gap <= weight[own].max() / 2 + 1e-12


@pytest.mark.parametrize(
    ("precision", "issues"),
    [(1.0, []), (0.9, [2, 4]), (0.8, [2, 3, 4, 6]), (0.01, [1, 2, 3, 4, 6, 7])],
)
def test_with_a_precision_as_many_are_issues_as_leave_it_at_that(precision, issues):
    found = record().is_issue(precision)
    assert np.flatnonzero(found).tolist() == issues


def test_precision_counts_weights_and_rows_without_any_do_not_matter():
    weight = np.array([1, 1, 0, 1, 1, 1, 5, 1.0])
    # Of labels 2, 4, 3 and 6, wrong by .95, .9, .8 and .7.
    assert np.flatnonzero(record(weight=weight).is_issue(0.85)).tolist() == [2, 3, 4]
    assert np.flatnonzero(record(weight=weight).is_issue(0.75)).tolist() == [2, 3, 4]
    assert np.flatnonzero(record().is_issue(0.83)).tolist() == [2, 3, 4, 6]


def test_only_better_bets_are_fixed():
    found = record()
    fixed = found.fixed(CLASSES, found.is_issue())
    assert fixed.tolist() == ["cat", "dog", "cat", "owl", "cat", "owl", "dog", "cat"]
    assert found.fixed(CLASSES, np.ones(8, dtype=bool))[7] == "cat"


def test_classes_that_would_be_wiped_out_are_spared(no_pandas):
    found = record(told=[False, False, True])
    is_issue = found.is_issue()
    assert [part.tolist() for part in found.flagged_classes(is_issue)] == [[0], [2], [3]]
    fixed = report(told=[False, False, True])["fixed_label"]
    assert fixed.tolist() == ["cat", "dog", "cat", "cat", "cat", "owl", "cat", "cat"]


def test_half_of_a_class_is_not_most_of_it():
    assert (
        record(rates=[0.5] * 3, told=[False] * 3).flagged_classes(np.isin(range(8), [4]))[0].size
        == 0
    )


def test_it_shares_no_memory_with_the_model(no_pandas):
    found = report()
    assert not any(np.shares_memory(found[name], WEIGHT) for name in ("weight", "probability"))


def test_it_is_a_pandas_frame_where_pandas_is_installed():
    pandas = pytest.importorskip("pandas")
    assert isinstance(report(), pandas.DataFrame)


@pytest.mark.parametrize(
    ("library", "kind"), [("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")]
)
def test_it_is_a_table_of_the_users_kind(library, kind):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    found = report(rows=RowContainer.of(make({"a": WEIGHT})))
    assert isinstance(found, getattr(module, kind))
    assert len(found) == 8


@pytest.mark.parametrize("X", [np.zeros((6, 2)), [[0.0], [1.0]]], ids=["array", "list"])
def test_rows_of_arrays_are_numbered(no_pandas, X):
    assert RowContainer.of(X) == RowContainer()
    assert report()["index"].tolist() == list(range(8))


# How probably labels are right


def random_rows():
    random = np.random.default_rng(0)
    predictions, labels = random.dirichlet(np.ones(3), 50), random.integers(0, 3, 50)
    rows = LabelRows(None, labels, np.ones(50), random.random(50) < 0.2, 50, np.arange(3))
    return rows, random.random(50), predictions


def test_label_weights_share_what_is_left_among_other_classes():
    rows, weight, predictions = random_rows()
    for position, found in enumerate(true_classes(rows, weight, predictions)):
        label, predicted = rows.labels[position], predictions[position]
        right = 1 if rows.is_clean[position] else weight[position]
        expected = (1 - right) * predicted / (1 - predicted[label])
        expected[label] = right
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_with_a_noise_model_probabilities_are_its_posterior():
    noise = GivenNoise(1.0, np.zeros(3), np.array([[0.8, 0.2, 0], [0, 1, 0], [0.3, 0.3, 0.4]]))
    rows, weight, predictions = random_rows()
    found = true_classes(rows, weight, predictions, noise)
    posterior = noise.posterior(predictions, rows.labels)
    np.testing.assert_array_equal(found[rows.noisy], posterior[rows.noisy])
    np.testing.assert_array_equal(found[rows.verified], np.eye(3)[rows.labels[rows.verified]])


def test_the_record_keeps_the_given_label_and_the_most_probable_other_class():
    rows, weight, predictions = random_rows()
    classes = true_classes(rows, weight, predictions)
    _, other, right, wrong, *_ = LabelRecord.columns(rows, classes)
    for position, found in enumerate(classes):
        label = rows.labels[position]
        assert right[position] == found[label]
        assert wrong[position] == found[other[position]] == np.delete(found, label).max()
        assert other[position] != label


def test_of_equal_predictions_the_given_label_is_the_predicted_one():
    predictions = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.2, 0.3, 0.5]])
    found = predicted_classes(predictions, np.array([0, 1, 2, 0]))
    assert found.tolist() == [0, 1, 2, 2]


def test_sums_by_class_are_those_of_the_rows():
    labels, is_clean = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1], dtype=bool)
    weight = np.array([1.0, 3, 2, 1, 2])
    classes = np.array([[0.5, 0.5, 0], [0.9, 0, 0.1], [0.5, 0.25, 0.25], [0, 1, 0], [0, 1, 0]])
    rows = LabelRows(None, labels, weight, is_clean, 5, np.array([0, 1, 2]))
    sums = ClassSums.of(rows, classes, np.eye(3)[[0, 1, 1, 0, 1]])
    np.testing.assert_allclose(sums.joint, [[3.2, 0.5, 0.3], [1, 0.5, 0.5], [0, 0, 0]])
    np.testing.assert_allclose(sums.noise_rates, [0.8 / 4, 0.75, 0])
    assert sums.noise_rate == pytest.approx((0.5 + 0.3 + 1.5) / 6)
    assert sums.is_told.tolist() == [False, True, False]
    expected = [[3.2 / 4.2, 1 / 4.2, 0], [0.5, 0.5, 0], [0.3 / 0.8, 0.5 / 0.8, 0]]
    np.testing.assert_allclose(sums.noise_transition_matrix, expected)
    nobody = ClassSums(np.diag([1.0, 0.0]), *np.zeros((2, 2)))
    np.testing.assert_array_equal(nobody.noise_transition_matrix, np.eye(2))


def test_issues_at_a_precision_are_wrong_about_as_often():
    data = make_labels(600, clean=0.2, noise=0.3)
    model = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
    model.fit(data.X, data.y, is_clean=data.is_clean)
    found = model.label_report(precision=0.9)
    is_issue = np.asarray(found["is_issue"])
    assert 10 < is_issue.sum() < np.asarray(model.label_report()["is_issue"]).sum()
    assert 1 - np.asarray(found["probability"])[is_issue].mean() >= 0.9
    assert data.is_wrong[is_issue].mean() == pytest.approx(0.9, abs=0.1)
    fixed = model.fix_labels(precision=0.9)
    np.testing.assert_array_equal(found["fixed_label"], fixed)
    is_likelier = found["suggested_probability"] > found["probability"]
    np.testing.assert_array_equal(fixed != data.y, is_issue & is_likelier)
    for wrong in (0, 1.1, "high", True):
        for ask in (model.label_report, model.fix_labels):
            with pytest.raises(ValueError, match=f"precision must be None.*got {wrong!r}"):
                ask(precision=wrong)


# How much noise there is


def noisy_problem(name, noise=0.3):
    X, y = {"digits": load_digits, "breast_cancer": load_breast_cancer}[name](return_X_y=True)
    generator = np.random.default_rng(0)
    wrong = generator.random(len(y)) < noise
    n_classes = y.max() + 1
    return X, y, np.where(wrong, (y + generator.integers(1, n_classes, len(y))) % n_classes, y)


@pytest.mark.parametrize(("name", "final"), [("digits", "linear"), ("breast_cancer", None)])
def test_noise_is_estimated_and_mended_without_verified_labels(name, final):
    X, y, given = noisy_problem(name)
    model = HyperCleaningClassifier(max_iter=0, final_estimator=final).fit(X, given)
    assert model.noise_rate_ == pytest.approx((given != y).mean(), abs=0.04)
    # Poor predictions are not taken for noise: the weights alone would say more.
    assert 1 - model.sample_weight_.mean() > model.noise_rate_
    assert (model.fix_labels() == y).mean() > (given == y).mean() + 0.15


def rare(n_rows, rate, seed, shift=1.0):
    """Overlapping classes without a wrong label."""
    random = np.random.default_rng(seed)
    y = (random.random(n_rows) < rate).astype(int)
    X = random.normal(size=(n_rows, 8))
    X[:, :2] += shift * y[:, None]
    return X, y


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1])
def test_a_rare_class_keeps_its_labels(rate, weighting):
    X, y = rare(2000, rate, 1)
    model = HyperCleaningClassifier(weighting, max_iter=0).fit(X, y)
    assert np.mean(model.fix_labels()[y == 1] == 1) >= 0.95


CASES = {
    "adaptive": {},
    "free weights": {"weighting": "sample"},
    "verified": {"clean": 0.3},
    "verified, free weights": {"clean": 0.3, "weighting": "sample"},
    "rare": {"scale": (1, 1, 0.1)},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_shares_of_issues_are_the_noise_rates(case, noise):
    options = {"weighting": "adaptive", "clean": 0.0, "scale": (1, 1, 1), **CASES[case]}
    data = make_labels(600, clean=options["clean"], noise=noise)
    kept = np.random.default_rng(0).random(600) < np.array(options["scale"])[data.y]
    y, is_clean = data.y[kept], data.is_clean[kept]
    model = HyperCleaningClassifier(options["weighting"], max_iter=5, tol=10)
    model.fit(data.X[kept], y, is_clean=is_clean if options["clean"] else None)
    found = model.label_report()
    is_issue, wrong = np.asarray(found["is_issue"]), 1 - np.asarray(found["probability"])
    assert wrong[~is_clean].mean() == pytest.approx(model.noise_rate_, abs=1e-12)
    assert not wrong[is_clean].any()
    for label, rate in enumerate(model.class_noise_rate_):
        own = (y == label) & ~is_clean
        assert abs(is_issue[own].sum() - rate * own.sum()) <= 0.5 + 1e-9
    assert not is_issue[is_clean].any()
    transition = model.noise_transition_matrix_
    np.testing.assert_allclose(transition.sum(axis=1), 1)
    assert model.noise_rate_ > 0 or (transition == np.eye(3)).all()
    assert (model.noise_transition_matrix_std_ >= 0).all()


@pytest.mark.parametrize("clean", [0.0, 0.3])
def test_free_weights_tell_noise_by_predictions(clean):
    random = np.random.default_rng(0)
    truth, is_clean = np.resize([0, 1, 2], 600), random.random(600) < clean
    X = 2 * np.eye(3)[truth] + 0.7 * random.normal(size=(600, 3))
    wrong = ~is_clean & (random.random(600) < 0.25)
    model = HyperCleaningClassifier("sample", max_iter=3, tol=10)
    model.fit(X, np.where(wrong, (truth + 1) % 3, truth), is_clean=is_clean if clean else None)
    assert np.abs(model.sample_weight_[~is_clean] - 0.5).max() < 0.2  # they tell nothing yet
    assert model.noise_rate_ == pytest.approx(wrong[~is_clean].mean(), abs=0.1)
    expected = 0.75 * np.eye(3) + 0.25 * np.roll(np.eye(3), 1, axis=1)
    np.testing.assert_allclose(model.noise_transition_matrix_, expected, atol=0.12)
    assert np.mean(model.fix_labels() == truth) > 0.9


def mostly_wrong(n_rows=400):
    """Well separated classes, two thirds of the labels wrong; a quarter of the rows verified."""
    random = np.random.default_rng(0)
    truth, is_clean = random.integers(0, 3, n_rows), random.random(n_rows) < 0.25
    X = 4 * np.eye(3)[truth] + random.normal(size=(n_rows, 3))
    wrong = ~is_clean & (random.random(n_rows) < 0.65)
    return X, np.where(wrong, (truth + random.integers(1, 3, n_rows)) % 3, truth), truth, is_clean


@pytest.mark.parametrize("apart", [False, True])
def test_verified_rows_show_that_most_labels_are_wrong(apart):
    X, y, truth, is_clean = mostly_wrong()
    model, noisy = HyperCleaningClassifier(max_iter=0), ~is_clean
    if apart:
        model.fit(X[noisy], y[noisy], X_val=X[is_clean], y_val=y[is_clean])
        truth = truth[noisy]
    else:
        model.fit(X, y, is_clean=is_clean)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.mean(model.fix_labels() == truth) > 0.95


def test_without_verified_rows_a_class_is_wiped_out_by_force_only():
    random = np.random.default_rng(0)
    truth = random.choice(3, 600, p=[0.2, 0.4, 0.4])
    X = 4 * np.eye(3)[truth] + random.normal(size=(600, 3))
    given = np.where(random.random(600) < 0.4, 0, truth)
    model = HyperCleaningClassifier(max_iter=0).fit(X, given)
    rates = [np.mean(truth[given == label] != label) for label in range(3)]
    assert rates[0] > 0.5
    np.testing.assert_allclose(model.class_noise_rate_, rates, atol=0.05)
    with pytest.warns(UserWarning, match=r"classes are issues: 0 \(\d+ of \d+\).*force=True"):
        fixed = model.fix_labels()
    np.testing.assert_array_equal(fixed[given == 0], 0)
    np.testing.assert_array_equal(model.label_report()["fixed_label"], fixed)
    assert np.mean(model.fix_labels(force=True) == truth) > 0.95
