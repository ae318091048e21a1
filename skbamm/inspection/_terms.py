"""Picture of the terms of an additive model: what each adds, and how sure that is."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from ..data._columns import split_columns
from ..data._validation import validate_weight
from ..terms._pairs import dense
from ._display import Display, shortened
from ._fitted import dataframe_of, unwrapped
from ._term_curves import Curve, curve_of

# A column that nothing penalizes, nor any row tells from others, has this relative to the largest.
LEAST_VARIANCE = 1e-10


@dataclass(eq=False, repr=False)
class TermDisplay(Display):
    r"""What the terms of an additive model add to its predictions, the strongest first.

    A function of a number is a line with its band, a tick for each twentieth of the rows at its
    foot; the levels of a category are dots; an interaction of two columns is a map, drawn where
    there are rows. All are relative to their mean over the rows.

    Bands are :math:`\pm z` posterior standard deviations of the ridge fit, pointwise: with the
    Gram matrix :math:`G` of the centred columns of all terms (the mean over n rows) and the learned
    strengths :math:`\alpha`, coefficients have the covariance
    :math:`\sigma^2 (G + \operatorname{diag} \alpha)^{-1} / n` [1]_. They take the strengths, and
    which columns interact, as known. The effective degrees of freedom of a term are the sum of
    its diagonal entries of :math:`(G + \operatorname{diag} \alpha)^{-1} G`, and :math:`\sigma^2` is
    the mean squared error, corrected for their total.

    `from_estimator` takes a fitted `estimator`, an `AdditiveRegressor` or a Pipeline or a search
    that ends in one, and the rows of `fit`: `X`, `y` and their `sample_weight`. `level` is the
    coverage of the bands; `terms`, a list of names, are those that are drawn in that order instead
    of the strongest; `max_terms` is that of the class, `ax` that of `plot`. It costs a
    Cholesky decomposition of the Gram matrix.

    Parameters
    ----------
    names : ndarray of str of shape (n_terms,)
        The strongest first.
    curves : list of Curve
        What is drawn of each: `kind` is "number", "category" or "interaction"; `values` are those
        of its column or of both, `effect`, `lower` and `upper` what it adds there and its band.
    deviation : ndarray of shape (n_terms,)
        Standard deviation over the rows of what the term adds, in units of y.
    share : ndarray of shape (n_terms,)
        Its covariance with the prediction, as a fraction of the prediction's variance. Sums
        to 1 over all terms; negative where a term takes back what others add.
    degrees_of_freedom : ndarray of shape (n_terms,)
        Effective ones, of the fit on all columns.
    max_terms : int, default=9
        So many are drawn.

    Attributes
    ----------
    ax_, axes_, figure_ : matplotlib Axes, ndarray of shape (n_drawn,), matplotlib Figure
        Where they are drawn.

    References
    ----------
    .. [1] G. Wahba, "Bayesian 'Confidence Intervals' for the Cross-Validated Smoothing Spline",
           JRSS B 45, 1983; S. N. Wood, "Generalized Additive Models", 2017, section 6.10.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import AdditiveRegressor
    >>> from skbamm.inspection import TermDisplay
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = AdditiveRegressor(interactions=None).fit(X, y)
    >>> display = TermDisplay.from_estimator(model, X, y)
    >>> list(display.frame().columns)
    ['term', 'kind', 'deviation', 'share', 'degrees_of_freedom']
    """

    names: np.ndarray
    curves: list[Curve]
    _: KW_ONLY
    deviation: np.ndarray
    share: np.ndarray
    degrees_of_freedom: np.ndarray
    max_terms: int = 9

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sample_weight=None,
        level=0.95,
        terms=None,
        max_terms=9,
        ax=None,
    ):
        """Draw the terms of a fitted estimator.

        Returns
        -------
        display : TermDisplay
            With the numbers behind the picture.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1: got {level!r}.")
        if isinstance(estimator, TransformedTargetRegressor):
            raise TypeError(
                "Terms in a TransformedTargetRegressor add up to transformed targets: pass its "
                "regressor_, and the targets as that saw them."
            )
        estimator, before = unwrapped(estimator, "predict_terms", "terms_")
        _, X, y, sample_weight = split_columns(X, y, sample_weight)
        X = before.transform(X) if before is not None and len(before) else X
        y = check_array(column_or_1d(y), ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(X, y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = validate_weight(sample_weight, y[:, None], "sample_weight")
        added, known = estimator.predict_terms(X), list(estimator.term_names_)
        deviation, share = _importance(added, weight)
        order = np.argsort(-deviation, kind="stable")
        if terms is not None:
            order = np.array([_position(name, known) for name in terms], dtype=int)
        posterior = _Posterior.of(estimator, X, y, weight)
        members = estimator.terms_.term_names_
        free = np.array([posterior.influence[members == name].sum() for name in known])
        margin = norm.ppf((1 + level) / 2)
        curves = [curve_of(estimator, known[j], X, posterior, margin) for j in order]
        return cls(
            np.array(known, dtype=object)[order],
            curves,
            deviation=deviation[order],
            share=share[order],
            degrees_of_freedom=free[order],
            max_terms=max_terms,
            dataframe=dataframe_of(estimator),
        ).plot(ax)

    def _columns(self):
        return {
            "term": np.asarray(self.names).astype(str),
            "kind": np.array([curve.kind for curve in self.curves]),
            "deviation": self.deviation,
            "share": self.share,
            "degrees_of_freedom": self.degrees_of_freedom,
        }

    def plot(self, ax=None):
        n_drawn = min(len(self.names), self.max_terms)
        if n_drawn < 1:
            raise ValueError(f"max_terms must be 1 or more: got {self.max_terms!r}.")
        n_cols = min(n_drawn, 3)
        n_rows = -(-n_drawn // n_cols)
        # Panels of the last row that are left over are not drawn.
        if ax is None or not isinstance(ax, (list, tuple, np.ndarray)):
            axes = self._begin(ax, size=(3.6 * n_cols, 2.7 * n_rows), n_rows=n_rows, n_cols=n_cols)
            for left in axes[n_drawn:]:
                left.set_axis_off()
            self.axes_ = axes[:n_drawn]
        else:
            self._begin(ax, size=None, n_cols=n_drawn)
        for one, name, curve, share in zip(
            self.axes_, self.names, self.curves, self.share, strict=False
        ):
            curve.draw(one)
            one.set_title(f"{shortened(name, 28)}  ({100 * share:.0f} %)", fontsize=10)
        # In one unit, so that what looks strong is.
        lines = [
            (one, curve.effect)
            for one, curve in zip(self.axes_, self.curves, strict=False)
            if curve.kind == "number"
        ]
        if lines:
            low, high = (end([end(effect) for _, effect in lines]) for end in (np.min, np.max))
            margin = 0.15 * max(high - low, np.finfo(float).tiny)
            for one, _ in lines:
                one.set_ylim(low - margin, high + margin)
        return self


@dataclass(frozen=True)
class _Posterior:
    """Of the coefficients of a ridge fit; columns of infinite strength have none."""

    used: np.ndarray  # (n_columns,), of bool
    factor: tuple  # Cholesky factor of the Gram matrix and the strengths, of used columns
    variance: float  # of the noise, divided by the number of rows
    influence: np.ndarray  # (n_columns,), the diagonal of the matrix from responses to fit

    @classmethod
    def of(cls, estimator, X, y, weight):
        columns = dense(estimator.terms_.transform(X)).astype(np.float64, copy=False)
        alpha = np.asarray(estimator.alpha_, dtype=np.float64)
        used, n_rows = np.isfinite(alpha), weight.sum()
        centred = columns[:, used] - weight @ columns[:, used] / n_rows
        gram = (centred * weight[:, None]).T @ centred / n_rows
        penalized = gram + np.diag(alpha[used])
        penalized[np.diag_indices_from(penalized)] += LEAST_VARIANCE * np.diag(penalized).max()
        factor = cho_factor(penalized)
        influence = np.zeros(len(alpha))
        influence[used] = np.einsum("ij,ji->i", cho_solve(factor, np.eye(len(gram))), gram)
        error = weight @ np.square(y - estimator.predict(X)) / n_rows
        left = max(n_rows - 1 - influence.sum(), 1.0)
        return cls(used, factor, float(error / left), influence)

    def deviation(self, columns, members):
        """Posterior standard deviation of a sum over the columns `members`."""
        full = np.zeros((len(columns), len(self.used)))
        full[:, members] = columns
        full = full[:, self.used]
        squares = np.einsum("ij,ji->i", full, cho_solve(self.factor, full.T))
        return np.sqrt(np.maximum(self.variance * squares, 0.0))


def _importance(added, weight):
    """Standard deviation of each term, and its share of the variance of their sum."""
    weight = weight / weight.sum()
    centred = added - weight @ added
    total = centred.sum(axis=1)
    variance = weight @ np.square(total)
    share = (weight * total) @ centred / variance if variance > 0 else np.zeros(added.shape[1])
    return np.sqrt(weight @ np.square(centred)), share


def _position(name, known):
    if name not in known:
        raise ValueError(f"There is no term {name!r}: terms are {', '.join(map(str, known))}.")
    return known.index(name)
