"""Rules of the source as a whole that the import contracts cannot express."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from helpers.paths import ROOT
from typer.main import get_command

from services.cli.app import app
from services.settings import Settings, variable

LIBRARIES = [path for name in ("embedder", "store", "classifiers") for path in sorted((ROOT / name).rglob("*.py"))]
SERVICES = [path for path in sorted((ROOT / "services").rglob("*.py")) if "cli" not in path.relative_to(ROOT).parts]
OPTION = re.compile(r"(?<![\w(])--(?!(?:create-dirs|include|revision|head)\b)[a-z][a-z-]*(?![\w-]*:)|(?<=\w )--$")
"""An option of ours: not one that a message gives to curl, hf or ray, and not a variable of a style sheet."""
VARIABLE = re.compile(r"HEADWATER_\w+")


@cache
def messages(path: Path) -> tuple[str, ...]:
    """Return the texts in a file that are no docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = (node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return tuple(node.value for node in texts if node not in docstrings)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_module_imports_itself_through_others():
    """Nor for annotations alone: modules in a circle cannot be understood one after the other."""
    graph = grimp.build_graph("embedder", "store", "classifiers", "services", cache_dir=None)
    assert len(graph.modules) > 200
    TopologicalSorter({name: graph.find_modules_directly_imported_by(name) for name in graph.modules}).prepare()


@cache
def command_line() -> re.Pattern[str]:
    return re.compile(rf"headwater (?:{'|'.join(get_command(app).commands)})\b")


@pytest.mark.parametrize("path", [*LIBRARIES, *SERVICES], ids=name_of)
def test_only_the_command_line_names_commands_and_options(path):
    """Who uses a package as a library, or a service over HTTP, has no command line of ours."""
    assert not [text for text in messages(path) if command_line().search(text) or OPTION.search(text)]


@pytest.mark.parametrize("path", LIBRARIES, ids=name_of)
def test_no_library_names_an_environment_variable(path):
    assert not [text for text in messages(path) if VARIABLE.search(text)]


@pytest.mark.parametrize("path", sorted((ROOT / "services").rglob("*.py")), ids=name_of)
def test_every_variable_that_a_service_or_a_command_names_is_a_setting(path):
    known = {variable(name) for name in Settings.model_fields}
    assert not [found for text in messages(path) for found in VARIABLE.findall(text) if found not in known]
