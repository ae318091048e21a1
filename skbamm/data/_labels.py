"""Class labels and weights of classes, checked."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

# Squares of weights must be numbers.
MOST_WEIGHT = 1e150


def validated_labels(y):
    """Labels as a 1-D array."""
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    return np.asarray(y)


def require_two_classes(mass):
    """Raise unless two classes have a sum of weights."""
    if np.count_nonzero(mass) < 2:
        raise ValueError(
            "The number of classes has to be greater than one; all rows with positive weight "
            "are of one class."
        )


def class_factors(class_weight, classes, mass):
    """Factors of the sample weights by class, as scikit-learn has them; `mass` are their sums.

    "balanced" leaves a class without weight as it is.
    """
    if class_weight == "balanced":
        with_weight = np.where(mass > 0, mass, np.inf)
        return mass.sum() / (len(mass) * with_weight)
    factors = np.ones(len(classes))
    if not class_weight:
        return factors
    for name, factor in class_weight.items():
        if not (isinstance(factor, Real) and 0 <= float(factor) < np.inf):
            raise ValueError(
                f"class_weight must have finite numbers from 0 on: got {factor!r} for {name!r}."
            )
    names = classes.tolist()
    given = [name in class_weight for name in names]
    # Of classes that are not there, as in a fold without a rare one, where all others are named.
    if sum(given) < min(len(class_weight), len(classes)):
        raise ValueError(
            f"class_weight names {list(class_weight)}, and the classes in y are "
            f"{names}: each name must be a class, or each class have a name."
        )
    for position in np.flatnonzero(given):
        factors[position] = class_weight[names[position]]
    with np.errstate(over="ignore"):
        weights = factors * mass
    if np.count_nonzero(weights) < 2 or not 1 / MOST_WEIGHT < weights.sum() < MOST_WEIGHT:
        raise ValueError(
            "class_weight must leave two classes with a weight, and a sum of weights below "
            f"{MOST_WEIGHT} and above its inverse: got {class_weight}."
        )
    return factors
