"""The columns of GET /v1/rows are what other endpoints and tables say of each asset."""

import math
from collections.abc import Iterator
from itertools import pairwise

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.shown import IDS, SOUNDS, N, Shown, header_of, shown_store

from classifiers.heads.transform import unit_rows
from services.jobs.predict.job import PredictRequest, predict_stored
from services.web.columns import COLUMNS, SPLIT_NAMES, Rows
from services.web.errors import RemoteProblem
from store import Label


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Iterator[Shown]:
    with shown_store(tmp_path_factory.mktemp("shown")) as made:
        yield made


HEADS = ["g", "s", "f", "c", "d"]


def classified(shown, head: str, ids: list[str]) -> dict[str, dict]:
    """Return the answer of POST /classify for each id that has one, and the probabilities of all labels."""
    found = {}
    mixed = sorted(ids)  # a request of which no id has a vector is refused
    for start in range(0, len(ids), 200):
        for item in shown.client.classify_ids(mixed[start : start + 200], heads=[head], top_k=20).items:
            if item.answers:
                found[item.id] = item.answers[0]
    return found


def lists(rows: Rows, ends: str, flat: str) -> list[list[str]]:
    """Return the labels of each row."""
    starts = [0, *rows[ends].tolist()]
    codes = rows[flat].tolist()
    return [[rows.info.labels[code] for code in codes[a:b]] for a, b in pairwise(starts)]


def test_rows_are_all_stored_assets_in_stored_order(shown):
    rows = shown.client.rows()
    stored = shown.store.assets.page(rows=10_000)
    assert rows.ids == [asset.id for asset in stored]
    assert len(rows) == N - 2
    assert [rows.info.modalities[code] for code in rows["modality"]] == [asset.modality for asset in stored]
    assert list(rows.columns) == ["id", "modality"]
    assert (rows.info.head, rows.info.encoder, rows.info.axes) == (None, None, None)


@pytest.mark.parametrize("task", ["t", "several"])
def test_labels_are_those_of_the_table(shown, task):
    rows = shown.client.rows(task=task, columns=["id", "label", "split", "labels_end", "labels_flat"])
    _, stored = shown.store.labels.page(task, rows=10_000)
    known = {row.id: row for row in stored}
    for id_, label, split, several in zip(
        rows.ids, rows.names("label"), rows["split"].tolist(), lists(rows, "labels_end", "labels_flat"), strict=True
    ):
        row = known.get(id_)
        assert several == (list(row.labels) if row else [])
        assert label == (several[0] if several else None)
        assert SPLIT_NAMES[split] == (row.split if row else "")
    default = set(shown.client.rows(task=task).columns)
    assert default == {"id", "modality", "label", "split"} | (
        {"labels_end", "labels_flat"} if task == "several" else set()
    )


@pytest.mark.parametrize("head", HEADS)
def test_answers_are_those_of_classify(shown, head):
    rows = shown.client.rows(head=head)
    answers = classified(shown, head, rows.ids)
    loaded = shown.heads.load(head)
    assert rows.info.head == f"{head}@{loaded.version}"
    assert len(answers) == (394 if head in "fc" else 378)
    several = lists(rows, "predictions_end", "predictions_flat") if head in "sd" else [None] * len(rows)
    assert ("predictions_flat" in rows.columns) == (head in "sd")
    for row, (id_, prediction, given) in enumerate(zip(rows.ids, rows.names("prediction"), several, strict=True)):
        numbers = {name: float(rows[name][row]) for name in ("probability", "margin", "outlier")}
        if id_ not in answers:
            assert prediction is None
            assert all(math.isnan(number) for number in numbers.values())
            assert (rows["set_size"][row], given or []) == (0, [])
            continue
        answer = answers[id_]
        ranked = {each.label: each.probability for each in answer.top_k}
        assert prediction == answer.label
        assert numbers["probability"] == pytest.approx(answer.probability, abs=1e-5)
        if answer.outlier_percentile is None:
            assert math.isnan(numbers["outlier"])
        else:
            assert numbers["outlier"] == pytest.approx(answer.outlier_percentile, abs=1e-2)
        assert rows["set_size"][row] == (len(answer.prediction_set.labels) if answer.prediction_set else 0)
        if given is None:
            first, second = sorted(ranked.values())[-1:-3:-1]
            assert numbers["margin"] == pytest.approx(first - second, abs=1e-5)
        else:
            assert given == [each.label for each in answer.labels]
            limits = 1 / (1 + np.exp(-loaded.head.thresholds.labels / loaded.head.temperature))
            nearest = min(abs(ranked[name] - limit) for name, limit in zip(loaded.head.classes, limits, strict=True))
            assert numbers["margin"] == pytest.approx(nearest, abs=1e-5)


@pytest.mark.parametrize("head", ["g", "s", "f"])
def test_answers_are_those_of_the_job_predict(shown, tmp_path, head):
    predict_stored(shown.store, shown.heads.load(head), PredictRequest(), tmp_path / "p.parquet")
    wanted = {row["id"]: row for row in pq.read_table(tmp_path / "p.parquet").to_pylist()}
    rows = shown.client.rows(head=head)
    for id_, label, probability in zip(rows.ids, rows.names("prediction"), rows["probability"].tolist(), strict=True):
        assert label == (wanted[id_]["label"] if id_ in wanted else None)
        if id_ in wanted:
            assert probability == pytest.approx(wanted[id_]["probability"], abs=1e-6)


def test_codes_of_labels_and_predictions_are_of_one_list(shown):
    """The classes of the head come after the labels of the task, each once."""
    rows = shown.client.rows(task="several", head="g")
    assert rows.info.labels == ["a", "b", "c", "class 0", "class 1", "class 2"]
    same = shown.client.rows(task="t", head="g")
    assert same.info.labels == ["class 0", "class 1", "class 2", "noise", "odd"]


@pytest.mark.parametrize("encoder", ["one", "two"])
def test_vectors_and_principal_axes_are_those_of_the_stored_vectors(shown, encoder):
    rows = shown.client.rows(encoder=encoder)
    features = shown.store.features(encoder)
    found, X = features.get(rows.ids)
    has = np.isin(rows.ids, found)
    assert rows["vector"].tolist() == has.astype(int).tolist()
    assert (np.isnan(rows["x"]) == ~has).all()
    assert (np.isnan(rows["y"]) == ~has).all()
    assert (rows.info.encoder, rows.info.axes.kind) == (encoder, "pca")
    Z = unit_rows(X.astype(np.float64))
    _, singular, V = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
    points = np.stack([rows["x"], rows["y"]], axis=1)[has]
    for number in range(2):
        assert abs(np.corrcoef(points[:, number], Z @ V[number])[0, 1]) > 0.999
    assert rows.info.axes.explained == pytest.approx((singular**2 / (singular**2).sum())[:2], rel=0.02)
    assert shown.client.rows(encoder=features.fingerprint).info == rows.info


@pytest.mark.parametrize("task", ["t", "several"])
def test_discriminant_axes_separate_the_classes_better_than_principal_ones(shown, task):
    def separation(rows: Rows) -> float:
        """tr(W⁻¹ B) of the training rows in the plane of the axes: the within-class and the between-class scatter."""
        code, points = rows["label"], np.stack([rows["x"], rows["y"]], axis=1).astype(np.float64)
        keep = (code >= 0) & (rows["split"] == SPLIT_NAMES.index("train")) & ~np.isnan(points[:, 0])
        code, points = code[keep], points[keep]
        means = {each: points[code == each].mean(axis=0) for each in set(code.tolist())}
        own = np.array([means[each] for each in code.tolist()])
        apart = own - points.mean(axis=0)
        return float(np.trace(np.linalg.solve((points - own).T @ (points - own), apart.T @ apart)))

    lda = shown.client.rows(task=task, encoder="one", axes="lda")
    assert lda.info.axes.kind == "lda"
    assert (np.isnan(lda["x"]) == (lda["vector"] == 0)).all()
    if task == "t":
        pca = shown.client.rows(task=task, encoder="one")
        assert separation(lda) > 1.05 * separation(pca)
        assert sum(lda.info.axes.explained) == pytest.approx(1.0, abs=1e-6)


def test_a_head_whose_encoder_has_no_vectors_answers_nothing(shown):
    rows = shown.client.rows(head="x", task="t")
    assert (rows["prediction"] == -1).all()
    assert np.isnan(rows["probability"]).all()
    assert np.isnan(rows["x"]).all()
    assert not rows["vector"].any()
    assert (rows.info.encoder, rows.info.axes) == ("gone", None)


def test_the_encoder_of_a_head_is_the_one_with_most_vectors(shown):
    assert shown.client.rows(head="f").info.encoder == "one"
    assert shown.client.rows(head="f", encoder="two").info.encoder == "two"
    assert shown.client.rows(axes="pca").info.encoder == "one"


def test_the_body_is_as_the_documentation_says(shown):
    """Read byte by byte, without the module that the client uses."""
    response = httpx.get(f"{shown.url}/v1/rows", params={"task": "several", "head": "s"})
    body = response.content
    assert response.headers["content-type"] == "application/vnd.headwater.columns"
    assert int(response.headers["content-length"]) == len(body)
    length = int.from_bytes(body[:4], "little")
    assert (4 + length) % 8 == 0
    header = header_of(body)
    start, end = 4 + length, 0
    widths = {"uint8": 1, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4}
    for column in header["columns"]:
        assert column["offset"] == end
        assert column["offset"] % 8 == 0
        if not column["name"].endswith("_flat"):
            per_row = 32 if column["name"] == "id" else 1
            assert column["bytes"] == header["rows"] * per_row * widths[column["dtype"]]
        padded = -(-column["bytes"] // 8) * 8
        assert body[start + end + column["bytes"] : start + end + padded] == bytes(padded - column["bytes"])
        end += padded
    assert start + end == len(body)
    assert [column["name"] for column in header["columns"]] == list(COLUMNS)
    assert body[start : start + 32].hex() == shown.store.assets.ids()[0].as_py()


def test_asked_columns_come_in_the_order_of_the_documentation(shown):
    rows = shown.client.rows(head="g", columns=["margin", "id", "prediction", "id"])
    assert list(rows.columns) == ["id", "prediction", "margin"]
    assert rows.info.axes is None


@pytest.mark.parametrize(
    ("query", "status", "code", "part"),
    [
        ({"columns": "probabilty", "head": "g"}, 422, "bad_request", "did you mean 'probability'"),
        ({"columns": ""}, 422, "bad_request", "unknown column ''"),
        ({"columns": "prediction"}, 409, "not_offered", "needs a value of head="),
        ({"columns": "label"}, 409, "not_offered", "needs a value of task="),
        ({"columns": "x"}, 409, "not_offered", "needs a value of encoder="),
        ({"axes": "tsne"}, 422, "bad_request", "axes"),
        ({"axes": "lda", "encoder": "one"}, 409, "not_offered", "name one with task="),
        ({"axes": "umap", "encoder": "one"}, 409, "not_offered", "umap-learn"),
        ({"task": "nobody"}, 404, "unknown_task", "several"),
        ({"task": ""}, 422, "bad_request", "task"),
        ({"encoder": "nobody"}, 404, "unknown_encoder", "one"),
        ({"head": "nobody"}, 404, "unknown_head", "nobody"),
        ({"head": "g@0"}, 404, "unknown_alias", "latest"),
        ({"tasks": "t"}, 422, "bad_request", "did you mean 'task'"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(shown, query, status, code, part):
    response = httpx.get(f"{shown.url}/v1/rows", params=query)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert part in error["message"]


def test_axes_of_a_task_without_vectors_are_refused(shown):
    shown.store.labels.put("sounds", [Label(IDS[i], ["noise"], "train") for i in SOUNDS])
    with pytest.raises(RemoteProblem, match="none; embed its assets") as refused:
        shown.client.rows(task="sounds", encoder="one", axes="lda")
    assert refused.value.code == "not_offered"
    shown.store.labels.remove_task("sounds")
