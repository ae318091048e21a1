"""What a fitted HyperCleaningRegressor says of rows."""

from __future__ import annotations

import math

from sklearn.base import RegressorMixin
from sklearn.utils.validation import FLOAT_DTYPES

from ...data._columns import split_columns
from ...data._validation import check_is_fitted, validate_data
from ...linalg._session import threads_for


class PredictionMixin(RegressorMixin):
    """Predictions of the linear model, or of the final estimator in its place."""

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,)
            In the unit of the targets in `fit`.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOAT_DTYPES, reset=False)
        if not hasattr(self, "final_estimator_"):
            return X @ self.coef_ + self.intercept_
        with threads_for(math.inf):
            return self.final_estimator_.predict(X)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, dataframe} of shape (n_samples, n_features)

        y : array-like of shape (n_samples,)
            True targets, or the name of a column of X.

        sample_weight : array-like of shape (n_samples,), default=None
            Or the name of a column of X.

        Returns
        -------
        score : float
            1 is best.
        """
        check_is_fitted(self)
        return super().score(*split_columns(X, y, sample_weight)[1:])

    def to_sklearn(self):
        """The fitted model as a plain regressor of scikit-learn.

        Returns
        -------
        model : LinearRegression, or regressor
            The `final_estimator_` itself where there is one. To predict with: fitted again it would
            learn no weights.
        """
        from sklearn.linear_model import LinearRegression

        check_is_fitted(self)
        if hasattr(self, "final_estimator_"):
            return self.final_estimator_
        return self._twin(LinearRegression, coef_=self.coef_, intercept_=self.intercept_)
