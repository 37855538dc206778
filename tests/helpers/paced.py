"""An engine and an encoder with a pace."""

import threading
from collections.abc import Callable

import numpy as np

from embedder.encoder import Embedding, Graph, Pace
from helpers.blocks import Blocks


class _Run:
    def __init__(self, pace: Pace) -> None:
        self.pace = pace


class Paced:
    """An engine whose networks do nothing."""

    name = machine = "made up"

    def __init__(self, pace: Pace) -> None:
        self._run = _Run(pace)

    def compile(self, graph: Graph) -> _Run:
        return self._run


class PacedBlocks(Blocks):
    """An encoder with a pace. It notes how many calls are under way at once.

    `hold` is called in each call with as many rows as its pace has, with their number: 0, 1, … Other calls are probes.
    """

    def __init__(self, pace: Pace, hold: Callable[[int], object] = lambda number: None) -> None:
        super().__init__()
        self._pace, self._hold = pace, hold
        self._lock = threading.Lock()
        self.under_way = self.most_under_way = 0

    def pace(self, modality: str) -> Pace:
        return self._pace

    def embed(self, inputs: np.ndarray, *, modality: str = "image", tokens: bool = False) -> Embedding:
        with self._lock:
            number = self.batches.count(self._pace.rows)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            found = super().embed(inputs, modality=modality, tokens=tokens)
        try:
            if len(inputs) == self._pace.rows:
                self._hold(number)
        finally:
            with self._lock:
                self.under_way -= 1
        return found
