"""HyperCleaningRegressor: what it finds, what must not change it, and what it refuses."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit, cross_validate
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningRegressor
from skbamm.inspection import SampleWeightDisplay

N_ROWS = 300


@pytest.fixture(scope="module")
def table():
    """Rows, given targets, right ones, and which are wrong: too high by 6 scales of errors."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((N_ROWS, 4))
    right = X @ [1.0, -2.0, 0.5, 0.0] + 3 + 0.5 * generator.standard_normal(N_ROWS)
    is_wrong = generator.random(N_ROWS) < 0.25
    return X, np.where(is_wrong, right + 3, right), right, is_wrong


@pytest.fixture(scope="module")
def fitted(table):
    return HyperCleaningRegressor().fit(*table[:2])


def test_wrong_targets_lose_their_weight_and_right_ones_keep_it(table, fitted):
    is_wrong = table[3]
    assert np.median(fitted.sample_weight_[is_wrong]) < 0.01
    assert np.median(fitted.sample_weight_[~is_wrong]) > 0.99
    np.testing.assert_allclose(fitted.noise_rate_, is_wrong.mean(), atol=0.03)


def test_numbers_of_the_noise_are_those_that_made_it(table, fitted):
    numbers = fitted.noise_models_["learned"]
    np.testing.assert_allclose(numbers["shift"], 3.0, atol=0.2)
    np.testing.assert_allclose(numbers["scale"], 0.5, atol=0.06)
    assert next(iter(fitted.average_weights_)) in ("shifted", "learned")


def test_fit_is_near_that_of_the_right_rows(table, fitted):
    X, given, _, is_wrong = table
    oracle = LinearRegression().fit(X[~is_wrong], given[~is_wrong])
    np.testing.assert_allclose(fitted.coef_, oracle.coef_, atol=0.06)
    np.testing.assert_allclose(fitted.intercept_, oracle.intercept_, atol=0.1)


def test_clean_normal_targets_leave_the_plain_fit(table):
    X, _, right, _ = table
    model = HyperCleaningRegressor().fit(X, right)
    plain = RidgeCV(np.logspace(-3, 3, 20)).fit(X, right)
    assert "no wrong targets show" in model.status_
    # A tenth of the errors' scale: heavy tails, which predict as well, count for a part.
    np.testing.assert_allclose(model.predict(X), plain.predict(X), atol=0.06)
    assert not model.target_report()["is_issue"].any()


def test_skewed_errors_are_not_taken_for_wrong_targets():
    generator = np.random.default_rng(1)
    X = generator.standard_normal((1500, 5))
    y = X @ np.ones(5) + np.exp(generator.standard_normal(1500))
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    plain = RidgeCV(np.logspace(-3, 3, 20)).fit(X, y)
    assert model.noise_rate_ < 0.01
    np.testing.assert_allclose(model.intercept_, plain.intercept_, atol=0.05)


@pytest.mark.parametrize("kind", ["binary", "zeros"])
def test_a_value_that_many_targets_have_flags_none_of_the_others(kind):
    generator = np.random.default_rng(2)
    X = generator.standard_normal((400, 3))
    latent = X[:, 0] + generator.standard_normal(400)
    y = (latent > 1).astype(float) if kind == "binary" else np.maximum(latent, 0)
    model = HyperCleaningRegressor().fit(X, y)
    assert model.average_weights_ == {"plain": 1.0}
    np.testing.assert_array_equal(model.sample_weight_, 1.0)


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1.0, 50.0), (-1.0, 0.0)])
def test_unit_origin_and_sign_of_targets_change_no_weight(table, fitted, factor, shift):
    X, given, *_ = table
    model = HyperCleaningRegressor().fit(X, factor * given + shift)
    # Sums are rounded in another way, and the run ends elsewhere within its tolerance.
    np.testing.assert_allclose(model.sample_weight_, fitted.sample_weight_, atol=2e-3)
    expected = factor * fitted.noise_models_["shifted"]["shift"]
    np.testing.assert_allclose(model.noise_models_["shifted"]["shift"], expected, rtol=1e-3)


def test_order_of_rows_changes_nothing_but_their_order(table):
    X, given, *_ = table
    fold = np.arange(N_ROWS) % 5
    order = np.random.default_rng(3).permutation(N_ROWS)
    one, other = (
        HyperCleaningRegressor(cv=splits(fold[rows])).fit(X[rows], given[rows])
        for rows in (np.arange(N_ROWS), order)
    )
    np.testing.assert_allclose(other.sample_weight_, one.sample_weight_[order], atol=1e-6)
    np.testing.assert_allclose(other.coef_, one.coef_, atol=1e-6)


def test_a_row_of_weight_zero_is_absent_and_one_of_two_counts_twice(table):
    X, given, *_ = table
    count = np.arange(N_ROWS) % 3
    fold = np.arange(N_ROWS) // 3 % 5
    repeated = np.repeat(np.arange(N_ROWS), count)
    weighted = HyperCleaningRegressor(cv=splits(fold)).fit(X, given, sample_weight=count)
    model = HyperCleaningRegressor(cv=splits(fold[repeated])).fit(X[repeated], given[repeated])
    np.testing.assert_allclose(weighted.sample_weight_[repeated], model.sample_weight_, atol=1e-6)
    np.testing.assert_allclose(weighted.coef_, model.coef_, atol=1e-6)


def splits(fold):
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


def test_verified_rows_have_weight_one_and_are_no_issues(table):
    X, given, *_ = table
    is_clean = np.arange(N_ROWS) % 4 == 0  # of these some look wrong, and are said to be right
    model = HyperCleaningRegressor().fit(X, given, is_clean=is_clean)
    report = model.target_report().set_index("index")
    assert (model.sample_weight_[is_clean] == 1).all()
    assert not report["is_issue"][np.flatnonzero(is_clean)].any()


def test_where_all_targets_are_verified_it_is_the_plain_fit(table):
    X, given, *_ = table
    model = HyperCleaningRegressor().fit(X, given, is_clean=np.ones(N_ROWS, bool))
    plain = RidgeCV(np.logspace(-3, 3, 20)).fit(X, given)
    assert "all targets are verified" in model.status_
    assert model.noise_rate_ == 0
    np.testing.assert_allclose(model.predict(X), plain.predict(X), atol=0.05)


def test_rows_apart_are_verified_ones(table):
    X, given, right, _ = table
    apart = HyperCleaningRegressor().fit(X[40:], given[40:], X_val=X[:40], y_val=right[:40])
    stacked = np.r_[given[40:], right[:40]], np.arange(N_ROWS) >= N_ROWS - 40
    rolled = np.vstack([X[40:], X[:40]])
    together = HyperCleaningRegressor().fit(rolled, stacked[0], is_clean=stacked[1])
    assert len(apart.sample_weight_) == N_ROWS - 40
    np.testing.assert_allclose(apart.coef_, together.coef_)


def test_report_is_sorted_and_suggests_what_is_expected(table, fitted):
    right, is_wrong = table[2:]
    report = fitted.target_report()
    assert report["probability"].is_monotonic_increasing
    index = report["index"].to_numpy()
    np.testing.assert_array_equal(report["given_target"], table[1][index])
    found = report["suggested_target"].to_numpy()[is_wrong[index]]
    expected = right[index][is_wrong[index]]
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.8  # 3 as given


def test_report_keeps_the_index_of_pandas(table):
    X, given, *_ = table
    names = [f"row{number}" for number in range(N_ROWS)]
    frame = pd.DataFrame(X, index=names, columns=list("abcd")).assign(target=given)
    model = HyperCleaningRegressor(max_iter=0).fit(frame, "target")
    report = model.target_report()
    assert (report.index == report["index"]).all()
    np.testing.assert_array_equal(report["given_target"], frame["target"][report.index])
    assert model.predict(frame.head(2)).shape == (2,)


def test_fixed_targets_are_nearer_to_the_right_ones(table, fitted):
    _, given, right, is_wrong = table
    fixed = fitted.fix_targets()
    kept = fitted.sample_weight_ > 0.9
    np.testing.assert_array_equal(fixed[kept], given[kept])
    assert np.abs(fixed - right)[is_wrong].mean() < 0.3 * np.abs(given - right)[is_wrong].mean()


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_fixed_targets_come_as_the_given_ones(table, kind):
    X, given = table[0], np.round(10 * table[1]).astype(int)
    library = pytest.importorskip(kind)
    if kind == "pandas":
        y = pd.Series(given, index=np.arange(N_ROWS) + 7, name="height")
    else:
        y = library.Series("height", given) if kind == "polars" else library.array(given)
    model = HyperCleaningRegressor(max_iter=0).fit(X, y)
    fixed = model.fix_targets()
    assert isinstance(fixed, library.Array if kind == "pyarrow" else library.Series)
    expected = HyperCleaningRegressor(max_iter=0).fit(X, given).fix_targets()
    assert (expected % 1 > 0).any()  # integers would have lost that
    np.testing.assert_array_equal(fixed, expected)
    if kind == "pandas":
        assert fixed.index.equals(y.index)
    if kind != "pyarrow":
        assert fixed.name == "height"


def test_predictions_of_a_better_model_tell_more(table):
    generator = np.random.default_rng(4)
    X = generator.standard_normal((N_ROWS, 2))
    signal = np.sin(3 * X[:, 0]) * 2
    right = signal + 0.2 * generator.standard_normal(N_ROWS)
    is_wrong = generator.random(N_ROWS) < 0.2
    given = right + 2 * is_wrong
    with_signal = HyperCleaningRegressor().fit(X, given, predictions=signal)
    rate = with_signal.sample_weight_[is_wrong].mean()
    assert rate < 0.1
    assert rate < HyperCleaningRegressor().fit(X, given).sample_weight_[is_wrong].mean() - 0.5


@pytest.mark.parametrize(
    "final",
    [
        Ridge(1e-3),
        make_pipeline(StandardScaler(), Ridge(1e-3)),
        GridSearchCV(Ridge(), {"alpha": [1e-3, 2e-3]}),
    ],
    ids=["ridge", "pipeline", "search"],
)
def test_final_estimator_gets_the_weights(table, final):
    X, given, *_ = table
    model = HyperCleaningRegressor(final).fit(X, given)
    expected = Ridge(1e-3).fit(X, given, sample_weight=model.sample_weight_)
    np.testing.assert_allclose(model.predict(X), expected.predict(X), atol=0.01)
    assert not hasattr(model, "coef_")
    assert model.to_sklearn() is model.final_estimator_


def test_final_estimator_of_trees_is_better_for_the_weights(table):
    X, given, right, _ = table
    trees = HistGradientBoostingRegressor(random_state=0, max_iter=30)
    cleaned = HyperCleaningRegressor(trees).fit(X, given).score(X, right)
    assert cleaned > clone(trees).fit(X, given).score(X, right) + 0.05


def test_more_rows_than_are_searched_are_weighed_as_well():
    generator = np.random.default_rng(5)
    X = generator.standard_normal((12_000, 3))
    is_wrong = generator.random(12_000) < 0.2
    y = X @ np.ones(3) + generator.standard_normal(12_000) + 10 * is_wrong
    model = HyperCleaningRegressor().fit(X, y)
    assert ((model.sample_weight_ < 0.5) == is_wrong).mean() > 0.999


def test_more_columns_than_rows_are_fitted():
    generator = np.random.default_rng(6)
    X = generator.standard_normal((60, 400))
    y = X[:, 0] + 0.1 * generator.standard_normal(60)
    model = HyperCleaningRegressor().fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert model.score(X, y) > 0


def test_learning_lowers_the_held_out_loss(table, fitted):
    unlearned = HyperCleaningRegressor(max_iter=0).fit(*table[:2])
    assert fitted.criterion_ < fitted.initial_criterion_ == unlearned.criterion_
    assert fitted.residual_ <= fitted.tol
    assert len(fitted.hyper_) == len(fitted.hyper_names_)
    assert {"logit rate", "log scale", "log ridge"} < set(fitted.hyper_names_)
    assert "nothing was learned" in unlearned.status_


@pytest.mark.parametrize("name", ["X", "y"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused_by_name(table, name, value):
    X, given = table[0].copy(), table[1].copy()
    {"X": X, "y": given}[name].flat[4] = value
    with pytest.raises(ValueError, match=f"Input {name} contains"):
        HyperCleaningRegressor().fit(X, given)


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        ({}, {"is_clean": [True]}, "is_clean must have one entry"),
        ({}, {"sample_weight": np.ones(N_ROWS, bool)}, "verified targets, pass is_clean"),
        ({}, {"sample_weight": np.zeros(N_ROWS)}, "must not be all zero"),
        ({}, {"predictions": [1.0]}, "predictions must be finite"),
        ({}, {"X_val": np.ones((2, 4))}, "without y_val"),
        ({"cv": ShuffleSplit(2)}, {}, "hold out every row once"),
        ({"final_estimator": KNeighborsRegressor()}, {}, "must take sample_weight"),
        ({"final_estimator": StandardScaler()}, {}, "final_estimator"),
    ],
)
def test_bad_input_is_refused_in_words(table, options, more, message):
    with pytest.raises(ValueError, match=message):
        HyperCleaningRegressor(**options).fit(*table[:2], **more)


def test_a_failed_fit_leaves_the_estimator_as_it_was(table, fitted):
    model = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="must not be all zero"):
        model.fit(*table[:2], sample_weight=np.zeros(N_ROWS))
    np.testing.assert_array_equal(model.predict(table[0]), fitted.predict(table[0]))


def test_a_copy_predicts_and_reports_the_same(table, fitted):
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copied.predict(table[0]), fitted.predict(table[0]))
    pd.testing.assert_frame_equal(copied.target_report(), fitted.target_report())


def test_plain_twin_predicts_the_same(table, fitted):
    np.testing.assert_allclose(fitted.to_sklearn().predict(table[0]), fitted.predict(table[0]))


def test_masks_and_groups_are_routed(table):
    X, given, _, is_wrong = table
    groups = np.arange(N_ROWS) % 20
    with config_context(enable_metadata_routing=True):
        cv = GroupKFold(4).set_split_request(groups=True)
        model = HyperCleaningRegressor(cv=cv, max_iter=0).set_fit_request(is_clean=True)
        params = {"is_clean": ~is_wrong & (np.arange(N_ROWS) % 3 == 0), "groups": groups}
        found = cross_validate(model, X, given, cv=3, params=params, return_estimator=True)
    assert all((one.sample_weight_ == 1).any() for one in found["estimator"])


def test_it_is_shown_in_notebooks(fitted):
    assert "HyperCleaningRegressor" in fitted._repr_html_()


def test_the_picture_of_label_weights_says_that_it_takes_labels(fitted):
    with pytest.raises(TypeError, match="takes a fitted HyperCleaningClassifier"):
        SampleWeightDisplay.from_estimator(make_pipeline(StandardScaler(), fitted))
