"""Several processes that work as one: what they must be able to do, in three methods."""

from __future__ import annotations

import pickle
import time
from datetime import timedelta
from typing import Any

import numpy as np


class Collective:
    """A group of processes, each holding some of the rows.

    All of them call the same methods in the same order. Anything with these three methods will do;
    it should raise in all processes when one of them is gone.
    """

    def rank(self) -> int:
        """Tell the number of this process.

        Returns
        -------
        rank : int
            From 0.
        """
        raise NotImplementedError

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        """Add up the arrays of all processes.

        Parameters
        ----------
        array : ndarray of float64, int64 or uint8
            Of the same shape and dtype everywhere; it stays as it is.

        Returns
        -------
        total : ndarray
            A new array, the same to the last bit in each process.
        """
        raise NotImplementedError

    def broadcast(self, value: Any) -> Any:
        """Pass a value from process 0 to all others.

        Parameters
        ----------
        value : object
            Picklable in process 0, of no matter elsewhere.

        Returns
        -------
        value : object
            That of process 0.
        """
        raise NotImplementedError


class LocalCollective(Collective):
    """A single process."""

    def rank(self):
        return 0

    def all_reduce_sum(self, array):
        return np.array(array)

    def broadcast(self, value):
        return value


class TorchCollective(Collective):
    """A group of `torch.distributed`, started by whoever runs the processes.

    Parameters
    ----------
    group : ProcessGroup, default=None
        None for the default group, of ``init_process_group``.
    device : str or torch.device, default="cpu"
        Where the backend moves tensors: "cpu" for gloo, "cuda" for nccl.
    """

    def __init__(self, group=None, device="cpu"):
        import torch.distributed

        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise ValueError(
                "torch.distributed has no process group: call "
                "torch.distributed.init_process_group first, as torchrun's recipe says."
            )
        self.group = group
        self.device = device

    def rank(self):
        import torch.distributed

        return torch.distributed.get_rank(self.group)

    def all_reduce_sum(self, array):
        import torch

        tensor = torch.from_numpy(np.array(array)).to(self.device)
        torch.distributed.all_reduce(tensor, group=self.group)
        return tensor.cpu().numpy()

    def broadcast(self, value):
        import torch

        box = [value]
        source = torch.distributed.get_global_rank(self.group, 0) if self.group else 0
        torch.distributed.broadcast_object_list(box, src=source, group=self.group)
        return box[0]


def gather(collective, value):
    """The values of all processes, in the order of their ranks."""
    message = np.frombuffer(pickle.dumps(value), dtype=np.uint8)
    n_processes = int(collective.all_reduce_sum(np.array([1]))[0])
    sizes = np.zeros(n_processes, dtype=np.int64)
    sizes[collective.rank()] = len(message)
    stops = np.cumsum(collective.all_reduce_sum(sizes))
    content = np.zeros(stops[-1], dtype=np.uint8)
    last = stops[collective.rank()]
    content[last - len(message) : last] = message
    content = collective.all_reduce_sum(content)
    return [pickle.loads(piece.tobytes()) for piece in np.split(content, stops[:-1])]


def agreed(collective, function):
    """What ``function()`` gives in each process; where one raises, all raise its error."""
    value, error = None, None
    try:
        value = function()
    except Exception as raised:
        error = raised
    if int(collective.all_reduce_sum(np.array([error is not None], dtype=np.int64))[0]):
        # Also where the error of this process is not the first.
        everyone = gather(collective, _that_travels(error))
        raise next(found for found in everyone if found is not None)
    return value


def _that_travels(error):
    """The error, or one that says the same where it cannot be sent: others wait for it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def from_first(collective, function):
    """What ``function()`` gives in process 0, for all; where it raises, all raise its error."""
    is_first = collective.rank() == 0
    value = agreed(collective, function if is_first else lambda: None)
    return collective.broadcast(value)


class GlooCollective(Collective):
    """A gloo group of its own, beside whatever else the processes run.

    A process that fails says so through the store; others hear it within a second, in the
    middle of a call too.

    Parameters
    ----------
    store : torch.distributed.Store
    rank, size : int
    """

    FAILED = "failed"

    def __init__(self, store, rank, size):
        # Not init_process_group: that one group for a whole process may be the user's.
        from torch.distributed import ProcessGroupGloo

        self._store, self._rank = store, rank
        # Failures are heard in other ways; a long step of another process is none.
        self._group: Any = ProcessGroupGloo(store, rank, size, timedelta(hours=24))

    def rank(self):
        return self._rank

    def all_reduce_sum(self, array):
        import torch

        tensor = torch.from_numpy(np.array(array).reshape(-1))
        if tensor.numel():
            self._finish(self._group.allreduce([tensor]))
        return tensor.numpy().reshape(np.shape(array))

    def broadcast(self, value):
        message = pickle.dumps(value) if self._rank == 0 else b""
        size = int(self.all_reduce_sum(np.array([len(message)]))[0])
        content = np.zeros(size, dtype=np.uint8)
        content[: len(message)] = np.frombuffer(message, dtype=np.uint8)
        content = self.all_reduce_sum(content)  # nothing is added
        return value if self._rank == 0 else pickle.loads(content.tobytes())

    def fail(self):
        """Tell the others that this process does not go on."""
        self._store.set(self.FAILED, str(self._rank))

    def _finish(self, work):
        """Wait, but not for the dead."""
        pause, look = 1e-4, time.monotonic() + 1.0
        while not work.is_completed():
            time.sleep(pause)
            pause = min(2 * pause, 5e-3)
            if time.monotonic() > look:
                if self._store.check([self.FAILED]):
                    raise RuntimeError("Another process of the fit has failed.")
                look = time.monotonic() + 1.0
        try:
            work.wait()
        except RuntimeError as error:
            raise RuntimeError(f"Lost another process of the fit: {error}") from None
