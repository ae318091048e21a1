"""Times, sources and annotators in `fit`, of all estimators that take them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import (
    BilevelRegularizedClassifier,
    BilevelRegularizedRegressor,
    HyperCleaningClassifier,
    HyperCleaningRegressor,
)
from skbamm.inspection import RowWeightDisplay
from tests.row_weights.made_rows import drifting, ratings, sites, steady

X_DRIFT, Y_DRIFT, TIME = drifting(400, 300)
X_SITES, Y_SITES, SOURCE = sites(n=150)


def regressor(**options):
    return BilevelRegularizedRegressor("l2", max_iter=3, n_repeats=1, **options)


class Regression:
    make = staticmethod(regressor)

    @staticmethod
    def target(y):
        return y


class Classes:
    @staticmethod
    def make(**options):
        return BilevelRegularizedClassifier("l2", max_iter=3, n_repeats=1, **options)

    @staticmethod
    def target(y):
        return np.where(y > 0, "yes", "no")


class Cleaning(Classes):
    @staticmethod
    def make(**options):
        return HyperCleaningClassifier(max_iter=2, tol=1.0, final_estimator="linear", **options)


class Targets(Regression):
    @staticmethod
    def make(**options):
        return HyperCleaningRegressor(max_iter=2, tol=1.0, **options)


@pytest.fixture(params=[Regression, Classes, Cleaning, Targets])
def case(request):
    return request.param


def fit(case, X=X_DRIFT, y=Y_DRIFT, **told):
    return case.make().fit(X, case.target(y), **told)


# What is learned


def test_newer_rows_count_more_where_rows_drift(case):
    model = fit(case, time=TIME)
    weight = model.row_weights_.weight
    assert weight[TIME < 300].mean() < 0.1 * weight[TIME >= 300].mean()
    np.testing.assert_allclose(weight.mean(), 1)
    plain = fit(case)
    recent = TIME >= 300
    y = case.target(Y_DRIFT)[recent]
    assert model.score(X_DRIFT[recent], y) > plain.score(X_DRIFT[recent], y) + 0.2


def test_the_weights_are_those_that_a_fit_would_be_given():
    model = fit(Regression, time=TIME)
    given = regressor().fit(X_DRIFT, Y_DRIFT, model.sample_weight_)
    np.testing.assert_allclose(model.coef_, given.coef_)


def test_levels_are_taken_off_and_the_target_is_predicted():
    model = fit(Regression, X_SITES, Y_SITES, row_source=SOURCE, target_source=0)
    assert abs(model.intercept_) < 0.6
    report = model.row_weight_report()
    levels = dict(zip(report["name"], report["level"], strict=True))
    assert levels["0"] == 0 and levels["1"] > 2 and levels["2"] < -2
    mask = fit(Regression, X_SITES, Y_SITES, row_source=SOURCE, is_clean=SOURCE == 0)
    np.testing.assert_array_equal(mask.coef_, model.coef_)


def test_verified_rows_alone_are_a_target():
    model = fit(Regression, X_SITES, Y_SITES, is_clean=SOURCE == 0)
    assert set(model.row_weight_report()["name"]) == {"target", "other rows"}


def test_annotators_who_answer_at_random_lose_weight(case):
    X, y, annotator, is_random, _ = ratings()
    if case is not Regression:
        case = type("Ratings", (case,), {"target": staticmethod(lambda y: y)})
    weight = fit(case, X, y, annotator=annotator).row_weights_.weight
    assert weight[is_random].mean() < 0.8 * weight[~is_random].mean()


def test_ratings_of_one_item_are_held_out_together():
    X, y, annotator, _, item = ratings(n_random=0)
    model = regressor().fit(X, y, annotator=annotator)
    assert not model.row_weights_.found
    from skbamm.data._folds import position_folds

    label = position_folds(150, 5, 0)[np.unique(item, return_inverse=True)[1]]
    splits = [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in range(5)]
    np.testing.assert_allclose(model.coef_, regressor(cv=splits).fit(X, y).coef_)
    other = regressor().fit(X, y)
    assert model.criterion_ != other.criterion_


def test_weights_of_rows_and_of_targets_multiply():
    X, y, time = drifting(1000, 600)
    is_wrong = np.arange(1000) % 6 == 0
    given = y + 8 * is_wrong
    model = HyperCleaningRegressor(final_estimator=Ridge(), max_iter=0).fit(X, given, time=time)
    weight = model.row_weights_.weight * model.sample_weight_
    expected = Ridge().fit(X, given, sample_weight=weight)
    np.testing.assert_allclose(model.predict(X), expected.predict(X))
    recent = time >= 650
    assert model.sample_weight_[recent & is_wrong].max() < 0.2
    assert model.sample_weight_[recent & ~is_wrong].mean() > 0.9


def test_reports_of_targets_are_in_their_unit_though_levels_are_taken_off():
    X, y, source = sites(n=500)
    is_wrong = np.arange(len(y)) % 6 == 0
    model = HyperCleaningRegressor(max_iter=0)
    model.fit(X, y + 9 * is_wrong, row_source=source, target_source=0)
    report = model.target_report().set_index("index").loc[np.arange(len(y))]
    np.testing.assert_allclose(report["given_target"], y + 9 * is_wrong)
    assert report["is_issue"][is_wrong].mean() > 0.8
    assert np.abs(report["suggested_target"] - y)[is_wrong].mean() < 2
    assert model.row_weight_report()["level"].abs().max() > 1


def test_kinds_multiply():
    model = fit(Regression, X_SITES, Y_SITES, row_source=SOURCE, target_source=0, annotator=SOURCE)
    parts = model.row_weights_.parts
    assert [part.kind for part in parts] == ["annotator", "source"]
    expected = np.prod([part.weight for part in parts if part.weight is not None], axis=0)
    np.testing.assert_allclose(model.sample_weight_, expected / expected.mean())


def steady_time(case):
    for seed in range(20):
        X, y, time = steady(300, seed=seed)
        model = fit(case, X, y, time=time)
        if not model.row_weights_.found:
            return model, X, y
    raise AssertionError("all of 20 steady tables are said to drift")


def test_no_sign_of_drift_is_the_plain_fit_to_the_bit(case):
    model, X, y = steady_time(case)
    assert "no sign of drift: rows count alike" in model.status_
    assert (model.row_weights_.weight == 1).all()
    plain = fit(case, X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    np.testing.assert_array_equal(model.intercept_, plain.intercept_)


def test_rows_without_weight_are_absent():
    weight = np.append(np.ones(400), np.zeros(50))
    rows = np.random.default_rng(0).normal(size=(50, 4))
    X, y = np.vstack([X_DRIFT, 100 * rows]), np.append(Y_DRIFT, 1e6 * np.ones(50))
    time = np.append(TIME, np.full(50, 1e5))
    cv = KFold(4)
    model = BilevelRegularizedRegressor("l2", max_iter=3).fit(X, y, weight, time=time)
    few = BilevelRegularizedRegressor("l2", max_iter=3).fit(X_DRIFT, Y_DRIFT, time=TIME)
    assert cv and (model.sample_weight_[400:] == 0).all()
    np.testing.assert_allclose(model.sample_weight_[:400], few.sample_weight_, rtol=1e-8)


def test_without_learning_there_are_no_learned_numbers(case):
    model = clone(case.make()).set_params(max_iter=0)
    model.fit(X_DRIFT, case.target(Y_DRIFT), time=TIME)
    assert model.row_weights_.parts[0].numbers == {}
    assert fit(case, time=TIME).row_weights_.parts[0].numbers


def test_several_targets_share_weights_and_have_levels_of_their_own():
    Y = np.column_stack([Y_SITES, X_SITES[:, 0]])
    model = regressor().fit(X_SITES, Y, row_source=SOURCE, target_source=0)
    level = model.row_weights_.level
    assert level.shape == Y.shape
    assert abs(level[SOURCE == 1, 0]).mean() > 2 > 0.5 > abs(level[SOURCE == 1, 1]).mean()


# How it is told


def test_columns_may_be_named(case):
    table = pd.DataFrame(X_DRIFT, columns=list("abcd")).assign(week=TIME)
    model = fit(case, table, time="week")
    assert model.named_columns_ == ["week"] and model.n_features_in_ == 4
    # Columns of a table lie in another order in memory: sums differ by rounding.
    np.testing.assert_allclose(model.coef_, fit(case, time=TIME).coef_)


def test_dates_are_times():
    dates = np.datetime64("2020-01-01") + TIME.astype("timedelta64[D]")
    for values in (dates, pd.Series(dates)):
        model = fit(Regression, time=values)
        np.testing.assert_allclose(model.sample_weight_, fit(Regression, time=TIME).sample_weight_)


def test_sparse_rows_have_the_weights_of_dense_ones(case):
    model = fit(case, sparse.csr_matrix(X_DRIFT), time=TIME)
    expected = fit(case, time=TIME).row_weights_.weight
    np.testing.assert_allclose(model.row_weights_.weight, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["column", "objects"])
def test_dates_with_a_time_zone_are_times(kind):
    dates = pd.Series(pd.date_range("2020-01-01", periods=400, tz="Europe/Paris"))
    plain = dates.dt.tz_convert("UTC").dt.tz_localize(None)
    model = fit(Regression, time=dates.astype(object) if kind == "objects" else dates)
    np.testing.assert_array_equal(model.sample_weight_, fit(Regression, time=plain).sample_weight_)
    assert " days count less than half" in model.status_
    dates[7] = pd.NaT
    with pytest.raises(ValueError, match="time must be known for each row: 1 entries"):
        fit(Regression, time=dates)


@pytest.mark.parametrize("source", [SOURCE.astype(object), [{0: "a"}.get(s, s) for s in SOURCE]])
def test_sources_may_be_objects(source):
    model = fit(Regression, X_SITES, Y_SITES, row_source=source, target_source=1)
    expected = fit(Regression, X_SITES, Y_SITES, row_source=SOURCE, target_source=1)
    np.testing.assert_allclose(model.sample_weight_, expected.sample_weight_, rtol=1e-6)


def test_ratings_of_several_targets_are_an_error():
    with pytest.raises(ValueError, match="y has 2 columns"):
        fit(Regression, y=np.column_stack([Y_DRIFT, Y_DRIFT]), annotator=TIME)


def test_the_report_is_a_dataframe_of_the_kind_that_was_fitted(case):
    polars = pytest.importorskip("polars")
    model = fit(case, polars.DataFrame(X_DRIFT, schema=list("abcd")), time=TIME)
    report = model.row_weight_report()
    assert isinstance(report, polars.DataFrame)
    assert report.equals(RowWeightDisplay.from_estimator(model).frame())


def test_another_fit_forgets(case):
    model = fit(case, time=TIME)
    model.fit(X_DRIFT, case.target(Y_DRIFT))
    assert not hasattr(model, "row_weights_")
    with pytest.raises(AttributeError, match="fit got none of time="):
        model.row_weight_report()


def test_partial_fit_forgets_and_takes_no_times():
    model = fit(Regression, time=TIME)
    with pytest.warns(UserWarning):
        model.partial_fit(X_DRIFT, Y_DRIFT)
    assert not hasattr(model, "sample_weight_")
    with pytest.raises(TypeError, match="time"):
        model.partial_fit(X_DRIFT, Y_DRIFT, time=TIME)


def test_a_fitted_model_is_pickled_with_its_report(case):
    model = fit(case, time=TIME)
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.row_weight_report(), model.row_weight_report())


def test_the_report_has_a_row_for_each_name(case):
    report = fit(case, X_SITES, Y_SITES, row_source=SOURCE, target_source=1).row_weight_report()
    assert list(report.columns) == ["kind", "name", "n_rows", "weight", "level"]
    assert report["n_rows"].sum() == len(SOURCE)
    assert list(report["name"]) == ["1", "0", "2"]


@pytest.mark.parametrize("name", ["time", "row_source", "annotator", "target_source"])
def test_all_of_it_can_be_requested(case, name):
    with config_context(enable_metadata_routing=True):
        model = case.make().set_fit_request(**{name: True})
        assert model.get_metadata_routing().consumes("fit", [name]) == {name}


def test_cross_validate_cuts_times_and_passes_the_target_on():
    told = {"time": TIME, "row_source": TIME.astype(int) % 3, "target_source": 1}
    with config_context(enable_metadata_routing=True):
        model = regressor().set_fit_request(time=True, row_source=True, target_source=True)
        pipeline = make_pipeline(StandardScaler(), model)
        result = cross_validate(
            pipeline, X_DRIFT, Y_DRIFT, cv=KFold(3), params=told, return_estimator=True
        )
        search = GridSearchCV(pipeline, {"standardscaler__with_mean": [True]}, cv=GroupKFold(2))
        search.fit(X_DRIFT, Y_DRIFT, groups=TIME // 50, **told)
    for one in result["estimator"]:
        assert len(one[-1].sample_weight_) in (266, 267)
    assert len(search.best_estimator_[-1].sample_weight_) == 400


# What is wrong


@pytest.mark.parametrize("kind", [Regression, Targets])
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"time": np.where(TIME == 3, np.nan, TIME)}, "time must be known for each row: 1 entries"),
        ({"time": TIME[1:]}, "time must have an entry for each row: got 399 for 400"),
        ({"row_source": TIME}, "row_source needs to know"),
        ({"row_source": TIME, "is_clean": TIME < 0}, "row_source needs to know"),
        ({"row_source": TIME, "target_source": -1}, "is none of the sources"),
        ({"target_source": 1}, "target_source needs row_source="),
        ({"annotator": [None, *TIME[1:]]}, "annotator must be known for each row: 1 entries"),
        ({"is_clean": TIME}, "is_clean must be a"),
        ({"time": np.ones((400, 2))}, r"time must be one column: got an array of shape \(400, 2\)"),
        ({"time": pd.array([pd.NA, *TIME[1:]])}, "time must be known for each row: 1 entries"),
        ({"annotator": pd.array([pd.NA, *TIME[1:]])}, "annotator must be known for each row: 1"),
        ({"row_source": TIME, "target_source": [1, 2]}, "give a mask of them as is_clean"),
    ],
)
def test_wrong_columns_are_an_error(kind, told, said):
    with pytest.raises(ValueError, match=said):
        fit(kind, **told)


def test_a_target_said_twice_is_an_error():
    with pytest.raises(ValueError, match="not both"):
        fit(Regression, row_source=TIME, target_source=1, is_clean=TIME < 9)


def test_values_whose_squares_overflow_are_an_error():
    with pytest.raises(ValueError, match="Choose another unit"):
        fit(Regression, 1e200 * X_DRIFT, time=TIME)


def test_a_constant_target_has_no_drift():
    model = fit(Regression, y=np.ones(400), time=TIME)
    assert not model.row_weights_.found and model.intercept_ == 1


def test_times_that_are_words_are_an_error():
    with pytest.raises(TypeError, match="time must be numbers or dates"):
        fit(Regression, time=TIME.astype(str))


def test_dates_with_gaps_are_an_error():
    dates = np.datetime64("2020-01-01") + TIME.astype("timedelta64[D]")
    dates[7] = np.datetime64("NaT")
    with pytest.raises(ValueError, match="time must be known"):
        fit(Regression, time=dates)


def test_rows_that_are_read_block_by_block_are_an_error(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, X_DRIFT)
    with pytest.raises(TypeError, match="need all rows at once"):
        fit(Regression, np.load(path, mmap_mode="r"), time=TIME)


def test_dask_says_that_it_takes_none():
    pytest.importorskip("dask")
    from skbamm.dask import DaskBilevelRegularizedRegressor

    with pytest.raises(TypeError, match="time"):
        DaskBilevelRegularizedRegressor().fit(X_DRIFT, Y_DRIFT, time=TIME)
