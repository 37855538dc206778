"""The number of CPUs that this process may use. A container with a quota may use fewer than the machine has.

Three things limit it: the CPUs of the machine, the affinity of the process (`taskset`, `docker --cpuset-cpus`), and the
CPU time that its control group may use (`docker --cpus`, the CPU limit of a Kubernetes pod). `os.cpu_count` counts
only the first. A pool with more threads than CPUs spends its quota early in each period, then waits for the next one.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Return the number of CPUs that this process may use, at least 1. A quota of 1.5 CPUs counts as 2.

    Args:
        cgroups: folder at which the control groups are mounted.
        own: file that names the control groups of this process, see cgroups(7).
    """
    return max(1, min([allowed(), *map(math.ceil, _quotas(cgroups, own))]))


def allowed() -> int:
    """Return the number of CPUs that the affinity of this process allows, whatever its quota."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """Yield the quota, in CPUs, of each control group that this process is in. A group is limited by its parents too.

    Groups outside the container do not appear in its folder; then only the container's own group is found, at the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return  # another system than Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            # Version 2 has one folder and names no controllers here; version 1 has one folder for each set of them.
            quota = _version_1(cgroups / controllers / folder) if controllers else _version_2(cgroups / folder)
            if quota is not None:
                yield quota


def _version_2(folder: Path) -> float | None:
    """Read ``cpu.max``: "<microseconds> <microseconds of the period>", or "max" in place of the first number."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _version_1(folder: Path) -> float | None:
    """Read the two files of version 1, in microseconds. A quota of -1 means none."""
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
