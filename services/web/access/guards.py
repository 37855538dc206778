"""The guards of a service, in their order, and the rule without which it does not start."""

import logging

from starlette.middleware import Middleware

from services.settings import Settings
from services.web.access.errors import Unguarded
from services.web.access.guard import KeyGuard
from services.web.access.hosts import HostGuard, is_loopback
from services.web.access.keys import read_keys
from services.web.access.origins import OriginGuard

log = logging.getLogger("headwater.access")


def guards(settings: Settings) -> list[Middleware]:
    """Return the guards of a service, the outermost first. Raises Unguarded, BadKeys."""
    require_guarded(settings)
    if not settings.keys and not is_loopback(settings.host):
        log.warning(
            "listening without keys: whoever reaches the address may do everything", extra={"host": settings.host}
        )
    found = [Middleware(HostGuard, settings=settings), Middleware(OriginGuard, allowed=settings.allowed_origins)]
    if settings.keys:
        found.append(Middleware(KeyGuard, keys=read_keys(settings.keys, settings.key_rate), settings=settings))
    return found


def require_guarded(settings: Settings) -> None:
    """Raise Unguarded if a service with these settings would listen on more than loopback without any key."""
    if not (settings.keys or settings.insecure or is_loopback(settings.host)):
        raise Unguarded(settings.host)
