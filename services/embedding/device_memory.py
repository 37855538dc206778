"""Measures the memory of a device, so that a service knows how much each of its encoders holds."""

import os
import sys
from pathlib import Path

CPU = "cpu"


def held() -> dict[str, int]:
    """Return the bytes that this process holds, by device.

    On CUDA, the memory of PyTorch's tensors. On the CPU, the resident memory of the process, whatever the engine.
    """
    found = {CPU: _resident()}
    torch = sys.modules.get("torch")  # a process without torch has no tensors on a GPU
    if torch is not None and torch.cuda.is_available():
        found |= {f"cuda:{i}": torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count())}
    return found


def growth(before: dict[str, int], after: dict[str, int], device: str) -> int:
    """Return the bytes by which a device holds more than before, at least 0. `cuda` means all CUDA devices."""
    return sum(
        max(0, size - before.get(name, 0)) for name, size in after.items() if name == device or _is_one(name, device)
    )


def release() -> None:
    """Give memory that PyTorch keeps for later back to the CUDA devices, without disturbing a recording there."""
    torch, rows = sys.modules.get("torch"), sys.modules.get("embedder.engines.rows.cuda")
    if torch is not None and rows is not None:
        for index in range(torch.cuda.device_count()):
            rows.shared(torch.device("cuda", index)).free()


def _is_one(name: str, device: str) -> bool:
    return name.partition(":")[0] == device


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 on systems that do not show it in /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
