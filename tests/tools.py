"""What the tests of both estimators use."""

import copy
import io
import os
import pickle
import subprocess
import sys
from dataclasses import is_dataclass

import joblib

from skbamm.data._containers import PandasIndex


def with_value(array, value):
    """A float copy with one other entry."""
    array = array.astype(float)
    array.flat[4] = value
    return array


def run_python(code, *arguments):
    """Standard output of a fresh interpreter that sees the same packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "deepcopy": copy.deepcopy,
}


def leaves(value):
    """Everything that an attribute holds."""
    if isinstance(value, dict):
        return [leaf for part in (*value, *value.values()) for leaf in leaves(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in leaves(part)]
    if is_dataclass(value):
        return leaves(vars(value))
    if isinstance(value, PandasIndex):
        return leaves(value.__getstate__())
    return [value]
