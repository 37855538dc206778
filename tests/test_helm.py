"""The Helm chart against the code, the images and the compose files: names, ports, paths, rights, GPUs.

The chart is rendered by `helpers.helm_charts`; test_helm_values.py compares that with Helm, where it is installed.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.containers import CPU, CREATE, GPU, TARGETS, image_environment, stages
from helpers.helm import CHART, EXAMPLES, VALUES
from helpers.helm_charts import merged, render
from helpers.paths import ROOT
from pydantic import ValidationError
from starlette.testclient import TestClient

from services.settings import Settings, variable
from services.web.access.keys import Role, make
from services.web.access.roles import ENDPOINTS


def of_kind(kind: str, values: Mapping[str, Any], release: str = "headwater") -> dict[str, dict[str, Any]]:
    """Return the documents of a kind by their names."""
    return {each["metadata"]["name"]: each for each in render(CHART, values, release) if each["kind"] == kind}


def pod(target: str, values: Mapping[str, Any] | None = None, release: str = "headwater") -> dict[str, Any]:
    spec = of_kind("Deployment", values or {}, release)[f"{release}-{target}"]["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def container(target: str, values: Mapping[str, Any] | None = None, release: str = "headwater") -> dict[str, Any]:
    (only,) = pod(target, values, release)["containers"]
    assert isinstance(only, dict)
    return only


def environment(target: str, values: Mapping[str, Any] | None = None, release: str = "headwater") -> dict[str, str]:
    given = {each["name"]: each["value"] for each in container(target, values, release)["env"]}
    assert all(isinstance(value, str) for value in given.values())
    return image_environment(target) | given


def test_the_chart_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert container("embedding")["image"].endswith(f":{version}")


def test_images_are_those_that_compose_builds() -> None:
    names = {target: VALUES[target]["image"] for target in TARGETS}
    assert names == {target: GPU[target]["image"] for target in TARGETS}
    assert container("embedding", EXAMPLES[1])["image"] == "registry.example.org/team/headwater-embedding-cuda:mine"
    assert container("embedding", EXAMPLES[2])["image"].startswith(CPU["embedding"]["image"] + ":")


@pytest.mark.parametrize("target", TARGETS)
def test_ports_and_probes_are_those_of_the_service(target: str) -> None:
    (exposed,) = stages()[target].all("EXPOSE")
    (port,) = container(target)["ports"]
    (served,) = of_kind("Service", {})[f"headwater-{target}"]["spec"]["ports"]
    assert port["containerPort"] == served["port"] == int(exposed)
    assert served["targetPort"] == port["name"]
    probes = {name: probe["httpGet"] for name, probe in container(target).items() if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert {probe["path"] for probe in probes.values()} <= set(CREATE[target](Settings(store="")).openapi()["paths"])
    assert {ENDPOINTS[f"GET {probe['path']}"] for probe in probes.values()} == {None}  # needs no key


@pytest.mark.parametrize("target", TARGETS)
def test_services_and_deployments_find_their_pods(target: str) -> None:
    deployment = of_kind("Deployment", {})[f"headwater-{target}"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert of_kind("Service", {})[f"headwater-{target}"]["spec"]["selector"] == labels
    assert labels["app.kubernetes.io/component"] == target


@pytest.mark.parametrize("values", EXAMPLES)
@pytest.mark.parametrize("release", ["headwater", "second"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_starts_as_configured_and_answers_its_callers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str, release: str, values: dict[str, Any]
) -> None:
    """The app is made with the container's variables, and with files in the places of its secrets."""
    secret, key = make("classification", Role.read)
    files = {"keys": key.line, "embedding-key": secret}
    (mounted,) = [each["secret"] for each in pod(target, values, release)["volumes"] if "secret" in each]
    for item in mounted["items"]:
        (tmp_path / item["path"]).write_text(files[item["key"]])
    given = environment(target, values, release)
    for name, value in given.items():
        monkeypatch.setenv(name, value.replace("/run/secrets/headwater", str(tmp_path)))
    assert {name for name in given if name.startswith("HEADWATER_")} <= set(map(variable, Settings.model_fields))
    http = TestClient(CREATE[target](Settings(store="", heads=tmp_path)))
    (port,) = stages()[target].all("EXPOSE")
    for host in (f"10.1.2.3:{port}", f"{release}-{target}:{port}"):
        assert http.get("/health/live", headers={"Host": host}).status_code == 200
        assert http.get("/metrics", headers={"Host": host}).status_code == 401
        allowed = http.get("/metrics", headers={"Host": host, "Authorization": f"Bearer {secret}"})
        assert allowed.status_code == 200
    assert http.get("/health/live", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize("release", ["headwater", "second"])
def test_the_classification_service_finds_the_embedding_service(release: str) -> None:
    (port,) = stages()["embedding"].all("EXPOSE")
    url = environment("classification", release=release)["HEADWATER_EMBEDDING_URL"]
    assert url == f"http://{release}-embedding:{port}"
    assert f"{release}-embedding" in of_kind("Service", {}, release)


def test_the_encoders_are_those_of_the_settings() -> None:
    assert environment("embedding")["HEADWATER_ENCODERS"] == ",".join(Settings.model_fields["encoders"].default)
    assert environment("embedding", {"embedding": {"encoders": "lite1"}})["HEADWATER_ENCODERS"] == "lite1"


def test_settings_of_the_values_reach_the_container() -> None:
    assert environment("embedding", EXAMPLES[1])["HEADWATER_MAX_QUEUE"] == "2048"
    assert environment("classification", EXAMPLES[1])["HEADWATER_LOG_LEVEL"] == "DEBUG"


def test_clients_may_use_the_names_that_the_values_give() -> None:
    names = environment("classification", {"classification": {"allowedHosts": "ml.example.org"}})
    assert "ml.example.org" in names["HEADWATER_ALLOWED_HOSTS"].split(",")


@pytest.mark.parametrize("target", TARGETS)
def test_kubernetes_sets_no_setting(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """A service `headwater-embedding` would set HEADWATER_EMBEDDING_PORT=tcp://… in every pod of its namespace."""
    assert pod(target)["enableServiceLinks"] is False
    (port,) = stages()[target].all("EXPOSE")
    monkeypatch.setenv(f"HEADWATER_{target.upper()}_PORT", f"tcp://10.0.0.1:{port}")
    with pytest.raises(ValidationError):
        Settings()


# Rights.


@pytest.mark.parametrize("values", EXAMPLES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_has_no_more_rights_than_the_container_of_compose(target: str, values: dict[str, Any]) -> None:
    spec, rights = pod(target, values), container(target, values)["securityContext"]
    compose = GPU[target]
    assert rights["readOnlyRootFilesystem"] is compose["read_only"]
    assert rights["capabilities"]["drop"] == compose["cap_drop"]
    assert compose["security_opt"] == ["no-new-privileges:true"]
    assert rights["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & set(spec)
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    assert not {"privileged", "runAsUser"} & set(rights)


@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_runs_as_the_user_of_the_image(target: str) -> None:
    (made,) = re.findall(r"useradd .*--uid (\d+) headwater", " ".join(stages()["base"].all("RUN")))
    context = pod(target)["securityContext"]
    assert stages()[target].all("USER") == ["headwater"]
    assert context["runAsNonRoot"] is True
    assert {context[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {int(made)}


@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_writes_only_to_the_volume_and_tmp(target: str) -> None:
    mounts = {each["mountPath"]: each for each in container(target)["volumeMounts"]}
    assert {each["name"] for each in mounts.values()} == {each["name"] for each in pod(target)["volumes"]}
    writable = {path for path, mount in mounts.items() if not mount.get("readOnly")}
    assert writable == ({"/data", "/tmp"} if target == "embedding" else {"/tmp"})
    assert mounts["/data"]["name"] == "data"
    paths = {value for value in environment(target).values() if value.startswith("/")}
    assert paths
    assert all(any(Path(path).is_relative_to(mount) for mount in mounts) for path in paths)
    (volume,) = [each for each in pod(target)["volumes"] if each["name"] == "keys"]
    assert volume["secret"]["defaultMode"] == 0o440


@pytest.mark.parametrize("target", TARGETS)
def test_a_pod_is_not_killed_within_the_grace_period_of_its_service(target: str) -> None:
    _, seconds = container(target)["lifecycle"]["preStop"]["exec"]["command"]
    grace = Settings.model_fields["grace"].default
    assert pod(target)["terminationGracePeriodSeconds"] > grace + float(seconds)


# GPUs, replicas and storage.


@pytest.mark.parametrize(
    ("gpu", "limits"),
    [
        ({}, {"nvidia.com/gpu": 1}),
        ({"count": 4}, {"nvidia.com/gpu": 4}),
        ({"resource": "nvidia.com/mig-1g.10gb"}, {"nvidia.com/mig-1g.10gb": 1}),
        ({"count": 0}, {}),
    ],
)
def test_the_embedding_service_gets_the_gpus_of_the_values(gpu: dict[str, Any], limits: dict[str, int]) -> None:
    resources = container("embedding", {"gpu": gpu})["resources"]
    assert {name: count for name, count in resources["limits"].items() if name.startswith("nvidia.com/")} == limits
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert not [name for name in container("classification", {"gpu": gpu})["resources"]["limits"] if "nvidia" in name]


def test_only_pods_with_a_gpu_have_its_runtime_class() -> None:
    assert pod("embedding", EXAMPLES[1])["runtimeClassName"] == "nvidia"
    assert not [spec for spec in (pod("embedding"), pod("classification", EXAMPLES[1])) if "runtimeClassName" in spec]


@pytest.mark.parametrize("target", TARGETS)
def test_processors_have_a_limit(target: str) -> None:
    """Files are decoded on as many threads as the quota allows; without one, on as many as the node has processors."""
    resources = container(target)["resources"]
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"] == VALUES[target]["cpu"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]


@pytest.mark.parametrize("values", EXAMPLES)
def test_one_embedding_service_writes_the_store(values: dict[str, Any]) -> None:
    deployments = of_kind("Deployment", values)
    embedding, classification = (
        deployments[f"headwater-{target}"]["spec"] for target in ("embedding", "classification")
    )
    assert embedding["replicas"] == 1
    assert embedding["strategy"] == {"type": "Recreate"}
    assert classification["replicas"] == merged(VALUES, values)["classification"]["replicas"]


def test_a_volume_of_one_node_keeps_both_services_on_it() -> None:
    (near,) = pod("classification")["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    embedding = of_kind("Deployment", {})["headwater-embedding"]["spec"]["template"]["metadata"]["labels"]
    assert near["labelSelector"]["matchLabels"] == embedding
    assert near["topologyKey"] == "kubernetes.io/hostname"
    assert pod("classification")["tolerations"] == pod("embedding")["tolerations"]  # else it could not follow
    assert "affinity" not in pod("classification", EXAMPLES[1])


@pytest.mark.parametrize(("values", "claim"), [({}, "headwater-data"), (EXAMPLES[2], "mine")])
def test_both_services_use_one_claim_that_outlives_the_release(values: dict[str, Any], claim: str) -> None:
    used = {
        each["persistentVolumeClaim"]["claimName"]
        for target in TARGETS
        for each in pod(target, values)["volumes"]
        if "persistentVolumeClaim" in each
    }
    assert used == {claim}
    made = of_kind("PersistentVolumeClaim", values)
    assert set(made) == used - {"mine"}
    assert all(each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for each in made.values())


# Prometheus.


def test_prometheus_gives_the_services_the_jobs_of_the_alerts() -> None:
    assert of_kind("ServiceMonitor", {}) == {}
    monitor = of_kind("ServiceMonitor", EXAMPLES[1])["headwater"]
    (endpoint,) = monitor["spec"]["endpoints"]
    (rule,) = endpoint["relabelings"]
    label = rule["sourceLabels"][0].removeprefix("__meta_kubernetes_service_label_")
    alerts = (ROOT / "examples" / "monitoring" / "alerts.yml").read_text()
    (pattern,) = set(re.findall(r'job=~"([^"]*)"', alerts))
    for name, service in of_kind("Service", EXAMPLES[1]).items():
        labels = {re.sub(r"\W", "_", key): value for key, value in service["metadata"]["labels"].items()}
        assert re.fullmatch(pattern, rule["replacement"].replace("$1", labels[label])), name
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        target = labels["app_kubernetes_io_component"]
        assert endpoint["path"] in CREATE[target](Settings(store="")).openapi()["paths"]


def test_the_secret_that_the_docs_make_has_what_the_chart_reads() -> None:
    text = (ROOT / "docs" / "docker.md").read_text()
    (line,) = re.findall(r"^kubectl create secret generic (.*)$", text, re.M)
    name, *entries = line.replace("--from-file=", "").split()
    secrets = [each["secret"] for target in TARGETS for each in pod(target)["volumes"] if "secret" in each]
    (endpoint,) = of_kind("ServiceMonitor", EXAMPLES[1])["headwater"]["spec"]["endpoints"]
    read = endpoint["authorization"]["credentials"]
    assert {read["name"], *(secret["secretName"] for secret in secrets)} == {name}
    assert {read["key"], *(item["key"] for secret in secrets for item in secret["items"])} == set(entries)
    comment = (CHART / "values.yaml").read_text()
    assert all(f"`{entry}`" in comment for entry in entries)
