"""The table of the models of transformers that ``hf/…`` knows. A model is a row here, not code.

A row says where a tower is inside the model, which of its outputs is the vector, and which tensors of a checkpoint
belong to it. Everything else (sizes, activations, preprocessing) is read from the repository.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    @property
    def output(self) -> str:
        """What the projected vector is, for `EncoderSpec.output`."""
        return "projected, of unit length" if self.unit else "projected"

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
class PatchTower(Tower):
    """An image network that takes patches of images, which keep their shape (NaFlex). It gives no tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioTower(Tower):
    """A network of sounds, which takes CLAP's spectra."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveTower(Tower):
    """A network of sounds, which takes waveforms of any length.

    Attributes:
        pooled: True if the vector is the projected pooled output, False if it is the mean of the projected frames.
    """

    pooled: bool = True

    @property
    def output(self) -> str:
        return "projected" if self.pooled else "projected, mean of frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTower(Tower):
    """A text network.

    Attributes:
        padded: True if every text is padded to the longest length that the network takes, as it was trained.
        reserved: positions of the network that no token can have.
        lower: True if it was trained on texts in lower case.
        pooled: True if the vector is the network's pooled output, False if it is the first token after the final norm.
    """

    padded: bool = True
    reserved: int = 0
    lower: bool = False
    pooled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The models of one ``model_type`` in config.json.

    Attributes:
        model: name of the class in transformers.
        assets: its tower of images or of sounds.
        text: its tower of texts in the same space; None if it has none.
        parts: where config.json has the configurations of the parts, as dotted paths by the name that the class gives
            them, if this model is itself a part of the one described there.
        prefixes: starts of the names of tensors that other classes add, e.g. a classifier around the tower.
        unused: starts of the names of tensors that no tower needs.
        options: further arguments of the class.
    """

    model: str
    assets: ImageTower | PatchTower | AudioTower | WaveTower
    text: TextTower | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
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
_SIGLIP_TEXT = TextTower(trunk="text_model", config="text_config", lower=True)
_PE_AUDIO = WaveTower(trunk="audio_encoder", projection="audio_head", config="audio_config")
_PE_TEXT = TextTower(trunk="text_model", projection="text_audio_head", config="text_config", padded=False, pooled=False)

FAMILIES: Mapping[str, Family] = {
    "clip": Family(model="CLIPModel", assets=_CLIP_IMAGE, text=_CLIP_TEXT),
    "metaclip_2": Family(model="MetaClip2Model", assets=_CLIP_IMAGE, text=_CLIP_TEXT),
    "siglip": Family(
        model="SiglipModel",
        assets=ImageTower(trunk="vision_model", prefix=0, processor="Siglip", config="vision_config"),
        text=_SIGLIP_TEXT,
    ),
    "siglip2": Family(
        model="Siglip2Model", assets=PatchTower(trunk="vision_model", config="vision_config"), text=_SIGLIP_TEXT
    ),
    "clip_vision_model": Family(model="CLIPVisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "metaclip_2_vision_model": Family(model="MetaClip2VisionModel", assets=_CLIP_VISION, prefixes=("vision_model.",)),
    "siglip_vision_model": Family(
        model="SiglipVisionModel", assets=ImageTower(prefix=0, processor="Siglip"), prefixes=("vision_model.",)
    ),
    "siglip2_vision_model": Family(model="Siglip2VisionModel", assets=PatchTower(), prefixes=("vision_model.",)),
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
    "pe_audio": Family(model="PeAudioModel", assets=_PE_AUDIO, text=_PE_TEXT),
    "pe_audio PeAudioFrameLevelModel": Family(
        model="PeAudioFrameLevelModel", assets=replace(_PE_AUDIO, pooled=False), text=_PE_TEXT
    ),
    "pe_audio_video": Family(
        model="PeAudioModel",
        assets=_PE_AUDIO,
        text=_PE_TEXT,
        parts={"text_config": "text_config", "audio_config": "audio_video_config.audio_config"},
        prefixes=("audio_model.",),
        unused=("video_model.", "audio_video_", "text_audio_video_", "audio_plus_text_", "video_plus_text_"),
    ),
}
"""Families by the ``model_type`` in config.json, or by this and the class that it names among its architectures."""

ELSEWHERE: Mapping[str, str] = {
    "timm_wrapper": "give it as timm/<model>",
    "pe_video": "it has no images or sounds; timm/vit_pe_core_… embeds images",
    "clip_text_model": "it has no images or sounds; take the whole model",
}
"""Other model types that users meet, and what to do instead."""
