"""Whatever comes: a good fit, or a sentence that says why not."""

from __future__ import annotations

import linecache
import warnings
from pathlib import Path

import numpy as np
import sklearn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeClassifier

import skbamm
from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

#: The same examples in every run; half a minute on a laptop for all.
FUZZ = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
OF_BOTH = {
    "cv": [2, 3, 50, KFold(3), [(range(3), [0, 1, 2])]],
    "solver": ["sl-bamm", "meha", "iaptt-gm", "implicit", "unrolling"],
    "standardize": [False],
    "alpha": ["learn", 0, 0.1, 1e-12, 1e12],
    "max_iter": [0, 1, 5],
    "tol": [0.0, 1e3],
    "warm_start": [True],
    "random_state": [1, None],
    "verbose": [2],
}
REGRESSOR_OPTIONS = {
    **OF_BOTH,
    "penalty": ["l2", "l1"],
    "groups": ["feature", "halves"],
    "alpha_features": ["order"],
    "penalty_factors": [{0: 0.0}, {0: 1e-8}, {0: 1e8}],
    "shrinkage": [0, 0.1, np.inf],
    "loss": ["huber", "absolute_error"],
    "n_repeats": [1, 2],
    "alpha_bounds": [(1e-3, 1e-2), (1e-12, 1e-11), (1e5, 1e9)],
    "standard_errors": [0, 3.0],
    "fit_intercept": [False],
    "positive": [True],
    "exact_zeros": [True],
    "alpha_per_target": [True],
}
CLASSIFIER_OPTIONS = {
    **OF_BOTH,
    "weighting": ["sample"],
    "relabel": [False],
    "class_weight": ["balanced", {0: 2.0, 1: 0.5}],
    "final_estimator": [DecisionTreeClassifier(max_depth=2), RandomForestClassifier(3)],
}
#: What a user gets for a value that cannot be used.
PLAIN = ("ValueError", "TypeError", "InvalidParameterError")
SIZES, FEATURES = [1, 2, 3, 5, 9, 20, 20, 40], [1, 2, 3, 8]
EXPONENTS = [-150, -30, -8, 0, 0, 0, 0, 0, 3, 8, 30, 150]
#: What may befall a column.
COLUMNS = ["plain"] * 4 + ["constant", "zero", "copy", "rare", "far", "scaled", "binary"]


@st.composite
def tables(draw):
    """A table of columns of all kinds, as a function of the number of rows and a seed."""
    n_features, dtype = draw(st.sampled_from(FEATURES)), draw(st.sampled_from("dddfib"))
    kinds = draw(st.lists(st.sampled_from(COLUMNS), min_size=n_features, max_size=n_features))
    exponents = [draw(st.sampled_from(EXPONENTS)) for _ in range(2)]
    is_sparse = draw(st.integers(0, 3)) == 0

    def make(n_rows, seed):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n_rows, n_features))
        for column, kind in enumerate(kinds):
            X[:, column] = changed(X, column, kind, exponents[1], rng)
        X *= 10.0 ** exponents[0]
        if dtype != "d":
            X = np.clip(X, -1e6, 1e6) if dtype == "i" else np.clip(X, -1e30, 1e30)
            X = X > 0 if dtype == "b" else X.astype(dtype)
        return sparse.csr_matrix(X) if is_sparse else X

    return make


def changed(X, column, kind, exponent, rng):
    values = X[:, column]
    return {
        "plain": values,
        "constant": np.full(len(X), values[0]),
        "zero": 0 * values,
        "copy": X[:, 0],
        "rare": values * (rng.random(len(X)) < 0.1),
        "far": values + 1e6,
        "scaled": values * 10.0**exponent,
        "binary": np.sign(values),
    }[kind]


def weights(draw, rng, n_rows):
    kind = draw(st.sampled_from(["none"] * 3 + ["zeros", "all zero", "scaled", "one"]))
    weight = rng.random(n_rows)
    return {
        "none": None,
        "zeros": weight * (rng.random(n_rows) < 0.5),
        "all zero": 0 * weight,
        "scaled": weight * 10.0 ** draw(st.sampled_from(EXPONENTS)),
        "one": np.eye(n_rows)[0],
    }[kind]


def options_of(draw, table):
    """One of the options, or two, at otherwise default parameters; and few iterations."""
    names = [draw(st.sampled_from(sorted(table))) for _ in range(2)]
    return {"max_iter": 3, **{name: draw(st.sampled_from(table[name])) for name in names}}


@st.composite
def regressions(draw):
    """Options, and what `fit` gets."""
    make, n_rows = draw(tables()), draw(st.sampled_from(SIZES))
    seed, n_targets = draw(st.integers(0, 99)), draw(st.sampled_from([0, 0, 0, 1, 3]))
    rng = np.random.default_rng(seed)
    X = make(n_rows, seed)
    plain = np.sign(np.asarray(X.todense() if sparse.issparse(X) else X, dtype=float))
    scale, offset = (draw(st.sampled_from(values)) for values in (EXPONENTS, [0, 0, 1, 1e6]))
    noise, n_columns = draw(st.sampled_from([0, 1, 1])), max(n_targets, 1)

    def targets(plain):
        y = plain @ rng.normal(size=(plain.shape[1], n_columns))
        y = (y + noise * rng.normal(size=y.shape) + offset) * 10.0**scale
        return y if n_targets else y[:, 0]

    options = options_of(draw, REGRESSOR_OPTIONS)
    if options.get("groups") == "halves":
        options["groups"] = np.arange(X.shape[1]) % 2
    if "alpha_features" in options:
        options["alpha_features"] = np.arange(X.shape[1])
    data = {"X": X, "y": targets(plain), "sample_weight": weights(draw, rng, n_rows)}
    if draw(st.integers(0, 4)) == 0:
        data |= {"X_val": X[: n_rows // 2 + 1], "y_val": data["y"][: n_rows // 2 + 1]}
    return options, data


@st.composite
def classifications(draw):
    """Options, and what `fit` gets."""
    make, n_rows = draw(tables()), draw(st.sampled_from(SIZES))
    seed, n_classes = draw(st.integers(0, 99)), draw(st.sampled_from([2, 2, 3, 4]))
    rng = np.random.default_rng(seed)
    X = make(n_rows, seed)
    first = np.asarray(X[:, [0]].todense() if sparse.issparse(X) else X[:, [0]])[:, 0]
    y = np.argsort(np.argsort(first, kind="stable")) * n_classes // n_rows
    y = np.where(rng.random(n_rows) < 0.2, rng.integers(n_classes, size=n_rows), y)
    data = {"X": X, "y": y, "sample_weight": weights(draw, rng, n_rows)}
    verified = draw(st.sampled_from(["none", "some", "few", "all", "apart"]))
    if verified == "apart":
        data |= {"X_val": X[: n_rows // 2 + 1], "y_val": y[: n_rows // 2 + 1]}
    elif verified != "none":
        data["is_clean"] = rng.random(n_rows) < {"some": 0.4, "few": 0.1, "all": 1}[verified]
    return options_of(draw, CLASSIFIER_OPTIONS), data


def fitted(kind, options, data):
    """A fit, or None where a sentence of the package says that there can be none."""
    model = kind(**options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(**data)
        except (ValueError, TypeError) as error:
            assert type(error).__name__ in PLAIN, repr(error)
            assert was_raised_on_purpose(error), repr(error)
            return None
    for warning in caught:
        assert warning.category in (UserWarning, ConvergenceWarning), warning
        assert warning.filename == __file__, warning  # where `fit` was called
    return model


def was_raised_on_purpose(error):
    """Whether the innermost line, in the package or in scikit-learn, is one that raises."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    path = Path(trace.tb_frame.f_code.co_filename)
    homes = [Path(module.__file__).parent for module in (skbamm, sklearn)]
    line = linecache.getline(str(path), trace.tb_lineno)
    return any(path.is_relative_to(home) for home in homes) and line.strip().startswith("raise")


def assert_finite(model):
    for name, value in vars(model).items():
        # Shrinkage is infinite where there is none to choose, a residual where it is not known;
        # standard errors of noise are NaN where all labels are verified.
        others = "shrinkage_", "residual_", "noise_transition_matrix_std_"
        is_known = name.endswith("_") and name not in others
        if is_known and isinstance(value, (float, np.ndarray)):
            assert np.asarray(value).dtype.kind != "f" or np.isfinite(value).all(), (name, value)
    assert np.all(model.criterion_ <= model.initial_criterion_)


@FUZZ
@given(case=regressions())
def test_any_regression_is_a_good_fit_or_a_sentence(case):
    options, data = case
    model = fitted(BilevelRegularizedRegressor, options, data)
    if model is None:
        return
    assert_finite(model)
    predicted = model.predict(data["X"])
    assert np.isfinite(predicted).all()
    # No coefficients at all are feasible, and penalized least.
    y = data["y"] / np.abs(data["y"]).max().clip(1e-300)
    error = y - predicted / np.abs(data["y"]).max().clip(1e-300)
    weight = np.ones(len(y)) if data["sample_weight"] is None else data["sample_weight"]
    weight = weight / weight.max()
    none = y - np.average(y, axis=0, weights=weight) * model.fit_intercept
    losses = [np.average(np.square(one), axis=0, weights=weight).sum() for one in (error, none)]
    assert losses[0] <= losses[1] * (1 + 1e-6) + 1e-12, losses


@FUZZ
@given(case=classifications())
def test_any_classification_is_a_good_fit_or_a_sentence(case):
    options, data = case
    model = fitted(HyperCleaningClassifier, options, data)
    if model is None:
        return
    assert_finite(model)
    assert ((model.sample_weight_ >= 0) & (model.sample_weight_ <= 1)).all()
    assert len(model.sample_weight_) == len(data["y"])
    probabilities = model.predict_proba(data["X"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities.shape[1] == len(model.classes_)
    assert np.isin(model.predict(data["X"]), model.classes_).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there may be more wrong than right ones
        assert np.isin(model.fix_labels(), model.classes_).all()
    assert len(next(iter(model.label_report().items()))[1]) == len(data["y"])
