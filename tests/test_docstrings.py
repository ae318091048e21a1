"""Docstrings of every public name pass numpydoc's validation."""

import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import skbamm

# What numpydoc would like and this project does not ask for.
LEFT_OUT = {
    "ES01",  # an extended summary where the first line says it all
    "SA01",  # a "See Also" section
    "EX01",  # an example for each method
    "RT02",  # scikit-learn names what is returned
}


def public_modules():
    """The package and those of its modules that are public and say what they export."""
    yield skbamm
    for found in pkgutil.iter_modules(skbamm.__path__, "skbamm."):
        try:
            module = importlib.import_module(found.name)
        except ModuleNotFoundError:  # without Dask there is no skbamm.dask
            continue
        if not found.name.split(".")[1].startswith("_") and hasattr(module, "__all__"):
            yield module


def ours(thing):
    return (getattr(inspect.unwrap(thing), "__module__", None) or "").startswith("skbamm")


def public_names(module):
    """Every exported class and function, and the public methods that the package defines."""
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            yield f"{module.__name__}.{name}"
        if inspect.isclass(thing):
            for member, value in inspect.getmembers(thing, callable):
                if not member.startswith("_") and ours(value) and inspect.isroutine(value):
                    yield f"{module.__name__}.{name}.{member}"


NAMES = {module.__name__: list(public_names(module)) for module in public_modules()}


def resolve(name):
    """The thing of that name, and the class that it is a method of."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        owner = None
        for part in parts[depth:]:
            thing, owner = getattr(thing, part), thing
        return thing, owner if inspect.isclass(owner) else None
    raise LookupError(name)


def is_record(thing):
    """Whether its constructor's parameters are attributes of the same names."""
    is_tuple = inspect.isclass(thing) and issubclass(thing, tuple)
    return is_tuple or dataclasses.is_dataclass(thing)


def documented(kind):
    """Attributes and parameters that a class and its bases document."""
    docs = [NumpyDocString(inspect.cleandoc(base.__doc__ or "")) for base in kind.__mro__[:-1]]
    parts = [part.name for doc in docs for part in (*doc["Attributes"], *doc["Parameters"])]
    return {name.strip() for names in parts for name in names.split(",")}


def complaints(name):
    """What numpydoc finds, but for what is left out with a reason."""
    thing, owner = resolve(name)
    for code, message in validate(name)["errors"]:
        if code in LEFT_OUT:
            continue
        # An override that keeps the contract has no docstring: one contract, one place.
        if code == "GL08" and owner is not None and inspect.getdoc(thing):
            continue
        # What all methods of a class take, the class says once.
        if code == "PR01" and owner is not None:
            said = "".join(base.__doc__ or "" for base in owner.__mro__[:-1])
            if all(f"`{missing}`" in said for missing in re.findall(r"'(\w+)'", message)):
                continue
        if code == "PR01" and inspect.isclass(thing):
            # The fields of a record are its attributes, and stand there once.
            fields = inspect.signature(thing).parameters if is_record(thing) else ()
            if issubclass(thing, enum.Enum) or (fields and set(fields) <= documented(thing)):
                continue
        yield f"{code} {message}"


def test_the_main_names_are_among_them():
    assert "skbamm.BilevelRegularizedRegressor.fit" in NAMES["skbamm"]
    assert "skbamm.solvers.solve" in NAMES["skbamm.solvers"]
    assert "skbamm.problems.Objective.value" in NAMES["skbamm.problems"]


def test_a_docstring_that_lacks_something_is_found(monkeypatch):
    monkeypatch.setattr(skbamm.solvers.solve, "__doc__", "Run a solver on a bilevel problem.")
    assert any(found.startswith("PR01") for found in complaints("skbamm.solvers.solve"))


@pytest.mark.parametrize("module", NAMES)
def test_numpydoc_has_nothing_to_say(module):
    found = {name: list(complaints(name)) for name in NAMES[module]}
    assert {name: said for name, said in found.items() if said} == {}
