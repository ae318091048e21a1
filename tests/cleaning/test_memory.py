"""Many rows: no second X in memory, whatever its precision and wherever it is kept."""

import sys
import tracemalloc

import numpy as np
import pytest
from sklearn import config_context

from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _design, _fit, _rows
from tests.tools import run_python

N_ROWS, N_FEATURES = 900, 8


def labelled(n_classes, n_rows=N_ROWS, n_features=N_FEATURES, seed=0):
    """Rows in single precision, given labels, and which of these are verified."""
    random = np.random.default_rng(seed)
    X = random.standard_normal((n_rows, n_features)) * np.geomspace(0.5, 2, n_features) + 3
    scores = 2 * (X - 3) @ random.standard_normal((n_features, n_classes))
    y = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    clean = random.random(n_rows) < 0.2
    wrong = ~clean & (random.random(n_rows) < 0.3)
    return X.astype(np.float32), np.where(wrong, (y + 1) % n_classes, y), clean


@pytest.fixture(autouse=True)
def small_samples(monkeypatch):
    monkeypatch.setattr(_rows, "ENOUGH", 100)
    monkeypatch.setattr(_rows, "PER_COLUMN", 1)
    monkeypatch.setattr(_rows, "PER_CLASS", 1)


def assert_same_fit(found, expected, tol=1e-9):
    for name in ("coef_", "intercept_", "sample_weight_", "noise_rate_"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=tol, atol=tol
        )


@pytest.mark.parametrize(
    ("n_classes", "options"),
    [
        (2, {}),
        (3, {}),
        (2, {"relabel": False}),
        (3, {"standardize": False, "standard_errors": 0}),
        (2, {"class_weight": "balanced", "standard_errors": 0}),
    ],
    ids=str,
)
def test_the_last_fit_in_blocks_is_the_one_of_the_whole_design(n_classes, options):
    X, y, clean = labelled(n_classes)
    expected = HyperCleaningClassifier(**options).fit(X, y, is_clean=clean)
    with config_context(working_memory=0.02):
        found = HyperCleaningClassifier(**options).fit(X, y, is_clean=clean)
    # Errors of all fits that are averaged add up.
    assert_same_fit(found, expected, tol=1e-8)


def test_blocks_are_for_designs_beyond_the_working_memory(monkeypatch):
    made = []
    columns = _design.Standardizer.columns
    monkeypatch.setattr(
        _design.Standardizer,
        "columns",
        lambda self, X: made.append(len(X)) or columns(self, X),
    )
    X, y, clean = labelled(2)
    HyperCleaningClassifier(max_iter=0).fit(X, y, is_clean=clean)
    assert max(made) == N_ROWS
    made.clear()
    with config_context(working_memory=8 * N_ROWS * (N_FEATURES + 1) / 2**20 - 1e-6):
        HyperCleaningClassifier(max_iter=0).fit(X, y, is_clean=clean)
    assert made and max(made) < N_ROWS / 2


def test_predictions_do_not_depend_on_blocks():
    X, y, clean = labelled(3)
    model = HyperCleaningClassifier(max_iter=0).fit(X, y, is_clean=clean)
    expected = model.decision_function(X), model.weigh(X, y)
    with config_context(working_memory=0.01):
        found = model.decision_function(X), model.weigh(X, y)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_predictions_of_single_precision_copy_no_table():
    X, y, clean = labelled(2, 200_000)
    model = HyperCleaningClassifier(max_iter=0).fit(X[:N_ROWS], y[:N_ROWS], is_clean=clean[:N_ROWS])
    with config_context(working_memory=4):
        tracemalloc.start()
        try:
            model.decision_function(X)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 0.8 * X.nbytes  # 8 bytes a row twice, and a block


@pytest.mark.parametrize(("n_classes", "has_verified"), [(2, True), (3, False)])
def test_the_sample_tells_the_curvature_where_there_are_many_rows(
    n_classes, has_verified, monkeypatch
):
    X, y, clean = labelled(n_classes)
    clean = clean if has_verified else None
    expected = HyperCleaningClassifier().fit(X, y, is_clean=clean)
    used = []
    monkeypatch.setattr(_fit, "blocks_cost_much", lambda rows: not used.append(rows))
    # In other coordinates it ends at another point of the same tolerance.
    assert_same_fit(HyperCleaningClassifier().fit(X, y, is_clean=clean), expected, tol=1e-8)
    assert used


# Beyond a limit

LIMITED = """
import sys
from pathlib import Path
from resource import RLIMIT_DATA, setrlimit
import numpy as np
from sklearn import config_context
from skbamm import HyperCleaningClassifier
from skbamm.cleaning import _rows

# What the sample takes does not grow with the table; here that is small.
_rows.ENOUGH, _rows.PER_COLUMN = 1000, 1
folder = Path(sys.argv[1])
y, clean = np.load(folder / "y.npy"), np.load(folder / "clean.npy")
X = np.load(folder / "X.npy", mmap_mode="r")
# A strong ridge takes few passes.
model = HyperCleaningClassifier(max_iter=0, alpha=1.0, final_estimator="linear")
model.fit(X[:2000], y[:2000], is_clean=clean[:2000])
status = Path("/proc/self/status").read_text().split("VmData:")[1]
limit = int(status.split()[0]) * 1024 + int(sys.argv[2])
setrlimit(RLIMIT_DATA, (limit, limit))
try:
    np.load(folder / "X.npy")
except MemoryError:
    print("too large", end=" ")
with config_context(working_memory=4):
    model.fit(X, y, is_clean=clean)
    right = (model.predict(X) == y).mean()
    print(right, model.weigh(X, y).mean(), model.noise_rate_)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits on private memory are Linux's")
def test_a_table_four_times_as_large_as_memory_is_fitted(tmp_path):
    n_rows, n_features = 50_000, 250
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float64, (n_rows, n_features))
    random = np.random.default_rng(0)
    causes = random.standard_normal((n_rows // 10, 3))
    block = causes @ random.standard_normal((3, n_features)) / 3
    block += random.standard_normal(block.shape)
    for start in range(0, n_rows, len(block)):
        X[start : start + len(block)] = block
    truth = np.tile(causes[:, 0] > 0, 10)
    clean = np.arange(n_rows) % 100 == 0
    wrong = ~clean & (random.random(n_rows) < 0.2)
    np.save(tmp_path / "y.npy", truth ^ wrong)
    np.save(tmp_path / "clean.npy", clean)
    found = run_python(LIMITED, tmp_path, X.nbytes // 4).split()
    assert found[:2] == ["too", "large"]
    right, weight, noise_rate = map(float, found[2:])
    assert 0.75 < right < 0.85 and weight == pytest.approx(0.8, abs=0.05)
    assert noise_rate == pytest.approx(0.2, abs=0.05)
