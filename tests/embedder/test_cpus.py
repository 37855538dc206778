"""CPUs that a process may use: by its affinity and by the quota of its control groups, of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedder import cpus

MINE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture(autouse=True)
def many(monkeypatch):
    """A process that may run on 16 CPUs, whatever the machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


class Machine:
    """A folder that looks like /sys/fs/cgroup, and a file that looks like /proc/self/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.cgroups, self.own = folder / "cgroup", folder / "self"
        self.cgroups.mkdir()

    def usable(self) -> int:
        return cpus.usable(self.cgroups, self.own)

    def version_2(self, group: str, **maximums: str) -> int:
        """The text of each ``cpu.max``, by folder with `_` for `/`."""
        self.own.write_text(f"0::{group}\n")
        for folder, maximum in maximums.items():
            self._write(f"./{folder.replace('_', '/')}/cpu.max", maximum + "\n")
        return self.usable()

    def version_1(self, group: str, folder: str, quota: int, period: int = 100_000) -> int:
        self.own.write_text(f"5:memory:/m\n4:cpu,cpuacct:{group}\n3:cpuset:/c\n0::/\n")
        self._write(f"cpu,cpuacct/{folder}/cpu.cfs_quota_us", f"{quota}\n")
        self._write(f"cpu,cpuacct/{folder}/cpu.cfs_period_us", f"{period}\n")
        return self.usable()

    def _write(self, name: str, text: str) -> None:
        path = self.cgroups.joinpath(*name.split("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("maximum", "count"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("50000 10000", 5),
        ("6400000 100000", 16),
        ("nonsense", 16),
        ("1 0 0", 16),
    ],
)
def test_quota_of_version_2_rounded_up(machine, maximum, count):
    assert machine.version_2("/", _=maximum) == count


def test_a_group_is_limited_by_its_parents(machine):
    assert machine.version_2("/pod/app", pod_app="max 100000", pod="300000 100000") == 3
    assert machine.version_2("/pod/app", pod_app="100000 100000", pod="300000 100000") == 1


def test_another_group_limits_nothing(machine):
    assert machine.version_2("/pod/app", pod_other="100000 100000", pod_app_child="100000 100000") == 16


@pytest.mark.parametrize(("quota", "count"), [(-1, 16), (0, 16), (250_000, 3), (100_000, 1), (1_000, 1)])
def test_quota_of_version_1(machine, quota, count):
    assert machine.version_1("/docker/1234", "docker/1234", quota) == count


def test_inside_a_container_only_the_root_folder_is_seen(machine):
    """The file names the group as the host sees it, the folder shows the container's group as the root."""
    assert machine.version_1("/docker/1234", ".", 200_000) == 2
    assert machine.version_2("/../../docker/1234", _="400000 100000") == 4


def test_without_control_groups(tmp_path):
    assert cpus.usable(tmp_path / "none", tmp_path / "nosuch") == 16


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert cpus.usable(tmp_path / "none", tmp_path / "nosuch") == 2


def test_a_process_in_a_real_control_group():
    """A group made here with a quota of half a CPU, a process that joins it, and its answer."""
    if MINE < 2:
        pytest.skip("needs two CPUs")
    group = next((path for path in groups() if made(path)), None)
    if group is None:
        pytest.skip("no control group can be made here")
    try:
        join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0')"
        code = f"{join}; from embedder import cpus; print(cpus.usable())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == "1", done.stderr
    finally:
        group.rmdir()


def groups():
    name = f"headwater-test-{os.getpid()}"
    return [cpus.CGROUPS / "cpu" / name, cpus.CGROUPS / "cpu,cpuacct" / name, cpus.CGROUPS / name]


def made(group: Path) -> bool:
    """Make a group with a quota of half a CPU. Return True if that was possible."""
    try:
        group.mkdir()
    except OSError:
        return False
    for file, text in (("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")):
        try:
            if (group / file).exists():
                (group / file).write_text(text)
                return True
        except OSError:
            break
    group.rmdir()
    return False
