"""The Dockerfile and the compose files against the code: their settings, paths, URLs, commands and dependencies exist.

Neither Docker nor a network is needed: the files are parsed, and the shell lines that can be run are run.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.containers import CPU, CREATE, DOCKERFILE, GPU, KEYED, TARGETS, image_environment, stages, with_defaults
from helpers.paths import ROOT
from starlette.testclient import TestClient

from services import classification
from services.settings import Settings
from services.web.access.errors import Unguarded
from services.web.access.keys import Role, make

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def environment(services: dict[str, Any], target: str) -> dict[str, str]:
    """Return a container's variables: the image's, then those of compose, with `${NAME:-default}` at its default.

    A variable without a value is the shell's, and is not set there.
    """
    given = {name: value for name, value in services[target].get("environment", {}).items() if value is not None}
    return image_environment(target) | {name: with_defaults(value) for name, value in given.items()}


@pytest.mark.parametrize("services", [CPU, GPU, KEYED], ids=["cpu", "gpu", "keys"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch, services: dict[str, Any], target: str) -> None:
    found = {name: value for name, value in environment(services, target).items() if name.startswith("HEADWATER_")}
    assert {name.removeprefix("HEADWATER_").lower() for name in found} <= set(Settings.model_fields)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    settings, default = Settings(), Settings.model_fields
    assert settings.host == "0.0.0.0"
    assert settings.encoders == default["encoders"].default
    assert settings.backend == default["backend"].default == "auto"  # chosen for each encoder by the engines
    assert all(Path(path).is_relative_to("/data") for path in (settings.store, settings.heads, settings.cache))
    assert settings.adapters.parent == settings.clusters.parent == Path("/data")


def test_the_classification_service_finds_the_embedding_service() -> None:
    url = CPU["classification"]["environment"]["HEADWATER_EMBEDDING_URL"]
    (port,) = stages()["embedding"].all("EXPOSE")
    assert url == f"http://embedding:{port}"
    assert CPU["classification"]["depends_on"] == {"embedding": {"condition": "service_healthy"}}


@pytest.mark.parametrize("target", TARGETS)
def test_ports_health_checks_and_commands_are_those_of_the_service(target: str) -> None:
    stage = stages()[target]
    (port,), (health,), (command,) = (stage.all(name) for name in ("EXPOSE", "HEALTHCHECK", "CMD"))
    assert int(port) == Settings.model_fields[f"{target}_port"].default
    url = re.search(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", health)
    assert url is not None
    assert (url[1], url[2]) == (port, "/health/ready")
    app = CREATE[target](Settings(store=""))
    assert url[2] in app.openapi()["paths"]
    check = json.loads(health[health.index("[") :])
    compile(check[2], "health check", "exec")
    assert json.loads(command) == ["headwater", "serve", target]


@pytest.mark.parametrize("services", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_compose_builds_exists(services: dict[str, Any], target: str) -> None:
    build = services[target]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(DOCKERFILE)
    assert build["target"] == target
    declared = {argument.partition("=")[0] for argument in stages()[target].all("ARG")}
    assert set(build.get("args", {})) <= declared


def test_the_gpu_file_adds_a_gpu_and_another_torch() -> None:
    assert CPU["embedding"]["build"]["args"] == {"TORCH": "cpu"}
    assert GPU["embedding"]["build"]["args"] == {"TORCH": "cuda"}
    (device,) = GPU["embedding"]["deploy"]["resources"]["reservations"]["devices"]
    (gpu,) = device["device_ids"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert with_defaults(gpu) == "0"
    assert "count" not in device  # Docker refuses both
    assert GPU["embedding"]["image"] != CPU["embedding"]["image"]
    assert GPU["classification"] == CPU["classification"]


def test_the_shell_chooses_among_the_gpus_of_the_container() -> None:
    """An empty CUDA_VISIBLE_DEVICES would hide every GPU, so the variable has no default."""
    assert GPU["embedding"]["environment"]["CUDA_VISIBLE_DEVICES"] is None
    assert "CUDA_VISIBLE_DEVICES" not in environment(GPU, "embedding")


def test_a_container_with_a_gpu_has_time_and_room_to_compile() -> None:
    (check,) = stages()["embedding"].all("HEALTHCHECK")
    image = re.search(r"--start-period=(\d+)s", check)
    compose = re.fullmatch(r"(\d+)m", GPU["embedding"]["healthcheck"]["start_period"])
    assert image is not None
    assert compose is not None
    assert 60 * int(compose[1]) > int(image[1])
    assert set(GPU["embedding"]["healthcheck"]) == {"start_period"}  # the rest is the image's
    assert GPU["embedding"]["pids_limit"] > CPU["embedding"]["pids_limit"]
    assert gigabytes(GPU["embedding"]) > gigabytes(CPU["embedding"])


def gigabytes(service: dict[str, Any]) -> int:
    return int(with_defaults(service["mem_limit"]).removesuffix("g"))


def test_what_is_compiled_survives_a_restart() -> None:
    """Also triton's own folder and the driver's: their defaults are in the home folder, which is read-only."""
    cache = image_environment("embedding")["HEADWATER_CACHE"]
    folders = [image_environment("embedding")[f"{name}_CACHE_DIR"] for name in ("TORCHINDUCTOR", "TRITON")]
    folders.append(image_environment("embedding")["CUDA_CACHE_PATH"])
    assert all(Path(folder).parent == Path(cache) for folder in folders)
    assert len(set(folders)) == len(folders)


def test_the_image_asks_the_driver_for_what_it_uses() -> None:
    """`compute` is CUDA, `utility` nvidia-smi and NVML, `video` the library of the hardware JPEG decoder."""
    wanted = image_environment("embedding")["NVIDIA_DRIVER_CAPABILITIES"]
    assert set(wanted.split(",")) == {"compute", "utility", "video"}
    assert "NVIDIA_VISIBLE_DEVICES" not in image_environment("embedding")  # whoever runs the image gives it a GPU


@pytest.mark.parametrize(("torch", "compiler"), [("cpu", False), ("cuda", True)])
def test_only_the_image_for_gpus_has_a_compiler(tmp_path: Path, torch: str, compiler: bool) -> None:
    """The image's own shell line runs with programs that only print their arguments."""
    for name in ("apt-get", "rm"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        program.chmod(0o755)
    (line,) = [run for run in stages()["embedding"].all("RUN") if "apt-get" in run]
    given = {"TORCH": torch, "PATH": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", line], env=given, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("g++" in done.stdout.split()) is bool(done.stdout) is compiler


def test_photos_are_where_the_documented_command_looks_for_them() -> None:
    (photos,) = [volume for volume in CPU["embedding"]["volumes"] if not volume.startswith("headwater:")]
    host, mounted = photos.removesuffix(":ro").rsplit(":", 1)
    assert host == "${PHOTOS:-./photos}"
    assert f"headwater ingest {mounted} --task" in (ROOT / "docker-compose.yml").read_text()
    assert photos.endswith(":ro")


@pytest.mark.parametrize("services", [CPU, GPU, KEYED], ids=["cpu", "gpu", "keys"])
def test_only_the_classification_service_is_published_and_on_loopback_only(services: dict[str, Any]) -> None:
    (port,) = stages()["classification"].all("EXPOSE")
    assert services["classification"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert not {"ports", "network_mode"} & set(services["embedding"])


@pytest.mark.parametrize("services", [CPU, GPU, KEYED], ids=["cpu", "gpu", "keys"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_container_starts_as_configured_and_answers_its_callers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, services: dict[str, Any], target: str
) -> None:
    """The app is made with the container's variables, and with files in the places of its secrets."""
    secret, key = make("classification", Role.read)
    files = {"headwater-keys": key.line, "headwater-embedding-key": secret}
    given = environment(services, target)
    for name in services[target].get("secrets", ()):
        (tmp_path / name).write_text(files[name])
        given = {each: value.replace(f"/run/secrets/{name}", str(tmp_path / name)) for each, value in given.items()}
    assert "/run/secrets" not in str(given)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    app = CREATE[target](Settings(store="", heads=tmp_path))
    callers = {
        "embedding": ["127.0.0.1:8000", "embedding:8000"],
        "classification": ["127.0.0.1:8001", "localhost:8001"],
    }
    with_key = {"Authorization": f"Bearer {secret}"} if services is KEYED else {}
    http = TestClient(app)
    for host in callers[target]:
        assert http.get("/health/live", headers={"Host": host}).status_code == 200
        assert http.get("/metrics", headers={"Host": host} | with_key).status_code == 200
        assert http.get("/metrics", headers={"Host": host}).status_code == (401 if services is KEYED else 200)
    assert http.get("/health/live", headers={"Host": "evil.example"}).status_code == 421


def test_an_image_alone_does_not_start_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in image_environment("classification").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Unguarded):
        classification.create_app(Settings(store=""))


def test_the_key_of_the_classification_service_is_a_secret_file_that_compose_declares() -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.keys.yml").read_text())["secrets"]
    used = {name for service in KEYED.values() for name in service.get("secrets", ())}
    assert used == set(declared)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {f"/{Path(each['file']).parts[0]}/" for each in declared.values()} <= set(ignored)
    assert not [value for value in map(str, KEYED.values()) if re.search(r"hw_|[0-9a-f]{64}", value)]


@pytest.mark.parametrize("services", [CPU, GPU, KEYED], ids=["cpu", "gpu", "keys"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_container_has_no_more_rights_than_it_needs(services: dict[str, Any], target: str) -> None:
    service = services[target]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{\w+:-\d+g\}", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & set(service)
    assert not [volume for volume in service["volumes"] if "docker.sock" in volume]
    (tmp,) = service["tmpfs"]
    assert "size=" in tmp
    assert ("exec" in tmp) is (target == "embedding")


@pytest.mark.parametrize("services", [CPU, GPU, KEYED], ids=["cpu", "gpu", "keys"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_container_is_not_killed_within_the_grace_period_of_its_service(
    services: dict[str, Any], target: str
) -> None:
    seconds = float(services[target]["stop_grace_period"].removesuffix("s"))
    assert seconds > Settings.model_fields["grace"].default


def test_the_classification_service_writes_nothing() -> None:
    assert CPU["classification"]["volumes"] == ["headwater:/data:ro"]
    assert "headwater:/data" in CPU["embedding"]["volumes"]


@pytest.mark.parametrize("target", TARGETS)
def test_containers_write_only_to_the_volume_and_tmp(target: str) -> None:
    service = CPU[target]
    assert stages()[target].all("USER") == ["headwater"]
    assert stages()["base"].all("VOLUME") == ["/data"]
    (tmp,) = service["tmpfs"]
    folders = ("/data", tmp.partition(":")[0])
    assert stages()["embedding"].all("WORKDIR") == ["/data"]  # where commands write without a folder
    paths = {value for value in environment(CPU, target).values() if value.startswith("/")}
    assert paths
    assert all(Path(path).is_relative_to(folders[0]) or Path(path).is_relative_to(folders[1]) for path in paths)


def test_the_image_has_a_tested_python() -> None:
    arguments = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE.read_text(), re.M)
    assert stages()["base"].base == "python:${PYTHON}-slim"
    assert f"Programming Language :: Python :: {arguments[0]}" in PROJECT["classifiers"]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["classifiers"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_source_comes_after_the_dependencies(target: str) -> None:
    steps = stages()[target].steps
    (source,) = [i for i, (name, _) in enumerate(steps) if name == "COPY"]
    installs = {i: rest for i, (name, rest) in enumerate(steps) if "pip install" in rest}
    before, after = ([rest for i, rest in installs.items() if (i > source) is late] for late in (False, True))
    assert steps[source] == ("COPY", "--from=source / ./")
    assert len(before) == 1
    assert f"pip install --require-hashes --requirement locks/{target}.txt" in before[0]
    assert after == ["pip install --no-deps --no-build-isolation ."]
    assert stages()["base"].all("COPY") == ["pyproject.toml constraints.txt ./", "locks ./locks"]


def test_the_source_is_complete_and_not_ignored() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copies = [*stages()["source"].all("COPY"), *stages()["base"].all("COPY")]
    sources = {name for copy in copies for name in copy.split()[:-1]}
    assert rules[0] == "*"
    assert sources == kept
    assert all((ROOT / name).exists() for name in sources)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {pattern.removesuffix("*") for pattern in packages} <= sources
    assert {PROJECT["readme"], *PROJECT["license-files"]} <= sources


LOCKED = re.compile(
    r"^([\w.-]+)==([^\s;]+)(?: ; platform_machine == \"x86_64\")?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M
)


def locked(name: str) -> dict[str, str]:
    """Return package → version of a lock. Every line of the file belongs to a package with at least one digest."""
    head, _, text = (ROOT / "locks" / f"{name}.txt").read_text().partition("\n")
    assert head.startswith("# Written by .ci/lock.py")
    assert LOCKED.sub("", text).strip() == ""
    return {package: version for package, version, _ in LOCKED.findall(text)}


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {name_of(line): line.partition("==")[2] for line in lines}


@pytest.mark.parametrize("name", ["classification", "embedding", "torch"])
def test_a_lock_has_the_versions_of_the_constraints(name: str) -> None:
    """`python3.13 .ci/lock.py` writes the locks again."""
    known = pinned()
    theirs = {package: version for package, version in locked(name).items() if package in known}
    assert theirs == {package: known[package] for package in theirs}
    unpinned = set(locked(name)) - set(known)
    assert all(package.startswith(("nvidia-", "cuda-", "triton")) for package in unpinned)


def test_the_locks_hold_what_the_images_need() -> None:
    extras = PROJECT["optional-dependencies"]
    core = {name_of(each) for each in PROJECT["dependencies"]}
    embedding = core | {name_of(each) for extra in ("train", "embedding", "cluster") for each in extras[extra]}
    torch = {"torch", "torchvision"}
    assert core <= set(locked("classification"))
    assert not {"torch", "scipy", "openvino"} & set(locked("classification"))
    assert embedding - torch <= set(locked("embedding"))
    assert torch <= set(locked("torch"))
    assert not set(locked("torch")) & set(locked("embedding"))
    assert "setuptools" in locked("classification")  # builds Headwater itself, without another download
    assert "setuptools" in locked("embedding")


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-")


@pytest.mark.parametrize(
    ("torch", "arguments"),
    [
        (
            "cpu",
            "--no-deps --constraint constraints.txt --index-url https://download.pytorch.org/whl/cpu torch torchvision",
        ),
        ("cuda", "--no-deps --require-hashes --requirement locks/torch.txt"),
    ],
)
def test_the_build_argument_chooses_torch(torch: str, arguments: str) -> None:
    done = run_install(torch)
    assert done.returncode == 0
    assert done.stdout.split() == [
        *("install", *arguments.split()),
        *("install", "--require-hashes", "--requirement", "locks/embedding.txt"),
    ]


def test_another_torch_stops_the_build() -> None:
    done = run_install("rocm")
    assert (done.returncode, done.stdout) == (1, "")
    assert "TORCH must be cpu or cuda, not 'rocm'" in done.stderr


def run_install(torch: str) -> "subprocess.CompletedProcess[str]":
    """Run the image's own shell line with a `pip` that prints its arguments."""
    (line,) = [run for run in stages()["embedding"].all("RUN") if "--require-hashes" in run]
    script = f'pip() {{ printf "%s\\n" "$@"; }}\n{line}'
    return subprocess.run(["sh", "-c", script], env={"TORCH": torch, "PATH": "/bin"}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("version", "code", "message"),
    [
        ((3, 10, 4), 1, "Headwater needs Python 3.11 or newer; this is Python 3.10."),
        ((3, 11, 0), 0, ""),
        ((3, 99, 0), 0, "Warning: Headwater was tested with Python 3.11, "),
    ],
)
def test_make_names_a_python_that_is_too_old_or_was_not_tested(
    version: tuple[int, ...], code: int, message: str
) -> None:
    script = f"import runpy, sys; sys.version_info = {version}; runpy.run_path('.ci/python_version.py')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code
    said = done.stdout + done.stderr
    assert said.startswith(message) if message else said == ""
