"""The rules and the dashboard in examples/monitoring use metrics, labels and codes that exist, and can be read."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, get_args

import pytest
import yaml
from helpers.metrics import families
from helpers.paths import ROOT

from embedder import errors
from services.settings import Settings
from services.web.access.errors import DENIED
from services.web.errors import ERRORS, HEAD_CODES, HTTP_CODES, REFUSED
from services.web.metrics import STAGES

FOLDER = ROOT / "examples" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
SCRAPED = {"job", "instance"}
"""Labels that Prometheus itself adds."""
CODES = {code for _, code in ERRORS.values()} | {*HTTP_CODES.values(), *HEAD_CODES.values()}
CODES |= {each.code for each in (*DENIED, *REFUSED)} | {"internal", "unexpected_answer", "service_refused"}
VALUES = {
    "code": CODES,
    "outcome": {"ok", "stored", "quarantined", *get_args(errors.Reason)},
    "stage": set(STAGES),
    "state": {"loaded", "configured", "done", "failed"},
}


NUMBERS = {3: "three", 15: "fifteen"}
DCGM_LABELS = frozenset({"gpu", "UUID", "modelName", "Hostname", "GPU_I_ID", "GPU_I_PROFILE"})
"""Labels of each metric of NVIDIA's DCGM exporter that this project uses."""
DCGM_FIELDS = {
    *("GR_ENGINE_ACTIVE", "SM_ACTIVE", "PIPE_TENSOR_ACTIVE", "DRAM_ACTIVE", "PCIE_RX_BYTES", "NVJPG0_ACTIVE"),
    *("GPU_UTIL", "FB_USED", "FB_FREE", "XID_ERRORS", "XID_ERRORS_COUNT", "ROW_REMAP_FAILURE"),
    *("GPU_TEMP", "POWER_USAGE", "SM_CLOCK"),
}
"""Fields that DCGM and its exporter have (dcgm_fields.h, and `etc/*.csv` of the exporter), without their prefixes."""


def documented_dcgm() -> set[str]:
    return set(re.findall(r"`(DCGM_\w+)`", (ROOT / "docs" / "operations.md").read_text()))


def test_every_metric_of_a_gpu_that_the_docs_name_exists():
    assert {re.sub(r"^DCGM_(?:FI_DEV|FI_PROF|EXP)_", "", name) for name in documented_dcgm()} == DCGM_FIELDS


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    yield from ((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"])


def plain(expression: str) -> str:
    """The expression with values in place of Grafana's variables."""
    return expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def selectors(expression: str) -> Iterable[tuple[str, Mapping[str, str]]]:
    """(metric, label → value) of every selector in an expression."""
    for name, inside in re.findall(r"\b((?:headwater|process|python|DCGM)_\w+|up)\b(?:\{([^}]*)\})?", expression):
        yield name, dict(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', inside))


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_asks_for_metrics_and_labels_that_exist(title, expression):
    known = families() | {"up": frozenset()} | dict.fromkeys(documented_dcgm(), DCGM_LABELS)
    found = list(selectors(expression))
    assert found
    for name, labels in found:
        assert name in known, title
        assert labels.keys() <= known[name] | SCRAPED, title
        for label, value in labels.items():
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label], title
    grouped = {each.strip() for by in re.findall(r"\bby \(([^)]*)\)", expression) for each in by.split(",")}
    assert grouped <= SCRAPED.union(*(known[name] for name, _ in found)), title


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_is_promql(title, expression):
    parser = pytest.importorskip("promql_parser")
    assert parser.parse(plain(expression)), title


def test_a_legend_names_labels_that_the_expression_leaves():
    for panel in panels():
        for target in panel["targets"]:
            by = re.search(r"\bby \(([^)]*)\)", target["expr"])
            left = {each.strip() for each in by[1].split(",")} if by else None
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            [(name, _), *_] = selectors(target["expr"])
            assert named <= (left if left is not None else SCRAPED | families()[name]), panel["title"]


def test_the_docs_count_the_alerts():
    told = re.search(r"`alerts.yml`: (\w+) alerts, (\w+) of them for", (ROOT / "docs" / "operations.md").read_text())
    assert told is not None
    of_gpus = [rule for rule in RULES if "DCGM" in rule["expr"]]
    assert (told[1], told[2]) == (NUMBERS[len(RULES)], NUMBERS[len(of_gpus)])


def test_the_dashboard_can_be_imported_into_any_grafana():
    assert {panel["type"] for panel in DASHBOARD["panels"]} == {"row", "timeseries"}  # part of every Grafana
    assert DASHBOARD.get("id") is None
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for panel in panels():
        used = [panel, *panel["targets"], *(each for each in variables.values() if each["type"] == "query")]
        assert all(each["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for each in used)
        assert panel["description"]
    named = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(DASHBOARD)))
    assert named == set(variables)


def test_no_panels_overlap():
    for one, other in combinations((panel["gridPos"] for panel in DASHBOARD["panels"]), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart


def test_every_alert_has_a_severity_and_says_what_happened_and_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_prometheus_reads_both_services_where_they_listen_by_default():
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    settings = Settings()
    assert targets == {
        f"headwater-{name}": [f"127.0.0.1:{getattr(settings, f'{name}_port')}"]
        for name in ("embedding", "classification")
    }
    assert all((FOLDER / file).is_file() for file in config["rule_files"])
    jobs = {value for _, text in expressions() for name, labels in selectors(text) for value in [labels.get("job")]}
    patterns = [value for value in jobs if value and "$" not in value]
    assert all(re.fullmatch(pattern, job) for pattern in patterns for job in targets)
