"""Reads how transformers prepares images for a model, from the configuration that is saved beside the weights.

The processors in `PROCESSORS` do the same four steps (resize, crop, rescale, normalise) and differ only in their
defaults; only SigLIP 2's makes patches in place of a square. Others do more, so their names are refused: a plausible
wrong picture would give plausible wrong vectors.
"""

import math
from collections.abc import Mapping
from typing import Any

from embedder.media import patches
from embedder.spec import ImagePreprocessing

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_STEPS = ("do_resize", "do_rescale", "do_normalize")
_MOST_PATCHES = 65_535
"""Sides of a grid have 16 bits."""


def _defaults(size: Any, crop: bool, resample: int, mean: Any, std: Any) -> dict[str, Any]:
    crop_size = {"crop_size": 224} if crop else {}
    fields = {"size": size, "do_center_crop": crop, "resample": resample, "image_mean": mean, "image_std": std}
    return fields | crop_size


_SHORT, _SQUARE = {"shortest_edge": 224}, {"height": 224, "width": 224}
PROCESSORS: Mapping[str, Mapping[str, Any]] = {
    "CLIP": _defaults(_SHORT, True, 3, CLIP_MEAN, CLIP_STD),
    "Bit": _defaults(_SHORT, True, 3, CLIP_MEAN, CLIP_STD),
    "ViT": _defaults(_SQUARE, False, 2, _HALF, _HALF),
    "DeiT": _defaults({"height": 256, "width": 256}, True, 3, _HALF, _HALF),
    "Siglip": _defaults(_SQUARE, False, 3, _HALF, _HALF),
    "DINOv3ViT": _defaults(_SQUARE, False, 2, _IMAGENET_MEAN, _IMAGENET_STD),
    "Siglip2": {"patch_size": 16, "max_num_patches": 256, "resample": 2, "image_mean": _HALF, "image_std": _HALF},
}
"""transformers' image processors by name, without ``ImageProcessor``, and the defaults of their fields."""


def kind_of(fields: Mapping[str, Any]) -> str | None:
    """Return the name of the processor as in `PROCESSORS`; None if the file does not say it. It may be unknown."""
    name = fields.get("image_processor_type") or fields.get("feature_extractor_type")
    if not isinstance(name, str):
        return None
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        name = name.removesuffix(ending)
    return name


def of_size(kind: str, size: int) -> dict[str, Any]:
    """Return the fields that say how images are resized and cropped, for squares or patches of that side (pixels)."""
    usual = PROCESSORS[kind]
    return {name: dict.fromkeys(usual["size"], size) if name == "size" else size for name in usual if "size" in name}


def parse(fields: Mapping[str, Any], kind: str) -> ImagePreprocessing:
    """Return the preprocessing of a processor's saved fields.

    Args:
        kind: the processor of a file that does not name one.

    Raises ValueError or TypeError for what `ImagePreprocessing` cannot represent.
    """
    kind = kind_of(fields) or kind
    if kind not in PROCESSORS:
        raise ValueError(f"it says {kind}ImageProcessor; supported are {', '.join(PROCESSORS)} (…ImageProcessor)")
    found = dict(PROCESSORS[kind]) | {name: value for name, value in fields.items() if value is not None}
    _check_steps(found)
    cut = _patches(found) if "max_num_patches" in PROCESSORS[kind] else _square(found, PROCESSORS[kind])
    return ImagePreprocessing(
        interpolation=_INTERPOLATION[found["resample"]],
        mean=_three(found, "image_mean"),
        std=_three(found, "image_std"),
        **cut,
    )


def _square(found: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return size, resize and crop of a processor that makes squares, whose defaults are `usual`."""
    resize, squash = _resize(found["size"], "shortest_edge" in usual["size"])
    size = _length(found["crop_size"], "crop_size") if found["do_center_crop"] else resize
    if not (found["do_center_crop"] or squash):
        raise ValueError("it leaves out do_center_crop, so images keep their shape; supported are squares")
    if not 0 < size <= resize or (squash and (resize - size) % 2):
        raise ValueError(f"it says crop_size {size} and size {resize}; supported is a crop inside the resized image")
    # transformers starts at the whole pixel below the middle; torchvision rounds
    return {"size": size, "resize": resize, "crop": "squash" if squash else "centre-floor"}


def _patches(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return size, resize, crop and patches of a processor that keeps the shape of images."""
    size, most = _length(found["patch_size"], "patch_size"), _length(found["max_num_patches"], "max_num_patches")
    if most > _MOST_PATCHES:
        raise ValueError(f"it says max_num_patches {most}; supported are at most {_MOST_PATCHES}")
    return {"size": size, "resize": size * math.isqrt(most), "crop": patches.CROP, "patches": most}


def _check_steps(found: Mapping[str, Any]) -> None:
    skipped = [step for step in _STEPS if not found.get(step, True)]
    resample, factor = found["resample"], found.get("rescale_factor", 1 / 255)
    if skipped or resample not in _INTERPOLATION or abs(255 * factor - 1) > 1e-6:
        raise ValueError(
            f"it says resample {resample}, rescale_factor {factor}, and leaves out {skipped}; supported are resample "
            f"{_INTERPOLATION}, rescale_factor 1/255, and no step left out"
        )


def _resize(size: Any, is_short: bool) -> tuple[int, bool]:
    """Return the length that is resized to, and True if both sides are (False: the short side)."""
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return _length(size["shortest_edge"], "size"), False
    if isinstance(size, Mapping) and set(size) != {"height", "width"}:
        raise ValueError(f"it says size {dict(size)}; supported are the shortest edge, or equal height and width")
    return _length(size, "size"), isinstance(size, Mapping) or not is_short


def _length(size: Any, name: str) -> int:
    """Return the length in ``224`` or ``{"height": 224, "width": 224}``. Raises ValueError for another form."""
    lengths = set(size.values()) if isinstance(size, Mapping) else {size}
    length = lengths.pop() if len(lengths) == 1 else None
    if not isinstance(length, int) or length <= 0:
        raise ValueError(f"it says {name} {size}; supported is one length")
    return length


def _three(found: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """Return the three numbers of `image_mean` or `image_std`. Raises ValueError for anything else."""
    values = found[name]
    if len(values) != 3 or not all(map(math.isfinite, values)) or (name == "image_std" and min(values) <= 0):
        raise ValueError(f"it says {name} {values}; supported are three numbers")
    return float(values[0]), float(values[1]), float(values[2])
