"""Fits by several processes against fits on all rows."""

import multiprocessing
import threading

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier
from skbamm.cleaning import _rows, _sample
from skbamm.distributed import LocalCollective, TorchCollective, fit_together
from tests.regularization.regression_data import make_regression

N_ROWS, N_FEATURES = 1500, 6
DATA = make_regression(N_ROWS, N_FEATURES)


class Team:
    """Processes played by threads: three methods are all it takes."""

    def __init__(self, size):
        self._barrier = threading.Barrier(size, timeout=60)
        self._box = [None] * size

    def member(self, rank):
        return Member(self, rank)

    def exchange(self, rank, value):
        self._box[rank] = value
        self._barrier.wait()
        values = list(self._box)
        self._barrier.wait()
        return values


class Member:
    def __init__(self, team, rank):
        self._team, self._rank = team, rank

    def rank(self):
        return self._rank

    def all_reduce_sum(self, array):
        first, *others = self._team.exchange(self._rank, np.array(array))
        return sum(others, first.copy())

    def broadcast(self, value):
        return self._team.exchange(self._rank, value)[0]


def by_threads(work, size):
    """``work(rank, collective)`` in each thread; errors as values."""
    team, found = Team(size), [None] * size

    def run(rank):
        try:
            found[rank] = work(rank, team.member(rank))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def shares(*stops):
    return [slice(start, stop) for start, stop in zip((0, *stops), (*stops, None), strict=True)]


def assert_same(found, expected, rtol=1e-10):
    for name in ("coef_", "intercept_", "alpha_", "criterion_"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol)


@pytest.mark.parametrize("stops", [(700,), (10, 10)], ids=str)
@pytest.mark.parametrize("options", [{}, {"n_repeats": 2, "fit_intercept": False}], ids=str)
def test_the_regressor_of_all_processes_is_that_of_all_rows(stops, options):
    rows = shares(*stops)

    def work(rank, collective):
        own = rows[rank]
        return fit_together(
            BilevelRegularizedRegressor(**options),
            DATA.X[own],
            DATA.y[own],
            DATA.weight[own],
            collective=collective,
        )

    expected = BilevelRegularizedRegressor(**options).fit(DATA.X, DATA.y, DATA.weight)
    for model in by_threads(work, len(rows)):
        assert_same(model, expected)


def test_few_rows_are_gathered():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DATA.X[:40]).add_prefix("x")

    def work(rank, collective):
        own = (slice(0, 25), slice(25, 40))[rank]
        model = BilevelRegularizedRegressor(random_state=None)
        return fit_together(model, frame.iloc[own], DATA.y[:40][own], collective=collective)

    first, second = by_threads(work, 2)
    assert_same(first, second, rtol=0)
    assert list(second.feature_names_in_) == list(frame.columns)


def labelled(n_rows=3000, n_classes=3):
    random = np.random.default_rng(0)
    X = random.standard_normal((n_rows, N_FEATURES))
    scores = 3 * X @ random.standard_normal((N_FEATURES, n_classes)) / np.sqrt(N_FEATURES)
    y = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    clean = random.random(n_rows) < 0.1
    wrong = ~clean & (random.random(n_rows) < 0.3)
    return X, np.where(wrong, (y + 1) % n_classes, y), clean


@pytest.mark.parametrize("enough", [600, 10_000])
@pytest.mark.parametrize("working_memory", [1024, 0.01])
def test_the_classifier_of_all_processes_is_that_of_all_rows(enough, working_memory, monkeypatch):
    # The threads that play processes do not share a context's configuration.
    monkeypatch.setattr(_rows, "get_config", lambda: {"working_memory": working_memory})
    for name, value in {"ENOUGH": enough, "PER_COLUMN": 1, "PER_CLASS": 1}.items():
        monkeypatch.setattr(_sample, name, value)
    X, y, clean = labelled()
    rows = shares(1000, 1000)

    def work(rank, collective):
        own = rows[rank]
        model = HyperCleaningClassifier()
        return fit_together(model, X[own], y[own], is_clean=clean[own], collective=collective)

    expected = HyperCleaningClassifier().fit(X, y, is_clean=clean)
    models = by_threads(work, len(rows))
    for model, own in zip(models, rows, strict=True):
        assert_same(model, expected, rtol=1e-8)
        weight = expected.sample_weight_[own]
        np.testing.assert_allclose(model.sample_weight_, weight, rtol=0, atol=1e-8)


@pytest.mark.parametrize("bad", ["rows", "option"])
def test_what_is_wrong_in_one_process_is_raised_by_all(bad):
    def work(rank, collective):
        X = np.full((9, 2), np.nan if bad == "rows" and rank == 1 else 0.0)
        model = BilevelRegularizedRegressor(loss="huber" if bad == "option" else "squared_error")
        return fit_together(model, X, np.arange(9.0), collective=collective)

    message = "contains NaN" if bad == "rows" else "needs all rows at once"
    for error in by_threads(work, 2):
        assert isinstance(error, ValueError) and message in str(error)


def test_what_is_wrong_while_learning_is_raised_by_all():
    def work(rank, collective):
        model = BilevelRegularizedRegressor(groups=[0])
        return fit_together(model, DATA.X, DATA.y, collective=collective)

    for error in by_threads(work, 2):
        assert isinstance(error, ValueError) and "one entry per feature" in str(error)


class StubbornError(ValueError):
    """It cannot be sent to another process."""

    def __init__(self):
        super().__init__("will not travel")
        self.lock = threading.Lock()


def test_an_error_that_cannot_be_sent_is_told_to_all():
    class Bad:
        def __array__(self, dtype=None, copy=None):
            raise StubbornError

    def work(rank, collective):
        X = Bad() if rank else DATA.X
        return fit_together(BilevelRegularizedRegressor(), X, DATA.y, collective=collective)

    for error in by_threads(work, 2):
        assert isinstance(error, RuntimeError) and "StubbornError: will not travel" in str(error)


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="got LogisticRegression"):
        fit_together(LogisticRegression(), DATA.X, DATA.y, collective=LocalCollective())


def test_a_process_alone_needs_no_group():
    found = fit_together(
        BilevelRegularizedRegressor(), DATA.X, DATA.y, collective=LocalCollective()
    )
    assert_same(found, BilevelRegularizedRegressor().fit(DATA.X, DATA.y))


def test_torch_without_a_group_says_what_to_do():
    with pytest.raises(ValueError, match="init_process_group"):
        fit_together(BilevelRegularizedRegressor(), DATA.X, DATA.y)


def _process(rank, path, answers):
    import torch.distributed

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=2
    )
    own = slice(0, 400) if rank == 0 else slice(400, None)
    model = BilevelRegularizedRegressor()
    fit_together(model, DATA.X[own], DATA.y[own], collective=TorchCollective())
    answers.put((rank, model.coef_))
    torch.distributed.destroy_process_group()


def test_processes_of_torch_distributed_fit_together(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=_process, args=(rank, tmp_path / "meeting", answers))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(30)
    expected = BilevelRegularizedRegressor().fit(DATA.X, DATA.y)
    for _, coef in found:
        np.testing.assert_allclose(coef, expected.coef_, rtol=1e-10)
