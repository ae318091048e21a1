"""Learning block by block: the same as learning at once."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit

from skbamm import BilevelRegularizedRegressor
from tests.regularization.regression_data import make_regression
from tests.tools import COPIES

N_ROWS, N_FEATURES = 1600, 6
DATA = make_regression(N_ROWS, N_FEATURES, 2)
FOLD = np.random.default_rng(1).integers(0, 4, N_ROWS)


def learn(model, blocks, *, n_targets=None, weight=DATA.weight, X=DATA.X, fold=None):
    y = DATA.y if n_targets == 2 else DATA.y[:, 0]
    for rows in blocks:
        model.partial_fit(
            X[rows],
            y[rows],
            None if weight is None else weight[rows],
            fold=None if fold is None else fold[rows],
        )
    return model


def consecutive(*stops):
    return [slice(start, stop) for start, stop in zip((0, *stops), stops, strict=False)]


def assert_same_fit(found, expected, rtol=1e-10):
    # Sums in another order.
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=rtol, atol=1e-14)
    np.testing.assert_allclose(found.intercept_, expected.intercept_, rtol=rtol)
    np.testing.assert_allclose(found.alpha_, expected.alpha_, rtol=rtol)
    np.testing.assert_allclose(found.criterion_, expected.criterion_, rtol=rtol)


OPTIONS = [
    {},
    {"n_repeats": 2, "penalty_factors": [0, 1, 2, 3, 1, 1]},
    {"penalty": "l2", "groups": np.arange(N_FEATURES) % 2},
    {"penalty": "l1"},
    {"penalty": "l2", "positive": True},
    {"exact_zeros": True, "fit_intercept": False},
    {"alpha": {"free": 0.0, "rest": "learn"}, "groups": {"free": [2], "rest": [0, 1, 3, 4, 5]}},
    {"cv": 3, "standardize": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_blocks_give_the_fit_on_all_rows(options):
    expected = BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y[:, 0], DATA.weight)
    for stops in ((900, 1100, N_ROWS), (1200, 1201, N_ROWS), (N_ROWS,)):
        found = learn(clone(expected), consecutive(*stops))
        assert_same_fit(found, expected)
        assert found.n_samples_seen_ == N_ROWS


@pytest.mark.filterwarnings("ignore:cv=5 asks for more folds")  # which only `fit` says
@pytest.mark.parametrize("stop", [2, 7, 40, 1000, 1001, 1300])
def test_every_call_gives_the_fit_on_the_rows_so_far(stop):
    model = BilevelRegularizedRegressor()
    found = learn(
        clone(model),
        [rows for rows in consecutive(2, 7, 40, 1000, 1001, 1300) if rows.stop <= stop],
    )
    expected = model.fit(DATA.X[:stop], DATA.y[:stop, 0], DATA.weight[:stop])
    assert_same_fit(found, expected)


@pytest.mark.parametrize("options", [{}, {"alpha_per_target": True}], ids=str)
def test_several_targets_come_in_blocks(options):
    model = BilevelRegularizedRegressor(**options)
    found = learn(clone(model), consecutive(1100, N_ROWS), n_targets=2)
    assert_same_fit(found, model.fit(DATA.X, DATA.y, DATA.weight))


def test_more_features_than_rows_come_in_blocks():
    wide = make_regression(60, 90)
    model = BilevelRegularizedRegressor(n_repeats=1)
    found = clone(model)
    for rows in consecutive(20, 60):
        found.partial_fit(wide.X[rows], wide.y[rows])
    assert_same_fit(found, model.fit(wide.X, wide.y))


def test_sparse_blocks_are_dense_blocks():
    model = BilevelRegularizedRegressor()
    X = DATA.X * (np.abs(DATA.X) > 1)
    found = learn(clone(model), consecutive(700, 1400, N_ROWS), X=sparse.csr_matrix(X))
    assert_same_fit(found, model.fit(sparse.csr_matrix(X), DATA.y[:, 0], DATA.weight))


@pytest.mark.parametrize("n_rows", [200, N_ROWS])
class TestGivenFolds:
    def expected(self, n_rows):
        model = BilevelRegularizedRegressor(cv=PredefinedSplit(FOLD[:n_rows]))
        return model.fit(DATA.X[:n_rows], DATA.y[:n_rows, 0], DATA.weight[:n_rows])

    def test_result_is_that_of_a_splitter_with_these_folds(self, n_rows):
        found = BilevelRegularizedRegressor()
        learn(found, consecutive(n_rows // 2, n_rows), fold=FOLD)
        assert_same_fit(found, self.expected(n_rows))

    def test_order_of_blocks_makes_no_difference(self, n_rows):
        blocks = np.array_split(np.random.default_rng(0).permutation(n_rows), 3)
        found = learn(BilevelRegularizedRegressor(), blocks, fold=FOLD)
        assert_same_fit(found, self.expected(n_rows))

    def test_a_block_may_be_a_fold(self, n_rows):
        found = BilevelRegularizedRegressor()
        for label in (2, 0, 3, 1):
            rows = np.flatnonzero(FOLD[:n_rows] == label)
            found.partial_fit(DATA.X[rows], DATA.y[rows, 0], DATA.weight[rows], fold=label)
            assert np.isfinite(found.predict(DATA.X)).all()  # from the first fold on
        assert_same_fit(found, self.expected(n_rows))


def test_a_large_single_fold_is_learned_from_by_position():
    found = BilevelRegularizedRegressor().partial_fit(DATA.X, DATA.y, fold=3)
    assert_same_fit(found, BilevelRegularizedRegressor().fit(DATA.X, DATA.y))


def test_blocks_without_weight_change_nothing():
    model = BilevelRegularizedRegressor()
    weight = DATA.weight.copy()
    weight[1200:1300] = 0
    found = learn(clone(model), consecutive(1200, 1300, N_ROWS), weight=weight)
    assert_same_fit(found, model.fit(DATA.X, DATA.y[:, 0], weight))


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("n_rows", [300, 1200])
def test_a_copy_goes_on_where_the_original_stopped(copy, n_rows):
    model = learn(BilevelRegularizedRegressor(), consecutive(n_rows))
    copied = COPIES[copy](model)
    rest = [slice(n_rows, N_ROWS)]
    assert_same_fit(learn(copied, rest), learn(model, rest), rtol=0)


def test_an_estimator_and_its_copy_go_separate_ways():
    model = learn(BilevelRegularizedRegressor(), consecutive(1200))
    before = model.fold_statistics_.sums[0].grams.copy()
    learn(COPIES["deepcopy"](model), [slice(1200, N_ROWS)])
    learn(model, [])
    np.testing.assert_array_equal(model.fold_statistics_.sums[0].grams, before)


def test_size_of_what_is_remembered_does_not_depend_on_rows():
    model = learn(BilevelRegularizedRegressor(), consecutive(1200))
    before = model.fold_statistics_.sums[0].grams.nbytes
    learn(model, [slice(1200, N_ROWS)])
    assert model.fold_statistics_.sums[0].grams.nbytes == before
    assert model.fold_statistics_.rows is None


def test_feature_names_are_checked_from_block_to_block():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.X[:50]).add_prefix("x")
    model = BilevelRegularizedRegressor().partial_fit(frame, DATA.y[:50])
    assert list(model.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame.add_prefix("other"), DATA.y[:50])


BAD = [
    ({"X": np.full((3, N_FEATURES), np.nan)}, "contains NaN"),
    ({"X": DATA.X[:3, :2]}, "features"),
    ({"y": DATA.y[:3]}, "same targets"),
    ({"y": DATA.y[:2, 0]}, "inconsistent"),
    ({"fold": 1}, "for all blocks of rows, or for none"),
    ({"sample_weight": -np.ones(3)}, "Negative"),
]


@pytest.mark.parametrize(("changed", "message"), BAD, ids=[message for _, message in BAD])
@pytest.mark.parametrize("n_rows", [60, 1200])
def test_a_failed_call_leaves_the_estimator_as_it_was(changed, message, n_rows):
    model = learn(BilevelRegularizedRegressor(), consecutive(n_rows))
    before = dict(vars(model))
    block = {"X": DATA.X[:3], "y": DATA.y[:3, 0], **changed}
    with pytest.raises(ValueError, match=message):
        model.partial_fit(**block)
    assert vars(model) == before
    rest = [slice(n_rows, N_ROWS)]
    assert_same_fit(
        learn(model, rest), learn(BilevelRegularizedRegressor(), consecutive(n_rows, N_ROWS)), 0
    )


def test_a_call_that_is_interrupted_while_learning_forgets_its_block():
    model = learn(BilevelRegularizedRegressor(), consecutive(1200))
    before = dict(vars(model))
    model.set_params(groups=[0])  # found wrong after the sums were made
    with pytest.raises(ValueError, match="one entry per feature"):
        learn(model, [slice(1200, N_ROWS)])
    assert vars(model) == before | {"groups": [0]}


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0, 1], "one entry per row"),
        (5, "from 0 to cv - 1 = 4"),
        (-1, "from 0"),
        (0.5, "whole numbers"),
    ],
)
def test_folds_are_checked(fold, message):
    with pytest.raises(ValueError, match=message):
        BilevelRegularizedRegressor().partial_fit(DATA.X[:9], DATA.y[:9], fold=fold)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cv": PredefinedSplit(FOLD)}, "needs an int as cv"),
        ({"cv": 1}, "must be an int in the range"),
    ],
    ids=str,
)
def test_options_that_need_rows_are_refused(options, message):
    model = BilevelRegularizedRegressor(**options)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(DATA.X, DATA.y)
    assert not hasattr(model, "n_features_in_")


def test_partial_fit_is_not_there_for_a_loss_that_needs_rows():
    model = BilevelRegularizedRegressor(loss="huber")
    assert not hasattr(model, "partial_fit")
    for name in ("partial_fit", "merge"):
        with pytest.raises(AttributeError, match=r'use fit, or loss="squared_error"'):
            getattr(model, name)


@pytest.mark.parametrize("options", [{}, {"learn": False}, {"fold": 1}], ids=str)
@pytest.mark.parametrize("n_before", [0, 60, 1200])
def test_a_block_without_rows_is_refused(options, n_before):
    model = BilevelRegularizedRegressor()
    if n_before:
        learn(model, consecutive(n_before))
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        model.partial_fit(DATA.X[:0], DATA.y[:0, 0], **options)


@pytest.mark.parametrize("fold", [None, 3])
def test_a_single_row_is_too_few_to_learn_from(fold):
    model = BilevelRegularizedRegressor()
    model.partial_fit(DATA.X[:1], DATA.y[:1], fold=fold, learn=False)
    with pytest.raises(ValueError, match="needs two rows or more, and there is one"):
        model.merge()


@pytest.mark.parametrize("value", ["no", 0, None])
def test_learn_is_yes_or_no(value):
    model = BilevelRegularizedRegressor()
    for call in (model.merge, lambda **given: model.partial_fit(DATA.X, DATA.y, **given)):
        with pytest.raises(TypeError, match="learn must be True or False: got"):
            call(learn=value)


@pytest.mark.parametrize("n_rows", [200, N_ROWS])
def test_status_tells_of_folds_without_rows(n_rows):
    model = learn(BilevelRegularizedRegressor(), consecutive(n_rows), fold=FOLD % 2)
    assert model.status_.endswith("; without rows in folds [2, 3, 4]")
    learn(model.merge(), [slice(0, 5)], fold=np.arange(5))
    assert "fold" not in model.status_
    model = learn(BilevelRegularizedRegressor(), consecutive(n_rows), fold=0 * FOLD + 2)
    assert model.status_.endswith("; all rows are in fold 2, so they were held out by position")
    assert "fold" not in learn(BilevelRegularizedRegressor(), consecutive(n_rows)).status_


@pytest.mark.parametrize("n_rows", [200, N_ROWS])
def test_a_fold_without_weight_is_none(n_rows):
    fold, weight = FOLD[:n_rows] % 2, DATA.weight[:n_rows] * (FOLD[:n_rows] % 2)
    given = DATA.X[:n_rows], DATA.y[:n_rows, 0], weight
    found = BilevelRegularizedRegressor(n_repeats=1).partial_fit(*given, fold=fold)
    assert_same_fit(found, BilevelRegularizedRegressor(n_repeats=1).fit(*given))


@pytest.mark.parametrize("changed", [{"cv": 3}, {"n_repeats": 2}, {"fit_intercept": False}])
def test_options_of_the_folds_must_not_change(changed):
    model = learn(BilevelRegularizedRegressor(), consecutive(50))
    with pytest.raises(ValueError, match="must not change from block to block"):
        learn(model.set_params(**changed), [slice(50, 100)])


def test_partial_fit_after_fit_begins_anew_and_says_so():
    model = BilevelRegularizedRegressor().fit(DATA.X, DATA.y)
    with pytest.warns(UserWarning, match="begins anew"):
        model.partial_fit(DATA.X[:50], DATA.y[:50])
    assert_same_fit(model, BilevelRegularizedRegressor().fit(DATA.X[:50], DATA.y[:50]), 0)


def test_fit_begins_anew():
    model = learn(BilevelRegularizedRegressor(), consecutive(1200))
    model.fit(DATA.X, DATA.y[:, 0], DATA.weight)
    assert not hasattr(model, "n_samples_seen_") and not hasattr(model, "fold_statistics_")


def test_folds_of_a_stream_with_a_random_seed_are_drawn_once():
    model = BilevelRegularizedRegressor(random_state=np.random.RandomState(3))
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    learn(model, consecutive(300, 1200, N_ROWS))
    expected = BilevelRegularizedRegressor(random_state=seed)
    assert_same_fit(model, expected.fit(DATA.X, DATA.y[:, 0], DATA.weight))
