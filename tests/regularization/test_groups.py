"""Groups of features and their strengths, in every spelling."""

from types import MappingProxyType

import numpy as np
import pytest

from skbamm.regularization._options import resolve_alpha, resolve_groups

NAMES = np.array(["num__a", "num__b", "cat__c", "num__d", "cat__e"], dtype=object)
EXPECTED = [0, 0, 1, 0, 1]
NUM, CAT = np.array([1, 1, 0, 1, 0], dtype=bool), np.array([0, 0, 1, 0, 1], dtype=bool)

SPELLINGS = {
    "list of labels": ["num", "num", "cat", "num", "cat"],
    "tuple of labels": ("num", "num", "cat", "num", "cat"),
    "array of labels": np.array(["num", "num", "cat", "num", "cat"]),
    "positions": {"num": [0, 1, 3], "cat": (2, 4)},
    "negative positions": {"num": np.array([0, 1, -2]), "cat": [2, -1]},
    "names": {"num": ["num__a", "num__b", "num__d"], "cat": ["cat__c", "cat__e"]},
    "names and positions": {"num": [0, "num__b", 3], "cat": [2, "cat__e"]},
    "masks": {"num": NUM, "cat": CAT.tolist()},
    "a slice": {"num": [0, 1, 3], "cat": slice(2, None, 2)},
    "read-only mapping": MappingProxyType({"num": [0, 1, 3], "cat": [2, 4]}),
    "callable": lambda name: name.split("__")[0],
    "prefix": "prefix",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_gives_the_same_partition(spelling):
    groups = resolve_groups(SPELLINGS[spelling], 5, NAMES)
    np.testing.assert_array_equal(groups.index, EXPECTED)
    assert groups.names == ["num", "cat"]


def test_none_is_one_group_that_nobody_gave():
    groups = resolve_groups(None, 3)
    np.testing.assert_array_equal(groups.index, [0, 0, 0])
    assert not groups.given


def test_feature_is_one_group_each_named_by_its_feature():
    assert resolve_groups("feature", 5, NAMES).names == NAMES.tolist()


def test_feature_without_names_is_named_by_position():
    assert resolve_groups("feature", 3).names == [0, 1, 2]


def test_single_columns_need_no_list():
    groups = resolve_groups({"first": "num__a", "second": 1, "rest": slice(2, 5)}, 5, NAMES)
    np.testing.assert_array_equal(groups.index, [0, 1, 2, 2, 2])


def test_labels_of_mixed_types_stay_apart():
    assert len(resolve_groups([1, "1", 2.5], 3)) == 3


def test_names_without_a_separator_are_their_own_prefix():
    assert resolve_groups("prefix", 3, ["a", "b__x", "b__y__z"]).names == ["a", "b"]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["a", "b"], "one entry per feature: got 2 for 5 features"),
        (np.zeros((5, 2)), r"one entry per feature: got an array of shape \(5, 2\)"),
        ("columns", "groups must be None, 'feature', 'prefix'.*got 'columns'"),
        ({"a": [0, 1, 2], "b": [2, 3, 4]}, "overlap: column 2 is in 'a' and in 'b'"),
        ({"a": [0, 0], "b": [1, 2, 3, 4]}, "column 0 .*'a'"),
        ({"a": [0, 1, 2]}, "2 of 5 are in no group, among them .*num__d.*cat__e"),
        ({}, "5 of 5 are in no group"),
        ({"a": [0, 1, 2, 3, 9]}, "group 'a' has column 9, but there are 5 features"),
        ({"a": [0, 1, 2, 3, -6]}, "group 'a' has column -6, but there are 5 features"),
        ({"a": [0, 1, 2, 3, 4.0]}, "group 'a' has column 4.0"),
        ({"a": ["num__a", "height"]}, "group 'a' names an unknown column: 'height'"),
        ({"a": [True, False], "b": [1, 2, 3, 4]}, "group 'a'.*mask"),
    ],
)
def test_unusable_groups_are_an_error_that_says_so(groups, message):
    with pytest.raises(ValueError, match=message):
        resolve_groups(groups, 5, NAMES)


@pytest.mark.parametrize("groups", ["prefix", lambda name: name])
def test_spellings_that_need_names_say_so_without_them(groups):
    with pytest.raises(ValueError, match="needs feature names: fit on a DataFrame"):
        resolve_groups(groups, 5)


@pytest.mark.parametrize("groups", [["a", None, "b"], ["a", float("nan"), "b"]])
def test_missing_labels_are_an_error(groups):
    with pytest.raises(ValueError, match="groups must label every feature: got a missing label"):
        resolve_groups(groups, 3)


GROUPS = resolve_groups(["a", "b", "b", "c"], 4)


def test_learn_is_learned_everywhere():
    assert np.isnan(resolve_alpha("learn", GROUPS)).all()


def test_a_number_is_fixed_everywhere():
    np.testing.assert_array_equal(resolve_alpha(np.float32(0.5), GROUPS), [0.5, 0.5, 0.5])


def test_a_mapping_fixes_the_groups_that_it_names():
    strengths = resolve_alpha({"a": 0, "b": "learn"}, GROUPS)
    np.testing.assert_array_equal(strengths, [0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (-1.0, "alpha must be 'learn' or a finite number >= 0: got -1.0"),
        (np.nan, "alpha must be .*got nan"),
        (np.inf, "alpha must be .*got inf"),
        ("auto", "alpha must be .*got 'auto'"),
        (None, "alpha must be .*got None"),
        ({"a": -1.0}, "alpha of group 'a' must be .*got -1.0"),
        ({"b": "auto"}, "alpha of group 'b' must be .*got 'auto'"),
        ({"d": 1.0}, r"alpha names groups that do not exist: \['d'\]"),
    ],
)
def test_unusable_alpha_is_an_error_that_says_so(alpha, message):
    with pytest.raises(ValueError, match=message):
        resolve_alpha(alpha, GROUPS)


def test_geometric_mean_of_a_group_is_the_root_of_the_product():
    means = GROUPS.geometric_means(np.array([2.0, 1.0, 9.0, 0.0]))
    assert means == pytest.approx({"a": 2.0, "b": 3.0, "c": 0.0})


def test_prefixes_need_names_that_have_them():
    with pytest.raises(ValueError, match=r"no name has that: got .'age', 'sex'."):
        resolve_groups("prefix", 2, ["age", "sex"])
