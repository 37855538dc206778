"""The values of the Helm chart against their schema, and the renderer of the tests against Helm and Kubernetes."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from helpers.helm import CHART, EXAMPLES, VALUES
from helpers.helm_charts import merged, render, template

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def keys_of(values: Mapping[str, Any], schema: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, bool, bool]]:
    """(key, has a value, has a schema) of every fixed key of a table."""
    for key in sorted({*values, *schema["properties"]} - {"global"}):
        inner = schema["properties"].get(key, {})
        yield above + key, key in values, key in schema["properties"]
        if "properties" in inner:
            yield from keys_of(values.get(key, {}), inner, f"{above}{key}.")


def test_every_value_has_a_schema_and_every_schema_a_value() -> None:
    found = list(keys_of(VALUES, SCHEMA))
    assert len(found) > 20
    assert [each for each in found if not (each[1] and each[2])] == []


@pytest.mark.parametrize("values", EXAMPLES)
def test_the_schema_accepts_what_the_chart_takes(values: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(merged(VALUES, values), SCHEMA)


@pytest.mark.parametrize(
    "values",
    [
        {"gpu": {"resource": "gpu"}},
        {"gpu": {"resource": "nvidia.com/mig-1g.10gb: 1\n  privileged"}},
        {"gpu": {"count": -1}},
        {"gpu": {"count": "1"}},
        {"gpus": 2},
        {"embedding": {"replicas": 2}},
        {"embedding": {"settings": {"HEADWATER_MAX_QUEUE": 2048}}},
        {"embedding": {"settings": {"MAX_QUEUE": "2048"}}},
        {"embedding": {"memory": "16 GB"}},
        {"storage": {"accessMode": "ReadOnlyMany"}},
        {"keys": {"secret": ""}},
        {"image": {"registry": "registry.example.org"}},
    ],
)
def test_the_schema_refuses_what_would_not_run(values: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merged(VALUES, values), SCHEMA)


@pytest.mark.parametrize("values", EXAMPLES)
def test_documents_are_what_kubernetes_accepts(values: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    checked = [each for each in render(CHART, values) if "." not in each["apiVersion"].partition("/")[0]]
    assert len(checked) >= 4
    for document in checked:
        validator.validate(document, "1.33", strict=True)


@pytest.mark.skipif(shutil.which("helm") is None, reason="Helm is not installed")
@pytest.mark.parametrize("values", EXAMPLES)
def test_helm_renders_the_same(tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "values.json").write_text(json.dumps(values))
    command = ["helm", "template", "headwater", str(CHART), "--values", str(tmp_path / "values.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    theirs = [each for each in yaml.safe_load_all(done.stdout) if each]
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in theirs}
    assert by_name == {(each["kind"], each["metadata"]["name"]): each for each in render(CHART, values)}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a: {{ .Values.n }}", "a: 3"),
        ("{{ .Values.empty | default .Values.name | quote }}", '"x"'),
        ("a\n{{- if .Values.empty }}\nb\n{{- else }}\nc\n{{- end }}\nd", "a\nc\nd"),
        ('{{ if eq .Values.name "x" }}yes{{ end }}{{ if not .Values.name }}no{{ end }}', "yes"),
        ("{{- with .Values.list }}{{ range . }}[{{ . }}]{{ end }}{{ end }}", "[1][2]"),
        ("{{ range $k, $v := .Values.table }}{{ $k }}={{ $v }};{{ end }}", "a=1;b=2;"),
        ("{{ .Values.table | toJson }}", '{"a": 1, "b": 2}'),
    ],
)
def test_a_template_is_rendered_as_go_renders_it(text: str, written: str) -> None:
    values = {"n": 3, "empty": "", "name": "x", "list": [1, 2], "table": {"b": 2, "a": 1}}
    assert template(text, {"Values": values}) == written


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.missing }}",
        "{{ include .Values.n }}",
        "{{ if .Values.n }}",
        "{{.Values.n}}",
        "{{ .Values.n | indent 2 }}",
    ],
)
def test_a_template_with_anything_else_is_an_error(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        template(text, {"Values": {"n": 3}})
