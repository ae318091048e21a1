"""What both estimators share: how a run ended, and what they ask of metadata routing."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupKFold, KFold, cross_validate

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier

BLOCKS = np.arange(60) // 6
REGRESSOR, CLASSIFIER = BilevelRegularizedRegressor, HyperCleaningClassifier


def asks_for_row_groups(model):
    with config_context(enable_metadata_routing=True):
        return "groups" in model.get_metadata_routing().consumes("fit", ["groups"])


@pytest.mark.parametrize(
    ("kind", "cv", "expected"),
    [
        (REGRESSOR, GroupKFold(2), True),
        (REGRESSOR, KFold(2), False),
        (REGRESSOR, 5, False),
        (CLASSIFIER, GroupKFold(2), True),
        (CLASSIFIER, KFold(2), False),
        (CLASSIFIER, 5, False),
    ],
    ids=str,
)
def test_row_groups_are_asked_for_where_the_splitter_takes_them(kind, cv, expected):
    assert asks_for_row_groups(kind(cv=cv)) == expected


# So few iterations are no convergence.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [REGRESSOR, CLASSIFIER])
@pytest.mark.parametrize("cv", [2, KFold(2)], ids=str)
def test_row_groups_of_the_outer_splits_do_not_reach_fit(kind, cv):
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    y = (X[:, 0] > 0).astype(int)
    model = kind(cv=cv, max_iter=1)
    with config_context(enable_metadata_routing=True):
        found = cross_validate(model, X, y, cv=GroupKFold(2), params={"groups": BLOCKS})
    assert np.isfinite(found["test_score"]).all()


def test_a_residual_that_is_not_known_is_not_compared_with_tol():
    random = np.random.default_rng(0)
    X = random.normal(size=(60, 3))
    y = X[:, 0] + random.normal(size=60)
    with pytest.warns(ConvergenceWarning, match="max_iter=1, before its residual was known"):
        model = CLASSIFIER(weighting="sample", max_iter=1, tol=0).fit(X, y > 0)
    assert np.isinf(model.residual_) and "tol" not in model.status_


def test_a_method_that_is_not_there_says_why():
    with pytest.raises(AttributeError, match="weigh needs weighting='adaptive'"):
        HyperCleaningClassifier("sample").weigh  # noqa: B018
