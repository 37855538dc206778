"""Replicas: two engines on the CPU stand for two devices."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from embedder.encoder import Graph, Pace, Port
from embedder.engines.rows.replicas import Replicas, on_devices
from embedder.engines.torch_engine import TorchEngine, torch_devices


class Net(torch.nn.Module):
    """A network that can be held up, and whose copies know their number."""

    made = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 5)
        self.number, Net.made = Net.made, Net.made + 1
        self.calls, self.hold, self.error = 0, None, None

    def forward(self, x):
        self.calls += 1
        if self.hold:
            self.hold.wait(20)
        if self.error:
            raise self.error
        return (self.layer(x),)


@pytest.fixture
def two():
    """Two engines, their networks, and the run that spreads its calls over them."""
    nets = []

    def build():
        nets.append(Net().eval().requires_grad_(False))
        return nets[-1]

    engine = on_devices(["cpu", "cpu"], lambda device: TorchEngine(device, "fp32"))
    run = engine.compile(Graph(key="net", libraries=(), build=build, ports=(Port((3,), "float32"),)))
    return engine, nets, run


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def test_one_device_needs_no_replicas():
    assert isinstance(on_devices(["cpu"], TorchEngine), TorchEngine)


def test_both_are_used_and_give_the_same_numbers(two):
    engine, nets, run = two
    assert isinstance(engine, Replicas)
    assert engine.name == "torch-cpu-fp32"
    assert engine.machine.startswith("2 of ")
    both = threading.Barrier(2, timeout=20)  # passes only if both compute at once
    for net in nets:
        net.hold = both
    x = [rows(7, seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda each: run([each])[0], x))
    assert [net.calls for net in nets] == [1, 1]
    for net in nets:
        net.hold = None
        for each, y in zip(x, found, strict=True):
            np.testing.assert_array_equal(net(torch.from_numpy(each))[0].numpy(), y)


def test_a_call_goes_to_the_device_that_is_least_busy(two):
    _, nets, run = two
    nets[0].hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(run, [rows(1)])
        while nets[0].calls == 0:
            pass
        for _ in range(3):
            run([rows(1)])
        assert [net.calls for net in nets] == [1, 3]
        nets[0].hold.set()
        held.result(20)
    run([rows(1)])
    assert [net.calls for net in nets] == [2, 3]


def test_an_error_is_of_one_call(two):
    _, nets, run = two
    nets[0].error = RuntimeError("device gone")
    with pytest.raises(RuntimeError, match="device gone"):
        run([rows(2)])
    nets[0].error = None
    for seed in range(3):
        assert run([rows(2, seed)])[0].shape == (2, 5)


def test_lanes_add_up_and_the_smallest_pass_counts():
    class Run:
        def __init__(self, pace):
            self.pace = pace

    class Engine:
        name = machine = "made up"

        def __init__(self, pace):
            self.pace = pace

        def compile(self, graph):
            return Run(self.pace)

    run = Replicas([Engine(Pace(256, 2)), Engine(Pace(64, 2))]).compile(None)
    assert run.pace == Pace(64, 4)


@pytest.mark.parametrize(
    ("wanted", "devices"),
    [
        ("cuda", ["cuda"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:0,2", ["cuda:0", "cuda:2"]),
        ("cuda:all", ["cuda:0", "cuda:1", "cuda:2"]),
        ("cpu", ["cpu"]),
    ],
)
def test_devices_of_a_backend(monkeypatch, wanted, devices):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert torch_devices(wanted) == devices
