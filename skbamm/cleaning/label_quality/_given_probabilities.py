"""Label quality from probabilities that a model of the user's predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d

from .._constants import LEAST_GAIN, LEAST_PLAIN_ODDS, PAIR_COUNT, SINGLE_PRIOR, TINY
from .._input import label_columns
from .._report import ClassSums, LabelRecord, label_posterior
from .._rows import LabelRows
from ._given_noise import GivenNoise, fit_given_noise
from ._scores import as_counts, fit_noise_model, label_likelihood, mixing_weights

# How far the probabilities of a row may add up to something else than 1.
SUM_TOL = 1e-2


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
        sorted labels, unless `classes` names them. Rows sum to 1.
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
    likely = noise.posterior(predictions, rows.labels)
    posterior = label_posterior(rows.labels, None, predictions, noise)
    right = np.where(rows.is_clean, 1.0, posterior.right)
    sums = ClassSums.of(rows, right, likely)
    rates = sums.noise_rates
    columns = LabelRecord.columns(rows, likely, posterior, right)
    is_issue = LabelRecord(*columns, noise_rates=rates, is_told=sums.is_told).is_issue()
    replaced = posterior.is_rather_wrong & ~rows.is_clean
    return LabelScores(
        score=right,
        suggested_label=rows.classes[np.where(replaced, posterior.other, rows.labels)],
        is_issue=is_issue,
        noise_transition_matrix=noise.transition,
        noise_rate=sums.noise_rate,
        class_noise_rate=rates,
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
    predictions = check_array(pred_probs, dtype=np.float64, input_name="pred_probs")
    check_consistent_length(labels, predictions)
    labels, weight, is_clean = label_columns(predictions, labels, sample_weight, is_clean)
    known, n_columns = np.unique(labels), predictions.shape[1]
    names = known if classes is None else column_or_1d(classes)
    if len(names) != n_columns:
        raise ValueError(
            f"pred_probs must have a column for each class: got {n_columns} columns for "
            f"{len(names)} classes. Where some class has no label, name all of them by classes=."
        )
    if len(names) < 2 or (np.sort(names) != names).any() or len(np.unique(names)) < len(names):
        raise ValueError(
            "classes must be two or more different names in ascending order, as the columns of "
            f"scikit-learn's predict_proba are: got {names.tolist()[:10]}."
        )
    unknown = np.setdiff1d(known, names)
    if len(unknown):
        raise ValueError(f"labels has values that classes does not name: {unknown[:5].tolist()}.")
    off = np.abs(predictions.sum(axis=1) - 1).max()
    if predictions.min() < 0 or off > SUM_TOL:
        raise ValueError(
            "pred_probs must be probabilities, rows of which add up to 1: got values from "
            f"{predictions.min():.3g} to {predictions.max():.3g}, sums off by up to {off:.3g}. "
            "Logits and votes are none yet."
        )
    positions = np.searchsorted(names, labels)
    return LabelRows(None, positions, weight, is_clean, len(labels), names), predictions
