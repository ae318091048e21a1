"""Waiting for a cluster: results, or a clear error when it cannot give them any more."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import CancelledError
from inspect import signature

from distributed import default_client, wait

# Seconds between two looks at the cluster ...
POLL = 0.5
# ... and for which no worker, or none that takes work, is borne.
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
    try:
        idle_since = None
        while True:
            waiting = _waiting(futures)
            failed = [future for future in futures if future.status in ("error", "cancelled")]
            if failed:
                _raise_first(client, failed, pinned)
            if not waiting:
                return
            idle_since = _watch(client, pinned, idle_since)
    except BaseException:
        client.cancel(futures, force=True)
        raise


def _raise_first(client, failed, pinned):
    """The error that explains most: that others were lost follows from what one has raised."""
    errors = [future.exception() for future in failed if future.status == "error"]
    errors.sort(key=lambda error: isinstance(error, RuntimeError))
    if not errors or isinstance(errors[0], RuntimeError):
        for _ in range(4 if pinned else 0):  # the cluster hears of it a little later
            _watch(client, pinned, None)
            time.sleep(POLL)
    raise errors[0] if errors else RuntimeError("The work was cancelled on the cluster.")


def _waiting(futures):
    """Those that are not done, at the next that is, or a little later."""
    waiting = [future for future in futures if not future.done()]
    if waiting:
        # What went wrong, each future tells itself.
        with contextlib.suppress(TimeoutError, CancelledError):
            wait(waiting, timeout=POLL, return_when="FIRST_COMPLETED")
    return [future for future in waiting if not future.done()]


def _watch(client, pinned, idle_since):
    """Since when no worker takes work, None while some do; raises where there is no hope."""
    every = {"n_workers": -1} if "n_workers" in signature(client.scheduler_info).parameters else {}
    workers = client.scheduler_info(**every)["workers"]
    lost = [address for address in pinned if address not in workers]
    if lost:
        raise RuntimeError(
            f"Lost the worker {lost[0]} during fit, and with it its rows. The estimator is as it "
            "was before; call fit again once the cluster has recovered."
        )
    if any(worker.get("status", "running") == "running" for worker in workers.values()):
        return None
    now = time.monotonic()
    if idle_since is not None and now - idle_since > PATIENCE:
        state = "paused, short of memory and unable to spill" if workers else "gone"
        raise RuntimeError(
            f"All workers have been {state} for {PATIENCE:.0f} seconds. The estimator is as it was "
            "before; give the cluster memory, disk or workers and call fit again."
        )
    return idle_since or now
