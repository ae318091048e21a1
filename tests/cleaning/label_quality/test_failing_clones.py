"""Clones of the user's own model, which score labels, never break a fit that succeeds by itself."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from skbamm import HyperCleaningClassifier
from tests.cleaning.label_data import far_classes


class Strict(ClassifierMixin, BaseEstimator):
    """Wants labels 0, 1, 2, ... as XGBClassifier does, and some rows of each; or raises `fails`.

    `fails` where it gets fewer rows than `after`, or some of weight 0: clones before the last fit.
    """

    def __init__(self, least=2, fails=None, after=0):
        self.least, self.fails, self.after = least, fails, after

    def fit(self, X, y, sample_weight=None):
        found, count = np.unique(y, return_counts=True)
        if found.tolist() != list(range(len(found))) or count.min() < self.least:
            raise ValueError(f"Expected consecutive labels of some rows: got {found}, {count}")
        if self.fails is not None and (len(y) < self.after or not all(sample_weight)):
            raise self.fails
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = found
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


def with_rare_class(n_rows, position, verified):
    """Four classes 0 to 3, of which that at `position` has few rows, far from all others."""
    X, truth, is_clean = far_classes()
    y = truth - (truth <= position)
    rows = np.flatnonzero(is_clean if verified else ~is_clean)[:n_rows]
    X[rows], y[rows] = 30.0, position
    return X, y, is_clean


STOPS_EARLY = HistGradientBoostingClassifier(
    max_iter=2, max_bins=32, early_stopping=True, random_state=0
)


@pytest.mark.parametrize(
    ("final", "n_rows", "position"),
    [
        *((Strict(least=1), 1, position) for position in (0, 1, 3)),
        # To those that ask for numbers of rows, the place of a class is nothing.
        (Strict(), 2, 0),
        (STOPS_EARLY, 2, 1),
        (CalibratedClassifierCV(GaussianNB(), cv=3), 3, 3),
    ],
    ids=["first", "within", "last", "two rows", "early stopping", "calibration"],
)
@pytest.mark.parametrize("verified", [True, False])
def test_a_rare_class_does_not_break_what_fits_the_rows_by_itself(
    final, n_rows, position, verified
):
    X, y, is_clean = with_rare_class(n_rows, position, verified)
    final.fit(X, y)
    model = HyperCleaningClassifier(max_iter=0, cv=3, final_estimator=final)
    model.fit(X, y, is_clean=is_clean)
    assert model.label_scorer_.skipped == ()
    assert model.score(X, y) > 0.97
    assert model.predict_proba(X).shape == (len(X), 4)


@pytest.mark.parametrize("relabel", [True, False])
def test_a_class_without_weight_does_not_break_the_last_fit(relabel):
    """Without its only row, labels are not consecutive."""
    X, y, is_clean = with_rare_class(1, 1, True)
    weight = 1.0 * (y != 1)
    final = Strict(least=1)
    model = HyperCleaningClassifier(max_iter=0, cv=3, relabel=relabel, final_estimator=final)
    model.fit(X, y, weight, is_clean=is_clean)
    assert model.score(X, y, weight) > 0.97


def test_clones_get_labels_as_they_were_given():
    """Their weights of classes know these by name."""
    X, truth, is_clean = far_classes()
    final = LogisticRegression(class_weight={"x": 1.0, "y": 1.0, "z": 1.0})
    model = HyperCleaningClassifier(max_iter=0, cv=3, final_estimator=final)
    model.fit(X, np.array(["", "x", "z", "y"])[truth], is_clean=is_clean)
    assert model.label_scorer_.skipped == ()


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_clone_that_fails_is_left_out_with_its_reason(is_marked):
    X, truth, is_clean = far_classes()
    is_clean = is_clean if is_marked else None
    final = Strict(fails=RuntimeError("no luck"), after=len(X))
    plain = HyperCleaningClassifier(max_iter=0, cv=3, relabel=False, final_estimator="linear")
    model = HyperCleaningClassifier(**{**plain.get_params(deep=False), "final_estimator": final})
    with pytest.warns(UserWarning, match=r"A clone of final_estimator failed.*no luck"):
        model.fit(X, truth - 1, is_clean=is_clean)
    assert model.label_scorer_.final is None
    assert model.label_scorer_.skipped == ("out of fold 0: RuntimeError: no luck",)
    plain.fit(X, truth - 1, is_clean=is_clean)
    np.testing.assert_array_equal(model.sample_weight_, plain.sample_weight_)


def test_an_error_of_the_last_fit_is_raised_and_explained():
    X, truth, is_clean = far_classes()
    final = Strict(fails=RuntimeError("no luck"), after=np.inf)
    model = HyperCleaningClassifier(max_iter=0, cv=3, final_estimator=final)
    with pytest.raises(RuntimeError, match="no luck") as caught:
        model.fit(X, truth - 1, is_clean=is_clean)
    assert "final_estimator" in caught.value.__notes__[0]


@pytest.mark.parametrize("after", [290, np.inf])
def test_an_interruption_is_no_failure(after):
    X, truth, _ = far_classes()
    final = Strict(fails=KeyboardInterrupt(), after=after)
    with pytest.raises(KeyboardInterrupt):
        HyperCleaningClassifier(max_iter=0, cv=3, final_estimator=final).fit(X, truth - 1)


class NotANumber(LogisticRegression):
    """Knows no probability."""

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), np.nan)


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_probabilities_that_are_no_numbers_name_the_final_estimator(weighting):
    X, truth, is_clean = far_classes()
    model = HyperCleaningClassifier(weighting, max_iter=0, cv=3, final_estimator=NotANumber())
    with pytest.raises(ValueError, match="final_estimator must give finite probabilities"):
        model.fit(X, truth, is_clean=is_clean)
