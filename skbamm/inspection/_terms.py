"""Picture of the terms of an additive model: what each adds, and how sure that is."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.stats import norm
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from ..data._columns import split_columns
from ..data._validation import validate_weight
from ._additive_model import AdditiveModel
from ._display import Display, shortened
from ._term_curves import ClassCurves, Curve, curves_of


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

    Of a classifier terms are parts of logits: of the second of two classes; of more classes each
    has a line or a dot, and a map is that of the class for which it matters most, unless `class_`
    names one. There :math:`G` weighs rows by p (1 - p), p being the probability of the class,
    columns are centred with these weights, and :math:`\sigma^2` is 1 (Laplace). Of K
    classes weights are times K / (K - 1), the covariance divided by that: as if the others were
    equally probable.

    `from_estimator` takes a fitted `estimator`, an `AdditiveRegressor` or `AdditiveClassifier`, a
    Pipeline of `SmoothTerms` and a penalized estimator, or a Pipeline or a search that ends in one,
    and the rows of `fit`: `X`, `y` and their `sample_weight`. `level` is the coverage of the
    bands; `terms`, a list of names, are those that are drawn in that order instead of the
    strongest; `max_terms` is that of the class, `ax` that of `plot`. It costs a Cholesky
    decomposition of the Gram matrix, for each class.

    Parameters
    ----------
    names : ndarray of str of shape (n_terms,)
        The strongest first.
    curves : list of Curve or ClassCurves
        What is drawn of each: `kind` is "number", "category" or "interaction"; `values` are those
        of its column or of both, `effect`, `lower` and `upper` what it adds there and its band. Of
        several classes, `by_class` has one for each.
    deviation : ndarray of shape (n_terms,)
        Standard deviation over the rows of what the term adds, in units of y or of logits; root
        mean square over several classes.
    share : ndarray of shape (n_terms,)
        Its covariance with the prediction, as a fraction of the prediction's variance; of several
        classes the sums of both. Sums to 1 over all terms; negative where a term takes back what
        others add.
    degrees_of_freedom : ndarray of shape (n_terms,)
        Effective ones, of the fit on all columns; their sum over several classes.
    max_terms : int, default=9
        So many are drawn.
    scale : str, default=""
        Of what terms are parts: "logit of yes", "logit", or "" for numbers.

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
    curves: list[Curve | ClassCurves]
    _: KW_ONLY
    deviation: np.ndarray
    share: np.ndarray
    degrees_of_freedom: np.ndarray
    max_terms: int = 9
    scale: str = ""

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
        class_=None,
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
        _, X, y, sample_weight = split_columns(X, y, sample_weight)
        y = column_or_1d(y)
        check_consistent_length(X, y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = validate_weight(sample_weight, y[:, None], "sample_weight")
        model, X = AdditiveModel.of(estimator, X, weight)
        if model.classes is None:
            y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        drawn, numbers = model.of_class(class_)
        posteriors = [model.posterior(y, weight.sum(), number) for number in numbers]
        known, members = model.term_names, model.terms.term_names_
        deviation, share = _importance(drawn.added(), model.weight)
        order = np.argsort(-deviation, kind="stable")
        if terms is not None:
            order = np.array([_position(name, known) for name in terms], dtype=int)
        influence = sum(one.influence for one in posteriors)
        free = np.array([influence[members == name].sum() for name in known])
        margin = norm.ppf((1 + level) / 2)
        curves = [drawn.joined(curves_of(drawn, known[j], X, posteriors, margin)) for j in order]
        return cls(
            np.array(known, dtype=object)[order],
            curves,
            deviation=deviation[order],
            share=share[order],
            degrees_of_freedom=free[order],
            max_terms=max_terms,
            scale=drawn.scale,
            dataframe=model.dataframe,
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
        kinds = [curve.kind for curve in self.curves[:n_drawn]]
        for first in range(0, n_drawn, n_cols):
            if "number" in (row := kinds[first : first + n_cols]):
                self.axes_[first + row.index("number")].set_ylabel(self.scale)
        self._name_classes(n_cols)
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

    def _name_classes(self, n_cols):
        """A legend beside the first row of panels, where there are several classes."""
        with_names = [
            one
            for one, curve in zip(self.axes_, self.curves, strict=False)
            if isinstance(curve, ClassCurves) and curve.kind != "interaction"
        ]
        if with_names:
            last = self.axes_[min(n_cols, len(self.axes_)) - 1]
            handles, labels = with_names[0].get_legend_handles_labels()
            place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
            last.legend(handles, labels, frameon=False, fontsize=8, **place)


def _importance(added, weight):
    """Standard deviation of each term, and its share of the variance of their sum.

    Of several scores the root mean square, and the share of the sum of variances.
    """
    centred = added - np.einsum("i,sij->sj", weight, added)[:, None]
    total = centred.sum(axis=2)
    variance = np.sum(np.square(total) @ weight)
    deviation = np.sqrt(np.einsum("i,sij->sj", weight, np.square(centred)).mean(axis=0))
    share = np.einsum("si,sij->j", weight * total, centred)
    return deviation, share / variance if variance > 0 else np.zeros(added.shape[2])


def _position(name, known):
    if name not in known:
        raise ValueError(f"There is no term {name!r}: terms are {', '.join(map(str, known))}.")
    return known.index(name)
