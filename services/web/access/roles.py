"""The role that each endpoint of both services needs. A test compares the table with the endpoints of the apps."""

from starlette.routing import compile_path

from services.web.access.keys import Role

ENDPOINTS: dict[str, Role | None] = {
    # Health checks and browsers, which open a page without a key, send none. Without a key, readiness shows no details.
    "GET /health/live": None,
    "GET /health/ready": None,
    "GET /": None,
    "GET /page/{path:path}": None,
    "GET /docs": None,
    "GET /docs/assets/{path:path}": None,
    "GET /openapi.json": None,
    # Both services.
    "GET /metrics": Role.read,
    "GET /v1/labels": Role.read,
    "POST /v1/labels": Role.write,
    "DELETE /v1/labels": Role.write,
    "GET /v1/labels/history": Role.read,
    "POST /v1/labels/undo": Role.write,
    # The embedding service.
    "GET /v1/encoders": Role.read,
    "POST /v1/encoders": Role.admin,
    "DELETE /v1/encoders/{name}": Role.admin,
    "POST /v1/embed": Role.read,
    "POST /v1/embeddings": Role.read,
    "GET /v1/models": Role.read,
    "GET /v1/models/{name}": Role.read,
    "POST /v1/assets": Role.write,
    "POST /v1/backfills": Role.write,
    "GET /v1/backfills": Role.read,
    "GET /v1/backfills/{job_id}": Role.read,
    # The classification service.
    "POST /classify": Role.read,
    "GET /heads": Role.read,
    "GET /heads/{name}": Role.read,
    "GET /heads/{name}/report": Role.read,
    "POST /heads/{name}/alias": Role.admin,
    "GET /search": Role.read,
    "POST /search": Role.read,
    "GET /v1/me": Role.read,
    "POST /v1/thumbnails": Role.read,
    "GET /v1/assets/{id}": Role.read,
    "GET /v1/assets/{id}/thumbnail": Role.read,
    "GET /v1/assets/{id}/sound": Role.read,
    "POST /v1/files": Role.write,
    "GET /v1/quarantine": Role.read,
    "GET /v1/overview": Role.read,
    "GET /v1/rows": Role.read,
    # A job may train: that adds a version of a head and removes nothing. Whoever must not be surprised by the latest
    # version asks for an alias, and only `admin` moves aliases.
    "POST /v1/jobs": Role.write,
    "GET /v1/jobs": Role.read,
    "GET /v1/jobs/{job_id}": Role.read,
    "POST /v1/jobs/{job_id}/cancel": Role.write,
    "GET /v1/jobs/{job_id}/events": Role.read,
    "GET /v1/jobs/{job_id}/result": Role.read,
    "GET /v1/learn": Role.read,
    "POST /v1/learn": Role.write,
    "GET /v2": Role.read,
    "GET /v2/health/live": Role.read,
    "GET /v2/health/ready": Role.read,
    "GET /v2/models/{name}": Role.read,
    "GET /v2/models/{name}/ready": Role.read,
    "POST /v2/models/{name}/infer": Role.read,
    "GET /v2/models/{name}/versions/{version}": Role.read,
    "GET /v2/models/{name}/versions/{version}/ready": Role.read,
    "POST /v2/models/{name}/versions/{version}/infer": Role.read,
}
"""Method and path → the lowest role that may call it; None for endpoints that need no key."""

METHODS = tuple(sorted({"HEAD", *(endpoint.partition(" ")[0] for endpoint in ENDPOINTS)}))
"""Every method of an endpoint. HEAD answers where GET does."""

_PLAIN = {endpoint for endpoint in ENDPOINTS if "{" not in endpoint}
_PATTERNS = [
    (method, compile_path(path)[0], f"{method} {path}")
    for method, _, path in (endpoint.partition(" ") for endpoint in ENDPOINTS if "{" in endpoint)
]


def only_reads(method: str, path: str) -> bool:
    """True if the request of this method and path changes nothing, whatever becomes of it."""
    endpoint = endpoint_of(method, path)
    return endpoint is not None and ENDPOINTS[endpoint] in (None, Role.read)


def endpoint_of(method: str, path: str) -> str | None:
    """Return the key of `ENDPOINTS` for a request; None for one that no endpoint answers."""
    method = "GET" if method == "HEAD" else method
    if (plain := f"{method} {path}") in _PLAIN:
        return plain
    return next((found for its, pattern, found in _PATTERNS if its == method and pattern.match(path)), None)
