"""Where torch computes; most of this needs a GPU."""

import numpy as np
import pytest
import torch

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from tests.regularization.regression_data import make_regression
from tests.tools import leaves

DATA = make_regression(80, 6)
LABELS = (DATA.y > np.median(DATA.y)).astype(int)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device")


def regressor(device, **options):
    return BilevelRegularizedRegressor(device=device, **options).fit(DATA.X, DATA.y)


def classifier(device):
    return HyperCleaningClassifier(device=device).fit(DATA.X, LABELS)


@needs_cuda
@pytest.mark.parametrize("fit", [regressor, classifier])
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_gpu_gives_the_fit_of_the_cpu(fit, device):
    found, expected = fit(device), fit(None)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-5, atol=1e-8)
    assert not any(isinstance(leaf, torch.Tensor) for leaf in leaves(vars(found)))


@needs_cuda
@pytest.mark.parametrize("options", [{"penalty": "l1"}, {"exact_zeros": True}], ids=str)
def test_a_gpu_serves_other_penalties(options):
    found, expected = regressor("cuda", **options), regressor(None, **options)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-4, atol=1e-6)


@needs_mps
def test_mps_without_double_precision_is_refused():
    with pytest.raises(ValueError, match="device='mps' cannot be used here"):
        regressor("mps")


@pytest.mark.parametrize("fit", [regressor, classifier])
def test_auto_is_the_cpu_where_there_is_no_gpu(fit, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.testing.assert_array_equal(fit("auto").coef_, fit(None).coef_)


@pytest.mark.parametrize("device", ["cuda:99", "nowhere"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
        regressor(device)
