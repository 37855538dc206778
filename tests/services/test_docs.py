"""The documentation is complete and true: all that a user can type, set or read is in it, and nothing else is."""

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer.main
from helpers import metrics
from helpers.paths import ROOT

import store
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.training.kinds import KINDS, make_estimator
from classifiers.training.pipeline import EVALUATED
from embedder import errors, registry
from embedder.checks import CHECKS
from embedder.encoders import mlcd
from services import classification, embedding
from services.classification.readiness import CAPABILITIES
from services.cli import completion
from services.cli.app import app
from services.jobs.tune.recipe import TowerRecipe
from services.settings import Settings
from services.web.access.errors import DENIED
from services.web.access.keys import Role
from services.web.access.roles import ENDPOINTS
from services.web.columns import COLUMNS
from services.web.errors import ERRORS, HEAD_CODES, HTTP_CODES, INTERNAL, REFUSED, REMOTE
from services.web.metrics import STAGES

Command = typer.core.TyperCommand
Parameter = typer.core.TyperOption | typer.core.TyperArgument

DOCS = ROOT / "docs"
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")] + list(DOCS.glob("*.md"))
)
PACKAGES = ("headwater", "embedder", "store", "classifiers", "services")
ITEM_ERRORS = {*get_args(errors.Reason), "bad_base64", "bad_vector", "unknown_id"}


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def sections(text: str, level: int) -> dict[str, str]:
    """Title → text of every section of a level. It ends at the next heading of that level or above."""
    found = re.finditer(rf"^#{{{level}}} (.+?)\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    return {match[1]: match[2] for match in found}


def items(text: str) -> list[str]:
    """The items of the lists in a text, without their line breaks."""
    return [" ".join(item.split()) for item in re.findall(r"^- (.*?)(?=^- |^\n|\Z)", text, re.MULTILINE | re.DOTALL)]


def words(text: str) -> set[str]:
    """The texts between backticks, whole: ``export-encoder`` does not count as ``export``."""
    return set(re.findall(r"`([^`\n]*)`", text))


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their heads."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    rules = [i for i, row in enumerate(rows) if set("".join(row)) <= set("-|: ")]
    return [row for i, row in enumerate(rows) if not {i, i + 1} & set(rules)]


# Commands


def commands() -> dict[str, Command]:
    """Every command by what a user types, `heads list` as well as `ingest`."""

    def inside(prefix: str, command: Command) -> Iterable[tuple[str, Command]]:
        if not isinstance(command, typer.core.TyperGroup):
            return [(prefix, command)]
        return [each for name, sub in command.commands.items() for each in inside(f"{prefix} {name}".strip(), sub)]

    return dict(inside("", typer.main.get_command(app)))


def options(command: Command) -> dict[str, Parameter]:
    return {name: each for each in command.params if each.param_type_name == "option" for name in each.opts}


def told_options(section: str) -> dict[str, str]:
    """Option → the list item that explains it. An item begins with its options, before a colon."""
    return {
        name: item
        for item in items(section)
        if item.startswith("`-")
        for name in re.findall(r"`(--?[a-zA-Z][\w-]*)[ `]", item.partition("`:")[0] + "`")
    }


def told_default(item: str) -> str | None:
    found = re.search(r"\(default `(.*?)`\)", item)
    return found and found[1]


def default(parameter: Parameter) -> str | None:
    """The default that the docs must show; None for a switch that is off, and for an option without a default."""
    value = parameter.default
    if value is None or value is False or value == () or value == []:
        return None
    return str(value.value if isinstance(value, Enum) else value)


def command_faults(text: str, known: Mapping[str, Command]) -> list[str]:
    """The faults of the page on commands: entries that are missing, invented or wrong."""
    told = sections(text, 3)
    faults = [f"no section on {name}" for name in known if name not in told]
    faults += [f"no command {name}" for name in told if name not in known]
    for name, command in ((name, known[name]) for name in told if name in known):
        has, says = options(command), told_options(told[name])
        faults += [f"{name} {option} is missing" for option in has.keys() - says.keys() - {"--help"}]
        faults += [f"{name} has no {option}" for option in says.keys() - has.keys()]
        faults += [
            f"{name} {option}: default {default(has[option])}, not {told_default(item)}"
            for option, item in says.items()
            if option in has and default(has[option]) != told_default(item)
        ]
        arguments = [each.name or "" for each in command.params if each.param_type_name == "argument"]
        faults += [
            f"{name} {each.upper()} is missing"
            for each in arguments
            if not re.search(rf"(?<![\w-]){re.escape(each.rstrip('_').upper())}(?![\w-])", told[name])
        ]
    return faults


def test_every_command_and_option_has_its_place_in_the_docs_and_no_other_has():
    assert command_faults(read("commands.md"), commands()) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("### export\n", "### exports\n", "no section on export"),  # `export-encoder` is still there
        ("- `--tokens`:", "- `--token`:", "backfill --tokens is missing"),
        ("- `--tokens`:", "- `--token`:", "backfill has no --token"),
        ("(default `512`)", "(default `511`)", "backfill --commit-rows: default 512, not 511"),
        ("`SOURCE` is", "It is", "ingest SOURCE is missing"),
        ("- `--split NAME`:", "- `--splits NAME`:", "evaluate --split is missing"),  # of another command it stays
    ],
)
def test_a_fault_in_the_page_on_commands_is_found(old, new, fault):
    text = read("commands.md")
    assert old in text
    assert fault in command_faults(text.replace(old, new, 1), commands())


def test_every_option_of_the_program_itself_stands_at_the_head_of_the_page():
    head = read("commands.md").partition("\n## ")[0]
    assert set(told_options(head)) == {*options(typer.main.get_command(app)), "--help"}


def test_no_switch_has_a_counterpart_that_the_docs_do_not_name():
    assert [each for command in commands().values() for each in command.params if each.secondary_opts] == []


def test_every_option_that_any_page_names_exists():
    known = {option for command in commands().values() for option in options(command)} | {"--help"}
    known |= set(options(typer.main.get_command(app)))
    named = {
        (page.name, word.split()[0]) for page in PAGES for word in words(page.read_text()) if word.startswith("--")
    }
    assert [(page, option) for page, option in sorted(named) if option not in known] == []


def test_every_kind_of_head_is_named_where_it_can_be_typed():
    kinds = words(told_options(sections(read("commands.md"), 3)["train"])["--kind"])
    assert set(KINDS) <= kinds
    assert tuple(KINDS) == completion.KINDS


def test_every_split_of_an_evaluation_is_named_where_it_can_be_typed_and_no_other():
    told = words(told_options(sections(read("commands.md"), 3)["evaluate"])["--split"])
    assert told & set(store.SPLITS) == set(EVALUATED)
    assert completion.SPLITS == EVALUATED


def test_every_command_line_in_the_docs_can_be_typed():
    lines = [
        (page.name, line.partition("#")[0].split()[1:])
        for page in PAGES
        for line in re.findall(r"(?:^|`)(headwater [a-z][^`\n]*)", page.read_text(), re.MULTILINE)
    ]
    assert lines
    for page, typed in lines:
        name = next((each for each in (" ".join(typed[:2]), typed[0]) if each in commands()), None)
        if typed[0] in ("heads", "reproduce") and name is None:
            continue  # a group
        assert name, (page, typed)
        used = {word.partition("=")[0] for word in typed if word.startswith("-") and word != "-"}
        has = options(commands()[name]).keys() | {"--help"}
        assert used <= has, (page, typed, used - has)


def test_the_columns_of_rows_stand_in_the_docs_with_what_they_need():
    section = sections(read("http.md"), 3)["Rows as columns"]
    told = {}
    for names, kinds, needs, _ in (row for row in cells(section) if len(row) == 4):
        for name, kind in zip(re.findall(r"`(\w+)`", names), kinds.split(", ") * 2, strict=False):
            told[name] = (next(iter(re.findall(r"`(\w+)`", needs)), None), kind)
    assert {name: needs for name, (needs, _) in told.items()} == {name: each.needs for name, each in COLUMNS.items()}
    widths = {name: (32 if name == "id" else np.dtype(kind).itemsize) for name, (_, kind) in told.items()}
    assert widths == {name: each.width for name, each in COLUMNS.items()}


# Settings and metrics


def test_every_setting_stands_in_the_docs_with_its_default():
    told = {row[0].strip("`"): row[1].strip("`") for row in cells(sections(read("settings.md"), 2)["Settings"])}
    settings = Settings().environment()
    assert set(told) == {f"HEADWATER_{name.upper()}" for name in Settings.model_fields}
    for name, value in told.items():
        assert value == settings[name].replace(str(Path.home()), "~").removesuffix(".0"), name


def test_every_setting_that_any_page_names_exists():
    known = {f"HEADWATER_{name.upper()}" for name in Settings.model_fields}
    named = {(page.name, name) for page in PAGES for name in re.findall(r"HEADWATER_\w+", page.read_text())}
    assert [each for each in sorted(named) if each[1] not in known] == []


def test_every_metric_stands_in_the_docs_with_its_labels_and_no_other():
    rows = {row[0].strip("`"): row[1] for row in cells(sections(read("operations.md"), 2)["Metrics"])}
    labels = {name: words(told.partition(":")[0]) for name, told in rows.items()}
    assert labels == {name: set(found) for name, found in metrics.own().items()}
    assert words(rows["headwater_stage_seconds"]) == {"stage", *STAGES}


def test_the_docs_say_of_every_error_code_what_the_operator_does():
    errors = cells(sections(read("operations.md"), 2)["Errors"])
    told = [word for row in errors for word in re.findall(r"`(\w+)`", row[0])]
    table = cells(sections(read("http.md"), 2)["Error codes"].partition("###")[0])
    assert len(set(told)) == len(told)
    assert set(told) == {word for row in table for word in words(row[1])}  # compared with the code below


# Heads, adapters, encoders


def told_parameters(text: str) -> dict[str, str | None]:
    """Parameter → its default in brackets, from the first cells of the tables in a section."""
    return {
        name: value or None for row in cells(text) for name, value in re.findall(r"`(\w+)`(?: \(([^)`]*)\))?", row[0])
    }


def shown(value: Any) -> str | None:
    """A default as the docs write it; None if they describe it in words."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.5f}".rstrip("0").rstrip(".")
    return None if value is None or isinstance(value, list) else str(value)


def head_faults(text: str) -> list[str]:
    told = sections(text, 2)
    shared, faults = told_parameters(told["The transform in every head"]), []
    for kind in KINDS:
        if kind not in told:
            faults.append(f"no section on {kind}")
            continue
        has, says = make_estimator(kind, {}).get_params(), told_parameters(told[kind])
        faults += [f"{kind} {name} is missing" for name in has.keys() - says.keys() - shared.keys()]
        faults += [f"{kind} has no {name}" for name in says.keys() - has.keys()]
        faults += [
            f"{kind} {name}: {shown(value)}"
            for name, value in has.items()
            if shown(value) is not None and {**shared, **says}.get(name) != shown(value)
        ]
    every = {name for kind in KINDS for name in make_estimator(kind, {}).get_params()}
    return faults + [f"no head has {name}" for name in shared.keys() - every]


def test_every_kind_of_head_and_parameter_stands_in_the_docs_with_its_default():
    assert head_faults(read("heads.md")) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## linear\n", "## lines\n", "no section on linear"),
        ("`pooling` (0)", "`pool` (0)", "gaussian pooling is missing"),
        ("`pooling` (0)", "`pool` (0)", "gaussian has no pool"),
        ("`rank` (128)", "`rank` (64)", "bilinear rank: 128"),
    ],
)
def test_a_fault_in_the_page_on_heads_is_found(old, new, fault):
    text = read("heads.md")
    assert old in text
    assert fault in head_faults(text.replace(old, new, 1))


def test_every_parameter_of_adapters_stands_in_the_docs_with_its_default():
    text = sections(read("clusters.md"), 2)["adapt"]
    assert told_parameters(text) == {field.name: str(field.default).removesuffix(".0") for field in fields(Recipe)}
    assert [loss for loss in LOSSES if loss not in words(text)] == []


def test_every_parameter_of_a_networks_training_stands_in_the_docs_with_its_default():
    told = told_parameters(sections(read("clusters.md"), 2)["Training the network itself"])
    assert told == {field.name: shown(field.default) for field in fields(TowerRecipe)}


def test_every_encoder_and_check_stands_in_the_docs():
    text = read("encoders.md")
    told = {word for row in cells(sections(text, 2)["All names"]) for word in words(row[0])}
    plugins = {point.name for point in registry.entry_points(group=registry.ENTRY_POINTS)}
    assert [name for name in registry.names() if name not in told | plugins] == []
    towers = {row[0].strip("`") for row in cells(sections(text, 2)["MLCD"])}
    assert towers == set(mlcd.CONFIGS)
    checks = {row[0].strip("`") for row in cells(sections(text, 2)["Encoders of your own"])}
    assert checks == {check.__name__ for check in CHECKS}


def test_a_recommended_encoder_exists():
    """Every recommended name fits a pattern of the registry, so it can be loaded."""
    rows = cells(sections(read("encoders.md"), 2)["Which encoder for what"])
    patterns = [re.sub(r"<[^>]*>", "[^/@]+", name) for name in registry.names()]
    advised = {word for row in rows for word in words(row[1])}
    assert advised
    assert [name for name in advised if not any(re.fullmatch(each, name) for each in patterns)] == []


# HTTP


def test_every_error_code_stands_in_the_docs_and_no_other():
    text = read("http.md")
    whole, of_items = sections(text, 2)["Error codes"], sections(text, 3)["Error codes of an item"]
    told = {int(row[0]): words(row[1]) for row in cells(whole.partition("###")[0])}
    codes: dict[int, set[str]] = {
        422: {"bad_request"},
    }
    denied = [(error.status, error.code) for error in DENIED]
    refused = [(kind.status, kind.code) for kind in REFUSED]
    others = [*HTTP_CODES.items(), *HEAD_CODES.items(), INTERNAL, *REMOTE]
    for status, code in [*ERRORS.values(), *others, *denied, *refused]:
        codes.setdefault(status, set()).add(code)
    assert told == codes
    assert {row[0].strip("`") for row in cells(of_items)} == ITEM_ERRORS


def test_the_roles_of_the_endpoints_stand_in_the_docs():
    told = {row[0].strip("`"): words(row[1]) for row in cells(sections(read("http.md"), 3)["Keys"])}
    needed = {role.name: {each for each, its in ENDPOINTS.items() if its is role} for role in Role}
    assert told["write"] == needed["write"]
    assert told["admin"] == needed["admin"]
    assert told["read"] == {each for each in needed["read"] if each.startswith("POST ")}
    open_ = {each.removeprefix("GET ") for each, role in ENDPOINTS.items() if role is None}
    assert told["none"] == {path for path in open_ if "{" not in path}


def test_every_capability_stands_in_the_docs_and_no_other():
    told = [row[0].strip("`") for row in cells(sections(read("http.md"), 3)["Readiness"])]
    assert tuple(told) == CAPABILITIES


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_every_endpoint_stands_in_the_docs(service, tmp_path):
    made = service.create_app(Settings(store="", heads=tmp_path)).openapi()
    told = {
        (method, path.partition("?")[0])
        for method, path in re.findall(r"`(GET|POST|DELETE) (/[^` ]*)`", read("http.md"))
    }
    assert {(method.upper(), path) for path, found in made["paths"].items() for method in found} <= told


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_openapi_is_golden(service, tmp_path):
    """To accept a change: python -m services.openapi docs"""
    made = service.create_app(Settings(store="", heads=tmp_path)).openapi()
    golden = json.loads((DOCS / f"openapi-{service.__name__.rpartition('.')[2]}.json").read_text())
    assert made == golden


# The house


def test_every_room_is_named_once_and_every_name_is_a_room():
    rooms = {
        folder.parent.relative_to(ROOT).as_posix() + "/"
        for name in PACKAGES
        for folder in (ROOT / name).rglob("__init__.py")
    }
    named = Counter(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:/\w+)*/)`", read("architecture.md")))
    assert set(named) == rooms
    assert [room for room, times in named.items() if times > 1] == []


def test_every_import_contract_is_explained():
    config = (ROOT / "pyproject.toml").read_text()
    contracts = re.findall(r'^\[\[tool\.importlinter\.contracts\]\]\n(?:#.*\n)*name = "(.*)"', config, re.MULTILINE)
    assert contracts
    told = {row[0] for row in cells(sections(read("architecture.md"), 2)["Import contracts"])}
    assert told == set(contracts)


def test_every_path_that_the_pages_for_developers_name_exists():
    named = {word for page in ("docs/architecture.md", "CONTRIBUTING.md") for word in words((ROOT / page).read_text())}
    folders = (*PACKAGES, "tests", "docs", "benchmarks", "examples", ".ci")
    paths = [word for word in named if "/" in word and word.partition("/")[0] in folders]
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_target_of_make_that_a_page_names_exists():
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (page.name, target)
        for page in PAGES
        for target in re.findall(r"(?:^|`|=\S+ )make ([a-z][\w-]*)", page.read_text(), re.MULTILINE)
    }
    assert named
    assert [each for each in sorted(named) if each[1] not in targets] == []


def test_every_build_argument_and_variable_of_the_containers_stands_in_the_docs_and_no_other():
    text = read("docker.md")
    told = {row[0].partition("` ")[0].strip("`") for row in cells(sections(text, 2)["The images"]) if " (" in row[0]}
    assert told == set(re.findall(r"^ARG (\w+)", (ROOT / "services" / "Dockerfile").read_text(), re.MULTILINE))
    files = "".join(path.read_text() for path in ROOT.glob("docker-compose*.yml"))
    variables = set(re.findall(r"\$\{(\w+)", files))
    assert variables == set(re.findall(r"`?(\w+)=\S+ docker compose", text))


def test_every_benchmark_is_named_and_every_named_one_exists():
    """A folder of benchmarks counts by its ``__main__``."""
    benchmarks = ROOT / "benchmarks"
    modules = {
        f"benchmarks.{(path.parent if path.name == '__main__.py' else path).stem}"
        for path in (*benchmarks.glob("*.py"), *benchmarks.glob("*/__main__.py"))
        if '__name__ == "__main__"' in path.read_text() and path != benchmarks / "__main__.py"
    }
    assert modules - {f"benchmarks.{name}" for name in re.findall(r"benchmarks\.(\w+)", read("benchmarks.md"))} == set()
    named = {name for page in PAGES for name in re.findall(r"python -m benchmarks\.(\w+)", page.read_text())}
    assert {f"benchmarks.{name}" for name in named} <= modules


def test_the_picture_and_the_table_of_readme_are_one_recording():
    """Both are written by docs/pictures/record.py; nobody edits one of them alone."""
    recorded = (DOCS / "pictures" / "demo.txt").read_text()
    table = (ROOT / "README.md").read_text().split("<!-- recorded -->")[1].strip("`\n")
    assert table
    assert table in recorded
    drawn = html.unescape(
        "".join(re.findall(r"<text [^>]*>([^<]*)</text>", (DOCS / "pictures" / "demo.svg").read_text()))
    )
    assert Counter(drawn) - Counter({" ": drawn.count(" "), "\xa0": drawn.count("\xa0")}) >= Counter(
        "".join(recorded.split())
    )


def test_readme_stays_on_two_screens():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert [len(cells(table)) for table in tables if len(cells(table)) > 8] == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_leads_somewhere():
    broken = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not re.match(r"https?:", link) and (
                not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
            ):
                broken.append((page.name, link))
    assert broken == []
