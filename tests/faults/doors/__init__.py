"""The doors, by name."""

from ..door import Door
from . import embedding, exchange, folders, heads, http, ingesting, learning, tables

DOORS: dict[str, Door] = {
    door.name: door()
    for module in (ingesting, embedding, tables, exchange, heads, learning, folders, http)
    for door in module.DOORS
}
