"""reproduce gmm, as a user types it."""

import json

import pytest
from helpers.toys import fill, make_toy

from store import Store

SPLITS = ["train"] * 440 + ["val"] * 60 + ["test"] * 60
ASKED = ("reproduce", "gmm", "-t", "toy", "-e", "toy", "--head", "lda", "--head", "dgmmc-s", "--components", "1")


@pytest.fixture
def toy(tmp_path):
    fill(Store.open(tmp_path / "headwater.db"), make_toy(n=560), splits=SPLITS)


def test_it_prints_the_tables_beside_the_papers_and_writes_a_report(headwater, toy, tmp_path):
    asked = (*ASKED, "--share", "0.8", "--share", "1", "--dims", "1", "--seeds", "2", "--out", "told")
    code, out, err = headwater(*asked, "--json", COLUMNS="200")
    assert code == 0, err
    assert err.startswith("12 heads to learn: 2 run(s) × 1 encoder(s) × 3 number(s) of dimensions × 2 heads")
    found = json.loads(out)
    assert (found["settings"]["shares"], found["settings"]["dims"]) == ([0.8, 1.0], [1])
    cells = found["figures"]["validation"]["toy"][0]["cells"]
    assert {each["dims"] for each in cells if each["share"] is None} == {1}
    assert {each["dims"] for each in cells if each["share"] == 1} == {12}
    chosen = found["figures"]["chosen"]["toy"]["dgmmc-s"]["chosen"]
    assert chosen["accuracy"]["mean"] == pytest.approx(sum(each["accuracy"] for each in chosen["runs"]) / 2)
    assert json.loads((tmp_path / "told" / "reproduction.json").read_text())["findings"] == found["findings"]
    assert (tmp_path / "told" / "accuracy-1.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "told" / "report.html").read_text()
    assert "2410.13421" in page
    assert "[2nd]" in page


def test_folds_measure_every_row_and_the_tables_are_printed(headwater, toy):
    code, out, err = headwater(*ASKED, "--dims", "3", "--folds", "2", COLUMNS="200")
    assert code == 0, err
    assert "2 run(s)" in err
    assert "toy: each head's choice on test rows" in out
    assert "Published (arXiv 2410.13421" in out
    assert "note: not measured: Accuracy after PCA against all dimensions" in out


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--share", "80"), 2, "For 80 % of the variance write --share 0.8, for 80 dimensions --dims 80"),
        (("--dims", "0.8"), 2, "'--dims': Input should be a valid integer"),
        (("--seeds", "2", "--folds", "3"), 2, "give one of them"),
        (("--head", "qda"), 1, "there is no head 'qda' here"),
        (("--set", "model=sdgm-d"), 1, "model is settled by the grid"),
        (("-e", "nobody"), 1, "nobody"),
    ],
)
def test_bad_input_is_refused_in_one_line(headwater, toy, options, code, message):
    found, out, err = headwater(*ASKED, *options, COLUMNS="200")
    assert (found, out) == (code, "")
    assert message in err
