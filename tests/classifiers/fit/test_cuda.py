"""Training on a CUDA card against training on the CPU. Run with ``pytest -m gpu``."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.gradients import TRAININGS
from helpers.paths import ROOT

from classifiers.fit import resident
from classifiers.fit.device import using
from classifiers.fit.discrimination.adapter import _finite_mean

pytestmark = pytest.mark.gpu
FULL = ["decoder, text", "bilinear", "adapter, mlcd"]


def learned(name, device):
    with using(device):
        return TRAININGS[name]()


def assert_equal(one, other):
    np.testing.assert_array_equal(one[1], other[1])
    assert one[0].keys() == other[0].keys()
    for key, array in one[0].items():
        np.testing.assert_array_equal(array, other[0][key])


@pytest.mark.parametrize("name", TRAININGS)
def test_a_card_learns_what_the_cpu_learns(name, caplog):
    _, wanted = learned(name, "cpu")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    _, found = learned(name, "cuda")
    assert torch.cuda.max_memory_allocated() > before
    assert not [record for record in caplog.records if record.name.startswith("headwater")]
    np.testing.assert_allclose(found, wanted, rtol=5e-3, atol=5e-3 * np.abs(wanted).max())
    if not name.startswith("adapter"):
        same = found.argmax(axis=1) == wanted.argmax(axis=1)
        assert same.mean() >= 0.99


@pytest.mark.parametrize("name", TRAININGS)
def test_a_card_learns_the_same_twice(name):
    assert_equal(learned(name, "cuda"), learned(name, "cuda"))


@pytest.mark.parametrize("name", TRAININGS)
def test_rows_that_stay_on_the_host_give_the_same(name, monkeypatch):
    there = learned(name, "cuda")
    monkeypatch.setattr(resident, "SHARE", 0.0)
    assert_equal(learned(name, "cuda"), there)


def test_a_full_card_leaves_the_training_to_the_cpu():
    """A process of its own has no memory of the card yet, so a limit of nothing makes its first allocation fail."""
    code = (
        "import sys, logging, torch; logging.basicConfig(format='%(message)s', stream=sys.stdout);"
        "from helpers.gradients import TRAININGS; from classifiers.fit.device import using;"
        "torch.cuda.set_per_process_memory_fraction(1e-9);"
        f"using('cuda').__enter__(); [print(TRAININGS[name]()[1].tobytes().hex()) for name in {FULL}]"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(FULL)
    assert all(line.startswith("The cuda device cannot be used") for line in lines[::2])
    found = [np.frombuffer(bytes.fromhex(line), np.uint8) for line in lines[1::2]]
    for name, scores in zip(FULL, found, strict=True):
        wanted = learned(name, "cpu")[1]
        np.testing.assert_allclose(np.frombuffer(scores.tobytes(), wanted.dtype), wanted.ravel(), rtol=1e-5, atol=1e-5)


def test_the_mean_of_finite_values_is_that_of_the_cpu():
    x = torch.tensor([[1.0, -torch.inf, 3.0], [5.0, -torch.inf, -1.0]])
    assert _finite_mean(x.cuda()).item() == _finite_mean(x).item() == 2.0
