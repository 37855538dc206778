"""The interface of every encoder (`Encoder`), and the data that describes a built-in encoder (`Blueprint`)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embedder.errors import MODALITY_NAMES, BadMedia
from embedder.media import Limits, Media
from embedder.media.plain_jpegs import PlainJpeg
from embedder.spec import EncoderSpec, ImagePreprocessing, Modality
from embedder.trainable import Trainable

if TYPE_CHECKING:
    import torch

Tokenise = Callable[[Sequence[str]], tuple[NDArray[np.int64], ...]]
"""n texts → the inputs of the text network, each with n rows."""

Stage = Callable[[Literal["decode", "prepare"], int], AbstractContextManager[object]]
"""Called with the name of a stage and a number of images. The block in its context is the stage's work."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """The result of one call of `Encoder.embed`. Row i belongs to input i.

    Attributes:
        vectors: (n, d) float32, raw: neither normalised nor centred.
        tokens: (n, P, F) float16, raw; None if the call did not ask for tokens.
    """

    vectors: NDArray[np.float32]
    tokens: NDArray[np.float16] | None = None


class Encoder(Protocol):
    """A frozen network with its preprocessing. `embedder.registry.load` makes one from a name.

    All methods may be called from any thread, and by several threads at once.
    """

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> EncoderSpec: ...
    @property
    def backend(self) -> str:
        """The engine that runs the network, e.g. ``openvino-bf16`` or ``torch-cuda-fp16``."""

    def prepare(self, media: Media) -> NDArray[Any]:
        """Return the network's input for a decoded asset; for an image uint8 of `spec.image.shape`. Runs no model.

        Raises BadMedia: with reason "wrong_modality" if the encoder does not take this modality.
        """

    def embed(self, inputs: NDArray[Any], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        """Return the vectors of n ≥ 0 prepared assets of one modality, and their tokens if `tokens` is True.

        Args:
            inputs: the arrays that `prepare` returned, stacked along a new first axis.

        Raises ValueError for a wrong shape or dtype, and for tokens that the encoder does not give.
        """

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors (n, d) float32 of n texts, in the space of the assets.

        Raises ValueError if the encoder takes no text.
        """

    def reference_probe(self) -> NDArray[np.float32]:
        """Return the vectors (m, d) of `embedder.probe`, computed in fp32 by torch on the CPU, whatever the backend."""


@dataclass(frozen=True, slots=True)
class Bank:
    """Labels that an encoder knows without training: the 1,000 classes of ImageNet.

    The scores of a vector v are ``weights v + bias``. Without a classifier of its own, an encoder scores by cosines.

    Attributes:
        weights: (K, d) float32.
        bias: (K,) float32.
        texts: the mean text vector of each label, norm 1, (K, d) float32.
        unit: True if vectors must be scaled to norm 1 first.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    texts: NDArray[np.float32]
    unit: bool = False


@runtime_checkable
class HasBank(Protocol):
    """An encoder that may know labels without training."""

    def bank(self) -> Bank | None:
        """Return the labels that the encoder knows; None if it takes no text."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The calls that keep an engine busy. More rows or more calls at once make no call faster.

    Attributes:
        rows: rows of one call.
        lanes: number of calls at once. With two, a GPU receives the rows of one call while it computes the other.
    """

    rows: int = 32
    lanes: int = 1


@runtime_checkable
class HasPace(Protocol):
    """An encoder that knows which calls keep it busy."""

    def pace(self, modality: Modality) -> Pace:
        """Return the calls that keep the network of one modality busy. The first call on a GPU takes seconds."""


def pace_of(encoder: Encoder, modality: Modality) -> Pace:
    """Return the calls that keep an encoder busy. Encoders that do not know it get one call of 32 rows at a time."""
    return encoder.pace(modality) if isinstance(encoder, HasPace) else Pace()


@runtime_checkable
class HasPrecisions(Protocol):
    """An encoder whose engine can compute in several precisions."""

    def variants(self) -> Mapping[str, Callable[[], Encoder]]:
        """Return functions that make this encoder in each precision of its engine, by precision, fastest first."""


JPEG_BATCH, JPEG_BATCHES = 64, 2
"""JPEGs in one batch of a `JpegDecoder`, and the batches at once: while one is decoded, others are resized and copied.
"""


class JpegDecoder(Protocol):
    """Makes the encoder's input from many JPEGs at once, as decoding and `Encoder.prepare` do, but faster.

    Attributes:
        fewest: number of files at once from which on it was measured to be faster than the threads of the CPU.
    """

    fewest: int

    def take(self, data: bytes) -> PlainJpeg | None:
        """Return what `rows` takes, or None for a file that must be decoded the usual way."""

    def rows(self, files: Sequence[PlainJpeg], stage: Stage = ...) -> list[NDArray[np.uint8] | None]:
        """Return the (size, size, 3) uint8 input made from each file; None if it must be decoded the usual way.

        Args:
            stage: measures the two stages of the work.
        """


@runtime_checkable
class HasJpegDecoder(Protocol):
    """An encoder that may have a decoder for many JPEGs at once."""

    def jpeg_decoder(self, limits: Limits, user: Encoder | None = None) -> JpegDecoder | None:
        """Return the decoder; None if there is none, if it changes vectors, or if it is not faster.

        Args:
            user: an encoder derived from this one, whose vectors must stay the same.
        """


def jpeg_decoder(encoder: Encoder, limits: Limits) -> JpegDecoder | None:
    """Return the decoder of many JPEGs at once for an encoder; None to decode all files the usual way."""
    return encoder.jpeg_decoder(limits) if isinstance(encoder, HasJpegDecoder) else None


def require_modality(name: str, spec: EncoderSpec, modality: Modality) -> Modality:
    """Return the modality. Raises BadMedia if the encoder `name` does not take it."""
    if modality not in spec.modalities:
        takes = " and ".join(MODALITY_NAMES[each][1] for each in spec.modalities) or "text only"
        raise BadMedia("wrong_modality", f"{name} takes {takes}; this file is {MODALITY_NAMES[modality][0]}")
    return modality


@dataclass(frozen=True, slots=True)
class Port:
    """One input of a network: its shape without the batch axis (−1 means any length) and its dtype."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A network as data: enough to find it in a cache, and to build it if it is not there.

    Attributes:
        key: identity of its numbers. Graphs with equal keys may share one converted model.
        libraries: distributions whose version may change the converted model.
        build: makes the fp32 CPU module in eval mode. It takes positional inputs and returns a tuple, batch axis first.
        ports: the inputs. An image network has one, uint8 of `ImagePreprocessing.shape`.
        normalise: set for networks of square images. The module then takes (n, 3, size, size) float32, scaled to
            [0, 1], minus `mean`, divided by `std`. Engines do this part, because they can merge it with the network.
        keep_fp32: submodules (dotted paths in the module) that engines leave in fp32 when they compute in bf16.
        bf16: a graph with nearly the same results that loses less precision in bf16; None if there is none.
    """

    key: str
    libraries: tuple[str, ...]
    build: Callable[[], "torch.nn.Module"]
    ports: tuple[Port, ...]
    normalise: ImagePreprocessing | None = None
    keep_fp32: tuple[str, ...] = ()
    bf16: "Graph | None" = None


@dataclass(frozen=True, slots=True)
class Tower:
    """The network of a modality other than images and texts.

    Attributes:
        graph: has one input and returns (vectors,).
        prepare: makes that input from a decoded asset.
        views: number of views (clips or crops) that `prepare` makes along a first axis. The asset's vector is the mean
            of their vectors. None if `prepare` makes one input without that axis.
    """

    graph: Graph
    prepare: Callable[[Any], NDArray[Any]]
    views: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that `prepare` returns."""
        return (self.views, *self.graph.ports[0].shape) if self.views else self.graph.ports[0].shape

    def rows(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Return rows (m, …) that the network takes together, of n ≥ 1 prepared assets (n, …)."""
        return inputs.reshape(-1, *self.graph.ports[0].shape)

    def embed(self, run: "Run", inputs: NDArray[Any]) -> NDArray[Any]:
        """Return vectors (n, d) of n ≥ 1 prepared assets (n, …).

        Args:
            run: the network on an engine.
        """
        vectors = run([self.rows(inputs)])[0]
        return vectors.reshape(len(inputs), self.views, -1).mean(axis=1) if self.views else vectors


Cut = Callable[[NDArray[Any]], Iterable[tuple[NDArray[np.intp], NDArray[Any]]]]
"""n ≥ 1 prepared assets → (assets (m,), rows (m, …)), several times: rows of one length, and which asset each is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaryingTower(Tower):
    """The network of a modality whose assets differ in length. Assets of one length pass it together, without padding.

    Attributes:
        largest: shape of the array that `prepare` returns, whatever the length of the asset.
        cut: takes prepared assets apart, each into one row or more. The vector of an asset is the mean of its rows'.
    """

    largest: tuple[int, ...]
    cut: Cut

    @property
    def shape(self) -> tuple[int, ...]:
        return self.largest

    def rows(self, inputs: NDArray[Any]) -> NDArray[Any]:
        return next(iter(self.cut(inputs)))[1]

    def embed(self, run: "Run", inputs: NDArray[Any]) -> NDArray[Any]:
        parts = [(assets, run([rows])[0]) for assets, rows in self.cut(inputs)]
        assets, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(assets, kind="stable")
        counts = np.bincount(assets, minlength=len(inputs))
        return np.add.reduceat(vectors[order], np.cumsum(counts) - counts) / counts[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Everything that makes an encoder, except the engine.

    Attributes:
        image: network that returns (vectors,); None if the encoder takes no images.
        image_tokens: network that returns (vectors, tokens).
        text: network that returns (vectors,) for the tokeniser's output.
        tokeniser: makes the tokeniser, at the first use.
        towers: networks of the modalities other than images and texts.
        classifier: returns the (weights (1000, d), bias (1000,)) of ImageNet's classes on vectors; None without one.
        trainable: makes a copy of the image network for training; None if it cannot be trained.
    """

    spec: EncoderSpec
    image: Graph | None = None
    image_tokens: Graph | None = None
    text: Graph | None = None
    tokeniser: Callable[[], Tokenise] | None = None
    towers: Mapping[Modality, Tower] = field(default_factory=dict)
    classifier: Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None
    trainable: Callable[[], Trainable] | None = None


def image_blueprint(
    spec: EncoderSpec, libraries: tuple[str, ...], build: "Callable[[bool], torch.nn.Module]"
) -> Blueprint:
    """Return the blueprint of an encoder that takes images only.

    Args:
        libraries: see `Graph`.
        build: makes the network that returns (vectors,), or (vectors, tokens) if its argument is True. It is called
            with True only if `spec` has tokens.
    """
    if spec.image is None:
        raise ValueError(f"{spec.architecture} does not say how images are prepared: its spec needs `image`")
    port, normalise = Port(spec.image.shape, "uint8"), spec.image if spec.image.patches is None else None

    def graph(part: str, tokens: bool) -> Graph:
        return Graph(
            key=f"{spec.fingerprint} {part}",
            libraries=libraries,
            build=partial(build, tokens),
            ports=(port,),
            normalise=normalise,
        )

    with_tokens = graph("image and tokens", True) if spec.tokens else None
    return Blueprint(spec=spec, image=graph("image", False), image_tokens=with_tokens)


@dataclass(frozen=True, slots=True)
class Network:
    """A network that can be exported: a graph, rows to try it with, and the adapters that follow it.

    Attributes:
        rows: a few rows of each input.
        outputs: names of the outputs.
        adapters: arrays of the adapters (`embedder.derived.adapter.Adapter`) that are applied to the vectors after the
            graph, in this order.
    """

    graph: Graph
    rows: tuple[NDArray[Any], ...]
    outputs: tuple[str, ...] = ("vectors",)
    adapters: tuple[Mapping[str, NDArray[np.float32]], ...] = ()


@runtime_checkable
class HasNetworks(Protocol):
    """An encoder that consists of networks, which other runtimes can run."""

    def networks(self) -> Mapping[str, Network]:
        """Return the networks by name. Raises ExportFailed if only another encoder's networks can be exported."""


class Run(Protocol):
    """A network on an engine. Several threads may call it at once."""

    @property
    def pace(self) -> Pace:
        """The calls that keep the engine busy with this network."""

    def __call__(self, inputs: Sequence[NDArray[Any]], /) -> list[NDArray[Any]]:
        """Return the outputs, with n rows each, for inputs with n ≥ 1 rows each."""


class Engine(Protocol):
    """Runs networks. One object holds the device, the precision and the threads."""

    @property
    def name(self) -> str:
        """Library, device, precision and mode, e.g. ``torch-cuda-fp16-compile``."""

    @property
    def machine(self) -> str:
        """The device and the version of the library: all that may change the numbers besides the precision."""

    def compile(self, graph: Graph) -> Run:
        """Return a function that runs the network."""
