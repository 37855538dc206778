"""Real photos of solar cells as bytes with their ids, a key for each role, and settings of a service for a store."""

from pathlib import Path

from services.cli import demo_photos
from services.settings import Settings
from services.web.access.keys import Role, make
from store import Store, asset_id

CELLS = [cell.path.read_bytes() for cell in demo_photos.cells()[:40]]
IDS = [asset_id(data) for data in CELLS]
KEYS = {role: make(role.name, role) for role in Role}
LINES = tuple(key.line for _, key in KEYS.values())


def settings(store: Store, folder: Path, **others: object) -> Settings:
    """Return the settings of a service without encoders, whose heads and jobs are in `folder`."""
    return Settings(store=store.uri, heads=folder / "heads", jobs=folder / "jobs", encoders=(), **others)
