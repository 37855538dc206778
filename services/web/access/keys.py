"""Keys: how they are made, written down, read and compared.

A key is ``hw_`` and 256 random bits. A service knows only its SHA-256. A slow hash, as passwords need, would add
nothing: nobody can try 2²⁵⁶ keys, however fast the hash is; and it would cost each request milliseconds.
"""

import hmac
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from hashlib import sha256
from pathlib import Path

from pydantic import SecretStr

from services.web.access.errors import BadKeys

PREFIX = "hw_"
KEY = re.compile(r"hw_[A-Za-z0-9_-]{43}", re.ASCII)
LINE = re.compile(
    r"(?P<name>[\w.-]{1,64}):(?P<role>[a-z]+):(?P<digest>[0-9a-f]{64})(?::(?P<rate>\d+(?:\.\d+)?))?", re.ASCII
)
SECRETS = "HEADWATER_KEY or HEADWATER_EMBEDDING_KEY"
FORM = "NAME:ROLE:SHA256, optionally with :RATE"


class Role(IntEnum):
    """The role of a key. Each role may do what the roles below it may."""

    read = 1
    write = 2
    admin = 3


@dataclass(slots=True)
class Key:
    """A key that a service accepts, as far as the service knows it.

    Attributes:
        digest: SHA-256 of the key, in hexadecimal.
        rate: most requests per second; 0 for no limit; None for the rate of the setting.
    """

    name: str
    role: Role
    digest: str
    rate: float | None = None
    _tokens: float = field(default=0.0, init=False, repr=False)
    _at: float = field(default=float("-inf"), init=False, repr=False)

    @property
    def line(self) -> str:
        """The key as a line of a file of keys."""
        rate = "" if self.rate is None else f":{Decimal(str(self.rate)):f}".removesuffix(".0")
        return f"{self.name}:{self.role.name}:{self.digest}{rate}"

    def wait(self, now: float | None = None) -> float:
        """Count one request. Return 0 if the rate allows it, otherwise the seconds until it will (token bucket).

        The bucket holds the requests of one second, and at least one.
        """
        if not self.rate:
            return 0.0
        now = time.monotonic() if now is None else now
        self._tokens = min(max(1.0, self.rate), self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0


def make(name: str, role: Role, rate: float | None = None) -> tuple[str, Key]:
    """Return a new secret key, and the entry by which services know it."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, role, digest_of(secret), rate)


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a key in hexadecimal."""
    return sha256(secret.encode()).hexdigest()


def find(keys: Iterable[Key], secret: str) -> Key | None:
    """Return the key with this secret. The time that it takes does not depend on the digests."""
    digest, found = digest_of(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def read_keys(entries: Sequence[str], rate: float = 0.0) -> list[Key]:
    """Return the keys of the setting: each entry is the line of a key, or the path of a file of such lines.

    In a file, empty lines and lines that begin with ``#`` are skipped.

    Args:
        rate: rate of the keys whose lines have none.

    Raises BadKeys: a file that cannot be read, a line of another form, a name or a digest that repeats, or no key.
    """
    keys = [_parsed(line, place, rate) for line, place in _lines(entries)]
    for what in ("name", "digest"):
        seen = [getattr(key, what) for key in keys]
        if repeated := next((each for each in seen if seen.count(each) > 1), None):
            raise BadKeys(f"HEADWATER_KEYS has the {what} {repeated[:64]} twice; each key has its own")
    if entries and not keys:
        raise BadKeys(f"{', '.join(entries)} has no key, so every request would be refused; add the line of a key")
    return keys


def _lines(entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line with its place, for messages."""
    for i, entry in enumerate(entries, start=1):
        if LINE.fullmatch(entry) or KEY.search(entry):
            yield entry, f"entry {i} of HEADWATER_KEYS"
            continue
        for number, line in enumerate(_text(entry).splitlines(), start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                yield line.strip(), f"line {number} of {entry}"


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadKeys(f"HEADWATER_KEYS: {path} is no line {FORM}, and as a file it cannot be read ({why})") from None


def _parsed(line: str, place: str, rate: float) -> Key:
    match = LINE.fullmatch(line)
    if match is None or match["role"] not in Role.__members__:
        secret = " It holds a key itself: whoever can read it can use the key." if KEY.search(line) else ""
        roles = ", ".join(Role.__members__)
        raise BadKeys(f"{place} is not of the form {FORM}, where ROLE is one of {roles}.{secret}")
    return Key(
        match["name"], Role[match["role"]], match["digest"], rate if match["rate"] is None else float(match["rate"])
    )


def secret_of(setting: SecretStr) -> str:
    """Return the key that a setting has, or that is in the file which it names; empty if it is empty.

    Raises BadKeys, whose message has no part of the key.
    """
    text = setting.get_secret_value().strip()
    if not text or KEY.fullmatch(text):
        return text
    if text.startswith(PREFIX):
        raise BadKeys(f"{SECRETS} is no key: a key is {PREFIX} and 43 letters, digits, - and _")
    try:
        found = Path(text).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise BadKeys(f"{SECRETS} is neither a key, which begins with {PREFIX}, nor a file that can be read") from None
    if not KEY.fullmatch(found):
        raise BadKeys(f"the file {text} holds no key: a key is {PREFIX} and 43 letters, digits, - and _")
    return found
