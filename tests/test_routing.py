"""Weights, masks, row groups and validation rows on their way to `fit`, and their pitfalls."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import (
    BilevelRegularizedClassifier,
    BilevelRegularizedRegressor,
    HyperCleaningClassifier,
    HyperCleaningRegressor,
)
from tests.cleaning.label_data import make_labels
from tests.regularization.class_data import make_classes
from tests.regularization.regression_data import make_regression

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)
OUTER = KFold(3)


def parts(whole):
    """Rows, validation rows of the same kind, and as many others as rows."""
    names = "X", "y", "weight"
    return [
        SimpleNamespace(**{name: getattr(whole, name)[rows] for name in names})
        for rows in (slice(60), slice(60, 105), slice(105, 165))
    ]


class Regression:
    """What the tests need to know of one estimator: the regressor."""

    data, validation, as_many = parts(make_regression(165))
    scoring = "neg_mean_squared_error"
    choices: ClassVar = {"standardize": [True, False]}

    @staticmethod
    def model(**options):
        few = {"groups": "feature", "shrinkage": 0, "cv": 3, "n_repeats": 1, "max_iter": 2}
        return BilevelRegularizedRegressor("l2", **few | options)

    @staticmethod
    def predicted(model, X):
        return model.predict(X)


class Cleaning:
    """The same of the classifier."""

    data = make_labels(60, n_classes=2)
    validation = make_labels(45, n_classes=2, noise=0.0, seed=1)
    as_many = make_labels(60, n_classes=2, noise=0.0, seed=2)
    scoring = "neg_log_loss"
    choices: ClassVar = {"standardize": [True, False]}

    @staticmethod
    def model(**options):
        return HyperCleaningClassifier(**{"weighting": "sample", "max_iter": 2} | options)

    @staticmethod
    def predicted(model, X):
        return model.predict_proba(X)


class Classes:
    """The same of the penalized classifier."""

    data, validation, as_many = parts(make_classes(2, 165))
    scoring = "neg_log_loss"
    choices: ClassVar = {"standardize": [True, False]}

    @staticmethod
    def model(**options):
        few = {"groups": "feature", "shrinkage": 0, "cv": 3, "n_repeats": 1, "max_iter": 2}
        return BilevelRegularizedClassifier("l2", **few | options)

    @staticmethod
    def predicted(model, X):
        return model.predict_proba(X)


class Targets(Regression):
    """The same of the regressor that weighs targets."""

    choices: ClassVar = {"max_iter": [1, 0]}

    @staticmethod
    def model(**options):
        return HyperCleaningRegressor(**{"max_iter": 0, **options})


@pytest.fixture(params=[Regression, Cleaning, Classes, Targets])
def case(request):
    return request.param


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


ROW_GROUPS = np.arange(60) // 5


def assert_same(case, found, expected, **tolerance):
    X = case.data.X
    np.testing.assert_allclose(case.predicted(found, X), case.predicted(expected, X), **tolerance)


def assert_differ(case, found, other):
    X = case.data.X
    assert not np.allclose(case.predicted(found, X), case.predicted(other, X))


# What can be asked for


@pytest.mark.parametrize("name", ["sample_weight", "X_val", "y_val", "sample_weight_val"])
def test_every_argument_of_fit_can_be_requested(case, name, routing):
    model = case.model().set_fit_request(**{name: True})
    assert model.get_metadata_routing().consumes("fit", [name]) == {name}


@pytest.mark.parametrize("kind", [Cleaning, Targets])
def test_the_mask_can_be_requested(kind, routing):
    model = kind.model().set_fit_request(is_clean=True)
    assert model.get_metadata_routing().consumes("fit", ["is_clean"]) == {"is_clean"}


# Weights


def test_cross_validate_cuts_weights_for_fit_and_score(case, routing):
    data = case.data
    model = case.model().set_fit_request(sample_weight=True)
    scorer = get_scorer(case.scoring)
    found = cross_validate(
        model,
        data.X,
        data.y,
        cv=OUTER,
        scoring=scorer.set_score_request(sample_weight=True),
        params={"sample_weight": data.weight},
    )["test_score"]
    for score, (train, test) in zip(found, OUTER.split(data.X), strict=True):
        model = case.model().fit(data.X[train], data.y[train], data.weight[train])
        expected = scorer(model, data.X[test], data.y[test], sample_weight=data.weight[test])
        np.testing.assert_allclose(score, expected)


def test_a_search_refits_with_weights(case, routing):
    data = case.data
    model = case.model().set_fit_request(sample_weight=True)
    scorer = get_scorer(case.scoring).set_score_request(sample_weight=True)
    search = GridSearchCV(model, case.choices, cv=OUTER, scoring=scorer)
    search.fit(data.X, data.y, sample_weight=data.weight)
    expected = case.model(**search.best_params_).fit(data.X, data.y, data.weight)
    assert_same(case, search, expected)


def test_a_pipeline_takes_weights_without_routing(case):
    data = case.data
    pipeline = Pipeline([("scale", StandardScaler()), ("model", case.model())])
    pipeline.fit(data.X, data.y, model__sample_weight=data.weight)
    scaled = StandardScaler().fit_transform(data.X)
    expected = case.model().fit(scaled, data.y, data.weight)
    found = case.predicted(pipeline, data.X)
    np.testing.assert_array_equal(found, case.predicted(expected, scaled))


# Row groups


def test_row_groups_give_the_splits_of_the_splitter(case):
    data = case.data
    model = case.model(cv=GroupKFold(3)).fit(data.X, data.y, groups=ROW_GROUPS)
    splits = list(GroupKFold(3).split(data.X, data.y, ROW_GROUPS))
    assert_same(case, model, case.model(cv=splits).fit(data.X, data.y))
    assert_differ(case, model, case.model(cv=KFold(3)).fit(data.X, data.y))


def test_row_groups_pass_through_cross_validation_inside_and_outside(case, routing):
    data = case.data
    model = case.model(cv=GroupKFold(3))
    result = cross_validate(
        make_pipeline(StandardScaler(), model),
        data.X,
        data.y,
        cv=GroupKFold(2),
        params={"groups": ROW_GROUPS},
        return_estimator=True,
        return_indices=True,
    )
    for fold in range(2):
        train = result["indices"]["train"][fold]
        expected = make_pipeline(StandardScaler(), model)
        expected.fit(data.X[train], data.y[train], groups=ROW_GROUPS[train])
        assert_same(case, result["estimator"][fold], expected)


def test_row_groups_pass_through_a_search(case, routing):
    data = case.data
    model = case.model(cv=GroupKFold(3))
    search = GridSearchCV(model, case.choices, cv=GroupKFold(2))
    search.fit(data.X, data.y, groups=ROW_GROUPS)
    expected = case.model(cv=GroupKFold(3), **search.best_params_)
    assert_same(case, search, expected.fit(data.X, data.y, groups=ROW_GROUPS))


@pytest.mark.parametrize("cv", [5, [(np.arange(40), np.arange(40, 60))]], ids=["int", "list"])
def test_row_groups_without_a_splitter_are_an_error(case, cv):
    with pytest.raises(ValueError, match="groups are for a splitter such as GroupKFold"):
        case.model(cv=cv).fit(case.data.X, case.data.y, groups=ROW_GROUPS)


def test_other_arguments_are_an_error(case):
    with pytest.raises(TypeError, match=r"unexpected arguments: \['colour'\]"):
        case.model().fit(case.data.X, case.data.y, colour=ROW_GROUPS)


def test_row_groups_of_a_cleaner_with_validation_rows_are_theirs():
    data, clean = Cleaning.data, Cleaning.validation
    rows = {"X_val": clean.X, "y_val": clean.y}
    groups = ROW_GROUPS[:45]
    model = Cleaning.model(cv=GroupKFold(3)).fit(data.X, data.y, **rows, groups=groups)
    splits = list(GroupKFold(3).split(clean.X, clean.y, groups))
    assert_same(Cleaning, model, Cleaning.model(cv=splits).fit(data.X, data.y, **rows))


def test_row_groups_go_together_with_a_mask():
    data = Cleaning.data
    model = Cleaning.model(cv=GroupKFold(3))
    model.fit(data.X, data.y, is_clean=data.is_clean, groups=ROW_GROUPS)
    other = Cleaning.model(cv=list(GroupKFold(3).split(data.X, None, ROW_GROUPS)))
    assert_same(Cleaning, model, other.fit(data.X, data.y, is_clean=data.is_clean))


# Validation rows


def piped(case, **options):
    model = case.model().set_fit_request(X_val=True, y_val=True)
    return Pipeline([("scale", StandardScaler()), ("model", model)], **options)


def scaled_apart(case, rows=slice(None)):
    """A fit on rows and validation rows that were scaled by hand."""
    data, validation = case.data, case.validation
    scaler = StandardScaler().fit(data.X[rows])
    model = case.model().fit(
        scaler.transform(data.X[rows]),
        data.y[rows],
        X_val=scaler.transform(validation.X),
        y_val=validation.y,
    )
    return make_pipeline(scaler, model)


def test_a_pipeline_transforms_validation_rows(case, routing):
    data, validation = case.data, case.validation
    pipeline = piped(case, transform_input=["X_val"])
    pipeline.fit(data.X, data.y, X_val=validation.X, y_val=validation.y)
    assert_same(case, pipeline, scaled_apart(case))


def test_without_transform_input_it_does_not(case, routing):
    """The pitfall."""
    data, validation = case.data, case.validation
    pipeline = piped(case).fit(data.X, data.y, X_val=validation.X, y_val=validation.y)
    assert_differ(case, pipeline, scaled_apart(case))


def test_untransformed_validation_rows_of_another_scale_are_warned_about(case, routing):
    data, validation = case.data, case.validation
    with pytest.warns(UserWarning, match=r'transform_input=\["X_val"\]'):
        piped(case).fit(1000 * data.X, data.y, X_val=1000 * validation.X, y_val=validation.y)


def test_without_routing_they_are_never_transformed(case):
    data, validation = case.data, case.validation
    pipeline = Pipeline([("scale", StandardScaler()), ("model", case.model())])
    with pytest.warns(UserWarning, match="metadata routing"):
        pipeline.fit(
            1000 * data.X, data.y, model__X_val=1000 * validation.X, model__y_val=validation.y
        )


def test_cross_validate_leaves_validation_rows_of_another_length_alone(case, routing):
    data, validation = case.data, case.validation
    result = cross_validate(
        piped(case, transform_input=["X_val"]),
        data.X,
        data.y,
        cv=OUTER,
        params={"X_val": validation.X, "y_val": validation.y},
        return_estimator=True,
    )
    for model, (train, _) in zip(result["estimator"], OUTER.split(data.X), strict=True):
        assert_same(case, model, scaled_apart(case, train))


def test_a_search_over_a_pipeline_transforms_validation_rows(case, routing):
    data, validation = case.data, case.validation
    pipeline = piped(case, transform_input=["X_val"])
    name, values = next(iter(case.choices.items()))
    search = GridSearchCV(pipeline, {f"model__{name}": values[:1]}, cv=OUTER)
    search.fit(data.X, data.y, X_val=validation.X, y_val=validation.y)
    assert_same(case, search, scaled_apart(case))


def test_cross_validate_cuts_validation_rows_as_many_as_rows(case):
    """The other pitfall. If this fails, scikit-learn has mended it: say so in docs/routing.md."""
    data, validation = case.data, case.as_many
    result = cross_validate(
        case.model(),
        data.X,
        data.y,
        cv=OUTER,
        params={"X_val": validation.X, "y_val": validation.y},
        return_estimator=True,
    )
    for model, (train, _) in zip(result["estimator"], OUTER.split(data.X), strict=True):
        rows = {"X_val": validation.X[train], "y_val": validation.y[train]}
        assert_same(case, model, case.model().fit(data.X[train], data.y[train], **rows))


def test_a_clone_keeps_its_requests(case, routing):
    model = clone(case.model().set_fit_request(sample_weight=True, X_val=True, y_val=True))
    asked = model.get_metadata_routing().consumes("fit", ["sample_weight", "X_val", "y_val"])
    assert asked == {"sample_weight", "X_val", "y_val"}


# The mask; the recipe for scores is in test_classifier_doors.py


def test_the_mask_goes_through_a_pipeline_without_routing():
    data = Cleaning.data
    pipeline = Pipeline([("scale", StandardScaler()), ("model", Cleaning.model())])
    pipeline.fit(data.X, data.y, model__is_clean=data.is_clean)
    assert (pipeline[-1].sample_weight_[data.is_clean] == 1).all()
    assert (pipeline[-1].sample_weight_[~data.is_clean] < 1).any()
