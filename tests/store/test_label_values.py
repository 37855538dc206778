"""What the values of a source mean as labels, and what is said about those that are wrong."""

import io
import json
import math
import tarfile
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import Label, Store
from store.interchange import read_folder, read_parquet, read_sources
from store.label_values import Faulty, read_labels

NAMES = ["cat", "dog"]
COMPOSED, APART = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("values", "names", "labels", "faults"),
    [
        ([1], NAMES, ["dog"], {}),
        ([1.0], NAMES, ["dog"], {}),
        ([-1], NAMES, None, {"missing_label": "-1"}),
        ([-1.0], NAMES, None, {"missing_label": "-1.0"}),
        ([-1], (), ["-1"], {}),
        ([math.nan], NAMES, None, {"missing_label": "nan"}),
        ([math.nan], (), None, {"missing_label": "nan"}),
        ([2], NAMES, None, {"unnamed_class": "2"}),
        ([-2], NAMES, None, {"unnamed_class": "-2"}),
        ([0.5], NAMES, None, {"unnamed_class": "0.5"}),
        ([math.inf], NAMES, None, {"unnamed_class": "inf"}),
        ([0, 7], NAMES, None, {"unnamed_class": "7"}),
        (["cat"], NAMES, ["cat"], {}),
        ([True], NAMES, ["true"], {}),
        ([None], NAMES, None, {}),
        ([], NAMES, [], {}),
        ([""], (), None, {"blank_label": "''"}),
        (["a", " ", "b"], (), ["a", "b"], {"blank_label": "' '"}),
        ([" a "], (), ["a"], {}),
        (["a", "a"], (), ["a"], {"repeated_label": "a"}),
        ([1, "dog"], NAMES, ["dog"], {"repeated_label": "dog"}),
        ([COMPOSED, APART], (), [COMPOSED], {"repeated_label": APART}),
        ([2.0, 2.5], (), ["2", "2.5"], {}),
    ],
)
def test_what_values_mean(values, names, labels, faults):
    assert read_labels(values, names) == (labels, faults)


@given(st.lists(st.integers(-5, 5) | st.floats() | st.text(max_size=3) | st.none()), st.integers(0, 3))
def test_a_number_never_counts_from_the_end_of_the_names(values, count):
    """Whatever the values are, labels are distinct, composed, not blank, and a number gives its own name only."""
    names = [f"class {k}" for k in range(count)]
    labels, faults = read_labels(values, names)
    numbers = {int(v) for v in values if isinstance(v, int | float) and math.isfinite(v) and v == int(v)}
    for label in labels or ():
        assert label.strip()
        assert unicodedata.is_normalized("NFC", label)
        assert not label.startswith("class ") or int(label[6:]) in numbers
    assert len(set(labels or ())) == len(labels or ())
    assert not faults or values


def hugging_face(path: Path, labels: object, column: str = "label") -> Path:
    """Write a Parquet file with a ClassLabel of NAMES, one row for each of `labels`."""
    about = {"info": {"features": {"label": {"names": NAMES, "_type": "ClassLabel"}}}}
    table = pa.table({"image": [b"%d" % n for n in range(len(labels))], column: labels})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)
    return path


def test_rows_without_a_label_and_with_an_unnamed_class_in_a_file_of_hugging_face(tmp_path):
    path = hugging_face(tmp_path / "a.parquet", [0, -1, 1, 5, -3, None])
    items = list(read_parquet(path))
    assert [item.labels for item in items] == [["cat"], None, ["dog"], None, None, None]
    path = hugging_face(tmp_path / "b.parquet", pa.array([0.0, math.nan, 1.0]))  # as pandas writes missing numbers
    assert [item.labels for item in read_parquet(path)] == [["cat"], None, ["dog"]]
    faulty = Faulty()
    for item in items:
        faulty.add(item.uri, item.label_faults)
    said = faulty.said()
    assert said["unnamed_class"].startswith("2 rows have the number of a class that has no name; they got no label")
    assert said["unnamed_class"].endswith("a.parquet#3 (5)")
    assert said["missing_label"].startswith("1 row has -1 or NaN as its label")


def test_folders_of_one_name_in_two_spellings_are_one_class(tmp_path):
    for folder, name in ((COMPOSED, "1.jpg"), (APART, "2.jpg"), ("  ", "3.jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(name.encode())
    items = {Path(item.uri).name: item for item in read_folder(tmp_path)}
    assert {name: item.labels for name, item in items.items()} == {
        "1.jpg": [COMPOSED],
        "2.jpg": [COMPOSED],
        "3.jpg": None,
    }
    assert items["3.jpg"].label_faults == {"blank_label": "'  '"}
    assert items["2.jpg"].read() == b"2.jpg"


def test_labels_are_stored_composed_and_once_whoever_sets_them(tmp_path):
    store = Store.open(tmp_path / "db")
    assert store.labels.put("t", [Label("a", [APART, "x", COMPOSED, "x"])]) == 1
    assert store.labels.get("t")["labels"].to_pylist() == [[COMPOSED, "x"]]
    assert store.labels.put("t", [Label("a", [COMPOSED, "x"])]) == 0


def test_values_of_a_tar_file(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for n, about in enumerate(["NaN", '["a", "a", " "]', '" "', '"b"']):
            for ending, data in (("png", b"%d" % n), ("json", f'{{"label": {about}}}'.encode())):
                info = tarfile.TarInfo(f"{n}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    items = list(read_sources([tmp_path / "a.tar"]))
    assert [item.labels for item in items] == [None, ["a"], None, ["b"]]
    assert [sorted(item.label_faults) for item in items] == [
        ["missing_label"],
        ["blank_label", "repeated_label"],
        ["blank_label"],
        [],
    ]
