"""torch's modes, and the number of threads, while numbers are computed; both come back after."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading

from threadpoolctl import ThreadpoolController

# Multiply-adds between two waits of threads for each other, from which on several are used. A wait
# takes microseconds, but where other programs keep the machine busy some milliseconds, a time slice
# of the system: there two threads took 10 to 60 times as long as one for less than this.
LEAST_WORK = 1e8
# Columns of a product of matrices, or of a factorization, that are worked on between two waits.
PANEL_COLUMNS = 64


@contextlib.contextmanager
def torch_session():
    """torch's modes as they are by default, whatever the caller's are."""
    import torch

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


@contextlib.contextmanager
def threads_for(work):
    """One thread where `work` is less than `LEAST_WORK`, else as many as the user has.

    Of blocks in each other the inner one decides; ``math.inf`` is for models of the user.
    """
    limited = work < LEAST_WORK
    if limited == _is_limited():
        yield
        return
    with _one_thread() if limited else _as_found():
        yield


@contextlib.contextmanager
def openmp_threads_for(work):
    """The same for compiled loops of scikit-learn, whose number of threads is each thread's own."""
    if work >= LEAST_WORK:
        yield
        return
    with _openmp_libraries().limit(limits=1):
        yield


class _OfThread(threading.local):
    n_torch = 1  # what torch had before


# The number of torch belongs to the thread that sets it, that of BLAS to the process: threads share
# one limit, which the first one sets and the last one lifts. An interruption may come anywhere, so
# what was found is written down before it is changed, and lifting twice does no harm.
_of_thread = _OfThread()
_lock = threading.RLock()
_limited_threads: set[int] = set()
_found: list = []  # libraries and their numbers of threads


def _is_limited():
    return threading.get_ident() in _limited_threads


@contextlib.contextmanager
def _one_thread():
    try:
        _limit()
        yield
    finally:
        _lift()


@contextlib.contextmanager
def _as_found():
    try:
        _lift()
        yield
    finally:
        _limit()


def _limit():
    with _lock:
        if not _limited_threads:
            libraries = _blas_libraries("torch" in sys.modules)
            _found[:] = [(library, library.num_threads) for library in libraries]
        _limited_threads.add(threading.get_ident())
        _set_blas([(library, 1) for library, _ in _found])
        if "torch" in sys.modules:
            _limit_torch()


def _limit_torch():
    import torch  # waits where another thread has not done so to the end

    _of_thread.n_torch = n_found = torch.get_num_threads()
    if n_found > 1:
        torch.set_num_threads(1)
        # What was set last is also what new threads begin with, and these are not ours.
        other = threading.Thread(target=torch.set_num_threads, args=(n_found,))
        with contextlib.suppress(RuntimeError):  # no more threads
            other.start()
            other.join()


def _lift():
    with _lock:
        if _of_thread.n_torch > 1:
            sys.modules["torch"].set_num_threads(_of_thread.n_torch)
        _limited_threads.discard(threading.get_ident())
        _of_thread.n_torch = 1
        if not _limited_threads:
            _set_blas(_found)
            _found.clear()


def _set_blas(numbers):
    for library, n_threads in numbers:
        library.set_num_threads(n_threads)
        # Since threadpoolctl 3.8 nobody but the thread that was first can set them, until it says.
        getattr(library, "clear_controlling_thread", int)()


@functools.cache
def _blas_libraries(torch_is_loaded):
    """Looking for libraries takes milliseconds, and torch may bring one."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


@functools.cache
def _openmp_libraries():
    return ThreadpoolController().select(user_api="openmp")
