"""ImageBind (Girdhar et al., CVPR 2023): pictures, texts, sounds, depth, thermal images, motion, videos in one space.

Vectors are what the authors' ``ImageBindModel.forward`` gives: projected, of length 1, times the scale of their
modality: images and videos 1, texts at most 100 (learned), sounds 20, thermal images 10, depth and motion 5; of several
clips or views the mean, so shorter. They are stored so; cosines do not see scales, heads that use lengths do.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.encoder import Blueprint, Graph, Port, Tokenise
from embedder.encoder import Tower as Side
from embedder.encoders.imagebind import fetch, prepare
from embedder.encoders.imagebind.model import HEADS, Checkpoint, Motions, Pictures, Views, library
from embedder.errors import UnknownEncoder
from embedder.probe import TEXTS
from embedder.spec import EncoderSpec
from embedder.weights import checkpoint as weights
from embedder.weights.checkpoint import State

NAME = "huge"
_LIBRARIES = ("imagebind-unofficial", "timm")
_CONTEXT = 77


def blueprint(name: str, folder: Path) -> Blueprint:
    """The encoder ``huge``, whose weights are or come into `folder`, or ``huge@<file>``. Reads the weights.

    A file may hold smaller dimensions (see `Checkpoint.of`).

    Raises UnknownEncoder, WeightsError, and ModuleNotFoundError where the extra `imagebind` is not installed.
    """
    model, at, path = name.partition("@")
    if model != NAME or (at and not path):
        raise UnknownEncoder(f"imagebind/{name}", [f"imagebind/{NAME}", f"imagebind/{NAME}@<checkpoint file>"])
    library("models.imagebind_model")  # missing? say so before the weights are fetched
    checkpoint = Checkpoint.of(Path(path).expanduser() if at else fetch.checkpoint(folder))
    spec = _spec(checkpoint)

    def graph(part: str, shape: tuple[int, ...], dtype: str, build: Callable[[], torch.nn.Module]) -> Graph:
        normalise = spec.image if part == "image" else None
        port = (Port(shape, dtype),)
        return Graph(
            key=f"{spec.fingerprint} {part}", libraries=_LIBRARIES, build=build, ports=port, normalise=normalise
        )

    def floats(part: str, *shape: int) -> Graph:
        return graph(part, shape, "float32", partial(checkpoint.build, part))

    size, video = prepare.IMAGE.size, prepare.VIDEO
    return Blueprint(
        spec=spec,
        image=graph("image", (size, size, 3), "uint8", partial(_pictures, checkpoint)),
        text=graph("text", (_CONTEXT,), "int64", partial(checkpoint.build, "text")),
        tokeniser=_tokeniser,
        towers={
            "audio": Side(floats("audio", 1, prepare.AUDIO.bands, prepare.FRAMES), prepare.sound, prepare.AUDIO.parts),
            "depth": Side(floats("depth", 1, prepare.DEPTH.size, prepare.DEPTH.size), prepare.depth),
            "thermal": Side(floats("thermal", 1, prepare.THERMAL.size, prepare.THERMAL.size), prepare.thermal),
            "imu": Side(
                graph("imu", (6, prepare.MOTION.samples), "float32", partial(_motions, checkpoint)), prepare.motion
            ),
            "video": Side(
                graph("video", (video.frames, size, size, 3), "uint8", partial(_views, checkpoint)),
                prepare.video,
                video.clips * video.crops,
            ),
        },
    )


def _pictures(checkpoint: Checkpoint) -> torch.nn.Module:
    return weights.frozen(Pictures(checkpoint.build("vision")))


def _views(checkpoint: Checkpoint) -> torch.nn.Module:
    return weights.frozen(Views(checkpoint.build("vision"), prepare.IMAGE))


def _motions(checkpoint: Checkpoint) -> torch.nn.Module:
    return weights.frozen(Motions(checkpoint.build("imu")))


def _spec(checkpoint: Checkpoint) -> EncoderSpec:
    state = checkpoint.read()
    is_text = {name: name.split(".")[1] == "text" for name in state}
    usual = checkpoint.heads == HEADS
    return EncoderSpec(
        architecture=f"imagebind:{NAME}" if usual else f"imagebind: heads {sorted(checkpoint.heads.items())}",
        weights=weights.digest({name: tensor for name, tensor in state.items() if not is_text[name]}),
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
    """Over tensors and tokeniser: what the tokeniser makes of some texts stands for its vocabulary."""
    ids = _tokeniser()(TEXTS)[0]
    parts = [weights.digest(state), hashlib.sha256(ids.tobytes()).hexdigest()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _tokeniser() -> Tokenise:
    module = library("models.multimodal_preprocessors")
    vocabulary = Path(module.__file__).parents[1] / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    tokenizer = module.SimpleTokenizer(bpe_path=str(vocabulary))

    def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
        return (tokenizer(list(texts)).numpy().reshape(len(texts), _CONTEXT).astype(np.int64),)

    return tokenise
