"""Converting fitted estimators to ONNX.

Importing this module imports neither skl2onnx nor onnxruntime; `register` needs skl2onnx.
"""

from __future__ import annotations

from numbers import Real

import numpy as np

from .cleaning import HyperCleaningClassifier
from .regularization import BilevelRegularizedRegressor

__all__ = ["register"]


def register():
    """Teach skl2onnx to convert the estimators of skbamm.

    Afterwards `skl2onnx.to_onnx` and `skl2onnx.convert_sklearn` take fitted estimators, alone or
    in a Pipeline, a search or another meta-estimator. Calling it again changes nothing.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Notes
    -----
    Inputs are tensors of float32, float64, integers or booleans with shape
    (n_samples, n_features), or one of shape (n_samples, 1) for each column. The regressor has
    one output, of shape (n_samples, n_targets), also for a single target, as scikit-learn's own
    linear models have in ONNX. The classifier has two: labels (int64 or strings; booleans become
    0 and 1) and probabilities, which skl2onnx makes a list of dictionaries unless
    ``options={"zipmap": False}`` is given (needed for float64). A `final_estimator` is
    converted by its own converter and must have `predict_proba`.

    Products are taken in float64 whatever the input is, as in `predict`, and outputs are cast to
    float64 for float64 input and to float32 otherwise. So outputs differ from those of
    `predict` by rounding the output alone, also for float32 columns with large means.

    Examples
    --------
    >>> import numpy as np
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import BilevelRegularizedRegressor
    >>> from skbamm.onnx import register
    >>> register()
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BilevelRegularizedRegressor().fit(X, y)
    >>> converted = to_onnx(model, X[:1].astype(np.float32))
    >>> [output.name for output in converted.graph.output]
    ['variable']
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError(
            "skbamm.onnx needs skl2onnx: install it with pip install 'skbamm[onnx]'."
        ) from error
    update_registered_converter(
        BilevelRegularizedRegressor,
        "SkbammBilevelRegularizedRegressor",
        _regressor_shape,
        _convert_regressor,
    )
    update_registered_converter(
        HyperCleaningClassifier,
        "SkbammHyperCleaningClassifier",
        _classifier_shape,
        _convert_classifier,
        # Naming them makes skl2onnx's own parser of classifiers serve ours.
        options={
            "zipmap": [True, False, "columns"],
            "output_class_labels": [False, True],
            "nocl": [True, False],
        },
    )


def _regressor_shape(operator):
    model = _fitted(operator)
    n_targets = 1 if model.coef_.ndim == 1 else len(model.coef_)
    kind = _float_type(operator)
    operator.outputs[0].type = kind([operator.inputs[0].get_first_dimension(), n_targets])


def _classifier_shape(operator):
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    model = _fitted(operator)
    n_samples = operator.inputs[0].get_first_dimension()
    if hasattr(model, "final_estimator_"):
        _check_final_estimator(model)
    labels = _onnx_labels(operator)
    label_type = Int64TensorType if labels.dtype == np.int64 else StringTensorType
    operator.outputs[0].type = label_type([n_samples])
    operator.outputs[1].type = _float_type(operator)([n_samples, len(labels)])


def _convert_regressor(scope, operator, container):
    from skl2onnx.algebra.onnx_ops import OnnxCast

    model = operator.raw_operator
    X = _inputs(operator, container)
    scores = _linear(X, container, np.atleast_2d(model.coef_), model.intercept_)
    output = OnnxCast(
        scores,
        to=_proto_type(operator),
        op_version=container.target_opset,
        output_names=operator.outputs,
    )
    output.add_to(scope, container)


def _convert_classifier(scope, operator, container):
    model = operator.raw_operator
    if hasattr(model, "final_estimator_"):
        _convert_final_estimator(scope, operator, container)
        return
    from skl2onnx.algebra.onnx_ops import (
        OnnxArgMax,
        OnnxArrayFeatureExtractor,
        OnnxCast,
        OnnxReshape,
        OnnxSoftmax,
    )

    version = {"op_version": container.target_opset}
    coef, intercept = model.coef_, model.intercept_
    if len(coef) == 1:  # the first of two classes has score 0
        coef, intercept = np.vstack([0 * coef, coef]), np.append(0.0, intercept)
    scores = _linear(_inputs(operator, container), container, coef, intercept)
    best = OnnxArgMax(scores, axis=1, keepdims=0, **version)
    labels = OnnxArrayFeatureExtractor(_onnx_labels(operator), best, **version)
    labels = OnnxReshape(
        labels, np.array([-1], dtype=np.int64), output_names=operator.outputs[:1], **version
    )
    probabilities = OnnxCast(
        OnnxSoftmax(scores, axis=1, **version),
        to=_proto_type(operator),
        output_names=operator.outputs[1:],
        **version,
    )
    labels.add_to(scope, container)
    probabilities.add_to(scope, container)


def _check_final_estimator(model):
    """Raise where outputs would not be what the classifier's own would be."""
    final = model.final_estimator_
    kind = type(final).__name__
    if not hasattr(final, "predict_proba"):
        raise TypeError(
            f"final_estimator {kind} has no predict_proba, and ONNX classifiers have "
            "probabilities: convert final_estimator_ itself, or choose one that has."
        )
    if not np.array_equal(final.classes_, model.classes_):
        raise ValueError(
            f"final_estimator {kind} was fitted on classes {final.classes_} of {model.classes_}, "
            "as all rows of the others have weight 0: convert final_estimator_ itself."
        )


def _convert_final_estimator(scope, operator, container):
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import guess_proto_type

    model = operator.raw_operator.final_estimator_
    try:
        alias = get_model_alias(type(model))
    except RuntimeError as error:
        raise RuntimeError(
            f"skl2onnx has no converter for final_estimator {type(model).__name__}: register one "
            "with skl2onnx.update_registered_converter first."
        ) from error
    if scope.get_options(operator.raw_operator, {"nocl": False})["nocl"]:
        for place in (scope, container):
            place.add_options(id(model), {"nocl": True})
    part = scope.declare_local_operator(alias, model)
    part.inputs = operator.inputs
    for output in operator.outputs:
        name = f"final_{output.raw_name}"
        part.outputs.append(scope.declare_local_variable(name, output.type))
    # Trees give float32 whatever they are asked for, so their type is not to be relied on.
    for inner, outer in zip(part.outputs, operator.outputs, strict=True):
        container.add_node(
            "Cast",
            [inner.onnx_name],
            [outer.onnx_name],
            name=scope.get_unique_operator_name("Cast"),
            to=guess_proto_type(outer.type),
        )


def _inputs(operator, container):
    """X in float64."""
    from skl2onnx.algebra.onnx_ops import OnnxCast, OnnxConcat
    from skl2onnx.proto import onnx_proto

    version = {"op_version": container.target_opset}
    double = onnx_proto.TensorProto.DOUBLE
    # A dataframe comes as one input for each column.
    blocks = [OnnxCast(block, to=double, **version) for block in operator.inputs]
    return blocks[0] if len(blocks) == 1 else OnnxConcat(*blocks, axis=1, **version)


def _linear(X, container, coef, intercept):
    """Scores of shape (n_samples, n_scores), in float64."""
    from skl2onnx.algebra.onnx_ops import OnnxAdd, OnnxMatMul

    version = {"op_version": container.target_opset}
    intercept = np.atleast_1d(np.asarray(intercept, dtype=np.float64))
    products = OnnxMatMul(X, np.ascontiguousarray(coef.T, dtype=np.float64), **version)
    return OnnxAdd(products, intercept, **version)


def _fitted(operator):
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(operator.raw_operator)
    return operator.raw_operator


def _float_type(operator):
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    is_double = any(isinstance(block.type, DoubleTensorType) for block in operator.inputs)
    return DoubleTensorType if is_double else FloatTensorType


def _proto_type(operator):
    from skl2onnx.common.data_types import guess_proto_type

    return guess_proto_type(_float_type(operator)())


def _onnx_labels(operator):
    """Class labels as ONNX knows them: int64 or strings."""
    model = operator.raw_operator
    options = operator.scope_inst.get_options(model, {"nocl": False})
    if options["nocl"]:
        return np.arange(len(model.classes_))
    labels = model.classes_.tolist()
    if all(isinstance(label, str) for label in labels):
        return np.array(labels)
    if all(isinstance(label, Real) and float(label).is_integer() for label in labels):
        return np.array(labels).astype(np.int64)
    raise TypeError(
        "ONNX knows labels that are strings, integers or booleans: this "
        f"{type(model).__name__} was fitted with {labels[:5]}. Encode them before fitting."
    )
