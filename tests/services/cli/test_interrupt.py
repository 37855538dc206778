"""Ctrl-C: every long command ends with 130 and one line, whatever it is doing. See also the tests of `backfill`."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import photo

from embedder.spec import EncoderSpec
from store import Label, Store

ROWS, DIM = 40_000, 96


def interrupted(folder: Path, evidence: str, *arguments: str) -> tuple[int, str]:
    """Send SIGINT as soon as the process has mapped a file with `evidence` in its name.

    Returns the exit code as a shell reports it, and standard error. If the interrupt falls into a string that a library
    gives to `exec`, CPython ends by SIGINT after everything else was done, which a shell reports as 130 too.
    """
    command = [sys.executable, "-m", "services.cli", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and evidence not in maps.read_text():
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return (128 + signal.SIGINT if process.returncode == -signal.SIGINT else process.returncode), err


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store with many vectors, and a folder with many photos."""
    folder = tmp_path_factory.mktemp("interrupt")
    store, random = Store.open(folder / "headwater.db"), np.random.default_rng(0)
    spec = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=DIM)
    ids = [f"{i:064x}" for i in range(ROWS)]
    store.ensure_features("toy", spec, np.eye(1, DIM, dtype=np.float32)).put(
        ids, random.standard_normal((ROWS, DIM)).astype(np.float32)
    )
    store.labels.put("t", [Label(id_, [str(i % 40)], "train") for i, id_ in enumerate(ids)])
    (folder / "photos").mkdir()
    for seed in range(2000):
        (folder / "photos" / f"{seed}.png").write_bytes(photo(seed, 8, 8))
    return folder


@pytest.mark.parametrize(
    ("evidence", "command"),
    [
        ("pydantic_core", "doctor"),  # while modules are imported
        ("lancedb", "ingest photos --store new.db"),
        ("_sqlite3", "ingest photos --task t --store checked.db"),
        ("sklearn", "train --task t --name n --encoder toy --kind linear --set C=1000"),
        ("faiss", "cluster --task c --encoder toy --clusters 2000"),
        ("faiss", "adapt --encoder toy --clusters 2000"),
    ],
    ids=lambda each: each.split()[0],
)
def test_ctrl_c_is_one_line_and_130(folder, evidence, command):
    assert interrupted(folder, evidence, *command.split()) == (130, "stopped\n")
