"""Arrays and their manifest: what is read is what was written, and nothing that was changed since."""

import hashlib
import json

import numpy as np
import pytest

from embedder.manifests import Format, Unreadable

FORMAT = Format("about.json", "numbers.safetensors", 3)


@pytest.fixture
def folder(tmp_path):
    arrays = {"a": np.arange(12, dtype=np.float32).reshape(3, 4).T, "b": np.array([1, 2], np.int64)}
    for name, data in FORMAT.files({"who": "größer", "nested": {"x": [1, None]}}, arrays).items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_values_and_arrays_are_read_back(folder):
    values, arrays = FORMAT.read(folder)
    assert (values["who"], values["nested"]) == ("größer", {"x": [1, None]})
    np.testing.assert_array_equal(arrays["a"], np.arange(12).reshape(3, 4).T)
    assert {name: array.dtype for name, array in arrays.items()} == {"a": np.float32, "b": np.int64}


def test_every_changed_byte_of_the_arrays_is_found(folder):
    path = folder / FORMAT.arrays
    data = path.read_bytes()
    for place in (0, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(Unreadable, match=r"not the file that about\.json describes"):
            FORMAT.read(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "holds a list, expected an object"),
        ("null", "holds a NoneType"),
        ("{}", r"about\.json has no entry 'format'"),
        ('{"format": 3}', r"about\.json has no entry 'sha256'"),
        ('{"format": 4}', "format 4, this version reads 3: upgrade headwater"),
        ("[" * 100_000, "nested deeper than 32 levels"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_the_reason(folder, text, words):
    (folder / FORMAT.manifest).write_text(text)
    with pytest.raises(Unreadable, match=words):
        FORMAT.read(folder)


def test_arrays_that_are_no_safetensors_file_are_refused_even_if_the_digest_is_right(folder):
    data = b"\xff" * 64
    manifest = json.loads((folder / FORMAT.manifest).read_text())
    (folder / FORMAT.arrays).write_bytes(data)
    (folder / FORMAT.manifest).write_text(json.dumps(manifest | {"sha256": hashlib.sha256(data).hexdigest()}))
    with pytest.raises(Unreadable):
        FORMAT.read(folder)


def test_a_missing_file_is_named(folder):
    (folder / FORMAT.arrays).unlink()
    with pytest.raises(Unreadable, match=r"numbers\.safetensors"):
        FORMAT.read(folder)
