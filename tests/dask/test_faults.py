"""Workers that are killed, processes that raise, partitions and disks that fail.

What harms workers happens in clusters of its own. ``-m "not faults"`` leaves them out.
"""

import contextlib
import os
import resource
import signal
import threading
import time

import numpy as np
import pytest

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.cleaning import _rows
from tests.regularization.regression_data import make_regression

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

from skbamm.dask import (  # noqa: E402
    DaskBilevelRegularizedRegressor,
    DaskHyperCleaningClassifier,
    _client,
)

pytestmark = pytest.mark.faults
SECONDS = 30


@pytest.fixture
def few_are_enough(monkeypatch):
    for name, value in {"ENOUGH": 600, "PER_COLUMN": 1, "PER_CLASS": 1}.items():
        monkeypatch.setattr(_rows, name, value)


@contextlib.contextmanager
def own_cluster(tmp_path, memory_limit=None):
    before = set(psutil.Process().children(recursive=True))
    options = {"memory_limit": memory_limit, "dashboard_address": ":0", "local_directory": tmp_path}
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "5s"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
    # No process is left but what was there, and the one that tracks shared memory.
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [process for process in left if "resource_tracker" not in str(process.cmdline())]


@pytest.fixture(scope="module")
def cluster_to_break(tmp_path_factory):
    with own_cluster(tmp_path_factory.mktemp("cluster")) as client:
        yield client


@pytest.fixture
def cluster(cluster_to_break):
    """Both workers there, also where one was killed by the test before."""
    cluster_to_break.wait_for_workers(2, timeout=SECONDS)
    return cluster_to_break


def regression(n_partitions=6):
    data = make_regression(1500, 4)
    X, y = (da.from_array(array, chunks=(250, *array.shape[1:])) for array in (data.X, data.y))
    return data, X, y


def labelled(n_rows=3000):
    random = np.random.default_rng(0)
    X = random.standard_normal((n_rows, 4))
    y = (X[:, 0] + 0.3 * random.standard_normal(n_rows) > 0).astype(int)
    return (da.from_array(array, chunks=(500, *array.shape[1:])) for array in (X, y))


def slowly(block, seconds=0.5):
    time.sleep(seconds)
    return block


def failing(block, seconds=0.0, block_id=None):
    if block_id and block_id[0] == 2:
        raise OSError("the file is gone")
    return block


def kill_a_worker(client):
    pids = client.run(os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)


def assert_unchanged(model, before):
    assert vars(model) == before


@pytest.mark.filterwarnings("ignore")  # of the cluster, as it closes what is broken
class TestFaults:
    def test_work_of_a_killed_worker_is_done_anew(self, cluster):
        data, X, y = regression()
        killer = threading.Timer(1.5, kill_a_worker, [cluster])
        killer.start()
        found = DaskBilevelRegularizedRegressor(client=cluster).fit(X.map_blocks(slowly), y)
        killer.join()
        expected = BilevelRegularizedRegressor().fit(data.X, data.y)
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-10)

    @pytest.mark.parametrize("kind", ["regressor", "classifier"])
    def test_a_partition_that_fails_to_load_is_an_error_at_once(self, kind, client):
        if kind == "regressor":
            _, X, y = regression()
            model = DaskBilevelRegularizedRegressor(client=client)
        else:
            X, y = labelled()
            model = DaskHyperCleaningClassifier(client=client, standard_errors=0)
        before, begin = dict(vars(model)), time.monotonic()
        with pytest.raises(OSError, match="the file is gone"):
            model.fit(X.map_blocks(failing), y)
        assert time.monotonic() - begin < SECONDS
        assert_unchanged(model, before)

    def test_a_classifier_goes_on_without_a_worker_that_is_killed(self, cluster, few_are_enough):
        X, y = labelled()
        last = sorted(cluster.nthreads())[-1]
        cluster.run(break_last_fit, "kill", workers=[last])
        begin = time.monotonic()
        found = DaskHyperCleaningClassifier(client=cluster, standard_errors=0).fit(X, y)
        assert time.monotonic() - begin < SECONDS
        assert last not in cluster.nthreads()
        expected = HyperCleaningClassifier(standard_errors=0).fit(*dask.compute(X, y))
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-8, atol=1e-8)
        weight = found.sample_weight_.compute()
        np.testing.assert_allclose(weight, expected.sample_weight_, rtol=0, atol=1e-8)

    def test_an_error_in_one_process_ends_the_fit_of_all(self, client, few_are_enough):
        X, y = labelled()
        client.run(break_last_fit, "raise", workers=sorted(client.nthreads())[-1:])
        model = DaskHyperCleaningClassifier(client=client, standard_errors=0)
        before, begin = dict(vars(model)), time.monotonic()
        with pytest.raises(ValueError, match="a process that fails"):
            model.fit(X, y)
        assert time.monotonic() - begin < SECONDS
        assert_unchanged(model, before)
        # Nothing waits any more: the cluster works.
        deadline = time.monotonic() + SECONDS
        while any(client.processing().values()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not any(client.processing().values())


@pytest.mark.filterwarnings("ignore")
class TestFullDisk:
    @pytest.fixture
    def cluster(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_client, "PATIENCE", 3.0)
        # Otherwise some workers are killed before they are paused for long.
        with (
            dask.config.set({"distributed.worker.memory.terminate": False}),
            own_cluster(tmp_path, "600MiB") as client,
        ):
            yield client

    def test_workers_that_can_neither_hold_nor_spill_are_an_error(self, cluster):
        cluster.run(limit_files)
        n_partitions, n_rows = 50, 50_000
        X = da.zeros((n_partitions * n_rows, 1), chunks=(n_rows, 1)).map_blocks(
            wide, chunks=((n_rows,) * n_partitions, (100,)), dtype=float
        )
        X = X.persist()  # more than they hold
        model = DaskHyperCleaningClassifier(client=cluster, standard_errors=0)
        before, begin = dict(vars(model)), time.monotonic()
        with pytest.raises(RuntimeError, match="unable to spill"):
            model.fit(X, (X[:, 0] > 0).astype(int))
        assert time.monotonic() - begin < SECONDS
        assert_unchanged(model, before)


def limit_files():
    """As on a full disk, writing fails; what a fit imports is there already."""
    import skbamm.dask._label_rows  # noqa: F401

    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


def wide(block):
    """Numbers that no compression makes smaller; these repeat too late for it."""
    return np.resize(np.random.default_rng(0).random(2**17), (len(block), 100))


def break_last_fit(fault):
    """Once: the worker may go on to serve other tests."""
    from skbamm.dask import _label_rows

    whole = _label_rows.loss_and_gradient

    def loss_and_gradient(*args, **kwargs):
        _label_rows.loss_and_gradient = whole
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("a process that fails")

    _label_rows.loss_and_gradient = loss_and_gradient
