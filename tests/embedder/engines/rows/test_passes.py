"""Passes on a CPU: any number of rows, from any number of threads, with recordings or without, gives the same rows."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.encoder import Pace, Port
from embedder.engines.rows.devices import HostDevice
from embedder.engines.rows.few import SIZES, FewRows, size_for
from embedder.engines.rows.passes import Passes
from embedder.errors import DeviceFull

PORTS = (Port((3,), "float32"), Port((), "int64"))
CPU = torch.device("cpu")


class Noted:
    """A network of two inputs. It remembers the rows of each pass, and has memory for at most `most`."""

    def __init__(self, most=10**6):
        self.most, self.rows = most, []

    def __call__(self, x, label):
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"tried to allocate memory for {len(x)} rows")
        self.rows.append(len(x))
        return [(x * 2).sum(1, keepdim=True) + label[:, None], x.cos()]


class TwoLanes(HostDevice):
    """A device that has two passes under way, and counts them."""

    lanes = 2

    def __init__(self):
        super().__init__(CPU)
        self.under_way = self.most_under_way = 0

    def start(self, forward, arrays):
        wait = super().start(forward, arrays)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)

        def waited():
            self.under_way -= 1
            return wait()

        return waited


def passes(network, rows=8, few=False, device=None):
    device = device or HostDevice(CPU)
    recordings = FewRows(device.recorder(network, PORTS)) if few else None
    return Passes(device, "cpu", network, lambda: rows, recordings)


def inputs(rows, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rows, 3)).astype(np.float32), rng.integers(0, 9, rows)]


def expected(x, label):
    return [2 * x.sum(1, keepdims=True) + label[:, None], np.cos(x)]


def check(found, given):
    for y, wanted in zip(found, expected(*given), strict=True):
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 90), most=st.integers(1, 40), few=st.booleans(), lanes=st.sampled_from([1, 2]))
def test_rows_do_not_depend_on_passes_padding_or_lanes(rows, most, few, lanes):
    device = HostDevice(CPU) if lanes == 1 else TwoLanes()
    run, given = passes(Noted(), most, few, device), inputs(rows, rows)
    check(run(given), given)
    check(run([x[:1] for x in given]), [x[:1] for x in given])


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (16, 16), (17, 32), (32, 32), (33, None)])
def test_the_smallest_size_that_holds_the_rows(rows, size):
    assert size_for(rows) == size


def test_few_rows_are_padded_and_each_size_is_recorded_once():
    network, made, device = Noted(), [], HostDevice(CPU)
    few = FewRows(lambda size: made.append(size) or device.recorder(network, PORTS)(size))
    run = Passes(device, "cpu", network, lambda: 64, few)
    for rows in (3, 4, 3, 1, 32, 20, 40):
        check(run(inputs(rows, rows)), inputs(rows, rows))
    assert made == [4, 1, 32]
    assert network.rows == [4, 4, 4, 1, 32, 32, 40]


def test_rows_of_an_earlier_call_do_not_come_back():
    """The padding holds them; NaN would spread if a network mixed its rows."""
    run = passes(Noted(), few=True)
    spoiled = [np.full((4, 3), np.nan, np.float32), np.zeros(4, np.int64)]
    assert np.isnan(run(spoiled)[1]).all()
    check(run(inputs(3)), inputs(3))


def test_a_network_that_cannot_be_recorded_runs_without_and_one_line_says_so(caplog):
    asked = []

    def record(size):
        asked.append(size)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    network = Noted()
    run = Passes(HostDevice(CPU), "cpu", network, lambda: 8, FewRows(record))
    for rows in (3, 5, 1):
        check(run(inputs(rows)), inputs(rows))
    assert network.rows == [3, 5, 1]
    assert asked == [4, 8]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "Passes of few rows are not recorded, because RuntimeError: operation not permitted when stream is capturing. "
        "They run without, which is slower."
    )


def test_a_recording_that_fails_once_is_tried_again(caplog):
    network, device, faults = Noted(), HostDevice(CPU), [RuntimeError("chance")]

    def record(size):
        if faults:
            raise faults.pop()
        return device.recorder(network, PORTS)(size)

    run = Passes(device, "cpu", network, lambda: 8, FewRows(record))
    for _ in range(2):
        check(run(inputs(3)), inputs(3))
    assert network.rows == [3, 4]
    assert not caplog.records


def test_a_device_that_cannot_record_now_is_asked_again():
    network, device, answers = Noted(), HostDevice(CPU), [False, True]
    few = FewRows(lambda size: device.recorder(network, PORTS)(size) if answers.pop(0) else None)
    run = Passes(device, "cpu", network, lambda: 8, few)
    for _ in range(3):
        check(run(inputs(3)), inputs(3))
    assert network.rows == [3, 4, 4]


def test_when_memory_is_short_recordings_are_dropped_before_passes_are_halved(caplog):
    network = Noted()
    run = passes(network, 64, few=True)
    run(inputs(2))
    network.rows.clear()
    refused = []

    def forward(*tensors):
        if len(tensors[0]) == 50 and not refused:
            refused.append(50)
            raise torch.OutOfMemoryError("once")
        return network(*tensors)

    run._forward = forward
    check(run(inputs(50)), inputs(50))
    check(run(inputs(2)), inputs(2))
    assert network.rows == [50, 2]  # neither halved, nor recorded again
    assert not caplog.records


@pytest.mark.parametrize("few", [False, True])
def test_memory_for_some_rows_only(few):
    network = Noted(most=5)
    run = passes(network, 64, few)
    check(run(inputs(75)), inputs(75))
    assert max(network.rows) <= 5
    assert run.pace == Pace(4, 1)


def test_memory_for_no_row_is_an_error_and_the_next_call_works():
    network = Noted(most=0)
    run = passes(network, few=True)
    with pytest.raises(DeviceFull):
        run(inputs(3))
    network.most = 64
    check(run(inputs(3)), inputs(3))


def test_a_call_has_at_most_as_many_passes_under_way_as_the_device_has_lanes():
    device = TwoLanes()
    run = passes(Noted(), 8, device=device)
    check(run(inputs(80)), inputs(80))
    assert (device.most_under_way, device.under_way) == (2, 0)


def test_after_an_error_no_pass_is_left_under_way():
    device, network = TwoLanes(), Noted()

    def forward(x, label):
        if x[0, 0] == 1:
            raise ValueError("a bad row")
        return network(x, label)

    given = inputs(40)
    given[0][24, 0] = 1
    with pytest.raises(ValueError, match="a bad row"):
        passes(forward, 8, device=device)(given)
    assert device.under_way == 0


def test_rows_are_measured_once_and_only_when_there_are_many():
    found = []
    run = Passes(HostDevice(CPU), "cpu", Noted(), lambda: found.append(1) or 20)
    run(inputs(16))
    assert found == []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, [inputs(50)] * 8))
    assert found == [1]
    assert run.pace == Pace(20, 1)


@pytest.mark.parametrize("few", [False, True])
def test_threads_get_their_own_rows(few):
    run, barrier = passes(Noted(), 8, few, TwoLanes()), threading.Barrier(4)

    def work(number):
        barrier.wait()
        for seed in range(20):
            given = inputs(1 + (7 * seed + number) % 33, 100 * number + seed)
            check(run(given), given)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_sizes_are_sorted():
    assert sorted(SIZES) == list(SIZES)


@pytest.mark.parametrize(("most", "rows", "fits"), [(16, 16, True), (16, 32, False)])
def test_a_rehearsal_says_whether_the_memory_is_enough(most, rows, fits):
    assert HostDevice(CPU).rehearse(Noted(most), PORTS, rows) is fits
