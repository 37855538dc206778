"""A missing package is named with the command that installs it, as pyproject.toml declares the packages."""

import ast
import json
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions

import pytest
from helpers.paths import ROOT

from services.cli import errors, extras
from services.cli.commands import doctor

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = ("embedder", "store", "classifiers", "services")


def names(requirements):
    """Return the names of packages, without versions, extras, markers and our own name."""
    found = {requirement.replace("[", ">").replace("=", ">").partition(">")[0] for requirement in requirements}
    return found - {"headwater"}


CORE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(each) for extra, each in PROJECT["optional-dependencies"].items() if extra != "dev"}


def imported():
    """Return the modules that our packages import from elsewhere."""
    trees = (ast.parse(path.read_text()) for package in OWN for path in (ROOT / package).rglob("*.py"))
    nodes = [node for tree in trees for node in ast.walk(tree)]
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in found} - {*OWN, *sys.stdlib_module_names}


def test_each_package_has_the_place_that_the_project_declares():
    assert extras.declared().keys() == CORE.union(*EXTRAS.values())
    for package, place in extras.declared().items():
        assert package in (CORE if place == extras.CORE else EXTRAS[place])


def test_every_module_that_is_imported_has_the_command_that_installs_it():
    distributions = packages_distributions()
    assert {"sklearn", "open_clip", "lance", "faiss", "av", "fastapi", "PIL"} <= imported() & distributions.keys()
    for module in imported() & distributions.keys():
        packages = set(distributions[module])  # several for opentelemetry, which has no package of its own
        commands = {f"pip install 'headwater[{extra}]'" for extra, each in EXTRAS.items() if packages & each}
        commands |= {"pip install headwater"} if packages & CORE else set()
        assert extras.installing(module) in commands or not commands, module  # no command: a requirement of a package


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("sklearn.svm", "pip install 'headwater[train]'"),
        ("torch", "pip install 'headwater[embedding]'"),
        ("open_clip", "pip install 'headwater[embedding]'"),
        ("huggingface_hub", "pip install 'headwater[embedding]'"),
        ("lance", "pip install 'headwater[ray]'"),
        ("iopath.common", "pip install 'headwater[imagebind]'"),
        ("PIL", "pip install headwater"),
        ("nonesuch", "pip install 'headwater[all]'"),
    ],
)
def test_a_module_that_is_missing_is_one_line_with_the_command(module, told):
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert errors.message(error) == f"No module named {module!r}; this command needs: {told}"


def test_a_checkout_that_is_not_installed_declares_nothing(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "metadata", absent)
    extras.declared.cache_clear()
    assert extras.declared() == {}
    assert extras.installing("torch") == "pip install 'headwater[all]'"
    extras.declared.cache_clear()


def test_doctor_names_every_package_and_the_command_for_those_that_are_missing(headwater, monkeypatch):
    missing = {"pyarrow": "pip install headwater", "pylance": "pip install 'headwater[ray]'"}
    version = doctor.version

    def installed(name):
        if name in missing:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor, "version", installed)
    code, out, err = headwater("doctor", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found.keys() >= CORE.union(*EXTRAS.values())
    assert {name: found[name] for name in missing} == {name: f"not installed: {missing[name]}" for name in missing}
