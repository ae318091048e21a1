"""What fits of BilevelRegularizedClassifier report, refuse and leave behind."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skbamm import BilevelRegularizedClassifier
from skbamm.inspection import StrengthDisplay
from skbamm.linalg._softmax import LabelledRows
from tests.regularization.class_data import classifier, make_classes

DATA = make_classes(3, n_samples=120)


def sparse_table(n_classes=2, n_samples=200, n_features=20):
    """Only the first three of the columns matter."""
    random = np.random.default_rng(0)
    X = random.normal(size=(n_samples, n_features))
    scores = np.zeros((n_samples, n_classes))
    scores[:, 1:] = X[:, :3] @ random.choice([-2.0, 2.0], (3, n_classes - 1))
    return X, (scores + random.gumbel(size=scores.shape)).argmax(axis=1)


def test_learning_lowers_the_criterion():
    X, y = sparse_table()
    model = classifier(standard_errors=0).fit(X, y)
    control = classifier(standard_errors=0, max_iter=0).fit(X, y)
    assert model.criterion_ < control.criterion_ == model.initial_criterion_
    assert model.status_.startswith("converged")
    assert model.residual_ <= model.tol


def test_the_criterion_beats_ridge_where_few_columns_matter():
    X, y = sparse_table()
    ridge = classifier("l2").fit(X, y)
    assert classifier().fit(X, y).criterion_ < 0.98 * ridge.criterion_


@pytest.mark.parametrize("options", [{"penalty": "l1"}, {"exact_zeros": True}])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_columns_that_do_not_matter_get_exact_zeros(options, n_classes):
    X, y = sparse_table(n_classes)
    model = classifier(**options).fit(X, y)
    assert model.support_[:3].all()
    assert (model.coef_ == 0).any()
    np.testing.assert_array_equal(model.support_, (model.coef_ != 0).any(axis=0))


def test_exact_zeros_find_the_columns_that_matter():
    X, y = sparse_table()
    assert classifier(exact_zeros=True).fit(X, y).support_.sum() <= 6


def test_groups_of_noise_are_penalized_more():
    X, y = sparse_table()
    groups = np.where(np.arange(20) < 3, "signal", "noise")
    model = classifier("l2", groups=groups).fit(X, y)
    assert model.group_alpha_["noise"] > 10 * model.group_alpha_["signal"]


def test_descriptions_of_columns_get_a_slope():
    X, y = sparse_table()
    model = classifier(alpha_features=np.arange(20) < 3, shrinkage=0.0).fit(X, y)
    [slope] = model.hyper_[[name.startswith("slope") for name in model.hyper_names_]]
    assert slope < -0.1


def test_weights_of_the_average_sum_to_one_and_hold_ridge():
    model = classifier().fit(DATA.X, DATA.y)
    assert sum(model.average_weights_.values()) == pytest.approx(1)
    assert "one strength" in model.average_weights_


def test_repeats_share_the_same_answer_form():
    model = classifier(n_repeats=3).fit(DATA.X, DATA.y)
    assert model.coef_.shape == (3, 6)
    assert model.intercept_.shape == (3,)
    assert model.hyper_.shape == (len(model.hyper_names_),)


def test_separable_classes_get_a_finite_answer():
    X = np.arange(20.0)[:, None]
    model = classifier().fit(X, np.arange(20) > 9)
    assert np.isfinite(model.coef_).all()
    assert model.score(X, np.arange(20) > 9) == 1


def test_a_class_of_one_row_is_learned():
    y = DATA.y.copy()
    y[0] = 7
    model = classifier().fit(DATA.X, y)
    assert np.isfinite(model.predict_log_proba(DATA.X)).all()


def test_pickles_predict_the_same():
    model = classifier().fit(DATA.X, DATA.y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(DATA.X), model.predict_proba(DATA.X))


def test_a_further_fit_may_begin_at_what_was_learned():
    model = classifier(warm_start=True, standard_errors=0).fit(DATA.X, DATA.y)
    before, n_iter = model.criterion_, model.n_iter_
    model.fit(DATA.X, DATA.y)
    assert model.criterion_ <= before * (1 + 1e-6)
    assert model.n_iter_ <= n_iter


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"y": np.zeros(120)}, "number of classes has to be greater than one"),
        ({}, {"y": np.arange(119) % 2}, "inconsistent numbers of samples"),
        ({}, {"y": np.linspace(0, 1, 120)}, "Unknown label type"),
        ({"groups": ["a", "b"]}, {}, "groups must have one entry per feature"),
        ({"alpha": -1}, {}, "alpha must be"),
        ({"class_weight": {5: 1.0}}, {}, "class_weight names"),
        ({"shrinkage": "no"}, {}, "shrinkage must be"),
        ({}, {"sample_weight": np.zeros(120)}, "must not be all zero"),
        ({}, {"X_val": DATA.X}, "without y_val"),
        ({}, {"X_val": DATA.X, "y_val": np.full(120, 9)}, "labels that y does not have"),
    ],
)
def test_wrong_input_is_refused_with_a_reason(options, arguments, message):
    model = classifier(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(**{"X": DATA.X, "y": DATA.y, **arguments})
    assert not hasattr(model, "classes_")


def test_a_failed_fit_leaves_the_estimator_as_it_was(monkeypatch):
    model = classifier().fit(DATA.X, DATA.y)
    before = dict(vars(model))

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(LabelledRows, "cross_entropy", fail)
    with pytest.raises(MemoryError):
        model.fit(DATA.X[:, :3], DATA.y % 2)
    assert vars(model) == before


def test_a_run_that_is_cut_short_warns():
    X, y = sparse_table()
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        model = classifier(max_iter=1).fit(X, y)
    check_is_fitted(model)


def test_the_loss_along_the_strength_is_lowest_at_what_was_learned():
    X, y = sparse_table()
    model = classifier("l2").fit(X, y)
    display = StrengthDisplay.from_estimator(model, X, y)
    multiples, losses = display.multiple, display.error
    assert losses.min() == pytest.approx(model.criterion_, rel=1e-3)
    assert abs(np.log(multiples[losses.argmin()])) < 1


@pytest.mark.parametrize("penalty", ["l2", "l1", "adaptive"])
def test_separable_classes_end_at_the_weakest_strength(penalty):
    X, y = make_blobs(60, 4, centers=2, random_state=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where strengths end at a bound
        model = BilevelRegularizedClassifier(penalty).fit(X, y)
    assert model.score(X, y) == 1.0
    assert np.isfinite(model.coef_).all()
