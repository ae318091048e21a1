"""The examples in the README and in the docs' pages run and print what they say."""

import contextlib
import doctest
import io
import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

from skbamm.solvers import SOLVERS, STOCHASTIC_SOLVERS

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if ">>> " in page.read_text(encoding="utf-8")
]


MODULES = ("callback", "datasets", "export", "inspection", "problems", "solvers")

#: What the examples of a page say where they need an optional package.
OPTIONAL = {
    "pandas": ("import pandas", "as_frame=True", "load_ames_housing"),
    "polars": ("import polars",),
    "pyarrow": ("import pyarrow",),
    "matplotlib": ("skbamm.inspection", "import matplotlib"),
    "onnxruntime": ("import onnxruntime", "to_onnx"),
    "skl2onnx": ("to_onnx",),
    "skops": ("skops.io",),
    "rich": ("ProgressBar(",),
}


def test_the_readme_has_examples():
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page_run(page):
    text = page.read_text(encoding="utf-8")
    for package, words in OPTIONAL.items():
        if any(word in text for word in words):
            pytest.importorskip(package)
    failed, _ = doctest.testfile(str(page), module_relative=False)
    assert failed == 0


# A Python block of the tutorial, and the output that the page shows right after it.
BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
TUTORIAL = (ROOT / "docs" / "own-problem.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(4))
def test_a_program_of_the_tutorial_prints_what_the_page_says(number):
    program, expected = BLOCK.findall(TUTORIAL)[number]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, f"own-problem.md, program {number}", "exec"), {"__name__": "page"})
    assert printed.getvalue() == expected


def test_every_program_of_the_tutorial_is_short():
    programs = [program for program, _ in BLOCK.findall(TUTORIAL)]
    assert len(programs) == TUTORIAL.count("```python")
    assert max(len(program.splitlines()) for program in programs) < 60


def test_every_solver_has_its_line_in_the_tables():
    page = (ROOT / "docs" / "choosing-a-solver.md").read_text(encoding="utf-8")
    for name, kind in {**SOLVERS, **STOCHASTIC_SOLVERS}.items():
        [line] = re.findall(rf'^\| `"{name}"` \| `(\w+)` .*$', page, re.MULTILINE)
        assert line == kind.__name__


@pytest.mark.parametrize("module", ["", *MODULES])
def test_every_public_name_is_in_the_reference(module):
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    name = f"skbamm.{module}".rstrip(".")
    [section] = re.findall(
        rf"^## {re.escape(name)}: (.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL
    )
    listed = re.findall(r"^   (\w+)$", section, re.MULTILINE)
    public = set(import_module(name).__all__) - {"SOLVERS", "STOCHASTIC_SOLVERS", "__version__"}
    assert sorted(listed) == sorted(public)


def test_every_example_has_its_place_in_the_gallery():
    order = runpy.run_path(str(ROOT / "docs" / "gallery_support.py"))["ORDER"]
    examples = (ROOT / "examples").glob("plot_*.py")
    assert sorted(order) == sorted(path.stem.removeprefix("plot_") for path in examples)


def test_every_example_has_less_than_a_hundred_lines():
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 100, path.name
