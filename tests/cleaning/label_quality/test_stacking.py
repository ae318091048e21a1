"""The user's own model as a base model of label quality, where linear models are poor."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows
from skbamm.cleaning.label_quality import _stacking
from skbamm.cleaning.label_quality._scorer import FinalScores, log_probabilities

TREES = HistGradientBoostingClassifier(max_iter=15, max_bins=32, random_state=0)
NETWORK = MLPClassifier((16,), solver="lbfgs", alpha=1.0, tol=3e-3, max_iter=2000, random_state=0)


def boxes(n_samples=900, n_verified=120, noise=0.3, seed=0):
    """Three classes by the parity of cells of a grid, in two of eight columns."""
    random = np.random.default_rng(seed)
    X = random.uniform(-1, 1, size=(n_samples, 8))
    cells = np.floor(1.5 * (X[:, :2] + 1)).astype(int)
    truth = (cells[:, 0] + 2 * cells[:, 1]) % 3
    is_clean = np.arange(n_samples) < n_verified
    wrong = ~is_clean & (random.random(n_samples) < noise)
    return (
        X,
        np.where(wrong, (truth + random.integers(1, 3, n_samples)) % 3, truth),
        truth,
        is_clean,
    )


def fit(data, **options):
    X, y, _, is_clean = data
    return HyperCleaningClassifier(max_iter=0, **options).fit(X, y, is_clean=is_clean)


def wrong_ranked(model, data):
    _, y, truth, is_clean = data
    noisy = ~is_clean
    return roc_auc_score((y != truth)[noisy], 1 - model.sample_weight_[noisy])


@pytest.fixture(scope="module")
def data():
    return boxes()


@pytest.fixture(scope="module", params=[TREES, NETWORK], ids=["trees", "network"])
def stacked(request, data):
    """A fit that no test changes."""
    return fit(data, final_estimator=request.param)


def test_a_model_that_sees_the_classes_scores_their_labels(data, stacked, monkeypatch):
    model, final = stacked, stacked.final_estimator
    monkeypatch.setattr(_stacking, "out_of_fold_scores", lambda *arguments: None)
    unstacked = fit(data, final_estimator=final)
    assert wrong_ranked(model, data) > wrong_ranked(unstacked, data) + 0.05
    X, _, truth, _ = boxes(seed=1)
    assert model.score(X, truth) > unstacked.score(X, truth)


def test_without_verified_labels_it_is_stacked_too():
    X, y, _, _ = data = boxes(n_verified=0, noise=0.2)
    model = HyperCleaningClassifier(max_iter=0, final_estimator=TREES).fit(X, y)
    assert wrong_ranked(model, data) > 0.85
    plain = HyperCleaningClassifier(max_iter=0, final_estimator="linear").fit(X, y)
    assert wrong_ranked(model, data) > wrong_ranked(plain, data) + 0.1


def test_rows_that_were_not_in_the_fit_are_scored_by_it(stacked):
    model = pickle.loads(pickle.dumps(stacked))
    assert isinstance(model.label_scorer_.final, FinalScores)
    X, y, truth, is_clean = boxes(seed=2)
    wrong = y != truth
    assert roc_auc_score(wrong[~is_clean], 1 - model.weigh(X, y)[~is_clean]) > 0.8


def test_rows_beyond_the_sample_are_scored_by_it(monkeypatch):
    monkeypatch.setattr(_rows, "ENOUGH", 300)
    monkeypatch.setattr(_rows, "PER_COLUMN", 1)
    data = boxes(2000)
    assert wrong_ranked(fit(data, final_estimator=TREES), data) > 0.8


def test_a_base_model_that_does_not_help_is_left_out():
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 3))
    truth = (X[:, 0] + random.logistic(size=300) / 4 > 0).astype(int)
    is_clean = np.arange(300) < 150
    y = np.where(~is_clean & (random.random(300) < 0.2), 1 - truth, truth)
    useless = HistGradientBoostingClassifier(max_iter=1, max_bins=32, learning_rate=1e-6)
    data = (X, y, truth, is_clean)
    model = fit(data, final_estimator=useless)
    assert model.label_scorer_.final is None
    np.testing.assert_array_equal(model.sample_weight_, fit(data).sample_weight_)


@pytest.mark.parametrize(
    "options",
    [
        {"final_estimator": SGDClassifier(random_state=0)},
        {"final_estimator": TREES, "cv": [(range(450), range(60, 120))]},
    ],
    ids=["no probabilities", "a single fold"],
)
def test_a_model_without_out_of_fold_probabilities_is_left_out(data, options):
    assert fit(data, **options).label_scorer_.final is None


def test_probabilities_of_classes_that_a_model_has_not_seen_are_small():
    X = np.arange(6.0)[:, None]
    model = LogisticRegression().fit(X, [0, 0, 0, 2, 2, 2])
    found = np.exp(log_probabilities(model, X, np.arange(4)))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(found[:, [0, 2]], model.predict_proba(X), atol=1e-3)
    assert (found[:, [1, 3]] < 1e-3).all()


def test_a_pipeline_scores_sparse_rows_under_metadata_routing(data):
    X, y, _, is_clean = data
    pipeline = make_pipeline(StandardScaler(with_mean=False), LogisticRegression())
    model = HyperCleaningClassifier(max_iter=0, final_estimator=pipeline)
    plain = model.fit(sparse.csr_matrix(X), y, is_clean=is_clean).predict(X)
    with config_context(enable_metadata_routing=True):
        routed = model.fit(sparse.csr_matrix(X), y, is_clean=is_clean).predict(X)
    np.testing.assert_array_equal(plain, routed)


def test_labels_that_no_model_understands_are_left_alone():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(200, 3)), random.integers(0, 4, 200)
    model = HyperCleaningClassifier(max_iter=0).fit(X, y)
    assert model.noise_rate_ == 0
    np.testing.assert_array_equal(model.fix_labels(), y)
