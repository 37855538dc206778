"""The choice of a precision: the fastest one in which an encoder keeps its vectors, measured once and remembered."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock

from embedder import probe
from embedder.encoder import Engine, Graph, Run
from embedder.engines.backend import fastest_passing
from embedder.engines.cache import Cache


class Once:
    """An engine that compiles each network once, whichever thread asks first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs: dict[str, Run] = {}
        self._turn = Lock()

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def machine(self) -> str:
        return self._engine.machine

    def compile(self, graph: Graph) -> Run:
        if graph.key not in self._runs:  # threads that run networks do not wait for one that compiles another
            with self._turn:
                if graph.key not in self._runs:
                    self._runs[graph.key] = self._engine.compile(graph)
        return self._runs[graph.key]


class FastestEngine:
    """One of several engines: the fastest whose vectors of an encoder pass the probe. Implements `Engine`.

    The choice is made at the first use and kept in the cache beside the reference vectors.
    """

    def __init__(
        self,
        engines: Mapping[str, Callable[[], Engine]],
        cosine: Callable[[Engine], float],
        cache: Cache,
        fingerprint: str,
    ) -> None:
        """
        Args:
            engines: makers of engines by precision, fastest first. The last one is used if no other passes.
            cosine: returns the worst cosine of the probe on an engine to the reference vectors.
            fingerprint: identity of the encoder.
        """
        self._makers, self._cosine, self._cache, self._fingerprint = engines, cosine, cache, fingerprint
        self._made: dict[str, Once] = {}
        self._choice: Once | None = None
        self._turn = Lock()

    @property
    def name(self) -> str:
        return self._chosen().name

    @property
    def machine(self) -> str:
        return self._chosen().machine

    def compile(self, graph: Graph) -> Run:
        return self._chosen().compile(graph)

    def _chosen(self) -> Once:
        with self._turn:
            if self._choice is None:
                folder = self._cache.folder(self._key(), self._choose)
                self._choice = self._engine(json.loads((folder / "precision.json").read_text())["precision"])
            return self._choice

    def _engine(self, precision: str) -> Once:
        if precision not in self._made:
            self._made[precision] = Once(self._makers[precision]())
        return self._made[precision]

    def _key(self) -> str:
        """Return a name in the cache: the encoder, the probe, the candidates and the machine decide the choice."""
        first = self._engine(next(iter(self._makers)))
        facts = [self._fingerprint, probe.REVISION, probe.LEAST_COSINE, [*self._makers], first.name, first.machine]
        return f"precision-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"

    def _choose(self, folder: Path) -> None:
        *candidates, last = self._makers
        measured: dict[str, float] = {}

        def cosines() -> Iterator[tuple[str, float]]:
            for precision in candidates:
                measured[precision] = self._cosine(self._engine(precision))
                yield precision, measured[precision]

        precision = fastest_passing(cosines(), probe.LEAST_COSINE, last)
        (folder / "precision.json").write_text(json.dumps({"precision": precision, "cosines": measured}))
