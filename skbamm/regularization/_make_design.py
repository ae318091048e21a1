"""Which way of handling the data suits their shape."""

from __future__ import annotations

from ._design import GramDesign, RowDesign
from ._large_design import SharedGramDesign

# With more features than that, memory counts on the Gram path, and eigenvectors cost more than a
# few Cholesky factors,
LARGE = 300
# unless each of many targets needs a ridge path of its own.
FEW_TARGETS = 8


def make_design(data, folds, validation=None, **options):
    """Rows where there are more features than rows, Gram matrices elsewhere."""
    if data.n_features > len(data):
        return RowDesign(data, folds, validation, **options)
    is_partition = validation is None and folds.is_partition
    if is_partition and data.n_features > LARGE and data.n_targets <= FEW_TARGETS:
        return SharedGramDesign(data, folds, validation, **options)
    return GramDesign(data, folds, validation, **options)
