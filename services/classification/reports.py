"""The report on the training of a head, as the page shows it: without paths of this machine, whoever asks."""

import json

from classifiers.published.artifact import read_report
from services.classification.state import ClassificationService
from services.web.access.paths import hiding

FIELDS = {"encoders", "encoder", "how", "notes", "parameters", "settings", "members", "singles"}
"""Fields of a report whose texts can name paths, because the name of an encoder can contain one. Labels stay."""


def report(service: ClassificationService, name: str, version: str) -> bytes:
    """Return the report of a version as JSON, with the head's name, the version, and the aliases that point to it.

    Args:
        version: a version, or an alias.

    Raises UnknownHead, UnknownAlias, UnknownVersion, NoReport, BadArtifact.
    """
    path = service.registry.path(f"{name}@{version}")
    aliases = sorted(alias for alias, to in service.registry.aliases(name).items() if to == path.name)
    found = {"name": name, "version": path.name, "aliases": aliases, **read_report(path)}
    return hiding(service.settings, FIELDS, names=True)(json.dumps(found, ensure_ascii=False).encode())
