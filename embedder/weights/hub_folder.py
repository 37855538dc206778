"""The folder of a model as transformers saves it and the Hugging Face hub keeps it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedder import files
from embedder.errors import WeightsError
from embedder.spec import ImagePreprocessing
from embedder.weights.checkpoint import State, read_state
from embedder.weights.fetch import HubFolder

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_INDEX = f"{WEIGHTS}.index.json"
MOST_JSON = 16 * 2**20
"""Largest JSON file that is read, bytes: the index of a model in shards names every tensor."""
_FILES = (CONFIG, PREPROCESSOR, "*.safetensors", _INDEX)

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")


def published(repository: str) -> HubFolder:
    """Return the source of a model that transformers saved in a hub's repository."""
    return HubFolder(repository, _FILES, _is_whole)


def _is_whole(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and all(path.is_file() for path in _shards(folder))


def state(folder: Path) -> State:
    """Return all tensors, from one file or from the shards that the index names. Raises WeightsError."""
    found: State = {}
    for path in _shards(folder):
        found |= read_state(path)
    return found


def _shards(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if not index.is_file():
        return [_inside(folder, WEIGHTS)]
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(map(_is_shard, shards.values())):
        raise WeightsError(
            f"{index} is damaged: its entry weight_map must give the name of a file in this folder for each tensor; "
            "fetch the folder again"
        )
    return [_inside(folder, name) for name in sorted(set(shards.values()))]


def _inside(folder: Path, name: str) -> Path:
    """Return the path of a file of the folder. Raises WeightsError for a link that leads out of the folder.

    Links to the files beside it in the cache of the Hugging Face hub are allowed: its folders are
    ``<repository>/snapshots/<revision>``, and their files are links into ``<repository>/blobs``.
    """
    path, real = folder / name, folder.resolve()
    allowed = [real, real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [real]
    if not any(path.resolve().is_relative_to(each) for each in allowed):
        raise WeightsError(f"{path} is a link to a file outside the folder; copy the file there, or fetch it again")
    return path


def _is_shard(name: object) -> bool:
    if not isinstance(name, str):
        return False
    return name == Path(name).name and name.isprintable() and name.endswith(".safetensors")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, see `embedder.files.read_json`. Raises WeightsError if there is none."""
    try:
        return files.read_json(path, MOST_JSON)
    except OSError as error:
        raise WeightsError(f"cannot read {path} ({error.strerror}); the folder needs {CONFIG} and {WEIGHTS}") from error
    except files.Refused as error:
        raise WeightsError(f"{path} cannot be used: {error}; fetch the folder again") from error


def preprocessing(folder: Path, size: int) -> ImagePreprocessing:
    """Return what the CLIPImageProcessor that was saved in `folder` does to an image.

    Fields that the file lacks, or a missing file, mean CLIP's preprocessing for a network of image size `size`.
    Raises WeightsError for a file that is damaged, or that `ImagePreprocessing` cannot represent.
    """
    path = folder / PREPROCESSOR
    fields = read_json(path) if path.is_file() else {}
    try:
        return _preprocessing(fields, size)
    except (ValueError, TypeError, OverflowError) as error:  # the latter two: a field of another type, a huge number
        raise WeightsError(
            f"{path} cannot be used: {error}; fetch it again, or give the folder of a model that is prepared in a "
            "supported way"
        ) from error


def _preprocessing(fields: Mapping[str, Any], size: int) -> ImagePreprocessing:
    crop, resize = (_side(fields.get(name, size), name) for name in ("crop_size", "size"))
    skipped = [step for step in _STEPS if not fields.get(step, True)]
    resample, factor = fields.get("resample", 3), fields.get("rescale_factor", 1 / 255)
    if skipped or resample not in _INTERPOLATION or abs(255 * factor - 1) > 1e-6 or crop != size or resize < crop:
        raise ValueError(
            f"it says resample {resample}, rescale_factor {factor}, crop_size {crop}, size {resize}, and leaves out "
            f"{skipped}; supported are resample {_INTERPOLATION}, rescale_factor 1/255, crop_size {size} (the "
            f"network's), size {size} or more, and no step left out"
        )
    mean, std = fields.get("image_mean", _CLIP_MEAN), fields.get("image_std", _CLIP_STD)
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise ValueError(f"it says image_mean {mean} and image_std {std}; supported are three numbers each")
    return ImagePreprocessing(
        size=size,
        resize=resize,
        interpolation=_INTERPOLATION[resample],
        mean=tuple(mean),
        std=tuple(std),
        crop="centre-floor",  # transformers starts at the whole pixel below the middle; torchvision rounds
    )


def _side(size: Any, name: str) -> int:
    """Return the length in ``224``, ``{"shortest_edge": 224}`` or, for a crop, ``{"height": 224, "width": 224}``.

    Raises ValueError for two lengths, TypeError for lengths of another type.
    """
    if isinstance(size, Mapping) and (name == "crop_size" or set(size) == {"shortest_edge"}):
        lengths = set(size.values())
        size = lengths.pop() if len(lengths) == 1 else size
    if not isinstance(size, int):
        raise ValueError(f"it says {name} {size}; supported is one length, which for 'size' is the shortest edge")
    return size
