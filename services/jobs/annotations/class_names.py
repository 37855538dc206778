"""Names of classes that data sets know by an id: distinct ones, and the table of Open Images."""

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.text import open_text

ID = re.compile(r"/[a-z]/\w+")
"""An id of a class of Open Images, e.g. ``/m/0199g``."""


def distinct_names(names: Mapping[str, str], longer: Mapping[str, str]) -> dict[str, str]:
    """Return {id: name} without equal names: where classes share one, the longer name, or else that and the id.

    Args:
        names: {id: name}.
        longer: {id: a name that says more}.
    """
    found = dict(names)
    for more in (dict(longer), {id_: f"{name} ({id_})" for id_, name in longer.items()}):
        shared = {name for name, count in Counter(found.values()).items() if count > 1}
        found = {id_: more[id_] if name in shared else name for id_, name in found.items()}
    return found


def class_descriptions(path: Path) -> dict[str, str]:
    """Return {id: name} of Open Images' `class-descriptions.csv`: ``/m/0199g,Bicycle``, with or without a header.

    Classes that share a name have their id behind it. Raises BadAnnotations for a file without such rows.
    """
    with open_text(path) as text:
        rows = csv.reader(text)
        try:
            cells = [[cell.strip() for cell in row] for row in rows]
        except csv.Error as error:
            raise BadAnnotations(f"{path}, line {rows.line_num}: {error}") from error
    names = {row[0]: row[1] for row in cells if len(row) == 2 and ID.fullmatch(row[0]) and row[1]}
    if not names:
        raise BadAnnotations(f"{path} has no ids and names of classes, like /m/0199g,Bicycle")
    return distinct_names(names, names)
