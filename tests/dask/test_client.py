"""Waiting for a cluster that has no hope."""

import itertools
import time

import pytest

pytest.importorskip("distributed")

from skbamm.dask import _client


class Workers:
    """A client that tells of two workers what it is given to tell, again and again."""

    def __init__(self, *states):
        self._states = itertools.cycle(states)

    def scheduler_info(self):
        return {"workers": {str(n): {"status": s} for n, s in enumerate(next(self._states))}}


def look_for(seconds, client, n_waiting):
    watchdog, end = _client._Watchdog(client), time.monotonic() + seconds
    while time.monotonic() < end:
        watchdog.look(next(n_waiting))
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([("paused", "paused")], "unable to spill"),
        # Each try to spill takes memory, gives it back, and the worker goes on for a moment.
        ([("paused", "running"), ("running", "paused"), ("paused", "paused")], "unable to spill"),
        ([()], "gone"),
    ],
    ids=["paused", "paused again and again", "gone"],
)
def test_no_progress_on_workers_that_do_not_work_is_an_error(states, message, monkeypatch):
    monkeypatch.setattr(_client, "PATIENCE", 0.3)
    with pytest.raises(RuntimeError, match=message):
        look_for(5, Workers(*states), itertools.repeat(7))


@pytest.mark.parametrize(
    ("states", "n_waiting"),
    [
        ([("running", "running")], itertools.repeat(7)),
        ([("paused", "running")], itertools.repeat(7)),
        ([("paused", "paused")], itertools.count(1000, -1)),
    ],
    ids=["slow work", "one that works", "progress"],
)
def test_work_that_goes_on_is_waited_for(states, n_waiting, monkeypatch):
    monkeypatch.setattr(_client, "PATIENCE", 0.1)
    look_for(0.5, Workers(*states), n_waiting)
