"""The examples in the README and in the docs' pages run and print what they say."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if ">>> " in page.read_text(encoding="utf-8")
]


def test_the_readme_has_examples():
    assert ROOT / "README.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page_run(page):
    failed, _ = doctest.testfile(str(page), module_relative=False)
    assert failed == 0
