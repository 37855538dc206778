"""The table of the models of transformers that ``hf/…`` knows. A model is a row here, not code.

A row says where a tower is inside the model, which of its outputs is the vector, and which tensors of a checkpoint
belong to it. Everything else (sizes, activations, preprocessing) is read from the repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Tower:
    """One network inside a model of transformers. Paths are dotted; an empty path is the model itself.

    Attributes:
        trunk: path of the network.
        projection: path of the layer that follows its pooled output; empty if none does.
        unit: True if the vector is scaled to length 1 after the projection.
        config: name of its configuration inside the model's; empty if the model is the tower.
    """

    trunk: str = ""
    projection: str = ""
    unit: bool = False
    config: str = ""

    def owns(self, name: str) -> bool:
        """True if a tensor of this name in a checkpoint belongs to the tower."""
        paths = [path for path in (self.trunk, self.projection) if path]
        return not paths or name.startswith(tuple(f"{path}." for path in paths))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTower(Tower):
    """An image network.

    Attributes:
        pooled: True if the vector is the network's pooled output, False if it is the class token after the final norm.
        prefix: number of tokens before those of the patches, not counting registers.
        norm: path of a norm that the patch tokens of the last layer have not passed yet.
        processor: image processor of a repository that does not name one, see `embedder.weights.preprocessor`.
        any_size: True if the network takes images of other sizes than the one in its configuration.
    """

    pooled: bool = True
    prefix: int = 1
    norm: str = ""
    processor: str = "CLIP"
    any_size: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTower(Tower):
    """A network of sounds, which takes CLAP's spectra."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTower(Tower):
    """A text network.

    Attributes:
        padded: True if every text is padded to the longest length that the network takes, as it was trained.
        reserved: positions of the network that no token can have.
    """

    padded: bool = True
    reserved: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The models of one ``model_type`` in config.json.

    Attributes:
        model: name of the class in transformers.
        assets: its tower of images or of sounds.
        text: its tower of texts in the same space; None if it has none.
        prefixes: starts of the names of tensors that other classes add, e.g. a classifier around the tower.
        unused: starts of the names of tensors that no tower needs.
        options: further arguments of the class.
    """

    model: str
    assets: ImageTower | AudioTower
    text: TextTower | None = None
    prefixes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


_CLIP_IMAGE = ImageTower(
    trunk="vision_model", projection="visual_projection", norm="vision_model.post_layernorm", config="vision_config"
)
_CLIP_TEXT = TextTower(trunk="text_model", projection="text_projection", config="text_config")
_CLIP_VISION = ImageTower(norm="post_layernorm")
_DINO = ImageTower(processor="Bit", any_size=True)
_DINOV3 = ImageTower(processor="DINOv3ViT", any_size=True)
_CLASSIFIER = ("classifier.",)

FAMILIES: Mapping[str, Family] = {
    "clip": Family(model="CLIPModel", assets=_CLIP_IMAGE, text=_CLIP_TEXT),
    "metaclip_2": Family(model="MetaClip2Model", assets=_CLIP_IMAGE, text=_CLIP_TEXT),
    "siglip": Family(
        model="SiglipModel",
        assets=ImageTower(trunk="vision_model", prefix=0, processor="Siglip", config="vision_config"),
        text=TextTower(trunk="text_model", config="text_config"),
    ),
    "clip_vision_model": Family(model="CLIPVisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "metaclip_2_vision_model": Family(model="MetaClip2VisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "siglip_vision_model": Family(
        model="SiglipVisionModel", assets=ImageTower(prefix=0, processor="Siglip"), prefixes=("vision_model.",)
    ),
    "mlcd_vision_model": Family(model="MLCDVisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "mlcd": Family(model="MLCDVisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "dinov2": Family(model="Dinov2Model", assets=_DINO, prefixes=("dinov2.",), unused=_CLASSIFIER),
    "dinov2_with_registers": Family(
        model="Dinov2WithRegistersModel", assets=_DINO, prefixes=("dinov2_with_registers.",), unused=_CLASSIFIER
    ),
    "dinov3_vit": Family(model="DINOv3ViTModel", assets=_DINOV3),
    "dinov3_convnext": Family(model="DINOv3ConvNextModel", assets=_DINOV3),
    "vit": Family(
        model="ViTModel",
        assets=ImageTower(pooled=False, processor="ViT"),
        prefixes=("vit.",),
        unused=(*_CLASSIFIER, "pooler."),
        options={"add_pooling_layer": False},
    ),
    "clap": Family(
        model="ClapModel",
        assets=AudioTower(trunk="audio_model", projection="audio_projection", unit=True, config="audio_config"),
        text=TextTower(
            trunk="text_model", projection="text_projection", unit=True, config="text_config", padded=False, reserved=2
        ),
    ),
}
"""Families by the ``model_type`` in config.json."""

ELSEWHERE: Mapping[str, str] = {
    "siglip2": "its images keep their shape (NaFlex); take a variant of one size, e.g. google/siglip2-base-patch16-224",
    "timm_wrapper": "give it as timm/<model>",
    "pe_audio": "its sounds have no one length, which is not supported yet; CLAP embeds sounds and texts",
    "pe_audio_video": "not supported yet; CLAP embeds sounds and texts, and timm/vit_pe_core_… images",
    "clip_text_model": "it has no images or sounds; take the whole model",
}
"""Other model types that users meet, and what to do instead."""
