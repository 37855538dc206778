"""The tree in the docstring of `services.web.errors` is the truth, and every field that `/docs` shows is explained."""

import re

import pytest

import classifiers.errors
import embedder.errors
import store.errors
from services import classification, embedding
from services.settings import Settings
from services.web import errors

MODULES = {module.__name__: module for module in (embedder.errors, store.errors, classifiers.errors, errors)}
LINE = re.compile(r"[\s│├└─]*((?:\w+, )*\w+) (\d{3})\b")
PLAIN = {"name", "label", "probability", "state", "heads", "alias", "version", "prompt_tokens", "total_tokens"}
"""Fields whose names say everything."""


def drawn() -> dict[type[Exception], int]:
    """Exception class → status, as the tree shows them."""
    found, module = {}, None
    for line in (errors.__doc__ or "").splitlines():
        module = MODULES.get(line.strip(), module)
        if (match := LINE.match(line)) and module is not None:
            found |= {getattr(module, name): int(match[2]) for name in match[1].split(", ")}
    return found


def test_the_tree_shows_the_table():
    table = {kind: status for kind, (status, _) in errors.ERRORS.items()}
    assert drawn() == table | {kind: kind.status for kind in errors.REFUSED}


@pytest.mark.parametrize("kind", sorted(errors.ERRORS, key=str))
def test_a_subclass_is_answered_as_its_nearest_base(kind):
    made = type("Closer", (kind,), {"__init__": lambda self: None, "reason": "closer"})()
    status, code = errors.ERRORS[kind]
    assert errors.status_and_code(made) == (status, "closer" if kind is embedder.errors.BadMedia else code)


def test_any_other_error_is_a_fault_of_the_service():
    assert errors.status_and_code(KeyError("secret")) == (500, "internal")


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_every_field_is_explained(service, tmp_path):
    schemas = service.create_app(Settings(store="", heads=tmp_path)).openapi()["components"]["schemas"]
    missing = []
    for name, schema in schemas.items():
        fields = schema.get("properties", {})
        missing += [] if schema.get("description") else [name]
        missing += [f"{name}.{field}" for field, about in fields.items() if not _explained(field, about)]
    assert not [each for each in missing if not each.startswith(("HTTPValidationError", "ValidationError"))]


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_every_reference_of_the_document_leads_somewhere(service, tmp_path):
    document = service.create_app(Settings(store="", heads=tmp_path)).openapi()
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        found = document
        for part in reference.split("/"):
            assert part in found, reference
            found = found[part]


def _explained(field: str, about: dict) -> bool:
    return field in PLAIN or "$ref" in about or "const" in about or "description" in about
