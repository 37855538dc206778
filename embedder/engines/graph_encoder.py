"""An encoder from a blueprint and an engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder import probe
from embedder.encoder import (
    Bank,
    Blueprint,
    Embedding,
    Encoder,
    Engine,
    Graph,
    JpegDecoder,
    Network,
    Pace,
    Tokenise,
    require_modality,
)
from embedder.engines import imagenet
from embedder.engines.backend import PRECISIONS, Backend
from embedder.engines.cache import Cache, default_folder
from embedder.engines.fastest import FastestEngine, Once
from embedder.engines.jpegs.choice import choose_decoder
from embedder.engines.rows.replicas import on_devices
from embedder.engines.torch_engine import TorchEngine, precisions, torch_devices
from embedder.media import Limits, Media, modality_of
from embedder.media.image import fit
from embedder.spec import EncoderSpec, ImagePreprocessing, Modality
from embedder.trainable import Trainable

Makers = Mapping[str, Callable[[], Engine]]
"""Functions that make an engine, by precision, fastest first."""


class GraphEncoder:
    """Implements `embedder.encoder.Encoder`. A network is compiled when it is first used.

    Several threads may call it at once, so a service can backfill while it answers. The engine decides which calls
    take turns.
    """

    def __init__(
        self, name: str, blueprint: Blueprint, engine: Engine, cache: Cache, others: Makers | None = None
    ) -> None:
        """
        Args:
            others: makers of engines that differ from `engine` in precision, for `variants`.
        """
        self.name = name
        self.spec: EncoderSpec = blueprint.spec
        self.blueprint = blueprint
        self._engine = Once(engine)
        self._cache = cache
        self._others = others or {}
        self._tokenising = Lock()
        self._tokenise: Tokenise | None = None

    @property
    def backend(self) -> str:
        return self._engine.name

    def pace(self, modality: Modality) -> Pace:
        pace = self._engine.compile(self._graph(require_modality(self.name, self.spec, modality), tokens=False)).pace
        tower = self.blueprint.towers.get(modality)
        return replace(pace, rows=max(Pace().rows, pace.rows // tower.views)) if tower and tower.views else pace

    def prepare(self, media: Media) -> NDArray[Any]:
        modality = require_modality(self.name, self.spec, modality_of(media))
        if isinstance(media, Image.Image):
            return fit(media, self._preprocessing)
        return self.blueprint.towers[modality].prepare(media)

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        graph = self._graph(require_modality(self.name, self.spec, modality), tokens)
        tower = self.blueprint.towers.get(modality)
        port, shape = graph.ports[0], tower.shape if tower else graph.ports[0].shape
        if inputs.dtype != port.dtype or inputs.shape[1:] != shape or not inputs.ndim:
            raise ValueError(
                f"{self.name} takes {modality} as {port.dtype} of shape (n, {', '.join(map(str, shape))}), as "
                f"prepare() makes it, not {inputs.dtype} {inputs.shape}"
            )
        if len(inputs) == 0:
            return self._nothing(tokens)
        if tower:
            return Embedding(_floats(tower.embed(self._engine.compile(graph), inputs)))
        vectors, *rest = self._run(graph, [inputs])
        return Embedding(_floats(vectors), rest[0].astype(np.float16) if rest else None)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        blueprint = self.blueprint
        if blueprint.text is None or blueprint.tokeniser is None:
            raise ValueError(f"{self.name} takes no text; use an encoder with a text side, e.g. lite0")
        if isinstance(texts, str):
            raise ValueError(f"embed_texts takes a list of texts, not the one text {texts!r}")
        if not texts:
            return np.zeros((0, self.spec.dim), np.float32)
        with self._tokenising:  # tokenisers keep state during a call
            self._tokenise = self._tokenise or blueprint.tokeniser()
            tokens = self._tokenise(texts)
        return _floats(self._run(blueprint.text, tokens)[0])

    def reference_probe(self) -> NDArray[np.float32]:
        """Return the reference vectors. They are kept in the cache, so a warm process need not import torch."""
        key = f"probe-{self.spec.fingerprint[:32]}-{probe.REVISION}"
        folder = self._cache.folder(key, lambda folder: np.save(folder / "vectors.npy", self._reference()))
        return _floats(np.load(folder / "vectors.npy", allow_pickle=False))

    def bank(self) -> Bank | None:
        """Return the classes of ImageNet. They are kept in the cache, because embedding their texts takes a while."""
        if self.blueprint.text is None:
            return None
        key = f"bank-{self.spec.fingerprint[:32]}-{imagenet.REVISION}"
        folder = self._cache.folder(
            key, lambda folder: np.save(folder / "texts.npy", imagenet.vectors(self.embed_texts))
        )
        texts = _floats(np.load(folder / "texts.npy", allow_pickle=False))
        if self.blueprint.classifier is not None:
            return Bank(*self.blueprint.classifier(), texts)
        weights = np.float32(imagenet.SCALE) * texts
        return Bank(weights, np.zeros(len(weights), np.float32), texts, unit=True)

    def _reference(self) -> NDArray[np.float32]:
        return probe.embed(self._on(partial(TorchEngine, "cpu", "fp32")))

    def jpeg_decoder(self, limits: Limits, user: Encoder | None = None) -> JpegDecoder | None:
        return choose_decoder(user or self, limits, self._cache)

    def trainable(self) -> Trainable | None:
        return self.blueprint.trainable() if self.blueprint.trainable is not None else None

    def variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {precision: partial(self._on, make) for precision, make in self._others.items()}

    def _on(self, make: Callable[[], Engine]) -> "GraphEncoder":
        return GraphEncoder(self.name, self.blueprint, make(), self._cache)

    def networks(self) -> Mapping[str, Network]:
        return dict(self._networks())

    def _networks(self) -> Iterator[tuple[str, Network]]:
        plan = self.blueprint
        if plan.image is not None:
            pixels = np.stack([self.prepare(image) for image in probe.images()])
            yield "image", Network(plan.image, (pixels,))
            if plan.image_tokens is not None and plan.spec.tokens is not None:
                yield "tokens", Network(plan.image_tokens, (pixels[:2],), ("vectors", "tokens"))
        if plan.text is not None and plan.tokeniser is not None:
            yield "text", Network(plan.text, plan.tokeniser()(probe.TEXTS))
        for modality, tower in plan.towers.items():
            prepared = np.stack([tower.prepare(x) for x in probe.samples(modality)])
            yield modality, Network(tower.graph, (tower.rows(prepared),))

    @property
    def _preprocessing(self) -> ImagePreprocessing:
        if self.spec.image is None:
            raise ValueError(f"{self.name} takes no images")
        return self.spec.image

    def _graph(self, modality: Modality, tokens: bool) -> Graph:
        graph = self.blueprint.image_tokens if tokens else self.blueprint.image
        if tokens and (graph is None or self.spec.tokens is None or modality != "image"):
            raise ValueError(f"{self.name} gives no tokens of {modality}; ask for vectors only")
        if modality == "image" and graph is not None:
            return graph
        return self.blueprint.towers[modality].graph

    def _nothing(self, tokens: bool) -> Embedding:
        empty = np.zeros((0, *self.spec.tokens), np.float16) if tokens and self.spec.tokens else None
        return Embedding(np.zeros((0, self.spec.dim), np.float32), empty)

    def _run(self, graph: Graph, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return self._engine.compile(graph)(inputs)


def assemble(
    name: str, blueprint: Blueprint, backend: str, cache_dir: Path | None = None, threads: int | None = None
) -> GraphEncoder:
    """Return the blueprint's encoder on the engine that `backend` asks for (see `embedder.registry.load`).

    If `backend` names no precision, the fastest one that passes the probe is chosen at the first use.
    """
    cache = Cache(cache_dir or default_folder())
    wanted = Backend.parse(backend).resolve()
    makers, preferred = _engines(wanted, cache, threads)
    others = {
        precision: make for precision, make in makers.items() if precision != "fp8"
    }  # used only where it is named
    if wanted.precision:
        return GraphEncoder(name, blueprint, makers[wanted.precision](), cache, others)
    return GraphEncoder(name, blueprint, choose(name, blueprint, preferred, cache), cache, others)


def choose(name: str, blueprint: Blueprint, makers: Makers, cache: Cache) -> Engine:
    """Return the engine of the fastest precision that passes the probe. A single maker is used without measuring."""

    def cosine(engine: Engine) -> float:
        encoder = GraphEncoder(name, blueprint, engine, cache)
        return float(probe.cosines(probe.embed(encoder), encoder.reference_probe()).min())

    if len(makers) == 1:
        return next(iter(makers.values()))()
    return FastestEngine(makers, cosine, cache, blueprint.spec.fingerprint)


def _engines(wanted: Backend, cache: Cache, threads: int | None) -> tuple[Makers, Makers]:
    """Return makers for every precision of the engine, and for those worth trying, each fastest first."""
    if wanted.engine == "openvino":
        from embedder.engines.openvino_engine import OpenVINOEngine

        openvino = {each: partial(OpenVINOEngine, cache, each, threads) for each in ("bf16", "fp32")}
        return openvino, {each: openvino[each] for each in OpenVINOEngine.precisions()}
    devices = torch_devices(wanted.device)
    torch: Makers = {
        each: partial(
            on_devices, devices, partial(TorchEngine, precision=each, threads=threads, mode=wanted.mode, cache=cache)
        )
        for each in reversed(PRECISIONS)
    }
    return torch, {each: torch[each] for each in precisions(devices[0].partition(":")[0])}


def _floats(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)
