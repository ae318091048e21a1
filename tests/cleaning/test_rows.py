"""Where rows of a cleaning fit train and validate; and their scaled columns."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import KFold, PredefinedSplit, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _design, _fit
from skbamm.cleaning._design import Standardizer, column_order
from skbamm.cleaning._rows import LabelRows, make_label_folds
from tests.cleaning.label_data import make_labels


def make_rows(n_rows=60, n_val=0, verified=0.5, *, n_classes=3, n_features=4, seed=0):
    """Rows of X and `n_val` rows of X_val, all of which are verified."""
    random = np.random.default_rng(seed)
    total = n_rows + n_val
    is_clean = random.random(total) < verified
    is_clean[n_rows:] = True
    return LabelRows(
        random.normal(size=(total, n_features)) * [1, 10, 0.1, 1][:n_features] + 1,
        np.resize(np.arange(n_classes), total),
        random.uniform(0.5, 2, total),
        is_clean,
        n_rows,
        np.arange(n_classes),
    )


CASES = {
    "mask": make_rows(),
    "X_val": make_rows(40, 20, 0.0),
    "none verified": make_rows(verified=0.0),
    "all verified": make_rows(verified=1.1),
}
SPLITTERS = {
    "int": 4,
    "splitter": StratifiedKFold(4),
    "list": list(KFold(4, shuffle=True, random_state=0).split(np.zeros((20, 1)))),
}


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture(params=["int", "splitter"])
def cv(request):
    return SPLITTERS[request.param]


def test_no_validation_row_trains_in_its_own_fold(case, cv):
    folds = make_label_folds(CASES[case], cv, 0)
    assert not ((folds.validation > 0) & (folds.in_training > 0)).any()


def test_only_verified_rows_validate_where_there_are_any(case, cv):
    rows = CASES[case]
    folds = make_label_folds(rows, cv, 0)
    validates = rows.is_clean if rows.is_clean.any() else np.ones(60, dtype=bool)
    np.testing.assert_array_equal((folds.validation > 0).any(0), validates)


def test_validation_weights_sum_to_one_and_follow_the_rows(case, cv):
    rows = CASES[case]
    validation = make_label_folds(rows, cv, 0).validation
    np.testing.assert_allclose(validation.sum(), 1)
    used = validation.sum(0) > 0
    ratio = validation.sum(0)[used] / rows.weight[used]
    np.testing.assert_allclose(ratio, ratio[0])


def test_every_row_has_an_own_fold(case, cv):
    folds = make_label_folds(CASES[case], cv, 0)
    assert folds.own.min() == 0 and folds.own.max() == folds.n_folds - 1
    assert np.bincount(folds.own, minlength=folds.n_folds).min() > 0


def test_the_own_fold_of_validation_rows_is_where_they_validate(case, cv):
    folds = make_label_folds(CASES[case], cv, 0)
    fold, row = np.nonzero(folds.validation)
    np.testing.assert_array_equal(folds.own[row], fold)


def test_out_of_fold_rows_train_but_not_in_their_own_fold(case, cv):
    folds = make_label_folds(CASES[case], cv, 0)
    own = folds.own == np.arange(folds.n_folds)[:, None]
    np.testing.assert_array_equal(folds.out_of_fold, (folds.in_training > 0) & ~own)


def test_noisy_rows_train_in_all_folds_of_an_int():
    rows = CASES["mask"]
    folds = make_label_folds(rows, 4, 0)
    assert (folds.in_training[:, rows.noisy] == 1).all()


def test_verified_rows_train_in_all_folds_but_one_of_an_int():
    rows = CASES["mask"]
    folds = make_label_folds(rows, 4, 0)
    assert (folds.in_training[:, rows.verified].sum(0) == 3).all()


def test_a_splitter_over_x_holds_noisy_rows_out_too():
    rows = CASES["mask"]
    folds = make_label_folds(rows, StratifiedKFold(4), 0)
    for k, (train, test) in enumerate(StratifiedKFold(4).split(rows.X, rows.labels)):
        np.testing.assert_array_equal(np.flatnonzero(folds.in_training[k]), train)
        np.testing.assert_array_equal(
            np.flatnonzero(folds.validation[k]), test[rows.is_clean[test]]
        )


@pytest.mark.parametrize("name", ["splitter", "list"])
def test_splits_run_over_the_rows_of_x_val_where_it_is_given(name):
    rows = CASES["X_val"]
    folds = make_label_folds(rows, SPLITTERS[name], 0)
    assert (folds.in_training[:, :40] == 1).all()
    assert (folds.validation[:, :40] == 0).all()
    splits = SPLITTERS[name]
    if name == "splitter":
        splits = splits.split(np.zeros((20, 1)), rows.labels[40:])
    for k, (train, test) in enumerate(splits):
        np.testing.assert_array_equal(np.flatnonzero(folds.in_training[k, 40:]), train)
        np.testing.assert_array_equal(np.flatnonzero(folds.validation[k, 40:]), test)


def test_an_int_splits_by_class():
    rows = make_rows(90, verified=1.1)
    validation = make_label_folds(rows, 5, 0).validation > 0
    for fold in validation:
        np.testing.assert_array_equal(np.bincount(rows.labels[fold]), [6, 6, 6])


def test_folds_of_another_seed_are_others():
    first, second = (make_label_folds(CASES["mask"], 4, seed).validation for seed in (0, 1))
    assert (first != second).any()


def test_rows_that_appear_twice_in_a_split_count_twice():
    rows = make_rows(8, verified=1.1, n_classes=2)
    folds = make_label_folds(rows, [([0, 0, 1, 2], [3, 3, 4])], 0)
    np.testing.assert_array_equal(folds.in_training[0], [2, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(
        folds.validation[0, 3] / folds.validation[0, 4], 2 * rows.weight[3] / rows.weight[4]
    )


def test_splits_without_validation_rows_are_left_out():
    rows = make_rows(12, verified=0.0, n_classes=2)
    rows.is_clean[:4] = True
    splits = [
        (np.arange(6, 12), np.arange(6)),
        (np.arange(6), np.arange(6, 12)),
        (np.arange(3, 12), np.arange(3)),
    ]
    folds = make_label_folds(rows, splits, 0)
    assert folds.n_folds == 2
    assert folds.own.max() <= 1


def test_cv_without_validation_rows_is_an_error():
    rows = make_rows(12, verified=0.0, n_classes=2)
    rows.is_clean[:2] = True
    with pytest.raises(ValueError, match="cv must give at least one split"):
        make_label_folds(rows, [(np.arange(6), np.arange(6, 12))], 0)


def test_rows_of_no_test_fold_get_own_folds_too():
    rows = CASES["none verified"]
    fold = np.where(np.arange(60) < 30, -1, np.arange(60) % 2)
    folds = make_label_folds(rows, PredefinedSplit(fold), 0)
    assert np.bincount(folds.own[:30]).tolist() == [15, 15]


# Columns


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("shape", [(60, 4), (6, 12)])
def test_scores_of_the_design_are_those_of_raw_coefficients(standardize, shape):
    random = np.random.default_rng(0)
    rows = make_rows(shape[0], n_features=4)
    X = random.normal(size=shape) * np.geomspace(0.01, 100, shape[1]) + 3
    rows = LabelRows(X, rows.labels, rows.weight, rows.is_clean, shape[0], rows.classes)
    standardizer = Standardizer.of(rows, standardize)
    design = standardizer.columns(X)
    params = random.normal(size=(3, design.shape[1]))
    coef, intercept = standardizer.raw(params)
    np.testing.assert_allclose(X @ coef.T + intercept, design @ params.T, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 4), (6, 12)])
def test_the_ridge_of_the_design_is_that_of_scaled_columns(shape):
    rows = make_rows(shape[0])
    X = np.random.default_rng(0).normal(size=shape) * np.geomspace(0.01, 100, shape[1])
    rows = LabelRows(X, rows.labels, rows.weight, rows.is_clean, shape[0], rows.classes)
    standardizer = Standardizer.of(rows, True)
    params = np.random.default_rng(1).normal(size=(2, standardizer.columns(X).shape[1]))
    coef, _ = standardizer.raw(params)
    scale = StandardScaler().fit(X, sample_weight=rows.weight).scale_
    np.testing.assert_allclose(np.square(coef * scale).sum(1), np.square(params[:, :-1]).sum(1))


def test_more_columns_than_rows_become_as_many_as_rows():
    rows = make_rows(6)
    X = np.random.default_rng(0).normal(size=(6, 30))
    rows = LabelRows(X, rows.labels, rows.weight, rows.is_clean, 6, rows.classes)
    assert Standardizer.of(rows, True).columns(X).shape == (6, 7)


def test_many_columns_are_not_rotated(monkeypatch):
    monkeypatch.setattr(_design, "MAX_ROTATED", 3)
    rows = make_rows()
    design = Standardizer.of(rows, True).columns(rows.X)
    scaler = StandardScaler().fit(rows.X, sample_weight=rows.weight)
    np.testing.assert_allclose(design[:, :-1], scaler.transform(rows.X))


def test_sparse_columns_are_scaled_but_not_centred():
    rows = make_rows()
    scale = StandardScaler().fit(rows.X, sample_weight=rows.weight).scale_
    X = sparse.csr_matrix(rows.X)
    thin = LabelRows(X, rows.labels, rows.weight, rows.is_clean, 60, rows.classes)
    design = Standardizer.of(thin, True).columns(X)
    assert sparse.issparse(design)
    np.testing.assert_allclose(design.toarray()[:, :-1], rows.X / scale)


def test_constant_columns_stay_finite():
    rows = make_rows()
    rows.X[:, 1] = 5.0
    standardizer = Standardizer.of(rows, True)
    coef, _ = standardizer.raw(np.ones((1, 5)))
    assert np.isfinite(standardizer.columns(rows.X)).all() and np.isfinite(coef).all()


# The order of columns


def binary_rows(X):
    """Rows with columns of zeros and ones that are equally frequent, and one that is constant."""
    X = np.column_stack([X, np.full(len(X), 7.0)])
    return replace(make_rows(len(X)), X=X, weight=np.ones(len(X)))


RANKS = make_rows().X.argsort(axis=0).argsort(axis=0)
TIED = {
    "told apart by other columns": binary_rows((RANKS < 20).astype(float)),
    "told apart by folds": binary_rows(np.array(list(product([0.0, 1.0], repeat=5)))),
}
FOLDS = np.random.default_rng(0).integers(0, 3, 60)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("name", TIED)
def test_columns_have_an_order_of_their_own(name, kind):
    rows = TIED[name]
    own, n_columns = FOLDS[: len(rows.labels)], rows.X.shape[1]
    expected = column_order(rows, own)
    for seed in range(5):
        random = np.random.default_rng(seed)
        moved, units = random.permutation(n_columns), 10.0 ** random.uniform(-9, 9, n_columns)
        renamed = random.permutation(3)[rows.labels]
        other = replace(rows, X=kind((rows.X * units)[:, moved]), labels=renamed)
        np.testing.assert_array_equal(moved[column_order(other, own)], expected)


def test_weights_are_repeated_rows_to_the_order_of_columns():
    rows = CASES["mask"]
    weight = np.random.default_rng(0).integers(0, 3, 60)
    index = np.repeat(np.arange(60), weight)
    repeated = replace(rows, X=rows.X[index], labels=rows.labels[index], weight=np.ones(len(index)))
    expected = column_order(replace(rows, weight=weight.astype(float)), FOLDS)
    np.testing.assert_array_equal(column_order(repeated, FOLDS[index]), expected)


# Few verified rows


def test_what_is_learned_without_few_verified_rows_still_keeps_them(monkeypatch):
    data, is_clean = make_labels(n_samples=200, seed=1), np.arange(200) < 12
    model = HyperCleaningClassifier(final_estimator="linear")
    none = clone(model).fit(data.X, data.y)
    plain = _fit.Search.likelihood
    monkeypatch.setattr(
        _fit.Search,
        "likelihood",
        lambda self, rows, learned: plain(self, rows, learned) - 9 * self.rows.has_verified,
    )
    few = clone(model).fit(data.X, data.y, is_clean=is_clean)
    np.testing.assert_array_equal(few.hyper_, none.hyper_)
    np.testing.assert_array_equal(few.sample_weight_[~is_clean], none.sample_weight_[~is_clean])
    assert (few.sample_weight_[is_clean] == 1).all()
    assert (few.fix_labels()[is_clean] == data.y[is_clean]).all()


@pytest.mark.parametrize("cv", [5, list(KFold(5).split(np.zeros((100, 1))))])
def test_a_splitter_is_told_which_rows_are_verified_however_few(cv):
    rows = replace(make_rows(100, verified=0.0), is_clean=np.arange(100) < 10)
    searched = _fit.rows_to_search(rows, HyperCleaningClassifier(cv=cv))
    assert [each.has_verified for each in searched] == ([True, False] if cv == 5 else [True])
