"""Keys in the OpenAPI document: `/docs` then has a button for the key, and each endpoint says which role it needs."""

from typing import Any

from services.web.access.roles import ENDPOINTS

SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of the service, such as `hw_…`. A service on loopback may have no keys, and then needs none.",
}


def with_keys(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document of a service, to which the keys are added. Doing so twice changes nothing."""
    document.setdefault("components", {})["securitySchemes"] = {"key": SCHEME}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            role = ENDPOINTS[f"{method.upper()} {path}"]
            if role and "security" not in operation:
                operation["security"] = [{"key": []}, {}]  # the empty one: a service without keys
                needs = f"If the service has keys, it asks for the role `{role.name}`."
                operation["description"] = " ".join(filter(None, (operation.get("description"), needs)))
    return document
