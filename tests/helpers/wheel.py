"""Builds and installs the wheel of Headwater."""

import shutil
import subprocess
import sys
from pathlib import Path

from helpers.paths import ROOT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
PACKAGES = ("headwater", "embedder", "store", "classifiers", "services")


def installed(folder: Path) -> Path:
    """Build the wheel from a copy of the source, install it without its dependencies, and return where it is."""
    source, site = folder / "source", folder / "site"
    source.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", folder, source], check=True)
    [wheel] = folder.glob("headwater-*.whl")
    subprocess.run([*pip, "install", *offline, "--target", site, wheel], check=True)
    return site
