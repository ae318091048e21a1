"""The one door between arrays and tensors; torch is imported when it is first passed."""

from __future__ import annotations

import numpy as np


def resolve_device(device):
    """The torch device of an estimator's ``device`` parameter."""
    import torch

    if device is None:
        return torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.ones(1, dtype=torch.float64, device=resolved).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        # TypeError: "mps" has no double precision, without which folds are no complements.
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return resolved


def to_tensor(array, device=None):
    """A float64 tensor; never a view of memory that the caller may not write to."""
    return to_tensors(device, array)[0]


def to_tensors(device, *arrays):
    """`to_tensor` of each."""
    return [as_tensor(np.array(array, dtype=np.float64, order="C"), device) for array in arrays]


def as_tensor(array, like=None):
    """An array of our own as a tensor on a device, or like a tensor; no copy if that needs none."""
    import torch

    return torch.from_numpy(array).to(like)


def to_numpy(tensor):
    """A NumPy array of its own, on the CPU."""
    return np.array(tensor.detach().cpu().numpy())
