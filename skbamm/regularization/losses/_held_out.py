"""The error on held-out rows that an estimator's ``loss`` asks for."""

from __future__ import annotations

from .._design import RowDesign
from ._huber import HeldOutRows, HuberError
from ._problem import HeldOutError


def held_out_error(loss, design, data, folds, validation, options):
    """Objective of the upper level.

    Parameters
    ----------
    loss : {"squared_error", "huber"}
    design : Design
        Of the same rows and folds: a squared error comes from its Gram matrices.
    options : dict
        What the design was made with.

    Returns
    -------
    error : HeldOutError or HuberError
    """
    if loss == "squared_error":
        return HeldOutError(design.test)
    is_rows = isinstance(design, RowDesign)
    held_out = (design if is_rows else RowDesign(data, folds, validation, **options)).test
    rows = held_out.rows
    parts = []
    for fold, weight in enumerate(held_out.weight):
        index = weight.nonzero()[:, 0]
        regression = rows.regression[fold]
        if rows.is_dense:
            part, effect = rows.design[index], regression @ rows.design
        else:
            part = rows.design[index.cpu().numpy()]
            effect = regression.new_tensor((rows.design.T @ regression.cpu().numpy().T).T)
        targets = rows.targets[0, fold][:, index]
        parts.append(HeldOutRows(part, targets, rows.nuisance[index], effect, weight[index]))
    return HuberError(tuple(parts), design.test)
