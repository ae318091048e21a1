"""What the layout promises, and no other test would notice."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "skbamm"
#: Where arrays become tensors.
DOOR = "linalg/_tensors.py"
#: Bounds of a problem are numbers or tensors, as its user gives them.
NUMBERS = "problems/_variables.py"


def test_arrays_become_tensors_at_one_door():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"torch\.(from_numpy|as_tensor)\(", path.read_text(encoding="utf-8"))
    }
    assert found == {DOOR, NUMBERS}
