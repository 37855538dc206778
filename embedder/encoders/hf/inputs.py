"""How the images or sounds of a model are prepared, and which network takes them: one class for each kind of tower."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from embedder.encoder import Blueprint, Graph, Port, Tower, VaryingTower, image_blueprint
from embedder.encoders.hf import sounds, waves
from embedder.encoders.hf.families import AudioTower, ImageTower, PatchTower, WaveTower
from embedder.encoders.hf.model import Source
from embedder.encoders.hf.networks import Images, Patches, Spectra, Waves
from embedder.spec import AudioPreprocessing, EncoderSpec, ImagePreprocessing
from embedder.weights import hub_folder

LIBRARIES = ("transformers",)
"""Distributions whose version may change a converted network."""

Build = Callable[[bool], torch.nn.Module]
"""Makes the network; True asks for tokens."""


class Inputs(Protocol):
    """How the assets of a model become the input of its network."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """The field of `EncoderSpec` that describes the preparation, by its name."""

    @property
    def example(self) -> Port:
        """One row as the network takes it."""

    def network(self, model: Any, tokens: bool, /) -> torch.nn.Module:
        """Return the network of a loaded model. It returns (vectors,), or (vectors, tokens) if it can and is asked."""

    def blueprint(self, spec: EncoderSpec, build: Build) -> Blueprint:
        """Return the blueprint, without texts."""


@dataclass(frozen=True)
class _Pictures:
    image: ImagePreprocessing

    @property
    def preprocessing(self) -> Mapping[str, ImagePreprocessing]:
        return {"image": self.image}

    def blueprint(self, spec: EncoderSpec, build: Build) -> Blueprint:
        return image_blueprint(spec, LIBRARIES, build)


@dataclass(frozen=True)
class _Squares(_Pictures):
    part: ImageTower
    config: Any

    @classmethod
    def of(cls, source: Source, part: ImageTower) -> "_Squares":
        size = None if part.any_size else source.tower_config(part).image_size
        return cls(hub_folder.preprocessing(source.folder, size, part.processor), part, source.config)

    @property
    def example(self) -> Port:
        return Port((3, self.image.size, self.image.size), "float32")

    def network(self, model: Any, tokens: bool, /) -> torch.nn.Module:
        return Images(model, self.part, self.config, tokens)


@dataclass(frozen=True)
class _Patches(_Pictures):
    part: PatchTower

    @classmethod
    def of(cls, source: Source, part: PatchTower) -> "_Patches":
        size = source.tower_config(part).patch_size
        return cls(hub_folder.preprocessing(source.folder, size, "Siglip2"), part)

    @property
    def example(self) -> Port:
        return Port(self.image.shape, "uint8")

    def network(self, model: Any, _tokens: bool, /) -> torch.nn.Module:
        return Patches(model, self.part, self.image)  # images have unequal numbers of tokens, so there are none


@dataclass(frozen=True)
class _Sounds(ABC):
    settings: Any

    @property
    def preprocessing(self) -> Mapping[str, AudioPreprocessing]:
        return {"audio": self.settings.spec}

    @property
    @abstractmethod
    def example(self) -> Port: ...

    @property
    def port(self) -> Port:
        """The input of the network: one row, or rows of any length."""
        return self.example

    def blueprint(self, spec: EncoderSpec, build: Build) -> Blueprint:
        key = f"{spec.fingerprint} audio"
        graph = Graph(key=key, libraries=LIBRARIES, build=partial(build, False), ports=(self.port,))
        return Blueprint(spec=spec, towers={"audio": self.tower(graph)})

    @abstractmethod
    def tower(self, graph: Graph) -> Tower: ...


@dataclass(frozen=True)
class _Spectra(_Sounds):
    settings: sounds.Settings
    part: AudioTower

    @classmethod
    def of(cls, source: Source, part: AudioTower) -> "_Spectra":
        return cls(sounds.Settings.of(source.folder), part)

    @property
    def example(self) -> Port:
        return Port((1, self.settings.frames, self.settings.bands), "float32")

    def network(self, model: Any, _tokens: bool, /) -> torch.nn.Module:
        return Spectra(model, self.part)

    def tower(self, graph: Graph) -> Tower:
        return Tower(graph, partial(sounds.prepare, self.settings), sounds.CLIPS)


@dataclass(frozen=True)
class _Waves(_Sounds):
    settings: waves.Settings
    part: WaveTower

    @classmethod
    def of(cls, source: Source, part: WaveTower) -> "_Waves":
        return cls(waves.Settings.of(source.folder, source.tower_config(part).dac_config.hop_length), part)

    @property
    def example(self) -> Port:
        return Port((1, self.settings.hop), "float32")

    def network(self, model: Any, _tokens: bool, /) -> torch.nn.Module:
        return Waves(model, self.part)

    @property
    def port(self) -> Port:
        return Port((-1, self.settings.hop), "float32")

    def tower(self, graph: Graph) -> Tower:
        return VaryingTower(
            graph=graph,
            prepare=partial(waves.prepare, self.settings),
            largest=(1 + self.settings.frames, self.settings.hop),
            cut=waves.cut,
        )


_KINDS: Mapping[type, Callable[[Source, Any], Inputs]] = {
    ImageTower: _Squares.of,
    PatchTower: _Patches.of,
    AudioTower: _Spectra.of,
    WaveTower: _Waves.of,
}


def inputs_of(source: Source) -> Inputs:
    """Return the inputs of the model in a folder. Raises WeightsError for preparation that is not supported."""
    return _KINDS[type(source.family.assets)](source, source.family.assets)
