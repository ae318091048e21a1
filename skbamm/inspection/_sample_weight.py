"""Picture of how far the labels of each class are believed."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from ._display import BLUE, GRAY, RED, Display, shortened
from ._fitted import dataframe_of, unwrapped

N_BINS = 40
# A weight this close to 0 or 1 is a logarithm of rounding.
LEAST = 1e-12


class SampleWeightDisplay(Display):
    r"""Learned weights of the noisy rows by given class, and the function they come from.

    On the left a row of the picture for each given class: how many of its rows have which
    weight. On the right, with ``weighting="adaptive"``, the learned function
    :math:`\sigma(a + b e)` over a histogram of the evidence :math:`e` (log odds that the label is
    right).

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
        Threshold a and slope b of the learned function; None for free weights.
    dataframe : str, default=""
        Kind of dataframe of `frame`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The panel of the classes.
    axes_ : ndarray of matplotlib Axes of shape (1,) or (2,)
    figure_ : matplotlib Figure

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
    ['index', 'given_label', 'weight', 'evidence', 'is_issue']
    """

    def __init__(
        self,
        weight,
        label,
        classes,
        *,
        index,
        is_issue,
        noise_rate,
        function=None,
        dataframe="",
    ):
        self.weight = weight
        self.label = label
        self.classes = classes
        self.index = index
        self.is_issue = is_issue
        self.noise_rate = noise_rate
        self.function = function
        self.dataframe = dataframe

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the weights of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `HyperCleaningClassifier`, or a Pipeline or a search that ends in one.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        display : SampleWeightDisplay
            With the numbers behind the picture.

        Raises
        ------
        ValueError
            If all rows were clean: there is no weight to show.
        """
        estimator, _ = unwrapped(estimator, "sample_weight_", "label_record_")
        record, weight = estimator.label_record_, estimator.sample_weight_
        noisy = record.is_noisy
        if not noisy.any():
            raise ValueError("All rows were clean: no weight was learned.")
        named = record.index.labels
        is_issue = record.is_issue(weight, estimator.noise_rate_)
        names = estimator.hyper_names_
        display = cls(
            weight[noisy],
            record.labels[noisy],
            estimator.classes_,
            index=(np.arange(len(weight)) if named is None else named)[noisy],
            is_issue=is_issue[noisy],
            noise_rate=estimator.class_noise_rate_,
            function=tuple(map(float, estimator.hyper_[:2])) if "threshold" in names else None,
            dataframe=dataframe_of(estimator),
        )
        return display.plot(ax)

    @property
    def evidence(self):
        """Log odds that the labels are right, recovered from the weights; NaN for free ones."""
        if self.function is None:
            return np.full(len(self.weight), np.nan)
        threshold, slope = self.function
        return (_log_odds(self.weight) - threshold) / slope

    def _learned(self, points):
        """The learned function."""
        threshold, slope = self.function
        return expit(threshold + slope * points)

    def _columns(self):
        columns = {
            "index": self.index,
            "given_label": self.classes[self.label],
            "weight": self.weight,
            "evidence": self.evidence,
            "is_issue": self.is_issue,
        }
        if self.function is None:
            del columns["evidence"]
        return columns

    def plot(self, ax=None):
        """Draw the weights of each class, and the learned function.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw; a single Axes is split. None makes a new figure.

        Returns
        -------
        self : SampleWeightDisplay
            With `ax_` and `figure_`.
        """
        n_panels = 1 if self.function is None else 2
        n_classes = max(len(self.classes), 5)
        height = 1.6 + (0.32 if n_classes <= 20 else 0.2) * n_classes
        axes = self._begin(ax, size=(5.6 * n_panels, height), n_cols=n_panels)
        self._draw_classes(axes[0])
        if n_panels == 2:
            self._draw_function(axes[1])
        return self

    def _draw_classes(self, ax):
        from matplotlib.colors import LogNorm

        edges = np.linspace(0, 1, N_BINS + 1)
        shown = [c for c in range(len(self.classes)) if (self.label == c).any()]
        counts = np.array([np.histogram(self.weight[self.label == c], edges)[0] for c in shown])
        rows = np.arange(len(shown) + 1) - 0.5
        image = ax.pcolormesh(
            edges,
            rows,
            np.ma.masked_equal(counts, 0),
            cmap="Blues",
            norm=LogNorm(0.3, max(counts.max(), 2)),  # a single row is to be seen
        )
        bar = self.figure_.colorbar(image, ax=ax, label="rows (log scale)", pad=0.02)
        bar.ax.set_ylim(1, None)
        for row, c in enumerate(shown):
            text = f"{100 * self.noise_rate[c]:.0f} % of {counts[row].sum()}"
            beside = ax.get_yaxis_transform()
            ax.text(1.02, row, text, va="center", transform=beside, fontsize="small")
        ax.text(1.02, 1.01, "wrong (est.)", va="bottom", transform=ax.transAxes, fontsize="small")
        ax.set_yticks(range(len(shown)), [shortened(self.classes[c], 24) for c in shown])
        ax.set_ylim(len(shown) - 0.5, -0.5)
        ax.hlines(rows[1:-1], 0, 1, color="white", linewidth=2)
        ax.set_xlim(0, 1)
        ax.set_xlabel("learned weight")
        ax.set_ylabel("given label")

    def _draw_function(self, ax):
        evidence = self.evidence
        low, high = np.clip([evidence.min(), evidence.max()], -15, 15)
        edges = np.linspace(low, high, N_BINS + 1)
        rows = ax.twinx()
        inside = evidence.clip(low, high)
        for part, color, label in (
            (~self.is_issue, BLUE, "other noisy rows"),
            (self.is_issue, RED, "issues"),
        ):
            rows.hist(inside[part], edges, color=color, alpha=0.45, label=label)
        rows.set_yscale("log")
        rows.set_ylim(0.8, 4 * rows.get_ylim()[1])  # room for the legend
        rows.set_ylabel("rows (log scale)")
        points = np.linspace(low, high, 300)
        ax.plot(points, self._learned(points), color="black", linewidth=2)
        ax.axhline(0.5, color=GRAY, linewidth=0.8, linestyle=":")
        ax.set_zorder(rows.get_zorder() + 1)
        ax.patch.set_visible(False)
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel("evidence for the given label (log odds)")
        ax.set_ylabel("learned weight")
        rows.legend(loc="upper left", frameon=False, fontsize="small")


def _log_odds(weight):
    weight = np.clip(weight, LEAST, 1 - LEAST)
    return np.log(weight / (1 - weight))
