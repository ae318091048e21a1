"""The last answers of a method, and when they are not the answer any more."""

import copy
from dataclasses import dataclass

import pytest
import torch

from skbamm.linalg._tensors import memo_last


@dataclass(frozen=True)
class Doubler:
    """Counts how often it works."""

    calls: list

    @memo_last()
    def doubled(self, tensor):
        self.calls.append(tensor)
        return 2 * tensor

    @memo_last(2)
    def tripled(self, tensor):
        self.calls.append(tensor)
        return 3 * tensor


@pytest.fixture
def doubler():
    return Doubler([])


def test_the_same_tensor_gets_the_same_answer(doubler):
    tensor = torch.ones(2)
    assert doubler.doubled(tensor) is doubler.doubled(tensor)
    assert len(doubler.calls) == 1


def test_an_equal_tensor_is_another_one(doubler):
    doubler.doubled(torch.ones(2))
    doubler.doubled(torch.ones(2))
    assert len(doubler.calls) == 2


def test_a_change_in_place_asks_for_a_new_answer(doubler):
    tensor = torch.ones(2)
    doubler.doubled(tensor)
    tensor *= 5
    torch.testing.assert_close(doubler.doubled(tensor), 2 * tensor)


def test_only_the_last_answers_are_kept(doubler):
    first, second, third = torch.ones(3, 2)
    for tensor in (first, second, first, second, third, second, first):
        doubler.tripled(tensor)
    assert len(doubler.calls) == 4


def test_methods_do_not_share_answers(doubler):
    tensor = torch.ones(2)
    doubler.doubled(tensor)
    torch.testing.assert_close(doubler.tripled(tensor), 3 * tensor)


def test_a_tensor_with_a_graph_is_not_remembered(doubler):
    tensor = torch.ones(2, requires_grad=True)
    doubler.doubled(tensor)
    doubler.doubled(tensor)
    assert len(doubler.calls) == 2


def test_a_copy_begins_with_nothing(doubler):
    tensor = torch.ones(2)
    doubler.doubled(tensor)
    copy.copy(doubler).doubled(tensor)
    assert len(doubler.calls) == 2
