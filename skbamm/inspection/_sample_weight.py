"""Picture of the label weights by given class."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from scipy.special import expit, logit

from ._display import BLUE, GRAY, RED, Display, shortened
from ._fitted import dataframe_of, unwrapped

N_BINS = 40
# A weight this close to 0 or 1 is a logarithm of rounding.
LEAST = 1e-12


@dataclass(eq=False, repr=False)
class SampleWeightDisplay(Display):
    r"""Learned weights of the noisy rows by given class, and the function they come from.

    On the left a row of the picture for each given class: how many of its rows have which
    weight. On the right, with ``weighting="adaptive"``, the learned function
    :math:`\sigma(a + b e)` over a histogram of the label quality score :math:`e` (log posterior
    odds that the given label is right).

    `from_estimator` takes a fitted `estimator`, a `HyperCleaningClassifier` or a Pipeline or a
    search that ends in one, and `ax`, as `plot` does.

    Parameters
    ----------
    weight : ndarray of shape (n_noisy,)
        Learned weights.
    label : ndarray of int of shape (n_noisy,)
        Position of the given label in `classes`.
    classes : ndarray of shape (n_classes,)
        Class labels.
    index : ndarray of shape (n_noisy,)
        What names each row.
    is_issue : ndarray of bool of shape (n_noisy,)
        As in `HyperCleaningClassifier.label_report`.
    noise_rate : ndarray of shape (n_classes,)
        Estimated share of wrong labels among the noisy rows of each given class.
    function : tuple of two floats or None, default=None
        Intercept a and slope b of the learned function; None for free weights.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (1,) or (2,)
        The panel of the classes, and that of the function.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        The first of `axes_`, and where it is.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_wine
    >>> from skbamm import HyperCleaningClassifier
    >>> from skbamm.inspection import SampleWeightDisplay
    >>> X, y = load_wine(return_X_y=True)
    >>> given = y.copy()
    >>> given[::10] = (y[::10] + 1) % 3
    >>> model = HyperCleaningClassifier().fit(X, given, is_clean=np.arange(len(y)) % 3 == 1)
    >>> display = SampleWeightDisplay.from_estimator(model)
    >>> list(display.frame().columns)
    ['index', 'given_label', 'weight', 'label_quality', 'is_issue']
    """

    weight: np.ndarray
    label: np.ndarray
    classes: np.ndarray
    _: KW_ONLY
    index: np.ndarray
    is_issue: np.ndarray
    noise_rate: np.ndarray
    function: tuple[float, float] | None = None

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the weights of a fitted estimator.

        Returns
        -------
        display : SampleWeightDisplay
            With the numbers behind the picture.

        Raises
        ------
        TypeError
            For any other estimator: there are no labels.
        ValueError
            If the labels of all rows are verified: there is no weight to show.
        """
        estimator, _ = unwrapped(estimator, "sample_weight_")
        if not hasattr(estimator, "label_record_"):
            raise TypeError(
                "SampleWeightDisplay is for weights of labels: it takes a fitted "
                "HyperCleaningClassifier, or a Pipeline or a search that ends in one, not "
                f"{type(estimator).__name__}."
                + (
                    " TargetWeightDisplay draws these."
                    if hasattr(estimator, "target_record_")
                    else ""
                )
            )
        record, weight = estimator.label_record_, estimator.sample_weight_
        noisy = record.is_noisy
        if not noisy.any():
            raise ValueError("The labels of all rows are verified: no weight was learned.")
        is_function = "slope" in estimator.hyper_names_
        function = tuple(estimator.hyper_[:2].tolist()) if is_function else None
        display = cls(
            weight[noisy],
            record.labels[noisy],
            estimator.classes_,
            index=record.rows.names(len(weight))[noisy],
            is_issue=record.is_issue()[noisy],
            noise_rate=estimator.class_noise_rate_,
            function=function,
            dataframe=dataframe_of(estimator),
        )
        return display.plot(ax)

    @property
    def label_quality(self):
        """Log posterior odds of the labels, recovered from the weights; NaN for free ones."""
        if self.function is None:
            return np.full(len(self.weight), np.nan)
        intercept, slope = self.function
        return (logit(np.clip(self.weight, LEAST, 1 - LEAST)) - intercept) / slope

    def _columns(self):
        known = {} if self.function is None else {"label_quality": self.label_quality}
        return {
            "index": self.index,
            "given_label": self.classes[self.label],
            "weight": self.weight,
            **known,
            "is_issue": self.is_issue,
        }

    def plot(self, ax=None):
        n_panels = 1 if self.function is None else 2
        n_classes = max(len(self.classes), 5)
        height = 1.6 + (0.32 if n_classes <= 20 else 0.2) * n_classes
        axes = self._begin(ax, size=(5.6 * n_panels, height), n_cols=n_panels)
        self._draw_classes(axes[0])
        if self.function is not None:
            self._draw_function(axes[1], *self.function)
        return self

    def _draw_classes(self, ax):
        from matplotlib.colors import LogNorm

        edges = np.linspace(0, 1, N_BINS + 1)
        shown = [c for c in range(len(self.classes)) if (self.label == c).any()]
        counts = np.array([np.histogram(self.weight[self.label == c], edges)[0] for c in shown])
        rows = np.arange(len(shown) + 1) - 0.5
        norm = LogNorm(0.3, max(counts.max(), 2))  # a single row is to be seen
        image = ax.pcolormesh(edges, rows, np.ma.masked_equal(counts, 0), cmap="Blues", norm=norm)
        bar = self.figure_.colorbar(image, ax=ax, label="rows (log scale)", pad=0.02)
        bar.ax.set_ylim(1, None)
        for row, c in enumerate(shown):
            text = f"{100 * self.noise_rate[c]:.0f} % of {counts[row].sum()}"
            beside = ax.get_yaxis_transform()
            ax.text(1.02, row, text, va="center", transform=beside, fontsize="small")
        ax.text(
            1.02, 1.01, "estimated wrong:", va="bottom", transform=ax.transAxes, fontsize="small"
        )
        ax.set_yticks(range(len(shown)), [shortened(self.classes[c], 24) for c in shown])
        ax.hlines(rows[1:-1], 0, 1, color="white", linewidth=2)
        ax.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
        ax.set(xlabel="label weight", ylabel="given label")

    def _draw_function(self, ax, intercept, slope):
        quality = self.label_quality
        low, high = np.clip([quality.min(), quality.max()], -15, 15)
        edges = np.linspace(low, high, N_BINS + 1)
        rows = ax.twinx()
        inside = quality.clip(low, high)
        for part, color, label in (
            (~self.is_issue, BLUE, "other noisy rows"),
            (self.is_issue, RED, "label issues"),
        ):
            rows.hist(inside[part], edges, color=color, alpha=0.45, label=label)
        rows.set_yscale("log")
        rows.set_ylim(0.8, 4 * rows.get_ylim()[1])  # room for the legend
        rows.set_ylabel("rows (log scale)")
        points = np.linspace(low, high, 300)
        ax.plot(points, expit(intercept + slope * points), color="black", linewidth=2)
        ax.axhline(0.5, color=GRAY, linewidth=0.8, linestyle=":")
        ax.set_zorder(rows.get_zorder() + 1)
        ax.patch.set_visible(False)
        label = "label quality score (log posterior odds)"
        ax.set(ylim=(-0.02, 1.02), xlabel=label, ylabel="label weight")
        rows.legend(loc="upper left", frameon=False, fontsize="small")
