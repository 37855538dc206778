"""Jobs that learn without labels: cluster, adapt, condense. Each writes a folder; some write rows into the store."""

import json
from pathlib import Path

from helpers.blocks import Blocks
from helpers.pictures import photo
from safetensors.numpy import load_file

from classifiers.clustering.clusters import Clustering, names
from classifiers.fit.discrimination.recipe import Recipe
from embedder import folders, registry
from embedder.derived.stored import StoredAdapter, adapter_folders
from services.jobs.adapt import AdaptRequest, adapt
from services.jobs.cluster import ClusterRequest, cluster
from services.jobs.condense import CondenseRequest, condense
from services.jobs.ingest import ingest
from store import Asset, Item, Store

from ..door import Acknowledge, Door, State
from . import seen


class Cluster(Door):
    """A clustering takes the place of an older one of the same name."""

    name = "cluster"
    modules = ("services.jobs.cluster", "faiss")

    def prepare(self, home: Path) -> None:
        from helpers.toys import fill, make_toy

        toy, store = make_toy(n=60, n_classes=3), Store.open(home / "db")
        ids = fill(store, toy)
        store.assets.add(Asset(id_, id_, "image", "image/png") for id_ in ids)
        cluster(store, home / "clusters", self._request(1))

    @staticmethod
    def _request(seed: int) -> ClusterRequest:
        return ClusterRequest(encoder="toy", task="shapes", clusters=4, nearest=2, seed=seed)

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        cluster(Store.open(home / "db"), home / "clusters", self._request(2))
        acknowledge("clustering shapes")

    def state(self, home: Path) -> State:
        """Return the clustering, and the labels: those of the job itself may be new before the clustering is."""
        found = {name: Clustering.load(home / "clusters", name).digest for name in names(home / "clusters")}
        rows = seen.of_store(Store.open(home / "db"))
        return rows | {f"clustering {name}": digest for name, digest in found.items()}


class Adapt(Door):
    """An adapter is learned, saved, and applied to all stored vectors."""

    name = "adapt"
    modules = ("services.jobs.adapt", "classifiers.fit.discrimination.adapter", "torch._dynamo", "faiss")

    def prepare(self, home: Path) -> None:
        from helpers.toys import fill, make_toy

        fill(Store.open(home / "db"), make_toy(n=60, n_classes=3))

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        import torch

        torch.set_num_threads(1)
        request = AdaptRequest(encoder="toy", recipe=Recipe(nearest=2, dim=4, epochs=2), clusters=4)
        made = adapt(Store.open(home / "db"), request, home / "adapters", home / "clusters")
        acknowledge(f"adapter {made.path.name}")
        table = Store.open(home / "db").features(made.fingerprint).table.name
        for row in Store.open(home / "db").features("toy").ids().to_pylist():
            acknowledge(f"{table}/{row}")

    def write_beside(self, home: Path) -> None:
        with folders.scratch(home / "adapters"):
            pass

    def state(self, home: Path) -> State:
        rows = {} if not (home / "db").exists() else _without_assets(Store.open(home / "db"))
        found = {
            f"adapter {path.name}": StoredAdapter.load(path).version for path in adapter_folders(home / "adapters")
        }
        return rows | found


def _without_assets(store: Store) -> dict[str, object]:
    """Return the vectors; the toys are labelled vectors without assets."""
    return {
        f"{each.table.name}/{id_}": seen.Vector(row)
        for each in (store.features(found.fingerprint) for found in store.encoders())
        for ids, X in each.scan()
        for id_, row in zip(ids.to_pylist(), X, strict=True)
    }


class Condense(Adapt):
    """Principal components of tokens are learned from images and saved."""

    name = "condense"
    modules = ("services.jobs.condense", "services.jobs.backfill.local", "PIL.Image")

    def prepare(self, home: Path) -> None:
        from services.jobs.backfill.local import backfill

        store = Store.open(home / "db")
        ingest(store, [Item(f"{at}.png", photo(at, 16, 12)) for at in range(8)])
        backfill(store, Blocks())

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        request = CondenseRequest(pool=2, components=2)
        made = condense(Store.open(home / "db"), Blocks(), request, home / "adapters")
        acknowledge(f"adapter {made.path.name}")


class AdaptBackbone(Door):
    """A network is trained on the stored images, with checkpoints, and becomes an encoder."""

    name = "adapt-backbone"
    modules = ("services.jobs.tune.job", "helpers.tuning", "torch._dynamo", "faiss", "PIL.Image")
    CHECKPOINTS = (2, 3)
    """Steps after which there is a checkpoint: every second one, and the last of the epoch."""

    def prepare(self, home: Path) -> None:
        from helpers.tuning import make_home

        make_home(home, home / "cache")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        import torch
        from helpers.tuning import RECIPE

        from classifiers.fit.device import using
        from services.jobs.progress import Step
        from services.jobs.tune.job import tune
        from services.jobs.tune.plan import TuneRequest
        from services.jobs.tune.recipe import TowerRecipe

        torch.set_num_threads(1)

        def on_progress(step: Step) -> None:
            if "loss" in step.note and step.handled in self.CHECKPOINTS:
                acknowledge(f"checkpoint {step.handled}")

        name = f"timm/test_vit@{home}/network.safetensors"
        encoder = registry.load(name, backend="torch-cpu-fp32", cache_dir=home / "cache")
        request = TuneRequest(encoder=encoder.spec.fingerprint, recipe=TowerRecipe(**RECIPE | {"epochs": 1}))
        with using("cpu"):
            store = Store.open(home / "headwater.db")
            made = tune(store, encoder, request, home / "adapters", home / "clusters", on_progress=on_progress)
        acknowledge(f"network {made.path.name}")

    def state(self, home: Path) -> State:
        """Return the trained networks, and the checkpoints that were reached: all of them, if there is a network."""
        towers = home / "adapters" / "towers"
        networks = {f"network {path.name}": _network(path) for path in towers.glob("*-mlcd-*")}
        reached = max(self.CHECKPOINTS) if networks else max(map(_step, towers.glob(".run-*/checkpoint")), default=0)
        return networks | {f"checkpoint {step}": True for step in self.CHECKPOINTS if step <= reached}

    def leftovers(self, home: Path) -> set[str]:
        return super().leftovers(home) | {path.name for path in home.rglob(".run-*")}


def _network(folder: Path) -> tuple[str, int]:
    """Return the digest of a trained network's weights, and the number of epochs in its record."""
    (folder / "report.md").read_text()
    return folders.digest(folder / "model.safetensors"), len(
        json.loads((folder / "training.json").read_text())["curve"]
    )


def _step(checkpoint: Path) -> int:
    """Return the number of steps that a checkpoint has behind it. Raises an error if its tensors cannot be read."""
    for path in checkpoint.glob("*.safetensors"):
        load_file(path)
    step: int = json.loads((checkpoint / "state.json").read_text())["step"]
    return step


DOORS = (Cluster, Adapt, Condense, AdaptBackbone)
