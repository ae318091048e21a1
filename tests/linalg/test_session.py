"""Numbers of threads and modes of torch: as they should be inside, and as they were afterwards."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification, make_regression
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import ThreadpoolController

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.linalg import _session
from skbamm.linalg._session import threads_for, torch_session
from skbamm.problems import strongly_convex_problem
from skbamm.solvers import solve

SMALL, LARGE = 1, math.inf
LIBRARIES = ThreadpoolController().select(user_api="blas").lib_controllers


def n_threads():
    return {torch.get_num_threads(), *(library.num_threads for library in LIBRARIES)}


@pytest.fixture(autouse=True)
def two_threads():
    found = torch.get_num_threads(), [library.num_threads for library in LIBRARIES]
    torch.set_num_threads(2)
    _session._set_blas([(library, 2) for library in LIBRARIES])
    if n_threads() != {2}:
        pytest.skip("The libraries of this machine take no two threads.")
    yield
    torch.set_num_threads(found[0])
    _session._set_blas(zip(LIBRARIES, found[1], strict=True))


def elsewhere(function):
    """What a function returns in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_the_inner_block_decides():
    with threads_for(SMALL):
        assert n_threads() == {1}
        with threads_for(SMALL):
            assert n_threads() == {1}
        with threads_for(LARGE):
            assert n_threads() == {2}
            with threads_for(SMALL):
                assert n_threads() == {1}
            assert n_threads() == {2}
        assert n_threads() == {1}
    with threads_for(LARGE):
        assert n_threads() == {2}
    assert n_threads() == {2}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("work", [SMALL, LARGE])
def test_an_error_changes_nothing(error, work):
    with pytest.raises(error), threads_for(SMALL), threads_for(work):
        raise error
    assert n_threads() == {2}


@pytest.mark.parametrize("first_out", [0, 1])
def test_threads_that_overlap_leave_what_the_first_one_found(first_out):
    both_in, out = threading.Barrier(2), [threading.Event(), threading.Event()]
    last_out, seen = 1 - first_out, {}

    def run(number):
        with threads_for(SMALL):
            both_in.wait(10)
            seen[number] = n_threads()
            if number == last_out:
                assert out[first_out].wait(10)
                seen["the other is out"] = n_threads()
        if number == first_out:
            seen["one is still in"] = torch.get_num_threads()
        out[number].set()
        assert out[last_out].wait(10)
        seen["after", number] = n_threads()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, number) for number in (0, 1)]:
            done.result()
    assert seen[0] == seen[1] == seen["the other is out"] == {1}
    assert seen["one is still in"] == 2
    assert seen["after", 0] == seen["after", 1] == n_threads() == elsewhere(n_threads) == {2}


def test_threads_that_begin_in_between_are_not_limited():
    with threads_for(SMALL):
        assert elsewhere(torch.get_num_threads) == 2
    assert elsewhere(torch.get_num_threads) == 2


def test_many_short_fits_at_once_leave_the_threads_alone():
    def run(_):
        for work in [SMALL, LARGE] * 10:
            with threads_for(work):
                torch.ones(2).sum()
        return torch.get_num_threads()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(16))) == {2}
    assert n_threads() == {2}


X, y = make_regression(60, 5, noise=10, random_state=0)
labels = (y > 0).astype(int)


class Tree(DecisionTreeClassifier):
    """Notes the numbers of threads of its fit."""

    def fit(self, X, y, sample_weight=None):
        self.n_threads_ = n_threads()
        return super().fit(X, y, sample_weight)


FITS = {
    "regressor": lambda: BilevelRegularizedRegressor(max_iter=3).fit(X, y),
    "huber": lambda: BilevelRegularizedRegressor(loss="huber", max_iter=3).fit(X, y),
    "blocks": lambda: BilevelRegularizedRegressor(cv=3, max_iter=3).partial_fit(X, y),
    # Of few folds and one fit: threads that wait for each other take time.
    "classifier": lambda: HyperCleaningClassifier(cv=2, standard_errors=0, max_iter=3).fit(
        X, labels
    ),
}


@pytest.fixture
def seen(monkeypatch):
    """Numbers of threads that `solve` was called with."""
    from skbamm.cleaning import _search as of_classes
    from skbamm.regularization import _search as of_targets

    found = []

    def noted(*args, **kwargs):
        found.append(n_threads())
        return solve(*args, **kwargs)

    for module in (of_classes, of_targets):
        monkeypatch.setattr(module, "solve", noted)
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("is_small", [True, False])
@pytest.mark.parametrize("name", FITS)
def test_only_a_small_fit_is_limited_to_one_thread(name, is_small, seen, monkeypatch):
    if not is_small:
        monkeypatch.setattr(_session, "LEAST_WORK", 0)
    FITS[name]()
    assert seen and all(one == ({1} if is_small else {2}) for one in seen)
    assert n_threads() == {2}


def test_models_of_the_user_have_all_threads(seen):
    model = HyperCleaningClassifier(final_estimator=Tree(), max_iter=3, tol=1.0).fit(X, labels)
    assert seen == [{1}]
    assert model.final_estimator_.n_threads_ == {2}


def test_an_interrupted_fit_leaves_the_threads_alone(monkeypatch):
    from skbamm.regularization import _search

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_search, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        BilevelRegularizedRegressor().fit(X, y)
    assert n_threads() == {2}


# Modes of torch


MODES = {
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
}


def wide():
    rows = np.random.default_rng(0).normal(size=(30, 40))
    return BilevelRegularizedRegressor(max_iter=3).fit(rows, y[:30]).coef_


def sparse_classes():
    rows, classes = make_classification(60, 5, n_informative=3, n_classes=3, random_state=0)
    return HyperCleaningClassifier(max_iter=3).fit(rows, classes).coef_


def own_problem():
    cpu = {"dtype": torch.float32, "device": "cpu"}
    return solve(strongly_convex_problem(5, **cpu)[0], "unrolling", max_iter=3).hyper.numpy()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("run", [*FITS, wide, sparse_classes, own_problem])
def test_modes_of_the_caller_do_not_matter(run):
    run = FITS[run] if isinstance(run, str) else run

    def numbers():
        found = run()
        return getattr(found, "coef_", found)

    expected = numbers()
    for name, mode in MODES.items():
        with mode():
            np.testing.assert_array_equal(numbers(), expected, err_msg=name)


def test_a_session_leaves_the_modes_as_they_were():
    with torch.autocast("cpu"), torch.enable_grad():
        with torch_session():
            assert not torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
