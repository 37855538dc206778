"""Rows on the device that learns: they are the rows of the array, wherever they lie."""

import numpy as np
import pytest
import torch
from helpers.gradients import TRAININGS

from classifiers.fit import resident
from classifiers.fit.resident import CPU, Rows

KINDS = [np.float16, np.float32, np.float64, np.bool_, np.int64, np.longdouble, ">f4"]


@pytest.fixture
def room(monkeypatch):
    """Give the CPU free memory of its own, as a card has, so that rows are copied there."""
    monkeypatch.setattr(resident, "free_bytes", lambda device: 1 << 30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_resident_rows_are_those_of_the_array(kind, piece, room, monkeypatch):
    monkeypatch.setattr(resident, "PIECE_BYTES", piece)
    array = np.arange(70).reshape(14, 5).astype(kind)
    rows, some = Rows(array, CPU), np.array([3, 3, 13, 0])
    assert rows.resident is not None
    assert len(rows) == 14
    np.testing.assert_array_equal(rows[some].numpy(), array[some])
    np.testing.assert_array_equal(rows[slice(4, 90)].numpy(), array[4:])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_the_host_are_those_of_the_array(kind):
    array = np.arange(70).reshape(14, 5).astype(kind)
    rows, some = Rows(array, CPU), np.array([3, 3, 13, 0])
    assert rows.resident is None
    np.testing.assert_array_equal(rows[some].numpy(), array[some])
    np.testing.assert_array_equal(rows[slice(4, 90)].numpy(), array[4:])


def test_a_file_that_is_only_read_is_not_changed(tmp_path, room, recwarn):
    np.save(tmp_path / "tokens.npy", np.ones((6, 2), np.float16))
    array = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    for rows in (Rows(array, CPU), Rows(array[:0], CPU)):
        part = rows[slice(None)]
        part += 1
    assert array.sum() == 12
    assert not recwarn


def test_rows_stay_on_the_host_if_they_take_more_than_a_share(monkeypatch):
    array = np.zeros((10, 10), np.float32)
    for free, there in ((799, False), (800, True)):
        monkeypatch.setattr(resident, "free_bytes", lambda device, free=free: free)
        assert (Rows(array, CPU).resident is not None) == there


def test_rows_stay_on_the_host_if_the_copy_finds_no_memory(room, monkeypatch):
    array = np.ones((3, 2), np.float32)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    assert Rows(array, CPU)[slice(None)].tolist() == array.tolist()


@pytest.mark.parametrize("name", TRAININGS)
def test_training_does_not_depend_on_where_the_rows_lie(name, request):
    host, scores = TRAININGS[name]()
    request.getfixturevalue("room")
    there, same = TRAININGS[name]()
    np.testing.assert_array_equal(scores, same)
    for key, array in host.items():
        np.testing.assert_array_equal(array, there[key])
