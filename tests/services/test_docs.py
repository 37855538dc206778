"""Documentation is complete: every command, option, setting, metric and error code stands in it; OpenAPI is golden."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main
from helpers.paths import ROOT

from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.training.kinds import KINDS, make_estimator
from embedder import registry
from embedder.checks import CHECKS
from embedder.encoders import mlcd
from services import classification, embedding
from services.cli import app
from services.settings import Settings
from services.web.errors import ERRORS, HTTP_CODES
from services.web.metrics import STAGES, Metrics

DOCS = ROOT / "docs"


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(app)
    found = dict(group.commands)
    heads = found.pop("heads")
    return found | {f"heads {name}": command for name, command in heads.commands.items()}


def test_every_command_and_option_stands_in_the_docs():
    text = (DOCS / "commands.md").read_text()
    missing = [name for name in commands() if f"`{name}" not in text]
    options = {opt for command in commands().values() for param in command.params for opt in param.opts}
    missing += [opt for opt in options if opt.startswith("--") and opt != "--help" and opt not in text]
    assert not missing


def test_every_setting_stands_in_the_docs_with_its_default():
    rows = re.findall(r"\| `(HEADWATER_\w+)` \| `(.*?)`", (DOCS / "settings.md").read_text())
    told = {name.removeprefix("HEADWATER_").lower(): default for name, default in rows}
    settings = Settings().environment()
    assert set(told) == set(Settings.model_fields)
    for name, default in told.items():
        value = settings[f"HEADWATER_{name.upper()}"].replace(str(Path.home()), "~")
        assert default == value.removesuffix(".0"), name


def test_every_metric_stands_in_the_docs():
    text = (DOCS / "settings.md").read_text()
    names = set(re.findall(r"^# TYPE (headwater_\w+) ", Metrics().render().decode(), re.MULTILINE))
    assert {name for name in names if not name.endswith("_created")} <= set(re.findall(r"headwater_\w+", text))
    assert all(f"`{stage}`" in text for stage in STAGES)


def test_every_kind_of_head_and_parameter_stands_in_the_docs():
    text = (DOCS / "heads.md").read_text()
    missing = [kind for kind in KINDS if f"## {kind}\n" not in text]
    missing += [name for kind in KINDS for name in make_estimator(kind, {}).get_params() if f"`{name}`" not in text]
    assert not missing


def test_every_parameter_of_adapters_stands_in_the_docs_with_its_default():
    text = (DOCS / "clusters.md").read_text()
    defaults = {field.name: str(field.default).removesuffix(".0") for field in fields(Recipe)}
    assert not [name for name, default in defaults.items() if f"`{name}` ({default})" not in text]
    assert not [loss for loss in LOSSES if f"`{loss}`" not in text]


def test_every_encoder_and_check_stands_in_the_docs():
    text = (DOCS / "encoders.md").read_text()
    assert not [name for name in registry.names() if name.startswith(("mlcd", "timm")) and f"`{name}`" not in text]
    assert not [identity for identity in mlcd.CONFIGS if f"| `{identity}` |" not in text]
    assert not [check.__name__ for check in CHECKS if f"`{check.__name__}`" not in text]


def test_every_error_code_stands_in_the_docs():
    text = (DOCS / "http.md").read_text()
    codes = {code for _, code in ERRORS.values()} | set(HTTP_CODES.values()) | {"internal"}
    assert not [code for code in codes if f"`{code}`" not in text]


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_openapi_is_golden(service, tmp_path):
    """To accept a change: python -m services.openapi docs"""
    made = service.create_app(Settings(store="", heads=tmp_path)).openapi()
    golden = json.loads((DOCS / f"openapi-{service.__name__.rpartition('.')[2]}.json").read_text())
    assert made == golden
