"""What the installed package says of itself: its version, and where its documentation is."""

from __future__ import annotations

import functools
from importlib.metadata import PackageNotFoundError, metadata, version

try:
    __version__ = version("skbamm")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

# The paper of the method that the estimators run: for an installation that knows no site.
PAPER = "https://arxiv.org/abs/2302.03407"


@functools.cache
def link_template():
    """Template of an estimator's page, as `_doc_link_template` takes it.

    The site is the project URL "Documentation" in setup.cfg, which is its only place.
    """
    site = _site()
    return f"{site}/generated/skbamm.{{estimator_name}}.html" if site else PAPER


def _site():
    try:
        urls = metadata("skbamm").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "").rstrip("/")
