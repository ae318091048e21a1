import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from skbamm.row_weights import _time
from skbamm.row_weights._cells import Cells, ridge_path
from skbamm.row_weights._time import Decay, Timeline, Window, decay_problem, learn_time
from tests.row_weights.made_rows import FROZEN, LEARN, drifting, rows_of, steady


def learned(X, y, time, run=FROZEN):
    return learn_time(rows_of(X, y), time, run)


def test_rows_before_an_abrupt_change_count_for_little():
    X, y, time = drifting()
    part = learned(X, y, time, LEARN)
    assert part.weight[time < 600].mean() < 0.05 * part.weight[time >= 600].mean()


def test_a_made_half_life_is_found():
    """For a level that walks at random an exponential window is best, of a known length."""
    generator = np.random.default_rng(1)
    n, memory = 3000, 60
    level = np.cumsum(generator.normal(size=n) / memory)
    X = generator.normal(size=(n, 2))
    y = level + generator.normal(size=n)
    part = learned(X, y, np.arange(n, dtype=float), LEARN)
    assert abs(part.numbers["log half-life"] - np.log(memory * np.log(2))) < np.log(2)


@pytest.mark.parametrize("seed", range(3))
def test_no_drift_leaves_rows_alone(seed):
    part = learned(*steady(seed=seed), FROZEN)
    assert part.weight is None or part.weight.min() > 0.02


def test_most_steady_tables_show_no_drift():
    shown = [learned(*steady(400, seed=seed), FROZEN).found for seed in range(12)]
    assert sum(shown) <= 6
    assert "no sign of drift" in learned(*steady(seed=shown.index(False)), FROZEN).sentence


@pytest.mark.parametrize("seed", range(3))
def test_a_season_that_no_column_tells_leaves_rows_alone(seed):
    """Yesterday is the best guide to today, and a bad one to the quarter after."""
    X, y, time = steady(1200, seed=seed)
    part = learned(X, y + 2 * np.sin(2 * np.pi * time / 300), time)
    assert not part.found
    assert "further ahead" in part.sentence


def test_a_rare_class_is_in_every_block():
    """Where none of its rows is in a block, windows without one are best, and wrong."""
    X, y, time = steady(100)
    labels = (y > np.sort(y)[-6]).astype(float)
    assert "too few times" in learned(X, np.stack([1 - labels, labels], axis=1), time).sentence


def test_most_rows_of_one_time_leave_no_long_blocks():
    X, y, time = drifting(400, 390)
    loaded = np.where(time < 380, 0.0, time)
    part = learned(X, y, loaded)
    assert part.weight is None or np.isfinite(part.weight).all()


def test_units_of_time_and_order_of_rows_do_not_matter():
    X, y, time = drifting(400, 300)
    part = learned(X, y, time)
    order = np.random.default_rng(0).permutation(400)
    other = learned(X[order] * [1, 10, 100, 1], 7 * y[order] - 3, 86400 * time[order] + 1e6)
    np.testing.assert_allclose(other.weight, part.weight[order], rtol=1e-6)


def test_gaps_in_time_are_no_rows():
    """Half-lives are shares of rows, so that a long gap hides none of them."""
    X, y, time = drifting(400, 300)
    gap = np.where(time < 100, time - 1e4, time)
    part = learned(X, y, gap)
    assert part.weight[time < 300].mean() < 0.1 * part.weight[time >= 300].mean()


@pytest.mark.parametrize(
    "time", [np.zeros(200), np.arange(200) // 100, np.arange(200) // 60], ids=["1", "2", "4"]
)
def test_too_few_times_leave_rows_alone(time):
    X, y, _ = drifting(200, 150)
    part = learned(X, y, time.astype(float))
    assert not part.found and "too few times" in part.sentence


def test_rows_of_one_time_are_never_split():
    time = (np.arange(500) // 7).astype(float)
    timeline = Timeline.of(time, np.ones(len(time)))
    for one in np.unique(time):
        assert len(np.unique(timeline.bin[time == one])) == 1
    starts = timeline.near.test.argmax(axis=1)
    assert (timeline.near.ages[np.arange(len(starts)), starts] < 0).all()


def test_a_block_is_predicted_from_earlier_rows_alone():
    time = np.random.default_rng(0).permutation(300).astype(float)
    timeline = Timeline.of(time, np.ones(len(time)))
    for ages, test in zip(timeline.near.ages, timeline.near.test, strict=True):
        inside = np.isin(timeline.bin, np.flatnonzero(test))
        before = np.isin(timeline.bin, np.flatnonzero(ages >= 0))
        assert time[before].max() < time[inside].min()


def test_errors_are_those_of_direct_fits(monkeypatch):
    """With a bin for each row, cells lose nothing."""
    monkeypatch.setattr(_time, "BINS_IN_BLOCK", 100)
    X, y, time = drifting(120, 100)
    timeline = Timeline.of(time, np.ones(len(time)))
    n_bins = timeline.near.ages.shape[1]
    cells = Cells.of(X, y[:, None], np.ones(120), timeline.bin, n_bins)
    Z, targets = cells.standardized(X, y[:, None])
    decay, block = Decay(20.0, 0.05), 2
    train = cells.combined(timeline.near.train(decay))
    coef = ridge_path(train, 1, [3.0])[block, 0]
    start = time[np.isin(timeline.bin, np.flatnonzero(timeline.near.test[block]))].min()
    before = time < start
    weight = decay(start - 1 - time[before])
    expected = Ridge(3.0).fit(Z[before, :-1], targets[before, 0], weight)
    np.testing.assert_allclose(coef[:-1, 0], expected.coef_, rtol=1e-8)


def test_hypergradients_agree_with_finite_differences():
    X, y, time = drifting(200, 150)
    timeline = Timeline.of(time, np.ones(len(time)))
    cells = Cells.of(X, y[:, None], np.ones(200), timeline.bin, timeline.near.ages.shape[1])
    problem = decay_problem(cells, timeline, cells.combined(timeline.near.test), [3.0, -2.0, 1.0])

    def criterion(hyper):
        return problem.upper.value(hyper, problem.solve_lower(hyper, problem.initial_params))

    hyper = problem.initial_hyper.clone()
    params = problem.solve_lower(hyper, problem.initial_params)
    gradient = problem.lower.gradients(hyper, params).params
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-10, rtol=0)
    metric = problem.metric(hyper, params, 0.0)
    vector = metric.solve(problem.upper.gradients(hyper, params).params)
    mixed = problem.lower.curvature_products(hyper, params, vector).mixed
    found = problem.upper.gradients(hyper, params).hyper - mixed
    step = 1e-5
    for i in range(3):
        move = torch.zeros(3, dtype=torch.float64)
        move[i] = step
        slope = (criterion(hyper + move) - criterion(hyper - move)) / (2 * step)
        torch.testing.assert_close(found[i], slope, rtol=1e-4, atol=1e-8)


def test_learning_lowers_the_criterion():
    X, y, time = drifting(400, 300)
    timeline = Timeline.of(time, np.ones(len(time)))
    cells = Cells.of(X, y[:, None], np.ones(400), timeline.bin, timeline.near.ages.shape[1])
    problem = decay_problem(cells, timeline, cells.combined(timeline.near.test), [6.0, -2.0, 1.0])
    from skbamm.solvers import solve

    solution = solve(problem, max_iter=30, tol=1e-2)
    assert solution.criterion < solution.initial_criterion - 0.1


def test_a_window_ends_and_a_decay_halves():
    age = np.array([0.0, 1.0, 2.0])
    np.testing.assert_array_equal(Window(1.0)(age), [1, 1, 0])
    np.testing.assert_allclose(Decay(1.0, 0.0)(age), [1, 0.5, 0.25])
    np.testing.assert_allclose(Decay(1.0, 0.5)(age), [1, 0.75, 0.625])


@pytest.mark.parametrize(
    ("ages", "unit", "said"),
    [
        ([], "days", "older rows count less, but none less than half"),
        ([3.0, 2.0], "days", "rows older than 2 days count less than half"),
        ([3.0, 2.0], "", "rows older than 2 (by time) count less than half"),
    ],
)
def test_the_sentence_says_which_rows_count_less_than_half(ages, unit, said):
    assert _time._sentence(np.array(ages), unit) == said


def test_a_row_of_weight_two_is_two_rows():
    generator = np.random.default_rng(0)
    time, weight = generator.permutation(700).astype(float), generator.integers(1, 4, 700)
    twice = np.repeat(np.arange(700), weight)
    one = Timeline.of(time, weight.astype(float))
    other = Timeline.of(time[twice], np.ones(len(twice)))
    np.testing.assert_array_equal(one.bin[twice], other.bin)
    for blocks, others in ((one.near, other.near), (one.far, other.far)):
        np.testing.assert_allclose(blocks.ages, others.ages)
        np.testing.assert_array_equal(blocks.test, others.test)
    assert list(map(str, one.candidates())) == list(map(str, other.candidates()))


def test_few_rows_with_most_of_the_weight_are_few():
    weight = np.where(np.arange(400) % 10 == 0, 1.0, 1e-3)
    assert Timeline.of(np.arange(400.0), weight) is None
