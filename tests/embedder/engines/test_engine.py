"""Engines: equal numbers for any batch, a cache that survives damage and other processes, no network."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedder import cpus
from embedder.encoder import Graph, Pace, Port
from embedder.engines import plan as streams
from embedder.engines.cache import Cache
from embedder.engines.fastest import Once
from embedder.engines.openvino_engine import OpenVINOEngine
from embedder.engines.plan import Plan
from embedder.engines.torch_engine import TorchEngine
from embedder.errors import DeviceFull
from embedder.spec import ImagePreprocessing

SIZE = 16
IMAGE = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, x):
        features = self.convolution(x).relu()
        return features.mean((2, 3)), features.flatten(2).transpose(1, 2)


def graph(build=lambda: Small().eval().requires_grad_(False), key="small"):
    port = Port((SIZE, SIZE, 3), "uint8")
    return Graph(key=key, libraries=("numpy",), build=build, ports=(port,), normalise=IMAGE)


def pixels(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)


def expected(x):
    """Return the outputs by hand: scaled, normalised, through the module."""
    normal = (x / 255.0 - np.array(IMAGE.mean)) / np.array(IMAGE.std)
    with torch.inference_mode():
        return [y.numpy() for y in Small().eval()(torch.from_numpy(normal).float().permute(0, 3, 1, 2))]


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("engines"))
    return [TorchEngine("cpu", "fp32").compile(graph()), OpenVINOEngine(cache, "fp32").compile(graph())]


@pytest.fixture
def threads_of_torch():
    """Two threads during the test, as on a machine of two CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_of_torch")
@pytest.mark.parametrize(("usable", "asked", "count"), [(1, None, 1), (1, 2, 2), (2, None, 2), (8, None, 2)])
def test_torch_keeps_to_a_quota_unless_told_otherwise(monkeypatch, usable, asked, count):
    monkeypatch.setattr(cpus, "usable", lambda: usable)
    TorchEngine("cpu", "fp32", threads=asked)
    assert torch.get_num_threads() == count


@pytest.mark.parametrize(("usable", "asked", "count"), [(1, None, 1), (1, 2, 2)])
def test_openvino_keeps_to_a_quota_unless_told_otherwise(monkeypatch, tmp_path, usable, asked, count):
    """Requests of one row run on the threads that the compiled network reports."""
    monkeypatch.setattr(cpus, "usable", lambda: usable)
    monkeypatch.setattr(cpus, "allowed", lambda: 8)
    engine = OpenVINOEngine(Cache(tmp_path), "fp32", threads=asked)
    request = engine.compile(graph())._request(1)
    assert int(request.get_compiled_model().get_property("INFERENCE_NUM_THREADS")) == count


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 75))
def test_any_number_of_rows_gives_the_modules_own_numbers(engines, rows):
    x = pixels(rows, seed=rows)
    for run in engines:
        for found, wanted in zip(run([x]), expected(x), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_results_are_not_overwritten_by_the_next_call(engines):
    for run in engines:
        first = run([pixels(1)])[0]
        kept = first.copy()
        run([pixels(1, seed=1)])
        np.testing.assert_array_equal(first, kept)


def test_threads_get_their_own_rows(engines):
    """Rows of several calls at once, of few rows and many, are those of each call alone."""
    for run in engines:
        given = [pixels(rows, seed=rows) for rows in (1, 3, 33, 70) * 3]
        with ThreadPoolExecutor(4) as pool:
            for x, found in zip(given, pool.map(run, [[x] for x in given]), strict=True):
                np.testing.assert_allclose(found[0], expected(x)[0], atol=2e-5)


def test_a_cpu_is_busy_with_one_call_of_32_rows(engines):
    assert [run.pace for run in engines] == [Pace(32, 1)] * 2


def test_threads_that_ask_for_one_network_compile_it_once():
    built, begun = [], threading.Barrier(4, timeout=20)

    def build():
        built.append(1)
        time.sleep(0.05)  # long enough for the others to ask too
        return Small().eval().requires_grad_(False)

    engine = Once(TorchEngine("cpu", "fp32"))

    def ask(_):
        begun.wait()
        return engine.compile(graph(build))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ask, range(4)))) == 1
    assert built == [1]


class Narrow(Small):
    """A network for which a device has memory for at most `most` rows."""

    most: int

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"tried to allocate memory for {len(x)} rows")
        return super().forward(x)


def narrow(most):
    module = Narrow().eval().requires_grad_(False)
    module.most = most
    return TorchEngine("cpu", "fp32").compile(graph(lambda: module)), module


def test_passes_are_halved_until_the_memory_is_enough(caplog):
    run, _ = narrow(5)
    x = pixels(75)
    for _ in range(2):
        for found, wanted in zip(run([x]), expected(x), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5)
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"The cpu device has too little memory for {n} rows; passes are halved." for n in (64, 32, 16, 8)]


def test_no_memory_for_one_row_is_an_error_that_says_what_to_do_and_the_next_call_works():
    run, module = narrow(0)
    with pytest.raises(DeviceFull, match="too little free memory for one item"):
        run([pixels(3)])
    module.most = 64
    assert len(run([pixels(3)])[0]) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_torch_precisions(precision):
    engine = TorchEngine("cpu", precision)
    assert engine.name == f"torch-cpu-{precision}"
    x = pixels(3)
    np.testing.assert_allclose(engine.compile(graph())([x])[0], expected(x)[0], atol=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_torch_compile_gives_the_modules_numbers_without_compiling_for_every_number_of_rows(precision):
    from torch._dynamo.utils import counters

    engine = TorchEngine("cpu", precision, mode="compile")
    assert engine.name == f"torch-cpu-{precision}-compile"
    run, before = engine.compile(graph()), counters["stats"]["unique_graphs"]
    for rows in (3, 1, 7, 70):
        x = pixels(rows, seed=rows)
        for found, wanted in zip(run([x]), expected(x), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5 if precision == "fp32" else 0.02)
    assert counters["stats"]["unique_graphs"] - before <= 2  # one for a single row, one for any other number


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_row_has_the_same_bits_in_every_plan(tmp_path, precision):
    """The chosen plan depends on the machine and its load, so it must not change any number."""
    engine, x = OpenVINOEngine(Cache(tmp_path), precision), [pixels(2 * streams.ROWS)]
    compiled = engine.compile(graph())
    alone = [np.concatenate(column) for column in zip(*(compiled([x[0][i : i + 1]]) for i in range(64)), strict=True)]
    for plan in [*streams.candidates(2), *streams.candidates(1), streams.PLAIN]:
        for found, wanted in zip(compiled._side_by_side(plan)(x), alone, strict=True):
            np.testing.assert_array_equal(found, wanted, err_msg=str(plan))


def test_the_plan_is_measured_once_and_remembered(tmp_path, monkeypatch):
    measured, fastest = [], streams.fastest
    monkeypatch.setattr(streams, "_MARGIN", 1.0)  # the first plan wins, which decides what is tried next

    def noted(plans, make, seconds=0.5):
        measured.append(plans)
        return fastest(plans, make, seconds)

    monkeypatch.setattr(streams, "fastest", noted)

    def run(rows, threads):
        x = pixels(rows)
        found = OpenVINOEngine(Cache(tmp_path), "fp32", threads).compile(graph())([x])
        np.testing.assert_allclose(found[0], expected(x)[0], atol=2e-5)

    run(31, 2)
    assert measured == []  # a service that gets few rows at a time never waits for a measurement
    run(75, 2)
    run(64, 2)
    assert measured == [
        [Plan(32, 1, 2), Plan(32, 1, 1)],
        [Plan(32, 1, 2), *(Plan(batch, 2, 2) for batch in (1, 2, 4, 8, 16)), Plan(8, 1, 2)],
    ]
    run(64, 1)  # never more batches at once than threads
    assert measured[2:] == [[Plan(32, 1, 1)], [Plan(32, 1, 1), *(Plan(batch, 1, 1) for batch in (1, 2, 4, 8, 16))]]


def test_a_chosen_plan_counts_for_few_rows_too(tmp_path, monkeypatch):
    """A service warms up with a full batch; after that, most of its batches are smaller."""
    monkeypatch.setattr(streams, "choose", lambda threads, make: Plan(2, 2, 2))
    monkeypatch.setattr("embedder.engines.openvino_engine.choose", streams.choose)
    compiled = OpenVINOEngine(Cache(tmp_path), "fp32", 2).compile(graph())
    compiled([pixels(32)])
    by_plan, streamed = [], compiled._streams

    class Noted:
        batch = streamed.batch

        def __call__(self, inputs):
            by_plan.append(len(inputs[0]))
            return streamed(inputs)

    compiled._streams = Noted()
    for rows in (1, 2, 5, 32):
        x = pixels(rows)
        np.testing.assert_allclose(compiled([x])[0], expected(x)[0], atol=2e-5)
    assert by_plan == [2, 4, 32]  # one row alone is answered soonest by all threads


@pytest.mark.parametrize(("share", "threads"), [(1, 8), (0.5, 4), (0.25, 2)])
def test_as_many_threads_are_taken_as_are_fastest(monkeypatch, share, threads):
    """Choose among eight threads on a machine that has cores, or time, for only a share of them."""
    clock, made = [0.0], []
    monkeypatch.setattr(streams.time, "perf_counter", lambda: clock[0])

    def make(plan):
        made.append(plan)
        useful = min(plan.threads, 8 * share)
        wasted = plan.threads - useful
        return lambda: clock.__setitem__(0, clock[0] + (1 + wasted / 4) / useful / 50)

    assert streams.choose(8, make) == Plan(32, 1, threads)
    assert len(made) == len(set(made))  # each plan is compiled once


@pytest.mark.parametrize("plan", [Plan(8, 1, 1), Plan(8, 2, 2), Plan(32, 1, 1)])
def test_a_plan_takes_the_threads_that_it_names(tmp_path, plan):
    compiled = OpenVINOEngine(Cache(tmp_path), "fp32").compile(graph())
    made, compile_ = [], compiled._compile
    compiled._compile = lambda *arguments: made.append(compile_(*arguments)) or made[-1]
    compiled._side_by_side(plan)
    assert (made[0].get_property("INFERENCE_NUM_THREADS"), made[0].get_property("NUM_STREAMS")) == (
        plan.threads,
        plan.streams,
    )


@pytest.mark.parametrize(("seconds", "winner"), [((5, 2, 8), 1), ((2.05, 2, 8), 0), ((2, 3, 4), 0), ((9, 9, 1), 2)])
def test_the_fastest_plan_wins_when_it_is_clearly_faster_than_the_plain_one(monkeypatch, seconds, winner):
    clock = [0.0]
    monkeypatch.setattr(streams.time, "perf_counter", lambda: clock[0])

    def run(own):
        busy = 3 if clock[0] < 40 else 1  # another program uses the machine at first
        clock[0] += own * busy

    plans = [Plan(8, i) for i in range(3)]
    assert streams.fastest(plans, lambda plan: partial(run, seconds[plan.streams]), 100) == plans[winner]


def test_of_plans_that_are_as_fast_the_preferred_one_wins(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(streams.time, "perf_counter", lambda: clock[0])
    seconds = {Plan(32, 1): 9.0, Plan(1, 2): 2.04, Plan(2, 2): 2.0, Plan(4, 2): 2.2}

    def make(plan):
        return lambda: clock.__setitem__(0, clock[0] + seconds[plan])

    assert streams.fastest([*seconds], make, 100) == Plan(1, 2)


def test_a_slow_network_is_not_tried_in_other_ways(monkeypatch):
    clock, made = [0.0], []
    monkeypatch.setattr(streams.time, "perf_counter", lambda: clock[0])

    def make(plan):
        made.append(plan)
        return lambda: clock.__setitem__(0, clock[0] + 0.4)

    assert streams.fastest([Plan(32, 1), Plan(16, 2), Plan(8, 2)], make, 1.0) == Plan(32, 1)
    assert made == [Plan(32, 1)]


def test_a_converted_model_is_used_again_and_rebuilt_when_damaged(tmp_path):
    built = []

    def build():
        built.append(1)
        return Small().eval().requires_grad_(False)

    def run():
        return OpenVINOEngine(Cache(tmp_path), "fp32").compile(graph(build))([pixels(2)])[0]

    first = run()
    np.testing.assert_array_equal(run(), first)
    assert len(built) == 1
    (weights,) = tmp_path.glob("*/model.bin")
    weights.write_bytes(weights.read_bytes()[:-4])
    np.testing.assert_array_equal(run(), first)
    assert len(built) == 2
    (listing,) = tmp_path.glob("*/digests.json")
    listing.unlink()
    np.testing.assert_array_equal(run(), first)
    assert len(built) == 3
    assert not list(tmp_path.glob(".new-*"))


def test_a_failed_build_leaves_no_entry(tmp_path):
    def build():
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        OpenVINOEngine(Cache(tmp_path), "fp32").compile(graph(build))
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


MAKE = """
import os, sys, time
from pathlib import Path
from embedder.engines.cache import Cache
root, log = Path(sys.argv[1]), Path(sys.argv[2])
def make(folder):
    with log.open("a") as file:
        file.write("made\\n")
    (folder / "a").write_text("a" * 100000)
    if sys.argv[3] == "die":
        os._exit(9)
    time.sleep(0.3)
    (folder / "b").write_text("b")
folder = Cache(root).folder("key", make)
assert (folder / "a").stat().st_size == 100000 and (folder / "b").read_text() == "b"
"""


def start(tmp_path, mode="live"):
    return subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path / "cache"), str(tmp_path / "log"), mode])


def test_processes_make_an_entry_once_and_a_killed_one_leaves_no_trace(tmp_path):
    assert start(tmp_path, "die").wait() == 9
    assert not (tmp_path / "cache" / "key").exists()
    processes = [start(tmp_path) for _ in range(4)]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n" * 2  # by the killed process, and by one of the four


CONVERT = """
import socket, sys
sys.path[:0] = [sys.argv[2]]
def refuse(*_):
    raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from test_engine import Cache, OpenVINOEngine, graph, pixels
OpenVINOEngine(Cache(Path(sys.argv[1])), "fp32").compile(graph())([pixels(1)])
assert not [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module]
"""


def test_openvino_reports_to_nobody(tmp_path):
    """OpenVINO's telemetry package would write an identity into the home folder on import, then post events."""
    environment = os.environ | {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", CONVERT, str(tmp_path / "cache"), str(Path(__file__).parent)]
    subprocess.run(command, env=environment, check=True)
    assert not (tmp_path / "home" / "intel").exists()
