"""Smooth functions of raw columns on the scale of logits."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.base import clone
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbamm import AdditiveClassifier, BilevelRegularizedClassifier, SmoothTerms


def table(n_samples=300, seed=0):
    """Columns, labels of two and of three classes, and the true logits of the former."""
    random = np.random.default_rng(seed)
    X = pd.DataFrame({name: random.uniform(size=n_samples) for name in "abcd"})
    X["kind"] = pd.Categorical(random.choice(list("uvw"), size=n_samples))
    logit = (3 * np.sin(8 * X.a) + 3 * X.b + 2 * (X.kind == "u") - 2).to_numpy()
    two = np.where(random.uniform(size=n_samples) < expit(logit), "yes", "no")
    noisy = logit + random.logistic(size=n_samples)
    return X, two, np.select([noisy < -1, noisy < 2], ["low", "middle"], "high"), logit


@pytest.fixture(scope="module")
def two():
    X, y, _, _ = table()
    return AdditiveClassifier(interactions=None).fit(X, y), X, y


@pytest.fixture(scope="module")
def three():
    X, _, y, _ = table()
    return AdditiveClassifier(interactions=None, n_repeats=1, max_iter=5, tol=1.0).fit(X, y), X, y


def test_functions_are_found(two):
    X, y, _, logit = table(3000, seed=1)
    found = two[0].predict_proba(X)[:, 1]
    assert np.mean(np.abs(found - expit(logit))) < 0.1
    assert log_loss(y == "yes", found) < 1.15 * log_loss(y == "yes", expit(logit))


def test_each_function_learns_a_smoothness_of_its_own(two):
    alpha = two[0].block_alpha_
    assert alpha["a__smooth"] < 0.5 * min(alpha[f"{name}__smooth"] for name in "bcd")


@pytest.mark.parametrize("which", ["two", "three"])
def test_terms_add_up_to_the_logits(which, request):
    model, X, _ = request.getfixturevalue(which)
    terms, n_classes = model.predict_terms(X), len(model.classes_)
    assert terms.shape == (300, len(model.term_names_), n_classes)[: 2 + (n_classes > 2)]
    assert_allclose(terms.mean(axis=0), 0, atol=1e-9)
    assert_allclose(terms.sum(axis=1) + model.mean_decision_, model.decision_function(X))


@pytest.mark.parametrize("which", ["two", "three"])
def test_probabilities_are_those_of_the_logits(which, request):
    model, X, _ = request.getfixturevalue(which)
    logits, found = model.decision_function(X), model.predict_proba(X)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros_like(logits), logits])
    powers = np.exp(logits)
    assert_allclose(found, powers / powers.sum(axis=1, keepdims=True))
    assert_allclose(model.predict_log_proba(X), np.log(found), atol=1e-12)
    assert (model.predict(X) == model.classes_[found.argmax(axis=1)]).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_the_linear_fit_it_is_the_pipeline_of_its_parts(n_classes):
    X, *labels, _ = table(150)
    y = labels[n_classes - 2]
    model = AdditiveClassifier(interactions=None, max_iter=3, tol=1.0, standard_errors=0).fit(X, y)
    terms = SmoothTerms(interactions=None).fit(X)
    kept = np.isfinite(model.alpha_)
    options = {"standardize": False, "shrinkage": 0.1, "n_repeats": 3, "max_iter": 3, "tol": 1.0}
    penalized = BilevelRegularizedClassifier(groups=list(terms.block_names_[kept]), **options)
    taken = FunctionTransformer(lambda columns: columns[:, kept])
    pipeline = make_pipeline(terms, taken, penalized).fit(X, y)
    assert model.average_weights_["smooth"] == 1.0
    assert_allclose(model.predict_proba(X), pipeline.predict_proba(X), rtol=1e-6)


def test_functions_of_next_to_no_variance_are_left_out(two):
    model, X, _ = two
    variance = model.terms_.transform(X).var(axis=0)
    block = model.terms_.block_names_ == "a__smooth"
    left_out = variance[block] < 1e-3 * variance[block].sum()
    assert 3 <= left_out.sum() < block.sum()
    assert (np.isinf(model.alpha_[block]) == left_out).all()
    assert (model.coef_[0, block][left_out] == 0).all()


def test_a_linear_logit_gives_the_linear_fit_its_weight():
    X, _, _, _ = table()
    random = np.random.default_rng(9)
    y = random.uniform(size=300) < expit(4 * X.a + 4 * X.b - 4)
    model = AdditiveClassifier(interactions=None, n_repeats=1).fit(X, y)
    assert model.average_weights_["linear"] > 0.2
    new, _, _, _ = table(3000, seed=5)
    truth = random.uniform(size=3000) < expit(4 * new.a + 4 * new.b - 4)
    options = {"scoring": "neg_log_loss", "l1_ratios": (0,), "use_legacy_attributes": False}
    ridge = LogisticRegressionCV(**options).fit(X[list("abcd")], y)
    found = log_loss(truth, model.predict_proba(new))
    assert found < 1.02 * log_loss(truth, ridge.predict_proba(new[list("abcd")]))


def test_an_interaction_is_taken_where_it_pays():
    X, _, _, logit = table(600)
    logit = logit + 4 * np.where((X.c > 0.5) == (X.d > 0.5), 1, -1)
    y = np.random.default_rng(9).uniform(size=600) < expit(logit)
    model = AdditiveClassifier(max_iter=5, tol=1.0).fit(X, y)
    assert model.terms_.interactions_[0] == ("c", "d")
    assert "c:d" in model.term_names_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_weight_of_two_is_the_row_twice(n_classes):
    X, *labels, _ = table(210)
    y = labels[n_classes - 2]
    weight = np.random.default_rng(0).integers(1, 3, size=len(y))
    label, twice = np.arange(len(y)) % 4, np.repeat(np.arange(len(y)), weight)
    splits, repeated = (
        [(np.flatnonzero(some != k), np.flatnonzero(some == k)) for k in range(4)]
        for some in (label, label[twice])
    )
    options = {"max_iter": 3, "tol": 1.0, "interactions": 1}
    weighted = AdditiveClassifier(cv=splits, **options).fit(X, y, sample_weight=weight)
    rows = AdditiveClassifier(cv=repeated, **options).fit(X.iloc[twice], y[twice])
    assert weighted.terms_.interactions_ == rows.terms_.interactions_
    assert_allclose(weighted.predict_proba(X), rows.predict_proba(X), rtol=1e-4)


def test_class_weights_are_weights_of_rows(two):
    _, X, y = two
    options = {"interactions": 1, "max_iter": 2, "tol": 1.0, "n_repeats": 1}
    factor = {"yes": 2.0, "no": 0.5}
    found = AdditiveClassifier(class_weight=factor, **options).fit(X, y)
    weight = np.where(y == "yes", 2.0, 0.5)
    expected = AdditiveClassifier(**options).fit(X, y, sample_weight=weight)
    assert_allclose(found.coef_, expected.coef_, rtol=1e-6)
    balanced = AdditiveClassifier(class_weight="balanced", **options).fit(X, y)
    assert np.ptp(np.bincount(balanced.predict(X) == "yes")) < np.ptp(np.bincount(y == "yes"))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_names_of_classes_and_their_order_change_nothing(n_classes):
    X, *labels, _ = table(200)
    y = labels[n_classes - 2]
    model = AdditiveClassifier(interactions=1, max_iter=2, tol=1.0, n_repeats=1)
    first = clone(model).fit(X, y)
    names = dict(zip(first.classes_, "zyx", strict=False))  # in the other order
    second = clone(model).fit(X, np.array([names[one] for one in y]))
    order = [list(second.classes_).index(names[one]) for one in first.classes_]
    assert first.terms_.interactions_ == second.terms_.interactions_
    assert_allclose(first.predict_proba(X), second.predict_proba(X)[:, order], atol=1e-4)


def test_numbers_are_labels_too(two):
    _, X, y = two
    options = {"interactions": None, "max_iter": 0, "n_repeats": 1}
    found = AdditiveClassifier(**options).fit(X, np.where(y == "yes", 7.0, -1.0))
    assert list(found.classes_) == [-1.0, 7.0]
    assert_allclose(found.coef_, AdditiveClassifier(**options).fit(X, y == "yes").coef_)


def test_gaps_and_new_levels_have_probabilities(two):
    new = two[1].iloc[:3].assign(kind=["z", None, "u"], a=[np.nan, 1e9, 0.5])
    found = two[0].predict_proba(new)
    assert np.isfinite(found).all() and (np.abs(found - 0.5) < 0.4999).all()


def test_categories_alone_are_enough():
    X, y, _, _ = table()
    model = AdditiveClassifier(max_iter=0).fit(X[["kind"]], y)
    assert model.average_weights_ == {"smooth": 1.0}
    assert model.predict_terms(X[["kind"]]).shape == (300, 1)


def test_no_more_rows_than_columns_tell_no_functions():
    wide = np.random.default_rng(0).normal(size=(40, 60))
    model = AdditiveClassifier().fit(wide, wide[:, 0] > 0)
    assert model.average_weights_ == {"linear": 1.0}
    is_smooth = np.char.endswith(model.terms_.block_names_.astype(str), "__smooth")
    assert (model.coef_[:, is_smooth] == 0).all() and np.isinf(model.alpha_[is_smooth]).all()


def test_many_levels_are_fitted_as_sparse_columns():
    random = np.random.default_rng(0)
    names = {"a": 60, "b": 9}
    X = pd.DataFrame({name: random.integers(n, size=700) for name, n in names.items()}).astype(str)
    y = random.uniform(size=700) < expit(X["a"].astype(float) / 15 - 2)
    model = AdditiveClassifier(interactions=None, max_iter=0).fit(X, y)
    assert model.terms_.sparse_output
    added = model.predict_terms(X)
    assert_allclose(added.sum(axis=1) + model.mean_decision_, model.decision_function(X))


def test_it_can_be_pickled(three):
    model, X, _ = three
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_a_failed_fit_changes_nothing(two):
    model, X, y = pickle.loads(pickle.dumps(two))
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="greater than one"):
        model.fit(X, np.full(len(y), "yes"))
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": lambda y: np.full(len(y), "yes")}, "number of classes has to be greater than one"),
        ({"y": lambda y: np.random.default_rng(0).normal(size=len(y))}, "continuous"),
        ({"y": lambda y: y[:-1]}, "inconsistent numbers of samples"),
        ({"X": lambda X: X.assign(a=np.inf)}, "a.*contains infinity"),
        ({"X": lambda X: X[["kind"]].assign(kind="u")}, "no column that varies"),
        ({"sample_weight": lambda y: np.zeros(len(y))}, "must not be all zero"),
        ({"class_weight": {"perhaps": 2}}, "class_weight names.*perhaps"),
        ({"interactions": [("a", "z")]}, "names no column by 'z'"),
    ],
)
def test_errors_say_what_is_wrong(change, said, two):
    _, X, y = two
    model = AdditiveClassifier(
        **{
            name: value
            for name, value in change.items()
            if name in ("class_weight", "interactions")
        }
    )
    given = {"X": X, "y": y, "sample_weight": None}
    for name in given.keys() & change.keys():
        given[name] = change[name](X if name == "X" else y)
    with pytest.raises(ValueError, match=said):
        model.fit(**given)
