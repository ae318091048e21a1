"""Large tables: the shared Gram matrices against those that are formed fold by fold."""

import numpy as np
import pytest
import torch
from scipy import sparse

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import make_folds
from skbamm.linalg._arrowhead import ArrowheadFactor
from skbamm.linalg._cross_products import fold_cross_products
from skbamm.regularization import _design
from skbamm.regularization._design import GramDesign, make_design
from skbamm.regularization._input import FoldedRows, Rows
from skbamm.regularization._large_design import SharedGramDesign
from skbamm.regularization.losses._arrowheads import Arrowheads
from tests.regularization.regression_data import make_regression

N_ROWS, N_FEATURES = 60, 8


def designs(*, fit_intercept=True, n_unpenalized=0, weighted=True, standardize=True):
    """A shared design and a plain one of the same data; new sums for each, they are overwritten."""
    data = make_regression(N_ROWS, N_FEATURES, 2)
    X = data.X.copy()
    X[:, 3] = X[:, 1]  # duplicate
    X[:, 4] = 2.5  # constant
    folds = make_folds(4, X, data.y, seed=0)
    folded = FoldedRows(Rows(X, data.y, data.weight if weighted else None), folds)
    penalized = np.arange(N_FEATURES) % 3 != 1 if n_unpenalized else np.ones(N_FEATURES, bool)
    options = {"penalized": penalized, "stretch": np.ones(N_FEATURES)}
    options |= {"fit_intercept": fit_intercept, "standardize": standardize}
    return [
        kind(folded.cross_products(fit_intercept), device=torch.device("cpu"), **options)
        for kind in (SharedGramDesign, GramDesign)
    ]


cases = pytest.mark.parametrize(
    "options",
    [
        {},
        {"fit_intercept": False},
        {"n_unpenalized": 3},
        {"n_unpenalized": 3, "fit_intercept": False},
        {"weighted": False},
        {"standardize": False},
    ],
    ids=str,
)


@cases
@pytest.mark.parametrize("part", ["train", "test", "all rows"])
def test_shared_losses_are_those_of_separate_matrices(options, part):
    found, expected = (
        design.all_rows()[0] if part == "all rows" else getattr(design, part)
        for design in designs(**options)
    )
    for name in ("gram", "cross", "constant"):
        # Differences of sums of size 1.
        torch.testing.assert_close(
            getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-13
        )


@cases
def test_raw_coefficients_are_those_of_separate_matrices(options):
    found, expected = designs(**options)
    n_penalized = len(expected.units.scale)
    params = torch.linspace(-1, 1, 2 * n_penalized, dtype=torch.float64).reshape(2, -1)
    found, expected = (design.all_rows()[1](params) for design in (found, expected))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_folds_of_zero_weight_do_not_count():
    data = make_regression(N_ROWS, N_FEATURES)
    folds = make_folds(3, data.X, data.y, seed=0)
    weight = data.weight * (folds.label != 1)
    options = {"penalized": np.ones(N_FEATURES, bool), "stretch": np.ones(N_FEATURES)}
    options["fit_intercept"] = True
    folded = FoldedRows(Rows(data.X, data.y[:, None], weight), folds)
    found, expected = (
        kind(
            folded.cross_products(True),
            standardize=True,
            device=torch.device("cpu"),
            **options,
        )
        for kind in (SharedGramDesign, GramDesign)
    )
    assert found.train.n_folds == 2
    torch.testing.assert_close(found.test.gram, expected.test.gram)


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(_design, "LARGE", 5)


@pytest.mark.usefixtures("small_is_large")
class TestLargeFit:
    """With every table counted as a large one."""

    def fit(self, X, y, weight=None, **options):
        model = BilevelRegularizedRegressor(random_state=0, **options)
        return model.fit(X, y, weight)

    def test_tables_are_handled_by_shared_matrices(self):
        data = make_regression(N_ROWS, N_FEATURES)
        rows = Rows(data.X, data.y[:, None])
        design = make_design(
            FoldedRows(rows, make_folds(3, data.X, data.y, seed=0)),
            penalized=np.ones(N_FEATURES, bool),
            stretch=np.ones(N_FEATURES),
            fit_intercept=True,
            standardize=True,
            device=torch.device("cpu"),
        )
        assert isinstance(design, SharedGramDesign) and design.n_initial < GramDesign.n_initial

    @pytest.mark.parametrize("penalty", ["adaptive", "l2"])
    @pytest.mark.parametrize("n_targets", [None, 2])
    def test_criterion_is_near_that_of_small_tables(self, penalty, n_targets, monkeypatch):
        data = make_regression(N_ROWS, N_FEATURES, n_targets)
        large = self.fit(data.X, data.y, penalty=penalty)
        monkeypatch.setattr(_design, "LARGE", 300)
        small = self.fit(data.X, data.y, penalty=penalty)
        # The mean is of fewer candidates: "l2" has one.
        rtol = 1e-6 if penalty == "l2" else 0.01
        np.testing.assert_allclose(large.initial_criterion_, small.initial_criterion_, rtol=rtol)
        # Another initial point may end in another basin.
        np.testing.assert_allclose(large.criterion_, small.criterion_, rtol=0.1)

    def test_sparse_rows_are_dense_rows(self):
        data = make_regression(N_ROWS, N_FEATURES)
        dense, rows = (self.fit(kind(data.X), data.y) for kind in (np.asarray, sparse.csr_matrix))
        np.testing.assert_allclose(rows.coef_, dense.coef_, rtol=1e-5)

    def test_whole_weights_are_repeated_rows_in_given_folds(self):
        data = make_regression(N_ROWS, N_FEATURES)
        times = np.arange(N_ROWS) % 3 + 1
        label, repeated = np.arange(N_ROWS) % 4, np.repeat(np.arange(N_ROWS), times)
        fits = []
        for rows, weight in ((np.arange(N_ROWS), times.astype(float)), (repeated, None)):
            splits = [
                (np.flatnonzero(label[rows] != k), np.flatnonzero(label[rows] == k))
                for k in range(4)
            ]
            fits.append(self.fit(data.X[rows], data.y[rows], weight, cv=splits))
        np.testing.assert_allclose(fits[0].coef_, fits[1].coef_, rtol=1e-5)

    def test_warm_start_begins_where_it_ended(self):
        data = make_regression(N_ROWS, N_FEATURES)
        model = BilevelRegularizedRegressor(warm_start=True).fit(data.X, data.y)
        first = model.n_iter_
        assert model.fit(data.X, data.y).n_iter_ <= first

    def test_fit_without_iterations_is_the_best_start(self):
        data = make_regression(N_ROWS, N_FEATURES)
        model = self.fit(data.X, data.y, max_iter=0)
        assert model.criterion_ <= model.initial_criterion_ and np.isfinite(model.coef_).all()


# Levels of categories


def crossed(n_rows=300, n_levels=70, seed=0):
    """Sparse indicators of two categories and a number, and targets of random effects."""
    random = np.random.default_rng(seed)
    codes = [random.integers(n, size=n_rows) for n in (n_levels, 9)]
    blocks = [
        sparse.csr_array((np.ones(n_rows), (np.arange(n_rows), code)), shape=(n_rows, n))
        for code, n in zip(codes, (n_levels, 9), strict=True)
    ]
    number = random.normal(size=(n_rows, 1)) * (random.random((n_rows, 1)) < 0.3)
    X = sparse.hstack([*blocks, number], format="csr")
    effects = np.concatenate([random.normal(size=n_levels), 0.5 * random.normal(size=9), [1.0]])
    groups = ["first"] * n_levels + ["second"] * 9 + ["number"]
    return X, X @ effects + random.normal(size=n_rows), groups, random.integers(3, size=n_rows)


@pytest.mark.parametrize(
    "options",
    [
        {"penalty": "l2", "shrinkage": 0.01, "standardize": False},
        {"penalty": "adaptive"},
        {"penalty": "l2", "fit_intercept": False, "is_weighted": True},
        {"penalty": "l2", "penalty_factors": [1.0] * 79 + [0.0]},
        {"penalty": "l2", "penalty_factors": [0.0] * 2 + [1.0] * 78},
    ],
    ids=lambda options: options["penalty"] + str(len(options)),
)
def test_levels_of_categories_are_eliminated_first(options, monkeypatch):
    monkeypatch.setattr(_design, "LARGE", 30)
    X, y, groups, weight = crossed()
    options = {"groups": groups} | options
    weight = weight.astype(float) if options.pop("is_weighted", False) else None
    used = []
    solve = ArrowheadFactor.solve
    monkeypatch.setattr(ArrowheadFactor, "solve", lambda *a: used.append(1) or solve(*a))
    found = BilevelRegularizedRegressor(**options).fit(X, y, weight)
    assert used
    monkeypatch.setattr(Arrowheads, "of", lambda *_: None)
    expected = BilevelRegularizedRegressor(**options).fit(X, y, weight)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.criterion_, expected.criterion_, rtol=1e-8)


def test_few_stored_entries_are_multiplied_as_they_are(monkeypatch):
    X, y, _, weight = crossed()
    folds = np.arange(len(y)) % 5
    shift = np.append(np.zeros(X.shape[1]), 0.3)
    for each in (None, weight.astype(float)):
        found = fold_cross_products(X, y[:, None], each, folds, 5, shift)
        expected = fold_cross_products(X.toarray(), y[:, None], each, folds, 5, shift)
        np.testing.assert_allclose(found.test, expected.test, atol=1e-10)
