"""What cannot be right is refused where it is given, by its name, with what to do."""

import warnings

import pytest
import torch

from skbamm.problems import (
    Ball,
    BilevelProblem,
    Box,
    FunctionObjective,
    Simplex,
    StochasticProblem,
    WeightedL1,
)
from skbamm.solvers import (
    SlBamm,
    Soba,
    load_checkpoint,
    save_checkpoint,
    solve,
)

double = torch.float64
X = torch.linspace(-1, 1, 24, dtype=double).reshape(8, 3)
FORMED = {"a": torch.zeros(3, dtype=double), "b": [torch.zeros(1, dtype=double)]}


def problem_of(**options):
    hyper, params = torch.zeros(3, dtype=double), torch.ones(3, dtype=double)
    given = {
        "upper": lambda h, p: (p - 1).square().sum(),
        "lower": lambda h, p: (p - h).square().sum(),
        "initial_hyper": hyper,
        "initial_params": params,
    }
    return BilevelProblem(**{**given, "strongly_convex": True, **options})


def formed(**options):
    def lower(h, p):
        return (p - h["a"] - h["b"][0]).square().sum()

    return problem_of(lower=lower, initial_hyper=FORMED, **options)


def on_batches(**options):
    given = {
        "upper": lambda h, p, X: (X @ p - 1).square().mean(),
        "lower": lambda h, p, X: (p - h).square().sum() + 0 * X.sum(),
        "upper_data": X,
        "lower_data": X,
        "initial_hyper": torch.zeros(3, dtype=double),
        "initial_params": torch.ones(3, dtype=double),
        "batch_size": 4,
    }
    return StochasticProblem(**{**given, **options})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lower_bound": {"c": 0.0}}, ValueError, "lower_bound has no 'c': its keys are"),
        ({"upper_bound": {"a": "high"}}, TypeError, r"upper_bound\['a'\] must be a number or a"),
        ({"upper_bound": {"a": torch.ones(2)}}, ValueError, r"broadcast to the shape \(3,\)"),
        ({"upper_bound": {"b": [1.0, 2.0]}}, ValueError, r"\['b'\] must have 1 parts: got 2"),
        ({"lower_bound": "low"}, TypeError, "lower_bound must be a number, or have the form"),
        ({"lower_bound": float("nan")}, ValueError, "lower_bound"),
        ({"lower_bound": {"a": 1.0}, "upper_bound": 0.0}, ValueError, "must not be above"),
        ({"project": "simplex"}, TypeError, r"project must be a Simplex\(\).*got 'simplex'"),
        ({"project": Simplex}, TypeError, r"an instance: got the class Simplex.*Simplex\("),
        ({"project": {"c": Simplex()}}, ValueError, "project has the key 'c'.*its keys are"),
        ({"project": {"a": Simplex}}, TypeError, r"project\['a'\] must be a Simplex\(\)"),
        ({"project": Simplex()}, ValueError, "project must map hyper, in the form of"),
        ({"project": lambda h: None}, ValueError, "what project returns must be a tensor"),
        (
            {"project": {"a": Simplex()}, "lower_bound": {"a": 0.9}},
            ValueError,
            "projected again.*Bounds of entries that it moves",
        ),
        ({"project": lambda h: {**h, "a": h["a"] + 1}}, ValueError, "projected again"),
        ({"nonsmooth": Box}, TypeError, r"an instance of NonSmooth, such as Box\(0, 1\)"),
        ({"metric": 3}, TypeError, "metric must be a function of"),
        ({"solve_lower": 3}, TypeError, "solve_lower must be a function.*'lbfgs'"),
        ({"upper": FunctionObjective}, TypeError, "got the class FunctionObjective"),
    ],
)
def test_a_wrong_field_of_a_problem_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        formed(**options)


def test_a_project_by_keys_wants_a_dict():
    with pytest.raises(ValueError, match="which initial_hyper has not: it is no dict"):
        problem_of(project={"a": Simplex()})


@pytest.mark.parametrize(
    ("hyper", "error", "message"),
    [
        (torch.zeros(3, dtype=torch.long), TypeError, "float32 or float64: got torch.int64"),
        ({"a": torch.zeros(3, dtype=torch.long)}, TypeError, r"initial_hyper\['a'\] must be a"),
        (
            torch.full((3,), torch.nan, dtype=double),
            ValueError,
            "initial_hyper must be finite.* 3 of",
        ),
        (torch.tensor([0, torch.inf, 0], dtype=double), ValueError, "infinity in 1 of 3"),
    ],
)
@pytest.mark.parametrize("kind", [problem_of, on_batches])
def test_a_wrong_initial_hyper_is_refused(hyper, error, message, kind):
    with pytest.raises(error, match=message):
        kind(initial_hyper=hyper)


@pytest.mark.parametrize("option", [{"project": "ball"}, {"project": Ball}, {"lower_bound": "low"}])
def test_problems_on_batches_refuse_the_same(option):
    with pytest.raises(TypeError, match=f"{next(iter(option))} must be"):
        on_batches(**option)


@pytest.mark.parametrize("level", ["upper", "lower"])
@pytest.mark.parametrize("found", [1.0, None, (1.0, 2.0)])
def test_a_loss_that_is_no_tensor_is_refused(level, found):
    with pytest.raises(TypeError, match=r"leave out float\(\), .item\(\) and NumPy"):
        solve(problem_of(**{level: lambda h, p: found}))


def partly_detached(h, p):
    return (p.detach() - h).square().sum() + p.square().sum()


def partly_without_graph(h, p):
    with torch.no_grad():
        centre = p * (h + 1)
    return (p - h).square().sum() + (p * centre).sum()


@pytest.mark.parametrize(
    ("lower", "variable"),
    [
        (partly_detached, "params"),
        (partly_without_graph, "hyper"),
        (lambda h, p: (p - h.detach() + 1).square().sum() + 0 * h.sum(), "hyper"),
        (lambda h, p: (p - torch.tensor(p.tolist()) - h).square().sum(), "params"),
    ],
)
def test_a_loss_of_which_a_part_is_detached_is_told(lower, variable):
    with pytest.warns(UserWarning, match=f"lower and its derivative in {variable} do not go"):
        solve(problem_of(lower=lower), max_iter=1)


@pytest.mark.parametrize("dtype", [torch.float32, double])
def test_a_right_loss_is_not_told_of(dtype):
    """Kinks, large values, and sums of many terms; any warning is an error."""
    generator = torch.Generator().manual_seed(0)
    data = 100 * torch.randn(500, 3, generator=generator, dtype=dtype)

    def kinked(h, p):
        return (data @ p).relu().mean() + p.abs().sum() + (h.exp() * p.square()).sum()

    start = torch.zeros(3, dtype=dtype)
    for level in (
        kinked,
        lambda h, p: 1e6 + kinked(h, p),
        lambda h, p: (data @ p - 1e4).square().sum() + h.sum(),
    ):
        problem = problem_of(upper=level, lower=level, initial_hyper=start, initial_params=start)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            solve(problem, max_iter=1, verify=False)


def saved(problem, solver, path):
    save_checkpoint(path, solve(problem, solver, max_iter=2, tol=-1.0, verify=False))
    return load_checkpoint(path)._asdict()


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ((problem_of, "sl-bamm"), (problem_of, "meha"), "must be a MehaState, and is a BammState"),
        ((problem_of, "neumann"), (problem_of, "unrolling"), "state.multiplier must be None"),
        ((problem_of, "unrolling"), (problem_of, "neumann"), "state.multiplier must be a tensor"),
        ((problem_of, SlBamm(hyper_step=0.1)), (problem_of, "sl-bamm"), "state.search must be a S"),
        ((problem_of, "sl-bamm"), (formed, "sl-bamm"), r"of shape \(4,\).* shape \(3,\)"),
        ((on_batches, "soba"), (on_batches, "ma-soba"), "SingleLoopState"),
        ((on_batches, "ma-soba"), (on_batches, "soba"), "SingleLoopState"),
        ((on_batches, "f2sa"), (on_batches, "stocbio"), "StocBioState"),
        ((on_batches, "soba"), (problem_of, "sl-bamm"), "must be a BammState"),
        ((problem_of, "sl-bamm"), (on_batches, "soba"), "and is a BammState"),
        (
            (on_batches, Soba(params_optimizer=torch.optim.SGD)),
            (on_batches, Soba(params_optimizer=torch.optim.Adam)),
            r"\['betas'\] must be there",
        ),
    ],
)
def test_a_run_goes_on_from_no_other_state(before, after, message, tmp_path):
    (problem, solver), (other, another) = before, after
    run = saved(problem(), solver, tmp_path / "run.pt")
    with pytest.raises(ValueError, match=f"cannot go on from this state: .*{message}"):
        solve(other(), another, max_iter=1, **run)


def test_a_state_of_another_dtype_is_refused():
    kinds = {f"initial_{name}": torch.ones(3) for name in ("hyper", "params")}
    state = solve(problem_of(**kinds), max_iter=2, tol=-1.0).state
    with pytest.raises(ValueError, match=r"state\.hyper must be .*float64.*, and is .*float32"):
        solve(problem_of(), state=state)


def test_what_is_no_state_is_refused():
    solution = solve(problem_of(), max_iter=1)
    with pytest.raises(TypeError, match=r"such as solution\.state.*got Solution"):
        solve(problem_of(), state=solution)
    with pytest.raises(TypeError, match=r"history must be a History.*got list"):
        solve(problem_of(), history=[])
    with pytest.raises(TypeError, match=r"the Solution that solve returned.*got BammState"):
        save_checkpoint("run.pt", solution.state)


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "run.pt"
    saved(problem_of(), "sl-bamm", path)
    whole = path.read_bytes()
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    contents = {"whole": whole[: len(whole) // 2], "noise": b"noise", "none": b""}
    for part in contents.values():
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"run.pt' is damaged, or no checkpoint"):
            load_checkpoint(path)
    with pytest.raises(ValueError, match=r"module.pt' is damaged, or no checkpoint"):
        load_checkpoint(tmp_path / "module.pt")
    torch.save({"format": 1, "state": None}, path)
    with pytest.raises(ValueError, match=r"no whole checkpoint: it lacks \['records', 'initial'\]"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nothing.pt")


def test_weighted_terms_are_still_taken():
    assert formed(nonsmooth=WeightedL1(lambda h: h["a"].exp())).nonsmooth is not None


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (float("nan"), 0.0)])
def test_a_box_wants_ordered_bounds(bounds):
    with pytest.raises(ValueError, match="Box needs lower <= upper"):
        Box(*bounds)


def test_losses_that_ignore_hyper_are_refused():
    with pytest.raises(ValueError, match="upper or lower must depend on hyper"):
        solve(problem_of(lower=lambda h, p: p.square().sum()))
