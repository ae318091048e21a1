"""How the documentation is built: sphinx-build -W --keep-going -n -b html docs docs/_build/html

Nothing is fetched during the build. ``-D plot_gallery=0`` leaves the examples unexecuted.
"""

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and scikit-learn are imported
sys.path.insert(0, str(Path(__file__).parent))  # for gallery_support

project = "skbamm"
author = "The skbamm developers"
copyright = "the skbamm developers, BSD-3-Clause"
release = installed_version("skbamm")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    # MathJax with the pages, which so need no network.
    "sphinx-mathjax-offline",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]

source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_templates", "auto_examples/*.md"]
templates_path = ["_templates"]
# Single backquotes in docstrings name parameters, attributes and classes of any library.
default_role = "literal"
nitpicky = True
# Base classes of ours are torch's and the standard library's, whose pages are not linked here.
nitpick_ignore_regex = [("py:.*", r"(torch|numpy|sklearn|enum)\..*|object|StrEnum")]

myst_enable_extensions = ["dollarmath"]
# "#section" links within and between pages, as code hosts know them.
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Prompts and results are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "within_subsection_order": "gallery_support.ByQuestion",
    "reset_modules": ("matplotlib", "gallery_support.strict_warnings"),
    "abort_on_example_error": False,  # report every broken example; -W fails the build
    "doc_module": ("skbamm",),
    "backreferences_dir": "generated/backreferences",
    "inspect_global_variables": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "capture_repr": ("_repr_html_",),
    "thumbnail_size": (480, 336),
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "min_reported_time": 0,
}

html_theme = "pydata_sphinx_theme"
html_title = "skbamm"
html_static_path = ["_static"]
html_css_files = ["skbamm.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "skbamm"},
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def link_to_gallery(app, name, source):
    """Links to the examples, which work in a repository, become links to their pages."""
    text = re.sub(r"\]\(\.\./examples/(\w+)\.py\)", r"](auto_examples/\1)", source[0])
    source[0] = text.replace("](../examples)", "](auto_examples/index)")


def setup(app):
    app.connect("source-read", link_to_gallery)


# Pages without pages below them need no navigation at their side.
html_sidebars = {
    page: [] for page in ("get-started", "theory", "benchmarks", "contributing", "changelog")
}
