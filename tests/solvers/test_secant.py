"""The secant search on small quadratics with known minimisers."""

from dataclasses import dataclass, replace

import pytest
import torch

from skbamm.solvers._secant import SecantSearch

OPTIONS = {"memory": 4, "max_move": 1.0}


@dataclass
class Quadratic:
    """``x'Ax/2 - b'x + c`` in a box, its lowest value without that 1."""

    A: torch.Tensor  # (n, n)
    b: torch.Tensor  # (n,)
    low: float = -torch.inf
    high: float = torch.inf

    @classmethod
    def random(cls, conditioning=1.0, n=5, seed=0, **box):
        generator = torch.Generator().manual_seed(seed)
        root = torch.randn(n, n, generator=generator, dtype=torch.float64)
        A = root @ root.mT * conditioning + torch.eye(n, dtype=torch.float64)
        return cls(A, 3 * torch.randn(n, generator=generator, dtype=torch.float64), **box)

    @property
    def unconstrained(self):
        return torch.linalg.solve(self.A, self.b)

    def value(self, x):
        gap = x - self.unconstrained
        return float(gap @ self.A @ gap) / 2 + 1

    def gradient(self, x):
        return self.A @ x - self.b

    def project(self, x):
        return x.clamp(self.low, self.high)

    def path(self, n_iter):
        """All points that the search visits."""
        x = torch.zeros_like(self.b)
        search = SecantSearch(x)
        points = [x]
        for _ in range(n_iter):
            x, search = search.propose(self.project, x, self.value(x), self.gradient(x), **OPTIONS)
            points.append(x)
        return torch.stack(points)


conditionings = pytest.mark.parametrize("conditioning", [1.0, 3.0, 10.0])


@conditionings
def test_search_finds_the_minimiser(conditioning):
    problem = Quadratic.random(conditioning)
    found = problem.path(150)[-1]
    # Backtracking compares values of size 1, whose rounding is 1e-16: x is known to 1e-8.
    torch.testing.assert_close(found, problem.unconstrained, rtol=0, atol=1e-6)


@conditionings
def test_search_finds_the_minimiser_in_a_box(conditioning):
    problem = Quadratic.random(conditioning, low=-0.3, high=0.5)
    found = problem.path(150)[-1]
    step = found - problem.project(found - problem.gradient(found))
    # As above: the precision of the values limits that of the point.
    torch.testing.assert_close(step, torch.zeros_like(step), rtol=0, atol=1e-5)


@conditionings
def test_search_in_a_box_ends_on_an_active_bound(conditioning):
    problem = Quadratic.random(conditioning, low=-0.3, high=0.5)
    found = problem.path(150)[-1]
    assert ((found == -0.3) | (found == 0.5)).any()


@conditionings
def test_search_stays_in_the_box(conditioning):
    points = Quadratic.random(conditioning, low=-0.3, high=0.5).path(50)
    assert points.min() >= -0.3 and points.max() <= 0.5


@conditionings
def test_no_entry_moves_further_than_allowed(conditioning):
    steps = Quadratic.random(conditioning).path(50).diff(dim=0)
    assert steps.abs().max() <= OPTIONS["max_move"] + 1e-12  # a sum of two rounded numbers


def test_the_shape_of_hyper_makes_no_difference():
    problem = Quadratic.random(n=6)
    x, search = torch.zeros(2, 3, dtype=torch.float64), SecantSearch(torch.zeros(2, 3))
    visited = [x.flatten()]
    for _ in range(20):
        flat = x.flatten()
        gradient = problem.gradient(flat).reshape(2, 3)
        x, search = search.propose(problem.project, x, problem.value(flat), gradient, **OPTIONS)
        visited.append(x.flatten())
    assert torch.equal(torch.stack(visited), problem.path(20))


def test_the_memory_holds_the_latest_secants():
    problem = Quadratic.random(n=6)
    x = torch.zeros_like(problem.b)
    search = SecantSearch(x)
    for _ in range(10):
        x, search = search.propose(
            problem.project, x, problem.value(x), problem.gradient(x), **OPTIONS
        )
    assert search.differences.shape == search.changes.shape == (4, 6)


@conditionings
def test_search_does_not_depend_on_the_scale_of_the_values(conditioning):
    problem = Quadratic.random(conditioning)
    scaled = replace(problem, A=1024 * problem.A, b=1024 * problem.b)
    scaled.value = lambda x: 1024 * problem.value(x)
    torch.testing.assert_close(scaled.path(20), problem.path(20), rtol=0, atol=1e-9)  # secants


def test_a_search_that_cannot_improve_stalls():
    problem = Quadratic.random()
    x = initial = torch.zeros_like(problem.b)
    search = SecantSearch(x)
    for _ in range(100):
        # The value rises wherever the search goes: no step is ever good enough.
        value = 1.0 + bool((x != initial).any())
        x, search = search.propose(problem.project, x, value, problem.gradient(initial), **OPTIONS)
    assert search.stalled


@pytest.mark.parametrize("step", [0.7, 0.7 + 2**-53, 0.7 - 2**-53])
@pytest.mark.parametrize("bound", [0.0, -0.7])
def test_rounding_does_not_keep_a_coordinate_off_its_bound(step, bound):
    def project(points):
        return points.clamp(bound, 5)

    initial = torch.tensor([bound + 0.7, 3.0], dtype=torch.float64)
    gradient = torch.tensor([step, 0.1], dtype=torch.float64)
    value = float(gradient @ gradient)  # the first step is the gradient itself
    target, _ = SecantSearch(initial).propose(project, initial, value, gradient, **OPTIONS)
    assert float(target[0]) == bound


@pytest.mark.parametrize(
    ("dtype", "exponent"), [(torch.float64, e) for e in (-900, 900)] + [(torch.float32, 100)]
)
def test_squares_of_values_and_gradients_do_not_overflow(dtype, exponent):
    problem, unit = Quadratic.random(), 2.0**exponent
    A, b = problem.A.to(dtype), problem.b.to(dtype)
    x = torch.zeros_like(b)
    search = SecantSearch(x)
    for _ in range(60):
        value, gradient = unit * problem.value(x.double()), unit * (A @ x - b)
        x, search = search.propose(problem.project, x, value, gradient, **OPTIONS)
    atol = 1e-8 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(x.double(), problem.unconstrained, rtol=0, atol=atol)


@pytest.mark.parametrize("which", ["value", "gradient"])
def test_a_point_where_something_is_not_finite_is_not_accepted(which):
    problem = Quadratic.random()
    initial = torch.zeros_like(problem.b)
    gradient = problem.gradient(initial)
    tried, search = SecantSearch(initial).propose(
        problem.project, initial, problem.value(initial), gradient, **OPTIONS
    )
    bad = {"value": (-torch.inf, gradient), "gradient": (0.0, gradient / 0)}[which]
    shorter, search = search.propose(problem.project, tried, *bad, **OPTIONS)
    torch.testing.assert_close(shorter, initial + 0.1 * (tried - initial))
    assert torch.equal(search.anchor, initial)
