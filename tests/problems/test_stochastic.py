"""Problems on batches: which batches there are, and the losses on them."""

import dataclasses
import pickle
from collections import Counter

import pytest
import torch
from torch.nn.functional import dropout
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    TensorDataset,
)

from skbamm.problems import FunctionObjective, Objective, StochasticProblem
from skbamm.problems._batches import batches_of
from tests.solvers.stochastic.problems import (
    FORMS,
    data,
    double,
    lower,
    module_problem,
    tensors_problem,
    upper,
)

CPU = torch.device("cpu")
every_form = pytest.mark.parametrize("form", FORMS)


def rows(n_rows=10):
    return torch.arange(n_rows), 10 * torch.arange(n_rows)


def numbered(data, batch_size=3, seed=0):
    return batches_of(data, batch_size, seed, CPU, "lower_data")


class Augmented(torch.utils.data.Dataset):
    """Rows to which a loader adds noise."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index + torch.rand(())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(10.0))


LOADERS = {
    "list": lambda: [torch.tensor([1, 2]), torch.tensor([3]), torch.tensor([4, 5])],
    "sequential": lambda: DataLoader(TensorDataset(*rows()), batch_size=3),
    "shuffled": lambda: DataLoader(TensorDataset(*rows()), batch_size=3, shuffle=True),
    "generator": lambda: DataLoader(
        TensorDataset(*rows()), batch_size=3, shuffle=True, generator=torch.Generator()
    ),
    "sampler": lambda: DataLoader(
        TensorDataset(*rows()),
        batch_size=3,
        sampler=RandomSampler(range(10), generator=torch.Generator()),
    ),
    "batch sampler": lambda: DataLoader(
        TensorDataset(*rows()),
        batch_sampler=BatchSampler(
            RandomSampler(range(10), generator=torch.Generator()), 3, drop_last=False
        ),
    ),
    "augmented": lambda: DataLoader(Augmented(), batch_size=3, shuffle=True),
    "stream": lambda: DataLoader(Stream(), batch_size=3),
    "tensors": lambda: rows(),
}


def plain(contents):
    tensors = contents if isinstance(contents, list | tuple) else [contents]
    return [tensor.tolist() for tensor in tensors]


def first_of(batches):
    """All numbers of the first tensor of each, sorted."""
    return sorted(number for batch in batches for number in plain(batch.contents)[0])


@pytest.mark.parametrize("kind", LOADERS)
def test_equal_numbers_give_equal_batches_in_any_order(kind):
    batches = numbered(LOADERS[kind]())
    straight = [plain(batches.batch(number).contents) for number in range(10)]
    again = numbered(LOADERS[kind]())
    for number in (7, 2, 9, 0, 0, 8, 3):
        assert plain(again.batch(number).contents) == straight[number]
        assert again.batch(number).seed == batches.batch(number).seed


@pytest.mark.parametrize(
    "kind", ["shuffled", "generator", "sampler", "batch sampler", "augmented", "tensors"]
)
def test_epochs_and_seeds_have_orders_of_their_own(kind):
    n_batches = numbered(LOADERS[kind]()).n_batches

    def epoch(number, seed):
        batches = numbered(LOADERS[kind](), seed=seed)
        first = number * n_batches
        return [plain(batches.batch(first + place).contents) for place in range(n_batches)]

    assert epoch(0, seed=0) != epoch(1, seed=0) and epoch(0, seed=0) != epoch(0, seed=1)


@pytest.mark.parametrize(
    "kind", ["sequential", "shuffled", "generator", "sampler", "batch sampler", "stream"]
)
def test_an_epoch_of_a_loader_has_every_row_once(kind):
    batches = numbered(LOADERS[kind]())
    assert batches.n_batches == 4
    for epoch in (0, 3):
        found = [batches.batch(4 * epoch + place) for place in range(4)]
        assert first_of(found) == list(range(10))
        assert [batch.n_rows for batch in found] == [3, 3, 3, 1]


def test_batches_of_tensors_are_of_one_size_and_take_rows_together():
    batches = numbered(rows())
    found = [batches.batch(number).contents for number in range(3 * 40)]
    assert all(first.tolist() == (second // 10).tolist() for first, second in found)
    assert {len(first) for first, _ in found} == {3}
    # What is left over differs from epoch to epoch.
    counts = Counter(row for first, _ in found for row in first.tolist())
    assert min(counts.values()) > 0.7 * 36


def test_all_data_in_a_batch_keep_their_order():
    assert plain(numbered(rows(), batch_size=10).batch(5).contents)[0] == list(range(10))
    assert plain(numbered(torch.arange(4)).batch(0).contents)[0] != []


def test_all_goes_through_every_row_once_whatever_was_open():
    for kind in ("shuffled", "stream", "tensors"):
        batches = numbered(LOADERS[kind]())
        before = [plain(batches.batch(number).contents) for number in range(6)]
        assert first_of(batches.all()) == list(range(10))
        assert plain(batches.batch(5).contents) == before[5]


@pytest.mark.parametrize("persistent", [False, True])
def test_all_does_not_break_the_pass_of_a_loader_with_workers(persistent):
    loader = DataLoader(
        TensorDataset(*rows()),
        batch_size=3,
        shuffle=True,
        num_workers=1,
        persistent_workers=persistent,
        multiprocessing_context="fork",
    )
    batches = numbered(loader)
    straight = [plain(batches.batch(number).contents) for number in range(4)]
    again = numbered(loader)
    assert plain(again.batch(1).contents) == straight[1]
    assert first_of(again.all()) == list(range(10))
    assert [plain(again.batch(number).contents) for number in (2, 3)] == straight[2:]


@pytest.mark.parametrize("of_loader", [True, False])
def test_the_generator_of_a_loader_is_left_as_it_was(of_loader):
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    options = {"sampler": RandomSampler(range(10), generator=generator)}
    if of_loader:
        options = {"shuffle": True, "generator": generator}
    loader = DataLoader(TensorDataset(*rows()), batch_size=3, **options)
    batches = numbered(loader)
    batches.batch(5)
    assert torch.equal(generator.get_state(), before)
    assert first_of(batches.all()) == list(range(10))
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (iter([1]), TypeError, "lower_data must be a tuple of tensors, or an iterable .*iterator"),
        (3, TypeError, "lower_data .*: got int"),
        ((torch.ones(3), torch.ones(4)), ValueError, r"lower_data .* one number of rows.*\[3, 4\]"),
        ((torch.ones(0),), ValueError, "lower_data must have one number of rows, above 0"),
        ([], ValueError, "lower_data must have a batch"),
    ],
)
def test_what_gives_no_batches_is_an_error(given, error, message):
    with pytest.raises(error, match=message.replace("lower_data must", ".*lower_data must")):
        numbered(given).batch(0)


# Objectives


@every_form
def test_one_pass_gives_what_autograd_gives_in_several(form):
    problem = FORMS[form]()
    hyper, params = problem.first_point()
    vector = torch.linspace(-1, 1, len(params), dtype=double)
    for level in (problem.lower_level, problem.upper_level):
        batch = level.batch(2)
        found = batch.evaluate(hyper, params, vector)
        gradients = Objective.gradients(batch, hyper, params)
        products = Objective.curvature_products(batch, hyper, params, vector)
        torch.testing.assert_close(found.value, float(batch.value(hyper, params)))
        torch.testing.assert_close(found.hyper, gradients.hyper)
        torch.testing.assert_close(found.params, gradients.params)
        torch.testing.assert_close(found.hessian, products.hessian)
        torch.testing.assert_close(found.mixed, products.mixed)
        assert batch.evaluate(hyper, params, with_hyper=False).hyper is None


def test_a_loss_that_draws_by_a_function_has_the_numbers_of_its_batch():
    problem = dataclasses.replace(
        tensors_problem(), lower=lambda hyper, params, batch: lower(dropout(hyper), params, batch)
    )
    hyper, params = problem.first_point()
    before = torch.get_rng_state()
    values = [float(problem.lower_level.batch(n).value(hyper + 1, params)) for n in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_whole_objective_is_that_of_all_rows_at_once():
    problem = tensors_problem()
    whole = problem.full_batch()
    at_once = FunctionObjective(lambda hyper, params: lower(hyper, params, data(40, 0)))
    hyper, params = problem.first_point()
    vector = torch.ones(3, dtype=double)
    torch.testing.assert_close(whole.lower.value(hyper, params), at_once.value(hyper, params))
    for method, last in (("gradients", ()), ("curvature_products", (vector,))):
        found = getattr(whole.lower, method)(hyper, params, *last)
        expected = getattr(at_once, method)(hyper, params, *last)
        torch.testing.assert_close(tuple(found), tuple(expected))


def test_rows_of_unequal_batches_count_alike():
    loader = DataLoader(TensorDataset(*data(40, 0)), batch_size=27)
    problem = StochasticProblem(
        upper, lower, data(30, 1), loader, torch.zeros(3).double(), torch.ones(3).double()
    )
    hyper, params = problem.first_point()
    found = problem.full_batch().lower.value(hyper, params)
    torch.testing.assert_close(found, lower(hyper, params, data(40, 0)))


def test_dropout_is_the_same_on_a_batch_and_differs_between_batches():
    problem = module_problem()
    hyper, params = problem.first_point()
    level = problem.upper_level
    values = [float(level.value(hyper, params, level.batches.batch(n))) for n in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    other_seed = level.batches.batch(0)._replace(seed=5)
    assert float(level.value(hyper, params, other_seed)) != values[0]


# The point


def test_modules_are_left_alone_until_they_are_loaded():
    problem = module_problem()
    network, weights = problem.initial_params, problem.initial_hyper["weights"]
    before = network[0].weight.detach().clone()
    hyper, params = problem.first_point()
    problem.lower_level.batch(0).evaluate(hyper, params + 1)
    assert torch.equal(network[0].weight, before)
    assert problem.params_of(params + 1)[0].weight[0, 0] == before[0, 0] + 1
    assert torch.equal(network[0].weight, before)
    assert problem.load_params(params + 1) is network
    torch.testing.assert_close(network[0].weight.detach(), before + 1)
    loaded = problem.load_hyper(hyper + 1)
    assert loaded["weights"] is weights and float(loaded["ridge"]) == -2.0


def test_hyper_is_projected_in_its_own_form():
    def project(hyper):
        hyper["weights"].weight.clamp_(0.0, 0.5)
        return {"weights": hyper["weights"], "ridge": hyper["ridge"].clamp(max=-1.0)}

    problem = module_problem(project=project)
    hyper, _ = problem.first_point()
    point = hyper + 5
    found = problem.hyper_of(problem.project_hyper(point))
    assert float(found["weights"].weight) == 0.5 and float(found["ridge"]) == -1.0
    assert torch.equal(point, hyper + 5)
    whole = problem.full_batch()
    assert torch.equal(whole.project_hyper(point), problem.project_hyper(point))
    assert float(whole.hyper_of(point)["ridge"]) == 2.0
    assert whole.load_params(problem.first_point()[1]) is problem.initial_params
    with pytest.raises(ValueError, match="form"):
        module_problem(project=lambda hyper: hyper["ridge"]).first_point()


def test_a_bound_may_be_a_tensor():
    bound = torch.tensor([0.1, 0.2, 0.3], dtype=double)
    problem = tensors_problem(upper_bound=bound, lower_bound=bound - 1)
    assert torch.equal(problem.project_hyper(torch.ones(3, dtype=double)), bound)
    assert torch.equal(problem.project_hyper(-torch.ones(3, dtype=double)), bound - 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be a whole number above 0: got 0"),
        ({"batch_size": True}, ValueError, "batch_size must be a whole number above 0: got True"),
        ({"lower_bound": 1.0}, ValueError, "lower_bound must not be above upper_bound: got 1.0"),
    ],
)
def test_options_that_make_no_sense_are_errors(options, error, message):
    with pytest.raises(error, match=message):
        tensors_problem(**options)


def test_levels_must_be_functions_and_points_of_one_dtype():
    zero = torch.zeros(3, dtype=double)
    with pytest.raises(TypeError, match=r"upper must be a function of .*: got int"):
        StochasticProblem(1, lower, data(30, 1), data(40, 0), zero, zero)
    with pytest.raises(TypeError, match="must have one dtype"):
        StochasticProblem(upper, lower, data(30, 1), data(40, 0), zero.float(), zero)


def test_a_problem_is_pickled():
    problem = pickle.loads(pickle.dumps(tensors_problem()))
    hyper, params = problem.first_point()
    assert float(problem.lower_level.batch(0).value(hyper, params)) > 0
