"""Files that appear whole: downloads, entries of the cache, and encoders as ONNX files."""

import hashlib
from pathlib import Path

import numpy as np

from embedder import folders
from embedder.engines.cache import Cache
from embedder.weights.fetch import WebFile

from ..door import Acknowledge, Door, State

WEIGHTS = np.random.default_rng(0).bytes(200_000)


def _digests(folder: Path) -> State:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock"]
    return {
        path.relative_to(folder).as_posix(): folders.digest(path)
        for path in files
        if not any(part.startswith(".new-") for part in path.parts)
    }


class Fetch(Door):
    """The weights of a released encoder are fetched from their address."""

    name = "fetch"
    modules = ("torch.hub",)

    def prepare(self, home: Path) -> None:
        (home / "web").mkdir()
        (home / "cache").mkdir()
        (home / "web" / "weights.pth").write_bytes(WEIGHTS)

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        file = WebFile((home / "web" / "weights.pth").as_uri(), home / "cache" / "weights.pth", digest)
        (file.cached() or file.download()).read_bytes()
        acknowledge("weights.pth")

    def write_beside(self, home: Path) -> None:
        with folders.scratch(home / "cache"):
            pass

    def state(self, home: Path) -> State:
        return {name: digest for name, digest in _digests(home / "cache").items() if not name.endswith(".partial")}


class CacheEntry(Door):
    """An entry of the cache is made, and a damaged one is made again."""

    name = "cache"
    modules = ("embedder.engines.cache",)

    def prepare(self, home: Path) -> None:
        Cache(home / "cache").folder("damaged", self._make)
        (home / "cache" / "damaged" / "weights").write_bytes(b"damaged")

    @staticmethod
    def _make(folder: Path) -> None:
        (folder / "weights").write_bytes(WEIGHTS)
        (folder / "plan.json").write_text("{}")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        for key in ("fresh", "damaged"):
            Cache(home / "cache").folder(key, self._make)
            acknowledge(f"{key}/weights")

    def write_beside(self, home: Path) -> None:
        Cache(home / "cache").folder("another", self._make)

    def state(self, home: Path) -> State:
        return _digests(home / "cache")


DOORS = (Fetch, CacheEntry)
