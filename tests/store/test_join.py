import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import store.join
from store import asset_id
from store.join import Positions

_hex = st.integers(0, 30).map(lambda i: asset_id(str(i).encode()))
_ids = st.lists(st.one_of(_hex, st.text(max_size=3)), unique=True, max_size=20)


def column(ids: list[str]) -> pa.Array:  # type: ignore[type-arg]  # not subscriptable at run time
    """Return `ids` as a slice of a longer array, so that its offsets do not start at zero."""
    return pa.array(["before", *ids, "after"], pa.string()).slice(1, len(ids))


@given(st.one_of(_ids, st.lists(_hex, unique=True)), st.one_of(_ids, st.lists(_hex)))
def test_like_a_dictionary(ids: list[str], asked: list[str]) -> None:
    model = {id_: row for row, id_ in enumerate(ids)}
    assert Positions(column(ids)).of(column(asked)).tolist() == [model.get(id_, -1) for id_ in asked]
    chunked = pa.chunked_array([column(ids[:3]), column(ids[3:])])
    assert Positions(chunked).of(column(asked)).tolist() == [model.get(id_, -1) for id_ in asked]


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.join, "_FACTORS", store.join._FACTORS * 0)  # every hash is 0
    ids = [asset_id(str(i).encode()) for i in range(5)]
    assert Positions(column(ids)).of(column(ids[::-1])).tolist() == [4, 3, 2, 1, 0]
    assert Positions(column(ids[:1])).of(column(ids)).tolist() == [0, -1, -1, -1, -1]


@given(st.lists(_hex, unique=True, min_size=4), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8))))
def test_batches_in_stored_order_and_in_any_other(ids: list[str], parts: list[tuple[int, int]]) -> None:
    positions = Positions(column(ids))
    for start, length in [(0, 2), (2, 2), *parts, (0, len(ids))]:
        expected = list(range(len(ids)))[start : start + length]
        assert positions.of(column(ids[start : start + length])).tolist() == expected
