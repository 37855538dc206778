"""Reading the files of a request, within limits."""

from fastapi import Request
from starlette.datastructures import UploadFile

from embedder.spec import Modality
from services.web.errors import BadRequest
from services.web.middleware import TooLarge
from services.web.wire import Upload

FILE_FIELDS = ("files", "images")
"""Names of the multipart field that carries files; either is understood everywhere."""

READ_AS = "what the files are: depth, thermal, imu, or video for animations; others are told by their first bytes"

MULTIPART_BODY = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
        }
    }
}
"""How OpenAPI describes such a request: the body is read by hand, so FastAPI can't tell."""


async def read_uploads(request: Request, max_items: int, modality: Modality | None = None) -> list[Upload]:
    """The files of a multipart request, in their order. Raises BadRequest or TooLarge."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise BadRequest(
            f"expected multipart/form-data, got {request.headers.get('content-type')!r}; "
            "send files as curl does with -F images=@photo.jpg"
        )
    # One file more than is allowed is read, so that the limit's own sentence answers, not the parser's.
    async with request.form(max_files=max_items + 1, max_fields=max_items) as form:
        files = [value for field in FILE_FIELDS for value in form.getlist(field)]
        uploads = [
            Upload(file.filename, await file.read(), modality=modality)
            for file in files
            if isinstance(file, UploadFile)
        ]
    if not uploads:
        raise BadRequest(f"no file in the request; send at least one in the field {' or '.join(FILE_FIELDS)}")
    check_count(len(uploads), max_items)
    return uploads


def check_count(count: int, max_items: int) -> None:
    """Raises TooLarge when a request holds more than `max_items` items."""
    if count > max_items:
        raise TooLarge(f"{count} items in one request; at most {max_items} are allowed: send several requests")
