"""The command line as a user types it: exit codes, JSON for scripts, errors in one line."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pictures import jpeg, photo
from sklearn.datasets import load_sample_images

from classifiers.published.registry import Registry
from services.cli import demo_photos

COMPARE = [sys.executable, "-m", "services.cli", "compare"]


@pytest.fixture
def class_folders(tmp_path) -> Path:
    """A folder of class folders with real photos, and one file that is no image."""
    folder = tmp_path / "photos"
    for cell in demo_photos.cells()[:160]:
        target = folder / cell.label / cell.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cell.path.read_bytes())
    (folder / "intact" / "broken.jpg").write_text("not an image")
    return folder


def test_what_failed_is_told_by_reason_with_an_example(headwater, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo(1))
    (folder / "b.jpg").write_bytes(photo(2, form="JPEG")[:-200])
    (folder / "c.txt").write_text("c")
    (folder / "d.txt").write_text("d")
    (folder / "e.png").symlink_to(tmp_path / "nosuch")
    code, out, _ = headwater("ingest", folder)
    assert code == 3
    assert (
        f"2 unknown_format, e.g. {folder}/c.txt: not a supported image, sound or video. Supported: images (JPEG, PNG, "
        in out
    )
    assert f"1 unreadable, e.g. {folder}/e.png: " in out
    code, out, _ = headwater("backfill")
    assert code == 3
    assert next(line.split() for line in out.splitlines() if "without a vector" in line)[-1] == "2"
    assert f"1 truncated, e.g. {folder}/b.jpg: the image is cut off or damaged; replace it with a whole copy\n" in out
    code, out, _ = headwater("backfill", "--retry-quarantined", "--json")
    assert (code, json.loads(out)["reasons"], json.loads(out)["quarantined"]) == (3, {"truncated": 1}, 1)


def test_a_shell_gets_the_exit_code_and_the_output(headwater_process, tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    code, out, err = headwater_process("heads", "list", "--json")
    assert (code, json.loads(out), err) == (0, {}, "")
    assert headwater_process("heads", "show", "nosuch")[:2] == (1, "")
    assert headwater_process("heads", "nosuch")[:2] == (2, "")
    code, out, _ = headwater_process("ingest", tmp_path, "--json")
    assert (code, json.loads(out)["reasons"]) == (3, {"unknown_format": 1})


def test_an_empty_folder_is_an_error(headwater, tmp_path):
    (tmp_path / "nothing").mkdir()
    code, _, err = headwater("ingest", "nothing")
    assert code == 1
    assert "no file in nothing" in err


def test_from_a_folder_of_photos_to_a_promoted_head(headwater, class_folders, tmp_path):
    code, out, _ = headwater("ingest", class_folders, "--task", "cell", "--json")
    summary = json.loads(out)
    assert (code, summary["new_assets"], summary["labelled"], summary["quarantined"]) == (3, 160, 160, 1)
    code, out, _ = headwater("backfill", "--encoder", "lite0", "--json")
    assert (code, json.loads(out)["embedded"]) == (0, 160)
    code, out, err = headwater("train", "--task", "cell", "--name", "cells", "--set", "shrinkage=0.5", "--json")
    assert code == 0, err
    first = json.loads(out)["version"]
    code, out, err = headwater("train", "--task", "cell", "--name", "cells", "--kind", "linear", "--json")
    assert code == 0, err
    code, _, err = headwater("train", "--task", "cell", "--name", "cells", "--set", "covariance=oval")
    assert (code, err.startswith("error: covariance must be one of tied, diag")) == (1, True)
    code, _, err = headwater("train", "--task", "cell", "--name", "cells", "--kind", "linear", "--set", "C=-1")
    assert (code, err) == (1, "error: C must be a number above 0, got -1\n")
    code, out, _ = headwater("heads", "list", "--json")
    assert len(json.loads(out)["cells"]["versions"]) == 2
    assert headwater("heads", "promote", "cells", "production", first)[0] == 0
    code, out, _ = headwater("heads", "show", "cells@production", "--json")
    assert (json.loads(out)["kind"], json.loads(out)["parameters"]["shrinkage"]) == ("gaussian", 0.5)
    assert "kind" in json.loads(headwater("heads", "diff", "cells", "production", "latest", "--json")[1])
    code, out, err = headwater("evaluate", "cells@production", "--json")
    assert code == 0, err
    assert 0 < json.loads(out)["accuracy"] <= 1
    code, out, err = headwater("evaluate", "cells@production", "--split", "ood")
    assert (code, out, err) == (
        1,
        "",
        "error: a head cannot be evaluated on the split 'ood'; choose train, val or test\n",
    )
    code, out, _ = headwater("doctor", "--json")
    assert (code, json.loads(out)["assets"]) == (0, "160")
    shown = headwater("heads", "show", "cells")[1]
    assert "101 numbers from" in shown
    assert len(json.loads(headwater("heads", "show", "cells", "--json")[1])["outlier"]) == 101
    for command in (["heads", "list"], ["heads", "show", "cells"], ["doctor"], ["evaluate", "cells"]):
        code, out, err = headwater(*command)
        assert code == 0, err
        assert out
        assert "|---|" not in out
    assert "cells@production (in the folder heads)" in headwater("doctor")[1]


def test_doctor_fails_for_what_someone_must_mend(headwater, tmp_path):
    good, bad = tmp_path / "heads" / "good", tmp_path / "heads" / "bad"
    for folder in (good, bad):
        folder.mkdir(parents=True)
    assert headwater("doctor")[0] == 0  # a head without versions cannot be asked for, but nothing is damaged
    (bad / "aliases.json").mkdir()
    code, out, err = headwater("doctor", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out)["head bad"] == "refused: aliases.json is refused: it is not a regular file"
    code, out, err = headwater("heads", "list", "--json")
    assert (code, json.loads(out)) == (0, {"good": {"versions": [], "aliases": {}}})
    assert "aliases.json is refused" in err
    (bad / "aliases.json").rmdir()
    adapter = tmp_path / "adapters" / "mlcd-0123456789ab"
    adapter.mkdir(parents=True)
    assert headwater("doctor")[0] == 1
    adapter.rmdir()
    assert headwater("doctor")[0] == 0
    code, out, _ = headwater("doctor", "--json", HEADWATER_ENCODERS="lite0,no-such,lite0+mlcd-0123456789ab")
    assert code == 1
    found = json.loads(out)
    assert {name for name in found if name.startswith("encoder ")} == {
        "encoder no-such",
        "encoder lite0+mlcd-0123456789ab",
    }


def test_from_class_names_to_a_published_head(headwater, tmp_path):
    """The store has two test photos and no training photos: the head learns from the names of the classes alone."""
    for label, pixels in zip(("Royal_palace", "flower"), load_sample_images().images, strict=True):
        file = tmp_path / "photos" / "test" / label / "photo.jpg"
        file.parent.mkdir(parents=True)
        file.write_bytes(jpeg(pixels))
    assert headwater("ingest", "photos", "--task", "thing")[0] == 0
    assert headwater("backfill")[0] == 0
    train = ["train", "--task", "thing", "--name", "things", "--kind", "zeroshot"]
    code, out, err = headwater(*train, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["figures"]["test"]["accuracy"] == 1.0
    assert (told["rows"]["train"], told["rows"]["test"]) == (0, 2)
    assert told["notes"][0].startswith("The head learned from no label")
    code, out, err = headwater(*train, "--set", 'classes=["sofa", "flower", "cliff"]', "--set", 'prompts=["{}"]')
    assert code == 0, err
    published = Registry(tmp_path / "heads").load("things")
    assert published.head.classes == ("cliff", "flower", "sofa")
    assert published.manifest.parameters["prompts"] == ["{}"]


def test_compare_ranks_heads_and_tells_how_to_train_the_best(headwater, home, tmp_path):
    options = ["--store", home.settings.store]
    lines = ["gaussian shrinkage=0.5", "gaussian project=pca dims=5000  # too many", "zeroshot blend=0"]
    (tmp_path / "tried.txt").write_text("\n".join(lines))
    code, out, err = headwater(
        "compare", "--task", demo_photos.TASK, "--candidates", "tried.txt", *options, COLUMNS="60"
    )
    assert code == 3, err
    assert "not ranked: gaussian project=pca dims=5000 @ lite0: NotTrainable: " in out
    assert out.count("not ranked") == 1, "the text side of the encoder was at hand"
    assert [out.count(f"\n{name}: ") for name in ("NLL", "ECE", "behind by")] == [1, 1, 1]
    assert out.index("Test, read once") < out.index("\nNLL: ")
    [folder] = (tmp_path / "compare").iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".json", ".html", ".png", ""}
    told = next(line for line in out.splitlines() if line.startswith("train it:")).removeprefix("train it:")
    record = json.loads((folder / "compare.json").read_text())
    for each in (each for each in record["candidates"] if each["state"] == "done"):
        name = each["control"] or each["label"].partition(" @ ")[0]
        assert any(name in line for line in out.splitlines()), name
    assert shlex.split(told) == shlex.split(record["command"])
    assert told.endswith(f"--store {home.settings.store}")
    code, out, err = headwater(*shlex.split(told)[1:], "--json")
    assert code == 0, err
    best = record["candidates"][0]
    assert json.loads(out)["figures"]["cross-validation"]["accuracy"] == best["validation"]["accuracy"]
    assert json.loads(out)["figures"]["test"]["accuracy"] == record["test"][best["label"]]["accuracy"]
    code, out, err = headwater("compare", "--resume", folder, "--pair", "1", "2", "--json", *options)
    assert code == 0, err
    told = json.loads(out)
    assert (told["A"], told["B"]) == (best["label"], record["candidates"][1]["label"])
    assert told["accuracy"] == record["candidates"][1]["behind_winner"]["accuracy"]


def test_compare_refuses_what_cannot_be(headwater, home, tmp_path):
    options = ["--store", home.settings.store]
    assert headwater("compare", *options)[0] == 2
    assert headwater("compare", "--resume", "x", "--kind", "linear", *options)[0] == 2
    code, _, err = headwater("compare", "--task", demo_photos.TASK, "--kind", "nosuch", *options)
    assert (code, err.startswith("error: "), "gaussian" in err) == (1, True, True)
    code, _, err = headwater("compare", "--resume", "nosuch", *options)
    assert (code, "nosuch" in err) == (1, True)
    assert not (tmp_path / "compare").exists()


def test_comparisons_begun_at_once_have_folders_of_their_own(home, tmp_path):
    command = [*COMPARE, "--store", home.settings.store, "--task", demo_photos.TASK]
    command += ["--candidate", "gaussian shrinkage=0.5"]
    begun = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in begun:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    records = [json.loads((folder / "compare.json").read_text()) for folder in (tmp_path / "compare").iterdir()]
    assert [record["state"] for record in records] == ["done", "done"]


def test_compare_stopped_by_ctrl_c_can_go_on(home, tmp_path):
    command = [*COMPARE, "--store", home.settings.store]
    started = subprocess.Popen(
        [*command, "--task", demo_photos.TASK], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if list(tmp_path.glob("compare/*/outcomes/*.npz")) or started.poll() is not None:
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    [folder] = (tmp_path / "compare").iterdir()
    record = json.loads((folder / "compare.json").read_text())
    assert record["state"] == "stopped"
    assert record["candidates"][0]["state"] == "done"
    assert "Unfinished" in (folder / "report.html").read_text()
    assert f"continue with: headwater compare --resume {folder.relative_to(tmp_path)} --store" in err


def test_doctor_finds_nothing_wrong_before_anything_is_stored(headwater, tmp_path):
    """Doctor calls a store that does not exist yet neither broken nor empty."""
    code, out, err = headwater("doctor")
    assert code == 0, err
    assert f"none yet at {tmp_path / 'headwater.db'}; `headwater ingest` makes it" in out


def test_what_users_write_is_shown_as_it_is(headwater, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1))
    assert headwater("ingest", "a.png", "--store", "[bold]x[/bold]")[1].splitlines()[0].split()[1] == "[bold]x[/bold]"


def test_parquet_in_and_out_and_in_again(headwater, tmp_path):
    rows = [{"image": photo(seed), "label": "ab"[seed % 2], "split": "train"} for seed in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    assert headwater("ingest", "data.parquet", "--task", "letter")[0] == 0
    assert headwater("backfill")[0] == 0
    assert headwater("export", "out")[0] == 0
    code, _, err = headwater("import", "out", "--store", "second.db")
    assert code == 0, err
    assert json.loads(headwater("backfill", "--store", "second.db", "--json")[1])["missing"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ingest", "nosuch"], "nosuch"),
        (["backfill"], "headwater.db"),
        (["train", "--task", "t", "--name", "n"], "headwater.db"),
        (["heads", "show", "nosuch"], "nosuch"),
        (["evaluate", "nosuch"], "nosuch"),
        (["classify", "photo.png", "--url", "http://127.0.0.1:9"], "http://127.0.0.1:9"),
    ],
)
def test_errors_are_one_helpful_line_and_exit_code_1(headwater, tmp_path, arguments, told):
    (tmp_path / "photo.png").write_bytes(photo(1))
    code, _, err = headwater(*arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert told in err


def test_unknown_names_are_told_with_those_that_exist(headwater, tmp_path):
    (tmp_path / "a.png").write_bytes(photo(1))
    assert headwater("ingest", "a.png", "--task", "t")[0] == 3  # the task has no label
    code, _, err = headwater("backfill", "--encoder", "nosuch")
    assert (code, "lite0" in err) == (1, True)
    assert headwater("backfill")[0] == 0
    code, _, err = headwater("train", "--task", "nosuch", "--name", "n")
    assert code == 1
    assert "nosuch" in err
    code, _, err = headwater("train", "--task", "t", "--name", "n", "--kind", "nosuch")
    assert (code, "gaussian" in err) == (1, True)


def test_usage_errors_exit_with_2(headwater):
    assert headwater("train")[0] == 2
    assert headwater("nosuch")[0] == 2
    assert headwater("classify", "missing.jpg")[0] == 2
    assert headwater("search")[0] == 2
    assert headwater("train", "--task", "t", "--name", "n", "--kind", "linear", "--engine", "ray")[0] == 2
    assert headwater("search", "--text", "a", "--id", "b")[0] == 2


def test_classify_asks_the_running_service(headwater, services, home, tmp_path):
    paths = [cell.path for cell in home.cells if cell.split == "test"][:2]
    broken = tmp_path / "broken.jpg"
    broken.write_text("no")
    options = ["--head", "gaussian", "--url", services.classification_url]
    code, out, _ = headwater("classify", *paths, *options, "--json")
    assert (code, len(json.loads(out)["items"])) == (0, 2)
    strict = ["--min-probability", 1, "--max-outlier", 0, "--coverage", 0.995, "--sets", "aps"]
    code, out, err = headwater("classify", paths[0], *options, *strict)
    assert code == 0, err
    assert "(defective)" in out or "(intact)" in out
    assert "low_probability, outlier" in out
    code, out, err = headwater("classify", paths[0], broken, *options)
    assert code == 3
    assert paths[0].name in out
    assert "unknown_format" in err


def test_search_asks_the_running_service(headwater, services, home):
    path, url = home.cells[5].path, services.classification_url
    code, out, err = headwater("search", path, "--url", url, "-k", "2", "--json")
    assert code == 0, err
    hits = json.loads(out)["hits"]
    assert (len(hits), hits[0]["uri"]) == (2, str(path))
    assert str(path) not in headwater("search", "--id", hits[0]["id"], "--url", url)[1]
    code, out, err = headwater("search", "--text", "a cracked cell", "--url", url, "-k", "8")
    assert code == 0, err
    assert str(path.parent) in out  # among eight: other tests may have stored a few pictures that are not cells
