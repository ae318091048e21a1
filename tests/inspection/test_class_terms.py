"""Terms of classes: parts of logits, with bands of the Laplace approximation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, softmax
from sklearn.pipeline import make_pipeline

from skbamm import (
    AdditiveClassifier,
    AdditiveRegressor,
    BilevelRegularizedClassifier,
    BilevelRegularizedRegressor,
    SmoothTerms,
)
from skbamm.inspection import TermDisplay

DRAW = TermDisplay.from_estimator
PAIR = [("time", "size")]


def make_table(seed=0, n_rows=300):
    random = np.random.default_rng(seed)
    X = pd.DataFrame({name: random.uniform(-1, 1, n_rows) for name in ("time", "size")})
    X["city"] = random.choice(["Rome", "Oslo", "Lima"], n_rows)
    logit = 2 * np.sin(3 * X["time"]) + X["size"] + (X["city"] == "Oslo")
    return X, (logit + random.logistic(size=n_rows)).to_numpy()


X, LATENT = make_table()
TWO = np.where(LATENT > 0, "yes", "no")
THREE = np.select([LATENT < -1, LATENT < 1], ["low", "middle"], "high")


@pytest.fixture(scope="module")
def two():
    return AdditiveClassifier(interactions=PAIR, max_iter=0, n_repeats=1).fit(X, TWO)


@pytest.fixture(scope="module")
def three():
    return AdditiveClassifier(interactions=PAIR, max_iter=0, n_repeats=1).fit(X, THREE)


def hessian(model, n_samples):
    """Of the penalized loss, and of the loss alone, in the coefficients and intercepts."""
    columns = np.hstack([model.terms_.transform(X), np.ones((n_samples, 1))])
    scores = model.decision_function(X)
    if scores.ndim == 1:
        p = expit(scores)
        loss = (columns * (p * (1 - p))[:, None]).T @ columns / n_samples
        return loss + np.diag(np.append(model.alpha_, 0)), loss
    p, n_classes = softmax(scores, axis=1), scores.shape[1]
    inner = p[:, :, None] * np.eye(n_classes) - p[:, :, None] * p[:, None, :]
    loss = np.einsum("ijk,ia,ib->jakb", inner, columns, columns) / n_samples
    loss = loss.reshape((n_classes * columns.shape[1],) * 2)
    return loss + np.diag(np.tile(np.append(model.alpha_, 0), n_classes)), loss


def band_of_time(curve, covariance, model):
    rows = X.iloc[[0] * len(curve.effect)].assign(time=curve.values[0])
    members = model.terms_.term_names_ == "time"
    columns = (model.terms_.transform(rows) - model.column_means_) * members
    deviation = np.sqrt(np.einsum("ij,jk,ik->i", columns, covariance, columns))
    return columns, 1.959964 * deviation


def test_bands_and_degrees_of_freedom_are_those_of_laplace(two):
    display = DRAW(two, X, TWO)
    penalized, loss = hessian(two, len(X))
    inverse = np.linalg.inv(penalized)
    influence = np.diag(inverse @ loss)[:-1]
    members = two.terms_.term_names_
    expected = [influence[members == name].sum() for name in display.names]
    assert_allclose(display.degrees_of_freedom, expected, rtol=1e-5)
    curve = display.curves[list(display.names).index("time")]
    columns, band = band_of_time(curve, inverse[:-1, :-1] / len(X), two)
    assert_allclose(curve.effect, columns @ two.coef_[0], atol=1e-9)
    assert_allclose(curve.upper - curve.effect, band, rtol=1e-5)
    assert display.scale == "logit of yes"


def test_bands_of_several_classes_are_near_those_of_laplace(three):
    number = list(three.classes_).index("high")
    curve = DRAW(three, X, THREE, class_="high", terms=["time"]).curves[0]
    kept = np.append(np.isfinite(three.alpha_), True)  # the others have no coefficients
    n_columns = kept.sum()
    # Coefficients of all classes sum to 0.
    centring = np.kron(np.eye(3) - 1 / 3, np.eye(n_columns))
    penalized = hessian(three, len(X))[0][np.ix_(np.tile(kept, 3), np.tile(kept, 3))]
    inverse = np.linalg.pinv(centring @ penalized @ centring)
    inverse = inverse.reshape(3, n_columns, 3, n_columns)[number, :-1, number, :-1]
    covariance = np.zeros((len(three.alpha_),) * 2)
    covariance[np.ix_(kept[:-1], kept[:-1])] = inverse / len(X)
    _, band = band_of_time(curve, covariance, three)
    # The other two are not equally probable everywhere.
    assert_allclose(curve.upper - curve.effect, band, rtol=0.15)


def test_bands_cover_the_truth():
    covered = []
    for seed in range(4):
        table, latent = make_table(seed)
        model = AdditiveClassifier(interactions=None, max_iter=0, n_repeats=1)
        curve = DRAW(model.fit(table, latent > 0), table, latent > 0, terms=["time"]).curves[0]
        truth = 2 * (np.sin(3 * curve.values[0]) - np.sin(3 * table["time"]).mean())
        covered.append(np.mean((curve.lower <= truth) & (truth <= curve.upper)))
    assert 0.75 <= np.mean(covered) <= 1.0


def test_each_class_has_a_curve(three):
    display = DRAW(three, X, THREE)
    names = list(display.names)
    assert display.scale == "logit"
    for kind, name in (("number", "time"), ("category", "city"), ("interaction", "time:size")):
        curves = display.curves[names.index(name)]
        assert (curves.kind, curves.classes) == (kind, ("high", "low", "middle"))
        assert_allclose(np.nansum(curves.effect, axis=0), 0, atol=1e-6)
    lines = display.axes_[names.index("time")].get_lines()
    assert {line.get_label() for line in lines} >= set(three.classes_)
    [legend] = [ax.get_legend() for ax in display.axes_ if ax.get_legend() is not None]
    assert [text.get_text() for text in legend.get_texts()] == list(three.classes_)


def test_one_class_may_be_chosen(two, three):
    every = DRAW(three, X, THREE)
    low = DRAW(three, X, THREE, class_="low", terms=list(every.names))
    assert low.scale == "logit of low"
    for one, curves in zip(low.curves, every.curves, strict=True):
        assert_allclose(one.effect, curves.effect[1])
    first, second = (DRAW(two, X, TWO, class_=name, terms=["time"]) for name in ("no", "yes"))
    assert_allclose(first.curves[0].effect, -second.curves[0].effect)
    assert first.scale == "logit of no"


@pytest.mark.parametrize("which", ["two", "three"])
def test_shares_and_deviations_are_those_of_the_logits(which, request):
    model, y = request.getfixturevalue(which), {"two": TWO, "three": THREE}[which]
    display = DRAW(model, X, y)
    added = model.predict_terms(X).reshape(len(X), len(model.term_names_), -1)
    order = [model.term_names_.index(name) for name in display.names]
    assert_allclose(display.deviation, np.sqrt(added.var(axis=0).mean(axis=1))[order])
    total = added.sum(axis=1)
    both = [
        [np.cov(added[:, j, k], total[:, k], ddof=0)[0, 1] for k in range(added.shape[2])]
        for j in order
    ]
    assert_allclose(display.share, np.sum(both, axis=1) / total.var(axis=0).sum(), atol=1e-9)


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_a_pipeline_of_the_parts_is_drawn_as_its_own_laplace(two, output):
    options = {"standardize": False, "shrinkage": 0.1, "max_iter": 0, "n_repeats": 1}
    terms = SmoothTerms(interactions=PAIR).set_output(transform=output)
    groups = list(two.terms_.block_names_)
    pipeline = make_pipeline(terms, BilevelRegularizedClassifier(groups=groups, **options))
    curve = DRAW(pipeline.fit(X, TWO), X, TWO, terms=["time"]).curves[0]
    model = SimpleNamespace(
        terms_=SmoothTerms(interactions=PAIR).fit(X, TWO),
        alpha_=pipeline[-1].alpha_,
        column_means_=np.asarray(terms.transform(X)).mean(axis=0),
        decision_function=pipeline.decision_function,
    )
    inverse = np.linalg.inv(hessian(model, len(X))[0])
    columns, band = band_of_time(curve, inverse[:-1, :-1] / len(X), model)
    assert_allclose(curve.effect, columns @ pipeline[-1].coef_[0], atol=1e-9)
    assert_allclose(curve.upper - curve.effect, band, rtol=1e-5)


def test_a_pipeline_that_standardizes_has_strengths_of_these_units():
    terms = SmoothTerms(interactions=None)
    options = {"penalty": "l2", "max_iter": 0}
    ridge = BilevelRegularizedRegressor(standardize=True, **options)
    pipeline = make_pipeline(terms, ridge).fit(X, LATENT)
    scaled = pipeline[0].transform(X)
    alpha = pipeline[-1].alpha_ * scaled.var(axis=0)
    centred = scaled - scaled.mean(axis=0)
    gram = centred.T @ centred / len(X)
    influence = np.diag(np.linalg.solve(gram + np.diag(alpha), gram))
    display = DRAW(pipeline, X, LATENT)
    assert_allclose(display.degrees_of_freedom.sum(), influence.sum(), rtol=1e-6)
    assert display.scale == ""


def test_errors_say_what_is_wrong(two):
    with pytest.raises(ValueError, match=r"one of the classes.*'no', 'yes'.*got 'perhaps'"):
        DRAW(two, X, TWO, class_="perhaps")
    with pytest.raises(ValueError, match="class_ must be None"):
        DRAW(AdditiveRegressor(max_iter=0).fit(X, LATENT), X, LATENT, class_="yes")
    targets = np.column_stack([LATENT, LATENT])
    several = make_pipeline(SmoothTerms(interactions=None), BilevelRegularizedRegressor(max_iter=0))
    with pytest.raises(ValueError, match="drawn of one target"):
        DRAW(several.fit(X, targets), X, LATENT)
