"""Writes the OpenAPI documents of both services into a folder: ``python -m services.openapi docs``."""

import json
import sys
from pathlib import Path

from services import classification, embedding
from services.settings import Settings


def write(folder: Path) -> None:
    """Write ``openapi-embedding.json`` and ``openapi-classification.json`` into `folder`."""
    for name, service in (("embedding", embedding), ("classification", classification)):
        document = service.create_app(Settings(store="")).openapi()
        (folder / f"openapi-{name}.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
