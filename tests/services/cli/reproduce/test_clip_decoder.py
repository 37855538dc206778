"""reproduce clip-decoder, as a user types it, with the built-in encoder and its stored tokens."""

import json

import pytest

SMALL = ("--set", "epochs=1", "--set", "width=16", "--set", "heads=2", "--set", "hidden=16", "--alpha", "0.3")


@pytest.mark.slow
def test_it_prints_the_tables_beside_the_papers_and_writes_a_report(headwater, home, tmp_path):
    (tmp_path / "unseen.txt").write_text("Even\nnowhere\n")
    asked = (
        "reproduce",
        "clip-decoder",
        "-t",
        "looks",
        "--store",
        home.settings.store,
        "--unseen",
        "unseen.txt",
        *SMALL,
    )
    code, out, err = headwater(*asked, "--out", "told", "--json", COLUMNS="200")
    assert code == 0, err
    found = json.loads(out)
    assert found["settings"]["unseen_labels"] == "unseen from unseen.txt"
    [draw] = found["figures"]["draws"]
    assert draw["unseen"] == ["even"]
    assert {each["head"] for each in draw["heads"]} >= {"cosine", "label bank", "decoder aligned to labels, α=0.3"}
    assert found["report"] == "told/report.html"
    assert any("nowhere" in each for each in found["missing"])
    assert json.loads((tmp_path / "told" / "reproduction.json").read_text())["findings"] == found["findings"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--unseen", "x.txt", "--draws", "2"), 2, "leave --unseen-share and --draws out"),
        (("--alpha", "0"), 2, "--alpha must be above 0"),
        (("--unseen-share", "0"), 2, "of 3 labels 0 cannot be unseen"),
        (("--unseen", "x.txt"), 1, "x.txt"),
        (("--captions", "nobody"), 1, "no labels for task 'nobody'"),
        (("--set", "size=1"), 1, "size"),
    ],
)
def test_bad_input_is_refused_in_one_line(headwater, home, options, code, message):
    asked = ("reproduce", "clip-decoder", "-t", "looks", "--store", home.settings.store, *options)
    found, out, err = headwater(*asked, COLUMNS="200")
    assert (found, out) == (code, "")
    assert message in err
