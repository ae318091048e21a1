"""The secant search on small quadratics with known minimisers."""

from dataclasses import dataclass, replace

import pytest
import torch

from skbamm.solvers._secant import SecantSearch

OPTIONS = {"memory": 4, "max_move": 1.0}


@dataclass
class Quadratics:
    """``x'Ax/2 - b'x + c`` for each candidate, its lowest value 1, in a box."""

    A: torch.Tensor  # (n_candidates, n, n)
    b: torch.Tensor  # (n_candidates, n)
    low: float = -torch.inf
    high: float = torch.inf

    @classmethod
    def random(cls, n_candidates=3, n=5, seed=0, **box):
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(n_candidates, n, n, generator=generator, dtype=torch.float64)
        # The later a candidate, the worse its conditioning.
        spread = torch.logspace(0, 1, n_candidates, dtype=torch.float64)[:, None, None]
        A = root @ root.mT * spread + torch.eye(n, dtype=torch.float64)
        b = 3 * torch.randn(n_candidates, n, generator=generator, dtype=torch.float64)
        return cls(A, b, **box)

    def __getitem__(self, index):
        return replace(self, A=self.A[index], b=self.b[index])

    @property
    def unconstrained(self):
        return torch.linalg.solve(self.A, self.b)

    def value(self, x):
        gap = x - self.unconstrained
        return (gap * (self.A @ gap[:, :, None])[:, :, 0]).sum(1) / 2 + 1

    def gradient(self, x):
        return (self.A @ x[:, :, None])[:, :, 0] - self.b

    def project(self, x):
        return x.clamp(self.low, self.high)

    def path(self, n_iter, x=None, settled=None):
        """All points that the search visits."""
        x = torch.zeros_like(self.b) if x is None else x
        search = SecantSearch.begin(x)
        points = [x]
        for k in range(n_iter):
            ready = torch.ones(len(x), dtype=bool) if settled is None else settled(k)
            x, search = search.propose(
                self.project, ready, x, self.value(x), self.gradient(x), **OPTIONS
            )
            points.append(x)
        return torch.stack(points)


def test_search_finds_the_minimiser():
    problem = Quadratics.random()
    found = problem.path(150)[-1]
    # Backtracking compares values of size 1, whose rounding is 1e-16: x is known to 1e-8.
    torch.testing.assert_close(found, problem.unconstrained, rtol=0, atol=1e-6)


def test_search_finds_the_minimiser_in_a_box():
    problem = Quadratics.random(low=-0.3, high=0.5)
    found = problem.path(150)[-1]
    step = found - problem.project(found - problem.gradient(found))
    # As above: the precision of the values limits that of the point.
    torch.testing.assert_close(step, torch.zeros_like(step), rtol=0, atol=1e-5)


def test_search_in_a_box_ends_on_an_active_bound():
    problem = Quadratics.random(low=-0.3, high=0.5)
    found = problem.path(150)[-1]
    assert ((found == -0.3) | (found == 0.5)).any()


def test_search_stays_in_the_box():
    points = Quadratics.random(low=-0.3, high=0.5).path(50)
    assert points.min() >= -0.3 and points.max() <= 0.5


def test_no_entry_moves_further_than_allowed():
    moves = Quadratics.random().path(50).diff(dim=0)
    assert moves.abs().max() <= OPTIONS["max_move"] + 1e-12  # a sum of two rounded numbers


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_candidate_in_a_batch_is_as_alone(index):
    problem = Quadratics.random()
    together = problem.path(25)[:, index]
    alone = problem[index : index + 1].path(25)[:, 0]
    # Products of batches round differently, and secants amplify that.
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-7)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_candidate_that_settles_less_often_takes_the_same_path(index):
    problem = Quadratics.random()
    alone = problem[index : index + 1].path(15)[:, 0]
    periods = torch.tensor([1, 2, 3])
    together = problem.path(45, settled=lambda k: (k + 1) % periods == 0)
    visited = together[:: int(periods[index]), index][: len(alone)]
    torch.testing.assert_close(visited, alone, rtol=0, atol=1e-7)  # rounding, as above


def test_unsettled_candidates_stay_where_they_are():
    points = Quadratics.random().path(10, settled=lambda k: torch.tensor([True, False, True]))
    assert (points[:, 1] == 0).all()


def test_search_does_not_depend_on_the_scale_of_the_values():
    problem = Quadratics.random()
    scaled = replace(problem, A=1024 * problem.A, b=1024 * problem.b)
    scaled.value = lambda x: 1024 * problem.value(x)
    torch.testing.assert_close(scaled.path(20), problem.path(20), rtol=0, atol=1e-9)  # secants


def test_a_search_that_cannot_improve_stalls():
    problem = Quadratics.random(1)
    x = torch.zeros_like(problem.b)
    search = SecantSearch.begin(x)
    for _ in range(100):
        # The value rises wherever the search goes: no step is ever good enough.
        value = 1 + (x != 0).any(1).to(x)
        x, search = search.propose(
            problem.project,
            torch.tensor([True]),
            x,
            value,
            problem.gradient(torch.zeros_like(x)),
            **OPTIONS,
        )
    assert search.stalled.all()


@pytest.mark.parametrize("step", [0.7, 0.7 + 2**-53, 0.7 - 2**-53])
@pytest.mark.parametrize("bound", [0.0, -0.7])
def test_rounding_does_not_keep_a_coordinate_off_its_bound(step, bound):
    def project(points):
        return points.clamp(bound, 5)

    start = torch.tensor([[bound + 0.7, 3.0]], dtype=torch.float64)
    gradient = torch.tensor([[step, 0.1]], dtype=torch.float64)
    value = (gradient**2).sum(1)  # the first step is the gradient itself
    always = torch.tensor([True])
    target, _ = SecantSearch.begin(start).propose(
        project, always, start, value, gradient, **OPTIONS
    )
    assert float(target[0, 0]) == bound
