"""The command `reproduce mlcd`, run as a user does."""

import json

import numpy as np
import pytest
from helpers.toys import fill, make_toy, spec_of

from store import Store

SMALL = ("--clusters", "20", "--set", "epochs=2", "--set", "dim=6", "--set", "nearest=3", "--seeds", "1")
ASKED = ("reproduce", "mlcd", "-t", "toy", "-e", "blind", "--ablation", "nearest", "--nearest", "2", *SMALL)


@pytest.fixture
def folder(tmp_path):
    toy = make_toy(n=300)
    store = Store.open(tmp_path / "headwater.db")
    ids = fill(store, toy, splits=["train"] * 150 + ["val"] * 50 + ["test"] * 100)
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("blind", spec_of(12, weights="blind", text=None), probe).put(ids, toy.X)
    return tmp_path


def test_mlcd_prints_the_tables_and_writes_a_report(folder, headwater):
    code, out, err = headwater(*ASKED, "--out", "found", COLUMNS="200")
    assert code == 0, err
    for text in ("Test accuracy in %", "own vectors", "MLCD, l = 3", "Published (arXiv 2407.17331", "75.2"):
        assert text in out
    assert "note: not measured: Zero-shot and retrieval with blind, which takes no text." in out
    record = json.loads((folder / "found" / "reproduction.json").read_text())
    assert record["settings"]["epochs"] == 2
    assert (folder / "found" / "report.html").read_text().count("<img") == 1
    again = json.loads(headwater(*ASKED, "--out", "again", "--json")[1])
    assert again["figures"] == record["figures"]
    assert again["report"] == "again/report.html"


def test_what_cannot_be_asked_is_said(folder, headwater):
    code, _, err = headwater(*ASKED, "--ablation", "dims")
    assert code == 2
    assert "clusters, nearest, threshold, negatives, loss" in " ".join(err.split())
    code, _, err = headwater(*ASKED, "--clusters", "500")
    assert code == 1
    assert "ask for 3 to 150" in err
