"""The refusals of the guards. Each class has its HTTP status and its code.

    Denied
    ├── MissingKey, BadKey 401
    ├── CrossOrigin, RoleTooLow 403
    ├── WrongHost 421
    └── TooManyRequests 429

The guards answer before an endpoint sees the request, as the limits on requests do.
`Unguarded` and `BadKeys` keep a service from starting.
"""

import math

from services.web.errors import Refused


class Denied(Refused):
    """A request that a guard refuses."""


class MissingKey(Denied):
    """The endpoint needs a key, and the request has none."""

    status, code = 401, "missing_key"

    def __init__(self) -> None:
        super().__init__(
            "this service needs a key: send the header Authorization: Bearer hw_…; its operator makes keys",
            {"WWW-Authenticate": "Bearer"},
        )


class BadKey(Denied):
    """The request has a key that the service does not accept. The message does not repeat it."""

    status, code = 401, "bad_key"

    def __init__(self) -> None:
        super().__init__(
            "the service does not accept this key; send one header Authorization: Bearer hw_… with a key whose line is "
            "in HEADWATER_KEYS of the service",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )


class RoleTooLow(Denied):
    """The key of the request has a role that may not use the endpoint."""

    status, code = 403, "role_too_low"

    def __init__(self, name: str, role: str, endpoint: str, needed: str) -> None:
        super().__init__(
            f"the key {name!r} has the role {role}, and {endpoint} needs the role {needed}; "
            "use a key with that role, which the operator makes"
        )


class CrossOrigin(Denied):
    """A page of another origin sent a request that is not a GET."""

    status, code = 403, "cross_origin"

    def __init__(self, origin: str) -> None:
        page = f"a page of the origin {origin[:100]!r}" if origin else "a page of an origin that the browser hides"
        super().__init__(
            f"{page} may not send this request; if you trust all pages of an origin, "
            "the operator can add it to HEADWATER_ALLOWED_ORIGINS"
        )


class WrongHost(Denied):
    """The header Host names a host for which this service does not answer."""

    status, code = 421, "wrong_host"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"this service does not answer for the host {host[:100]!r}; if that is a name of it, "
            "the operator can add the name to HEADWATER_ALLOWED_HOSTS"
        )


class TooManyRequests(Denied):
    """A key has used up its rate.

    Args:
        seconds: time until the next request will be accepted.
    """

    status, code = 429, "too_many_requests"

    def __init__(self, name: str, rate: float, seconds: float) -> None:
        super().__init__(
            f"the key {name!r} may send {rate:g} requests a second; try again later, or send more items in each "
            "request",
            {"Retry-After": str(max(1, math.ceil(seconds)))},
        )


DENIED: tuple[type[Denied], ...] = (MissingKey, BadKey, RoleTooLow, CrossOrigin, WrongHost, TooManyRequests)
"""Every refusal of a guard."""


class Unguarded(RuntimeError):
    """A service would listen on `host`, which others can reach, without any key."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"there are no keys, so whoever reaches {host} could read and change everything; the service does not start"
        )


class BadKeys(ValueError):
    """The setting of the keys cannot be read. The message repeats no key."""
