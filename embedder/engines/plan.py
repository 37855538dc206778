"""Plans: how many threads the CPU engine uses for many rows, and how it splits the rows. Each choice is measured once.

One batch on all threads waits for the slowest thread after every layer. Smaller batches side by side, each on its share
of the threads, do not wait and fit the caches better. The network and the machine decide which is faster. Fewer threads
may be faster too: two threads may share one core, and a container may get less time than it sees cores. A plan does not
change the numbers; a test shows that a row gives the same bits in all plans.
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
"""Number of rows for which plans are measured. Before a plan is chosen, fewer rows run as one batch on all threads."""

_SECONDS, _LEAST_ROUNDS = 1.0, 3
_MARGIN = 0.05
"""Share by which a plan must be faster than one that is preferred. Less is noise."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of `batch` rows, `streams` batches at once, on `threads` threads in all. None: OpenVINO chooses."""

    batch: int
    streams: int
    threads: int | None = None


PLAIN = Plan(ROWS, 1)


def candidates(threads: int) -> list[Plan]:
    """Return the plans worth trying on a number of threads, in the order of preference.

    The plain plan takes the least memory. Of the others, small batches suit a service, which seldom has many rows.
    """
    several = [Plan(batch, min(threads, ROWS // batch), threads) for batch in (1, 2, 4, 8, 16)]
    return list(dict.fromkeys([Plan(ROWS, 1, threads), *several, Plan(8, 1, threads)]))


def choose(threads: int, make: Callable[[Plan], Callable[[], object]]) -> Plan:
    """Choose between all threads, a half and a quarter of them, then how to split the rows; see `fastest`."""
    make = cache(make)  # the first round's winner is used again in the second, and compiling is slow
    counts = {Plan(ROWS, 1, n): n for n in (threads, threads // 2, threads // 4) if n}
    return fastest(candidates(counts[fastest([*counts], make, _SECONDS / 4)]), make)


def fastest(plans: Sequence[Plan], make: Callable[[Plan], Callable[[], object]], seconds: float = _SECONDS) -> Plan:
    """Return the first plan that no other is clearly faster than, by their best times.

    Plans take turns, and the best time counts, because other programs can only slow a plan down. If one turn of all
    plans would not fit into `seconds`, the network is so slow that it keeps all threads busy by itself: the first plan
    is returned, and no other is made.

    Args:
        make: returns a function that runs the rows by a plan.
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
    return next(plan for plan in plans if (1 - _MARGIN) * best[plan] <= min(best.values()))


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def save(plan: Plan, folder: Path) -> None:
    (folder / "plan.json").write_text(json.dumps(asdict(plan)))


def load(folder: Path) -> Plan:
    return Plan(**json.loads((folder / "plan.json").read_text()))


class Streams:
    """A network compiled for a plan. Takes a whole number of batches.

    Attributes:
        batch: number of rows of one batch.

    Requests are waited for in turn. OpenVINO's queue with callbacks would call Python from its own threads, and a
    process that is stopped meanwhile would abort.
    """

    def __init__(self, compiled: "ov.CompiledModel", plan: Plan) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(plan.streams)]
        self.batch, self._outputs = plan.batch, len(compiled.outputs)

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        parts: list[list[NDArray[Any]]] = []
        running: deque[ov.InferRequest] = deque()
        try:
            for turn, start in enumerate(range(0, len(inputs[0]), self.batch)):
                if len(running) == len(self._requests):
                    parts.append(self._outputs_of(running.popleft()))
                request = self._requests[turn % len(self._requests)]
                # Shared, not copied: `inputs` live longer than the request.
                request.start_async([x[start : start + self.batch] for x in inputs], share_inputs=True)
                running.append(request)
            while running:
                parts.append(self._outputs_of(running.popleft()))
        finally:
            for request in running:  # after an error, too: no request may be busy at the next call
                request.wait()
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _outputs_of(self, request: "ov.InferRequest") -> list[NDArray[Any]]:
        request.wait()
        return [request.get_output_tensor(i).data.copy() for i in range(self._outputs)]
