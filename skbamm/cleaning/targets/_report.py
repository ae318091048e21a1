"""The report on targets: how probably each is right, and what to expect in its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import numpy as np

from ...data._containers import RowContainer

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
