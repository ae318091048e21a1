"""Picture of the weights of targets."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from ._display import GRAY, RED, Display
from ._fitted import dataframe_of, unwrapped


@dataclass(eq=False, repr=False)
class TargetWeightDisplay(Display):
    """Learned weights of the targets that are not verified: over predictions, and over residuals.

    On the left given targets over predictions out of their fold, those that are more probably
    wrong than right in red, the others the darker the more they weigh. On the right what weight a
    residual has; of positive targets that differ by more than a factor of 30 a ratio, on
    logarithmic axes.

    `from_estimator` takes a fitted `estimator`, a `HyperCleaningRegressor` or a Pipeline or a
    search that ends in one, and `ax`, as `plot` does.

    Parameters
    ----------
    target : ndarray of shape (n_noisy,)
        Given targets.
    predicted : ndarray of shape (n_noisy,)
        Predictions out of their fold.
    weight : ndarray of shape (n_noisy,)
        Learned weights.
    probability : ndarray of shape (n_noisy,)
        That each target is right.
    index : ndarray of shape (n_noisy,)
        What names each row.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        The panel of predictions, and that of residuals.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        The first of `axes_`, and where it is.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from skbamm import HyperCleaningRegressor
    >>> from skbamm.inspection import TargetWeightDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> y[::10] += 500
    >>> display = TargetWeightDisplay.from_estimator(HyperCleaningRegressor().fit(X, y))
    >>> list(display.frame().columns)
    ['index', 'given_target', 'predicted', 'probability', 'weight', 'is_issue']
    """

    target: np.ndarray
    predicted: np.ndarray
    weight: np.ndarray
    probability: np.ndarray
    _: KW_ONLY
    index: np.ndarray

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the weights of a fitted estimator.

        Returns
        -------
        display : TargetWeightDisplay
            With the numbers behind the picture.

        Raises
        ------
        TypeError
            For an estimator that weighs no targets.
        ValueError
            If the targets of all rows are verified: there is no weight to show.
        """
        estimator, _ = unwrapped(estimator, "target_record_")
        record, noisy = estimator.target_record_, estimator.target_record_.is_noisy
        if not noisy.any():
            raise ValueError("The targets of all rows are verified: no weight was learned.")
        weight = estimator.sample_weight_
        columns = (record.y, record.predicted, weight, record.right)
        display = cls(
            *(column[noisy] for column in columns),
            index=record.rows.names(len(weight))[noisy],
            dataframe=dataframe_of(estimator),
        )
        return display.plot(ax)

    @property
    def is_issue(self):
        """Whether each target is more probably wrong than right."""
        return self.probability < 0.5

    def _columns(self):
        return {
            "index": self.index,
            "given_target": self.target,
            "predicted": self.predicted,
            "probability": self.probability,
            "weight": self.weight,
            "is_issue": self.is_issue,
        }

    @property
    def is_ratio(self):
        """Whether axes are logarithmic: of positive targets that differ by powers of ten."""
        least, most = self.target.min(), self.target.max()
        return bool(least > 0 and most > 30 * least and self.predicted.min() > 0)

    def plot(self, ax=None):
        axes = self._begin(ax, size=(10, 4), n_cols=2)
        self._draw(axes[0], self.predicted, self.target)
        ends = [self.predicted.min(), self.predicted.max()]
        axes[0].plot(ends, ends, color=GRAY, linewidth=1, linestyle=":", zorder=3)
        axes[0].set(xlabel="predicted target (out of its fold)", ylabel="given target")
        axes[0].legend(loc="best", frameon=False, fontsize="small")
        if self.is_ratio:
            across, label = self.target / self.predicted, "given / predicted target"
            axes[0].set(xscale="log", yscale="log")
            axes[1].set(xscale="log")
        else:
            across, label = self.target - self.predicted, "given less predicted target"
        self._draw(axes[1], across, self.weight)
        axes[1].set(xlabel=label, ylabel="weight", ylim=(-0.03, 1.03))
        return self

    def _draw(self, ax, across, up):
        issue = self.is_issue
        order = np.flatnonzero(~issue)
        order = order[np.argsort(self.weight[order], kind="stable")]
        label = f"right: {np.count_nonzero(~issue)}"
        style = {"cmap": "Blues", "vmin": -0.6, "vmax": 1, "s": 12, "label": label}
        ax.scatter(across[order], up[order], c=self.weight[order], **style)
        label = f"more probably wrong: {np.count_nonzero(issue)}"
        ax.scatter(across[issue], up[issue], color=RED, s=12, label=label)
