"""ImageBind (Girdhar et al., CVPR 2023): images, texts, sounds, depth, thermal images, motion and videos in one space.

Vectors are those of the authors' ``ImageBindModel.forward``: projected, of length 1, times the scale of their modality:
images and videos 1, texts at most 100 (learned), sounds 20, thermal images 10, depth and motion 5. The vector of
several clips or views is their mean, so it is shorter. Vectors are stored with these lengths. Cosines ignore lengths;
some heads use them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.encoder import Blueprint, Encoder, Graph, Port, Tokenise, Tower
from embedder.encoders.imagebind import prepare
from embedder.encoders.imagebind.model import HEADS, Checkpoint, Images, Motions, Views, library
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder
from embedder.probe import TEXTS
from embedder.spec import EncoderSpec
from embedder.weights.checkpoint import State, digest, frozen
from embedder.weights.fetch import WebFile, fetch

NAME = "imagebind/huge"
URL = "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth"
SIZE = 4_803_584_173
"""Bytes of the file at `URL`."""
SHA256 = "d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157"
"""Digest of the file at `URL`. The authors state none; two public projects that fetched the file agree on this one."""

_LIBRARIES = ("imagebind-unofficial", "timm")
_CONTEXT = 77


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None, trust_checkpoint: bool = False) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    return assemble(name, blueprint(name, cache_dir, trusted=trust_checkpoint), backend, cache_dir, threads)


def blueprint(name: str, folder: Path, *, trusted: bool = False) -> Blueprint:
    """Return the blueprint of ``imagebind/huge`` or ``imagebind/huge@<file>``. Reads the weights.

    Args:
        folder: where the published weights are, or are downloaded to. Your own file may hold smaller dimensions
            (see `Checkpoint.of`).
        trusted: see `embedder.weights.checkpoint.read_state`.

    Raises UnknownEncoder, WeightsError, and ModuleNotFoundError if the extra `imagebind` is not installed.
    """
    model, at, path = name.partition("@")
    if model != NAME or (at and not path):
        raise UnknownEncoder(name, [NAME, f"{NAME}@<checkpoint file>"])
    library("models.imagebind_model")  # a missing library fails here, before the download
    checkpoint = replace(Checkpoint.of(Path(path).expanduser() if at else _published(folder)), trusted=trusted)
    spec = _spec(checkpoint)

    def graph(part: str, shape: tuple[int, ...], dtype: str, build: Callable[[], torch.nn.Module]) -> Graph:
        normalise = spec.image if part == "image" else None
        port = (Port(shape, dtype),)
        return Graph(
            key=f"{spec.fingerprint} {part}", libraries=_LIBRARIES, build=build, ports=port, normalise=normalise
        )

    def floats(part: str, *shape: int) -> Graph:
        return graph(part, shape, "float32", partial(checkpoint.build, part))

    size, video, audio = prepare.IMAGE.size, prepare.VIDEO, prepare.AUDIO
    depth, thermal, motion = prepare.DEPTH.size, prepare.THERMAL.size, prepare.MOTION.samples
    motions = graph("imu", (6, motion), "float32", partial(_motions, checkpoint))
    views = graph("video", (video.frames, size, size, 3), "uint8", partial(_views, checkpoint))
    return Blueprint(
        spec=spec,
        image=graph("image", (size, size, 3), "uint8", partial(_images, checkpoint)),
        text=graph("text", (_CONTEXT,), "int64", partial(checkpoint.build, "text")),
        tokeniser=_tokeniser,
        towers={
            "audio": Tower(floats("audio", 1, audio.bands, prepare.FRAMES), prepare.sound, audio.parts),
            "depth": Tower(floats("depth", 1, depth, depth), prepare.depth),
            "thermal": Tower(floats("thermal", 1, thermal, thermal), prepare.thermal),
            "imu": Tower(motions, prepare.motion),
            "video": Tower(views, prepare.video, video.clips * video.crops),
        },
    )


def _published(folder: Path) -> Path:
    """Return the published file, downloaded if necessary. Its sha256 is checked each time. Raises WeightsError."""
    return fetch(NAME, [WebFile(URL, folder / "imagebind_huge.pth", SHA256, SIZE)], own=f"{NAME}@FILE")


def _images(checkpoint: Checkpoint) -> torch.nn.Module:
    return frozen(Images(checkpoint.build("vision")))


def _views(checkpoint: Checkpoint) -> torch.nn.Module:
    return frozen(Views(checkpoint.build("vision"), prepare.IMAGE))


def _motions(checkpoint: Checkpoint) -> torch.nn.Module:
    return frozen(Motions(checkpoint.build("imu")))


def _spec(checkpoint: Checkpoint) -> EncoderSpec:
    state = checkpoint.read()
    is_text = {name: name.split(".")[1] == "text" for name in state}
    usual = checkpoint.heads == HEADS
    return EncoderSpec(
        architecture="imagebind:huge" if usual else f"imagebind: heads {sorted(checkpoint.heads.items())}",
        weights=digest({name: tensor for name, tensor in state.items() if not is_text[name]}),
        activation="gelu",
        output="projected, of unit length, scaled",
        dim=int(state["modality_heads.vision.2.weight"].shape[0]),
        image=prepare.IMAGE,
        audio=prepare.AUDIO,
        depth=prepare.DEPTH,
        thermal=prepare.THERMAL,
        imu=prepare.MOTION,
        video=prepare.VIDEO,
        text=_text_digest({name: tensor for name, tensor in state.items() if is_text[name]}),
    )


def _text_digest(state: State) -> str:
    """Return the sha256 over tensors and tokeniser. The ids of some texts represent its vocabulary."""
    ids = _tokeniser()(TEXTS)[0]
    parts = [digest(state), hashlib.sha256(ids.tobytes()).hexdigest()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _tokeniser() -> Tokenise:
    module = library("models.multimodal_preprocessors")
    vocabulary = Path(module.__file__).parents[1] / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    tokenizer = module.SimpleTokenizer(bpe_path=str(vocabulary))

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        return (tokenizer(list(texts)).numpy().reshape(len(texts), _CONTEXT).astype(np.int64),)

    return tokenise
