"""The folder of a model as transformers saves it and the Hugging Face hub keeps it."""

from pathlib import Path
from typing import Any

from embedder import files
from embedder.errors import WeightsError
from embedder.spec import ImagePreprocessing
from embedder.weights import preprocessor
from embedder.weights.checkpoint import State, read_state
from embedder.weights.fetch import HubFolder, fetch

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_INDEX = f"{WEIGHTS}.index.json"
MOST_JSON = 16 * 2**20
"""Largest JSON file that is read, bytes: the index of a model in shards names every tensor."""
PROCESSOR = "processor_config.json"
"""File in which transformers saves the settings of all processors of a model at once, under a name for each."""
CARD = "README.md"
_FILES = (CONFIG, PREPROCESSOR, PROCESSOR, CARD, WEIGHTS, "model-*.safetensors", _INDEX)
TOKENISER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.*", "merges.txt", "*.model")
"""Patterns of a tokeniser's files."""


def published(repository: str, revision: str | None = None) -> HubFolder:
    """Return the source of a model that transformers saved in a hub's repository. Weights are safetensors only."""
    return HubFolder(repository, (*_FILES, *TOKENISER), _is_whole, revision, (PREPROCESSOR, PROCESSOR))


def card(repository: str, revision: str | None = None) -> Path | None:
    """Return the repository's model card, downloaded if necessary; None if it cannot be had."""
    source = HubFolder(repository, (CARD,), lambda folder: (folder / CARD).is_file(), revision)
    try:
        return fetch(repository, [source], own="") / CARD
    except WeightsError:  # the weights will not be there either, and their error says why
        return None


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


def processor(folder: Path, part: str) -> tuple[Path, dict[str, Any]]:
    """Return the file that holds the settings of a processor, and the settings: none if there is no file.

    Args:
        part: name of the settings in a file of several processors: ``image_processor`` or ``feature_extractor``.

    Raises WeightsError for a damaged file.
    """
    path = folder / PREPROCESSOR
    if path.is_file():
        return path, read_json(path)
    several = folder / PROCESSOR
    found = read_json(several).get(part) if several.is_file() else None
    return (several, found) if isinstance(found, dict) else (path, {})


def preprocessing(folder: Path, size: int | None, kind: str = "CLIP") -> ImagePreprocessing:
    """Return what the image processor that was saved in `folder` does to an image.

    Fields that the file lacks have the defaults of the processor. A missing file means the defaults at the size of the
    network.

    Args:
        size: image size of the network, pixels; None if it takes any. For ``Siglip2``, the side of its patches.
        kind: the processor of a file that does not name one, see `preprocessor.PROCESSORS`.

    Raises WeightsError for a file that is damaged, or that `ImagePreprocessing` cannot represent.
    """
    path, fields = processor(folder, "image_processor")
    try:
        usual = preprocessor.of_size(kind, size) if size else {}
        found = preprocessor.parse(usual | fields, kind)
        _check_size(found, size, fields, takes_patches=kind == "Siglip2")
    except (ValueError, TypeError, OverflowError) as error:  # the latter two: a field of another type, a huge number
        raise WeightsError(
            f"{path} cannot be used: {error}; fetch it again, or give the folder of a model that is prepared in a "
            "supported way"
        ) from error
    return found


def _check_size(found: ImagePreprocessing, size: int | None, fields: dict[str, Any], *, takes_patches: bool) -> None:
    """Raise ValueError if the network takes images of another size or form."""
    if takes_patches != (found.patches is not None):
        said, takes = ("squares", "patches") if takes_patches else ("patches", "squares")
        raise ValueError(f"{preprocessor.kind_of(fields)}ImageProcessor makes {said}; the network takes {takes}")
    if size not in (None, found.size):
        name, what = ("patch_size", "patches of ") if takes_patches else ("crop_size", "")
        raise ValueError(f"it says {name} {found.size}; the network takes {what}{size} × {size} pixels")
