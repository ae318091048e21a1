"""weighting="loss": weights from the fit's own losses."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skbamm import HyperCleaningClassifier


@pytest.fixture(params=[2, 3], ids="{} classes".format)
def data(request):
    n_classes = request.param
    X, y = make_classification(
        400, 6, n_informative=4, n_classes=n_classes, class_sep=1.5, random_state=0
    )
    generator = np.random.default_rng(0)
    is_clean = generator.random(400) < 0.2
    is_wrong = ~is_clean & (generator.random(400) < 0.3)
    return X, np.where(is_wrong, (y + 1) % n_classes, y), is_clean, is_wrong


def fit(data, **options):
    X, given, is_clean, _ = data
    model = HyperCleaningClassifier("loss", max_iter=30, tol=0.05, **options)
    return model.fit(X, given, is_clean=is_clean)


def test_weights_are_the_learned_function_of_the_losses_of_the_fit(data):
    X, given, is_clean, _ = data
    model = fit(data)
    loss = -np.log(model.predict_proba(X)[np.arange(400), given])
    a, b = model.hyper_[:2]
    expected = np.where(is_clean, 1.0, expit(a - b * loss) / expit(a))
    # The fit is at a distance of 1e-5 from its own weights' fit.
    np.testing.assert_allclose(model.sample_weight_, expected, atol=1e-3)


def test_the_fit_is_logistic_regression_with_its_weights(data):
    X, given, is_clean, _ = data
    model = fit(data, standardize=False)
    weight = model.sample_weight_ * np.where(is_clean, model.clean_weight_, 1.0)
    plain = LogisticRegression(C=1 / (model.alpha_ * weight.sum()), tol=1e-10, max_iter=10_000)
    plain.fit(X, given, sample_weight=weight)
    # The ridge of 1e-6 on intercepts is ours alone.
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), rtol=0, atol=1e-3)


def test_wrong_labels_weigh_less(data):
    is_wrong = data[3]
    weight = fit(data).sample_weight_
    assert weight[is_wrong].mean() + 0.2 < weight[~is_wrong].mean()


def test_learning_lowers_the_criterion(data):
    model = fit(data)
    assert model.criterion_ < model.initial_criterion_
    assert np.isfinite(model.residual_) and model.n_iter_ > 1


def test_it_works_without_clean_rows(data):
    X, given, _, is_wrong = data
    model = HyperCleaningClassifier("loss", max_iter=20, tol=0.05).fit(X, given)
    weight = model.sample_weight_
    assert ((weight > 0) & (weight <= 1)).all()
    assert weight[is_wrong].mean() < weight[~is_wrong].mean()


def test_a_fixed_alpha_stays(data):
    assert fit(data, alpha=0.05).alpha_ == pytest.approx(0.05)


def test_a_row_s_weight_is_no_judge_of_other_rows(data):
    assert not hasattr(fit(data), "weigh")
