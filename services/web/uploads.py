"""Reads the files of a multipart request, within limits."""

import math
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from embedder.spec import Modality
from services.web.errors import BadRequest, TooLarge
from services.web.quoting import file_name, shortened
from services.web.wire import Upload

FORM, JSON = "multipart/form-data", "application/json"

FILE_FIELDS = ("files", "images")
"""Names of the form fields that carry files. Every endpoint accepts both."""

READ_AS = (
    "Modality of the files. Needed for depth maps (`depth`), thermal images (`thermal`), motion (`imu`) and animations "
    "that are to be read as `video`; every other file shows it by its first bytes."
)

CHARSETS = (b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1")
"""Character sets that the names in a form may have."""

MOST_OTHER_PARTS = 64
"""Largest number of parts of a form that are no files. They are ignored."""


def _form_of(schema: Mapping[str, Any], **encoding: Any) -> dict[str, Any]:
    """Return the OpenAPI description of a form. FastAPI cannot derive it, because `read_uploads` parses the body."""
    field = FILE_FIELDS[-1]
    form = {"type": "object", "properties": {field: schema}, "required": [field]}
    return {FORM: {"schema": form, **encoding}}


_FILE = {"type": "string", "format": "binary"}
_NAMED = f"with a file name. The field may be named `{FILE_FIELDS[0]}` too."

MULTIPART_BODY = _form_of({"type": "array", "items": _FILE, "minItems": 1, "description": f"Files, each {_NAMED}"})
"""The OpenAPI description of a request with files."""

ONE_FILE = _form_of(
    {**_FILE, "description": f"The file, {_NAMED}"},
    encoding={"images": {"contentType": "image/jpeg, image/png, image/*"}},
)
"""The OpenAPI description of a request with one file."""


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
        BadRequest: the body is not a form, is damaged, contains no file, or has a text where a file belongs.
        TooLarge: the form contains more than `max_items` files, or too many other parts.
    """
    if media_type(request) != FORM:
        raise BadRequest(
            f"expected {FORM}, got {shortened(request.headers.get('content-type', ''))!r}; "
            "send files as curl does with -F images=@photo.jpg"
        )
    form = await _form(request, max_items)
    try:
        parts = [part for name, part in form.multi_items() if name in FILE_FIELDS]
        files = [part for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) < len(parts):
            found = "a part has no file name, so it is no file" if files else "no file in the request"
            raise BadRequest(
                f"{found}; send at least one in the field {' or '.join(FILE_FIELDS)}, with a file name, as curl does "
                "with -F images=@photo.jpg"
            )
        uploads = [Upload(file_name(file.filename), await file.read(), modality=modality) for file in files]
    finally:
        await form.close()
    check_count(len(uploads), max_items)
    return uploads


class _Parser(MultiPartParser):
    """Refuses a form with too many parts while it is read. The size of a body is limited before it reaches the parser.

    The limits of Starlette's parser are not used: they raise the same exception as a damaged form.
    """

    def __init__(self, request: Request, stream: AsyncGenerator[bytes], max_items: int) -> None:
        super().__init__(request.headers, stream, max_files=math.inf, max_fields=math.inf, max_part_size=sys.maxsize)
        self._most_parts, self._parts, self._ended = max_items + MOST_OTHER_PARTS, 0, False

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._parts += 1
        if self._parts > self._most_parts:
            raise TooLarge(f"more than {self._most_parts} parts in one form; send several requests")

    def on_end(self) -> None:
        self._ended = True

    async def parse(self) -> FormData:
        """Return the form. Raises MultiPartException if it is damaged, and TooLarge."""
        form = await super().parse()
        if not self._ended:
            raise MultiPartException("the last boundary is missing, so the form was not sent whole")
        return form


def _require_charset(request: Request) -> None:
    """Raise BadRequest if the names of the form are in another character set than UTF-8, ASCII or Latin-1.

    The parser would decode them with any codec of Python. Some give half surrogate pairs, which no answer can repeat,
    and some take minutes.
    """
    charset = parse_options_header(request.headers.get("content-type", ""))[1].get(b"charset", b"utf-8").lower()
    if charset not in CHARSETS:
        named = charset[:40].decode("latin-1")
        raise BadRequest(f"the form's charset is {named!r}; send it as utf-8, or leave charset out")


async def _form(request: Request, max_items: int) -> FormData:
    _require_charset(request)
    async with aclosing(request.stream()) as stream:
        try:
            return await _Parser(request, stream, max_items).parse()
        except MultiPartException as error:
            raise BadRequest(f"the form cannot be read: {error.message}") from error


def check_count(count: int, max_items: int) -> None:
    """Raise TooLarge if a request contains more than `max_items` items."""
    if count > max_items:
        raise TooLarge(f"{count} items in one request; at most {max_items} are allowed: send several requests")
