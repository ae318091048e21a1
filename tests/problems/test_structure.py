"""Forms of a variable: one tensor for solvers, and the user's own form again."""

import pickle
from collections import namedtuple

import pytest
import torch

from skbamm.problems._structure import Structure

double = torch.float64
Pair = namedtuple("Pair", "first second")


def layer():
    module = torch.nn.Linear(2, 1, dtype=double)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[4.0, 5.0]]))
        module.bias.fill_(6.0)
    return module


def arange(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=double).reshape(shape)


FORMS = {
    "tensor": lambda: arange(2, 3),
    "tuple": lambda: (arange(2), arange(2, 2)),
    "list": lambda: [arange(3), arange(1)],
    "named tuple": lambda: Pair(arange(2), arange()),
    "nested": lambda: {"a": (arange(2), [arange(1)]), "b": {"c": arange(1, 2)}},
}


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key])
    else:
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", ["unflatten", "load", "bound"])
def test_a_nesting_comes_back_as_it_was(form, way):
    value = FORMS[form]()
    structure, vector = pickle.loads(pickle.dumps(Structure.of(value)))
    if way == "bound":
        with structure.bound(vector) as found:
            assert_equal(found, value)
    else:
        assert_equal(getattr(structure, way)(vector), value)


def test_all_but_a_lone_tensor_is_a_vector():
    assert Structure.of(arange(2, 3))[1].shape == (2, 3)
    assert Structure.of((arange(2, 3), arange(1)))[1].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert Structure.of(layer())[1].tolist() == [4, 5, 6]


def test_derivatives_reach_the_vector_through_every_leaf():
    structure, vector = Structure.of({"head": layer(), "scale": arange(2)})
    X = torch.ones(3, 2, dtype=double)

    def loss(vector):
        value = structure.unflatten(vector)
        return (value["head"](X * value["scale"]) ** 2).sum()

    def bound(vector):
        with structure.bound(vector) as value:
            return (value["head"](X * value["scale"]) ** 2).sum()

    torch.autograd.gradcheck(loss, vector.requires_grad_())
    torch.autograd.gradcheck(bound, vector)
    torch.autograd.gradgradcheck(bound, vector)


def test_a_module_keeps_frozen_parameters_and_buffers():
    module = torch.nn.Sequential(layer(), torch.nn.BatchNorm1d(1, dtype=double))
    module[0].bias.requires_grad_(False)
    structure, vector = Structure.of(module)
    assert vector.tolist() == [4, 5, 1, 0]
    with structure.bound(vector + 1) as bound:
        assert bound[0].weight.tolist() == [[5, 6]] and bound[0].bias.tolist() == [6]
        bound(torch.randn(4, 2, dtype=double))
        assert bound[1].num_batches_tracked == 1
    with structure.bound(vector) as bound:
        assert bound[1].num_batches_tracked == 0
    assert module[0].weight.tolist() == [[4, 5]] and module[1].num_batches_tracked == 0


def test_tied_parameters_are_one():
    module = torch.nn.Sequential(layer(), layer())
    module[1].weight = module[0].weight
    structure, vector = Structure.of(module)
    assert len(vector) == 4
    with structure.bound(2 * vector) as bound:
        assert bound[1].weight is bound[0].weight
    assert structure.unflatten(2 * vector)[1].weight.tolist() == [[8, 10]]


def test_a_module_is_bound_twice_at_a_time():
    structure, vector = Structure.of(layer())
    with structure.bound(vector) as one, structure.bound(2 * vector) as other:
        assert one.bias.tolist() == [6] and other.bias.tolist() == [12]


def test_load_writes_into_the_module_that_was_given():
    module = layer()
    structure, vector = Structure.of((module, arange(2)))
    loaded, tensor = structure.load(vector + 1)
    assert loaded is module and module.bias.tolist() == [7] and tensor.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": 1.0}, TypeError, r"hyper\['a'\] must be a tensor, .*: got float"),
        ((), ValueError, "hyper must have a tensor"),
        (
            [torch.ones(2).half()],
            TypeError,
            r"hyper\[0\] must be a tensor of float32 or float64: got",
        ),
        ((torch.ones(2), arange(2)), ValueError, r"hyper\[0\], hyper\[1\] must have one dtype"),
        (torch.nn.ReLU(), ValueError, "hyper must have parameters with requires_grad: ReLU"),
    ],
)
def test_what_is_no_variable_is_refused_by_its_place(value, error, message):
    with pytest.raises(error, match=message):
        Structure.of(value, "hyper")


def test_only_values_of_the_same_form_are_flattened():
    structure, vector = Structure.of({"head": layer(), "scale": arange(2)})
    value = structure.unflatten(vector + 1)
    assert torch.equal(structure.flatten(value), vector + 1)
    wide = torch.nn.Linear(3, 1, dtype=double)
    for other in ({"head": wide}, {"head": arange(3)}, {"scale": layer()}, {"scale": arange(3)}):
        with pytest.raises(ValueError, match="value must have the form"):
            structure.flatten(value | other)
