"""The GPU benchmark's dry run: every part ends on a CPU, and a second run repeats nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from benchmarks.gpu.__main__ import PARTS
from benchmarks.gpu.photos import SIZES, photo
from benchmarks.gpu.record import Clock, Record, table
from benchmarks.gpu.report import page


@pytest.mark.slow
def test_the_dry_run_measures_every_part_and_a_second_run_only_what_is_missing(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--minutes", "15", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    record = json.loads(out.read_text())
    assert {name: part["end"] for name, part in record["parts"].items()} == dict.fromkeys(PARTS, "done")
    assert record["machine"]["device"] == "cpu"
    assert not [
        row for part in record["parts"].values() for row in part["rows"] if "note" in row and "value" not in row
    ]
    assert {row["encoder"] for row in record["parts"]["endtoend"]["rows"]} == {"lite0"}
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.stdout.count("done before") == len(PARTS)
    assert json.loads(out.read_text())["parts"] == record["parts"]


def test_a_record_keeps_what_a_cut_off_run_measured(tmp_path):
    path = tmp_path / "gpu.json"
    clock = Clock(Record.of(path), "ceilings", 10)
    clock.add(what="copy", value=1234567.8, unit="GB/s")
    again = Clock(Record.of(path), "ceilings", 10)
    assert again.measured(what="copy")
    assert not again.measured(what="product")
    assert again.rows_of("ceilings") == [{"what": "copy", "value": 1234600.0, "unit": "GB/s"}]
    again.forget(what="copy")
    again.add(what="product", value=2.0, unit="TFLOP/s")
    assert Record.of(path).rows("ceilings") == [{"what": "product", "value": 2.0, "unit": "TFLOP/s"}]


def test_a_table_has_a_column_for_every_name():
    assert table([{"what": "a", "value": 1.5}, {"what": "bc", "note": "none"}]).splitlines() == [
        "| what | value | note |",
        "|------|-------|------|",
        "| a    | 1.5   |      |",
        "| bc   |       | none |",
    ]


def test_the_page_of_results_is_what_its_record_gives():
    results = ROOT / "benchmarks" / "results"
    assert (results / "gpu.md").read_text() == page(Record.of(results / "gpu.json"))


def test_the_page_says_what_was_reached():
    record = Record(Path("gpu.json"))
    record.rows("forward").extend(
        {"network": "ViT-L/14", "mode": mode, "batch": 256, "images/s": rate, "share of bf16 product": rate / 4000}
        for mode, rate in (("engine", 3000.0), ("library, eager", 2500.0))
    )
    record.rows("endtoend").append({"encoder": "lite0", "what": "backfill ÷ slowest alone", "value": 0.8, "unit": ""})
    reached = [line.split("|")[3].strip() for line in page(record).splitlines() if line.startswith("|")][2:8]
    assert reached[0] == "ViT-L/14 0.75; ViT-H/14 not measured"
    assert reached[1].startswith("ViT-L/14 1.20; ")
    assert reached[2] == "not measured"
    assert reached[5] == "ViT-B/32 not measured; lite0 0.80"


def test_photos_are_jpegs_of_the_size_and_no_two_are_alike():
    import io

    from PIL import Image

    made = [photo(seed, *SIZES["640×480"]) for seed in range(6)]
    assert len(set(made)) == 6
    assert {Image.open(io.BytesIO(data)).size for data in made} == {(640, 480)}
    assert {Image.open(io.BytesIO(data)).format for data in made} == {"JPEG"}
    assert made[0] == photo(0, *SIZES["640×480"])
