"""The HTML representation: links that lead somewhere, and a tooltip for everything."""

import inspect
import re

import pytest
from numpydoc.docscrape import NumpyDocString
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import (
    BilevelRegularizedClassifier,
    BilevelRegularizedRegressor,
    HyperCleaningClassifier,
    _metadata,
)
from tests.cleaning.label_data import make_labels

LABELS = make_labels(60, n_classes=2)
KINDS = [BilevelRegularizedClassifier, BilevelRegularizedRegressor, HyperCleaningClassifier]
ESTIMATORS = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def site(monkeypatch):
    """An installation that knows its documentation."""

    class Metadata:
        def get_all(self, name):
            urls = ["Source, https://code.invalid", "Documentation, https://docs.invalid/"]
            return {"Project-URL": urls}[name]

    monkeypatch.setattr(_metadata, "metadata", lambda name: Metadata())
    _metadata.link_template.cache_clear()
    yield "https://docs.invalid"
    _metadata.link_template.cache_clear()


def links(model):
    """Addresses in the representation, without the parts after #."""
    return set(re.findall(r'href="([^"#]+)', model._repr_html_()))


def tooltips(model):
    """What each tooltip is about."""
    html = model._repr_html_()
    return set(re.findall(r'class="param-doc-description"[^>]*>\s*(\w+): ', html))


@ESTIMATORS
def test_links_lead_to_the_page_of_the_estimator(kind, site):
    assert links(kind()) == {f"{site}/generated/skbamm.{kind.__name__}.html"}


@ESTIMATORS
def test_links_never_lead_to_pages_that_scikit_learn_does_not_have(kind):
    assert not [link for link in links(kind()) if "scikit-learn.org" in link]


@ESTIMATORS
def test_without_an_installation_links_lead_to_the_paper(kind, monkeypatch):
    def missing(name):
        raise _metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_metadata, "metadata", missing)
    _metadata.link_template.cache_clear()
    assert links(kind()) == {_metadata.PAPER}
    _metadata.link_template.cache_clear()


@ESTIMATORS
def test_every_parameter_has_a_tooltip(kind):
    assert tooltips(kind()) == set(kind().get_params())


@ESTIMATORS
def test_every_fitted_attribute_has_a_tooltip(kind):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(LABELS.X, columns=list("abcd"))
    model = kind(max_iter=0).fit(X, LABELS.y)
    fitted = {name for name in vars(model) if name.endswith("_")}
    assert fitted <= tooltips(model)


@ESTIMATORS
def test_every_documented_attribute_exists(kind):
    documented = {part.name for part in NumpyDocString(inspect.getdoc(kind))["Attributes"]}
    # Attributes that tell of rows are there where `fit` was told of rows.
    told = {"time": range(len(LABELS.y))} if hasattr(kind, "row_weight_report") else {}
    model = kind(max_iter=0).fit(LABELS.X, LABELS.y, **told)
    optional = {"feature_names_in_", "final_estimator_"}
    after_partial_fit = {"fold_statistics_", "n_samples_seen_"}
    if hasattr(kind, "partial_fit"):
        assert after_partial_fit <= set(dir(kind().partial_fit(LABELS.X, LABELS.y)))
    assert documented - optional - after_partial_fit <= set(dir(model))


@ESTIMATORS
def test_pipelines_show_it_with_its_links(kind, site):
    found = links(make_pipeline(StandardScaler(), kind()))
    assert f"{site}/generated/skbamm.{kind.__name__}.html" in found
