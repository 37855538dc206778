"""An encoder from a blueprint and an engine."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder import probe
from embedder.encoder import Blueprint, Embedding, Engine, Graph, Run, Tokenise, require_modality
from embedder.engines.cache import Cache, default_folder
from embedder.engines.torch_engine import Backend, TorchEngine
from embedder.media import Media, modality_of
from embedder.media.image import fit
from embedder.spec import EncoderSpec, ImagePreprocessing, Modality


class GraphEncoder:
    """Implements `embedder.encoder.Encoder`. A network is compiled when it is first used.

    Calls from several threads take turns at the engine, so a service can backfill while it answers.
    """

    def __init__(self, name: str, blueprint: Blueprint, engine: Engine, cache: Cache) -> None:
        self.name = name
        self.spec: EncoderSpec = blueprint.spec
        self.backend = engine.name
        self.blueprint = blueprint
        self._engine = engine
        self._cache = cache
        self._compiled: dict[str, Run] = {}
        self._turn = Lock()
        self._tokenise: Tokenise | None = None

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
        vectors, *rest = self._run(graph, [inputs.reshape(-1, *port.shape)])
        if tower and tower.views:
            vectors = vectors.reshape(len(inputs), tower.views, -1).mean(axis=1)
        return Embedding(_floats(vectors), rest[0].astype(np.float16) if rest else None)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        blueprint = self.blueprint
        if blueprint.text is None or blueprint.tokeniser is None:
            raise ValueError(f"{self.name} takes no text; use an encoder with a text side, e.g. lite0")
        if isinstance(texts, str):
            raise ValueError(f"a list of texts is needed, not the one text {texts!r}")
        if not texts:
            return np.zeros((0, self.spec.dim), np.float32)
        if self._tokenise is None:
            self._tokenise = blueprint.tokeniser()
        return _floats(self._run(blueprint.text, self._tokenise(texts))[0])

    def reference_probe(self) -> NDArray[np.float32]:
        """Kept in the cache, so that a process with converted models need not import torch for it."""
        key = f"probe-{self.spec.fingerprint[:32]}-{probe.REVISION}"
        folder = self._cache.folder(key, lambda folder: np.save(folder / "vectors.npy", self._reference()))
        return _floats(np.load(folder / "vectors.npy", allow_pickle=False))

    def _reference(self) -> NDArray[np.float32]:
        return probe.embed(GraphEncoder(self.name, self.blueprint, TorchEngine("cpu", "fp32"), self._cache))

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
        with self._turn:
            if graph.key not in self._compiled:
                self._compiled[graph.key] = self._engine.compile(graph)
            return self._compiled[graph.key](inputs)


def assemble(
    name: str, blueprint: Blueprint, backend: str, cache_dir: Path | None = None, threads: int | None = None
) -> GraphEncoder:
    """The blueprint on the engine that `backend` asks for (see `embedder.registry.load`)."""
    cache = Cache(cache_dir or default_folder())
    wanted = Backend.parse(backend).resolve()
    engine: Engine
    if wanted.engine == "openvino":
        from embedder.engines.openvino_engine import OpenVINOEngine

        engine = OpenVINOEngine(cache, wanted.precision, threads)
    else:
        engine = TorchEngine(wanted.device, wanted.precision, threads, wanted.mode)
    return GraphEncoder(name, blueprint, engine, cache)


def _floats(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)
