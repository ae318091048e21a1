"""Waiting for a cluster: results, or a clear error when it cannot give them any more."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import CancelledError
from functools import reduce
from inspect import signature
from operator import add

import dask
from distributed import default_client, wait

# Seconds between two looks at the cluster ...
POLL = 0.5
# ... and for which it is borne that there is no worker, or that all are paused, again and again.
PATIENCE = 15.0
# So many sums are added by one task.
TREE = 8


def current_client(client):
    """The given client, or the default one."""
    if client is None:
        try:
            client = default_client()
        except ValueError:
            raise ValueError(
                "No Dask client: start one with dask.distributed.Client(), or pass client=."
            ) from None
    if client.asynchronous:
        raise ValueError("client must not be asynchronous.")
    return client


def kept(client, work):
    """Futures of delayed values, which stay on the workers; see `finished`."""
    futures = client.compute(work)
    finished(client, futures)
    return futures


def results(client, work):
    """Delayed values, in their order."""
    return client.gather(kept(client, work))


def on_each(function, /, *columns, **same):
    """Delayed values of ``function(*values, **same)``, for one partition after the other."""
    work = dask.delayed(function, pure=False)
    return [work(*values, **same) for values in zip(*columns, strict=True)]


def shared(value):
    """A value that many tasks take, and that travels once."""
    return dask.delayed(value, pure=False, traverse=False)


def summed(client, pieces):
    """Lists of things that add up, of delayed pieces: the sums of all, added in a tree."""
    together = dask.delayed(_added, pure=False)
    while len(pieces) > 1:
        pieces = [together(pieces[first : first + TREE]) for first in range(0, len(pieces), TREE)]
    return results(client, pieces)[0]


def _added(several):
    return [reduce(add, same) for same in zip(*several, strict=True)]


def finished(client, futures):
    """Wait for futures; raises what a task has raised, and cancels the others then.

    RuntimeError when no worker takes work for long; that of a lost one is done anew by others.
    """
    watchdog, waiting = _Watchdog(client), futures
    try:
        while waiting:
            # What went wrong, each future tells itself.
            with contextlib.suppress(TimeoutError, CancelledError):
                wait(waiting, timeout=POLL)
            waiting = [future for future in waiting if not future.done()]
            first = {future.status: future for future in reversed(futures)}
            if "error" in first:
                raise first["error"].exception()
            if "cancelled" in first:
                raise RuntimeError(
                    "The work was cancelled on the cluster. Rows that were persisted there are "
                    "gone after client.restart(): persist them anew, and call fit again."
                )
            if waiting:
                watchdog.look(len(waiting))
    except BaseException:
        client.cancel(futures, force=True)
        raise


class _Watchdog:
    """Looks at the workers of unfinished work, and gives up where there is no hope.

    Workers that cannot spill are paused most of the time, not all of it: each try to spill takes
    memory and gives it back.
    """

    def __init__(self, client):
        self._client = client
        self._start_anew(None)

    def _start_anew(self, n_waiting):
        self._n_waiting, self._since = n_waiting, time.monotonic()
        self._n_looks = 0
        self._n_paused: Counter[str] = Counter()

    def _workers(self):
        """Whether each worker takes work, by address."""
        info = self._client.scheduler_info
        every = {"n_workers": -1} if "n_workers" in signature(info).parameters else {}
        return {
            address: worker.get("status", "running") == "running"
            for address, worker in info(**every)["workers"].items()
        }

    def look(self, n_waiting):
        workers = self._workers()
        if n_waiting != self._n_waiting or (any(workers.values()) and not self._n_paused):
            self._start_anew(n_waiting)
        self._n_looks += 1
        self._n_paused.update(address for address, running in workers.items() if not running)
        has_hope = any(4 * self._n_paused[address] < self._n_looks for address in workers)
        if time.monotonic() - self._since > PATIENCE and not has_hope:
            state = "paused, short of memory and unable to spill" if workers else "gone"
            raise RuntimeError(
                f"All workers have been {state} for {PATIENCE:.0f} seconds. The estimator is as it "
                "was before; give the cluster memory, disk or workers and call fit again."
            )
