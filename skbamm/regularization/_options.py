"""What an estimator's parameters ask of a fit: its run, its penalty, its groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_array

from ..data._tables import in_feature_order
from ..linalg._tensors import resolve_device
from ._constants import CONSTANT_DEVIATION, LARGEST_SHRINKAGE, MOST_FACTORS


@dataclass(frozen=True)
class FeatureGroups:
    """A partition of the features."""

    names: list  # one for each group
    index: np.ndarray  # (n_features,), the group of each feature
    given: bool  # whether the user grouped the features at all

    def __len__(self):
        return len(self.names)

    def columns(self):
        """Positions of the columns of each group."""
        return {name: np.flatnonzero(self.index == k) for k, name in enumerate(self.names)}

    def geometric_means(self, alpha):
        """Geometric mean of each group's strengths above 0; 0 where a group has none."""
        above = alpha > 0
        log = np.log(alpha, where=above, out=np.zeros(len(alpha)))
        sums, counts = (
            np.bincount(self.index, values, minlength=len(self)) for values in (log, above)
        )
        means = np.where(counts > 0, np.exp(sums / counts.clip(1)), 0.0)
        return dict(zip(self.names, means.tolist(), strict=True))


@dataclass(frozen=True)
class RunOptions:
    """What an estimator's parameters say about a run of a solver."""

    solver: Any  # name or Solver
    max_iter: int
    tol: float  # of the residual relative to the error of the best fit with one strength
    standard_errors: float
    exact_zeros: bool


@dataclass(frozen=True)
class PenaltyOptions:
    """What an estimator's parameters say about the penalty, resolved."""

    kind: str  # the estimator's `penalty`
    groups: FeatureGroups
    strength: np.ndarray  # (n_features,), factor included; NaN where learned, 0 where unpenalized
    factors: np.ndarray  # (n_features,), by which strengths are multiplied
    descriptions: np.ndarray  # (n_descriptions, n_features)
    shrinkage: float | str  # "auto", or a number that is infinite where it leaves no difference
    alpha_bounds: tuple[float, float]
    positive: bool
    loss: str
    design: dict  # `fit_intercept`, `standardize` and `device`


def penalty_options(estimator, n_features):
    """The options of a `PenaltyEstimator`, its feature names being known."""
    names = getattr(estimator, "feature_names_in_", None)
    labels = in_feature_order(estimator.groups, names, "groups")
    groups = resolve_groups(labels, n_features, names)
    strengths = resolve_alpha(estimator.alpha, groups)[groups.index]
    factors = in_feature_order(estimator.penalty_factors, names, "penalty_factors")
    factors = resolve_factors(factors, n_features, names)
    strength = np.where(factors == 0, 0.0, strengths * factors)
    check_alpha_bounds(estimator.alpha_bounds)
    descriptions = in_feature_order(estimator.alpha_features, names, "alpha_features")
    return PenaltyOptions(
        kind=estimator.penalty,
        groups=groups,
        strength=strength,
        factors=factors,
        descriptions=resolve_descriptions(descriptions, np.isnan(strength)),
        shrinkage=resolve_shrinkage(estimator.shrinkage),
        alpha_bounds=estimator.alpha_bounds,
        positive=getattr(estimator, "positive", False),
        loss=getattr(estimator, "loss", "log_loss"),
        design={
            "fit_intercept": estimator.fit_intercept,
            "standardize": estimator.standardize,
            "device": resolve_device(estimator.device),
        },
    )


def resolve_shrinkage(shrinkage):
    """The parameter: "auto", or a number; infinite where it leaves no difference."""
    if isinstance(shrinkage, str) and shrinkage == "auto":
        return shrinkage
    if isinstance(shrinkage, Real) and not isinstance(shrinkage, bool) and float(shrinkage) >= 0:
        return float(shrinkage) if shrinkage < LARGEST_SHRINKAGE else np.inf
    raise ValueError(
        f"shrinkage must be 'auto' or a number >= 0 (numpy.inf: no deviations): got {shrinkage!r}."
    )


def resolve_groups(groups, n_features: int, feature_names=None) -> FeatureGroups:
    """The partition of an estimator's ``groups`` parameter."""
    if groups is None:
        return FeatureGroups(["all"], np.zeros(n_features, dtype=int), given=False)
    if isinstance(groups, str):
        return _named(groups, n_features, feature_names)
    if callable(groups):
        names = _require_names(feature_names, "a callable")
        return _from_labels([groups(name) for name in names])
    if isinstance(groups, Mapping):
        return _from_mapping(groups, n_features, feature_names)
    labels: np.ndarray = np.asarray(
        groups, dtype=object if isinstance(groups, (list, tuple)) else None
    )
    if labels.ndim != 1 or len(labels) != n_features:
        given = len(labels) if labels.ndim == 1 else f"an array of shape {labels.shape}"
        raise ValueError(
            f"groups must have one entry per feature: got {given} for {n_features} features."
        )
    return _from_labels(labels.tolist())


def resolve_alpha(alpha, groups: FeatureGroups):
    """Fixed strength of each group, shape (n_groups,); NaN where it is learned."""
    if isinstance(alpha, Mapping):
        unknown = [name for name in alpha if name not in groups.names]
        if unknown:
            raise ValueError(f"alpha names groups that do not exist: {unknown}. {_hint(groups)}")
        return np.array([_strength(alpha.get(name, "learn"), name) for name in groups.names])
    return np.full(len(groups), _strength(alpha, None))


def _hint(groups):
    """What ``alpha`` may name."""
    if not groups.given:
        return 'Without groups there is only "all"; groups="feature" makes one of each column.'
    more = f" and {len(groups) - 20} more" if len(groups) > 20 else ""
    return f"Groups are {groups.names[:20]}{more}."


def resolve_factors(factors, n_features: int, feature_names=None):
    """The ``penalty_factors`` parameter as an array, 1 for what a mapping does not name."""
    if factors is None:
        return np.ones(n_features)
    if isinstance(factors, Mapping):
        names = list(range(n_features) if feature_names is None else feature_names)
        unknown = [name for name in factors if name not in names]
        if unknown:
            known = f"columns are {names[:5]} and so on"
            if feature_names is None:
                known = f"columns of X have no names here, only positions below {n_features}"
            raise ValueError(f"penalty_factors names no column by {unknown[:5]}: {known}.")
        factors = [factors.get(name, 1.0) for name in names]
    values = check_array(factors, dtype=np.float64, ensure_2d=False, input_name="penalty_factors")
    if values.shape != (n_features,):
        raise ValueError(
            "penalty_factors must have one entry per feature: got an array of shape "
            f"{values.shape} for {n_features} features."
        )
    if (values < 0).any():
        raise ValueError(
            f"penalty_factors must not be negative: got {values.min():g}. 0 leaves a column "
            "unpenalized."
        )
    above = values[values > 0]
    if len(above) and above.max() > MOST_FACTORS * above.min():
        raise ValueError(
            f"penalty_factors above 0 must not differ by more than {MOST_FACTORS:g}: got "
            f"{above.min():g} to {above.max():g}. Leave out columns that must not count."
        )
    return values


def resolve_descriptions(descriptions, learned):
    """Descriptions standardized over the features whose strength is `learned` (a mask).

    Of shape (n_descriptions, n_features); 0 for other features, and for descriptions that are
    the same for all.
    """
    if descriptions is None:
        return np.zeros((0, len(learned)))
    values = np.asarray(descriptions)
    if values.ndim == 1:
        values = values[:, None]
    values = check_array(values, dtype=np.float64, input_name="alpha_features")
    if len(values) != len(learned):
        raise ValueError(
            "alpha_features must have one row per feature: got "
            f"{len(values)} rows for {len(learned)} features."
        )
    if not learned.any():
        return np.zeros((values.shape[1], len(learned)))
    centred = values - values[learned].mean(axis=0)
    scale = centred[learned].std(axis=0)
    constant = scale <= CONSTANT_DEVIATION * np.abs(values[learned]).max(axis=0)
    return (centred / np.where(constant, 1.0, scale) * (learned[:, None] & ~constant)).T


def check_alpha_bounds(bounds):
    """Raise unless ``alpha_bounds`` are two finite numbers, 0 < low < high."""
    numbers = len(bounds) == 2 and all(isinstance(bound, Real) for bound in bounds)
    if not (numbers and 0 < bounds[0] < bounds[1] < np.inf):
        raise ValueError(
            f"alpha_bounds must be two finite numbers, 0 < low < high: got {bounds!r}."
        )


def _strength(value, name):
    if isinstance(value, str) and value == "learn":
        return np.nan
    if isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < np.inf:
        return float(value)
    where = "" if name is None else f" of group {name!r}"
    raise ValueError(f"alpha{where} must be 'learn' or a finite number >= 0: got {value!r}.")


def _named(groups, n_features, feature_names):
    if groups == "feature":
        names = list(range(n_features) if feature_names is None else feature_names)
        return FeatureGroups(names, np.arange(n_features), given=True)
    if groups == "prefix":
        names = _require_names(feature_names, "'prefix'")
        if not any("__" in str(name) for name in names):
            raise ValueError(
                "groups='prefix' takes the part of a feature's name before '__', and no name has "
                f"that: got {[str(name) for name in names[:5]]}. Let ColumnTransformer name its "
                "blocks (verbose_feature_names_out=True), or pass groups as a mapping."
            )
        return _from_labels([str(name).split("__", 1)[0] for name in names])
    raise ValueError(
        "groups must be None, 'feature', 'prefix', an array with one label per feature, a mapping "
        f"from names to columns, or a callable of a feature name: got {groups!r}."
    )


def _require_names(feature_names, spelling):
    if feature_names is None:
        raise ValueError(
            f"groups={spelling} needs feature names: fit on a DataFrame whose column names are "
            "all strings, or pass an array of labels. A sparse matrix has no names: for one of "
            "SmoothTerms(sparse_output=True) pass its block_names_, or let it return a table "
            "(sparse_output=False, set_output(transform='pandas'))."
        )
    return feature_names


def _from_labels(labels):
    """Groups in order of first appearance."""
    if any(label is None or (isinstance(label, float) and np.isnan(label)) for label in labels):
        raise ValueError("groups must label every feature: got a missing label (None or NaN).")
    order: dict = {}
    index = np.array([order.setdefault(label, len(order)) for label in labels], dtype=int)
    return FeatureGroups(list(order), index, given=True)


def _from_mapping(groups, n_features, feature_names):
    position = {} if feature_names is None else {name: j for j, name in enumerate(feature_names)}
    index = np.full(n_features, -1)
    for number, (name, columns) in enumerate(groups.items()):
        for j in _columns(columns, name, n_features, position):
            if index[j] >= 0:
                other = list(groups)[index[j]]
                raise ValueError(f"groups overlap: column {j} is in {other!r} and in {name!r}.")
            index[j] = number
    missing = np.flatnonzero(index < 0)
    if len(missing):
        shown = [
            missing[i] if feature_names is None else feature_names[missing[i]]
            for i in range(min(5, len(missing)))
        ]
        raise ValueError(
            f"groups must cover every feature: {len(missing)} of {n_features} are in no group, "
            f"among them {shown}."
        )
    return FeatureGroups(list(groups), index, given=True)


def _columns(columns, group, n_features, position):
    """Positions of the columns of one group."""
    if isinstance(columns, slice):
        return range(*columns.indices(n_features))
    if isinstance(columns, (str, int, np.integer)):
        columns = [columns]
    columns = np.asarray(columns, dtype=object).ravel().tolist()
    if len(columns) == n_features and all(isinstance(c, (bool, np.bool_)) for c in columns):
        return np.flatnonzero(columns)
    if any(isinstance(c, (bool, np.bool_)) for c in columns):
        raise ValueError(
            f"group {group!r} must be a mask of {n_features} entries, one per feature, or columns: "
            f"got {columns}."
        )
    found = []
    for column in columns:
        if isinstance(column, str):
            if column not in position:
                raise ValueError(f"group {group!r} names an unknown column: {column!r}.")
            found.append(position[column])
        elif isinstance(column, (int, np.integer)) and -n_features <= column < n_features:
            found.append(int(column) % n_features)
        else:
            raise ValueError(
                f"group {group!r} has column {column!r}, but there are {n_features} features."
            )
    return found
