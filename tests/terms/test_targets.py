"""Numbers or classes: what the pairs of SmoothTerms are to explain."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from skbamm import SmoothTerms
from skbamm.terms._targets import _are_classes

NUMBERS = np.arange(60)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.array(["a", "b", "c"] * 20), True),
        (NUMBERS % 2 == 0, True),
        (NUMBERS % 2, True),
        (NUMBERS % 3 * 1.0, True),
        (NUMBERS % 21, False),
        (NUMBERS / 7, False),
        (NUMBERS % 2 / 2, False),
        (np.column_stack([NUMBERS, NUMBERS]) % 2, False),
    ],
)
def test_texts_and_few_whole_numbers_are_classes(y, expected):
    assert _are_classes(y, "auto") is expected
    assert not _are_classes(y, "continuous")


def test_a_sum_of_steep_logits_has_no_pair_that_its_probabilities_have():
    random = np.random.default_rng(0)
    X = pd.DataFrame(random.normal(size=(2000, 4)), columns=list("abcd"))
    y = (random.uniform(size=2000) < expit(4 * X.a + 4 * X.b)).astype(int)
    assert SmoothTerms().fit(X, y).interactions_ == []
    assert ("a", "b") in SmoothTerms(target_type="continuous").fit(X, y).interactions_


def test_several_columns_are_no_classes():
    X = pd.DataFrame({"a": NUMBERS * 1.0, "b": NUMBERS % 7})
    with pytest.raises(ValueError, match=r"one column of classes: got shape \(60, 2\)"):
        SmoothTerms(target_type="classes", interactions=1).fit(X, X)


def test_texts_are_no_numbers():
    X = pd.DataFrame({"a": NUMBERS * 1.0, "b": NUMBERS % 7})
    with pytest.raises(ValueError, match="not compatible with arrays of bytes/strings"):
        SmoothTerms(target_type="continuous", interactions=1).fit(X, NUMBERS.astype(str) + "x")
