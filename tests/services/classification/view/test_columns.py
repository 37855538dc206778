"""The parts of columns against loops over their rows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.classification.view.columns import LabelColumns, in_rows, raw_ids
from store import asset_id

HEX = st.integers(0, 10**6).map(lambda number: asset_id(str(number).encode()))


@given(
    st.lists(st.one_of(HEX, st.text(max_size=70), st.just("g" * 64), st.just("ä" * 32)), max_size=12), st.integers(0, 3)
)
def test_ids_are_bytes_and_what_is_no_id_is_zeros(ids, start):
    found = raw_ids(pa.array(["x" * 64, *ids], pa.string()).slice(min(start, 1)))[-len(ids) :] if ids else np.empty(0)
    for id_, row in zip(ids, found, strict=True):
        is_id = len(id_) == 64 and set(id_) <= set("0123456789abcdef")
        assert row.tobytes() == (bytes.fromhex(id_) if is_id else bytes(32))


@pytest.mark.parametrize("ids", [[], [asset_id(b"a")], [asset_id(bytes([i])) for i in range(50)]])
def test_ids_of_a_part_of_a_column_are_its_own(ids):
    column = pa.array([asset_id(b"before"), *ids, asset_id(b"after")]).slice(1, len(ids))
    assert [row.tobytes().hex() for row in raw_ids(column)] == ids


@given(st.integers(0, 12), st.randoms(use_true_random=False))
def test_lists_are_put_in_the_order_of_their_rows(rows, random):
    where = random.sample(range(rows), random.randint(0, rows))
    lists = {row: [random.randint(0, 9) for _ in range(random.randint(0, 4))] for row in where}
    flat = np.array([value for row in where for value in lists[row]], np.int32)
    lengths = np.array([len(lists[row]) for row in where], np.int64)
    ends, found = in_rows(rows, np.array(where, np.int64), lengths, flat)
    starts = [0, *ends.tolist()]
    assert [found[starts[row] : starts[row + 1]].tolist() for row in range(rows)] == [
        lists.get(row, []) for row in range(rows)
    ]
    columns = LabelColumns((), np.zeros(0, np.int32), np.zeros(0, np.uint8), ends, found, many=True)
    some = np.array(random.sample(range(rows), random.randint(0, rows)), np.int64)
    pairs = [(place, value) for place, row in enumerate(some.tolist()) for value in lists.get(row, [])]
    assert list(zip(*(each.tolist() for each in columns.of(some)), strict=True)) == pairs
