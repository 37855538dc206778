"""Jobs on a disk: their order, their sizes, what is damaged, and what is removed."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.jobs import recorded
from services.jobs.progress import Step
from services.jobs.recorded import Asked, Jobs, ProgressFile, append


def asked(_):
    return Asked("train", {"task": "é\ud800"[:1]}, ["train"], "db", "heads")


def add(jobs):
    with jobs.locked():
        return jobs.add(asked)


def test_a_folder_that_is_not_there_has_no_jobs_and_is_not_made(tmp_path):
    jobs = Jobs(tmp_path / "jobs")
    assert list(jobs.all()) == []
    assert jobs.get("../../etc") is None
    assert not jobs.root.exists()


def test_ids_are_in_the_order_of_the_requests_even_if_the_clock_is_put_back(tmp_path, monkeypatch):
    jobs = Jobs(tmp_path / "jobs")
    with ThreadPoolExecutor(8) as pool:
        made = [job.id for job in pool.map(add, [jobs] * 40)]
    assert len(set(made)) == 40
    assert sorted(made, reverse=True) == list(jobs.ids())
    later = jobs.root / "29991231T000000000000Z-aaaaaa"
    (jobs.root / made[0]).rename(later)
    assert add(jobs).id > later.name


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"state": "done", "x": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_record_is_no_job_and_hides_no_other(tmp_path, text):
    jobs = Jobs(tmp_path / "jobs")
    damaged, good = add(jobs), add(jobs)
    (damaged.folder / "status.json").write_bytes(text)
    assert jobs.get(damaged.id) is None
    assert [job.id for job in jobs.all()] == [good.id]


def test_the_oldest_that_ended_go_with_their_files_and_others_stay(tmp_path):
    jobs = Jobs(tmp_path / "jobs")
    made = [add(jobs) for _ in range(6)]
    for job in made[1:5]:
        (job.folder / "files").mkdir()
        (job.folder / "files" / "predictions.csv").write_text("x")
        jobs.end(job, "done")
    (jobs.root / "notes.txt").write_text("mine")
    jobs.sweep(2)
    assert [job.id for job in jobs.all()] == [made[i].id for i in (5, 4, 3, 0)]
    assert (jobs.root / "notes.txt").exists()
    assert not made[1].folder.exists()


def test_a_log_stays_small_and_keeps_its_end(tmp_path):
    path = tmp_path / "log.txt"
    for number in range(5000):
        append(path, f"line {number}\n".encode(), most=1000)
        assert path.stat().st_size <= 1100
    lines = path.read_text().splitlines()
    assert lines[-1] == "line 4999"
    assert lines[0] == "(earlier lines were removed)"
    numbers = [int(line.split()[1]) for line in lines[1:] if line.startswith("line")]
    assert numbers == list(range(numbers[0], 5000))
    append(path, b"x" * 10_000 + b"\n", most=1000)
    assert path.stat().st_size <= 1100


def test_the_last_lines_of_a_log_of_any_bytes(tmp_path):
    job = add(Jobs(tmp_path / "jobs"))
    assert job.log(5) == []
    (job.folder / "log.txt").write_bytes(b"a\n\xff\nb")
    assert job.log(2) == ["\ufffd", "b"]
    assert job.log(0) == []


def test_progress_is_whole_whenever_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "PROGRESS_SECONDS", 0.0)
    job = add(Jobs(tmp_path / "jobs"))
    assert job.progress() is None
    progress, seen, stop = ProgressFile(job.folder), set(), threading.Event()

    def read():
        while not stop.is_set():
            if found := job.progress():
                seen.add(found["done"] == len(found["note"]))

    reader = threading.Thread(target=read)
    reader.start()
    for done in range(500):
        progress(Step(done, 499, "x" * done))
    stop.set()
    reader.join()
    assert seen == {True}
    assert job.progress() == {"done": 499, "total": 499, "note": "x" * 499}


def test_the_last_progress_is_never_left_out(tmp_path):
    job = add(Jobs(tmp_path / "jobs"))
    progress = ProgressFile(job.folder)
    for done in range(1, 101):
        progress(Step(done, 100, ""))
    assert job.progress() == {"done": 100, "total": 100, "note": ""}


def test_the_lock_of_a_job_is_free_when_its_process_is_gone(tmp_path):
    job = add(Jobs(tmp_path / "jobs"))
    code = "import sys; from pathlib import Path; from embedder.folders import try_lock\n"
    code += f"held = try_lock(Path({str(job.folder / recorded.HELD)!r})); print(held is not None, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"True\n"
        assert job.hold() is None
        process.kill()
        process.wait()
    with job.hold() as held:
        assert held is not None
        assert job.hold() is None


def test_an_output_that_is_too_large_or_no_json_is_none(tmp_path, monkeypatch):
    job = add(Jobs(tmp_path / "jobs"))
    assert job.output() is None
    path = job.folder / "output.json"
    path.write_text(json.dumps({"a": 1}))
    assert job.output() == {"a": 1}
    monkeypatch.setattr(recorded, "OUTPUT_BYTES", 3)
    assert job.output() is None
