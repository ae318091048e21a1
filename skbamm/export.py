"""Fitted estimators as plain ones of scikit-learn, and from there as ONNX models."""

from __future__ import annotations

import copy
from types import FunctionType, MethodType, ModuleType

import numpy as np
from sklearn.base import is_classifier

from ._base import BilevelEstimator
from .data._tables import dataframe_kind
from .data._validation import check_is_fitted

__all__ = ["to_onnx", "to_sklearn"]

# Not looked into: what they refer to is no part of an estimator.
_OPAQUE = (type, FunctionType, MethodType, ModuleType)
# Products of float32 rows are this exact, and faults of converters far larger.
CLOSE = 1e-4


def to_sklearn(estimator):
    """A copy in which plain scikit-learn estimators stand for fitted ones of skbamm.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of skbamm, or any other with some inside, such as a Pipeline, a search, a
        `CalibratedClassifierCV`, a voting, stacking or bagging ensemble.

    Returns
    -------
    plain : estimator
        With the same predictions. Every fitted estimator of skbamm is replaced by its
        ``to_sklearn()``; one that was only cloned, as the `estimator` of a search, stays.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.export import to_sklearn
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), BilevelRegularizedRegressor()).fit(X, y)
    >>> to_sklearn(model)[-1]
    LinearRegression()
    """
    check_is_fitted(estimator)
    # `deepcopy` looks up in its memo what was copied already.
    plain = {id(found): to_sklearn(found.to_sklearn()) for found in _fitted_inside(estimator)}
    return copy.deepcopy(estimator, plain)


def to_onnx(estimator, X, *, target_opset=None):
    """Convert a fitted estimator to ONNX and check it: right, or an error.

    sklearn-onnx converts what `to_sklearn` makes of the estimator, and onnxruntime must then
    predict for X what the estimator predicts. Not all converters of meta-estimators pass: isotonic
    calibration and `CalibratedClassifierCV` of a Pipeline are wrong in skl2onnx 1.20.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of skbamm, or any other with some inside.

    X : ndarray or pandas dataframe of shape (n_samples, n_features)
        Rows to compare predictions on, some hundreds or more. The ONNX model takes what these are:
        float32 or float64; one array, or each column of a dataframe by name, which only what
        begins with a `ColumnTransformer` can.

    target_opset : int, default=None
        As of `skl2onnx.to_onnx`.

    Returns
    -------
    converted : onnx.ModelProto
        A regressor's output has shape (n_samples, n_targets). A classifier has two: labels, and
        probabilities as an array (skl2onnx's option ``zipmap=False``).

    Raises
    ------
    ImportError
        Without skl2onnx or onnxruntime: ``pip install 'skbamm[onnx]'``.
    TypeError
        For what does not predict, such as a transformer, and for other kinds of X.
    ValueError
        If predictions differ: labels at all, numbers by 1e-4 of the largest. What skl2onnx or
        onnxruntime cannot convert or load raises errors of theirs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.export import to_onnx
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> [output.name for output in to_onnx(model, X.astype(np.float32)).graph.output]
    ['variable']
    """
    _check_members(estimator)
    plain = to_sklearn(estimator)
    _check_convertible(plain, X)
    expected = estimator.predict(X)
    try:
        import skl2onnx
        from onnxruntime import InferenceSession
    except ImportError as error:
        raise ImportError(
            "to_onnx needs skl2onnx and onnxruntime: pip install 'skbamm[onnx]'."
        ) from error
    options = {"zipmap": False} if is_classifier(plain) else None
    converted = skl2onnx.to_onnx(plain, X[:1], options=options, target_opset=target_opset)
    session = InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    if isinstance(X, np.ndarray):
        rows = {session.get_inputs()[0].name: X}
    else:
        rows = {name: X[[name]].to_numpy() for name in X}
    found = session.run(None, rows)
    _check_predictions(estimator, X, expected, found)
    return converted


def _check_members(estimator):
    """Raise where skl2onnx (1.20) is known to fail or to be wrong."""
    for found in _fitted_inside(estimator):
        if any(kind.startswith("trees") for kind in getattr(found, "average_weights_", ())):
            raise ValueError(
                f"skl2onnx converts sums of scores wrongly, and this {type(found).__name__} is one "
                'of linear models and boosted trees: fit it with final_estimator="linear", or with '
                "a final_estimator that skl2onnx converts."
            )


def _check_convertible(plain, X):
    if not hasattr(plain, "predict"):
        raise TypeError(
            f"{type(plain).__name__} does not predict, so there is nothing to compare: convert "
            "what to_sklearn() makes of it with skl2onnx.to_onnx."
        )
    if not isinstance(X, np.ndarray) and dataframe_kind(X) != "pandas":
        raise TypeError(
            "X must be an ndarray or a pandas dataframe, as the ONNX model takes what it is: got "
            f"a {type(X).__module__.partition('.')[0]} {type(X).__name__}."
        )
    if X.ndim != 2 or not len(X):
        raise ValueError(f"X must have rows and columns: got shape {X.shape}.")


def _check_predictions(estimator, X, expected, found):
    """Raise unless onnxruntime found what the estimator predicts."""
    what = ""
    if is_classifier(estimator):
        differ = np.mean(found[0].ravel() != expected)
        what = f"{differ:.1%} of the labels differ" if differ else ""
        if not what and hasattr(estimator, "predict_proba"):
            what = _difference(found[1], estimator.predict_proba(X))
    else:
        what = _difference(found[0], expected.reshape(len(X), -1))
    if what:
        raise ValueError(
            f"The ONNX model does not predict what this {type(estimator).__name__} does: {what}. "
            "Either skl2onnx converts a part of it wrongly, which plain scikit-learn estimators in "
            "its place show as well, or X needs more digits than float32 has: try float64."
        )


def _difference(found, expected):
    if found.shape != expected.shape:
        return f"shape {found.shape} in place of {expected.shape}"
    worst, largest = np.abs(found - expected).max(), np.abs(expected).max()
    return "" if worst <= CLOSE * largest else f"numbers near {largest:.1e} differ by {worst:.1e}"


def _fitted_inside(estimator):
    """Every fitted estimator of skbamm that attributes and containers lead to."""
    waiting, seen = [estimator], {}
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _OPAQUE):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, BilevelEstimator):
            if hasattr(thing, "n_features_in_"):
                yield thing
            continue
        if isinstance(thing, dict):
            waiting.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            waiting.extend(thing)
        elif isinstance(thing, np.ndarray) and thing.dtype == object:
            waiting.extend(thing.ravel())
        waiting.extend(getattr(thing, "__dict__", {}).values())
