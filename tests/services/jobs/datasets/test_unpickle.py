"""The pickles of CIFAR are read, and no pickle runs anything."""

import pickle
import resource
import struct
from contextlib import suppress

import numpy as np
import pytest
from helpers.datasets import pixels, python2

from services.jobs.datasets.cifar.unpickle import Bytes, unpickle
from store.errors import BadSource

GOOD = {b"labels": [3, 200, 70_000], b"data": pixels(0, 3), b"batch_label": b"training batch 1 of 5", b"n": 3072}

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"


def as_data(value: bytes) -> bytes:
    """Return the pickle of {"data": value}, where `value` is opcodes."""
    return b"\x80\x02}U\x04data" + value + b"s."


def test_arrays_and_lists_are_what_numpy_itself_reads_from_the_same_bytes():
    data = python2(GOOD)
    found = unpickle(data, "x")
    trusted = pickle.loads(data, encoding="bytes")  # ours, so it may run
    assert found["labels"] == trusted[b"labels"] == GOOD[b"labels"]
    assert (found["batch_label"], found["n"]) == (GOOD[b"batch_label"], 3072)
    assert isinstance(found["data"], Bytes)
    array = np.frombuffer(found["data"].data, np.uint8).reshape(found["data"].shape)
    assert np.array_equal(array, trusted[b"data"])
    assert np.array_equal(array, GOOD[b"data"])


class Runs:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_pickle_that_would_write_a_file_is_refused_in_every_protocol(tmp_path):
    target = tmp_path / "written"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps({"data": Runs(target)}, protocol)
        with pytest.raises(BadSource, match=r"it names _?io\.open, which no file of CIFAR does|it has the instruction"):
            unpickle(data, "x")
        assert not target.exists()
        pickle.loads(data)["data"].close()  # it would have been written
        target.unlink()


HOSTILE = {
    "os.system": b"cos\nsystem\n(U\x04trueS'x'tR.",
    "eval, by INST": b"(U\x031+1ibuiltins\neval\n.",
    "eval, by OBJ": b"(cbuiltins\neval\nU\x031+1o.",
    "eval, by STACK_GLOBAL": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93U\x031+1\x85R.",
    "an attribute of what is allowed": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__class__\x93.",
    "another name of an allowed module": b"cnumpy.core.multiarray\nfromfile\n.",
    "another function of numpy": b"cnumpy\nload\n.",
    "codecs": b"c_codecs\nencode\n.",
    "a persistent id": b"Pabc\n.",
    "a persistent id, binary": b"\x80\x02U\x03abcQ.",
    "an extension": b"\x80\x02\x82\x01.",
    "attributes of a function": b"\x80\x02cnumpy\ndtype\n}U\x05_makeK\x01sb.",
    "attributes of a function, as slots": b"\x80\x02cnumpy\ndtype\nN}X\x05\x00\x00\x00_makeK\x01s\x86b.",
    "a new object of no class": b"\x80\x02cnumpy\ndtype\n)\x81.",
    "an argument that cannot be called": b"\x80\x02K\x01)R.",
    "no dictionary": b"\x80\x02]K\x01a.",
    "a key that is a list": b"\x80\x02}]K\x01s.",
    "an array without numbers": as_data(ARRAY),
    "an array whose state is a dictionary": as_data(ARRAY + b"}b"),
    "an array of objects": as_data(ARRAY + b"(K\x01(K\x01tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR\x89]Natb"),
    "an array in Fortran order": as_data(ARRAY + b"(K\x01(K\x01t" + DTYPE + b"\x88U\x01atb"),
    "an array whose shape is no tuple": as_data(ARRAY + b"(K\x01K\x01" + DTYPE + b"\x89U\x01atb"),
    "an array with a text as numbers": as_data(ARRAY + b"(K\x01(K\x01t" + DTYPE + b"\x89X\x01\x00\x00\x00atb"),
    "a dtype in place of an array": as_data(DTYPE),
    "a place far away in the memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a place far away in the memo, as text": b"}p2000000000\n.",
    "no end": b"\x80\x02}",
    "nothing": b"",
    "text": b"<html>not found</html>",
    "an empty stack": b".",
    "an unknown protocol": b"\x80\x63}.",
    "a length beyond the file": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"a.",
    "a large length beyond the file": b"T" + struct.pack("<i", (1 << 31) - 1) + b"a.",
    "a negative length": b"T" + struct.pack("<i", -5) + b"a.",
    "a memo that is not there": b"\x80\x02h\x07.",
    "bytes that are no text as a name": b"c\xff\xfe\n\xff\n.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_and_damaged_pickles_are_refused_and_leave_nothing_behind(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadSource, match=r"^the file is damaged, or no file of CIFAR: "):
        unpickle(data, "the file")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 17  # KiB
    assert unpickle(python2(GOOD), "x")["labels"] == GOOD[b"labels"]


def test_every_start_of_a_good_pickle_is_refused_or_read_but_never_breaks():
    data = python2({b"labels": [1], b"data": pixels(0, 1)[:, :3]})
    for end in range(len(data)):
        with pytest.raises(BadSource):
            unpickle(data[:end], "x")


def test_changed_bytes_are_refused_or_read_but_raise_nothing_else():
    random = np.random.default_rng(0)
    good = np.frombuffer(python2({b"labels": [1], b"data": pixels(0, 1)[:, :3]}), np.uint8)
    for _ in range(2000):
        changed = good.copy()
        changed[random.integers(0, len(good), 3)] = random.integers(0, 256, 3)
        with suppress(BadSource):
            assert isinstance(unpickle(changed.tobytes(), "x"), dict)
