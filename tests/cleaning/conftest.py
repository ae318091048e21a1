"""What tests of the classifier run through."""

import pytest


@pytest.fixture(params=[True, False], ids=["verified", "none verified"])
def clean(request):
    return request.param


@pytest.fixture(params=["adaptive", "sample"])
def weighting(request):
    return request.param
