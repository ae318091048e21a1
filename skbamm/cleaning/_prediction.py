"""What a fitted HyperCleaningClassifier says of rows: classes, probabilities, label weights."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import FLOAT_DTYPES

from ..data._columns import split_columns
from ..data._validation import available_if, check_is_fitted, validate_data
from ..linalg._cross_products import row_blocks
from ..linalg._session import openmp_threads_for
from ._constants import WORK_OF_ENTRY, LabelNumbers
from ._final_estimator import (
    class_probabilities,
    class_scores,
    final_estimator_has,
    given_estimator,
    saw_all,
)
from ._input import label_positions


def _weighs_others(estimator):
    """For `available_if`: a weight of its own for each row says nothing about others."""
    if estimator.weighting != "adaptive":
        raise AttributeError(
            f"weigh needs weighting='adaptive': weighting={estimator.weighting!r} learns nothing "
            "that scores other rows."
        )


class PredictionMixin(ClassifierMixin):
    """Predictions of the linear model, or of the final estimator in its place."""

    @available_if(final_estimator_has("decision_function"))
    def decision_function(self, X):
        """Confidence scores for each class.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Of the second class where there are two.
        """
        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            return self._final(class_scores, X, self.classes_)
        return self._scores(X)

    def predict(self, X):
        """Predict classes.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels in `classes_`.
        """
        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            return self._final(lambda final, X: final.predict(X), X)
        scores = self._scores(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(1)]

    @available_if(final_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Predict probabilities of the classes.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            return self._final(class_probabilities, X, self.classes_)
        scores = self._scores(X)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        return softmax(scores, axis=1)

    @available_if(final_estimator_has("predict_proba"))
    def predict_log_proba(self, X):
        """Predict logarithms of the probabilities of the classes.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def score(self, X, y, sample_weight=None):
        """Share of rows whose class is predicted.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,)
            True labels, or the name of a column of X.

        sample_weight : array-like of shape (n_samples,), default=None
            Or the name of a column of X.

        Returns
        -------
        score : float
            Accuracy; 1 is best.
        """
        check_is_fitted(self)
        return super().score(*split_columns(X, y, sample_weight)[1:])

    def to_sklearn(self):
        """The fitted model as a plain classifier of scikit-learn.

        It predicts the same without skbamm, and sklearn-onnx converts it;
        `skbamm.export.to_sklearn` does so inside of pipelines, searches and ensembles.

        Returns
        -------
        model : LogisticRegression, or classifier
            The `final_estimator_` itself where there is one; it knows columns by position. To
            predict with: fitted again it would learn no weights.

        Raises
        ------
        ValueError
            If `final_estimator_` has not seen all of `classes_`, in their order.
        """
        from sklearn.linear_model import LogisticRegression

        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            if not saw_all(self.final_estimator_, self.classes_):
                raise ValueError(
                    "There is no plain copy of this model: final_estimator_ has the classes "
                    f"{np.asarray(self.final_estimator_.classes_).tolist()} of "
                    f"{self.classes_.tolist()}, no label of the others having a weight, and no "
                    "columns for these. Fit without rows of such classes."
                )
            return self.final_estimator_
        return self._twin(
            LogisticRegression,
            classes_=self.classes_,
            coef_=self.coef_,
            intercept_=self.intercept_,
            n_iter_=np.array([self.n_iter_]),
        )

    @available_if(_weighs_others)
    def weigh(self, X, y):
        """Weigh the labels of rows that were not in `fit`.

        Models and learned numbers are those of `fit`: nothing is learned from these rows, so that
        a table can be weighed in blocks. For rows that were in `fit` it is optimistic.
        `pred_probs` of `fit` take no part: these rows have none. With `votes` in `fit`, each label
        is one vote.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,)
            Given labels, all of them in `classes_`; or the name of a column of X.

        Returns
        -------
        sample_weight : ndarray of shape (n_samples,)
            In [0, 1], as `sample_weight_`.

        Raises
        ------
        ValueError
            For labels that were not in `fit`.
        """
        check_is_fitted(self)
        _, X, y = split_columns(X, y)
        X = self._validated_features(X)
        scored = self.label_scorer_.score(X, label_positions(y, X, self.classes_))
        return expit(LabelNumbers.unpack(self.hyper_).logit(scored.log_odds))

    def __getattr__(self, name):
        if name in ("coef_", "intercept_") and "final_estimator_" in vars(self):
            raise AttributeError(
                f"There is no {name}: boosted trees have a weight in this model. Its linear part: "
                'final_estimator_.named_estimators_.get("linear"); final_estimator="linear" fits '
                "without trees."
            )
        return super().__getattribute__(name)  # raises what was wrong

    def _validated_features(self, X):
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOAT_DTYPES, reset=False)
        # Boosted trees, which take no sparse rows, were not grown from any.
        return X.toarray() if sparse.issparse(X) and not hasattr(self, "coef_") else X

    def _final(self, function, X, *args):
        """What a function finds of the final estimator and X."""
        X = self._validated_features(X)
        is_users = given_estimator(self) is not None
        with openmp_threads_for(math.inf if is_users else WORK_OF_ENTRY * X.size):
            return function(self.final_estimator_, X, *args)

    def _scores(self, X):
        X = self._validated_features(X)
        # Products of other precision than the coefficients' would copy all of X.
        blocks = (X[rows] for rows in row_blocks(*X.shape))
        products = [safe_sparse_dot(block, self.coef_.T, dense_output=True) for block in blocks]
        scores = np.concatenate(products) + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores
