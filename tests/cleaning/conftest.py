"""What tests of the classifier run through."""

import pytest

from skbamm.cleaning.label_quality import _trees


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """Fewer and larger steps of boosting: quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_trees, "TREES_OF_FEW", (20, 0.3))
        yield


@pytest.fixture(params=[True, False], ids=["verified", "none verified"])
def clean(request):
    return request.param


@pytest.fixture(params=["adaptive", "sample"])
def weighting(request):
    return request.param
