"""The report on targets: how probably each is right, and what to expect in its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import numpy as np

from ...data._containers import RowContainer
from ...data._validation import check_is_fitted

FLAGGED = 0.5  # more probably wrong than right


@dataclass(frozen=True)
class TargetRecord:
    """What a report on targets is made from; one entry for each row of X."""

    y: np.ndarray
    right: np.ndarray  # probability that the target is right
    predicted: np.ndarray  # out of its fold
    is_noisy: np.ndarray  # not verified
    rows: Any = field(default=RowContainer(), kw_only=True)

    @property
    def is_issue(self):
        return self.is_noisy & (self.right < FLAGGED)

    @property
    def expected(self):
        """Mean of the right target: as given with the probability that it is right."""
        return self.right * self.y + (1 - self.right) * self.predicted

    def fixed(self):
        """See `HyperCleaningRegressor.fix_targets`."""
        values, given = np.where(self.is_issue, self.expected, self.y), self.rows.y
        if given is None:
            return values
        # Suggested targets of integers are none.
        number = values.dtype if given.backend == "pandas" else nw.Float64()
        return replace(given, dtype=number).filled(values)

    def report(self, sample_weight):
        order = np.argsort(self.right, kind="stable")
        columns = {
            "index": self.rows.names(len(self.y)),
            "given_target": self.y,
            "probability": self.right,
            "suggested_target": self.expected,
            "weight": sample_weight,
            "is_issue": self.is_issue,
        }
        return self.rows.table({k: v[order] for k, v in columns.items()}, order)


class TargetReportMixin:
    """What an estimator that has a record of its targets says of them."""

    target_record_: TargetRecord
    sample_weight_: np.ndarray

    def target_report(self):
        """Report on the targets of `fit`, the least probable ones first.

        Returns
        -------
        report : dataframe
            One row for each row of X in `fit`, in the kind of dataframe that X was (else that of
            y, else pandas if it is installed, else a dict of arrays). Columns:

            - "index": of pandas that of X, or of y where X has none; else positions;
            - "given_target";
            - "probability": that the given target is right; 1 of verified ones, 0 of those too far
              off for heavy tails, and 1 of others where no noise model with wrong targets has a
              weight;
            - "suggested_target": the expected right target, between the given one and what is
              predicted out of its fold;
            - "weight": `sample_weight_`;
            - "is_issue": whether the target is more probably wrong than right.
        """
        check_is_fitted(self)
        return self.target_record_.report(self.sample_weight_)

    def fix_targets(self):
        """The targets given in `fit`, those of issues replaced by the suggested ones.

        For models that are to be fitted on all rows instead of on weighted ones. Replaced targets
        are predictions: what they are fitted to seems more regular than it is.

        Returns
        -------
        targets : array of float of shape (n_samples,)
            In the order of y in `fit`, and in the container that y was: a Series (or dataframe
            of one column) with its name and, in pandas, index, or an array of pyarrow; else an
            ndarray.
        """
        check_is_fitted(self)
        return self.target_record_.fixed()
