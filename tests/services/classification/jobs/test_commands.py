"""Every request becomes a command line that the command itself understands as it was meant, whatever its texts are."""

from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pydantic import ValidationError

from classifiers.training.kinds import KINDS
from services.classification.jobs.commands import COMMANDS
from services.cli.app import app
from services.web.schemas.jobs import AnyJob, HeadKind, JobRequest

FILES = Path("/jobs/x/files")
HOSTILE = "--store=/elsewhere; rm -rf $HOME `id`"


def understood(body: dict[str, Any], reads: list[str]) -> dict[str, Any]:
    """Return the values of the options and arguments with which the command would run."""
    request = JobRequest.model_validate(body).root
    line = COMMANDS[request.kind].line(request, FILES, reads)
    command = typer.main.get_command(app).commands[line[0]]
    return command.make_context(line[0], line[1:]).params


@pytest.mark.parametrize("text", ["clothing", HOSTILE, "--", "-t", "a\nb", "é=", " "])
def test_a_text_of_a_request_is_one_value(text):
    found = understood({"kind": "train", "task": text, "name": "a", "encoders": [text, "lite0"]}, [])
    assert (found["task"], found["encoder"], found["store"], found["heads"]) == (text, [text, "lite0"], None, None)
    found = understood({"kind": "predict", "head": text, "task": text}, [])
    assert (found["head"], found["task"], found["folder"]) == (text, text, ())
    found = understood({"kind": "suggest", "head": text, "task": text, "encoder": text}, [])
    assert (found["head"], found["task"], found["encoder"], found["store"]) == (text, text, text, None)
    found = understood({"kind": "ingest", "folder": text, "task": text, "labels_file": "x"}, ["/a/--json", "/a/b"])
    assert (found["source"], found["task"], str(found["labels"])) == (["/a/--json"], text, "/a/b")


def test_parameters_keep_their_types():
    values = {"C": 0.5, "covariance": "full", "correlation": True, "prompts": ["a {}", "--set=x=1"], "name": "0.5"}
    found = understood({"kind": "train", "task": "t", "name": "a", "parameters": values}, [])
    from services.cli import options

    assert options.parameters(found["set_"]) == values


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "ingest", "folder": "f"},
        {"kind": "backfill"},
        {"kind": "train", "task": "t", "name": "n"},
        {"kind": "compare", "task": "t"},
        {"kind": "learning-curve", "head": "h"},
        {"kind": "predict", "head": "h"},
        {"kind": "duplicates"},
        {"kind": "mistakes", "head": "h"},
        {"kind": "suggest", "head": "h"},
        {"kind": "cluster", "task": "t"},
    ],
    ids=lambda body: body["kind"],
)
def test_a_request_without_options_has_the_defaults_of_the_command(body):
    command = typer.main.get_command(app).commands[body["kind"]]
    found = understood(body, ["/f"] if "folder" in body else [])
    meant = {"json", "as_json", "names_only", "out", "source", "folder", "task", "name", "head", "encoder"}
    defaults = {
        each.name: each.get_default(command.make_context("x", [], resilient_parsing=True)) for each in command.params
    }
    for name, default in defaults.items():
        if name not in meant:
            assert (found[name] or None) == (default or None), name
    assert found["as_json"] is True
    assert found.get("encoder") in (None, (), "lite0", ["lite0"])


@pytest.mark.parametrize(
    ("seed", "good"), [(5, True), (5.0, True), (5.5, False), ("5", False), (True, False), (-1, False)]
)
def test_a_whole_number_may_have_a_point_as_in_json_schema(seed, good):
    body = {"kind": "compare", "task": "t", "seed": seed}
    if good:
        assert understood(body, [])["seed"] == 5
    else:
        with pytest.raises(ValidationError):
            JobRequest.model_validate(body)


def test_reviews_write_a_file_of_the_job_without_folders_and_take_every_option():
    bodies = [
        {"kind": "duplicates", "encoder": "e", "task": "t", "threshold": 0.25},
        {"kind": "mistakes", "head": "h", "task": "t"},
        {"kind": "suggest", "head": "h", "task": "t", "encoder": "e", "count": 7, "seed": 3},
        {"kind": "cluster", "task": "t", "encoder": "e", "clusters": 9, "nearest": 2, "delta": 0.5, "seed": 3}
        | {"rows_of": "r", "against": "a"},
    ]
    for body in bodies:
        found = understood(body, [])
        assert found["names_only"] is True
        assert Path(found["out"]) == FILES / COMMANDS[body["kind"]].file
        asked = {name: str(value) for name, value in body.items() if name != "kind"}
        assert {name: str(found[name]) for name in asked} == asked


def test_every_kind_of_request_has_a_command_and_every_kind_of_head_is_known():
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in get_args(AnyJob)}
    assert kinds == set(COMMANDS)
    assert get_args(HeadKind) == tuple(KINDS)


def test_the_result_has_no_field_that_names_a_path_of_the_server():
    output = {"name": "a", "version": "v", "report": "/srv/heads/a/report.md", "store": "/srv/db", "out": "/srv/x"}
    for command in COMMANDS.values():
        assert "/srv" not in str(command.result(output))
    assert COMMANDS["train"].result(output)["head"] == "a@v"
