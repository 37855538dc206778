"""The OpenAPI document of a service: what FastAPI derives from the endpoints, and what the tables of errors add.

FastAPI knows the parameters and the bodies. It does not know what the guards, the limits and the exceptions of an
endpoint answer, nor which parameters belong together.
"""

from typing import Any

from services.web.access.roles import ENDPOINTS
from services.web.document.answers import documented_answers
from services.web.document.parameters import ALIAS, describe_bodies, join_parameters, without_null
from services.web.schemas import ErrorBody, ProblemOfRequest

KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the service, such as `hw_…`. A service on loopback may have no keys, and then needs none.",
}
"""The security scheme. `/docs` then has a button for the key."""

REQUEST_ID = {
    "description": "Id of the request, which the log of the service shows too.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"},
}

REPLACED = ("HTTPValidationError", "ValidationError")
"""Schemas with which FastAPI describes its own answer to a bad request. The services answer with `ErrorBody`."""


def complete(document: dict[str, Any], *, keys: bool) -> dict[str, Any]:
    """Return the document of FastAPI, to which errors, headers, roles and rules between parameters are added.

    Args:
        keys: True if the service has keys, so that no request without one is answered.
    """
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in REPLACED:
        schemas.pop(name, None)
    for model in (ErrorBody, ProblemOfRequest):
        schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas[model.__name__].pop("$defs", None)
    if "AliasRequest" in schemas:
        schemas["AliasRequest"]["properties"]["alias"] |= ALIAS
    components["securitySchemes"] = {"key": KEY}
    components["headers"] = {"X-Request-ID": REQUEST_ID}
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for endpoint, operation in operations.items():
        _add_role(endpoint, operation, keys)
        without_null(operation)
        if "requestBody" in operation:
            describe_bodies(endpoint, operation)
        join_parameters(endpoint, operation)
    components["responses"] = documented_answers(operations)
    for operation in operations.values():
        for response in operation["responses"].values():
            if "$ref" not in response:
                response.setdefault("headers", {})["X-Request-ID"] = {"$ref": "#/components/headers/X-Request-ID"}
    return document


def _add_role(endpoint: str, operation: dict[str, Any], keys: bool) -> None:
    role = ENDPOINTS[endpoint]
    if role is None:
        return
    operation["security"] = [{"key": []}] if keys else [{"key": []}, {}]  # the empty one: a service without keys
    needs = f"If the service has keys, it asks for the role `{role.name}`."
    operation["description"] = " ".join(filter(None, (operation.get("description"), needs)))
