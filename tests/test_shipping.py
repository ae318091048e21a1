"""Fitted models on their way to other processes, machines and versions."""

import copy
import io
import json
import pickle
import pickletools
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbamm import BilevelRegularizedRegressor, HyperCleaningClassifier, _base
from skbamm.solvers import Meha, SlBamm
from tests.cleaning.label_data import make_labels
from tests.regularization.regression_data import make_regression
from tests.tools import leaves, run_python

pytestmark = pytest.mark.filterwarnings(
    # Runs are cut short.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

ROOT = Path(__file__).parents[2]
DATA = make_regression(n_targets=2)
LABELS = make_labels(90)
NAMES = np.array(["ant", "bee", "cow"])[LABELS.y]


def regressor(penalty="adaptive", **options):
    return BilevelRegularizedRegressor(penalty, max_iter=3, **options).fit(DATA.X, DATA.y)


def cleaner(weighting="adaptive", **options):
    model = HyperCleaningClassifier(weighting, max_iter=3, **options)
    return model.fit(LABELS.X, NAMES, is_clean=LABELS.is_clean)


def of_tables():
    """Names of rows and columns, in the tables of a library."""
    pandas = pytest.importorskip("pandas")
    names = [f"row {i}" for i in range(90)]
    X = pandas.DataFrame(LABELS.X, columns=list("abcd"), index=names)
    y = pandas.Series(NAMES, index=names, name="animal", dtype="category")
    return HyperCleaningClassifier(max_iter=0).fit(X, y)


MODELS = {
    "adaptive": regressor,
    "l2": lambda: regressor("l2", groups=[0, 0, 0, 1, 1, 1], alpha_per_target=True),
    "l1": lambda: regressor("l1", solver=Meha()),
    "zeros": lambda: regressor(exact_zeros=True, groups={"u": [0, 1], "v": slice(2, 6)}),
    "cleaner": lambda: cleaner(solver=SlBamm()),
    "sample": lambda: cleaner("sample"),
    "final": lambda: cleaner(
        final_estimator=HistGradientBoostingClassifier(max_iter=3, max_bins=32)
    ),
    "piped": lambda: cleaner(
        final_estimator=make_pipeline(
            StandardScaler(), HistGradientBoostingClassifier(max_iter=3, max_bins=32)
        )
    ),
    "tables": of_tables,
}


@cache
def made(kind):
    """A fit that no test changes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MODELS[kind]()


@pytest.fixture(params=MODELS)
def model(request):
    return made(request.param)


def through_skops(model):
    sio = pytest.importorskip("skops.io")
    saved = sio.dumps(model)
    unknown = sio.get_untrusted_types(data=saved)
    # What docs/shipping.md tells users to look at.
    assert all(name.startswith(("skbamm.", "sklearn.")) for name in unknown)
    return sio.loads(saved, trusted=unknown)


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "old pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
    "joblib": through_joblib,
    "skops": through_skops,
}


# Round trips


@pytest.mark.parametrize("way", WAYS)
def test_a_fitted_model_arrives_whole(model, way):
    arrived = WAYS[way](model)
    assert_same_attributes(arrived, model)
    assert_same_histories(arrived.history_, model.history_)
    assert_same_predictions(arrived, model)


def assert_same_attributes(arrived, model):
    assert vars(arrived).keys() == vars(model).keys()
    for name, value in vars(model).items():
        if not name.endswith("_") or name == "final_estimator_":
            continue
        other = getattr(arrived, name)
        assert type(other) is type(value), name
        for ours, theirs in zip(leaves(value), leaves(other), strict=True):
            np.testing.assert_array_equal(theirs, ours, err_msg=name)


def assert_same_histories(arrived, sent):
    """Of one run, or of one for each target."""
    sent = sent if isinstance(sent, list) else [sent]
    arrived = arrived if isinstance(arrived, list) else [arrived]
    for ours, theirs in zip(sent, arrived, strict=True):
        assert theirs.keys() == ours.keys()
        for name in ours:
            np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


def assert_same_predictions(arrived, model):
    X = DATA.X if isinstance(model, BilevelRegularizedRegressor) else LABELS.X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the table's names
        for method in ("predict", "predict_proba", "decision_function"):
            if hasattr(model, method):
                found = getattr(arrived, method)(X)
                np.testing.assert_array_equal(found, getattr(model, method)(X), err_msg=method)


@pytest.mark.parametrize("way", WAYS)
def test_reports_are_the_same(way):
    model = made("tables")
    arrived = WAYS[way](model)
    assert arrived.label_report().equals(model.label_report())
    assert arrived.fix_labels().equals(model.fix_labels())


# No torch


def names_in(pickled):
    """Every module and class that unpickling would import."""
    return {
        argument
        for opcode, argument, _ in pickletools.genops(pickled)
        if isinstance(argument, str) and ("STRING" in opcode.name or "UNICODE" in opcode.name)
    }


def test_no_torch_object_hides_in_a_pickle(model):
    assert not [name for name in names_in(pickle.dumps(model)) if name.startswith("torch")]


def test_the_search_for_torch_would_find_it():
    found = names_in(pickle.dumps({"a": torch.ones(2)}))
    assert [name for name in found if name.startswith("torch")]


PREDICT = """
import json, sys
import numpy as np
import skbamm.export
assert not {"torch", "skl2onnx", "onnx", "onnxruntime"} & sys.modules.keys()
if "skops" in sys.argv:
    # skops walks through all of scikit-learn, which imports torch where there is one.
    class NoTorch:
        def find_spec(self, name, *rest):
            if name == "torch":
                raise ImportError(name)
    sys.meta_path.insert(0, NoTorch())

def load(path, way):
    if way == "skops":
        import skops.io
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    import joblib, pickle
    with open(path, "rb") as file:
        return {"joblib": joblib, "pickle": pickle}[way].load(file)

answers = []
for way, path, rows in zip(*[iter(sys.argv[1:])] * 3):
    model, X = load(path, way), np.load(rows)
    answers.append([np.asarray(model.predict(X)).tolist()])
    if hasattr(model, "predict_proba"):
        answers[-1].append(model.predict_proba(X).tolist())
    if hasattr(model, "label_report"):
        model.label_report(), model.fix_labels()
    repr(model), model._repr_html_(), model.get_params(), model.history_
# Neither do sums of partial fits need it.
X = np.random.default_rng(0).normal(size=(2000, 3))
shard = skbamm.BilevelRegularizedRegressor().partial_fit(X, X[:, 0], fold=0, learn=False)
shard.merge(shard, learn=False)
assert "torch" not in sys.modules
print(json.dumps(answers))
"""


@pytest.mark.parametrize("ways", [["pickle", "joblib"], ["skops"]], ids=" ".join)
def test_saved_models_answer_in_a_process_without_torch(tmp_path, ways):
    given, expected = [], []
    for way in ways:
        for kind, X in (("l2", DATA.X), ("cleaner", LABELS.X), ("final", LABELS.X)):
            path, rows = tmp_path / f"{kind}.{way}", tmp_path / f"{kind}.npy"
            model = made(kind)
            np.save(rows, X)
            if way == "skops":
                pytest.importorskip("skops.io").dump(model, path)
            elif way == "joblib":
                joblib.dump(model, path)
            else:
                path.write_bytes(pickle.dumps(model))
            given += [way, path, rows]
            expected.append([model.predict(X).tolist()])
            if kind != "l2":
                expected[-1].append(model.predict_proba(X).tolist())
    assert json.loads(run_python(PREDICT, *given)) == expected


@pytest.mark.parametrize("kind", ["adaptive", "cleaner"])
def test_a_model_of_another_device_predicts_where_there_is_none(kind):
    """All that a fit on a GPU leaves of the GPU is the parameter."""
    model = copy.deepcopy(made(kind))
    X = DATA.X if kind == "adaptive" else LABELS.X
    arrived = pickle.loads(pickle.dumps(model.set_params(device="cuda:7")))
    np.testing.assert_array_equal(arrived.predict(X), model.predict(X))


def test_a_device_that_is_not_there_is_an_error_of_fit():
    with pytest.raises(ValueError, match="device='cuda:7' cannot be used here"):
        BilevelRegularizedRegressor(device="cuda:7").fit(DATA.X, DATA.y)


def test_importing_the_package_is_silent_and_imports_no_optional_one():
    code = """
import sys, sklearn.linear_model
optional = ["torch", "pandas", "polars", "pyarrow", "matplotlib", "rich", "skl2onnx", "dask"]
already = set(sys.modules)
import skbamm
if found := [name for name in optional if name in set(sys.modules) - already]:
    print(found)
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, timeout=120)
    assert done.stdout + done.stderr == b""


# Versions


@pytest.mark.parametrize("kind", ["adaptive", "cleaner"])
def test_another_version_is_warned_about(kind, monkeypatch):
    saved = pickle.dumps(made(kind))
    monkeypatch.setattr(_base, "__version__", "99.0")
    with pytest.warns(UserWarning, match=r"was saved by skbamm .* and is loaded by 99\.0"):
        model = pickle.loads(saved)
    assert not [name for name in vars(model) if "version" in name]


def test_a_state_without_version_is_warned_about():
    model = made("adaptive")
    with pytest.warns(UserWarning, match="an unknown version"):
        BilevelRegularizedRegressor().__setstate__(vars(model))
