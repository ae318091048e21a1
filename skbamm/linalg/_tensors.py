"""The one door between arrays and tensors, and answers that are kept for a tensor.

torch is imported when the door is first passed.
"""

from __future__ import annotations

import functools
import weakref

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


def memo_last(n_answers=1):
    """Keep a method's latest answers; the same tensor object, not changed since, gets the same.

    Solvers ask both levels about one point, one request after the other. A tensor that carries
    a graph is never remembered, and a copy of the owner begins with nothing.
    """

    def decorate(method):
        name = f"_memo_{method.__name__}"

        @functools.wraps(method)
        def remembered(self, tensor):
            owner, latest = vars(self).get(name, (None, ()))
            if owner is None or owner() is not self:  # what `copy.copy` took along
                latest = ()
            # Tensors of inference mode count no changes: they are not to be changed.
            version = None if tensor.is_inference() else tensor._version
            for known, known_version, answer in latest:
                if known is tensor and known_version == version:
                    return answer
            answer = method(self, tensor)
            if not tensor.requires_grad:
                newest = (tensor, version, answer)
                vars(self)[name] = weakref.ref(self), (newest, *latest[: n_answers - 1])
            return answer

        return remembered

    return decorate
