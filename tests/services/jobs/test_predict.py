"""Predictions in a file are those that the head gives row by row, whatever stopped the run on the way."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from helpers.pictures import photo

from classifiers.published.head import PublishedHead
from classifiers.published.many import most_probable
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import imported_spec
from services.jobs.errors import BadCondition, OutputExists
from services.jobs.predict import files, stored
from services.jobs.predict import vectors as vectors_module
from services.jobs.predict.answers import PredictRequest
from services.jobs.predict.job import Predicted, predict_files, predict_stored
from services.jobs.progress import OnProgress, ignore
from store import Asset, Label, Store, asset_id
from store.errors import UnknownTask
from store.schema import NO_FILE
from store.sources import read_sources

N, DIM = 600, 8
IDS = [asset_id(str(i).encode()) for i in range(N)]
CODES = np.random.default_rng(1).integers(0, 3, N)
PATHS = [f"photos/{2015 + i % 3}/{i}.jpg" for i in range(N)]


def vectors(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((3, DIM))[CODES] + rng.standard_normal((N, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, Registry]:
    """Two encoders, the second without every fifth row, and heads with one class or several labels a row."""
    folder = tmp_path_factory.mktemp("predict")
    store, registry = Store.open(folder / "headwater.db"), Registry(folder / "heads")
    store.assets.add(Asset(id_, path, NO_FILE, "image/jpeg") for id_, path in zip(IDS, PATHS, strict=True))
    for name, seed, step in (("one", 2, 1), ("two", 3, 5)):
        spec = imported_spec(name, DIM, source="test", schema="test")
        table = store.ensure_features(name, spec, np.empty((0, DIM), np.float32))
        rows = [i for i in range(N) if step == 1 or i % step]
        table.put([IDS[i] for i in rows], vectors(seed)[rows])
    labelled = range(N - 100)
    store.labels.put("t", [Label(IDS[i], [f"class {CODES[i]}"]) for i in labelled])
    store.labels.put("several", [Label(IDS[i], ["a", "b", "c"][: CODES[i]]) for i in labelled])
    train(store, registry, task="t", encoders=["one"], kind="gaussian", name="g")
    train(store, registry, task="several", encoders=["one"], kind="labelwise", name="s")
    train(store, registry, task="t", encoders=["one", "two"], kind="fusion", name="f")
    return store, registry


def expected(head: PublishedHead, X: np.ndarray) -> list[dict[str, object]]:
    """The columns of an answer, by the way of `PublishedHead.answer`."""
    rows = []
    for each in head.answer(X):
        row = {"label": each.label, "probability": each.probability, "outlier": each.outlier_percentile}
        row |= {"set": None if each.prediction_set is None else list(each.prediction_set)}
        row |= {"top_k": [name for name, _ in each.top_k], "top_k_probability": [p for _, p in each.top_k]}
        rows.append(row | ({} if each.labels is None else {"labels": [name for name, _ in each.labels]}))
    return rows


def agree(found: list[dict], wanted: list[dict]) -> None:
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        for name, value in two.items():
            if isinstance(value, str | None) or name in ("set", "top_k", "labels"):
                assert one[name] == value, name
            else:
                assert one[name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("name", ["g", "s"])
def test_every_row_has_the_answer_of_the_head(made, tmp_path, name):
    store, registry = made
    head = registry.load(name)
    done = predict_stored(store, head, PredictRequest(), tmp_path / "p.parquet")
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert (done.rows, done.with_truth, done.without_vector, done.resumed) == (N, N - 100, 0, 0)
    assert {row["id"]: row["path"] for row in rows} == dict(zip(IDS, PATHS, strict=True))
    X = vectors(2)
    agree(rows, expected(head, X[[IDS.index(row["id"]) for row in rows]]))
    truth = {IDS[i]: f"class {CODES[i]}" if name == "g" else ["a", "b", "c"][: CODES[i]] for i in range(N - 100)}
    assert [row["truth"] for row in rows] == [truth.get(row["id"]) for row in rows]
    given = "label" if name == "g" else "labels"
    right = [set(row[given]) == set(row["truth"]) for row in rows if row["truth"] is not None]
    assert done.right == sum(right)


def test_csv_and_json_lines_say_what_parquet_says(made, tmp_path):
    store, registry = made
    for ending in ("parquet", "csv", "jsonl"):
        predict_stored(store, registry.load("g"), PredictRequest(top_k=2), tmp_path / f"p.{ending}")
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    agree(lines, rows)
    flat = pa_csv.read_csv(tmp_path / "p.csv").to_pylist()
    assert [row["set"].split("|") for row in flat] == [row["set"] for row in rows]
    assert [row["top_k"].split("|") for row in flat] == [row["top_k"] for row in rows]
    assert [row["truth"] or None for row in flat] == [row["truth"] for row in rows]


def test_a_fused_head_answers_from_the_encoders_that_a_row_has(made, tmp_path):
    store, registry = made
    head = registry.load("f")
    predict_stored(store, head, PredictRequest(), tmp_path / "p.parquet")
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "p.parquet").to_pylist()}
    both = [i for i in range(N) if i % 5]
    agree([rows[IDS[i]] for i in both], expected(head, np.hstack([vectors(2), vectors(3)])[both]))
    alone, one = head.from_some(head.inputs[:1]), [i for i in range(N) if i % 5 == 0]
    agree([rows[IDS[i]] for i in one], expected(alone, vectors(2)[one]))


def shares_are_parts(rows: stored.StoredRows) -> None:
    """The shares that workers read are the parts of the local run, from every row at which a run can go on."""
    parts = list(rows.parts(0))
    starts = np.cumsum([0, *(part.source_rows for part in parts)])
    assert starts[-1] == rows.rows
    for number, start in enumerate(starts):
        shared = [part for share in rows.shares(int(start)) for part in rows.read(share)]
        assert [part.ids.to_pylist() for part in shared] == [part.ids.to_pylist() for part in parts[number:]]


def test_a_fused_head_answers_rows_that_only_the_smaller_table_has(made, tmp_path, monkeypatch):
    """In two runs, of which the second begins within the rows of the smaller table."""
    store, registry = made
    head, later = registry.load("f"), [asset_id(f"later {i}".encode()) for i in range(60)]
    X = vectors(5)[:60]
    store.features("two").put(later, X)
    monkeypatch.setattr(stored, "PART_ROWS", 50)
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", 50)

    def stop(progress: Predicted) -> None:
        if progress.source_rows >= N + 500:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            predict_stored(store, head, PredictRequest(), tmp_path / "p.parquet", stop)
        done = predict_stored(store, head, PredictRequest(), tmp_path / "p.parquet")
        shares_are_parts(stored.StoredRows(store, head, store.snapshot(), None, None))
    finally:
        ids = ", ".join(f"'{id_}'" for id_ in later)
        store.features("two").table.delete(f"id IN ({ids})")
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "p.parquet").to_pylist()}
    assert (done.rows, len(rows), done.without_vector) == (N + 60, N + 60, 0)
    agree([rows[id_] for id_ in later], expected(head.from_some(head.inputs[1:]), X))


def test_a_fused_head_answers_batches_that_only_one_encoder_embedded(made, tmp_path):
    store, registry = made
    head = registry.load("f")
    request = PredictRequest(where="uri LIKE '%0.jpg' OR uri LIKE '%5.jpg'")
    predict_stored(store, head, request, tmp_path / "p.parquet")
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "p.parquet").to_pylist()}
    one = [i for i in range(N) if i % 5 == 0]
    assert len(rows) == len(one)
    agree([rows[IDS[i]] for i in one], expected(head.from_some(head.inputs[:1]), vectors(2)[one]))


def test_a_stopped_run_of_a_fused_head_reads_the_same_table_again(made, tmp_path, monkeypatch):
    """The smaller table grows beyond the other one meanwhile."""
    store, registry = made
    head, out = registry.load("f"), tmp_path / "p.jsonl"
    monkeypatch.setattr(stored, "PART_ROWS", 100)
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", 50)
    predict_stored(store, head, PredictRequest(), tmp_path / "whole.jsonl")

    def stop(progress: Predicted) -> None:
        if progress.source_rows >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_stored(store, head, PredictRequest(), out, stop)
    later = [asset_id(f"later {i}".encode()) for i in range(N)]
    store.features("two").put(later, np.zeros((N, DIM), np.float32))
    try:
        assert predict_stored(store, head, PredictRequest(), out).resumed == 300
    finally:
        store.features("two").table.delete(f"id IN ({', '.join(map(repr, later))})")
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_a_task_and_a_condition_choose_rows(made, tmp_path):
    store, registry = made
    head = registry.load("g")
    request = PredictRequest(task="t", where="uri LIKE '%/2016/%'")
    predict_stored(store, head, request, tmp_path / "p.parquet")
    wanted = {IDS[i] for i in range(N - 100) if i % 3 == 1}
    assert set(pq.read_table(tmp_path / "p.parquet")["id"].to_pylist()) == wanted
    none = predict_stored(store, head, PredictRequest(where="uri = 'nobody'"), tmp_path / "none.parquet")
    assert none.rows == 0
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0
    for where in ("nothing = 3", "uri LIKE", "'"):
        with pytest.raises(BadCondition, match="cannot be used"):
            predict_stored(store, head, PredictRequest(where=where), tmp_path / "bad.parquet")
    with pytest.raises(UnknownTask):
        predict_stored(store, head, PredictRequest(task="nobody"), tmp_path / "bad.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["none.parquet", "p.parquet"]


def test_a_stopped_run_goes_on_with_the_rows_of_its_snapshot(made, tmp_path, monkeypatch):
    store, registry = made
    head, out = registry.load("g"), tmp_path / "p.parquet"
    monkeypatch.setattr(stored, "PART_ROWS", 100)
    monkeypatch.setattr(vectors_module, "BATCH_ROWS", 50)
    predict_stored(store, head, PredictRequest(), tmp_path / "whole.parquet")

    def stop(progress: Predicted) -> None:
        if progress.source_rows >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_stored(store, head, PredictRequest(), out, stop)
    assert not out.exists()
    with pytest.raises(OutputExists, match="parts of another run"):
        predict_stored(store, head, PredictRequest(top_k=1), out)
    later = asset_id(b"later")
    store.features("one").put([later], np.zeros((1, DIM), np.float32))
    try:
        done = predict_stored(store, head, PredictRequest(), out)
    finally:
        store.features("one").table.delete(f"id = '{later}'")
    assert (done.resumed, done.rows, done.with_truth) == (300, N, N - 100)
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.parquet", "whole.parquet"]
    with pytest.raises(OutputExists, match=r"p\.parquet exists"):
        predict_stored(store, head, PredictRequest(), out)
    assert predict_stored(store, head, PredictRequest(overwrite=True, top_k=1), out).rows == N
    assert len(pq.read_table(out)["top_k"][0]) == 1


def test_ties_rank_by_class():
    proba = np.array([[0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25]], np.float32)
    assert most_probable(proba, 9).tolist() == [[1, 0, 2, 3], [0, 1, 2, 3]]


def test_files_of_folders_use_stored_vectors_and_embed_the_others(home, tmp_path, monkeypatch):
    head = Registry(home.settings.heads).load("gaussian")
    cells = [cell for cell in home.cells if cell.split == "test"][:6]
    for number, cell in enumerate(cells):
        path = tmp_path / "photos" / cell.label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cell.path.read_bytes())
    request, settings, folder = PredictRequest(), home.settings, read_sources([tmp_path / "photos"])

    def refuse(name: str, **_: object) -> None:
        raise AssertionError(f"{name} was loaded, although all vectors are stored")

    with monkeypatch.context() as patch:
        patch.setattr("embedder.registry.load", refuse)
        by_id = predict_files(folder, home.store, head, request, tmp_path / "a.parquet", settings)
    assert (by_id.rows, by_id.with_truth, by_id.quarantined) == (6, 6, 0)
    (tmp_path / "photos" / "new.png").write_bytes(photo(123))
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    stored_too = predict_files(folder, home.store, head, request, tmp_path / "b.parquet", settings)
    assert (stored_too.rows, stored_too.failures.counts) == (7, {"unknown_format": 1})
    empty = Store.open(tmp_path / "empty.db")
    embedded = predict_files(folder, empty, head, request, tmp_path / "c.parquet", settings)
    assert embedded.rows == 7
    one, two = (pq.read_table(tmp_path / name).to_pylist() for name in ("b.parquet", "c.parquet"))
    assert [(row["path"], row["label"], row["truth"]) for row in one] == [
        (row["path"], row["label"], row["truth"]) for row in two
    ]
    for a, b in zip(one, two, strict=True):
        assert a["probability"] == pytest.approx(b["probability"], abs=0.02)
    assert not (tmp_path / "empty.db").exists()  # nothing is stored


def test_a_stopped_run_over_folders_goes_on_and_counts_the_files_that_failed_before(home, tmp_path, monkeypatch):
    head = Registry(home.settings.heads).load("gaussian")
    folder, out = tmp_path / "photos", tmp_path / "p.jsonl"
    folder.mkdir()
    (folder / "0.txt").write_text("no photo")
    for number, cell in enumerate(home.cells[:99], start=1):
        (folder / f"{number}.png").write_bytes(cell.path.read_bytes())
    monkeypatch.setattr(files, "PART_ROWS", 32)

    def stop(progress: Predicted) -> None:
        if progress.source_rows >= 64:
            raise KeyboardInterrupt

    def run(name: str, on_progress: OnProgress[Predicted] = ignore) -> Predicted:
        return predict_files(
            read_sources([folder]), home.store, head, PredictRequest(), tmp_path / name, home.settings, on_progress
        )

    whole = run("whole.jsonl")
    with pytest.raises(KeyboardInterrupt):
        run(out.name, stop)
    done = run(out.name)
    assert (done.resumed, done.rows) == (63, 99)
    assert done.failures == whole.failures
    assert done.failures.counts == {"unknown_format": 1}
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()


def test_stored_vectors_need_no_torch(made, tmp_path):
    store, registry = made
    script = f"""
import sys
heads = {str(registry.root)!r}
sys.argv = ["headwater", "predict", "--head", "g", "--store", {store.uri!r}, "--heads", heads, "--json"]
from services.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules and "sklearn" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["predicted"], len(printed["predictions"])) == (N, 50)
    assert list(Path(tmp_path).iterdir()) == []


def test_names_only_leaves_no_folder_of_this_machine(made, tmp_path):
    """A path that is relative or of another machine stays. A run that was stopped is not continued with other paths."""
    _, registry = made
    store = Store.open(tmp_path / "db")
    uris = {
        "/srv/photos/a b/1.jpg": "…/1.jpg",
        "file:///srv/2.jpg": "…/2.jpg",
        "/x.parquet#/3/": "…/",
        "4.jpg": "4.jpg",
    }
    uris |= {"s3://bucket/photos/5.jpg": "s3://bucket/photos/5.jpg", "photos/6.jpg": "photos/6.jpg"}
    store.assets.add(Asset(id_, uri, NO_FILE, "image/jpeg") for id_, uri in zip(IDS, uris, strict=False))
    spec = imported_spec("one", DIM, source="test", schema="test")
    table = store.ensure_features("one", spec, np.empty((0, DIM), np.float32))
    table.put(IDS[: len(uris)], vectors(2)[: len(uris)])
    paths = {}
    for names_only in (True, False):
        out = tmp_path / f"{names_only}.parquet"
        predict_stored(store, registry.load("g"), PredictRequest(names_only=names_only), out)
        rows = pq.read_table(out).to_pylist()
        paths[names_only] = {row["id"]: row["path"] for row in rows}
    assert paths[True] == {id_: uris[paths[False][id_]] for id_ in IDS[: len(uris)]}
    assert PredictRequest(names_only=True).written() != PredictRequest().written()
