"""The choice of the device that learns, and what happens when a card is full."""

import subprocess
import sys
import weakref

import pytest
import torch
from helpers.paths import ROOT

from classifiers.fit.device import LEAST_OPERATIONS, chosen, on_device, using

TEXT = "CUDA out of memory. Tried to allocate 20.00 MiB.\nSee the documentation"


def failing(error, calls):
    """Return work that fails on a card."""

    def work(device):
        calls.append(device)
        if device == "cuda":
            raise error
        return f"done on the {device}"

    return work


def test_only_much_work_goes_to_a_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (chosen(LEAST_OPERATIONS - 1), chosen(LEAST_OPERATIONS)) == ("cpu", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen(1e20) == "cpu"


def test_a_caller_may_name_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with using("cuda"):
        with using("cpu"):
            assert chosen(1e20) == "cpu"
        assert chosen(1) == "cuda"
        with using(None):
            assert chosen(1) == "cpu"
    assert (chosen(1), chosen(1e20)) == ("cpu", "cuda")


def test_little_work_does_not_import_torch():
    code = "import sys; from classifiers.fit.device import on_device; on_device(str, 1); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(TEXT),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_full_card_gives_the_work_to_the_cpu_with_one_line(error, caplog):
    calls = []
    with using("cuda"):
        assert on_device(failing(error, calls), 1) == "done on the cpu"
    assert calls == ["cuda", "cpu"]
    (line,) = caplog.messages
    assert line.startswith("The cuda device cannot be used, so training starts again on the CPU: CUDA")
    assert "\n" not in line


def test_other_errors_and_a_full_host_are_not_hidden():
    with using("cuda"), pytest.raises(RuntimeError, match="shapes"):
        on_device(failing(RuntimeError("shapes do not fit"), []), 1)

    def work(device):
        raise torch.OutOfMemoryError(TEXT)

    with using("cpu"), pytest.raises(torch.OutOfMemoryError):
        on_device(work, 1)


def test_what_the_failed_attempt_held_is_free_before_the_next():
    held = []

    def work(device):
        if device == "cuda":
            tensor = torch.zeros(1000)
            held.append(weakref.ref(tensor))
            raise torch.OutOfMemoryError(TEXT)
        return held[0]()

    with using("cuda"):
        assert on_device(work, 1) is None
