"""Benchmark scripts start: whether their figures are right is not a question for tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas")

FOLDER = Path(__file__).parents[1] / "benchmarks"


def test_every_script_starts():
    """In one process: each import of the package takes a while."""
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert "regression" in names
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(FOLDER), *sys.path]))
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=FOLDER)
