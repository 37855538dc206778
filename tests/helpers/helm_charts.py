"""Renders a Helm chart: the part of Go's template language that the chart uses, and nothing else.

Known are ``if``, ``else``, ``with``, ``range``, ``end``, fields, variables, literals, and the functions of `FUNCTIONS`.
Anything else is an error, so a template cannot use what this module would render in another way than Helm.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

TOKEN = re.compile(r"(?:\s*\{\{-|\{\{) (.*?) (?:-\}\}\s*|\}\})", re.DOTALL)
WORD = re.compile(r'"[^"]*"|[^\s"]+')
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "not": lambda value: not value,
    "eq": lambda one, other: one == other,
    "default": lambda otherwise, value: value or otherwise,
    "quote": lambda value: json.dumps(_text(value)),
    "toJson": lambda value: json.dumps(value, sort_keys=True),
}


@dataclass
class Action:
    """A value that is written: ``{{ .Values.gpu.count }}``."""

    expression: str


@dataclass
class Block:
    """A branch or a loop: what it writes if the value of its expression is not empty, and if it is."""

    keyword: str = ""
    expression: str = ""
    body: list["Part"] = field(default_factory=list)
    otherwise: list["Part"] = field(default_factory=list)


Part: TypeAlias = str | Action | Block


def render(chart: Path, values: Mapping[str, Any], release: str = "headwater") -> list[dict[str, Any]]:
    """Return the documents of a chart: its own values, with `values` merged into them."""
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    context = {
        "Values": merged(yaml.safe_load((chart / "values.yaml").read_text()), values),
        "Release": {"Name": release},
        "Chart": {"AppVersion": described["appVersion"], "Version": described["version"]},
    }
    texts = [template(path.read_text(), context) for path in sorted((chart / "templates").glob("*.yaml"))]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, as Helm merges values: tables key by key, everything else as a whole."""
    both = {
        key: merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }
    return {**old, **both}


def template(text: str, context: Mapping[str, Any]) -> str:
    return "".join(_written(_parsed(text).body, context, {}))


def _parsed(text: str) -> Block:
    """Return the whole template as the body of one block."""
    above: list[tuple[Block, list[Part]]] = []
    root = current = Block()
    target, end = current.body, 0
    for token in TOKEN.finditer(text):
        target.append(_literal(text[end : token.start()]))
        end = token.end()
        keyword, _, rest = token[1].partition(" ")
        if keyword in {"if", "with", "range"}:
            above.append((current, target))
            current = Block(keyword, rest)
            target.append(current)
            target = current.body
        elif token[1] == "else":
            target = current.otherwise
        elif token[1] == "end":
            current, target = above.pop()
        else:
            target.append(Action(token[1]))
    assert current is root, f"{current.keyword} {current.expression} has no end"
    target.append(_literal(text[end:]))
    return root


def _literal(text: str) -> str:
    assert "{{" not in text, f"an action is spelt in an unknown way: {text}"
    return text


def _written(parts: list[Part], dot: Any, variables: Mapping[str, Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Block):
            yield from _block(part, dot, variables)
        elif isinstance(part, Action):
            yield _text(_value(part.expression, dot, variables))
        else:
            yield part


def _block(block: Block, dot: Any, variables: Mapping[str, Any]) -> Iterator[str]:
    names, _, expression = block.expression.rpartition(":= ")
    value = _value(expression, dot, variables)
    if not value:
        yield from _written(block.otherwise, dot, variables)
    elif block.keyword == "range":
        for key in sorted(value) if isinstance(value, dict) else range(len(value)):
            given = dict(zip(re.findall(r"\$\w+", names), (key, value[key]), strict=False))
            yield from _written(block.body, value[key], {**variables, **given})
    else:
        yield from _written(block.body, value if block.keyword == "with" else dot, variables)


def _value(expression: str, dot: Any, variables: Mapping[str, Any]) -> Any:
    value: list[Any] = []
    for call in expression.split(" | "):
        first, *rest = WORD.findall(call)
        if first in FUNCTIONS:
            value = [FUNCTIONS[first](*(_term(each, dot, variables) for each in rest), *value)]
        else:
            assert not rest, f"unknown function: {call}"
            value = [_term(first, dot, variables)]
    return value[0]


def _term(term: str, dot: Any, variables: Mapping[str, Any]) -> Any:
    if term.startswith("$"):
        return variables[term]
    if term.startswith("."):
        for name in filter(None, term.split(".")):
            dot = dot[name]
        return dot
    return json.loads(term)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
