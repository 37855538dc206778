"""`headwater reproduce backbones`: what it prints and writes, its costs, and one run with built-in encoders."""

import json

import numpy as np
import pytest
from helpers.pictures import photo
from helpers.toys import fill, make_toy

from classifiers.reproduce.backbones.published import PAPER
from store import Store


@pytest.fixture
def filled(tmp_path):
    """Fill the store of the working folder with vectors of two encoders whose networks nobody has."""
    toy, store = make_toy(n=150, dim=6), Store.open(tmp_path / "headwater.db")
    splits = ["test" if i % 3 == 0 else "train" for i in range(150)]
    for encoder in ("first", "second"):
        fill(store, toy, encoder=encoder, splits=splits)


ASKED = ("reproduce", "backbones", "--task", "toy", "--no-texts", "--draws", "1")


def test_it_prints_tables_findings_and_published_figures_and_writes_a_report(headwater, filled, tmp_path):
    code, out, err = headwater(*ASKED)
    assert code == 0, err
    assert "Linear probes: every rule, accuracy in %" in out
    assert "Linear probes: NLC gains" in out
    assert "cost, columns" in out
    assert "note: not measured: zero-shot scores: no class name was embedded" in out
    assert all(" ".join(row) in " ".join(out.split()) for row in PAPER.published[0].rows)
    [report] = (tmp_path / "reproductions").glob("backbones-toy-*/report.html")
    assert report.name in out.splitlines()[-1]


def test_as_json_with_given_costs(headwater, filled):
    asked = ("--encoder", "first", "--encoder", "second", "--json", "--out", "here")
    code, out, err = headwater(*ASKED, *asked, "--cost", 5, "--cost", 2)
    assert code == 0, err
    found = json.loads(out)
    assert found["encoders"] == ["second", "first"]
    assert found["settings"]["unit_of_costs"] == "GFLOPs"
    assert found["figures"]["linear probes"]["spent"] == [2, 7]
    code, out, err = headwater(*ASKED, *asked, "--cost", 5)
    assert (code, out) == (2, "")
    assert "--cost: give one for each of first, second; got 1" in err


def test_one_encoder_cannot_be_fused(headwater, filled):
    code, _, err = headwater(*ASKED, "--encoder", "first")
    assert code == 1
    assert "fusion needs two or more different encoders, got first" in err


@pytest.mark.slow
def test_built_in_encoders_from_photos_to_the_report(headwater, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for number, name in enumerate(("sunflower", "lighthouse")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for _ in range(count):
                (folder / f"{rng.integers(1 << 40)}.png").write_bytes(photo(int(rng.integers(1 << 30)) * 2 + number))
    for arguments in ("ingest photos --task t", "backfill --encoder lite0", "backfill --encoder lite1"):
        assert headwater(*arguments.split())[0] == 0
    code, out, err = headwater("reproduce", "backbones", "--task", "t", "--draws", "2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["settings"]["unit_of_costs"] == "ms on this machine"
    assert list(found["figures"]) == ["zero-shot", "linear probes"]
    assert found["figures"]["zero-shot"]["test_rows"] == 12
