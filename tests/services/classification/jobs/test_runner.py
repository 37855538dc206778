"""The processes of jobs: what they may take, and how they end with a cancel, a stop, a crash, and a second service."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.jobs import lasting, until, works

from embedder.folders import try_lock
from services.classification.jobs import process
from services.classification.jobs.process import SECRETS, THREADS, processors
from services.classification.jobs.runner import Runner
from services.client import Client
from services.jobs.recorded import Jobs
from services.processes import free_ports
from services.settings import Settings, variable
from services.web.access.keys import Role, make

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def jobs(settings) -> Jobs:
    return Jobs(settings.jobs)


@pytest.fixture
def runner(jobs, settings):
    """Return a function that starts a runner of the folder. All are stopped at the end."""
    started: list[Runner] = []

    def start(**changes: object) -> Runner:
        made = Runner(jobs, settings.model_copy(update=changes), lambda: False, lambda _: None)
        made.start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.stop()


def state(jobs: Jobs, job) -> str:
    return jobs.get(job.id).status.state


def pid_of(job) -> int:
    """The process of a job, found by its command line."""
    found = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and str(job.folder).encode() in _read(folder / "cmdline").split(b"\0")
    ]
    [pid] = found
    return pid


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_fault_is_logged_once_and_the_jobs_go_on_when_it_is_mended(jobs, runner, monkeypatch, caplog):
    monkeypatch.setattr("services.classification.jobs.runner.IDLE", 0.01)
    lock = jobs.root / ".runner"
    lock.mkdir(parents=True)
    runner()
    until(lambda: caplog.records)
    time.sleep(0.2)
    [record] = caplog.records
    assert "IsADirectoryError" in (record.exc_text or caplog.text)
    lock.rmdir()
    until(lambda: lock.is_file() and not _is_free(lock))


def _is_free(path: Path) -> bool:
    file = try_lock(path)
    if file is not None:
        file.close()
    return file is not None


@LINUX
def test_a_job_takes_its_processors_low_priority_and_no_secret_and_can_be_cancelled(jobs, settings, runner, photos):
    job = lasting(jobs, settings, photos)
    _, key = make("me", Role.admin)
    runner(keys=(key.line,), job_threads=1)
    until(lambda: works(job))
    pid = pid_of(job)
    assert os.getpriority(os.PRIO_PROCESS, pid) >= min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
    assert len(os.sched_getaffinity(pid)) == 1
    assert len(os.listdir(f"/proc/{pid}/task")) > 0
    for task in os.listdir(f"/proc/{pid}/task"):
        assert len(os.sched_getaffinity(int(task))) == 1
    environment = dict(each.partition(b"=")[::2] for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    assert {environment[name.encode()] for name in THREADS} == {b"1"}
    assert {environment[variable(name).encode()] for name in SECRETS} == {b""}
    assert environment[b"HEADWATER_STORE"].decode() == settings.store
    job.ask_to_cancel()
    until(lambda: state(jobs, job) == "cancelled")
    assert not lives(pid)
    assert "Traceback" not in "\n".join(job.log(100))


def test_the_processors_of_a_job_are_the_last_ones_and_half_of_all(monkeypatch, settings):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processors(settings, 0) == [4, 5, 6, 7]
    assert processors(settings, 1) == [0, 1, 2, 3]
    three = settings.model_copy(update={"job_threads": 3})
    assert [processors(three, slot) for slot in range(3)] == [[5, 6, 7], [2, 3, 4], [0, 1, 7]]
    assert processors(settings.model_copy(update={"job_threads": 99}), 0) == list(range(8))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert processors(settings, 5) == [3]


@pytest.mark.slow
def test_one_service_runs_the_jobs_of_a_folder_and_the_other_goes_on(jobs, settings, runner, photos):
    first_job, second_job = lasting(jobs, settings, photos), lasting(jobs, settings, photos)
    first = runner()
    until(lambda: works(first_job))
    second = runner()
    assert state(jobs, second_job) == "queued"
    assert pid_of(first_job)  # exactly one process
    first.stop()
    assert state(jobs, first_job) == "interrupted"
    until(lambda: works(second_job))
    assert state(jobs, second_job) == "running"
    second.stop()
    assert state(jobs, second_job) == "interrupted"
    assert "start the job again" in (jobs.get(second_job.id).status.error or "")


@pytest.mark.slow
def test_so_many_run_at_once_as_the_setting_says(jobs, settings, runner, photos):
    made = [lasting(jobs, settings, photos) for _ in range(3)]
    runner(max_jobs=2)
    until(lambda: works(made[0]) and works(made[1]))
    assert [state(jobs, job) for job in made] == ["running", "running", "queued"]
    made[1].ask_to_cancel()
    until(lambda: works(made[2]))
    assert [state(jobs, job) for job in made] == ["running", "cancelled", "running"]


@LINUX
@pytest.mark.slow
def test_a_process_that_does_not_stop_is_killed(jobs, settings, runner, photos, monkeypatch):
    monkeypatch.setattr(process, "PATIENCE", 0.1)
    job = lasting(jobs, settings, photos)
    runner(grace=0.5)
    until(lambda: works(job))
    os.kill(pid_of(job), signal.SIGSTOP)
    job.ask_to_cancel()
    until(lambda: state(jobs, job) == "cancelled")


@LINUX
@pytest.mark.slow
def test_a_process_that_is_killed_fails_with_the_reason(jobs, settings, runner, photos):
    job = lasting(jobs, settings, photos)
    runner()
    until(lambda: works(job))
    os.kill(pid_of(job), signal.SIGKILL)
    until(lambda: state(jobs, job) == "failed")
    assert "SIGKILL" in (jobs.get(job.id).status.error or "")


@contextmanager
def serving(settings: Settings) -> "Iterator[subprocess.Popen[bytes]]":
    """A service in a process of its own, which is told to stop at the end of the block if it still runs."""
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    service = subprocess.Popen(command, env=settings.environment(), stderr=subprocess.DEVNULL)
    try:
        yield service
    finally:
        service.terminate()
        service.wait(settings.grace + 20)


def lives(pid: int) -> bool:
    """True if the process runs, and is not only listed because no parent has read its exit code yet."""
    return _read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()[:1] not in ([], [b"Z"])


@LINUX
@pytest.mark.slow
def test_a_killed_service_leaves_no_process_and_no_job_that_lies(jobs, settings, photos):
    [port] = free_ports(1)
    settings = settings.model_copy(update={"classification_port": port})
    running, waiting = lasting(jobs, settings, photos), lasting(jobs, settings, photos)
    with serving(settings) as service:
        until(lambda: works(running))
        pid = pid_of(running)
        service.kill()
        service.wait()
        assert state(jobs, running) == "running"  # nobody is left who could write it
    with serving(settings):
        until(lambda: state(jobs, running) == "interrupted")
        until(lambda: not lives(pid))
        until(lambda: works(waiting))
    assert state(jobs, waiting) == "interrupted"
    assert "start the job again" in (jobs.get(waiting.id).status.error or "")


@pytest.mark.slow
def test_a_link_out_of_the_folders_ends_an_ingest_before_it_reads(settings, photos, tmp_path):
    (tmp_path / "private.png").write_bytes((photos / "hat" / "0.png").read_bytes() + b" ")
    (photos / "hat" / "link.png").symlink_to(tmp_path / "private.png")
    [port] = free_ports(1)
    service = serving(settings.model_copy(update={"classification_port": port}))
    with service, Client(f"http://127.0.0.1:{port}", timeout=60) as client:
        until(lambda: _answers(client))
        job = client.start_job("ingest", folder=".", task="garments")
        done = until(lambda: (found := client.job(job.id)).state == "failed" and found)
        assert "link.png leads out of the folders" in (done.error or "")
        assert done.log[-1].startswith("error: the link")
        assert not Path(settings.store).exists()
        (photos / "hat" / "link.png").unlink()
        job = client.start_job("ingest", folder="hat", task="garments")
        assert until(lambda: (found := client.job(job.id)).state == "done" and found).result["new_assets"] == 2
        assert [each.kind for each in client.jobs(limit=1).jobs] == ["ingest"]


def _answers(client: Client) -> bool:
    try:
        client.jobs()
    except Exception:
        return False
    return True
