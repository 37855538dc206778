"""The media types of bodies, as the services tell them apart."""

from starlette.requests import Request

FORM, JSON = "multipart/form-data", "application/json"

PACKED = "application/vnd.headwater.packed"
"""Media type of the bodies of `services.web.packed`."""

THUMBNAILS = "application/vnd.headwater.thumbnails"
"""Media type of the answer of POST /v1/thumbnails, see `services.web.framing`."""
COLUMNS = "application/vnd.headwater.columns"
"""Media type of the bodies of `services.web.columns`."""

ONE_FILE_TYPES = ("image/", "audio/", "video/", "application/octet-stream")
"""Starts of the media types of a body that is one file."""

_FILES = tuple(each.encode() for each in (FORM, PACKED, *ONE_FILE_TYPES))


def media_type(request: Request) -> str:
    """Return the media type of the body, in lower case and without parameters; "" if the request names none.

    Media types are compared without regard to case (RFC 9110, section 8.3.1).
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def carries_files(header: bytes) -> bool:
    """Return True if a body with this header Content-Type contains files that an encoder has to read."""
    return header[: len(PACKED)].lower().startswith(_FILES)
