"""Bodies of columns: what is packed is unpacked, and bodies that are not whole are refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.web.columns import PIECE, AxesInfo, PackedRows, RowsInfo, unpack_rows

DTYPES = {"modality": np.uint8, "label": np.int32, "labels_end": np.uint32, "x": np.float32, "set_size": np.uint16}


def info(rows: int, **changes) -> RowsInfo:
    given = {"version": "v", "labels": ["a", "ß", '"'], "modalities": [], "head": None, "encoder": None, "axes": None}
    return RowsInfo(rows=rows, **{**given, **changes})


def body(rows: int, columns) -> bytes:
    packed = PackedRows(info(rows, axes=AxesInfo(kind="pca", explained=(0.5, 0.25))), columns)
    pieces = list(packed.pieces())
    assert all(0 < len(piece) <= PIECE for piece in pieces)
    found = b"".join(pieces)
    assert len(found) == packed.nbytes
    return found


@given(st.integers(0, 40), st.sets(st.sampled_from(sorted(DTYPES))), st.integers(0, 9))
def test_what_is_packed_is_unpacked(rows, names, flat):
    rng = np.random.default_rng(rows)
    columns = {name: rng.integers(0, 100, rows).astype(DTYPES[name]) for name in sorted(names)}
    columns |= {"id": rng.integers(0, 256, (rows, 32), np.uint8), "labels_flat": np.arange(flat, dtype=np.int32)}
    found = unpack_rows(body(rows, columns))
    assert found.info == info(rows, axes=AxesInfo(kind="pca", explained=(0.5, 0.25)))
    assert list(found.columns) == list(columns)
    for name, array in columns.items():
        assert found[name].dtype == array.dtype
        assert found[name].tolist() == array.tolist()
    assert found.ids == [bytes(row).hex() for row in columns["id"].tolist()]


def test_arrays_in_another_byte_order_are_sent_as_little_endian():
    found = body(2, {"label": np.array([1, -2], ">i4")})
    assert unpack_rows(found)["label"].tolist() == [1, -2]
    assert found.endswith((1).to_bytes(4, "little") + (-2).to_bytes(4, "little", signed=True))


def test_codes_are_names():
    rows = unpack_rows(body(3, {"label": np.array([2, -1, 0], np.int32)}))
    assert rows.names("label") == ['"', None, "a"]
    assert len(rows) == 3


def test_a_column_larger_than_a_piece_is_sent_whole():
    x = np.arange(PIECE, dtype=np.float32)
    assert (unpack_rows(body(PIECE, {"x": x}))["x"] == x).all()


GOOD = body(3, {"label": np.zeros(3, np.int32)})


@pytest.mark.parametrize("length", [0, 3, 4, 30, len(GOOD) - 16, len(GOOD) - 5])
def test_a_body_that_is_cut_off_is_refused(length):
    with pytest.raises(ValueError, match=r"shorter|not whole|cannot be read"):
        unpack_rows(GOOD[:length])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"rows":3', '"rows":4'),
        ("int32", "int99"),
        ("int32", "objec"),
        ('"label"', '"lab\\l"'),
        ('"rows":3', '"rows":"'),
    ],
)
def test_a_header_that_does_not_fit_is_refused(old, new):
    length = int.from_bytes(GOOD[:4], "little")
    header = GOOD[4 : 4 + length].decode().replace(old, new).rstrip().ljust(length)
    with pytest.raises(ValueError, match="header"):
        unpack_rows(GOOD[:4] + header.encode() + GOOD[4 + length :])


def test_the_header_is_json_with_spaces_after_it():
    length = int.from_bytes(GOOD[:4], "little")
    assert (4 + length) % 8 == 0
    assert json.loads(GOOD[4 : 4 + length])["columns"] == [
        {"name": "label", "dtype": "int32", "bytes": 12, "offset": 0}
    ]
