"""A cluster of two processes that the tests of this folder share, while they run."""

from contextlib import ExitStack
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
shared = {}


@pytest.fixture(scope="module")
def client():
    if not shared:
        distributed = pytest.importorskip("distributed")
        shared["stack"] = stack = ExitStack()
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=None
        )
        stack.enter_context(cluster)
        shared["client"] = stack.enter_context(distributed.Client(cluster))
    return shared["client"]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Close it after the last test: until the end of the session it would go on to take time."""
    if shared and (nextitem is None or FOLDER not in nextitem.path.parents):
        shared.pop("client")
        shared.pop("stack").close()
