"""The names of the parameters and fields that an endpoint knows, for messages about those that it does not know."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from starlette.types import Scope

from services.web.errors import BadRequest
from services.web.quoting import shortened

_NAMES = "headwater.names"
ANY_KIND = ""
"""Key of the names that an endpoint knows in bodies of any kind."""

Known = Mapping[str, Collection[str]]
"""Kind of a body → the parameters and fields that an endpoint knows there. Most endpoints have one kind, `ANY_KIND`."""


def remember(scope: Scope, names: Known) -> None:
    """Keep in the scope of a request what its endpoint knows."""
    scope[_NAMES] = names


def known_names(scope: Scope) -> Known:
    """Return what the endpoint of a request knows; nothing if it was not remembered."""
    names: Known = scope.get(_NAMES, {})
    return names


def names_at(place: Sequence[object], known: Known) -> Collection[str]:
    """Return the names that are known at a place, which names the kind of the body if there are several."""
    kind = next((str(part) for part in place if part in known), ANY_KIND)
    return known.get(kind, ())


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


def fields_by_kind(schema: Mapping[str, Any]) -> Known:
    """Return the names of the fields of each kind of body that a JSON schema tells apart by the field `kind`."""
    kinds = schema.get("discriminator", {}).get("mapping", {})
    return {kind: tuple(schema["$defs"][place.rpartition("/")[2]]["properties"]) for kind, place in kinds.items()}


def fields_of(schema: object) -> Iterator[str]:
    """Yield the name of every field in a JSON schema, and in the schemas that it contains."""
    if isinstance(schema, Mapping):
        yield from schema.get("properties", ())
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from fields_of(each)
