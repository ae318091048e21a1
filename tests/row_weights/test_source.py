import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skbamm.row_weights._average import shares_by_name
from skbamm.row_weights._cells import ridge_path
from skbamm.row_weights._record import Rows
from skbamm.row_weights._source import (
    Candidate,
    _make_sources,
    class_weights,
    learn_source,
    source_problem,
)
from tests.row_weights.made_rows import FROZEN, LEARN, rows_of, sites


def learned(X, y, source, run=FROZEN, target=0):
    return learn_source(rows_of(X, y), source, source == target, run)


def test_levels_of_sources_are_found():
    X, y, source = sites()
    part = learned(X, y, source, LEARN)
    assert np.ptp(part.level[source == 1]) == 0 and part.level[source == 0].max() == 0
    np.testing.assert_allclose(part.level[source == 1][0], 3, atol=0.6)
    np.testing.assert_allclose(part.level[source == 2][0], -3, atol=0.6)


def test_sources_with_other_coefficients_lose_weight():
    X, y, source = sites(shift=(0, 0, 0), n_own=60)
    y = np.where(source == 0, y, -y)
    part = learned(X, y, source, LEARN)
    assert part.weight[source != 0].max() < 0.1
    assert (part.weight[source == 0] == 1).all()


def test_sources_alike_mostly_show_no_difference():
    parts = [learned(*sites((0, 0, 0), seed=seed, n_own=50)) for seed in range(10)]
    assert sum(part.found for part in parts) <= 7
    nothing = next(part for part in parts if not part.found)
    assert nothing.sentence == "no sign that sources differ: rows count alike"
    for part in parts:
        if part.found:
            assert part.level is None or np.abs(part.level).max() < 0.5


def test_names_of_sources_and_order_of_rows_do_not_matter():
    X, y, source = sites()
    part = learned(X, y, source)
    names = np.array(["b", "c", "a"])[source]
    # The folds follow the target's rows in their order: that stays.
    order = np.argsort(source == 0, kind="stable")
    other = learned(X[order] * 3 + 1, 5 * y[order] + 2, names[order], target="b")
    np.testing.assert_allclose(other.weight, part.weight[order], rtol=1e-6)
    np.testing.assert_allclose(other.level, 5 * part.level[order], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("others", [["", "target"], ["a", ""]])
def test_any_name_of_a_source_is_its_own(others):
    X, y, source = sites()
    part = learned(X, y, np.array(["b", *others])[source], target="b")
    expected = learned(X, y, source)
    np.testing.assert_allclose(part.weight, expected.weight, rtol=1e-6)
    assert sorted(part.names[1:]) == sorted(others) and len(set(part.names)) == 3
    assert part.means()[0].sum() == len(y) and part.means()[0][0] == 30


def test_shares_of_all_candidates_are_kept():
    part = learned(*sites(), LEARN)
    assert sum(part.average.values()) == pytest.approx(1)
    assert sum(name.startswith("learned: ") for name in part.average) == 1


def test_candidates_that_print_alike_count_together():
    some = [Candidate(0.1, 3.0), Candidate(0.1 + 1e-9, 3.0), Candidate(0.1, 3.0)]
    found = shares_by_name([0.5, 0.2, 0.3], some, is_last_learned=True)
    name = str(some[0])
    assert found == {name: 0.7, f"learned: {name}": 0.3}


def test_shrunken_levels_are_ridge_columns():
    X, y, source = sites()
    rows = rows_of(X, y)
    own = np.flatnonzero(source == 0)
    others = source[source != 0] - 1
    blocks = [np.arange(len(own)) % 3]
    sources = _make_sources(X, rows, own, others, blocks)
    candidate, strength = Candidate(0.3, 4.0), 2.0
    own_products = sources.cells.combined(sources.train)[0]
    coef = ridge_path(own_products + sources.kept(candidate), 1, [strength])[0]
    Z, targets = sources.cells.standardized(X, y[:, None])
    used = np.ones(len(y), bool)
    used[own[blocks[0] == 0]] = False
    weight = np.where(source == 0, 1.0, candidate.weight)[used]
    # A level costs v c b^2, as a column of sqrt(strength / (v c)) does with the common strength.
    scale = np.sqrt(strength / (candidate.weight * candidate.level))
    dummies = scale * (source[:, None] == [1, 2])
    design = np.hstack([Z[:, :-1], dummies])[used]
    expected = Ridge(strength).fit(design, targets[used, 0], weight)
    np.testing.assert_allclose(coef[:-1, 0], expected.coef_[:4], rtol=1e-6)
    np.testing.assert_allclose(coef[-1, 0], expected.intercept_, rtol=1e-6)
    levels = sources.levels(coef, candidate.level)[:, 0]
    np.testing.assert_allclose(levels, scale * expected.coef_[4:], rtol=1e-6)


@pytest.mark.parametrize("initial", [[-1.0, 2.0, 1.0], [-1.0, 1.0]], ids=["levels", "none"])
def test_hypergradients_agree_with_finite_differences(initial):
    import torch

    X, y, source = sites()
    own = np.flatnonzero(source == 0)
    blocks = [np.arange(len(own)) % 3]
    sources = _make_sources(X, rows_of(X, y), own, source[source != 0] - 1, blocks)
    problem = source_problem(sources, initial)

    def criterion(hyper):
        return problem.upper.value(hyper, problem.solve_lower(hyper, problem.initial_params))

    hyper = problem.initial_hyper.clone()
    params = problem.solve_lower(hyper, problem.initial_params)
    upper = problem.upper.gradients(hyper, params)
    vector = problem.metric(hyper, params, 0.0).solve(upper.params)
    found = upper.hyper - problem.lower.curvature_products(hyper, params, vector).mixed
    for i in range(len(hyper)):
        move = torch.zeros_like(hyper)
        move[i] = 1e-5
        slope = (criterion(hyper + move) - criterion(hyper - move)) / 2e-5
        torch.testing.assert_close(found[i], slope, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("is_target", "said"),
    [(np.ones(330, bool), "all rows are of the target"), (np.arange(330) < 4, "only 4 rows")],
)
def test_nothing_to_compare_leaves_rows_alone(is_target, said):
    X, y, source = sites()
    part = learn_source(rows_of(X, y), source, is_target, FROZEN)
    assert not part.found and said in part.sentence


def class_sites(seed=0):
    """Two classes; of sources 1 and 2 one is much more frequent, given X."""
    generator = np.random.default_rng(seed)
    source = np.concatenate([np.zeros(40, int), generator.integers(1, 3, 600)])
    X = generator.normal(size=(640, 3))
    score = X.sum(axis=1) + np.array([0.0, 2.0, -2.0])[source]
    return X, (score + generator.logistic(size=640) > 0).astype(int), source


def test_levels_of_classes_become_weights_of_them():
    X, labels, source = class_sites()
    rows = Rows(X, np.eye(2)[labels], np.ones(640), labels)
    part = learn_source(rows, source, source == 0, FROZEN)
    assert part.level is None and "levels of their own" in part.sentence
    for which, frequent in ((1, 1), (2, 0)):
        one = part.weight[(source == which) & (labels == frequent)]
        other = part.weight[(source == which) & (labels != frequent)]
        assert np.ptp(one) < 1e-12 and other[0] > 2 * one[0]
    np.testing.assert_allclose(part.means()[1][1:], part.means()[1][1])


def test_weights_of_classes_give_the_shares_without_levels():
    generator = np.random.default_rng(0)
    labels, source = generator.integers(0, 3, 300), generator.integers(0, 2, 300)
    weight = generator.uniform(1, 2, 300)
    level = np.array([[0.2, -0.1, -0.1], [-0.05, 0.05, 0.0]])
    y = np.eye(3)[labels]
    found = class_weights(y, weight, source, level)
    for one in (0, 1):
        own = source == one
        share = weight[own] @ y[own] / weight[own].sum()
        np.testing.assert_allclose(
            (weight * found)[own] @ y[own] / weight[own].sum(), share - level[one]
        )


def test_a_source_without_a_class_keeps_its_weight():
    y = np.eye(2)[[0, 0, 0, 1]]
    found = class_weights(y, np.ones(4), np.array([0, 0, 1, 1]), np.array([[0.3, -0.3], [0, 0]]))
    np.testing.assert_allclose(found, 1)
