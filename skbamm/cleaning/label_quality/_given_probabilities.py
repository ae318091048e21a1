"""Label quality from probabilities that a model of the user's predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import column_or_1d

from ...data._tables import columns_by_name
from .._constants import LEAST_GAIN, LEAST_PLAIN_ODDS, PAIR_COUNT, SINGLE_PRIOR, TINY
from .._input import label_columns, require_columns, validated_probabilities
from .._report import ClassSums, LabelRecord, true_classes
from .._rows import LabelRows
from .._unlabelled import refuse_gaps
from ._given_noise import GivenNoise, fit_given_noise
from ._scores import as_counts, fit_noise_model, label_likelihood, mixing_weights


@dataclass(frozen=True, repr=False)
class LabelScores:
    """What `label_quality` found; arrays have one entry for each row unless a shape is given.

    Attributes
    ----------
    score : ndarray of shape (n_samples,)
        Probability that the given label is right, in [0, 1]; 1 for rows with verified labels.
    suggested_label : ndarray of shape (n_samples,)
        The most probable label, given the row and its label: the given one where it is right with
        the highest probability, and of rows with verified labels.
    suggested_probability : ndarray of shape (n_samples,)
        Probability that the suggested label is right.
    is_issue : ndarray of shape (n_samples,)
        Whether a label is flagged: of each class the labels with the lowest scores, as many as its
        noise rate says.
    noise_transition_matrix : ndarray of shape (n_classes, n_classes)
        Probability of a given label (column) for each true class (row); rows sum to 1.
    noise_rate : float
        Share of wrong labels among the rows whose labels are not verified, by weight.
    class_noise_rate : ndarray of shape (n_classes,)
        The same among the rows with each given label.
    classes : ndarray of shape (n_classes,)
        Names of the classes, in the order of the columns of `pred_probs`.
    """

    score: np.ndarray
    suggested_label: np.ndarray
    suggested_probability: np.ndarray
    is_issue: np.ndarray
    noise_transition_matrix: np.ndarray
    noise_rate: float
    class_noise_rate: np.ndarray
    classes: np.ndarray

    def __repr__(self):
        return (
            f"LabelScores({len(self.score)} labels, {self.is_issue.sum()} issues, "
            f"noise_rate={self.noise_rate:.3g})"
        )


def label_quality(labels, pred_probs, *, is_clean=None, sample_weight=None, classes=None):
    """How probably each label is right, from out-of-fold predictions of any classifier.

    Predictions are calibrated first, then Bayes' rule with a noise transition matrix takes the
    given label into account. Where rows with verified labels are marked, they calibrate the
    predictions, by one inverse temperature, and the matrix is estimated by
    expectation-maximisation. Where none is, scores, biases of classes and the noise are those that
    make the given labels likeliest (robust logistic regression [1]_): overlapping classes and wrong
    labels both make a model unsure, but only wrong labels contradict predictions that are sure.
    Where given labels are not clearly likelier with noise than without, rates are 0.
    A model so flexible that it predicts the noise itself leaves no trace of it: mark some
    verified rows then.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Given labels, some of them wrong.
    pred_probs : array-like of shape (n_samples, n_classes)
        Predicted probabilities, from models that have not seen the row (as of
        ``cross_val_predict(..., method="predict_proba")``). Columns are in the order of the
        sorted labels, or of `classes`; those of a dataframe that are named as these in any order.
        Rows sum to 1.
    is_clean : array-like of shape (n_samples,), default=None
        True for rows whose labels are verified. The models may have learned from all labels.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of rows, of which only ratios count; rows of weight 0 only get a score.
    classes : array-like of shape (n_classes,), default=None
        Names of the columns of `pred_probs`, in ascending order; needed where some class has no
        label.

    Returns
    -------
    quality : LabelScores
        Scores, suggested labels, flags, noise rates and the noise transition matrix.

    Raises
    ------
    ValueError
        If lengths differ, columns and classes do not match, or probabilities are not such.

    Notes
    -----
    The cost is a few dozen passes over `pred_probs`; nothing is fitted to X.

    References
    ----------
    .. [1] Bootkrajang, Kaban, "Label-Noise Robust Logistic Regression and Its Applications",
       ECML 2012, doi:10.1007/978-3-642-33460-3_15.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_predict
    >>> from skbamm import label_quality
    >>> X, y = load_iris(return_X_y=True)
    >>> labels = y.copy()
    >>> labels[::10] = (y[::10] + 1) % 3  # one label in ten is wrong
    >>> model = LogisticRegression(max_iter=1000)
    >>> pred_probs = cross_val_predict(model, X, labels, method="predict_proba")
    >>> quality = label_quality(labels, pred_probs)
    >>> fixed = quality.suggested_label
    >>> bool((fixed == y).mean() > (labels == y).mean())
    True
    """
    rows, predictions = _validated(labels, pred_probs, is_clean, sample_weight, classes)
    noise = _noise(rows, predictions)
    likely = true_classes(rows, None, predictions, noise)
    sums = ClassSums.of(rows, likely, likely)
    known = {"noise_rates": sums.noise_rates, "is_told": sums.is_told}
    record = LabelRecord(*LabelRecord.columns(rows, likely), **known)
    suggested, probability = record.suggested(np.zeros(len(likely), dtype=bool))
    return LabelScores(
        score=record.right,
        suggested_label=rows.classes[suggested],
        suggested_probability=probability,
        is_issue=record.is_issue(),
        noise_transition_matrix=sums.noise_transition_matrix,
        noise_rate=sums.noise_rate,
        class_noise_rate=sums.noise_rates,
        classes=rows.classes,
    )


def _noise(rows, predictions) -> GivenNoise:
    """How labels that are not verified are given, and the scale of the predictions."""
    used = rows.weight > 0
    noisy, verified = np.flatnonzero(used & ~rows.is_clean), np.flatnonzero(used & rows.is_clean)
    given = predictions[noisy], rows.labels[noisy], rows.weight[noisy]
    if not len(verified):
        # Rows come without folds: how much likelier labels are with noise has no standard error.
        return fit_given_noise(*given, np.zeros(len(noisy), dtype=int), rows.is_clean[noisy])
    factor, _ = mixing_weights(
        np.log(np.maximum(predictions[verified], LEAST_PLAIN_ODDS))[None],
        rows.labels[verified],
        as_counts(rows.weight[verified]),
        initial=np.ones(1),
        precision=SINGLE_PRIOR,
    )
    calibrated = GivenNoise.none(float(factor[0]), rows.n_classes)
    if not len(noisy):
        return calibrated
    probabilities, labels, weight = calibrated.probabilities(given[0]), given[1], given[2]
    found = fit_noise_model(probabilities, labels, weight, pseudo_count=PAIR_COUNT)
    # Predictions that tell nothing tell nothing of noise either.
    own = probabilities[np.arange(len(labels)), labels]
    likelier = np.log(
        (probabilities * label_likelihood(found.transition, labels)).sum(axis=1) + TINY
    )
    gain = as_counts(weight) @ (likelier - np.log(own + TINY))
    return replace(calibrated, transition=found.transition) if gain > LEAST_GAIN else calibrated


def _validated(labels, pred_probs, is_clean, sample_weight, classes):
    """The rows, without X, and the predictions."""
    labels = column_or_1d(labels, warn=True)
    refuse_gaps(labels, "labels", "Leave them out.")
    predictions = validated_probabilities(pred_probs, len(labels))
    labels, weight, is_clean = label_columns(predictions, labels, sample_weight, is_clean)
    known = np.unique(labels)
    names = known if classes is None else column_or_1d(classes)
    advice = "Where some class has no label, name all of them by classes=."
    require_columns(predictions, names, advice)
    if len(names) < 2 or (np.sort(names) != names).any() or len(np.unique(names)) < len(names):
        raise ValueError(
            "classes must be two or more different names in ascending order, as the columns of "
            f"scikit-learn's predict_proba are: got {names.tolist()[:10]}."
        )
    unknown = np.setdiff1d(known, names)
    if len(unknown):
        raise ValueError(f"labels has values that classes does not name: {unknown[:5].tolist()}.")
    predictions = predictions[:, columns_by_name(pred_probs, names.tolist(), "pred_probs")]
    positions = np.searchsorted(names, labels)
    return LabelRows(None, positions, weight, is_clean, len(labels), names), predictions
