"""Waiting for a cluster: results, or a clear error when it cannot give them any more."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import CancelledError
from inspect import signature

from distributed import Semaphore, default_client, wait

# Seconds between two looks at the cluster ...
POLL = 0.5
# ... and for which it is borne that there is no worker, or that all are paused, again and again.
PATIENCE = 15.0


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


def results(client, futures, *, pinned=()):
    """What futures give, in their order; see `finished`."""
    finished(client, futures, pinned=pinned)
    return client.gather(futures)


@contextlib.contextmanager
def alone_on(client, addresses):
    """Wait until no other fit holds one of these workers, then hold them.

    A client that dies holding them loses them within half a minute, where a lock would stay.
    """
    with contextlib.ExitStack() as held:
        for address in sorted(addresses):  # all in the same order: none waits for one that waits
            lease = Semaphore(
                1, name=f"skbamm {address}", scheduler_rpc=client.scheduler, loop=client.loop
            )
            held.enter_context(lease)
        yield


def finished(client, futures, *, pinned=()):
    """Wait for futures, whose results stay where they are.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
    pinned : sequence of str
        Addresses of workers without which they have no end.

    Raises
    ------
    RuntimeError
        When a pinned worker is lost, and when no worker takes work for 15 seconds. Work that
        is not pinned is done anew by other workers.
    Exception
        What a task has raised. The other tasks are cancelled.
    """
    watch = _Watch(client, pinned)
    try:
        while True:
            waiting = _waiting(futures)
            failed = [future for future in futures if future.status in ("error", "cancelled")]
            if failed:
                _raise_first(failed, watch if pinned else None)
            if not waiting:
                return
            watch.look(len(waiting))
    except BaseException:
        client.cancel(futures, force=True)
        raise


def _raise_first(failed, watch):
    """The error that explains most: that others were lost follows from what one has raised."""
    errors = [future.exception() for future in failed if future.status == "error"]
    errors.sort(key=lambda error: isinstance(error, RuntimeError))
    if watch and (not errors or isinstance(errors[0], RuntimeError)):
        for _ in range(4):  # the cluster hears of it a little later
            watch.raise_if_lost()
            time.sleep(POLL)
    raise errors[0] if errors else RuntimeError("The work was cancelled on the cluster.")


def _waiting(futures):
    """Those that are not done when all are, or a little later."""
    waiting = [future for future in futures if not future.done()]
    if waiting:
        # What went wrong, each future tells itself.
        with contextlib.suppress(TimeoutError, CancelledError):
            wait(waiting, timeout=POLL)
    return [future for future in waiting if not future.done()]


class _Watch:
    """Looks at the workers of unfinished work, and gives up where there is no hope.

    Workers that cannot spill are paused most of the time, not all of it: each try to spill takes
    memory and gives it back.
    """

    def __init__(self, client, pinned):
        self._client = client
        self._pinned = pinned
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

    def raise_if_lost(self):
        workers = self._workers()
        lost = [address for address in self._pinned if address not in workers]
        if lost:
            raise RuntimeError(
                f"Lost the worker {lost[0]} during fit, and with it its rows. The estimator is as "
                "it was before; call fit again once the cluster has recovered."
            )
        return workers

    def look(self, n_waiting):
        workers = self.raise_if_lost()
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
