"""The unit and the origin of y, the order of its values and names of annotators change nothing."""

import numpy as np
import pytest

from skbamm.row_weights import _raters
from skbamm.row_weights._columns import RowColumns
from skbamm.row_weights._learn import learn_row_weights
from skbamm.row_weights._raters import Ratings
from skbamm.row_weights._record import standardized, symmetric_bins
from tests.row_weights.made_rows import FROZEN, drifting, ratings, sites


def learn(X, y, labels=None, **columns):
    checked = RowColumns(**columns).checked(len(X))
    return learn_row_weights(X, y.reshape(len(X), -1), None, checked, FROZEN, labels=labels)


def case(kind):
    if kind == "time":
        X, y, time = drifting()
        return X, y, {"time": time}
    if kind == "row_source":
        X, y, source = sites()
        return X, y, {"row_source": source, "target_source": 0}
    X, y, annotator, *_ = ratings(n_items=60)
    level = np.random.default_rng(1).normal(size=40)
    return X, y + level[annotator].round(1), {"annotator": annotator}


@pytest.mark.parametrize("kind", ["time", "row_source", "annotator"])
def test_the_unit_and_the_origin_of_y_do_not_matter(kind):
    X, y, columns = case(kind)
    found = learn(X, y, **columns)
    assert found.found
    for scale, shift in [(1e-7, 0.0), (1e-300, 0.0), (1e300, 0.0), (-1.0, 0.0), (1.0, 1e7)]:
        other = learn(X, scale * y + shift, **columns)
        # The likelihood of annotators is maximized to within 1e-3.
        np.testing.assert_allclose(other.weight, found.weight, atol=5e-3, err_msg=str(scale))
        if found.level is not None:
            np.testing.assert_allclose(other.level / scale, found.level, atol=1e-3)


def test_the_status_tells_levels_in_the_unit_of_y():
    X, y, columns = case("annotator")
    found = learn(X, 1000 * y, **columns)
    level = found.level[np.unique(columns["annotator"], return_index=True)[1], 0]
    assert f"a deviation of {level.std():.2g}" in found.status


def test_the_order_of_two_classes_does_not_matter():
    X, y, annotator, *_ = ratings(n_items=60)
    labels = (y > 3).astype(int)
    found, other = (
        learn(X, np.eye(2)[one], one, annotator=annotator) for one in (labels, 1 - labels)
    )
    assert found.found
    np.testing.assert_allclose(other.weight, found.weight, rtol=1e-6)


def test_bins_are_symmetric():
    values = np.random.default_rng(0).integers(0, 12, 200) / 3.0
    weight = np.random.default_rng(1).integers(1, 4, 200).astype(float)
    index = symmetric_bins(values, weight, 5)
    np.testing.assert_array_equal(index.max() - symmetric_bins(-values, weight, 5), index)
    np.testing.assert_array_equal(symmetric_bins(values * (1 + 1e-15) + 1e3, weight, 5), index)
    share = np.bincount(index, weight) / weight.sum()
    np.testing.assert_allclose(share, 0.2, atol=0.1)
    twice = np.repeat(values, weight.astype(int))
    np.testing.assert_array_equal(
        symmetric_bins(twice, np.ones(len(twice)), 5), np.repeat(index, weight.astype(int))
    )


def test_names_of_many_annotators_do_not_matter(monkeypatch):
    """Numbers are learned from some of them, whatever they are called."""
    X, y, annotator, *_ = ratings(n_items=60)
    monkeypatch.setattr(_raters, "MOST_RATERS", 20)
    found = learn(X, y, annotator=annotator)
    names = np.random.default_rng(0).permutation(40)
    other = learn(X, y, annotator=names[annotator])
    np.testing.assert_allclose(other.weight, found.weight, rtol=1e-4)
    table = Ratings.of(y, np.ones(len(y)), X[:, 0], annotator)
    assert table.some(20, 0).counts.shape[0] == 20


def test_standardized_columns_have_mean_0_and_deviation_1():
    generator = np.random.default_rng(0)
    y, weight = generator.normal(size=(50, 3)), generator.random(50)
    y[:, 2] = 0.1
    found, unit = standardized(y * [1e-300, 1e300, 1.0], weight)
    np.testing.assert_allclose(weight @ found, 0, atol=1e-12)
    np.testing.assert_allclose(weight @ found**2 / weight.sum(), [1, 1, 0], rtol=1e-12)
    centred = y - weight @ y / weight.sum()
    np.testing.assert_allclose(found * (unit / [1e-300, 1e300, 1.0]), centred, atol=1e-12)
