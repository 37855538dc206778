"""Vectors from files of every kind become an encoder without a network, whole or not at all."""

import base64
import io
import json
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from helpers.pictures import photo

from embedder.spec import imported_spec
from services.jobs.errors import NameInUse, NothingInCommon, VectorsRefused
from services.jobs.import_vectors import sources
from services.jobs.import_vectors.columns import Columns
from services.jobs.import_vectors.job import Imported, ImportRequest, import_vectors
from services.jobs.import_vectors.labels import SecondFile
from services.jobs.import_vectors.layouts import open_source
from services.jobs.ingest import ingest
from store import Item, Store, asset_id
from store.bulk import Bulk
from store.errors import BadSource, BadVectors, ContentChanged, FrozenSplit

N, DIM = 40, 6
NAMES = [f"photos/{i % 4}/img {i}.jpg" for i in range(N)]
LABELS = [f"class {i % 3}" for i in range(N)]
SPLITS = [("train", "validation", "test")[i % 3] for i in range(N)]
GUESSED = Columns()
X = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)


def table(X: np.ndarray = X, names: list[str] = NAMES, **columns: object) -> pa.Table:
    vectors = pa.array([list(map(float, row)) for row in X], pa.list_(pa.float32()))
    return pa.table(
        {"path": names, "embedding": vectors, "label": LABELS[: len(X)], "split": SPLITS[: len(X)], **columns}
    )


def wide() -> pa.Table:
    """Lightly's CSV: a column for each number."""
    numbers = {f"embedding_{i}": X[:, i].astype(np.float64) for i in range(DIM)}
    return pa.table({"filenames": NAMES, **numbers, "labels": LABELS, "split": SPLITS})


def as_parquet(folder: Path) -> Path:
    pq.write_table(table(), folder / "v.parquet", row_group_size=7)
    return folder / "v.parquet"


def as_fixed_lists(folder: Path) -> Path:
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), DIM)
    pq.write_table(table().set_column(1, "embedding", fixed), folder / "v.parquet")
    return folder / "v.parquet"


def as_csv(folder: Path) -> Path:
    pa_csv.write_csv(wide(), folder / "v.csv")
    return folder / "v.csv"


def as_utf16_with_cr(folder: Path) -> Path:
    text = as_csv(folder).read_text().replace("\n", "\r")
    (folder / "v.csv").write_bytes(text.encode("utf-16"))
    return folder / "v.csv"


def as_json_lines(folder: Path) -> Path:
    rows = (json.dumps(row) + "\n" for row in table().to_pylist())
    (folder / "v.jsonl").write_text("".join(rows))
    return folder / "v.jsonl"


def as_clip_retrieval(folder: Path) -> Path:
    for kind in ("img_emb", "metadata"):
        (folder / kind).mkdir()
    for number, part in ((2, slice(0, 15)), (10, slice(15, N))):  # by number, not by name
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", X[part])
        rows = {"image_path": NAMES[part], "caption": ["?"] * len(NAMES[part]), "label": LABELS[part]}
        pq.write_table(pa.table(rows | {"split": SPLITS[part]}), folder / "metadata" / f"metadata_{number}.parquet")
    return folder


def as_fiftyone(folder: Path) -> Path:
    def packed(vector: np.ndarray) -> str:
        file = io.BytesIO()
        np.save(file, vector)
        return base64.b64encode(zlib.compress(file.getvalue())).decode()

    samples = [
        {
            "filepath": name,
            "tags": ["mine", split],
            "clip": {"$binary": {"base64": packed(vector), "subType": "00"}} if i % 2 else list(map(float, vector)),
            "ground_truth": {"_cls": "Classification", "label": label},
        }
        for i, (name, split, label, vector) in enumerate(zip(NAMES, SPLITS, LABELS, X, strict=True))
    ]
    (folder / "samples.json").write_text(json.dumps({"samples": samples}))
    return folder


KINDS = (as_parquet, as_fixed_lists, as_csv, as_utf16_with_cr, as_json_lines, as_clip_retrieval, as_fiftyone)


def load(store: Store, path: Path, rows: Path | None = None, columns: Columns = GUESSED, **request: object) -> Imported:
    return import_vectors(store, open_source(path, rows, columns), ImportRequest(**{"name": "clip", **request}))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "headwater.db")


def holds(store: Store, names: list[str] = NAMES, X: np.ndarray = X) -> None:
    """The store has these vectors under the ids of the names, and nothing else."""
    found, vectors = store.features("clip").get([asset_id(name.encode()) for name in names])
    assert len(found) == len(names) == store.features("clip").rows
    np.testing.assert_array_equal(vectors, X)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_every_kind_of_file_gives_the_same_rows(store, tmp_path, make: Callable[[Path], Path]):
    (tmp_path / "in").mkdir()
    done = load(store, make(tmp_path / "in"), task="t", made_by="ViT-B-32")
    assert (done.rows, done.new, done.known, done.without_file, done.labelled, done.unlabelled) == (N, N, 0, N, N, 0)
    holds(store)
    stored = {row["id"]: (row["labels"], row["split"]) for row in store.labels.get("t").to_pylist()}
    splits = {"train": "train", "validation": "val", "test": "test"}
    assert stored == {
        asset_id(name.encode()): ([label], splits[split])
        for name, label, split in zip(NAMES, LABELS, SPLITS, strict=True)
    }
    assert {asset.uri for asset in store.assets.get(list(stored))} == set(NAMES)
    spec = store.features("clip").spec
    assert (spec.has_network, spec.modalities, spec.output) == (False, (), "ViT-B-32")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_numbers_of_every_precision_in_rows_or_columns(store, tmp_path, dtype):
    np.save(tmp_path / "v.npy", np.asfortranarray(X.astype(dtype)) if dtype == "float64" else X.astype(dtype))
    done = load(store, tmp_path / "v.npy")
    assert done.dtype == ("float16" if dtype == "float16" else "float32")
    holds(store, [f"v.npy#{i}" for i in range(N)], X.astype(dtype).astype(np.float32))


def test_a_row_is_a_stored_file_by_its_path_its_name_or_its_id(store, tmp_path):
    folder = tmp_path / "photos"
    for name in ("a/one.png", "a/two.png", "b/two.png", "b/three.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(len(list(folder.rglob("*.png")))))
    ingest(store, [Item(str(path)) for path in sorted(folder.rglob("*.png"))])
    ids = {path.relative_to(folder).as_posix(): asset_id(path.read_bytes()) for path in folder.rglob("*.png")}
    names = ["one.png", str(folder / "a/two.png"), "b/two.png", ids["b/three.png"], "elsewhere/one.png"]
    pq.write_table(table(X[:5], names), tmp_path / "v.parquet")
    done = load(store, tmp_path / "v.parquet")
    assert (done.stored_files, done.without_file, done.example) == (3, 1, "elsewhere/one.png")
    wanted = [ids["a/one.png"], ids["a/two.png"], ids["b/two.png"], ids["b/three.png"], asset_id(names[4].encode())]
    np.testing.assert_array_equal(store.features("clip").get(wanted)[1], X[:5])
    pq.write_table(table(X[:1], ["two.png"]), tmp_path / "w.parquet")
    with pytest.raises(BadSource, match=r"'two\.png' is the name of 2 stored files"):
        load(store, tmp_path / "w.parquet", name="other")


def test_a_second_file_has_the_labels(store, tmp_path):
    np.save(tmp_path / "v.npy", X)
    (tmp_path / "rows.csv").write_text("\ufefffile,n\r\n" + "".join(f"{name},{i}\r\n" for i, name in enumerate(NAMES)))
    labels = [*zip(NAMES[:10], ["007", "a|b", " ", "", *map(str, range(6))], strict=True), ("nobody.jpg", "x")]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{name},{label}\n" for name, label in labels))
    second = SecondFile.read(tmp_path / "labels.csv", Columns())
    done = load(store, tmp_path / "v.npy", tmp_path / "rows.csv", Columns(ids="file"), task="t", labels=second)
    assert (done.labelled, done.unlabelled, second.unused) == (8, N - 8, ["nobody.jpg"])
    stored = {row["id"]: row["labels"] for row in store.labels.get("t").to_pylist()}
    assert [stored.get(asset_id(name.encode())) for name in NAMES[:5]] == [["007"], ["a", "b"], None, None, ["0"]]


def with_nan(folder: Path) -> Path:
    pq.write_table(table(np.where(np.arange(N)[:, None] == 17, np.nan, X)), folder / "v.parquet")
    return folder / "v.parquet"


def of_two_lengths(folder: Path) -> Path:
    rows = table().to_pylist()
    rows[23]["embedding"] = rows[23]["embedding"][:-1]
    (folder / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "v.jsonl"


def with_one_id_twice(folder: Path) -> Path:
    pq.write_table(table(names=[*NAMES[:-1], NAMES[3]]), folder / "v.parquet")
    return folder / "v.parquet"


def with_a_row_too_many(folder: Path) -> Path:
    np.save(folder / "v.npy", X)
    (folder / "rows.csv").write_text("path\n" + "".join(f"{name}\n" for name in [*NAMES, "more"]))
    return folder / "v.npy"


def cut_off(folder: Path) -> Path:
    np.save(folder / "v.npy", X)
    (folder / "v.npy").write_bytes((folder / "v.npy").read_bytes()[:-8])
    return folder / "v.npy"


def pickled(folder: Path) -> Path:
    np.save(folder / "v.npy", np.array([X, "text"], object), allow_pickle=True)
    return folder / "v.npy"


def without_a_path(folder: Path) -> Path:
    pq.write_table(table(names=[*NAMES[:5], None, *NAMES[6:]]), folder / "v.parquet")
    return folder / "v.parquet"


def with_two_columns_of_vectors(folder: Path) -> Path:
    pq.write_table(table(vector=table()["embedding"]), folder / "v.parquet")
    return folder / "v.parquet"


def with_an_endless_label(folder: Path) -> Path:
    pq.write_table(table().set_column(2, "label", pa.array(["x" * 10_000, *LABELS[1:]])), folder / "v.parquet")
    return folder / "v.parquet"


def with_an_unknown_split(folder: Path) -> Path:
    pq.write_table(table().set_column(3, "split", pa.array([*SPLITS[:-1], "2019"])), folder / "v.parquet")
    return folder / "v.parquet"


def of_text(folder: Path) -> Path:
    (folder / "v.csv").write_text("path,embedding_0,embedding_1\na,1,2\nb,3,four\n")
    return folder / "v.csv"


def ragged(folder: Path) -> Path:
    (folder / "v.csv").write_text("path,embedding_0,embedding_1\na,1,2\nb,3\n")
    return folder / "v.csv"


def empty(folder: Path) -> Path:
    pq.write_table(table().slice(0, 0), folder / "v.parquet")
    return folder / "v.parquet"


def of_torch(folder: Path) -> Path:
    (folder / "v.pth").write_bytes(b"PK\x03\x04")
    return folder / "v.pth"


BAD: dict[Callable[[Path], Path], str] = {
    with_nan: r"row 17 \(photos/1/img 17.jpg\) has NaN",
    of_two_lengths: "row 23 has 5 numbers, the first vector has 6",
    with_one_id_twice: "rows 3 and 39 are both 'photos/3/img 3.jpg'",
    with_a_row_too_many: "has 40 vectors, but .*rows.csv has 41 rows",
    cut_off: "not a whole NPY file",
    pickled: "not a whole NPY file",
    without_a_path: "row 5 has no path",
    with_two_columns_of_vectors: "several columns of vectors: embedding, vector",
    with_an_endless_label: "row 0 has a label of 10,000 characters",
    with_an_unknown_split: "row 39 has the split '2019'",
    of_text: "four",
    ragged: "Expected 3 columns, got 2",
    empty: "no rows",
    of_torch: "may run code when it is read",
    lambda folder: folder / "nowhere": "does not exist",
    lambda folder: folder: "holds no vectors",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_input_is_refused_by_its_row_and_nothing_is_stored(store, tmp_path, make):
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in")
    rows = path.parent / "rows.csv"
    with pytest.raises((BadSource, BadVectors), match=BAD[make]):
        load(store, path, rows if rows.exists() else None, task="t")
    assert (store.encoders(), store.assets.count(), store.labels.tasks()) == ([], 0, {})


def test_the_same_file_changes_nothing_and_a_changed_one_is_refused(store, tmp_path):
    path = tmp_path / "v.parquet"
    pq.write_table(table(X[:30], NAMES[:30]), path)
    load(store, path)
    before = store.snapshot().versions
    again = load(store, path)
    assert (again.new, again.known, again.without_file) == (0, 30, 0)
    assert store.snapshot().versions == before
    pq.write_table(table(), path)
    grown = load(store, path)
    assert (grown.new, grown.known) == (10, 30)
    holds(store)
    pq.write_table(table(np.where(np.arange(N)[:, None] == 21, X + 1, X)), path)
    with pytest.raises(VectorsRefused, match=r"row 21 .* has another vector than the one that is stored as 'clip'"):
        load(store, path)
    pq.write_table(table(X, [f"new {i}" for i in range(N)]), path)
    with pytest.raises(NothingInCommon, match="40 vectors are stored as 'clip', and none of them"):
        load(store, path)
    holds(store)
    assert load(store, path, add=True).new == N
    pq.write_table(table(X[:, :4]), path)
    with pytest.raises(NameInUse, match=r"'clip' was declared as 6 numbers .* now as 4"):
        load(store, path)
    with pytest.raises(NameInUse, match="another"):
        load(store, path, made_by="another network")
    with pytest.raises(NameInUse, match="with a network"):
        load(store, path, name="lite0")
    for name in ("", "a b", "clip+mlcd-0123456789ab", "x" * 65):
        with pytest.raises(VectorsRefused, match="cannot be the name"):
            load(store, path, name=name)


@pytest.mark.parametrize("after", [0, 1])
def test_a_stopped_import_leaves_no_vector_and_no_file_and_the_next_is_complete(store, tmp_path, monkeypatch, after):
    pq.write_table(table(), tmp_path / "v.parquet")
    monkeypatch.setattr(sources, "ROWS", N // 2)
    rows: list[int] = []

    def stop(step) -> None:
        rows.append(step.handled)
        if len(rows) > after:
            raise KeyboardInterrupt

    source = open_source(tmp_path / "v.parquet", None, Columns())
    with pytest.raises(KeyboardInterrupt):
        import_vectors(store, source, ImportRequest(name="clip"), stop)
    assert rows == [N // 2, N][: after + 1]
    assert (store.encoders(), store.assets.count()) == ([], 0)
    assert [path.name for path in Path(store.uri).rglob("*.lance") if path.is_file()] == []
    spec = imported_spec("clip", DIM, source="not stated", schema=source.schema)
    killed = store.ensure_features("clip", spec, np.empty((0, DIM), np.float32), dtype="float16")
    Bulk(killed.table).write(killed.arrow(["x"], X[:1]).to_batches())  # not committed
    load(store, tmp_path / "v.parquet")
    holds(store)
    assert len([*Path(store.features("clip").table.uri).glob("data/*")]) == 1


def test_two_imports_at_once_store_every_row_once(store, tmp_path):
    pq.write_table(table(), tmp_path / "v.parquet")
    done: list[Imported] = []
    both = [
        threading.Thread(target=lambda: done.append(load(Store.open(store.uri), tmp_path / "v.parquet")))
        for _ in range(2)
    ]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert sorted((each.new, each.known) for each in done) == [(0, N), (N, 0)]
    holds(store)
    assert store.assets.count() == N


def test_a_file_that_is_ingested_later_takes_the_place_of_its_stand_in(store, tmp_path):
    data = photo(1)
    pq.write_table(table(X[:2], [asset_id(data), "unknown.png"]), tmp_path / "v.parquet")
    assert load(store, tmp_path / "v.parquet").without_file == 2
    [(_, error)] = store.assets.contents([asset_id(data)])
    assert isinstance(error, ContentChanged)
    assert store.assets.modalities() == {}  # nothing for a backfill
    done = ingest(store, [Item("a.png", data=data)])
    assert (done.new, done.known, store.assets.count(), store.assets.without_file()) == (1, 0, 2, 1)
    assert dict(store.assets.contents([asset_id(data)])) == {asset_id(data): data}
    assert store.assets.modalities() == {"image": 1}


def test_a_frozen_split_is_refused_before_anything_is_stored(store, tmp_path):
    pq.write_table(table(), tmp_path / "v.parquet")
    load(store, tmp_path / "v.parquet", task="t")
    moved = table().set_column(3, "split", pa.array([*SPLITS[:-1], "ood"]))
    pq.write_table(moved, tmp_path / "v.parquet")
    with pytest.raises(FrozenSplit):
        load(store, tmp_path / "v.parquet", name="other", task="t")
    assert [each.name for each in store.encoders()] == ["clip"]
