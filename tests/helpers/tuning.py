"""A small store of images, embedded by a small random network, for trainings of that network."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from embedder import registry
from embedder.encoder import Encoder
from helpers.towers import timm_tower
from services.jobs.backfill.local import backfill
from services.jobs.tune.plan import TuneRequest
from services.jobs.tune.recipe import TowerRecipe
from store import Asset, Label, Store, asset_id

CLASSES, EACH = ("red", "green", "blue"), 12
RECIPE = {"nearest": 2, "dim": 32, "epochs": 3, "batch": 8, "learning_rate": 1e-3, "save_every": 2}


def picture(kind: int, seed: int) -> bytes:
    """Return a PNG file of noise, brighter in one colour."""
    random = np.random.default_rng([kind, seed])
    pixels = random.integers(0, 120, (48, 64, 3), dtype=np.uint8)
    pixels[..., kind] += random.integers(60, 120, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@dataclass(frozen=True)
class Home:
    """A folder with a store, and the encoder whose vectors it has."""

    folder: Path
    store: Store
    encoder: Encoder

    @property
    def adapters(self) -> Path:
        return self.folder / "adapters"

    @property
    def clusters(self) -> Path:
        return self.folder / "clusters"

    def request(self, **changes) -> TuneRequest:
        """Return a request for a short training; arguments that are no parameters of the recipe are the request's."""
        parts = {name: changes.pop(name) for name in ("clusters", "clustering", "rows_of", "judge") if name in changes}
        return TuneRequest(encoder=self.encoder.name, recipe=TowerRecipe(**RECIPE | changes), **parts)


def make_home(folder: Path, cache: Path, model: str = "test_vit") -> Home:
    """Make the store: three classes of 12 images, 8 of them in train, 2 in val and 2 in test."""
    timm_tower(folder / "network.safetensors", model)
    encoder = registry.load(f"timm/{model}@{folder}/network.safetensors", backend="torch-cpu-fp32", cache_dir=cache)
    store = Store.open(folder / "headwater.db")
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    labels = []
    for kind, name in enumerate(CLASSES):
        contents = [picture(kind, seed) for seed in range(EACH)]
        ids = [asset_id(content) for content in contents]
        store.assets.add(
            Asset(id=id_, uri=f"{name}/{id_[:6]}.png", modality="image", media_type="image/png", content=content)
            for id_, content in zip(ids, contents, strict=True)
        )
        labels += [Label(id_, [name], split) for id_, split in zip(ids, splits, strict=True)]
    store.labels.put("colours", labels)
    backfill(store, encoder)
    return Home(folder, store, encoder)
