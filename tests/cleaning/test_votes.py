"""Votes of several people on the label of each row."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from sklearn import config_context
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_validate

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows
from skbamm.cleaning.label_quality._given_noise import _Mixture
from skbamm.cleaning.label_quality._scores import NoiseModel, noise_transition_matrix
from tests.cleaning.label_data import make_labels

TRANSITION = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.05, 0.15, 0.8]])


def ballot(n_rows=400, n_verified=0, seed=0, n_votes=(1, 2, 3, 4, 5)):
    """Rows, labels with most votes, true classes, a mask of verified rows, and votes."""
    data = make_labels(n_rows, clean=0.0, noise=0.0, seed=seed)
    random = np.random.default_rng(seed)
    numbers = random.choice(n_votes, n_rows)
    pairs = zip(numbers, data.truth, strict=True)
    votes = np.array([random.multinomial(number, TRANSITION[k]) for number, k in pairs])
    is_clean = np.arange(n_rows) < n_verified
    y = np.where(is_clean, data.truth, votes.argmax(axis=1))
    return data.X, y, data.truth, is_clean, votes


def fit(X, y, is_clean=None, votes=None, **options):
    model = HyperCleaningClassifier(**{"max_iter": 0, "final_estimator": "linear", **options})
    return model.fit(X, y, is_clean=is_clean, votes=votes)


def assert_same_fit(one, other):
    np.testing.assert_array_equal(one.sample_weight_, other.sample_weight_)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.noise_transition_matrix_, other.noise_transition_matrix_)


@pytest.fixture(params=[80, 0], ids=["verified", "none verified"])
def n_verified(request):
    return request.param


# --- What votes say of a class -----------------------------------------------------------------


def test_the_posterior_is_a_product_over_votes():
    likely, votes = np.array([[0.5, 0.3, 0.2]]), np.array([[2.0, 0.0, 3.0]])
    joint = likely[0] * TRANSITION[:, 0] ** 2 * TRANSITION[:, 2] ** 3
    noise = NoiseModel(TRANSITION)
    np.testing.assert_allclose(noise.posterior(likely, votes)[0], joint / joint.sum())
    np.testing.assert_allclose(noise.log_likelihood(likely, votes), np.log(joint.sum()))


def test_shares_are_one_vote_of_uncertain_label():
    likely, shares = np.array([[0.5, 0.3, 0.2]]), np.array([[0.6, 0.0, 0.4]])
    joint = likely[0] * (0.6 * TRANSITION[:, 0] + 0.4 * TRANSITION[:, 2])
    noise = NoiseModel(TRANSITION)
    np.testing.assert_allclose(noise.posterior(likely, shares)[0], joint / joint.sum())
    np.testing.assert_allclose(noise.log_likelihood(likely, shares), np.log(joint.sum()))


def test_one_vote_is_a_label():
    likely, labels = np.random.default_rng(0).dirichlet(np.ones(3), 20), np.arange(20) % 3
    noise, votes = NoiseModel(TRANSITION), np.eye(3)[labels]
    np.testing.assert_allclose(noise.posterior(likely, votes), noise.posterior(likely, labels))
    known = {"weight": np.ones(20), "n_classes": 3, "pseudo_count": 1.0}
    expected = noise_transition_matrix(likely, labels, **known)
    np.testing.assert_allclose(noise_transition_matrix(likely, votes, **known), expected)


def test_many_votes_do_not_underflow():
    likely, votes = np.full((1, 3), 1 / 3), np.array([[900.0, 800.0, 700.0]])
    found = NoiseModel(TRANSITION).posterior(likely, votes)
    assert found.sum() == pytest.approx(1) and found.argmax() == 0


def test_without_noise_the_label_with_most_votes_is_right():
    likely, votes = np.array([[0.1, 0.2, 0.7]] * 2), np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    found = NoiseModel(np.eye(3)).posterior(likely, votes)
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3, 2 / 3, 0]], atol=1e-12)


def likely_classes(truth, seed=0):
    random = np.random.default_rng(seed)
    scores = 2.0 * np.eye(3)[truth] + random.gumbel(size=(len(truth), 3))
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def test_the_matrix_is_that_of_single_votes():
    *_, truth, _, votes = ballot(4000)
    found = noise_transition_matrix(
        np.full((4000, 3), 1 / 3) + 0.2 * (np.eye(3)[truth] - 1 / 3),
        votes.astype(float),
        np.ones(4000),
        3,
        pseudo_count=1.0,
    )
    np.testing.assert_allclose(found, TRANSITION, atol=0.03)


@pytest.mark.parametrize("kind", ["counts", "shares"])
def test_a_weight_of_two_is_the_row_twice(kind):
    *_, truth, _, votes = ballot(200)
    votes = votes.astype(float) if kind == "counts" else votes / votes.sum(1, keepdims=True)
    weight = 1 + np.arange(200) % 2
    known = likely_classes(truth), votes
    twice = [np.repeat(each, weight, axis=0) for each in known]
    options = {"n_classes": 3, "pseudo_count": 0.0}
    one = noise_transition_matrix(*known, weight, **options)
    np.testing.assert_allclose(one, noise_transition_matrix(*twice, np.ones(300), **options))


@pytest.mark.parametrize("kind", ["counts", "shares"])
def test_derivatives_agree_with_differences(kind):
    *_, truth, is_clean, votes = ballot(60, 10)
    votes = votes.astype(float) if kind == "counts" else votes / votes.sum(1, keepdims=True)
    votes[is_clean] = np.eye(3)[truth[is_clean]]
    scores = np.log(likely_classes(truth))
    weight = np.linspace(0.5, 2, 60)
    mixture = _Mixture(scores, votes, weight, is_clean, TRANSITION, np.array([1.0, 2.0]))
    numbers, error = np.array([0.2, -0.1, 0.3, 0.1, -0.4]), 1e-4
    value = check_grad(
        lambda x: mixture.value_and_gradient(x)[0],
        lambda x: mixture.value_and_gradient(x)[1],
        numbers,
    )
    assert value < error
    for index in range(len(numbers)):
        gradient = check_grad(
            lambda x, index=index: mixture.value_and_gradient(x)[1][index],
            lambda x, index=index: mixture.hessian(x)[index],
            numbers,
        )
        assert gradient < error


# --- Fits --------------------------------------------------------------------------------------


def test_a_single_vote_a_row_is_the_ordinary_fit(n_verified):
    X, y, _, is_clean, _ = ballot(150, n_verified // 2)
    votes = np.eye(3)[y]
    assert_same_fit(fit(X, y, is_clean, votes), fit(X, y, is_clean))


def test_rows_without_votes_have_no_label(n_verified):
    X, y, _, is_clean, votes = ballot(200, n_verified // 2)
    votes = np.eye(3)[y] * (np.arange(200) % 4 > 0)[:, None]
    is_gap = ~votes.any(axis=1) & ~is_clean
    found, known = fit(X, y, is_clean, votes), np.where(is_gap, -1, y)
    assert_same_fit(found, fit(X, known, is_clean, unlabeled=-1))
    assert not found.sample_weight_[is_gap].any()
    report = found.label_report()
    assert report["given_label"][is_gap].isna().all()
    assert report["given_label"][~is_gap].tolist() == y[~is_gap].tolist()
    assert report["suggested_label"].notna().all()
    assert_same_fit(fit(X, known, is_clean, votes, unlabeled=-1), found)


def test_votes_find_wrong_labels_and_help(n_verified):
    X, y, truth, is_clean, votes = ballot(3500, n_verified)
    others, (X, y, is_clean, votes) = X[500:], (each[:500] for each in (X, y, is_clean, votes))
    found, plain = fit(X, y, is_clean, votes), fit(X, y, is_clean)
    truth, other_classes = truth[:500], truth[500:]
    is_wrong = (y != truth)[~is_clean]

    def ranked(model):
        return roc_auc_score(is_wrong, -model.sample_weight_[~is_clean])

    assert 1 - ranked(found) < 0.75 * (1 - ranked(plain))
    assert found.score(others, other_classes) > plain.score(others, other_classes) - 0.005
    assert abs(found.noise_rate_ - is_wrong.mean()) < 0.06


def test_the_reported_matrix_is_that_of_single_votes(n_verified):
    X, y, _, is_clean, votes = ballot(1500, n_verified)
    found = fit(X, y, is_clean, votes)
    np.testing.assert_allclose(found.noise_transition_matrix_, TRANSITION, atol=0.08)
    off = np.abs(found.noise_transition_matrix_ - TRANSITION)
    assert (off < 4 * found.noise_transition_matrix_std_ + 0.02).mean() > 0.7


@pytest.mark.parametrize("kind", ["counts", "shares"])
def test_labels_that_all_agree_on_are_relied_on_more(n_verified, kind):
    X, y, _, is_clean, votes = ballot(400, n_verified, n_votes=(4,))
    most = votes.max(axis=1)
    votes = votes if kind == "counts" else votes / 4
    weights = fit(X, y, is_clean, votes).sample_weight_
    means = [weights[(most == number) & ~is_clean].mean() for number in (2, 3, 4)]
    assert means[0] < means[1] < means[2]


def test_more_votes_that_agree_are_relied_on_more(n_verified):
    X, y, _, is_clean, votes = ballot(400, n_verified, n_votes=(1, 3))
    weights, noisy = fit(X, y, is_clean, votes).sample_weight_, ~is_clean
    one, three = (noisy & (votes.max(axis=1) == number) for number in (1, 3))
    one &= votes.sum(axis=1) == 1
    assert weights[three].mean() > weights[one].mean() + 0.1


def test_of_verified_rows_the_label_alone_counts():
    X, y, _, is_clean, votes = ballot(200, 60)
    other = votes.copy()
    other[is_clean] = [0, 0, 9]
    other[:5] = 0
    assert_same_fit(fit(X, y, is_clean, votes), fit(X, y, is_clean, other))


def test_validation_rows_may_be_apart():
    X, y, _, is_clean, votes = ballot(300, 80)
    model = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
    given = {"X_val": X[is_clean], "y_val": y[is_clean], "votes": votes[~is_clean]}
    found = model.fit(X[~is_clean], y[~is_clean], **given)
    assert found.sample_weight_.shape == (220,)
    plain = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
    plain.fit(X[~is_clean], y[~is_clean], X_val=X[is_clean], y_val=y[is_clean])
    assert np.abs(found.sample_weight_ - plain.sample_weight_).max() > 0.1


def test_columns_with_names_may_be_in_any_order():
    X, y, _, is_clean, votes = ballot(150, 40)
    names = np.array(["a", "b", "c"])
    table = pd.DataFrame(votes, columns=names)[["c", "a", "b"]]
    assert_same_fit(fit(X, names[y], is_clean, table), fit(X, names[y], is_clean, votes))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_learning_trees_and_final_estimators_take_them(n_verified):
    X, y, truth, is_clean, votes = ballot(320, n_verified)
    found = fit(X, y, is_clean, votes, max_iter=3, final_estimator=None, cv=3)
    assert roc_auc_score((y != truth)[~is_clean], -found.sample_weight_[~is_clean]) > 0.8


def test_rows_beyond_the_sample_are_scored_by_them(monkeypatch):
    monkeypatch.setattr(_rows, "ENOUGH", 400)
    monkeypatch.setattr(_rows, "PER_COLUMN", 1)
    monkeypatch.setattr(_rows, "PER_CLASS", 1)
    X, y, truth, is_clean, votes = ballot(2000, 200)
    found = fit(X, y, is_clean, votes)
    is_wrong = (y != truth)[~is_clean]
    found, plain = (
        1 - roc_auc_score(is_wrong, -model.sample_weight_[~is_clean])
        for model in (found, fit(X, y, is_clean))
    )
    assert found < 0.75 * plain


def test_cross_validation_cuts_them_along():
    X, y, _, is_clean, votes = ballot(200, 60)
    outer = KFold(2, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        model = HyperCleaningClassifier(max_iter=0, final_estimator="linear")
        model.set_fit_request(is_clean=True, votes=True)
        params = {"is_clean": is_clean, "votes": votes}
        fitted = cross_validate(model, X, y, cv=outer, params=params, return_estimator=True)
    for found, (train, _) in zip(fitted["estimator"], outer.split(X), strict=True):
        assert_same_fit(found, fit(X[train], y[train], is_clean[train], votes[train]))


# --- What cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"votes": lambda votes: votes[:, :2]}, r"got shape \(60, 2\) for 60 rows and 3 classes"),
        ({"votes": lambda votes: votes[1:]}, r"got shape \(59, 3\) for 60 rows"),
        ({"votes": lambda votes: votes[:, 0]}, "Expected 2D array"),
        ({"votes": lambda votes: np.where(votes > 1, np.nan, votes)}, "votes contains NaN"),
        ({"votes": lambda votes: votes - 1.0}, "0 or more: got -1"),
        ({"votes": lambda votes: votes[:, ::-1]}, "y must be the label with most votes"),
        ({"y": lambda y: np.where(np.arange(60) == 7, -1, y)}, "1 rows have another or none.* 7"),
        ({"weighting": "sample"}, "got weighting='sample'"),
    ],
    ids=["columns", "rows", "shape", "gaps", "negative", "order", "unlabeled", "weighting"],
)
def test_what_cannot_be_used_is_an_error(change, message):
    X, y, _, _, votes = ballot(60)
    y, votes = (change.get(name, lambda it: it)(it) for name, it in (("y", y), ("votes", votes)))
    options = {"unlabeled": -1, "weighting": change.get("weighting", "adaptive")}
    with pytest.raises(ValueError, match=message):
        fit(X, y, None, votes, **options)


def test_rows_that_are_verified_need_a_label():
    X, y, _, is_clean, votes = ballot(60, 10)
    with pytest.raises(ValueError, match="is_clean marks 10 rows without a label as verified"):
        fit(X, np.where(is_clean, -1, y), is_clean, votes, unlabeled=-1)
