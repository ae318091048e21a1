"""What the options of a solver may be, and the one check of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One kind of value that an option may have."""

    words: str
    holds: Callable[[Any], bool]


def _is(value, kind):
    """Whether a value is a number of some kind; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


COUNT = Kind("a whole number above 0", lambda value: _is(value, Integral) and value > 0)
POSITIVE = Kind("a finite number above 0", lambda value: _is(value, Real) and 0 < value < math.inf)
NOT_NEGATIVE = Kind(
    "a finite number not below 0", lambda value: _is(value, Real) and 0 <= value < math.inf
)
FRACTION = Kind("a number in [0, 1)", lambda value: _is(value, Real) and 0 <= value < 1)
FUNCTION = Kind("a function of the iteration", callable)
MAKER = Kind("a class of torch.optim, or functools.partial of one with its options", callable)
SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
NOTHING = Kind("None", lambda value: value is None)


def word(name):
    """A kind that is one string."""
    return Kind(repr(name), lambda value: isinstance(value, str) and value == name)


AUTO = word("auto")

# A step of zero stands still: hyper may, but params would never solve the lower level.
PARAMS_STEP = (POSITIVE, FUNCTION, AUTO)
SEARCH = {
    "hyper_step": (NOT_NEGATIVE, FUNCTION, AUTO),
    "memory": (COUNT,),
    "max_move": (POSITIVE,),
}


def check_options(solver):
    """Raise where an option is of none of its kinds."""
    for name, value in solver.get_params(deep=False).items():
        kinds = solver.kinds.get(name, ())
        if kinds and not any(kind.holds(value) for kind in kinds):
            allowed = " or ".join(kind.words for kind in kinds)
            raise ValueError(f"{name} of {type(solver).__name__} must be {allowed}: got {value!r}.")
