"""Reads the files of a request, which is a form or one file, within limits."""

import math
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from embedder.spec import Modality
from services.web.errors import BadRequest, TooLarge
from services.web.media_types import FORM, ONE_FILE_TYPES, media_type
from services.web.quoting import file_name, shortened
from services.web.wire import Upload

FILE_FIELDS = ("file", "files", "image", "images")
"""Names of the form fields that carry files. Every endpoint accepts all of them."""

UPLOADS = "headwater.uploads"
"""Name under which the scope of a request has the files of its form, once that was read."""

READ_AS = (
    "Modality of the files. Needed for depth maps (`depth`), thermal images (`thermal`), motion (`imu`) and animations "
    "that are to be read as `video`; every other file shows it by its first bytes."
)

CHARSETS = (b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1")
"""Character sets that the names in a form may have."""

MOST_OTHER_PARTS = 64
"""Largest number of parts of a form that are no files."""

_FILE = {"type": "string", "format": "binary"}
_NAMED = f"with a file name. The field may be named {', '.join(f'`{each}`' for each in FILE_FIELDS[:-1])} too."
_FIELD = f"send one in the field {' or '.join(FILE_FIELDS)}, with a file name, as curl does with -F image=@photo.jpg"
_HOW = "send files as curl does with -F image=@photo.jpg, or one file as the body with its media type as Content-Type"


def _files_of(schema: Mapping[str, Any], types: Sequence[str], **encoding: Any) -> dict[str, Any]:
    """Return the OpenAPI description of a body with files: a form, or one file of one of the media `types`.

    FastAPI cannot derive it, because this module parses the body.
    """
    field = FILE_FIELDS[-1]
    form = {"type": "object", "properties": {field: schema}, "required": [field], "additionalProperties": False}
    one = {each + "*" if each.endswith("/") else each: {"schema": _FILE} for each in types}
    return {FORM: {"schema": form, **encoding}, **one}


FILES_BODY = _files_of(
    {"type": "array", "items": _FILE, "minItems": 1, "description": f"Files, each {_NAMED}"}, ONE_FILE_TYPES
)
"""The OpenAPI description of a request with files."""

IMAGE_BODY = _files_of(
    {**_FILE, "description": f"The file, {_NAMED}"},
    ("image/", "application/octet-stream"),
    encoding={"images": {"contentType": "image/jpeg, image/png, image/*"}},
)
"""The OpenAPI description of a request with one image."""


class Form(NamedTuple):
    """The files of a form in its order, and the values of its other fields by name."""

    uploads: list[Upload]
    fields: dict[str, list[str]]


async def read_uploads(request: Request, max_items: int, modality: Modality | None = None) -> list[Upload]:
    """Return the files of a request: those of its form in their order, or the one that is its body.

    Args:
        max_items: largest number of files.
        modality: modality of all files; None to detect it from the first bytes of each file.

    Raises:
        BadRequest: the body is neither a form nor a file; or see `read_form`.
        TooLarge: see `read_form`.
    """
    kind = media_type(request)
    if UPLOADS in request.scope:
        uploads: list[Upload] = request.scope[UPLOADS]
    elif kind.startswith(ONE_FILE_TYPES):
        uploads = [Upload(None, await request.body())]
    elif kind == FORM:
        uploads = (await read_form(request, max_items)).uploads
    else:
        given = shortened(request.headers.get("content-type", ""))
        raise BadRequest(f"expected {FORM} or a file (image/jpeg, audio/wav, …), got {given!r}; {_HOW}")
    return [replace(each, modality=modality) for each in uploads]


async def read_form(request: Request, max_items: int) -> Form:
    """Return the files and the other fields of a form.

    Raises:
        BadRequest: the form is damaged, contains no file, or has a text where a file belongs, or a file where a text
            belongs.
        TooLarge: the form contains more than `max_items` files, or too many other parts.
    """
    form = await _form(request, max_items)
    try:
        uploads: list[Upload] = []
        fields: dict[str, list[str]] = {}
        for name, part in form.multi_items():
            if name in FILE_FIELDS:
                uploads.append(await _upload(part))
            else:
                fields.setdefault(name, []).append(_text(name, part))
    finally:
        await form.close()
    if not uploads:
        raise BadRequest(f"no file in the request; {_FIELD}")
    check_count(len(uploads), max_items)
    return Form(uploads, fields)


async def _upload(part: UploadFile | str) -> Upload:
    if isinstance(part, str):
        raise BadRequest(f"a part has no file name, so it is no file; {_FIELD}")
    return Upload(file_name(part.filename), await part.read())


def _text(name: str, part: UploadFile | str) -> str:
    if isinstance(part, str):
        return part
    raise BadRequest(f"the form has a file in the field {shortened(name)!r}; {_FIELD}")


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
