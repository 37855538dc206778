"""Help pages, the version, and completion, as a shell shows them."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from services.cli.app import app

BIN = Path(sys.executable).parent
PAGES = typer.main.get_command(app)


def pages() -> Iterator[tuple[list[str], typer.core.TyperCommand]]:
    """The words of every command, with the command."""
    for name, command in PAGES.commands.items():
        yield [name], command
        yield from (([name, inner], each) for inner, each in getattr(command, "commands", {}).items())


def test_the_help_shows_every_command_and_option_whole(headwater):
    for columns in ("80", "60"):
        code, out, _ = headwater("--help", COLUMNS=columns)
        assert code == 0
        words = [line.split()[0] for line in out.splitlines() if line.split()]
        assert {*PAGES.commands, "--version", "--install-completion", "--show-completion"} <= set(words)
        assert "..." not in out.replace("[ARGS]...", "")
        assert max(map(len, out.splitlines())) <= int(columns)
        code, out, _ = headwater("compare", "--help", COLUMNS=columns)
        assert {"--accept-noncommercial", "--candidates"} <= set(re.split(r"[\s,]+", out))


@pytest.mark.parametrize("columns", ["80", "60"])
def test_no_help_page_cuts_a_name(columns):
    for words, command in pages():
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": columns}).output
        options = {name for parameter in command.params for name in parameter.opts if name.startswith("-")}
        assert options <= set(re.split(r"[\s,]+", shown)), words
        assert "…" not in shown, words


def test_every_option_and_argument_is_explained_in_a_sentence():
    for words, command in pages():
        for parameter in command.params:
            assert parameter.help[0].isupper(), (words, parameter.name)
            assert parameter.help.endswith("."), (words, parameter.name)


def test_the_version_names_python_and_torch_without_importing_it(headwater):
    code, out, err = headwater("--version")
    assert (code, out) == (
        0,
        f"headwater {version('headwater')}, Python {platform.python_version()}, torch {version('torch')}\n",
    ), err
    script = "import sys; sys.argv = ['headwater', '--version']\nfrom services.cli import main\n"
    script += "try: main()\nexcept SystemExit: assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)


def bash(script: str, *arguments: str, home: Path, **variables: str) -> str:
    """Standard output of a script that bash runs with `headwater` on its path."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home)} | variables
    command = ["bash", "--norc", "-c", script, "bash", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout


TAB = """
eval "$(headwater --show-completion)"
for line in "$@"; do
    COMP_WORDS=($line)
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    $(complete -p headwater | sed 's/.* -F \\([^ ]*\\) .*/\\1/') headwater
    echo "${COMPREPLY[*]}"
done
"""
"""Evaluates the completion that the command prints, and calls the function that bash calls on the tab key."""


def test_bash_completes_commands_options_encoders_and_heads(tmp_path):
    (tmp_path / "heads" / "cells" / "20260101T000000000Z-0123456789ab").mkdir(parents=True)
    lines = ["headwater tra", "headwater train --ki", "headwater train --kind lin", "headwater backfill --encoder mel"]
    lines += ["headwater evaluate ce", "headwater heads pro", "headwater ingest --modality th"]
    found = bash(TAB, *lines, home=tmp_path).splitlines()
    assert found == ["train", "--kind", "linear", "melstat", "cells", "promote", "thermal"]


def test_bash_keeps_the_completion_that_was_installed(tmp_path):
    bash("headwater --install-completion && true", home=tmp_path)  # bash replaces itself by a single command
    told = bash(f"source {tmp_path}/.bashrc; complete -p headwater", home=tmp_path)
    assert told.startswith("complete ")
    assert told.endswith(" headwater\n")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_have_a_script_and_answers(tmp_path, shell):
    assert "headwater" in bash("headwater", home=tmp_path, _HEADWATER_COMPLETE=f"source_{shell}")
    asked = {"_TYPER_COMPLETE_ARGS": "headwater tra", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    assert "train" in bash("headwater", home=tmp_path, _HEADWATER_COMPLETE=f"complete_{shell}", **asked)
