"""duplicates, mistakes and suggest, as a user types them: each says the command that comes next, and it works."""

import json
import re
import shlex

import pytest
from helpers.toys import fill, ids_of, make_toy

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from store import Asset, Store
from store.schema import NO_FILE

N = 300


@pytest.fixture
def toy(tmp_path):
    """A store with 300 vectors, of which 6 of the test split are copies of training rows and 10 have a wrong label."""
    toy = make_toy(n=N, dim=24, spread=1.0)
    toy.X[240:246] = toy.X[:6]
    toy.labels[240:246] = toy.labels[:6]
    toy.labels[20:30] = [toy.classes[(code + 1) % 5] for code in toy.codes[20:30]]
    store = Store.open(tmp_path / "headwater.db")
    store.assets.add(Asset(id_, f"photos/{row}.jpg", NO_FILE, "image/jpeg") for row, id_ in enumerate(ids_of(N)))
    fill(store, toy, splits=["train"] * 180 + ["val"] * 60 + ["test"] * 60)
    return toy


def of(headwater, *command):
    code, out, err = headwater(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def next_command(out: str) -> list[str]:
    return shlex.split(re.search(r"^next: headwater (.*)$", out, re.MULTILINE)[1])


def test_the_training_report_counts_near_duplicates_and_its_command_lists_them(headwater, toy, tmp_path):
    code, out, err = headwater("train", "-t", "toy", "-n", "h", "-e", "toy")
    assert code == 0, err
    (line,) = [line for line in out.splitlines() if "near-duplicate" in line]
    assert line.startswith("note: 6 of 120 held-out rows have a near-duplicate among 180 training rows (cosine ≥ ")
    (report,) = tmp_path.glob("heads/h/*/report.md")
    counted, hint = line.removeprefix("note: ").split(" `", 1)
    assert f"- {counted}\n" in report.read_text()
    assert hint not in report.read_text()
    found = of(headwater, *shlex.split(re.search("`headwater (.*?)`", line)[1]))
    assert found["held_out_rows_with_one_in_train"] == found["across_splits"] == len(found["pairs"]) == 6
    code, out, _ = headwater("duplicates", "-e", "toy", "-t", "toy", "--limit", "2", COLUMNS="200")
    assert code == 0
    assert out.splitlines()[1].startswith("across splits  1.0000")
    assert "note: the first 2 of 6 rows" in out
    assert "note: the threshold was proposed" in out


def test_a_head_has_the_same_version_however_it_was_trained(headwater, toy, tmp_path):
    code, out, _ = headwater("train", "-t", "toy", "-n", "h", "-e", "toy", "--json")
    assert code == 0
    by_command = json.loads(out)
    store, registry = Store.open(tmp_path / "headwater.db"), Registry(tmp_path / "heads")
    assert train(store, registry, task="toy", encoders=["toy"], name="h").version == by_command["version"]
    assert by_command["near_duplicates"]["how"].startswith("`headwater duplicates --encoder toy --task toy --threshold")


def test_a_mistake_is_corrected_by_the_command_that_is_printed(headwater, toy, tmp_path):
    assert headwater("train", "-t", "toy", "-n", "h", "-e", "toy")[0] == 0
    wrong = set(ids_of(N)[20:30])
    found = of(headwater, "mistakes", "--head", "h", "--limit", "10")
    assert len({row["id"] for row in found["mistakes"]} & wrong) >= 7
    assert found["judged"] == N
    code, out, _ = headwater("mistakes", "--head", "h", COLUMNS="200")
    assert code == 0
    first = found["mistakes"][0]
    command = next_command(out)
    assert command[:3] == ["labels", "set", first["id"][:12]]
    assert of(headwater, *command)["changed"] == 1
    assert first["id"] not in {row["id"] for row in of(headwater, "mistakes", "--head", "h")["mistakes"]}
    code, out, _ = headwater("mistakes", "--head", "h", "--out", "m.csv")
    assert code == 0
    assert (tmp_path / "m.csv").read_text().splitlines()[0].startswith('"id","path","split","labels","head_labels"')
    code, _, err = headwater("mistakes", "--head", "h", "--out", "m.csv")
    assert (code, err) == (1, "error: m.csv exists\nhint: --overwrite replaces it; --out names another file\n")
    assert headwater("mistakes", "--head", "h", "--out", "m.csv", "--overwrite")[0] == 0


def test_the_learning_curve_of_a_head_ends_with_the_head(headwater, toy):
    code, out, _ = headwater("train", "-t", "toy", "-n", "h", "-e", "toy", "--json")
    assert code == 0
    trained = json.loads(out)
    found = of(headwater, "learning-curve", "--head", "h")
    assert found["head"] == f"h@{trained['version']}"
    assert (found["split"], found["figure"], found["held_out"], found["at_snapshot"]) == ("test", "accuracy", 60, True)
    assert found["points"][-1]["rows"] == 180
    assert found["points"][-1]["value"] == pytest.approx(trained["figures"]["test"]["accuracy"])
    code, out, _ = headwater("learning-curve", "--head", "h", COLUMNS="200")
    assert code == 0
    assert re.search(r"note: from \d+ to 180 training rows: [+-]\d+\.\d right answers in 100", out)


def test_fewshot_prints_a_table_and_draws_the_curves(headwater, toy, tmp_path):
    asked = (
        "fewshot",
        "-t",
        "toy",
        "-e",
        "toy",
        "--shots",
        "1",
        "--shots",
        "4",
        "--draws",
        "2",
        "-c",
        "linear norm=unit",
    )
    found = of(headwater, *asked, "-c", "gaussian")
    assert (found["split"], found["held_out"]) == ("test", 60)
    assert [point["shots"] for point in found["curves"]["linear norm=unit"]] == [1, 4]
    assert [point["shots"] for point in found["curves"]["gaussian"]] == [4]
    assert found["best"].keys() == {"1", "4"}
    code, out, _ = headwater(*asked, "-c", "gaussian", "--plot", "curves.png", COLUMNS="200")
    assert code == 0
    value = found["curves"]["linear norm=unit"][1]
    assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in out
    assert "note: gaussian: no figure for 1 per class: " in out
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    _, out, _ = headwater(*asked, "--draws", "1", COLUMNS="200")
    assert "with 1 draw of the training rows" in out
    assert " to " not in out
    assert "note: no interval: one draw" in out


def test_suggestions_before_and_after_the_first_head(headwater, toy):
    first = of(headwater, "suggest", "-e", "toy", "-t", "a new task", "--count", "5")
    assert (len(first["suggestions"]), first["unlabelled"], first["labelled"]) == (5, N, 0)
    assert headwater("train", "-t", "toy", "-n", "h", "-e", "toy")[0] == 0
    code, _, err = headwater("suggest", "--head", "h")
    assert code == 1
    assert err.startswith("error: none of the 300 assets with a vector lacks a label in task 'toy'")
    found = of(headwater, "suggest", "--head", "h", "-t", "a new task", "--count", "5")
    assert all(0 <= row["uncertainty"] <= 1 and row["head_labels"] for row in found["suggestions"])
    where = ("--where", "uri LIKE 'photos/29%'")
    chosen = of(headwater, "suggest", "--head", "h", "-t", "a new task", *where)
    assert chosen["unlabelled"] == 11
    assert {row["path"][:9] for row in chosen["suggestions"]} == {"photos/29"}
    code, out, _ = headwater("suggest", "--head", "h", "-t", "a new task", "--count", "3")
    assert code == 0
    assert next_command(out)[:2] == ["labels", "set"]


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("duplicates", "-e", "toy", "--threshold", "nan"), 2, "give a cosine above 0 and at most 1, or proposed"),
        (("duplicates", "-e", "toy", "--threshold", "1.2"), 2, "give a cosine above 0 and at most 1, or proposed"),
        (("duplicates", "-e", "toy", "--out", "x.xlsx"), 2, "--out x.xlsx: give a file that ends with .parquet"),
        (("duplicates", "-e", "toy", "--out", "no/x.csv"), 2, "the folder no does not exist"),
        (("duplicates", "-e", "nobody"), 1, "hint: run `headwater backfill --encoder nobody` first"),
        (("duplicates", "-e", "toy", "-t", "nobody"), 1, "error: no labels for task 'nobody'"),
        (("mistakes", "--head", "nobody"), 1, "unknown head 'nobody'"),
        (
            ("suggest", "-t", "x", "-e", "toy", "--where", "nothing = 1"),
            1,
            "the condition 'nothing = 1' cannot be used",
        ),
        (("suggest", "-t", "x", "-e", "toy", "--where", "uri = ''"), 1, "and satisfies the condition"),
        (("suggest",), 2, "give --head NAME, or --task NAME and --encoder NAME"),
        (("suggest", "-t", "x", "-e", "nobody"), 1, "hint: run `headwater backfill --encoder nobody` first"),
    ],
)
def test_bad_input_is_refused_in_one_line(headwater, toy, command, code, message):
    found, out, err = headwater(*command, COLUMNS="200")
    assert (found, out) == (code, "")
    assert message in err
