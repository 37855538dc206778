"""Trainings as processes: killed and started again, and two at once through torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tuning import RECIPE, make_home

from services.jobs.tune.job import tune

EPOCHS = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory, cache_dir):
    return make_home(tmp_path_factory.mktemp("tune"), cache_dir)


@pytest.fixture(scope="module")
def alone(home, tmp_path_factory):
    """A training that nothing disturbs, in this process."""
    request = home.request(judge="colours", epochs=EPOCHS)
    return tune(home.store, home.encoder, request, tmp_path_factory.mktemp("alone"), home.clusters)


def started(home, folder: Path, cache: Path, *launcher: str) -> subprocess.Popen:
    """Start the same training in another process, or in several."""
    recipe = [word for name, value in (RECIPE | {"epochs": EPOCHS}).items() for word in ("--set", f"{name}={value}")]
    asked = ["adapt", "--train", "backbone", "--encoder", home.encoder.name, "--judge", "colours", *recipe, "--json"]
    places = {"STORE": home.folder / "headwater.db", "ADAPTERS": folder, "CLUSTERS": home.clusters, "CACHE": cache}
    variables = {f"HEADWATER_{name}": str(value) for name, value in places.items()}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "services.cli", *asked],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(process: subprocess.Popen) -> dict:
    """Return the JSON that a process prints."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def until_saved(process: subprocess.Popen, folder: Path) -> None:
    """Wait until a training has written a checkpoint."""
    while not list(folder.glob("towers/.run-*/checkpoint/state.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


@pytest.mark.slow
def test_a_killed_training_ends_as_if_never_killed(home, alone, tmp_path, cache_dir):
    killed = started(home, tmp_path, cache_dir)
    until_saved(killed, tmp_path)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    again = told(started(home, tmp_path, cache_dir))
    assert 0 < again["resumed_from_step"] < 3 * EPOCHS
    assert Path(again["report"]).parent.name == alone.path.name  # its last part is a digest of the weights


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(home, tmp_path, cache_dir):
    process = started(home, tmp_path, cache_dir)
    until_saved(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "continue with the same command: headwater adapt --train backbone" in err
    assert err.endswith("stopped\n")
    assert list(tmp_path.glob("towers/.run-*/checkpoint"))


@pytest.mark.slow
def test_two_processes_train_what_one_trains(home, alone, tmp_path, cache_dir):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    both = told(started(home, tmp_path, cache_dir, *launcher))
    assert both["processes"] == 2
    curve = json.loads((Path(both["report"]).parent / "training.json").read_text())["curve"]
    assert [each["loss"] for each in curve] == pytest.approx([each.loss for each in alone.position.curve], rel=1e-3)
    assert both["accuracy"][0] == alone.position.before
