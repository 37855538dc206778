"""How many threads the CPU engine takes for many rows, and how it splits these: measured for a second, and remembered.

One batch on all threads waits for the slowest of them after every layer; smaller batches side by side, each on its
share of the threads, do not, and fit the caches better. Which is faster depends on the network and on the machine.
And fewer threads may be faster: two may share the units of one core, and a container may get less time than it sees
cores. The rows' numbers do not depend on it: that one row gives the same bits in all plans is a test.
"""

import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import openvino as ov

ROWS = 32
"""What counts as many. Fewer are computed one batch after the other on all threads, which answers soonest."""

_SECONDS, _LEAST_ROUNDS = 1.0, 3
_MARGIN = 0.05
"""A plan has to be that much faster than the plain one: less is noise, and the plain one takes less memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of `batch` rows, `streams` of them at once, on `threads` in all; None: as many as OpenVINO likes."""

    batch: int
    streams: int
    threads: int | None = None


PLAIN = Plan(ROWS, 1)


def candidates(threads: int) -> list[Plan]:
    """What is worth trying on so many threads, the plain plan first."""
    several = [Plan(batch, min(threads, ROWS // batch), threads) for batch in (16, 8)]
    return list(dict.fromkeys([Plan(ROWS, 1, threads), *several, Plan(8, 1, threads)]))


def choose(threads: int, make: Callable[[Plan], Callable[[], object]]) -> Plan:
    """First on how many threads, all, a half or a quarter of them, then how to split the rows; see `fastest`."""
    make = cache(make)  # the winner of the first round is the plain plan of the second, and compiling takes long
    counts = {Plan(ROWS, 1, n): n for n in (threads, threads // 2, threads // 4) if n}
    return fastest(candidates(counts[fastest([*counts], make, _SECONDS / 4)]), make)


def fastest(plans: Sequence[Plan], make: Callable[[Plan], Callable[[], object]], seconds: float = _SECONDS) -> Plan:
    """The plan whose best time is least; the first unless another is clearly faster.

    They take turns, and the best time counts: other programs can only slow one down. A network so slow that one turn
    of all does not fit into `seconds` keeps all threads busy by itself: the first plan, and nothing else is made.

    Args:
        make: what runs by a plan, ready to be called.
    """
    plain, *others = plans
    if not others:
        return plain
    runs = {plain: make(plain)}
    runs[plain]()
    best = {plain: _timed(runs[plain])}
    if len(plans) * best[plain] > seconds:
        return plain
    runs |= {plan: make(plan) for plan in others}
    best |= dict.fromkeys(others, math.inf)
    for plan in others:
        runs[plan]()  # the first call allocates
    rounds, deadline = 0, time.perf_counter() + seconds
    while rounds < _LEAST_ROUNDS or time.perf_counter() < deadline:
        for plan, run in runs.items():
            best[plan] = min(best[plan], _timed(run))
        rounds += 1
    winner = min(best, key=best.__getitem__)
    return winner if best[winner] < (1 - _MARGIN) * best[plain] else plain


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def save(plan: Plan, folder: Path) -> None:
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))


def load(folder: Path) -> Plan:
    return Plan(**json.loads((folder / "plan.json").read_text()))


class Streams:
    """A network compiled for a plan. Takes any whole number of batches.

    Requests are waited for in turn: a queue with callbacks would call Python from threads of its own, which ends a
    process that is stopped meanwhile in an abort.
    """

    def __init__(self, compiled: "ov.CompiledModel", plan: Plan) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(plan.streams)]
        self._batch, self._outputs = plan.batch, len(compiled.outputs)

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        parts: list[list[NDArray[Any]]] = []
        running: deque[ov.InferRequest] = deque()
        try:
            for turn, start in enumerate(range(0, len(inputs[0]), self._batch)):
                if len(running) == len(self._requests):
                    parts.append(self._outputs_of(running.popleft()))
                request = self._requests[turn % len(self._requests)]
                # Shared, not copied: `inputs` outlive the request.
                request.start_async([x[start : start + self._batch] for x in inputs], share_inputs=True)
                running.append(request)
            while running:
                parts.append(self._outputs_of(running.popleft()))
        finally:
            for request in running:  # after an error: none may be busy at the next call
                request.wait()
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _outputs_of(self, request: "ov.InferRequest") -> list[NDArray[Any]]:
        request.wait()
        return [request.get_output_tensor(i).data.copy() for i in range(self._outputs)]
