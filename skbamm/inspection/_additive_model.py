"""What displays of terms read: of an additive estimator, or of a pipeline of the same parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, softmax
from sklearn.pipeline import Pipeline, make_pipeline

from ..terms import SmoothTerms
from ..terms._pairs import dense
from ..terms._table import read_columns
from ._fitted import dataframe_of, unwrapped
from ._term_curves import ClassCurves

# A column that nothing penalizes, nor any row tells from others, has this relative to the largest.
LEAST_VARIANCE = 1e-10


@dataclass(frozen=True)
class AdditiveModel:
    """The columns of terms of some rows, and a linear fit on these."""

    terms: SmoothTerms
    columns: np.ndarray  # (n_samples, n_columns)
    weight: np.ndarray  # (n_samples,)
    coef: np.ndarray  # (n_scores, n_columns)
    intercept: np.ndarray  # (n_scores,)
    column_means: np.ndarray  # (n_columns,), to which effects are relative
    alpha: np.ndarray  # (n_columns,), of coefficients in units of the columns as they are
    classes: Any  # of a classifier, else None
    dataframe: str

    @classmethod
    def of(cls, estimator, X, weight):
        """Of a fitted estimator and rows; also the rows as the terms have them."""
        found, before = unwrapped(estimator, "coef_", "alpha_")
        steps = _steps(before)
        if not hasattr(found, "terms_") and steps and isinstance(steps[-1], SmoothTerms):
            *steps, terms = steps
        else:
            found, before = unwrapped(estimator, "predict_terms", "terms_")
            steps, terms = _steps(before), found.terms_
        if not hasattr(found, "classes_") and len(np.atleast_2d(found.coef_)) > 1:
            raise ValueError("Terms are drawn of one target: fit an estimator for each of them.")
        X = make_pipeline(*steps).transform(X) if steps else X
        columns = dense(terms._transform(read_columns(terms, X, reset=False)))
        columns, weight = columns.astype(np.float64, copy=False), weight / weight.sum()
        alpha = np.asarray(found.alpha_, dtype=np.float64)
        if getattr(found, "standardize", False):
            alpha = alpha * (weight @ np.square(columns - weight @ columns))
        model = cls(
            terms,
            columns,
            weight,
            np.atleast_2d(found.coef_),
            np.atleast_1d(found.intercept_),
            getattr(found, "column_means_", weight @ columns),
            alpha,
            getattr(found, "classes_", None),
            dataframe_of(found),
        )
        return model, X

    @property
    def term_names(self):
        return list(dict.fromkeys(self.terms.term_names_))

    @property
    def scores(self):
        """Predictions or logits, (n_samples, n_scores)."""
        return self.columns @ self.coef.T + self.intercept

    def added(self):
        """What each term adds to each score, (n_scores, n_samples, n_terms)."""
        members = self.terms.term_names_[:, None] == np.array(self.term_names, object)
        centred = self.columns - self.column_means
        return np.stack([centred @ (coef[:, None] * members) for coef in self.coef])

    def of_class(self, name):
        """The same with the scores of one class, and their numbers; of all where it is None."""
        numbers = list(range(len(self.coef)))
        if name is None:
            return self, numbers
        known = [] if self.classes is None else self.classes.tolist()
        if name not in known:
            raise ValueError(f"class_ must be None or one of the classes {known}: got {name!r}.")
        number = known.index(name)
        # Those of the first of two classes are the other's, negative.
        numbers = [number] if len(known) > 2 else [0]
        sign = -1.0 if (len(known), number) == (2, 0) else 1.0
        coef, intercept = sign * self.coef[numbers], sign * self.intercept[numbers]
        classes = self.classes[[number]]
        return replace(self, coef=coef, intercept=intercept, classes=classes), numbers

    @property
    def scale(self):
        """What the scores are of."""
        if self.classes is None:
            return ""
        return "logit" if len(self.classes) > 2 else f"logit of {self.classes[-1]}"

    def joined(self, curves):
        """Those of one term, for each score."""
        if len(curves) == 1:
            return curves[0]
        return ClassCurves(tuple(map(str, self.classes)), curves)

    def posterior(self, y, n_rows, number=0):
        """`Posterior` of the coefficients of one score; `y` are targets, unused for classes."""
        if self.classes is None:
            ones = np.ones(len(self.weight))
            error = self.weight @ np.square(y - self.scores[:, 0])
            found = Posterior.of(self, ones, 1.0 / n_rows)
            free = max(n_rows - 1 - found.influence.sum(), 1.0)
            return replace(found, variance=error / free)
        scores, n_classes = self.scores, len(self.classes)
        if scores.shape[1] == 1:
            probability = expit(scores[:, 0])
            return Posterior.of(self, probability * (1 - probability), 1.0 / n_rows)
        probability = softmax(scores, axis=1)[:, number]
        # Coefficients of all classes sum to 0. Exact for two classes, and for equal probabilities.
        share = (n_classes - 1) / n_classes
        curvature = probability * (1 - probability) / share
        found = Posterior.of(self, curvature, share / n_rows)
        return replace(found, influence=share * found.influence)


@dataclass(frozen=True)
class Posterior:
    """Of the coefficients of a penalized fit; columns of infinite strength have none."""

    used: np.ndarray  # (n_columns,), of bool
    factor: tuple  # Cholesky factor of the Gram matrix and the strengths, of used columns
    variance: float  # what its inverse is multiplied by
    influence: np.ndarray  # (n_columns,), the diagonal of its inverse times the Gram matrix

    @classmethod
    def of(cls, model, curvature, variance):
        """Given the second derivative of each row's loss in its score."""
        used, weight = np.isfinite(model.alpha), model.weight * curvature
        columns, alpha = model.columns[:, used], model.alpha[used]
        centred = columns - weight @ columns / weight.sum()
        gram = (centred * weight[:, None]).T @ centred
        penalized = gram + np.diag(alpha)
        penalized[np.diag_indices_from(penalized)] += LEAST_VARIANCE * np.diag(penalized).max()
        factor = cho_factor(penalized)
        influence = np.zeros(len(used))
        influence[used] = np.einsum("ij,ji->i", cho_solve(factor, np.eye(len(gram))), gram)
        return cls(used, factor, variance, influence)

    def deviation(self, columns, members):
        """Posterior standard deviation of a sum over the columns `members`."""
        full = np.zeros((len(columns), len(self.used)))
        full[:, members] = columns
        full = full[:, self.used]
        squares = np.einsum("ij,ji->i", full, cho_solve(self.factor, full.T))
        return np.sqrt(np.maximum(self.variance * squares, 0.0))


def _steps(before: Any):
    """The steps of nested pipelines, one after the other."""
    if before is None:
        return []
    if not isinstance(before, Pipeline):
        return [] if before == "passthrough" else [before]
    return [one for _, step in before.steps for one in _steps(step)]
