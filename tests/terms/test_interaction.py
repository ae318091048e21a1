"""Interactions are what main effects leave."""

import numpy as np
import pandas as pd
import pytest

from skbamm.terms import SmoothTerms


def table(n_samples=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.uniform(size=n_samples),
            "b": rng.uniform(size=n_samples),
            "c": rng.normal(size=n_samples),
            "kind": rng.choice(list("uvw"), size=n_samples),
        }
    )


@pytest.mark.parametrize("pair", [("a", "b"), ("kind", "a")])
def test_an_interaction_does_not_correlate_with_its_main_effects(pair):
    terms = SmoothTerms(interactions=[pair]).set_output(transform="default")
    columns = terms.fit_transform(table())
    is_pair = np.array([":" in name for name in terms.term_names_])
    is_main = np.isin(terms.term_names_, pair)
    mains = np.column_stack([np.ones(len(columns)), columns[:, is_main]])
    assert is_pair.sum() > 3
    np.testing.assert_allclose(mains.T @ columns[:, is_pair] / len(columns), 0, atol=1e-9)
    assert columns[:, is_pair].var(axis=0).sum() == pytest.approx(1.0, rel=1e-6)


def test_the_pair_that_interacts_is_found():
    X = table()
    y = 4 * (X.a - 0.5) * (X.b - 0.5) + X.c + np.random.default_rng(1).normal(scale=0.1, size=400)
    assert SmoothTerms(interactions=1).fit(X, y).interactions_ == [("a", "b")]
    assert SmoothTerms().fit(X, y).interactions_[0] == ("a", "b")


def test_slopes_by_category_are_found():
    X = table()
    y = X.c * (X.kind == "u") + np.random.default_rng(1).normal(scale=0.1, size=400)
    assert SmoothTerms(interactions=1).fit(X, y).interactions_ == [("c", "kind")]


def test_auto_rarely_takes_a_pair_where_effects_add_up():
    found = []
    for seed in range(12):
        X = table(seed=seed)
        noise = np.random.default_rng(seed).normal(scale=0.5, size=400)
        y = np.sin(5 * X.a) + X.b**2 + X.c + (X.kind == "u") + noise
        found.append(bool(SmoothTerms().fit(X, y).interactions_))
    # A test at the level of 5 %.
    assert np.mean(found) <= 0.1


def test_auto_takes_no_pair_of_few_rows_by_luck():
    found = []
    for seed in range(10):
        X = table(n_samples=200, seed=seed)
        noise = np.random.default_rng(seed).normal(scale=1.0, size=200)
        found.append(bool(SmoothTerms().fit(X, X.a + X.c + noise).interactions_))
    assert np.mean(found) <= 0.1


def test_an_interaction_never_leaves_the_values_of_fit():
    X = table()
    terms = SmoothTerms(interactions=[("a", "b"), ("a", "kind")])
    seen = terms.fit_transform(X)
    far = terms.transform(X.assign(a=X.a * 50 - 20, b=-30.0))
    is_pair = np.array([":" in name for name in terms.term_names_])
    assert (far[:, is_pair] <= seen[:, is_pair].max(axis=0) + 1e-12).all()
    assert (far[:, is_pair] >= seen[:, is_pair].min(axis=0) - 1e-12).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", "nothing")], "names no column by 'nothing'"),
        ([("a", "a")], "with itself"),
        (["ab"], "must be pairs"),
        (2, "pass y"),
    ],
)
def test_bad_pairs_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        SmoothTerms(interactions=given).fit(table())


def test_labels_of_classes_may_be_texts():
    X = table()
    y = np.where((X.a > 0.5) ^ (X.b > 0.5), "yes", "no")
    assert SmoothTerms(interactions=1).fit(X, y).interactions_ == [("a", "b")]
