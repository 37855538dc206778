"""Files that someone else wrote: nothing but a regular file of a limited size is read, and at once."""

import hashlib
import json
import os
import threading
import tracemalloc

import pytest

from embedder import files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def in_time(call):
    """Return the result of a call, or raise its error; fail if it does not end within 10 s."""
    found = []

    def run():
        try:
            found.append((call(), None))
        except Exception as error:
            found.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert found, "the reader waits"
    result, error = found[0]
    if error:
        raise error
    return result


READERS = {
    "bytes": lambda path: files.read_bytes(path, 1000),
    "digest": lambda path: files.digest(path, 1000),
    "json": lambda path: files.read_json(path, 1000),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_nothing_but_a_regular_file_is_read(path, read, make):
    make(path)
    with pytest.raises(files.Refused, match="not a regular file"):
        in_time(lambda: read(path))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_missing_file_and_a_broken_link_are_missing(path, read):
    with pytest.raises(FileNotFoundError):
        read(path)
    path.symlink_to(path.with_name("nowhere"))
    with pytest.raises(FileNotFoundError):
        read(path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_large_file_takes_no_memory(path, read):
    with path.open("wb") as file:
        file.truncate(10**9)
    tracemalloc.start()
    with pytest.raises(files.Refused, match="1,000,000,000 bytes, at most 1,000"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, files.CHUNK - 1, files.CHUNK, files.CHUNK + 1, 3 * files.CHUNK])
def test_bytes_and_digest_are_those_of_the_file(path, size):
    data = os.urandom(size)
    path.write_bytes(data)
    assert files.read_bytes(path, size) == data
    assert files.digest(path, size) == hashlib.sha256(data).hexdigest()
    link = path.with_name("link")
    link.symlink_to(path)
    assert files.read_bytes(link, size) == data
    if size:
        with pytest.raises(files.Refused, match="at most"):
            files.read_bytes(path, size - 1)


def nested(levels):
    return json.dumps({}) if levels == 1 else f'{{"a": {"[" * (levels - 1)}{"]" * (levels - 1)}}}'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[]", "holds a list, expected an object"),
        (b"1", "holds a int"),
        (b"[" * 200_000, "nested deeper"),
        (b'{"a":' * 200_000, "nested deeper"),
        (nested(files.DEPTH + 1).encode(), "nested deeper than 32 levels"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
        (b'{"a": NaN}', "NaN or an infinite number"),
        (b'{"a": [1, {"b": -1e999}]}', "NaN or an infinite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not JSON"),
    ],
)
def test_json_that_no_service_could_pass_on_is_refused(path, data, reason):
    path.write_bytes(data)
    with pytest.raises(files.Refused, match=reason):
        files.read_json(path)


def test_other_json_is_read(path):
    value = {"größer": [1, None, True, 1e300, {"a": "😀"}], "b": {}}
    path.write_text(json.dumps(value))  # the emoji is written as a pair of surrogates
    assert files.read_json(path) == value
    path.write_text(nested(files.DEPTH))
    assert files.read_json(path)
