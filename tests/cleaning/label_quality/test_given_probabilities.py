"""Label quality from probabilities that any model predicts."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from skbamm import label_quality

MATRIX = np.array([[0.8, 0.1, 0.1], [0.05, 0.9, 0.05], [0.3, 0.0, 0.7]])


def make_labels(n_rows=4000, transition=MATRIX, seed=0):
    """True probabilities, true and given labels, and a mask of 400 verified rows."""
    random = np.random.default_rng(seed)
    probabilities = softmax(3 * random.normal(size=(n_rows, 3)), axis=1)
    true = (probabilities.cumsum(axis=1) < random.random((n_rows, 1))).sum(axis=1)
    given = (transition[true].cumsum(axis=1) < random.random((n_rows, 1))).sum(axis=1)
    is_clean = np.arange(n_rows) < 400
    return probabilities, true, np.where(is_clean, true, given), is_clean


def test_probabilities_of_true_classes_give_back_the_noise_and_exact_posteriors():
    probabilities, true, labels, is_clean = make_labels()
    quality = label_quality(labels, probabilities, is_clean=is_clean)
    np.testing.assert_allclose(quality.noise_transition_matrix, MATRIX, atol=0.05)
    joint = probabilities * MATRIX.T[labels]
    exact = joint[np.arange(len(labels)), labels] / joint.sum(axis=1)
    noisy = ~is_clean
    assert np.abs(quality.score - exact)[noisy].mean() < 0.02
    wrong = labels != true
    assert quality.noise_rate == pytest.approx(wrong[noisy].mean(), abs=0.02)
    assert quality.is_issue[noisy].sum() == pytest.approx(wrong[noisy].sum(), rel=0.1)
    assert (quality.suggested_label == true).mean() > (labels == true).mean() + 0.05
    likeliest = np.where(is_clean, 1, (joint / joint.sum(axis=1, keepdims=True)).max(axis=1))
    assert np.abs(quality.suggested_probability - likeliest).mean() < 0.02


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_verified_rows_calibrate_predictions_that_are_too_sure_or_not_enough(factor):
    probabilities, _, labels, is_clean = make_labels()
    wrongly_sure = softmax(factor * np.log(probabilities), axis=1)
    found = [
        label_quality(labels, predicted, is_clean=is_clean).score
        for predicted in (probabilities, wrongly_sure)
    ]
    # The prior of the temperature is of one nat, for 400 verified rows.
    np.testing.assert_allclose(*found, atol=0.03)
    assert np.abs(found[0] - found[1]).mean() < 3e-3


def test_models_of_noisy_labels_need_no_verified_rows():
    """A linear model cannot follow labels that are wrong far from the boundary."""
    random = np.random.default_rng(0)
    X = random.normal(size=(1500, 4))
    true = (3 * X[:, 0] + random.logistic(size=1500) > 0).astype(int)
    wrong = random.random(1500) < 0.2
    labels = np.where(wrong, 1 - true, true)
    predicted = cross_val_predict(LogisticRegression(), X, labels, method="predict_proba")
    quality = label_quality(labels, predicted)
    assert quality.noise_rate == pytest.approx(wrong.mean(), abs=0.04)
    assert roc_auc_score(wrong, -quality.score) > 0.85
    assert (quality.suggested_label == true).mean() > (labels == true).mean() + 0.06


def test_labels_that_are_right_are_left_alone():
    probabilities, true, _, _ = make_labels()
    quality = label_quality(true, probabilities)
    assert quality.noise_rate < 0.01
    assert not quality.is_issue.any()
    assert (quality.suggested_label == true).mean() > 0.99


@pytest.mark.parametrize("verified", [False, True])
def test_only_ratios_of_weights_count_and_rows_of_weight_zero_do_not(verified):
    probabilities, _, labels, is_clean = make_labels(600, seed=1)
    is_clean &= verified
    weight = np.random.default_rng(0).integers(0, 3, len(labels)) * 1.0
    whole, scaled = (
        label_quality(labels, probabilities, is_clean=is_clean, sample_weight=factor * weight)
        for factor in (1, 7)
    )
    np.testing.assert_allclose(whole.score, scaled.score, rtol=1e-9)
    used = weight > 0
    rest = label_quality(
        labels[used], probabilities[used], is_clean=is_clean[used], sample_weight=weight[used]
    )
    np.testing.assert_allclose(whole.score[used], rest.score, rtol=1e-9)


def test_verified_labels_stay_and_names_of_classes_do_not_matter():
    probabilities, _, labels, is_clean = make_labels(600)
    quality = label_quality(labels, probabilities, is_clean=is_clean)
    assert (quality.score[is_clean] == 1).all() and not quality.is_issue[is_clean].any()
    assert (quality.suggested_label == labels)[is_clean].all()
    names = np.array(["a", "b", "c"])
    named = label_quality(names[labels], probabilities, is_clean=is_clean, classes=names)
    np.testing.assert_array_equal(named.score, quality.score)
    np.testing.assert_array_equal(named.suggested_label, names[quality.suggested_label])


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("labels", [np.array([4, 1, 7]), np.array(["cat", "ant", "dog"])])
def test_columns_of_tables_that_are_named_as_classes_come_in_any_order(library, labels):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    probabilities, _, given, _ = make_labels(300)
    names = np.sort(labels)
    expected = label_quality(names[given], probabilities).score
    columns = labels.tolist() if library == "pandas" else [str(name) for name in labels]
    place = np.searchsorted(names, labels)
    shuffled = make(dict(zip(columns, probabilities.T[place], strict=True)))
    np.testing.assert_array_equal(label_quality(names[given], shuffled).score, expected)
    unknown = make(dict(zip("abc", probabilities.T, strict=True)))
    np.testing.assert_array_equal(label_quality(names[given], unknown).score, expected)


def test_with_verified_labels_only_there_is_no_noise():
    probabilities, true, _, _ = make_labels(300)
    quality = label_quality(true, probabilities, is_clean=np.ones(300, dtype=bool))
    assert quality.noise_rate == 0
    np.testing.assert_array_equal(quality.noise_transition_matrix, np.eye(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_probs": np.zeros((6, 3))}, "rows of which add up to 1"),
        ({"pred_probs": np.array([[2, -1, 0.0]] * 6)}, "probabilities"),
        ({"pred_probs": np.full((6, 2), 0.5)}, "a column for each class: got 2 columns for 3"),
        ({"pred_probs": np.full((5, 3), 1 / 3)}, "one row for each label: got 5 for 6"),
        ({"pred_probs": np.full((6, 3), np.nan)}, "pred_probs contains NaN"),
        ({"labels": [0, 1, 2, None, 1, np.nan]}, "Input labels contains NaN or None: 2 rows"),
        ({"classes": [2, 1, 0]}, "ascending order"),
        ({"classes": [0, 1, 3]}, r"values that classes does not name: \[2\]"),
        ({"is_clean": [True]}, "is_clean must have one entry per row"),
        ({"sample_weight": [-1] * 6}, "Negative values"),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_was_given(change, message):
    arguments = {"labels": [0, 1, 2, 0, 1, 2], "pred_probs": np.full((6, 3), 1 / 3)}
    with pytest.raises(ValueError, match=message):
        label_quality(**{**arguments, **change})


def test_the_record_says_in_a_line_what_was_found():
    probabilities, true, _, _ = make_labels(300)
    said = repr(label_quality(true, probabilities))
    assert said == "LabelScores(300 labels, 0 issues, noise_rate=0)"


def test_rows_without_weight_teach_nothing():
    probabilities, _, labels, is_clean = make_labels(900)
    noisy, rest = (~is_clean).astype(float), {"is_clean": is_clean}
    verified_only = label_quality(labels, probabilities, sample_weight=1 - noisy, **rest)
    np.testing.assert_array_equal(verified_only.noise_transition_matrix, np.eye(3))
    noisy_only = label_quality(labels, probabilities, sample_weight=noisy, **rest)
    alone = label_quality(labels[~is_clean], probabilities[~is_clean])
    np.testing.assert_allclose(noisy_only.score[~is_clean], alone.score)


@pytest.mark.parametrize("verified", [False, True])
def test_predictions_that_tell_nothing_flag_nothing(verified):
    probabilities, true, _, is_clean = make_labels(900)
    for predicted in (np.full((900, 3), 1 / 3), np.tile(probabilities.mean(axis=0), (900, 1))):
        quality = label_quality(true, predicted, is_clean=is_clean if verified else None)
        assert quality.noise_rate == 0 or not quality.is_issue.any()
