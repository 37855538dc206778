"""Which rows the page shows, and in which order, against plain Python on random columns."""

from typing import Any

import numpy as np
import pytest
from helpers.page_rows import Columns, encoded, rows_body, some_columns, some_ids
from playwright.sync_api import Page

CLASSES = ["hat", "shoe", "coat", "sock"]
SPLITS = ["none", "train", "val", "test", "ood"]
CHOSEN = """async ([body, filters]) => {
  const { Rows } = await import("./page/base/rows.js");
  const { EVERYTHING, chosen } = await import("./page/base/filter.js");
  const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
  const rows = new Rows(bytes.buffer);
  return filters.map((filter) => {
    const { only } = filter;
    return [...chosen(rows, { ...EVERYTHING, ...filter, ...(only && { only: { rows: Uint32Array.from(only) } }) })];
  });
}"""


def chosen(tab: Page, files: str, columns: Columns, filters: list[dict[str, Any]]) -> list[list[int]]:
    """Return the rows that the page shows for each of the filters."""
    tab.goto(f"{files}/nothing")  # a document of this origin, without the requests of the page
    script = CHOSEN.replace("./page/", f"{files}/page/")
    body = encoded(rows_body(columns, labels=CLASSES, modalities=["image", "audio"]))
    found: list[list[int]] = tab.evaluate(script, [body, filters])
    return found


def passes(columns: Columns, row: int, filter: dict[str, Any]) -> bool:
    label, answer = int(columns["label"][row]), int(columns["prediction"][row])
    tests = {
        "all": True,
        "unlabelled": label < 0,
        "labelled": label >= 0,
        "disagree": label >= 0 <= answer and label != answer,
        "agree": label >= 0 and label == answer,
        "unsure": columns["probability"][row] < 0.7,
        "unlike": columns["outlier"][row] >= 95,
        "bare": columns["vector"][row] == 0,
    }
    return bool(
        tests[filter.get("show", "all")]
        and ("label" not in filter or (label >= 0 and CLASSES[label] == filter["label"]))
        and ("prediction" not in filter or (answer >= 0 and CLASSES[answer] == filter["prediction"]))
        and ("split" not in filter or SPLITS[columns["split"][row]] == filter["split"])
        and ("modality" not in filter or ["image", "audio"][columns["modality"][row]] == filter["modality"])
    )


def expected(columns: Columns, filter: dict[str, Any]) -> list[int]:
    column, sign = {
        "stored": ("vector", 0.0),
        "unsure": ("margin", 1.0),
        "unlike": ("outlier", -1.0),
        "sure": ("probability", -1.0),
        "label": ("label", 1.0),
        "prediction": ("prediction", 1.0),
    }[filter.get("order", "stored")]
    missing = -1 if column in ("label", "prediction") else np.nan

    def rank(row: int) -> tuple[bool, float]:
        value = float(columns[column][row])
        absent = bool(sign) and (np.isnan(value) or value == missing)
        return absent, 0.0 if absent else sign * value

    rows = filter.get("only", range(len(columns["label"])))
    return sorted((row for row in rows if passes(columns, row, filter)), key=rank)


def random_filter(rng: np.random.Generator, count: int) -> dict[str, Any]:
    offered: dict[str, list[Any]] = {
        "show": ["all", "unlabelled", "labelled", "disagree", "agree", "unsure", "unlike", "bare"],
        "label": [*CLASSES, "no such class"],
        "prediction": CLASSES,
        "split": SPLITS,
        "modality": ["image", "audio"],
        "only": [rng.permutation(count)[: count // 2].tolist()],
        "order": ["stored", "unsure", "unlike", "sure", "label", "prediction"],
    }
    likely = {"show": 0.5, "order": 0.8}
    picked = [name for name in offered if rng.random() < likely.get(name, 0.2)]
    return {name: offered[name][rng.integers(len(offered[name]))] for name in picked}


def random_columns(count: int, seed: int) -> Columns:
    columns = some_columns(count, len(CLASSES), seed)
    rng = np.random.default_rng(seed + 1)
    columns["modality"] = rng.integers(0, 2, count).astype(np.uint8)
    for name in ("margin", "outlier"):  # values that occur several times, and both zeros
        columns[name] = np.where(rng.random(count) < 0.3, np.float32(0.0), np.round(columns[name], 1))
        columns[name][rng.random(count) < 0.1] = np.float32(-0.0)
    return columns


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_rows_and_their_order_are_those_of_plain_python(tab: Page, files: str, seed: int) -> None:
    columns = random_columns(400, seed)
    rng = np.random.default_rng(seed)
    filters = [random_filter(rng, 400) for _ in range(80)]
    found = chosen(tab, files, columns, filters)
    assert [bool(rows) for rows in found].count(True) > 30
    for filter, rows in zip(filters, found, strict=True):
        assert rows == expected(columns, filter), filter


def test_a_filter_whose_column_is_missing_shows_everything(tab: Page, files: str) -> None:
    columns = {"id": random_columns(5, 0)["id"], "modality": np.zeros(5, np.uint8)}
    filters = [{"show": "disagree"}, {"order": "unsure"}, {"show": "unlabelled"}, {"label": "hat"}]
    assert chosen(tab, files, columns, filters) == [[0, 1, 2, 3, 4]] * 3 + [[]]


MANY = """async ([body]) => {
  const { Rows } = await import("./page/base/rows.js");
  const { EVERYTHING, chosen } = await import("./page/base/filter.js");
  const rows = new Rows(Uint8Array.from(atob(body), (character) => character.charCodeAt(0)).buffer);
  const shown = (filter) => [...chosen(rows, { ...EVERYTHING, ...filter })];
  const before = [shown({ label: "sock" }), shown({ show: "disagree" }), shown({ show: "agree" })];
  rows.relabel(0, ["shoe", "sock"]);
  rows.relabel(2, []);
  const after = [shown({ label: "sock" }), shown({ show: "disagree" })];
  return { before, after, labels: [0, 1, 2].map((row) => rows.labels(row)) };
}"""


@pytest.mark.slow
def test_rows_with_several_labels_are_compared_as_sets_and_can_be_changed(tab: Page, files: str) -> None:
    columns = {
        "id": random_columns(3, 0)["id"],
        "modality": np.zeros(3, np.uint8),
        "label": np.array([0, 3, 1], np.int32),
        "labels_end": np.array([2, 3, 4], np.uint32),
        "labels_flat": np.array([0, 1, 3, 1], np.int32),
        "prediction": np.array([1, -1, 1], np.int32),
        "predictions_end": np.array([2, 2, 3], np.uint32),
        "predictions_flat": np.array([1, 0, 1], np.int32),
        "margin": np.array([0.1, 0.2, 0.3], np.float32),
    }
    tab.goto(f"{files}/nothing")  # a document of this origin, without the requests of the page
    body = encoded(rows_body(columns, labels=CLASSES))
    found = tab.evaluate(MANY.replace("./page/", f"{files}/page/"), [body])
    assert found == {
        "before": [[1], [1], [0, 2]],  # the head says of row 1 that no label applies
        "after": [[0, 1], [0, 1]],
        "labels": [["shoe", "sock"], ["sock"], []],
    }


FOUND = """async ([body, ids]) => {
  const { Rows } = await import("./page/base/rows.js");
  const rows = new Rows(Uint8Array.from(atob(body), (character) => character.charCodeAt(0)).buffer);
  return { rows: ids.map((id) => rows.row(id)), ids: ids.map((_, row) => rows.id(row)) };
}"""


@pytest.mark.slow
@pytest.mark.parametrize("alike", [False, True])
def test_every_id_is_found_and_no_other(tab: Page, files: str, alike: bool) -> None:
    rng = np.random.default_rng(0)
    ids = some_ids(3000) if alike else rng.integers(0, 256, (3000, 32)).astype(np.uint8)
    known, other = [bytes(each).hex() for each in ids[:2000]], [bytes(each).hex() for each in ids[2000:]]
    columns = {"id": ids[:2000], "modality": np.zeros(2000, np.uint8)}
    tab.goto(f"{files}/nothing")
    found = tab.evaluate(FOUND.replace("./page/", f"{files}/page/"), [encoded(rows_body(columns)), known])
    assert found == {"rows": list(range(2000)), "ids": known}
    strange = [*other, "", "no id", "zz" * 32, known[0][:-1]]
    found = tab.evaluate(FOUND.replace("./page/", f"{files}/page/"), [encoded(rows_body(columns)), strange])
    assert found["rows"] == [-1] * len(strange)
