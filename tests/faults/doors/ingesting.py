"""Ingest: from folders, and from Parquet files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from helpers.pictures import photo
from helpers.sounds import sound

from services.jobs import ingest as job
from store import Store, asset_id
from store.interchange import read_sources

from ..door import Acknowledge, Door, State
from . import seen


class IngestFolder(Door):
    """A folder of class folders: images, sounds, one file twice, and one that is broken."""

    name = "ingest-folder"
    modules = ("services.jobs.ingest", "store.interchange", "PIL.Image", "soundfile")

    def prepare(self, home: Path) -> None:
        for at in range(9):
            file = home / "source" / "abc"[at % 3] / f"{at}.{'wav' if at > 6 else 'png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(sound(at, seconds=0.1) if at > 6 else photo(at, 16, 12))
        (home / "source" / "a" / "again.png").write_bytes(photo(0, 16, 12))
        (home / "source" / "c" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        job.CHUNK_ITEMS = 4
        items = list(read_sources([str(home / "source")]))
        told = 0

        def tell(done: job.Ingested) -> None:
            nonlocal told
            for item in items[told : done.handled]:
                told += 1
                data = item.read()
                broken = data.startswith(b"\xff\xd8\xff broken")
                acknowledge(f"quarantine/{job.STAGE}/{item.uri}" if broken else f"assets/{asset_id(data)}")
                if not broken:
                    acknowledge(f"labels/t/{asset_id(data)}")

        job.ingest(Store.open(home / "db"), items, task="t", on_progress=tell)

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


class IngestParquet(IngestFolder):
    """A Parquet file of images with labels and splits."""

    name = "ingest-parquet"

    def prepare(self, home: Path) -> None:
        (home / "source").mkdir()
        images = [photo(at, 16, 12) for at in range(9)] + [b"\xff\xd8\xff broken"]
        table = pa.table({"image": images, "label": list("ababababab"), "split": ["train", "test"] * 5})
        pq.write_table(table, home / "source" / "images.parquet")


DOORS = (IngestFolder, IngestParquet)
