"""Files that are about an optional package are not collected where it is missing."""

from importlib.util import find_spec
from pathlib import Path

import pytest

#: Folder or file, and what its tests or doctests import.
NEEDS = {
    "skbamm/datasets": ("pandas",),
    "skbamm/inspection": ("matplotlib", "pandas"),
    "skbamm/export.py": ("onnxruntime", "skl2onnx"),
    "tests/test_html.py": ("numpydoc",),
    "tests/inspection": ("matplotlib", "pandas", "polars"),
    "tests/test_docstrings.py": ("numpydoc",),
}

_MISSING = {
    path: [package for package in packages if find_spec(package) is None]
    for path, packages in NEEDS.items()
}
collect_ignore = [str(Path(__file__).parent / path) for path, names in _MISSING.items() if names]


def pytest_report_header():
    """Say at the top of a run what it leaves out."""
    return [
        f"not collected: {path}, without {', '.join(names)}"
        for path, names in _MISSING.items()
        if names
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Files in order, half of them to each of two workers: what a file shares is made once."""
    if config.getoption("dist") != "load":  # what -n asks for, unless told otherwise
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)
