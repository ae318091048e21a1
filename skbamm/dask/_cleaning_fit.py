"""A cleaning fit on a cluster, as the client sees it.

As where rows are many: what is learned comes from a sample of them, which the client gets; all
other rows stay on the workers, are weighed there, and meet in the sums of the last fit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import dask
import numpy as np

from ..cleaning._constants import EXACT, MAX_ROTATED
from ..cleaning._design import FoldedDesign, Standardizer
from ..cleaning._final_estimator import given_estimator
from ..cleaning._fit import guarded, sample_metric
from ..cleaning._report import ClassSums
from ..cleaning._rows import product_work
from ..cleaning._search import RunOptions, learn
from ..data._containers import RowContainer
from ..linalg._session import threads_for, torch_session
from ..linalg._softmax import MAX_HALVINGS, ROUNDING, sum_params
from ..linalg._tensors import resolve_device, to_numpy, to_tensor
from . import _label_rows
from ._client import kept, on_each, shared, summed
from ._sample import SampledRows

# Steps that the last fit remembers, and most of them that it makes.
MEMORY, MAX_ITER = 20, 300


@dataclass(frozen=True)
class ClusterFit:
    """What was found of all rows."""

    learned: Any
    layer: tuple  # coefficients and intercepts
    sums: ClassSums
    records: list  # futures of each partition's `label_record`
    container: RowContainer  # of all rows; its indexes are lazy


def fit_sampled(estimator, client, columns, census):
    """Learn from a sample, and fit all rows; None where the sample would be all rows.

    `columns` are futures of what `checked_labels` gives.
    """
    seed = estimator._seed()
    chosen = census.sample(estimator.n_features_in_, seed)
    if chosen is None:
        return None
    _require_adaptive(estimator)
    weights = census.class_weights(estimator.class_weight)
    known = {"classes": census.classes, "class_weight": weights}
    rows = kept(client, on_each(_label_rows.label_rows, columns, **known))
    sample = SampledRows.gather(client, rows, census, *chosen)
    standardizer = _standardizer(client, rows, sample.rows.X, estimator.standardize)
    folds, device = sample.folds(estimator.cv, seed), resolve_device(estimator.device)
    design = FoldedDesign(sample.rows, folds, standardizer, device)
    with torch_session():
        with threads_for(product_work(sample.rows, folds.n_folds)):
            options = RunOptions.of(estimator)
            learned = guarded(design, learn(design, estimator.weighting, options), options)
        weighed, model = _weigh(client, rows, sample, standardizer, learned, estimator.device)
        sums = ClassSums(*summed(client, on_each(_label_rows.class_sums, rows, weighed)))
        records = kept(client, on_each(_label_rows.label_record, rows, weighed))
        if estimator.alpha == "learn":  # it shrinks as rows grow in number
            shrunk = len(sample.places) / census.total.sum()
            average = learned.average and learned.average.shrunk(shrunk)
            learned = replace(learned, ridge=learned.ridge * shrunk, average=average)
        params = _last_fit(client, rows, weighed, model, design, learned)
    container = _container(client, columns, census.lengths)
    return ClusterFit(learned, standardizer.raw(params), sums, records, container)


def _require_adaptive(estimator):
    """Raise for options that need all rows in one place."""
    fits = {
        "weighting": estimator.weighting == "adaptive",
        "cv": isinstance(estimator.cv, Integral),
        "final_estimator": given_estimator(estimator) is None,
    }
    for name, does_fit in fits.items():
        if not does_fit:
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} needs all rows at once: use "
                "HyperCleaningClassifier on rows in memory."
            )


def _standardizer(client, rows, sampled, standardize):
    """As of all rows, from sums over them."""
    shift = sampled.mean(axis=0, dtype=np.float64)
    sums = summed(client, on_each(_label_rows.cross_products, rows, shift=shift))[0]
    total = sums.cross_products(overwrite=True).total
    weight, mean = total[-1, -1], total[-1, :-1] / total[-1, -1]
    square = total[:-1, :-1] - weight * np.outer(mean, mean)
    variance = np.diag(square) / weight
    mean = mean + shift
    # The bound on rounding that scikit-learn takes a column for constant below.
    eps = np.finfo(np.float64).eps
    constant = variance <= weight * eps * variance + (weight * mean * eps) ** 2
    scale = np.sqrt(np.where(constant, 1.0, variance)) if standardize else np.ones(len(mean))
    rotation = None
    if len(mean) <= MAX_ROTATED:
        rotation = np.linalg.eigh(square / np.outer(scale, scale))[1]
    return Standardizer(mean, scale, rotation)


def _weigh(client, rows, sample, standardizer, learned, device):
    """Futures of `WeighedRows`, and the model that they come from."""
    targets = None if learned.targets is None else to_numpy(learned.targets)
    of_rows = ("label_weight", "training", "predictions", "targets")
    nothing = dict.fromkeys((*of_rows, "solution", "params", "quality", "average"))
    model = shared(_label_rows.FittedModel(standardizer, replace(learned, **nothing), device))
    of_sample = sample.by_partition(learned, targets)
    return kept(client, on_each(_label_rows.weighed_rows, rows, *of_sample, model=model)), model


def _container(client, columns, lengths):
    """How rows came, by the largest partition; what names them stays on the workers."""
    parts = kept(client, on_each(_label_rows.row_container, columns))
    container = parts[int(np.argmax(lengths))].result()
    index = dask.delayed(_label_rows.joined_index)
    y = container.y
    if y is not None and y.index is not None:
        y = replace(y, index=index(parts, of_labels=True))
    if container.index is None:
        return replace(container, y=y)
    return replace(container, index=index(parts, of_labels=False), y=y)


def _last_fit(client, rows, weighed, model, design, learned):
    """Fits on all rows, from the mean of those of the folds, as `fit_all` makes them."""
    # Nearly that of all rows: each step comes much nearer.
    metric = sample_metric(design, learned, learned.ridge)

    def fit(member, initial, ridge):
        penalty = design.labelled.penalty(ridge)

        def value_and_gradient(params):
            known = {"params": to_numpy(params), "model": model, "member": member}
            work = on_each(_label_rows.loss_and_gradient, rows, weighed, **known)
            weight, loss, gradient = summed(client, work)
            value = loss / weight + float((penalty * params.square()).sum()) / 2
            return value, to_tensor(gradient, params.device) / weight + penalty * params

        # The local fit ends as near in other coordinates; one step more leaves only its error.
        return to_numpy(minimize(value_and_gradient, initial, metric, tol=EXACT / 10)[0])

    if learned.average is None:
        return fit(None, learned.params.mean(0, keepdim=True), learned.ridge)
    return learned.average.mean(lambda member, initial: fit(member, initial, member.ridge))


def minimize(value_and_gradient, params, metric, *, tol):
    """Minimiser of a convex function by L-BFGS, whose first Hessian is that of a metric.

    One evaluation a step, as each is a round of all workers. `tol` is on the distance to the
    minimiser in units of the metric.
    """
    pairs: deque = deque(maxlen=MEMORY)
    value, gradient = value_and_gradient(params)
    for _ in range(MAX_ITER):
        if sum_params(gradient * metric.solve(gradient)) <= tol**2:
            break
        step = _quasi_newton(gradient, pairs, metric)
        for _ in range(MAX_HALVINGS):
            tried = params - step
            found, next_gradient = value_and_gradient(tried)
            if found <= value * (1 + ROUNDING):
                break
            step = step / 2
        pairs.append((tried - params, next_gradient - gradient))
        params, value, gradient = tried, found, next_gradient
    return params


def _quasi_newton(gradient, pairs, metric):
    """The inverse Hessian that the last steps tell of, times the gradient (two-loop recursion)."""
    shares = []
    for step, change in reversed(pairs):
        shares.append((step * gradient).sum() / (step * change).sum())
        gradient = gradient - shares[-1] * change
    direction = metric.solve(gradient)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        direction = direction + (share - (change * direction).sum() / (step * change).sum()) * step
    return direction
