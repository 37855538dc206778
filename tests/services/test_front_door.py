"""`import headwater`: in a checkout, and installed from its wheel beside packages of the same names as its own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.wheel import PACKAGES, installed

import headwater

PROJECT = {
    "services/__init__.py": "NAME = 'services of the project'\n",
    "store/__init__.py": "NAME = 'store of the project'\n",
    "embedder.py": "raise RuntimeError('this is not the embedder of Headwater')\n",
    "main.py": """
import json, sys
from pathlib import Path
import services, store
import headwater

with headwater.Client(sys.argv[1]) as client:
    answer = client.classify([Path(sys.argv[2])], heads=["gaussian"]).items[0].answers[0]
    names = [head.name for head in client.heads().heads]
head = headwater.load_head("gaussian", heads=sys.argv[3])
stored = headwater.Store.open(sys.argv[4], must_exist=True)
estimator = headwater.LinearClassifier()
print(json.dumps({
    "label": answer.label, "names": names, "head": head.name, "assets": stored.assets.count(),
    "version": headwater.__version__, "own": [services.NAME, store.NAME], "estimator": type(estimator).__module__,
    "files": sorted({m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)}),
}))
""",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return installed(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(site: Path, folder: Path, *arguments: str) -> str:
    """Return what Python prints in a project beside an installed Headwater."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_works_in_a_project_with_packages_of_the_same_names(site, project, services, home, photos):
    (project / "x.png").write_bytes(photos[0])
    folders = [str(home.settings.heads), home.settings.store]
    found = json.loads(run(site, project, "main.py", services.classification_url, "x.png", *folders))
    with headwater.Client(services.classification_url) as client:
        expected = client.classify([photos[0]], heads=["gaussian"]).items[0]
    assert found["label"] == expected.answers[0].label
    assert "gaussian" in found["names"]
    assert found["head"] == "gaussian"
    assert found["assets"] == home.store.assets.count()
    assert found["own"] == ["services of the project", "store of the project"]
    assert found["estimator"].startswith("headwater.classifiers.")
    assert not [each for each in found["files"] if Path(each).is_relative_to(ROOT) and ".venv" not in each]


def test_the_wheel_has_one_package_at_the_top_and_no_import_of_the_others(site):
    assert [each.name for each in site.iterdir() if each.is_dir() and each.suffix != ".dist-info"] in (
        ["headwater"],
        ["bin", "headwater"],
        ["headwater", "bin"],
    )
    assert (next(site.glob("*.dist-info")) / "top_level.txt").read_text().split() == ["headwater"]
    for path in site.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.partition(".")[0] for name in names} & set(PACKAGES[1:]), path


def test_the_wheel_has_every_file_of_the_page(site):
    static = ROOT / "services" / "page" / "static"
    for path in static.rglob("*.*"):
        there = site / "headwater" / "services" / "page" / "static" / path.relative_to(static)
        assert there.read_bytes() == path.read_bytes()


def test_the_command_runs_from_the_wheel(site, project):
    assert "Usage" in run(site, project, "-m", "headwater", "--help")
    code = "from headwater.embedder import registry; print(registry.load('lite0').spec.dim)"
    assert run(site, project, "-c", code).strip() == "1280"


def test_importing_it_imports_next_to_nothing():
    code = "import sys; before = set(sys.modules); import headwater; print(*(set(sys.modules) - before))"
    added = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "httpx", "pydantic", "services", "store", "torch"} & set(added.split())


@pytest.mark.parametrize("name", headwater.__all__)
def test_every_name_is_there_and_is_the_one_of_the_packages(name):
    assert getattr(headwater, name) is not None
    assert name in dir(headwater)


def test_the_longer_names_of_a_checkout_are_the_same_modules():
    import headwater.embedder.encoder
    import headwater.store.tables

    import embedder.encoder
    import store.tables

    assert headwater.embedder.encoder is embedder.encoder
    assert headwater.store.tables is store.tables
    with pytest.raises(ModuleNotFoundError):
        import headwater.nothing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = headwater.nothing


def test_a_head_from_disk_has_the_answers_of_the_service(home, services, photos):
    with headwater.Client(services.embedding_url, service="embedding") as embedding:
        [item] = embedding.embed([photos[0]], encoder="lite0").items
    head = headwater.load_head("gaussian", heads=home.settings.heads)
    [answer] = head.answer(np.stack([item.vector]))
    with headwater.Client(services.classification_url) as client:
        served = client.classify([photos[0]], heads=["gaussian"]).items[0].answers[0]
    assert answer.label == served.label
    assert answer.probability == pytest.approx(served.probability, abs=1e-5)


def test_a_missing_library_is_named_with_its_extra():
    code = "import sys; sys.modules['sklearn'] = None; import headwater; headwater.LinearClassifier"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "pip install 'headwater[train]'" in done.stderr
