"""Smooth functions of raw columns, each with a learned smoothness."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_score

from skbamm import AdditiveRegressor, BilevelRegularizedRegressor, SmoothTerms


def table(n_samples=300, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({name: rng.uniform(size=n_samples) for name in "abcde"})
    X["kind"] = pd.Categorical(rng.choice(list("uvw"), size=n_samples))
    signal = np.sin(8 * X.a) + 2 * X.b + (X.kind == "u")
    return X, signal + rng.normal(scale=0.3, size=n_samples), signal


@pytest.fixture(scope="module")
def fitted():
    X, y, _ = table()
    return AdditiveRegressor().fit(X, y), X, y


def test_functions_are_found(fitted):
    model = fitted[0]
    X, _, signal = table(seed=1)
    assert r2_score(signal, model.predict(X)) > 0.97


def test_each_function_learns_a_smoothness_of_its_own(fitted):
    alpha = fitted[0].block_alpha_
    assert alpha["a__smooth"] < 0.1 * min(alpha[f"{name}__smooth"] for name in "bcde")


def test_terms_add_up_to_the_prediction(fitted):
    model, X, _ = fitted
    terms = model.predict_terms(X)
    assert terms.shape == (300, len(model.term_names_))
    np.testing.assert_allclose(terms.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(model.mean_prediction_ + terms.sum(axis=1), model.predict(X))
    found = dict(zip(model.term_names_, terms.std(axis=0), strict=True))
    assert min(found["a"], found["b"]) > 5 * max(found[name] for name in "cde")


def test_a_linear_target_gives_the_linear_fit_its_weight():
    noise, excess = 0.5**2, []
    for seed in range(3, 7):
        X, new = table(seed=seed)[0], table(seed=seed + 50)[0]
        y = X.a + X.b + np.random.default_rng(seed).normal(scale=0.5, size=300)
        model = AdditiveRegressor().fit(X, y)
        assert model.average_weights_["linear"] > 0.2
        ridge = RidgeCV().fit(X[list("abcde")], y)
        error, of_ridge = (
            np.mean((found - new.a - new.b) ** 2)
            for found in (model.predict(new), ridge.predict(new[list("abcde")]))
        )
        excess.append((error + noise) / (of_ridge + noise) - 1)
    assert max(excess) < 0.02 and np.mean(excess) < 0.005


def test_a_curved_target_leaves_the_linear_fit_none(fitted):
    assert fitted[0].average_weights_["linear"] < 1e-3


def test_an_interaction_is_taken_where_it_pays():
    X, y, _ = table(500)
    y = y + 6 * (X.c - 0.5) * (X.d - 0.5)
    model = AdditiveRegressor().fit(X, y)
    assert ("c", "d") in model.terms_.interactions_
    assert "c:d" in model.term_names_


def test_a_weight_of_two_is_the_row_twice():
    X, y, _ = table(120)
    weight = np.random.default_rng(0).integers(1, 3, size=120)
    label = np.arange(120) % 4
    twice = np.repeat(np.arange(120), weight)
    splits = [(np.flatnonzero(label != k), np.flatnonzero(label == k)) for k in range(4)]
    repeated = [
        (np.flatnonzero(label[twice] != k), np.flatnonzero(label[twice] == k)) for k in range(4)
    ]
    weighted = AdditiveRegressor(cv=splits).fit(X, y, sample_weight=weight)
    rows = AdditiveRegressor(cv=repeated).fit(X.iloc[twice], y.iloc[twice])
    np.testing.assert_allclose(weighted.predict(X), rows.predict(X), rtol=1e-5)


def test_units_change_nothing(fitted):
    model, X, y = fitted
    other = AdditiveRegressor().fit(X.assign(a=1000 * X.a - 3), 10 * y + 7)
    found = other.predict(X.assign(a=1000 * X.a - 3))
    np.testing.assert_allclose(found, 10 * model.predict(X) + 7, rtol=1e-4)


def test_gaps_and_new_levels_have_predictions(fitted):
    model, X, _ = fitted
    new = X.iloc[:3].assign(kind=["z", None, "u"], a=[np.nan, 1e9, 0.5])
    found = model.predict(new)
    assert np.isfinite(found).all()
    assert np.abs(found - model.mean_prediction_).max() < 10


def test_categories_alone_are_enough():
    X, y, _ = table()
    model = AdditiveRegressor().fit(X[["kind"]], y)
    assert model.average_weights_ == {"smooth": 1.0}


def test_columns_that_do_not_vary_are_refused():
    with pytest.raises(ValueError, match="no column that varies"):
        AdditiveRegressor().fit(np.ones((20, 2)), np.arange(20.0))


def test_a_failed_fit_changes_nothing(fitted):
    model, X, y = pickle.loads(pickle.dumps(fitted))
    before = model.predict(X)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, np.where(np.arange(300) == 4, np.nan, y))
    np.testing.assert_array_equal(model.predict(X), before)


def test_a_constant_target_is_predicted():
    X, _, _ = table(60)
    model = AdditiveRegressor().fit(X, np.full(60, 5.0))
    np.testing.assert_allclose(model.predict(X), 5.0)


@pytest.mark.parametrize("n_columns", [150, 151])
def test_of_very_many_columns_functions_are_found_too(n_columns):
    random = np.random.default_rng(0)
    wide = random.normal(size=(1000, n_columns))
    truth = wide[:, 0] + np.sin(3 * wide[:, 1]) + wide[:, 2] ** 2
    y = truth[:600] + 0.5 * random.normal(size=600)
    model = AdditiveRegressor(interactions=None, max_iter=5, tol=1.0).fit(wide[:600], y)
    assert r2_score(truth[600:], model.predict(wide[600:])) > 0.93


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_the_global_output_format_changes_nothing(fitted, output):
    model, X, y = fitted
    expected = model.predict_terms(X)
    with config_context(transform_output=output):
        other = AdditiveRegressor(interactions=None, max_iter=0).fit(X, y)
        assert isinstance(other.predict(X), np.ndarray)
        assert_allclose(model.predict_terms(X), expected)


def test_a_category_may_be_called_smooth():
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(40, 46))).add_prefix("x")
    kind = random.choice(["u", "v"], size=40)
    y = 3.0 * (kind == "u") + 0.1 * random.normal(size=40)
    found = [
        AdditiveRegressor(max_iter=0)
        .fit(X.assign(**{name: kind}), y)
        .predict_terms(X.assign(**{name: kind}))[:, -1]
        for name in ("kind", "kind__smooth")
    ]
    assert_allclose(*found)
    assert np.ptp(found[0]) > 0.1


def test_two_terms_of_one_name_are_refused():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=["a", "b", "a:b"])
    with pytest.raises(ValueError, match="Two terms would be named 'a:b'"):
        AdditiveRegressor(interactions=[("a", "b")]).fit(X, X["a"])
    kinds = np.where(np.arange(50) % 2, "u", "v")
    with pytest.raises(ValueError, match="Two blocks would be named 'a__smooth'"):
        AdditiveRegressor().fit(X[["a"]].assign(a__smooth=kinds), X["a"])


def test_long_identifiers_are_levels_of_their_own():
    random = np.random.default_rng(0)
    code = random.integers(3, size=300)
    table = pd.DataFrame({"id": 10**17 + code, "number": random.normal(size=300)})
    model = AdditiveRegressor(categorical_features=["id"], interactions=None, max_iter=0)
    assert model.fit(table, 1.0 * code).score(table, 1.0 * code) > 0.99


@pytest.mark.parametrize(("n_rows", "n_columns"), [(400, 20), (60, 5)])
def test_lines_with_little_noise_are_lines_beyond_the_data_too(n_rows, n_columns):
    random = np.random.default_rng(0)
    X = random.normal(size=(n_rows + 1000, n_columns))
    truth = X @ random.normal(size=n_columns)
    y = truth[:n_rows] + 0.01 * random.normal(size=n_rows)
    found = [
        np.mean((model.fit(X[:n_rows], y).predict(X[n_rows:]) - truth[n_rows:]) ** 2)
        for model in (AdditiveRegressor(interactions=None), RidgeCV(np.logspace(-6, 3, 20)))
    ]
    assert found[0] < 1.5 * found[1]


def test_no_more_rows_than_columns_tell_no_functions():
    wide = np.random.default_rng(0).normal(size=(40, 60))
    model = AdditiveRegressor().fit(wide, wide[:, 0])
    assert model.average_weights_ == {"linear": 1.0}
    is_smooth = np.char.endswith(model.terms_.block_names_.astype(str), "__smooth")
    assert (model.coef_[is_smooth] == 0).all() and np.isinf(model.alpha_[is_smooth]).all()


def test_the_pair_that_interacts_is_found_among_many_columns():
    many = np.random.default_rng(0).uniform(size=(400, 120))
    y = many[:, 7] + many[:, 90] + 5 * (many[:, 7] - 0.5) * (many[:, 90] - 0.5)
    terms = SmoothTerms(interactions=1).fit(many, y)
    assert terms.interactions_ == [("x7", "x90")]


def test_many_levels_are_fitted_as_sparse_columns():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {name: [f"l{j}" for j in random.integers(n, size=700)] for name, n in (("a", 60), ("b", 9))}
    )
    effects = {level: random.normal() for level in table["a"].unique()}
    y = table["a"].map(effects).to_numpy(float) + random.normal(size=700)
    found = AdditiveRegressor(interactions=None, max_iter=5, tol=1.0).fit(table, y)
    assert found.terms_.sparse_output
    dense = BilevelRegularizedRegressor(
        groups=list(found.terms_.block_names_),
        standardize=False,
        shrinkage=0.01,
        max_iter=5,
        tol=1.0,
        n_repeats=1,
    ).fit(found.terms_.transform(table).toarray(), y)
    assert_allclose(found.coef_, dense.coef_, rtol=1e-6)
    added = found.predict_terms(table)
    assert_allclose(added.sum(axis=1) + found.mean_prediction_, found.predict(table))
    assert_allclose(added.mean(axis=0), 0, atol=1e-9)


def test_the_columns_of_fit_are_those_of_transform():
    X, y, _ = table()
    terms = SmoothTerms(interactions=[("a", "b"), ("kind", "c")])
    assert_allclose(terms.fit_transform(X, y), terms.transform(X), atol=1e-10)
    # These were formed for the search.
    terms = SmoothTerms(interactions=2)
    assert_allclose(terms.fit_transform(X, y), terms.transform(X), atol=1e-10)


def test_a_weight_beside_which_all_others_are_nothing_is_refused():
    X, y, _ = table()
    weight = np.ones(len(y))
    weight[3] = 1e17
    with pytest.raises(ValueError, match=r"entry of 1e\+17, beside which all others"):
        AdditiveRegressor().fit(X, y, weight)


def test_a_fold_whose_training_rows_have_next_to_no_weight_is_refused():
    X, y, _ = table()
    weight = np.where(np.arange(len(y)) < 60, 1e15, 1.0)
    splits = [(np.arange(60, 300), np.arange(60)), (np.arange(60), np.arange(60, 300))]
    with pytest.raises(ValueError, match="next to no sample_weight"):
        AdditiveRegressor(cv=splits).fit(X, y, weight)


@pytest.mark.parametrize("estimator", [AdditiveRegressor, SmoothTerms])
def test_a_splitter_that_needs_groups_is_told_to_give_its_splits(estimator):
    X, y, _ = table()
    with pytest.raises(ValueError, match=r"cv=list\(GroupKFold\(\)\.split\(X, groups=groups\)\)"):
        estimator(cv=GroupKFold(3)).fit(X, y)
    splits = list(GroupKFold(3).split(X, groups=np.arange(300) // 10))
    estimator(cv=splits).fit(X, y)


def test_warnings_name_the_estimator_and_parameters_that_it_has():
    X, y, _ = table()
    with pytest.warns(ConvergenceWarning) as found:
        AdditiveRegressor(max_iter=1, tol=1e-9, interactions=None).fit(X, y)
    assert all(str(one.message).startswith("AdditiveRegressor stopped") for one in found)


def test_texts_of_some_rows_to_a_level_pass_in_cross_validation():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=100), "town": [f"town {i % 49}" for i in range(100)]})
    scores = cross_val_score(AdditiveRegressor(), X, X.a, cv=5, error_score="raise")
    assert len(scores) == 5
