"""The names that heads, aliases and clusterings may have. Heads and clusterings are folders of that name."""

import re

from classifiers.errors import BadName

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str, what: str = "head") -> str:
    """Return the name if it can be a folder name. Raises BadName, with `what` as the thing that has the name."""
    if not NAME.fullmatch(name):
        raise BadName(f"{what} name {name!r}: use 1 to 64 letters, digits, '_' and '-', no '_' or '-' first")
    return name
