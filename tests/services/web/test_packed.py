"""Packed bodies: what goes in comes out, and a body that is not whole is refused with the reason."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.errors import BadRequest
from services.web.packed import LONGEST_HEADER, pack_batch, pack_files, unpack_batch, unpack_files
from services.web.schemas import Problem
from services.web.wire import Vectored, VectoredBatch

files = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), st.binary(max_size=50)))


def body_of(header: object, contents: bytes = b"") -> bytes:
    head = json.dumps(header).encode()
    return struct.pack("<I", len(head)) + head + contents


@given(files.filter(bool), st.booleans(), st.sampled_from([None, "image", "video"]))
def test_files_come_out_as_they_went_in(files, tokens, modality):
    asked, uploads = unpack_files(pack_files(files, encoder="lite0", tokens=tokens, modality=modality))
    assert (asked.encoder, asked.tokens) == ("lite0", tokens)
    assert [upload.data for upload in uploads] == [data for _, data in files]
    assert {upload.modality for upload in uploads} == {modality}
    for upload, (name, _) in zip(uploads, files, strict=True):
        assert upload.name == name if len(name) <= 255 else upload.name == name[:254] + "…"


def test_a_name_that_utf_8_cannot_hold_is_sent_with_question_marks():
    _, [upload] = unpack_files(pack_files([("caf\udce9.jpg", b"1")], encoder="lite0"))
    assert upload.name == "caf?.jpg"


@given(st.lists(st.none() | st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3), max_size=8))
def test_a_batch_comes_out_as_it_went_in(rows):
    items = [
        Vectored(f"{i}", None, error=Problem(code="empty", message="the file is empty"))
        if row is None
        else Vectored(f"{i}", f"{i}.jpg", np.array(row, np.float32))
        for i, row in enumerate(rows)
    ]
    found = unpack_batch(pack_batch(VectoredBatch("lite0", "f" * 64, items), 3))
    assert (found.encoder, found.fingerprint, len(found.items)) == ("lite0", "f" * 64, len(items))
    for item, sent in zip(found.items, items, strict=True):
        assert (item.id, item.name, item.error) == (sent.id, sent.name, sent.error)
        if sent.vector is None:
            assert item.vector is None
        else:
            assert item.vector.dtype == np.float32
            np.testing.assert_array_equal(item.vector, sent.vector)


GOOD = {"encoder": "lite0", "files": [{"size": 3}]}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it has 0 bytes, and the length of its header alone takes 4"),
        (b"\1\0\0", "it has 3 bytes"),
        (struct.pack("<I", 9) + b"{}", "its header is not whole"),
        (struct.pack("<I", 2**32 - 1), "its header has 4294967295 bytes"),
        (struct.pack("<I", LONGEST_HEADER + 1) + b" " * (LONGEST_HEADER + 1), "at most 1048576 are allowed"),
        (body_of(GOOD, b"12"), "its contents have 2 bytes, and its header says 3"),
        (body_of(GOOD, b"1234"), "its contents have 4 bytes, and its header says 3"),
        (body_of({**GOOD, "files": [{"size": 4}, {"size": -1}]}, b"123"), r"files\.1\.size: input should be greater"),
        (body_of({**GOOD, "files": [{"size": 3.0}]}, b"123"), r"files\.0\.size: input should be a valid integer"),
        (body_of({**GOOD, "files": []}), "files: list should have at least 1 item"),
        (body_of({**GOOD, "encoder": "e" * 301}, b"123"), "encoder: string should have at most 300 characters"),
        (body_of({**GOOD, "tokens": "yes"}, b"123"), "tokens: input should be a valid boolean"),
        (body_of({**GOOD, "modality": "image"}, b"123"), "modality: extra inputs are not permitted"),
        (body_of([]), "its header: JSON: input should be an object"),
        (struct.pack("<I", 1) + b"{", "its header: JSON: invalid json"),
        (struct.pack("<I", 2) + b"\xff\xff", "its header: JSON: invalid json"),
    ],
)
def test_a_body_that_is_not_whole_is_refused_with_the_reason(body, why):
    with pytest.raises(BadRequest, match=why):
        unpack_files(body)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(body):
    with pytest.raises(BadRequest):
        unpack_files(body)
    with pytest.raises(ValueError, match=r"\w"):
        unpack_batch(body)


@given(st.data())
def test_a_changed_answer_is_refused_or_read(data):
    item = Vectored("a", "b", np.zeros(3, np.float32))
    body = bytearray(pack_batch(VectoredBatch("lite0", "f", [item, item]), 3))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack_batch(bytes(body))
    except ValueError:
        return
    assert all(each.vector.shape == (3,) for each in found.items if each.error is None)
