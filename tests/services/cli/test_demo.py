"""The demo: its split, its choice of photos, and one complete run."""

import os
import subprocess
import sys

import pytest

from services.cli import demo_photos


def test_the_split_is_stratified_and_fixed():
    cells = demo_photos.cells(seed=0)
    assert len(cells) == 2624
    assert cells == demo_photos.cells(seed=0) != demo_photos.cells(seed=1)
    for label in ("defective", "intact"):
        splits = [cell.split for cell in cells if cell.label == label]
        shares = [splits.count(split) / len(splits) for split in ("train", "val", "test")]
        assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.001)


def test_photos_held_out_are_of_both_labels_and_of_the_test_split():
    chosen = demo_photos.held_out(demo_photos.cells(), 8)
    assert [cell.label for cell in chosen] == list(demo_photos.LABELS) * 4
    assert {cell.split for cell in chosen} == {"test"}


@pytest.mark.slow
def test_the_whole_demo(cache_dir):
    environment = os.environ | {"HEADWATER_CACHE": str(cache_dir), "COLUMNS": "100"}
    command = [sys.executable, "-m", "services.cli", "demo"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    gaussian = next(line for line in done.stdout.splitlines() if line.startswith("gaussian"))
    assert float(gaussian.split()[1]) >= 0.82
