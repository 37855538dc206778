"""A folder of arrays and what they mean: a JSON manifest, and a safetensors file whose sha256 the manifest holds.

No pickle, and the digest is checked before the arrays are read. Published heads have a format of their own, with more
files (`classifiers.published.artifact`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedder import files

MOST_MANIFEST, MOST_ARRAYS = 16 * 2**20, 4 * 2**30
"""Largest manifest and largest file of arrays that are read, bytes."""


class Unreadable(ValueError):
    """A folder is incomplete, damaged, or of another format."""


@dataclass(frozen=True, slots=True)
class Format:
    """The names of the two files, and the number of the format.

    Attributes:
        manifest, arrays: names of the files.
        number: number of the format, which the manifest records. A folder with another number is refused.
    """

    manifest: str
    arrays: str
    number: int = 1

    def files(self, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
        """Return the content of both files by name.

        Args:
            values: the manifest's entries, which JSON must be able to hold. `format` and `sha256` are added.
            arrays: arrays by name.
        """
        data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        manifest = {"format": self.number, **values, "sha256": hashlib.sha256(data).hexdigest()}
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        return {self.arrays: data, self.manifest: text.encode()}

    def read(self, folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the manifest's entries and the arrays. Raises Unreadable."""
        try:
            manifest = files.read_json(folder / self.manifest, MOST_MANIFEST)
            data = files.read_bytes(folder / self.arrays, MOST_ARRAYS)
            if manifest["format"] != self.number:
                raise Unreadable(f"format {manifest['format']!r}, this version reads {self.number}: upgrade headwater")
            if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                raise Unreadable(f"{self.arrays} is not the file that {self.manifest} describes")
            return manifest, load(data)
        except Unreadable:
            raise
        except KeyError as error:
            raise Unreadable(f"{self.manifest} has no entry {error}") from error
        except (OSError, ValueError, TypeError, MemoryError, SafetensorError) as error:
            raise Unreadable(str(error)) from error
