"""What the Dockerfile and the compose files say: their stages, services and variables. Nothing is built or run."""

import re
from dataclasses import dataclass
from typing import Any

import yaml

from helpers.paths import ROOT
from services import classification, embedding

DOCKERFILE = ROOT / "services" / "Dockerfile"
CREATE = {"embedding": embedding.create_app, "classification": classification.create_app}
TARGETS = sorted(CREATE)


@dataclass(frozen=True)
class Stage:
    """A build stage of a Dockerfile: one FROM and its instructions, in order."""

    base: str
    steps: list[tuple[str, str]]

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]


def stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, name = rest.split(" AS ")
            found[name] = current = Stage(base, [])
        elif found:
            current.steps.append((name, rest.strip()))
    return found


def compose(*names: str) -> dict[str, Any]:
    """Return the services of compose files, merged in order as `docker compose -f … -f …` does."""
    merged: dict[str, Any] = {}
    for name in names:
        for service, fields in yaml.safe_load((ROOT / name).read_text())["services"].items():
            known = merged.setdefault(service, {})
            for key, value in fields.items():
                known[key] = {**known[key], **value} if isinstance(value, dict) and key in known else value
    return merged


CPU, GPU = compose("docker-compose.yml"), compose("docker-compose.yml", "docker-compose.gpu.yml")
KEYED = compose("docker-compose.yml", "docker-compose.keys.yml")


def image_environment(target: str) -> dict[str, str]:
    lines = [*stages()["base"].all("ENV"), *stages()[target].all("ENV")]
    return dict(pair.split("=", 1) for line in lines for pair in line.split())


def with_defaults(text: str) -> str:
    return re.sub(r"\$\{\w+:-(.*)\}", r"\1", text)
