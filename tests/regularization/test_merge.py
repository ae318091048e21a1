"""Shards that were added up apart: merged, they give the fit on all rows."""

import functools
import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import PredefinedSplit

from skbamm import BilevelRegularizedRegressor
from skbamm.data._folds import position_folds
from tests.regularization.regression_data import make_regression
from tests.regularization.test_partial_fit import assert_same_fit
from tests.tools import COPIES

N_ROWS = 3000
DATA = make_regression(N_ROWS, 6, 2)
FOLD = np.random.default_rng(1).integers(0, 4, N_ROWS)
# Means that wander: shards take other means off their columns.
X = DATA.X + 5 + np.linspace(0, 3, N_ROWS)[:, None]
# Shards of which rows are kept (up to 1000 rows), and of which only sums are.
STOPS = [(3000,), (400, 900), (700, 1600, 2000), (1500, 3000), (1100, 1300, 2900, 3000)]


def shard(rows, *, single=True, convert=np.asarray, model=None, **changed):
    y = DATA.y[rows, 0] if single else DATA.y[rows]
    given = {"sample_weight": DATA.weight[rows], "fold": FOLD[rows], "learn": False, **changed}
    model = BilevelRegularizedRegressor() if model is None else model
    return model.partial_fit(convert(X[rows]), y, **given)


def shards(stops, **options):
    starts = (0, *stops)
    return [shard(slice(*ends), **options) for ends in itertools.pairwise(starts)]


def expected(n_rows=N_ROWS, *, single=True, convert=np.asarray, **options):
    y = DATA.y[:n_rows, 0] if single else DATA.y[:n_rows]
    model = BilevelRegularizedRegressor(cv=PredefinedSplit(FOLD[:n_rows]), **options)
    return model.fit(convert(X[:n_rows]), y, DATA.weight[:n_rows])


def merged(several, **options):
    return BilevelRegularizedRegressor(**options).merge(*several)


@pytest.mark.parametrize("single", [True, False], ids=["one target", "two"])
@pytest.mark.parametrize("stops", STOPS, ids=str)
def test_shards_give_the_fit_on_all_rows(stops, single):
    found = merged(shards(stops, single=single))
    assert_same_fit(found, expected(stops[-1], single=single), rtol=1e-9)
    assert found.n_samples_seen_ == stops[-1] and found.n_features_in_ == 6


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=str)
def test_order_makes_no_difference(order):
    several = shards((700, 1800, N_ROWS))
    assert_same_fit(merged([several[k] for k in order]), expected(), rtol=1e-9)


@pytest.mark.parametrize("options", [{"penalty": "l1"}, {"exact_zeros": True, "positive": True}])
def test_parameters_of_the_merging_estimator_count(options):
    assert_same_fit(merged(shards((1500, N_ROWS)), **options), expected(**options), rtol=1e-8)


@pytest.mark.parametrize(
    "options", [{"cv": 4}, {"fit_intercept": False}, {"cv": 7, "n_repeats": 2}]
)
def test_options_of_the_sums_may_be_others_in_all_shards(options):
    several = [
        shard(rows, model=BilevelRegularizedRegressor(**options))
        for rows in (slice(0, 1400), slice(1400, N_ROWS))
    ]
    own = {"fit_intercept": options.get("fit_intercept", True)}
    assert_same_fit(merged(several, **options), expected(**own), rtol=1e-9)


def test_sparse_shards_add_up():
    found = merged(shards((1200, N_ROWS), convert=sparse.csr_array))
    assert_same_fit(found, expected(convert=sparse.csr_array), rtol=1e-8)


def test_a_tree_of_merges_learns_once_at_the_end():
    several = shards((1100, 1500, 1700, 2900, N_ROWS))
    found = functools.reduce(lambda one, other: one.merge(other, learn=False), several)
    with pytest.raises(NotFittedError):
        found.predict(X)
    assert_same_fit(found.merge(), expected(), rtol=1e-9)


@pytest.mark.parametrize("sizes", [(1200, 1300), (1200, 80), (80, 1200), (60, 80)], ids=str)
def test_a_shard_may_be_a_fold(sizes):
    folds = [np.flatnonzero(FOLD == 0)[: sizes[0]], np.flatnonzero(FOLD == 1)[: sizes[1]]]
    sizes = [len(rows) for rows in folds]
    found = merged([shard(rows, fold=label) for label, rows in enumerate(folds)])
    rows = np.concatenate(folds)
    model = BilevelRegularizedRegressor(cv=PredefinedSplit(np.repeat([0, 1], sizes)))
    model.fit(X[rows], DATA.y[rows, 0], DATA.weight[rows])
    assert_same_fit(found, model, rtol=1e-9)


def test_shards_of_the_same_fold_are_learned_from_by_position_in_each():
    found = merged([shard(slice(0, 1500), fold=2), shard(slice(1500, N_ROWS), fold=2)])
    fold = np.tile(position_folds(1500, 5, seed=0), 2)
    model = BilevelRegularizedRegressor(cv=PredefinedSplit(fold))
    assert_same_fit(found, model.fit(X, DATA.y[:, 0], DATA.weight), rtol=1e-9)


def test_rows_of_the_merging_estimator_count_and_more_may_follow():
    model = shard(slice(0, 1200), learn=True)
    model.merge(shard(slice(1200, 2000)))
    assert_same_fit(model, expected(2000), rtol=1e-9)
    shard(slice(2000, N_ROWS), model=model, learn=True)
    assert_same_fit(model, expected(), rtol=1e-9)


@pytest.mark.parametrize("stops", [(500, 800), (1100, N_ROWS)], ids=str)
def test_shards_stay_as_they_are_and_copies_merge_alike(stops):
    several = shards(stops)
    before = [dict(vars(one)) for one in several]
    found = merged(several)
    assert [vars(one) for one in several] == before
    for copy in COPIES.values():
        assert_same_fit(merged(map(copy, several)), found, rtol=0)


def test_a_shard_without_weight_or_of_one_row_is_a_shard():
    several = [shard(slice(0, 1500)), shard(slice(1500, 1501)), shard(slice(1501, N_ROWS))]
    nothing = shard(slice(0, 50), sample_weight=np.zeros(50))
    assert_same_fit(merged([nothing, *several]), expected(), rtol=1e-9)


def test_adding_up_leaves_what_was_learned():
    model = shard(slice(0, 1200), learn=True)
    before = model.coef_
    assert shard(slice(1200, 1300), model=model).coef_ is before
    assert model.n_samples_seen_ == 1300


def test_names_of_features_are_adopted_and_compared():
    pandas = pytest.importorskip("pandas")
    several = [
        shard(rows, convert=lambda X, name=name: pandas.DataFrame(X).add_prefix(name))
        for rows, name in ((slice(0, 60), "x"), (slice(60, 90), "x"), (slice(90, 99), "other"))
    ]
    assert merged(several[:2]).feature_names_in_.tolist() == [f"x{k}" for k in range(6)]
    with pytest.raises(ValueError, match="Features must be the same in all shards"):
        merged(several)


BAD = {
    "no sums of rows": BilevelRegularizedRegressor,
    "no sums": lambda: BilevelRegularizedRegressor(max_iter=0).fit(X[:50], DATA.y[:50]),
    "folds are given": lambda: shard(slice(0, 50), fold=None),
    "Features must": lambda: shard(slice(0, 50), convert=lambda X: X[:, :3]),
    "same targets": lambda: shard(slice(0, 50), single=False),
    "cv, n_repeats and fit_intercept": lambda: shard(
        slice(0, 50), model=BilevelRegularizedRegressor(cv=4)
    ),
}


@pytest.mark.parametrize("n_rows", [60, 1200])
@pytest.mark.parametrize("message", BAD)
def test_a_shard_that_does_not_belong_leaves_the_estimator_as_it_was(message, n_rows):
    model = shard(slice(0, n_rows), learn=True)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.merge(shard(slice(60, 90)), BAD[message]())
    assert vars(model) == before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (BilevelRegularizedRegressor(), "no rows to learn from"),
        (BilevelRegularizedRegressor(cv=PredefinedSplit(FOLD)), "needs an int as cv"),
        (BilevelRegularizedRegressor(cv=0), "must be an int in the range"),
    ],
)
def test_nothing_to_merge_is_an_error(model, message):
    with pytest.raises(ValueError, match=message):
        model.merge()
    assert not hasattr(model, "n_features_in_")


def test_weights_that_are_all_zero_are_an_error():
    several = [shard(slice(0, n), sample_weight=np.zeros(n)) for n in (40, 1200)]
    for some in (several, several[:1]):
        with pytest.raises(ValueError, match="all zero"):
            merged(some)


def test_rows_of_fit_do_not_count_and_it_says_so():
    model = BilevelRegularizedRegressor().fit(X[:50], DATA.y[:50, 0])
    with pytest.warns(UserWarning, match="begins anew"):
        model.merge(*shards((1500, N_ROWS)))
    assert_same_fit(model, expected(), rtol=1e-9)


def test_merge_is_not_there_for_a_loss_that_needs_rows():
    assert not hasattr(BilevelRegularizedRegressor(loss="huber"), "merge")


@pytest.mark.parametrize("add", ["partial_fit", "merge"])
def test_adding_up_other_features_beside_a_model_is_an_error(add):
    model = BilevelRegularizedRegressor(max_iter=0).fit(X[:100, :3], DATA.y[:100, 0])
    before = model.predict(X[:5, :3])
    with (
        pytest.warns(UserWarning, match="begins anew"),
        pytest.raises(ValueError, match=r"features|Features"),
    ):
        shard(slice(100), model=model) if add == "partial_fit" else model.merge(
            shard(slice(100)), learn=False
        )
    assert model.n_features_in_ == 3
    np.testing.assert_array_equal(model.predict(X[:5, :3]), before)


@pytest.mark.parametrize("n_rows", [80, 1200])
def test_the_kind_of_dataframe_is_kept(n_rows):
    pandas = pytest.importorskip("pandas")
    several = [
        shard(rows, convert=lambda rows: pandas.DataFrame(rows, columns=list("abcdef")))
        for rows in (slice(0, n_rows), slice(n_rows, 2 * n_rows))
    ]
    assert merged(several).dataframe_ == "pandas"
    assert several[0].merge().dataframe_ == "pandas"
