"""What estimators whose `fit` takes times, sources and annotators of rows share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data._tables import as_table
from ..data._validation import check_is_fitted
from ._columns import RowColumns
from ._record import RowWeights

if TYPE_CHECKING:
    from .._base import BilevelEstimator as _Base
else:
    _Base = object

__all__ = ["RowColumns", "RowWeightMixin", "dataframe_of"]


def dataframe_of(estimator):
    """Kind of dataframe that an estimator was fitted on; "" for none."""
    for name in ("label_record_", "target_record_"):
        if hasattr(estimator, name):
            return getattr(estimator, name).rows.backend
    return getattr(estimator, "dataframe_", "")


class RowWeightMixin(_Base):
    """Learns weights of rows before the rest of a fit, and tells of them."""

    # Whether `sample_weight_` is of labels, which these weights multiply.
    _weighs_labels = False
    status_: str

    def _learn_row_weights(self, X, y, weight, columns, *, classes=False):
        """`RowWeights` of validated rows, stored too; None where nothing is said of rows.

        y are targets, 2-D, or numbers of `classes`.
        """
        self._forget_row_weights()
        if not columns:
            return None
        from ..linalg._session import threads_for, torch_session
        from ._learn import RunOptions, learn_row_weights

        checked = columns.checked(len(y))
        run = RunOptions(self.solver, self.max_iter)
        labels = None
        if classes:
            # The Brier score of a linear model stands for whatever is fitted with the weights.
            labels, y = y, np.eye(int(y.max()) + 1)[y]
        options = {"labels": labels, "seed": self._seed()}
        with torch_session(), threads_for(X.shape[0] * X.shape[1] ** 2):
            found = learn_row_weights(X, y, weight, checked, run, **options)
        self.row_weights_ = found
        if not self._weighs_labels:
            self.sample_weight_ = found.weight.copy()
        return found

    def _describe_row_weights(self):
        """`status_` says what was found, or that nothing was."""
        found = getattr(self, "row_weights_", None)
        if found is not None and found.status:
            self.status_ = f"{self.status_}; {found.status}"

    def _forget_row_weights(self):
        """Of a fit before."""
        for name in ("row_weights_", *(() if self._weighs_labels else ("sample_weight_",))):
            self.__dict__.pop(name, None)

    def row_weight_report(self):
        """Report what was learned of rows from `time`, `row_source` and `annotator`.

        Returns
        -------
        report : dataframe
            In the kind of dataframe that X was in `fit`, else pandas if it is installed, else a
            dict of arrays. A row for each source, each annotator and each tenth of the rows by age:

            - "kind": "time", "source" or "annotator";
            - "name": of sources the target is the first, by its name if `target_source` gave it;
            - "n_rows";
            - "weight": mean of the kind's own weight over these rows, relative to that of all;
            - "level": what was taken off targets of a source or annotator, mean over the targets.

        Raises
        ------
        AttributeError
            If `fit` was told nothing of rows.

        Notes
        -----
        Shares of the weightings in the mean are in ``row_weights_.parts``: `average` of each kind.
        """
        check_is_fitted(self)
        found = getattr(self, "row_weights_", None)
        if not isinstance(found, RowWeights):
            raise AttributeError(
                "There is no report of row weights: fit got none of time=, row_source= and "
                "annotator=."
            )
        return as_table(found.columns(), dataframe_of(self))
