"""Rows without a label."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.validation import column_or_1d

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows
from skbamm.cleaning._unlabelled import fill_gaps
from tests.cleaning.label_data import make_labels

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DATA = make_labels(240)
GAPS = ~DATA.is_clean & (np.random.default_rng(1).random(240) < 0.4)
KEPT = ~GAPS


def fit(clean=True, **options):
    is_clean = DATA.is_clean if clean else None
    model = HyperCleaningClassifier(**{"unlabeled": -1, "max_iter": 3, **options})
    return model.fit(DATA.X, np.where(GAPS, -1, DATA.y), DATA.weight, is_clean=is_clean)


def fit_without(clean=True, **options):
    is_clean = DATA.is_clean[KEPT] if clean else None
    model = HyperCleaningClassifier(**{"max_iter": 3, **options})
    return model.fit(DATA.X[KEPT], DATA.y[KEPT], DATA.weight[KEPT], is_clean=is_clean)


@pytest.mark.parametrize(
    "options",
    [
        {"relabel": False},
        {"relabel": False, "class_weight": "balanced", "cv": 3},
        {"relabel": False, "final_estimator": LogisticRegression()},
        {"weighting": "sample"},
        {"standard_errors": 0, "relabel": False},
    ],
    ids=str,
)
def test_unless_rows_are_relabelled_it_is_the_fit_without_them(options, clean):
    found, expected = fit(clean, **options), fit_without(clean, **options)
    np.testing.assert_allclose(
        found.predict_proba(DATA.X), expected.predict_proba(DATA.X), atol=1e-6
    )
    np.testing.assert_allclose(found.sample_weight_[KEPT], expected.sample_weight_, atol=1e-6)
    np.testing.assert_allclose(found.class_noise_rate_, expected.class_noise_rate_, atol=1e-6)
    assert (found.sample_weight_[GAPS] == 0).all()


def test_where_no_wrong_labels_show_it_is_the_fit_without_them():
    truth = np.where(GAPS, -1, DATA.truth)
    found = HyperCleaningClassifier(unlabeled=-1, max_iter=0).fit(DATA.X, truth)
    expected = HyperCleaningClassifier(max_iter=0).fit(DATA.X[KEPT], DATA.truth[KEPT])
    assert found.noise_rate_ == 0
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"standard_errors": 0}, {"final_estimator": LogisticRegression()}], ids=str
)
def test_relabelled_they_train_by_their_predictions(options):
    found, expected = fit(**options), fit_without(**options)
    assert not np.allclose(found.predict_proba(DATA.X), expected.predict_proba(DATA.X), atol=1e-3)
    assert found.score(DATA.X, DATA.truth) >= expected.score(DATA.X, DATA.truth) - 0.02
    # Label quality is of the rows with labels.
    np.testing.assert_allclose(found.class_noise_rate_, expected.class_noise_rate_, atol=0.02)


GIVEN = {
    "number": (np.where(GAPS, -1, DATA.y), -1),
    "NaN": (np.where(GAPS, np.nan, DATA.y), np.nan),
    "None": (np.where(GAPS, None, np.array(["a", "b", "c"])[DATA.y]), np.nan),
    "text": (np.where(GAPS, "?", np.array(["a", "b", "c"])[DATA.y]), "?"),
    "objects": (np.where(GAPS, None, DATA.y), np.nan),
    "pandas": (pd.Series(DATA.y, dtype="Int64").mask(GAPS), np.nan),
    "categories": (pd.Series(list("abc")).take(DATA.y).astype("category").mask(GAPS), np.nan),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_the_report_suggests_labels_for_them_and_fix_labels_puts_these(kind):
    y, unlabeled = GIVEN[kind]
    model = HyperCleaningClassifier(unlabeled=unlabeled, max_iter=0)
    model.fit(DATA.X, y, is_clean=DATA.is_clean)
    report, fixed = pd.DataFrame(model.label_report()), np.asarray(model.fix_labels())
    given = report["given_label"]
    is_gap = given.isna() if unlabeled != unlabeled else given == unlabeled
    np.testing.assert_array_equal(is_gap, GAPS)
    assert not report["is_issue"][GAPS].any() and (report["weight"][GAPS] == 0).all()
    np.testing.assert_array_equal(report["probability"].isna(), GAPS)
    assert (report["suggested_probability"][GAPS] >= 1 / len(model.classes_)).all()
    np.testing.assert_array_equal(report["suggested_label"][GAPS], fixed[GAPS])
    np.testing.assert_array_equal(report["fixed_label"], fixed)
    assert set(fixed.tolist()) == set(model.classes_.tolist())
    found, gaps = np.searchsorted(model.classes_, column_or_1d(fixed))[GAPS], DATA.truth[GAPS]
    told = LogisticRegression().fit(DATA.X, DATA.truth).score(DATA.X[GAPS], gaps)
    assert (found == gaps).mean() > told - 0.1


def test_beyond_the_sample_they_are_told_too(monkeypatch):
    monkeypatch.setattr(_rows, "ENOUGH", 200)
    monkeypatch.setattr(_rows, "PER_COLUMN", 1)
    monkeypatch.setattr(_rows, "PER_CLASS", 1)
    data = make_labels(2000)
    gaps = ~data.is_clean & (np.arange(2000) % 2 == 0)
    plain = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
    model = clone(plain).set_params(unlabeled=-1)
    model.fit(data.X, np.where(gaps, -1, data.y), is_clean=data.is_clean)
    plain.fit(data.X[~gaps], data.y[~gaps], is_clean=data.is_clean[~gaps])
    assert (model.sample_weight_[gaps] == 0).all()
    np.testing.assert_allclose(model.sample_weight_[~gaps], plain.sample_weight_, atol=1e-6)
    assert (model.fix_labels() == data.truth)[gaps].mean() > 0.7
    assert model.score(data.X, data.truth) >= plain.score(data.X, data.truth) - 0.01


def test_probabilities_of_the_users_own_tell_their_labels():
    sure = np.eye(3)[DATA.truth] * 0.7 + 0.1
    model = HyperCleaningClassifier(unlabeled=-1, max_iter=0)
    y = np.where(GAPS, -1, DATA.y)
    model.fit(DATA.X, y, is_clean=DATA.is_clean, pred_probs=sure)
    assert (model.fix_labels() == DATA.truth)[GAPS].mean() > 0.97


def test_a_splitter_deals_them_out_like_a_class():
    model = fit(cv=StratifiedKFold(3))
    assert (model.sample_weight_[GAPS] == 0).all()
    assert model.score(DATA.X, DATA.truth) > 0.7


def test_y_without_any_is_left_as_it_is():
    y = pd.Series([0, 1, 1])
    assert fill_gaps(y, None)[0] is y
    assert fill_gaps(y, -1)[0] is y and not fill_gaps(y, -1)[1].any()
    np.testing.assert_array_equal(fill_gaps(np.array(["a", "b"]), -1)[1], [False, False])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": np.full(240, -1)}, "y has no labels: all 240 are -1"),
        ({"is_clean": GAPS}, "is_clean marks .* rows without a label as verified: their y is -1"),
        ({"X_val": DATA.X[:3], "y_val": [0, 1, -1]}, "y_val has 1 rows without a label"),
        ({"y": np.where(GAPS, -1, 0)}, "number of classes has to be greater than one"),
        ({"y": np.where(GAPS, np.nan, DATA.y)}, "Input y contains NaN"),
    ],
    ids=["none", "verified", "y_val", "one class", "NaN"],
)
def test_what_makes_no_sense_is_an_error(given, message):
    given = {"y": np.where(GAPS, -1, DATA.y), **given}
    with pytest.raises(ValueError, match=message):
        HyperCleaningClassifier(unlabeled=-1, max_iter=0).fit(DATA.X, **given)
