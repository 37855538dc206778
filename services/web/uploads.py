"""Reads the files of a multipart request, within limits."""

from fastapi import Request
from starlette.datastructures import UploadFile

from embedder.spec import Modality
from services.web.errors import BadRequest, TooLarge
from services.web.wire import Upload

FORM, JSON = "multipart/form-data", "application/json"

FILE_FIELDS = ("files", "images")
"""Names of the form fields that carry files. Every endpoint accepts both."""

READ_AS = (
    "Modality of the files. Needed for depth maps (`depth`), thermal images (`thermal`), motion (`imu`) and animations "
    "that are to be read as `video`; every other file shows it by its first bytes."
)

MULTIPART_BODY = {
    FORM: {
        "schema": {
            "type": "object",
            "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
    }
}
"""The OpenAPI description of a request with files. FastAPI cannot derive it, because `read_uploads` parses the body."""


def media_type(request: Request) -> str:
    """Return the media type of the body, in lower case and without parameters; "" if the request names none.

    Media types are compared without regard to case (RFC 9110, section 8.3.1).
    """
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_uploads(request: Request, max_items: int, modality: Modality | None = None) -> list[Upload]:
    """Return the files of a multipart request, in the order of the request.

    Args:
        max_items: largest number of files.
        modality: modality of all files; None to detect it from the first bytes of each file.

    Raises:
        BadRequest: the body is not a form, or contains no file.
        TooLarge: the form contains more than `max_items` files.
    """
    if media_type(request) != FORM:
        raise BadRequest(
            f"expected {FORM}, got {request.headers.get('content-type', '')!r}; "
            "send files as curl does with -F images=@photo.jpg"
        )
    # One file too many is still read, so that `check_count` answers and not the parser.
    async with request.form(max_files=max_items + 1, max_fields=max_items) as form:
        files = [file for name, file in form.multi_items() if name in FILE_FIELDS and isinstance(file, UploadFile)]
        uploads = [Upload(file.filename, await file.read(), modality=modality) for file in files]
    if not uploads:
        raise BadRequest(f"no file in the request; send at least one in the field {' or '.join(FILE_FIELDS)}")
    check_count(len(uploads), max_items)
    return uploads


def check_count(count: int, max_items: int) -> None:
    """Raise TooLarge if a request contains more than `max_items` items."""
    if count > max_items:
        raise TooLarge(f"{count} items in one request; at most {max_items} are allowed: send several requests")
