"""What an encoder is to the rest of the project, and the data that the built-in ones are described with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.errors import BadMedia
from embedder.media import Media
from embedder.spec import EncoderSpec, ImagePreprocessing, Modality

if TYPE_CHECKING:
    import torch

Tokenise = Callable[[Sequence[str]], tuple[NDArray[np.int64], ...]]
"""Texts → the text network's inputs, one row a text."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """What one call gives, row i from image i.

    Attributes:
        vectors: (n, d) float32, raw: neither normalised nor centred.
        tokens: (n, P, F) float16, raw; None unless asked for.
    """

    vectors: NDArray[np.float32]
    tokens: NDArray[np.float16] | None = None


class Encoder(Protocol):
    """A frozen network with its preprocessing. `embedder.registry.load` makes one from a name.

    All methods may be called from any thread; those that run the network take turns.
    """

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> EncoderSpec: ...
    @property
    def backend(self) -> str:
        """The engine that really runs, e.g. ``openvino-bf16`` or ``torch-cuda-fp16``."""

    def prepare(self, media: Media) -> NDArray[Any]:
        """A decoded asset → the network's input: of an image (size, size, 3) uint8. No model is involved.

        Raises BadMedia ("wrong_modality", or what else is wrong with this one).
        """

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        """n ≥ 0 prepared assets of one modality → n vectors. ValueError: wrong shape or dtype, or no tokens here."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """n texts → (n, d) float32 in the space of the assets. ValueError when the encoder takes no text."""

    def reference_probe(self) -> NDArray[np.float32]:
        """(m, d): the vectors of `embedder.probe` in fp32 torch on the CPU, whatever the backend."""


def require_modality(name: str, spec: EncoderSpec, modality: Modality) -> Modality:
    """The modality. Raises BadMedia when the encoder `name` does not take it."""
    if modality not in spec.modalities:
        takes = " and ".join(spec.modalities) or "text alone"
        raise BadMedia("wrong_modality", f"{name} takes {takes}, this is {modality}; use an encoder that takes it")
    return modality


@dataclass(frozen=True, slots=True)
class Port:
    """One input of a network: its shape without the batch (−1: varies from call to call) and its dtype."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network as data: enough to find it in a cache, and to build it when it is not there.

    Attributes:
        key: identity of the numbers it gives; equal keys may share one converted model.
        libraries: distributions whose version may change the converted model.
        build: the fp32 CPU module in eval mode, positional inputs → tuple of outputs, batch first.
        ports: its inputs. For an image network one, uint8 (size, size, 3).
        normalise: for an image network: the module gets (n, 3, size, size) float32, scaled to [0, 1], less `mean`,
            over `std`; engines do that, because they can fold it into the network.
        precise: submodules (dotted paths in the module) that engines leave in fp32 when they compute in bf16.
        bf16: a graph of nearly the same numbers that loses less in bf16, where there is one.
    """

    key: str
    libraries: tuple[str, ...]
    build: Callable[[], "torch.nn.Module"]
    ports: tuple[Port, ...]
    normalise: ImagePreprocessing | None = None
    precise: tuple[str, ...] = ()
    bf16: "Graph | None" = None


@dataclass(frozen=True, slots=True)
class Tower:
    """What one more modality goes through: `prepare` makes the one input of `graph`, which gives (vectors,).

    With `views` it makes so many, clips or crops, along a first axis: the vector is the mean of theirs.
    """

    graph: Graph
    prepare: Callable[[Any], NDArray[Any]]
    views: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what `prepare` makes."""
        return (self.views, *self.graph.ports[0].shape) if self.views else self.graph.ports[0].shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """All that makes an encoder but the engine.

    Attributes:
        image: network that gives (vectors,); None when the encoder takes no images.
        image_tokens: network that gives (vectors, tokens).
        text: network that gives (vectors,) from what the tokeniser made.
        tokeniser: makes the tokeniser, on first use.
        towers: of the modalities beside images and texts.
    """

    spec: EncoderSpec
    image: Graph | None = None
    image_tokens: Graph | None = None
    text: Graph | None = None
    tokeniser: Callable[[], Tokenise] | None = None
    towers: Mapping[Modality, Tower] = field(default_factory=dict)


def image_blueprint(
    spec: EncoderSpec, libraries: tuple[str, ...], build: "Callable[[bool], torch.nn.Module]"
) -> Blueprint:
    """Of an encoder that takes images alone.

    Args:
        libraries: as of `Graph`.
        build: the network that gives (vectors,), or for True (vectors, tokens); asked so where `spec` has tokens.
    """
    if spec.image is None:
        raise ValueError(f"{spec.architecture} says of no image how it is prepared")
    port = Port((spec.image.size, spec.image.size, 3), "uint8")

    def graph(part: str, tokens: bool) -> Graph:
        return Graph(
            key=f"{spec.fingerprint} {part}",
            libraries=libraries,
            build=partial(build, tokens),
            ports=(port,),
            normalise=spec.image,
        )

    with_tokens = graph("image and tokens", True) if spec.tokens else None
    return Blueprint(spec=spec, image=graph("image", False), image_tokens=with_tokens)


Run = Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]
"""Inputs of n ≥ 1 rows each → outputs of n rows each."""


class Engine(Protocol):
    """Runs networks. One object holds the device, the precision and the threads."""

    @property
    def name(self) -> str: ...
    def compile(self, graph: Graph) -> Run: ...
