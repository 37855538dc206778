"""Tables of labels as people's programs write them, and what is said about bad ones."""

import csv
import io
import json
import tracemalloc
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.jobs.annotations import json_stream
from services.jobs.annotations.errors import BadAnnotations, NoColumn, UnknownSplit
from services.jobs.annotations.reading import open_labels
from services.jobs.annotations.rows import MAX_LABEL, Annotation
from services.jobs.annotations.tables import Columns
from store.errors import BadSource

WORDS = st.text(st.characters(exclude_categories=["C"], exclude_characters="|[]"), min_size=1, max_size=9).map(
    str.strip
)
ROWS = [("a/1.jpg", "Käse", "train"), ("b,2.jpg", 'a "b" c', "test"), ("猫;3.jpg", "x\ty", "val")]


def written(path: Path, rows: list, separator: str = ",", encoding: str = "utf-8", end: str = "\n") -> Path:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([("file", "label", "split"), *rows])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def read(path: Path, **columns: str) -> list[Annotation]:
    return list(open_labels(path, Columns(**columns)))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_line_end_and_separator_says_the_same(tmp_path, separator, end, encoding):
    found = read(written(tmp_path / "labels.csv", ROWS, separator, encoding, end))
    assert [(row.key, row.labels, row.split) for row in found] == [(key, [label], s) for key, label, s in ROWS]
    assert [row.place for row in found] == ["line 2", "line 3", "line 4"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(WORDS.filter(bool), st.lists(WORDS.filter(bool), max_size=3, unique=True)), min_size=1))
def test_csv_jsonl_json_and_parquet_of_the_same_rows_agree(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("forms")
    records = [{"file": key, "label": labels} for key, labels in rows]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "a.json").write_text(json.dumps(records))
    pq.write_table(pa.Table.from_pylist(records), folder / "a.parquet")
    with (folder / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *((key, json.dumps(labels)) for key, labels in rows)])
    composed = [[unicodedata.normalize("NFC", label) for label in labels] for _, labels in rows]
    expected = [(key, list(dict.fromkeys(labels))) for (key, _), labels in zip(rows, composed, strict=True)]
    for form in ("a.csv", "a.jsonl", "a.json", "a.parquet"):
        assert [(row.key, row.labels) for row in read(folder / form)] == expected, form


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("cat", ["cat"]),
        (" cat | dog |cat", ["cat", "dog"]),
        ('["a|b", "c"]', ["a|b", "c"]),
        ("[not json", ["[not json"]),
        ("", None),
        ("   ", None),
        (None, None),
        (float("nan"), None),
        ([], []),
        (["a", " "], ["a"]),
        (3, ["3"]),
        (3.0, ["3"]),
        (0.5, ["0.5"]),
        (True, ["true"]),
        ({"choices": ["a", "b"]}, ["a", "b"]),
        ("\ud800", ["\\ud800"]),
    ],
)
def test_what_a_cell_of_labels_says(tmp_path, cell, labels):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"file": "1.jpg", "label": cell}))
    assert read(path)[0].labels == labels


@pytest.mark.parametrize(
    ("columns", "named", "understood"),
    [
        ("file,class", {}, "path column file, label column class"),
        ("Label,Split,FileName", {}, "path column FileName, label column Label, split column Split"),
        ("id,breed", {}, "path column id, label column breed"),
        ("sha256,label", {}, "id column sha256, label column label"),
        ("label,path,class", {"label": "class"}, "path column path, label column class"),
        ("image,label,split", {"split": "none"}, "path column image, label column label"),
        ("a,b,c", {"path": "b", "label": "c"}, "path column b, label column c"),
        ("a,b,c", {"id": "a", "label": "c"}, "id column a, label column c"),
    ],
)
def test_columns_are_guessed_or_named_and_said(tmp_path, columns, named, understood):
    (tmp_path / "a.csv").write_text(f"{columns}\n")
    assert open_labels(tmp_path / "a.csv", Columns(**named)).understood == understood


def test_numbers_of_a_class_label_have_the_names_that_hugging_face_wrote(tmp_path):
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    image = [{"bytes": b"x" * 9, "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}]
    table = pa.table({"image": image, "label": [1, 0]}).replace_schema_metadata({"huggingface": json.dumps(about)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [(row.key, row.labels) for row in read(tmp_path / "a.parquet")] == [("1.jpg", ["dog"]), ("2.jpg", ["cat"])]


BAD = {
    "a.csv": [
        (b"", BadAnnotations, "is empty"),
        (b"x,y,z\n1,2,3\n", NoColumn, "no column that is known to hold the path; its columns are x, y, z"),
        (b"file,y,z\n1,2,3\n", NoColumn, "no column that is known to hold the label"),
        (b"file,file\n", BadAnnotations, "two columns of the same name"),
        (b"file,label\n1.jpg,a\n2.jpg,a,b\n", BadAnnotations, "line 3 has 3 fields"),
        (b"file,label\n1.jpg\n", BadAnnotations, "line 2 has 1 fields"),
        (b'file,label\n1.jpg,"a\n', BadAnnotations, "line 2: .* is a quotation mark missing"),
        (b"file,label\n1.jpg,K\xe4se\n", BadAnnotations, r"UTF-8 throughout \(byte 0xe4 in .*1.jpg,K"),
        (b"\xff\xfef\0i\0l\0e\0,", BadAnnotations, "UTF-16 throughout"),
        (b"file,label,split\n1.jpg,a,dev\n", UnknownSplit, "line 2: there is no split 'dev'"),
        (b"file,label\n1.jpg," + b"x" * (MAX_LABEL + 1), BadAnnotations, "line 2: a label of 257 characters"),
        (b"file,label\n1.jpg," + b"x" * 200_000, BadAnnotations, "line 2: field larger than"),
        (b"file,label\n1.jpg," + b"|".join(b"%d" % i for i in range(1001)), BadAnnotations, "1,001 labels"),
    ],
    "a.jsonl": [
        (b'{"file": "1", "label": "a"}\n{', BadAnnotations, "line 2 is not JSON"),
        (b"[1]\n", BadAnnotations, "line 1 is not a JSON object"),
        (b"[" * 100_000, BadAnnotations, "line 1 is not JSON"),
        (b"\n\n", BadAnnotations, "is empty"),
    ],
    "a.json": [
        (b"", BadAnnotations, "neither an array nor an object"),
        (b"[]", BadAnnotations, "is empty"),
        (b"3", BadAnnotations, "neither an array nor an object"),
        (b'[{"file": "1", "label": "a"}, 3]', BadAnnotations, "element 2 is not an object"),
        (b'[{"file": "1", "label": "a"}', BadAnnotations, "an array does not end"),
        (b'[{"file": "1", "label": "a"}] x', BadAnnotations, "'x' follows its end"),
        (b"[" * 100_000, BadAnnotations, "nested too deeply"),
    ],
    "a.parquet": [(b"PAR1 not really", BadSource, "is not a Parquet file")],
    "a.xlsx": [(b"PK", BadAnnotations, "no file of labels that can be read; give a table")],
}


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [(name, *each) for name, cases in BAD.items() for each in cases],
    ids=lambda each: each[:20] if isinstance(each, str) else None,
)
def test_a_bad_table_is_refused_with_the_place(tmp_path, name, content, error, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=told):
        read(tmp_path / name)


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\n")
    with pytest.raises(NoColumn, match="no column 'lable'; did you mean 'label'"):
        read(tmp_path / "a.csv", label="lable")
    with pytest.raises(BadAnnotations, match="does not exist"):
        open_labels(tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadAnnotations, match="cannot be read"):
        open_labels(tmp_path / "folder.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name, monkeypatch):
    monkeypatch.setattr(json_stream, "STEP", 4096)

    def peak(rows: int) -> int:
        records = [{"file": f"photos/{i:09d}.jpg", "label": "cat"} for i in range(rows)]
        lines = {"a.csv": ["file,label", *(f"{each['file']},cat" for each in records)]}
        text = json.dumps(records) if name == "a.json" else "\n".join(lines.get(name) or map(json.dumps, records))
        (tmp_path / name).write_text(text)
        reader = open_labels(tmp_path / name)
        del records, lines, text
        tracemalloc.start()
        assert sum(1 for _ in reader) == rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(16_000) < 1.5 * peak(4_000) + 100_000
