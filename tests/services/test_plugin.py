"""The example of a package with encoders of its own: installed with pip, then used as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import apart, runner
from helpers.paths import ROOT
from PIL import Image

EXAMPLE = ROOT / "examples" / "encoder_plugin"
TINTS = {"warm": (1.0, 0.5, 0.2), "cold": (0.2, 0.5, 1.0)}


@pytest.fixture(scope="module")
def environment(tmp_path_factory, cache_dir):
    """The environment of a process that has the package, built from a copy because a build writes into its folder."""
    source, site = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", site, source], check=True)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", str(Path.cwd()))]))
    return os.environ | {"PYTHONPATH": path, "HEADWATER_CACHE": str(cache_dir)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the commands run. The photos in `photos/<class>/*.png` differ only in colour."""
    folder = tmp_path_factory.mktemp("plugin")
    random = np.random.default_rng(0)
    for label, tint in TINTS.items():
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(30):
            patches = random.integers(60, 256, (6, 8, 1)) * tint
            Image.fromarray(patches.astype(np.uint8)).resize((80, 60)).save(folder / f"photos/{label}/{i}.png")
    return folder


@pytest.fixture(scope="module")
def headwater(environment, folder):
    run = runner(environment, folder, apart)
    return lambda *arguments: json.loads(run(*arguments, "--json")[0])


def test_from_photos_to_a_head(headwater):
    assert headwater("ingest", "photos", "--task", "mood")["new_assets"] == 60
    assert headwater("backfill", "--encoder", "colours")["backend"] == "numpy"
    done = headwater("backfill", "--encoder", "textures", "--backend", "openvino-fp32", "--tokens")
    assert (done["embedded"], done["backend"], done["quarantined"]) == (60, "openvino-fp32", 0)
    trained = headwater("train", "--task", "mood", "--encoder", "colours", "--encoder", "textures", "--name", "mood")
    assert trained["figures"]["test"]["accuracy"] == 1.0


def test_doctor_lists_the_package_without_importing_it(headwater):
    found = headwater("doctor")
    assert {name for name in found if name.startswith("plugin ")} == {"plugin colours", "plugin textures"}
    assert re.fullmatch(r"[\w.]+:\w+, of the package headwater-\S+ \S+", found["plugin colours"])


CHECK = """
from embedder import checks, registry
assert {"colours", "textures"} <= set(registry.names())
for name in ("colours", "textures"):
    encoder = registry.load(name, backend="torch-cpu-fp32", threads=1)
    checks.check_encoder(encoder)
    print(encoder.name, encoder.backend)
"""


def test_installed_they_keep_every_promise(environment, tmp_path):
    home = environment | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CHECK], env=home, capture_output=True, text=True)
    assert done.stdout.split() == ["colours", "numpy", "textures", "torch-cpu-fp32"], done.stderr


def test_what_the_readme_shows_runs(environment, tmp_path):
    """Run the Python in README.md as it is printed there."""
    text = (EXAMPLE / "README.md").read_text()
    [code] = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    home = environment | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
