"""The guard that asks for keys."""

import logging
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from services.settings import Settings
from services.web.access.errors import BadKey, Denied, MissingKey, RoleTooLow, TooManyRequests
from services.web.access.keys import Key, Role, find
from services.web.access.paths import bare_readiness, changed, hiding
from services.web.access.roles import ENDPOINTS, endpoint_of
from services.web.error_answers import refusal

log = logging.getLogger("headwater.access")

AS_THEY_ARE = {"POST /v1/embed", "POST /v1/embeddings", "GET /openapi.json"}
"""Endpoints whose answers hold no path of the server, but maybe megabytes of vectors. Their errors may hold one."""


KEY = "headwater.key"
"""Name under which the scope of a request has its key. A service without keys puts none there."""


class KeyGuard:
    """ASGI middleware: 401 without a valid key, 403 for a role that is too low, 429 beyond the rate of the key.

    A path that no endpoint has needs any key: the app then answers 404. Requests that change something are logged with
    the name of the key.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[Key], settings: Settings) -> None:
        self.app, self.keys, self._hide = app, keys, hiding(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        endpoint = endpoint_of(scope["method"], scope["path"])
        try:
            key = self._admitted(scope, endpoint)
        except Denied as error:
            await refusal(error)(scope, receive, send)
            return
        scope[KEY] = key
        if key is None and endpoint == "GET /health/ready":
            send = changed(send, bare_readiness)
        elif key is None or key.role < Role.admin:
            send = changed(send, self._hide, only_errors=endpoint in AS_THEY_ARE)
        await self.app(scope, receive, send)

    def _admitted(self, scope: Scope, endpoint: str | None) -> Key | None:
        """Return the key of a request; None for one without a key that needs none. Raises Denied."""
        needed = ENDPOINTS[endpoint] if endpoint else Role.read
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if not given:
            if needed is None:
                return None
            raise MissingKey
        key = self._valid(given)
        if seconds := key.wait():
            raise TooManyRequests(key.name, key.rate or 0.0, seconds)
        if needed is not None and key.role < needed:
            raise RoleTooLow(key.name, key.role.name, endpoint or "", needed.name)
        if needed is not None and needed > Role.read:
            log.info("key used", extra={"key": key.name, "method": scope["method"], "path": scope["path"]})
        return key

    def _valid(self, given: Sequence[bytes]) -> Key:
        scheme, _, secret = given[0].decode("latin-1").partition(" ")
        key = find(self.keys, secret.strip()) if scheme.lower() == "bearer" and len(given) == 1 else None
        if key is None:
            raise BadKey
        return key
