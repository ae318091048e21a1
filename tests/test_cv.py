"""What both estimators say to a ``cv`` that they cannot use."""

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedKFold,
)

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

N = 30
X = np.random.default_rng(0).normal(size=(N, 3))
TARGET = {
    BilevelRegularizedRegressor: X @ [1.0, 0.5, 0.0],
    HyperCleaningClassifier: (X[:, 0] > 0).astype(int),
}
FIRST, REST = np.arange(N // 2), np.arange(N // 2, N)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.parametrize("kind", TARGET, ids=lambda kind: kind.__name__),
]


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (1, "'cv' parameter"),
        (True, "'cv' parameter"),
        (0.2, "'cv' parameter"),
        ("5", "'cv' parameter"),
        ([], "cv must yield at least one split.*pass a list"),
        (iter([]), "cv must yield at least one split.*pass a list"),
        (np.arange(N) % 5, r"cv must be .* a pair of training .*PredefinedSplit\(labels\)"),
        ([(FIRST, REST, REST)], "cv must be .* a pair of training"),
        ([(FIRST, REST + 1)], "cv has row 30, but there are 30 rows.*an int or a splitter"),
        ([(FIRST, [-N - 1])], "cv has row -31, but there are 30 rows"),
        ([(FIRST / 2, REST)], "cv must give splits of row numbers.*float64"),
        ([(FIRST, REST.reshape(-1, 1))], r"cv must give splits of row numbers.*\(15, 1\)"),
        ([(FIRST, "rest")], "cv must give splits of row numbers"),
        ([(FIRST, np.ones(N - 1, dtype=bool))], "cv has a mask of 29 entries, for 30 rows"),
        ([(FIRST, [])], "cv must give every split at least one .* got 15 and 0"),
        ([(np.zeros(N, dtype=bool), REST)], "cv must give every split at least .* 0 and 15"),
        (KFold(N + 1), r"cv=KFold\(.* cannot split 30 rows: .*n_splits=31"),
        (GroupKFold(3), r"cv=GroupKFold\(.*Pass the group of each row to fit, as groups="),
        (LeaveOneGroupOut(), "cv=LeaveOneGroupOut.*Pass the group of each row to fit"),
        (LeavePGroupsOut(2), "cv=LeavePGroupsOut.*Pass the group of each row to fit"),
        (StratifiedKFold(25), r"cv=StratifiedKFold\(.* cannot split 30 rows"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_an_unusable_cv_is_an_error_that_names_it(kind, cv, message):
    with pytest.raises(ValueError, match=message):
        kind(cv=cv).fit(X, TARGET[kind])


def test_too_few_row_groups_are_an_error_that_names_cv(kind):
    with pytest.raises(ValueError, match=r"cv=GroupKFold\(.* cannot split .*groups: 2"):
        kind(cv=GroupKFold(3)).fit(X, TARGET[kind], groups=np.arange(N) % 2)


def test_row_groups_for_an_int_are_an_error_that_names_cv(kind):
    with pytest.raises(ValueError, match="passed as cv: got cv=5"):
        kind().fit(X, TARGET[kind], groups=np.arange(N) % 2)


def test_row_groups_by_the_name_of_a_column_are_refused(kind):
    with pytest.raises(TypeError, match="groups must have an entry for each row: got 'subject'"):
        kind(cv=GroupKFold(3)).fit(X, TARGET[kind], groups="subject")


@pytest.mark.filterwarnings("ignore:cv=.* asks for more folds")
@pytest.mark.parametrize("cv", [N, N + 7, None])
def test_more_folds_than_rows_leave_one_out(kind, cv):
    model = kind(cv=cv, max_iter=2).fit(X, TARGET[kind])
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize(
    "splits",
    [
        [(FIRST, REST - N), (REST - N, FIRST)],
        [(np.isin(np.arange(N), FIRST), REST), (REST.tolist(), np.isin(np.arange(N), FIRST))],
    ],
    ids=["from the end", "masks"],
)
def test_splits_may_be_masks_and_count_from_the_end(kind, splits):
    expected = kind(cv=[(FIRST, REST), (REST, FIRST)], max_iter=2).fit(X, TARGET[kind])
    model = kind(cv=splits, max_iter=2).fit(X, TARGET[kind])
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_a_generator_serves_a_single_fit(kind):
    model = kind(cv=iter([(FIRST, REST), (REST, FIRST)]), max_iter=2).fit(X, TARGET[kind])
    with pytest.raises(ValueError, match="A generator serves a single fit: pass a list"):
        model.fit(X, TARGET[kind])


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_folds_of_a_single_class_are_no_error(kind, weighting):
    order = np.argsort(TARGET[kind], kind="stable")
    splits = [(order[:10], order[10:]), (order[10:], order[:10])]
    options = {"weighting": weighting} if kind is HyperCleaningClassifier else {}
    model = kind(cv=splits, max_iter=2, **options).fit(X, TARGET[kind])
    assert np.isfinite(model.coef_).all() and np.isfinite(model.criterion_)
