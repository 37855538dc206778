"""The names of the parameters and fields that an endpoint knows, for messages about those that it does not know."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches

from starlette.types import Scope

from services.web.errors import BadRequest
from services.web.quoting import shortened

_NAMES = "headwater.names"


def remember(scope: Scope, names: Collection[str]) -> None:
    """Keep in the scope of a request what its endpoint knows."""
    scope[_NAMES] = names


def known_names(scope: Scope) -> Collection[str]:
    """Return the parameters and fields that the endpoint of a request knows; none if it was not remembered."""
    names: Collection[str] = scope.get(_NAMES, ())
    return names


def require_known(given: Iterable[str], known: Collection[str], where: str) -> None:
    """Raise BadRequest for the first parameter that is not `known`, with the one that is probably meant."""
    for name in given:
        if name not in known:
            raise BadRequest(f"unknown parameter {shortened(name)!r} in the {where}; {suggestion(name, known)}")


def suggestion(name: str, known: Collection[str]) -> str:
    """Return a sentence with the name that is probably meant, and those that are `known`."""
    if not known:
        return "no parameter is known here"
    near = get_close_matches(name[:100].lower().replace("-", "_"), known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(sorted(known))}"


def fields_of(schema: object) -> Iterator[str]:
    """Yield the name of every field in a JSON schema, and in the schemas that it contains."""
    if isinstance(schema, Mapping):
        yield from schema.get("properties", ())
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from fields_of(each)
