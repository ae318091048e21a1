"""hidden_layer_sizes: a network of tanh units in the place of a linear model."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone

from skbamm import HyperCleaningClassifier
from skbamm.solvers import SlBamm


def rings(n_samples=400, n_classes=2, noise=0.3, seed=0):
    """Classes that no line tells apart: by the angle in the plane, twice around."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_samples, 3)) * [1.0, 20.0, 0.1]
    angle = np.arctan2(X[:, 1] / 20, X[:, 0]) % np.pi
    truth = np.floor(angle / np.pi * n_classes).astype(int)
    is_clean = random.random(n_samples) < 0.4
    wrong = ~is_clean & (random.random(n_samples) < noise)
    y = np.where(wrong, (truth + random.integers(1, n_classes, n_samples)) % n_classes, truth)
    return X, y, truth, is_clean


def network(hidden=(8,), **options):
    return HyperCleaningClassifier(hidden_layer_sizes=hidden, max_iter=60, **options)


@pytest.fixture(scope="module", params=[2, 3], ids="{} classes".format)
def fitted(request):
    X, y, truth, is_clean = rings(n_classes=request.param)
    return network().fit(X, y, is_clean=is_clean), X, y, truth, is_clean


def test_it_tells_classes_that_are_not_linear(fitted):
    model, X, y, truth, is_clean = fitted
    linear = HyperCleaningClassifier(max_iter=10).fit(X, y, is_clean=is_clean)
    assert model.score(X, truth) > linear.score(X, truth) + 0.15
    assert model.score(X, truth) > 0.85


def test_predictions_are_those_of_the_stored_layers(fitted):
    model, X = fitted[:2]
    hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    scores = hidden @ model.coefs_[1] + model.intercepts_[1]
    if len(model.classes_) == 2:
        expected = expit(np.column_stack([-scores, scores]))
    else:
        expected = softmax(scores, axis=1)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    assert [coef.shape[0] for coef in model.coefs_] == [3, 8]
    assert not hasattr(model, "coef_") and not hasattr(model, "intercept_")


def test_the_run_tells_the_truth(fitted):
    model = fitted[0]
    assert model.criterion_ <= model.initial_criterion_
    assert np.isfinite(model.residual_)
    assert model.status_.startswith("converged")
    assert len(model.history_) + 1 == model.n_iter_


def test_a_linear_fit_forgets_the_network(fitted):
    model, X, y, _, is_clean = fitted
    model = clone(model).fit(X, y, is_clean=is_clean)
    model.set_params(hidden_layer_sizes=()).fit(X, y, is_clean=is_clean)
    assert hasattr(model, "coef_") and not hasattr(model, "coefs_")
    model.set_params(hidden_layer_sizes=4).fit(X, y, is_clean=is_clean)
    assert hasattr(model, "coefs_") and not hasattr(model, "coef_")


def test_units_of_columns_do_not_matter():
    X, y, _, is_clean = rings(200)
    units = np.array([1e3, 1.0, 1e-4])
    plain = network((4,), alpha=0.01)
    first = plain.fit(X, y, is_clean=is_clean).predict_proba(X)
    second = clone(plain).fit(X * units, y, is_clean=is_clean).predict_proba(X * units)
    # Networks are solved to 1e-2 of their loss's curvature, on another path after rounding.
    np.testing.assert_allclose(first, second, atol=0.02)


def test_a_seed_gives_the_same_fit_again():
    X, y, _, is_clean = rings(150)
    one, same, other = (
        network((5,), random_state=seed).fit(X, y, is_clean=is_clean).coefs_[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


def test_sparse_rows_give_a_network_too():
    X, y, truth, is_clean = rings(300)
    X = X / [1, 20, 0.1]
    options = {"standardize": False, "alpha": 0.003}
    thin = network(**options).fit(sparse.csr_matrix(X), y, is_clean=is_clean)
    dense = network(**options).fit(X, y, is_clean=is_clean)
    assert thin.score(sparse.csr_matrix(X), truth) > 0.85
    assert dense.score(X, truth) > 0.85


# Runs over all layers are slow to settle, and say so.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("weighting", "max_iter"), [("sample", 60), ("loss", 5)])
def test_other_weightings_have_networks_too(weighting, max_iter):
    X, y, truth, is_clean = rings(300, noise=0.2)
    model = network(weighting=weighting).set_params(max_iter=max_iter)
    model.fit(X, y, is_clean=is_clean)
    assert model.score(X, truth) > 0.8
    wrong = ~is_clean & (y != truth)
    weight = model.sample_weight_
    assert weight[wrong].mean() < weight[~wrong & ~is_clean].mean()


def test_without_clean_rows_the_network_learns_by_the_bounded_loss():
    X, y, truth, _ = rings(500, noise=0.15)
    model = network().fit(X, y)
    assert model.score(X, truth) > 0.8


def test_many_rows_are_fitted_from_a_sample(monkeypatch):
    from skbamm.cleaning import _sample

    monkeypatch.setattr(_sample, "ENOUGH", 150)
    monkeypatch.setattr(_sample, "PER_COLUMN", 1)
    X, y, truth, is_clean = rings(1500)
    model = network().fit(X, y, is_clean=is_clean)
    assert model.score(X, truth) > 0.9
    assert model.weigh(X, y).shape == (1500,)


def test_two_layers_and_another_solver_run():
    X, y, truth, is_clean = rings(200)
    model = network((6, 4), solver=SlBamm(memory=3)).fit(X, y, is_clean=is_clean)
    assert [coef.shape for coef in model.coefs_] == [(3, 6), (6, 4), (4, 1)]
    assert model.score(X, truth) > 0.8


def test_pickles_predict_the_same(fitted):
    model, X = fitted[:2]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("sizes", [0, -1, (3, 0), (2.5,), [[3]], "ten"])
def test_sizes_that_are_none_are_named(sizes):
    X, y, _, is_clean = rings(40)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        HyperCleaningClassifier(hidden_layer_sizes=sizes).fit(X, y, is_clean=is_clean)


def test_an_empty_sequence_is_the_linear_model():
    X, y, _, is_clean = rings(100)
    linear = HyperCleaningClassifier(max_iter=0).fit(X, y, is_clean=is_clean)
    for sizes in ([], (), None, np.array([], dtype=int)):
        model = HyperCleaningClassifier(hidden_layer_sizes=sizes, max_iter=0)
        np.testing.assert_array_equal(model.fit(X, y, is_clean=is_clean).coef_, linear.coef_)


@pytest.mark.parametrize("weighting", ["adaptive", "sample"])
def test_rows_that_are_all_clean_are_fitted_too(weighting):
    X, _, truth, _ = rings(200)
    model = network((6,), weighting=weighting).fit(X, truth, is_clean=np.ones(200, dtype=bool))
    assert model.score(X, truth) > 0.9
