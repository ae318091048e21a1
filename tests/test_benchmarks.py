"""Benchmark scripts start: whether their figures are right is not a question for tests."""

import importlib
import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas")

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_every_script_starts(monkeypatch):
    assert "regression" in NAMES
    monkeypatch.syspath_prepend(FOLDER)
    before = dict(sys.modules)
    for name in NAMES:
        importlib.import_module(name)
    for name in set(sys.modules) - set(before):
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]
