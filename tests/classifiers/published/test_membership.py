"""The file of ids against a Python set, over random ids and damaged files."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from classifiers.published.manifest import ids_digest
from classifiers.published.membership import FILE, ids_file, saw, sorted_hashes


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 60)))
def test_membership_is_that_of_a_set(tmp_path: Path, numbers: set[int]) -> None:
    (tmp_path / FILE).write_bytes(ids_file([digest(i) for i in numbers])[FILE])
    found = saw(tmp_path, [digest(i) for i in range(61)])
    assert {id_ for id_, seen in found.items() if seen == "yes"} == {digest(i) for i in numbers}
    assert set(found.values()) <= {"yes", "no"}
    assert np.load(tmp_path / FILE).shape == (len(numbers), 32)


def test_the_order_of_the_rows_has_no_influence() -> None:
    ids = [digest(i) for i in range(9)]
    assert ids_file(ids) == ids_file([*reversed(ids), ids[0]])


@pytest.mark.parametrize("content", [None, b"", b"no array", "wide", "text"])
def test_what_is_missing_or_damaged_is_not_recorded(tmp_path: Path, content: bytes | str | None) -> None:
    if content == "wide":
        np.save(tmp_path / FILE, np.zeros((3, 33), np.uint8))
    elif content == "text":
        np.save(tmp_path / FILE, np.array([["a"] * 32]))
    elif isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    assert saw(tmp_path, [digest(0)]) == {digest(0): "not recorded"}


@pytest.mark.parametrize("odd", ["a", "zz" * 32, "ab" * 31])
def test_ids_that_are_no_digests_are_not_recorded(tmp_path: Path, odd: str) -> None:
    assert ids_file([digest(0), odd]) == {}
    (tmp_path / FILE).write_bytes(ids_file([digest(0)])[FILE])
    assert saw(tmp_path, [odd]) == {odd: "no"}


def test_many_ids_take_32_bytes_each_and_are_searched_in_place(tmp_path: Path) -> None:
    raw = np.sort(np.random.default_rng(0).integers(0, 2**64, (100_000, 4), np.uint64).view("S32").ravel())
    ids = [bytes(each).ljust(32, b"\0").hex() for each in raw]
    (tmp_path / FILE).write_bytes(ids_file(ids)[FILE])
    assert (tmp_path / FILE).stat().st_size == 128 + 32 * len(ids)
    start = time.process_time()
    assert set(saw(tmp_path, ids[::1000]).values()) == {"yes"}
    assert time.process_time() - start < 1


@given(
    st.lists(
        st.integers(0, 2**16).map(digest)
        | st.binary(min_size=24, max_size=24).map(lambda end: (b"same 8 b" + end).hex())
    )
)
def test_the_digest_is_that_of_the_sorted_text(ids: list[str]) -> None:
    hashes = sorted_hashes(ids)
    assert hashes is not None
    assert [row.tobytes().hex() for row in hashes] == sorted(ids)
    assert ids_digest(ids) == hashlib.sha256("".join(f"{id_}\n" for id_ in sorted(ids)).encode()).hexdigest()


@pytest.mark.parametrize("odd", ["a", "zz" * 32, "AB" * 32, " " * 64, "é" * 64])
def test_any_other_id_has_a_digest_too(odd: str) -> None:
    ids = sorted([odd, digest(0)])
    assert ids_digest(ids[::-1]) == hashlib.sha256("".join(f"{id_}\n" for id_ in ids).encode()).hexdigest()
