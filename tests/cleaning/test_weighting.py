"""How learned numbers become training weights of rows."""

import numpy as np
import pytest
import torch

from skbamm.cleaning._constants import LabelNumbers
from skbamm.cleaning._problem import FreeWeighting, QualityWeighting

LOG_ODDS = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64)
NOISY, VERIFIED = torch.tensor([0, 2, 3]), torch.tensor([1, 4])
ROW_WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.0, 1.5], dtype=torch.float64)
IN_TRAINING = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=torch.float64)
HYPER = torch.tensor([0.3, 1.5, -2.0, 0.7, 0.4], dtype=torch.float64)
LOGITS = torch.tensor([0.3, -1.5, 2.0], dtype=torch.float64)


def adaptive(**changes):
    options = {
        "log_odds": LOG_ODDS,
        "noisy": NOISY,
        "verified": VERIFIED,
        "row_weight": ROW_WEIGHT,
        "in_training": IN_TRAINING,
    }
    return QualityWeighting(**{**options, **changes})


def free(**changes):
    options = {"noisy": NOISY, "row_weight": ROW_WEIGHT, "in_training": IN_TRAINING, "ridge": 0.1}
    return FreeWeighting(**{**options, **changes})


def changed(name, by):
    """`HYPER` with another number."""
    numbers = LabelNumbers.unpack(HYPER)
    return numbers._replace(**{name: getattr(numbers, name) + by}).pack()


@pytest.mark.parametrize("hyper", [HYPER, HYPER.numpy(), torch.stack([HYPER, 2 * HYPER])])
def test_packed_numbers_are_those_that_were_unpacked(hyper):
    packed = LabelNumbers.unpack(hyper).pack()
    assert type(packed) is type(hyper)
    np.testing.assert_array_equal(packed, hyper)


def test_numbers_are_packed_in_the_order_of_their_names():
    assert LabelNumbers(0, 1, 2, 3, log_inverse_temperature=4).pack().tolist() == [0, 1, 2, 3, 4]


def test_label_weight_is_the_sigmoid_of_log_odds():
    expected = torch.sigmoid(HYPER[0] + HYPER[1] * LOG_ODDS)
    torch.testing.assert_close(adaptive().label_weight(HYPER), expected)


def test_adaptive_weights_follow_their_formula():
    weights, _, _ = adaptive()(HYPER)
    a, b, _, log_verified_weight, _ = HYPER
    for k in range(2):
        expected = torch.zeros(5, dtype=torch.float64)
        expected[NOISY] = torch.sigmoid(a + b * LOG_ODDS)
        expected[VERIFIED] = log_verified_weight.exp()
        expected = expected * ROW_WEIGHT * IN_TRAINING[k]
        torch.testing.assert_close(weights[k], expected / expected.sum())


def test_what_a_label_loses_goes_to_the_suggested_ones():
    weighting = adaptive(relabel=0.5)
    label_weight = weighting.label_weight(HYPER)
    weights, _, given = weighting(HYPER)
    plain, _, nothing = adaptive()(HYPER)
    of_given = (weights * given)[0]
    total = plain[0, NOISY[0]] / of_given[NOISY[0]]
    torch.testing.assert_close(of_given * total, plain[0])  # but for the normalisation
    lost = (weights[0] - of_given)[NOISY] * total
    torch.testing.assert_close(lost, plain[0, NOISY] * 0.5 * (1 - label_weight) / label_weight)
    assert nothing is None
    assert (given[VERIFIED] == 1).all()


def test_adaptive_weights_of_every_fold_sum_to_one():
    weights, _, _ = adaptive()(HYPER)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, dtype=torch.float64))


def test_adaptive_weighting_learns_the_ridge():
    torch.testing.assert_close(adaptive()(HYPER).ridge, HYPER[2].exp())


def test_temperature_is_not_of_the_weights():
    colder = changed("log_inverse_temperature", 1.0)
    torch.testing.assert_close(adaptive()(colder), adaptive()(HYPER))


def test_without_verified_rows_their_weight_does_not_matter():
    weighting = adaptive(
        noisy=torch.arange(3),
        verified=torch.arange(0),
        row_weight=ROW_WEIGHT[:3],
        in_training=IN_TRAINING[:, :3],
    )
    heavier = changed("log_verified_weight", 1.0)
    torch.testing.assert_close(weighting(heavier), weighting(HYPER))


def test_free_label_weight_is_the_sigmoid_of_its_logit():
    torch.testing.assert_close(free().label_weight(LOGITS), torch.sigmoid(LOGITS))


def test_free_weights_are_a_mean_over_noisy_rows():
    """At a label weight of 1 the weights sum to 1; otherwise to its mean."""
    weights, _, _ = free()(LOGITS)
    share = ROW_WEIGHT[NOISY] / ROW_WEIGHT[NOISY].sum()  # noisy rows train in both folds
    torch.testing.assert_close(weights.sum(-1)[0], torch.sigmoid(LOGITS) @ share)


def test_verified_rows_do_not_train_with_free_weights():
    weights, _, _ = free()(LOGITS)
    assert (weights[..., VERIFIED] == 0).all()


def test_free_weighting_has_a_fixed_ridge():
    assert float(free()(LOGITS).ridge) == 0.1


@pytest.mark.parametrize(
    ("make", "hyper"), [(adaptive, HYPER), (free, LOGITS)], ids=["adaptive", "free"]
)
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_row_weights_does_not_matter(make, hyper, factor):
    torch.testing.assert_close(make(row_weight=factor * ROW_WEIGHT)(hyper), make()(hyper))


@pytest.mark.parametrize(
    ("make", "hyper"), [(adaptive, HYPER), (free, LOGITS)], ids=["adaptive", "free"]
)
def test_rows_without_weight_and_rows_held_out_do_not_train(make, hyper):
    weights, _, _ = make()(hyper)
    assert (weights[(ROW_WEIGHT * IN_TRAINING) == 0] == 0).all()
