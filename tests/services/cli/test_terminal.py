"""Tables for the terminal: no name is ever cut, and each figure is explained where it is shown."""

import os
import pty
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.cli import terminal

CELLS = st.text("abc-_@.=猫", min_size=1, max_size=50)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), width=st.integers(20, 120))
@pytest.mark.parametrize("tty", [True, False])
def test_every_cell_stands_whole_on_one_line(capsys, monkeypatch, rows, width, tty):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    terminal.table(("file", "head", "label"), rows)
    lines = capsys.readouterr().out.splitlines()
    for row in rows:
        for cell in row:
            assert any(cell in line for line in lines)


def test_a_narrow_terminal_gets_the_rows_as_paragraphs():
    """In a real terminal of 50 columns, a line is longer only if it holds a single longer name."""
    script = "from services.cli import terminal\n"
    script += "terminal.table(['rank', 'head', 'NLL'], [[1, 'gaussian project=pca dims=0.8 norm=unit', '0.25']])"
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "50"}
    subprocess.run([sys.executable, "-c", script], stdout=follower, env=environment, check=True, timeout=60)
    os.close(follower)
    lines = os.read(leader, 4096).decode().splitlines()
    os.close(leader)
    assert lines[:2] == ["rank 1", "    head gaussian project=pca dims=0.8 norm=unit"]
    assert lines[2] == "    NLL 0.25"
    assert lines[3].startswith("NLL: ")


def test_figures_are_explained_below_the_table(capsys):
    terminal.table(("split", "NLL", "ECE"), [("val", "0.1", "0.2")])
    told = capsys.readouterr().out
    assert "NLL: negative log-likelihood" in told
    assert "ECE: expected calibration error" in told
    assert "AURC" not in told


def test_a_result_is_shown_as_it_is(capsys):
    terminal.pairs({"open_clip_torch": "[bold]3.0[/bold] :smile:", "rows": 12345, "share": -0.00001})
    assert capsys.readouterr().out.splitlines() == [
        "open_clip_torch  [bold]3.0[/bold] :smile:",
        "rows             12,345",
        "share            0",
    ]
