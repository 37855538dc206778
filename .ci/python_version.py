"""Stop with a message if this Python is too old for Headwater, and warn if it was not tested.

The tested versions come from pyproject.toml. Old Pythons must be able to run this file, so it uses no newer syntax.
"""

import re
import sys

with open("pyproject.toml", encoding="utf-8") as file:
    TESTED = sorted(int(minor) for minor in re.findall(r"Programming Language :: Python :: 3\.(\d+)", file.read()))

minor = sys.version_info[1]
if sys.version_info < (3, TESTED[0]):
    sys.exit(
        f"Headwater needs Python 3.{TESTED[0]} or newer; this is Python 3.{minor}. "
        f"Name another interpreter, e.g. `make setup PYTHON=python3.{TESTED[-1]}`."
    )
if minor not in TESTED:
    tested = ", ".join(f"3.{each}" for each in TESTED)
    print(
        f"Warning: Headwater was tested with Python {tested}; this is 3.{minor}. If the installation fails, take those."
    )
