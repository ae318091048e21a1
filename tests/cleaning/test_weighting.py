"""How learned numbers become training weights of rows."""

import pytest
import torch

from skbamm.cleaning._weighting import EvidenceWeighting, FreeWeighting

EVIDENCE = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64)
NOISY, CLEAN = torch.tensor([0, 2, 3]), torch.tensor([1, 4])
ROW_WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.0, 1.5], dtype=torch.float64)
IN_TRAINING = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0]], dtype=torch.float64)
HYPER = torch.tensor([[0.3, 1.5, -2.0, 0.7, 0.4], [-1.0, 0.2, 0.5, 0.0, 0.0]], dtype=torch.float64)
LOGITS = torch.tensor([[0.3, -1.5, 2.0], [0.0, 10.0, -10.0]], dtype=torch.float64)


def adaptive(**changes):
    options = {
        "evidence": EVIDENCE,
        "noisy": NOISY,
        "clean": CLEAN,
        "row_weight": ROW_WEIGHT,
        "in_training": IN_TRAINING,
    }
    return EvidenceWeighting(**{**options, **changes})


def free(**changes):
    options = {"noisy": NOISY, "row_weight": ROW_WEIGHT, "in_training": IN_TRAINING, "ridge": 0.1}
    return FreeWeighting(**{**options, **changes})


def test_trust_is_the_sigmoid_of_evidence():
    expected = torch.sigmoid(HYPER[:, [0]] + HYPER[:, [1]] * EVIDENCE)
    torch.testing.assert_close(adaptive().trust(HYPER), expected)


def test_adaptive_weights_follow_their_formula():
    weights, _, _ = adaptive()(HYPER)
    a, b, _, log_clean, _ = HYPER[0].tolist()
    for k in range(2):
        expected = torch.zeros(5, dtype=torch.float64)
        expected[NOISY] = torch.sigmoid(a + b * EVIDENCE)
        expected[CLEAN] = torch.tensor(log_clean, dtype=torch.float64).exp()
        expected = expected * ROW_WEIGHT * IN_TRAINING[k]
        torch.testing.assert_close(weights[0, k], expected / expected.sum())


def test_what_a_label_loses_goes_to_the_suggested_ones():
    weighting = adaptive(relabel=0.5)
    trust = weighting.trust(HYPER)[0]
    weights, _, share = weighting(HYPER)
    plain, _, nothing = adaptive()(HYPER)
    given = (weights * share[:, None])[0, 0]
    total = plain[0, 0, NOISY[0]] / given[NOISY[0]]
    torch.testing.assert_close(given * total, plain[0, 0])  # but for the normalisation
    lost = (weights[0, 0] - given)[NOISY] * total
    torch.testing.assert_close(lost, plain[0, 0, NOISY] * 0.5 * (1 - trust) / trust)
    assert nothing is None
    assert (share[:, CLEAN] == 1).all()


def test_adaptive_weights_of_every_fold_sum_to_one():
    weights, _, _ = adaptive()(HYPER)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, dtype=torch.float64))


def test_adaptive_weighting_learns_the_ridge():
    torch.testing.assert_close(adaptive()(HYPER)[1], HYPER[:, 2].exp())


def test_sharpness_is_not_of_the_weights():
    sharper = HYPER.clone()
    sharper[:, EvidenceWeighting.LOG_SHARPNESS] += 1
    torch.testing.assert_close(adaptive()(sharper), adaptive()(HYPER))


def test_without_clean_rows_their_weight_does_not_matter():
    weighting = adaptive(noisy=torch.arange(3), clean=torch.arange(0), row_weight=ROW_WEIGHT[:3])
    weighting = adaptive(
        noisy=weighting.noisy,
        clean=weighting.clean,
        row_weight=weighting.row_weight,
        in_training=IN_TRAINING[:, :3],
    )
    heavier = HYPER.clone()
    heavier[:, EvidenceWeighting.LOG_CLEAN] += 1
    torch.testing.assert_close(weighting(heavier), weighting(HYPER))


def test_free_trust_is_the_sigmoid_of_its_logit():
    torch.testing.assert_close(free().trust(LOGITS), torch.sigmoid(LOGITS))


def test_free_weights_are_a_mean_over_noisy_rows():
    """At a trust of 1 the weights sum to 1; otherwise to the mean trust."""
    weights, _, _ = free()(LOGITS)
    share = ROW_WEIGHT[NOISY] / ROW_WEIGHT[NOISY].sum()  # noisy rows train in both folds
    torch.testing.assert_close(weights.sum(-1)[:, 0], torch.sigmoid(LOGITS) @ share)


def test_clean_rows_do_not_train_with_free_weights():
    weights, _, _ = free()(LOGITS)
    assert (weights[..., CLEAN] == 0).all()


def test_free_weighting_has_a_fixed_ridge():
    assert free()(LOGITS)[1].tolist() == [0.1, 0.1]


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
    assert (weights[:, (ROW_WEIGHT * IN_TRAINING) == 0] == 0).all()


@pytest.mark.parametrize(
    ("make", "hyper"), [(adaptive, HYPER), (free, LOGITS)], ids=["adaptive", "free"]
)
def test_candidates_are_weighted_apart(make, hyper):
    both, _, _ = make()(hyper)
    alone = torch.cat([make()(hyper[[i]])[0] for i in range(2)])
    torch.testing.assert_close(both, alone)
