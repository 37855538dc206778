"""Every block of docs/python.md runs, one after the other, with a real store, a real head and a running service."""

import json
import re
from importlib.util import find_spec

import numpy as np
from helpers.paths import ROOT

import headwater
from services.cli import demo_photos

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
MAYBE = ("polars", "duckdb")
"""Libraries that the tests need not have. Both read what `test_the_table` checks: Arrow's C interface."""


def test_every_block_runs(home, services, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").write_bytes(photos[0])
    (tmp_path / "headwater.db").symlink_to(home.settings.store)
    (tmp_path / "heads").symlink_to(home.settings.heads)
    here = {"8001": services.classification_url.rpartition(":")[2], "mine": "gaussian", "photos": demo_photos.TASK}
    names: dict[str, object] = {}
    for block in BLOCKS:
        if [name for name in MAYBE if f"import {name}" in block and find_spec(name) is None]:
            continue
        code = re.sub(r"\b(8001|mine|photos)\b", lambda found: here[found[0]], block)
        exec(compile(code, "docs/python.md", "exec"), names)
    assert len(BLOCKS) == 9
    printed = capsys.readouterr().out
    assert "x.jpg" in printed
    search, batch, matrix = names["search"], names["batch"], names["matrix"]
    assert search.best_score_ > 0.6  # two classes, of which the larger has half of the rows
    assert batch.shape == (32, 1280)
    assert np.array_equal(names["vectors"].to_numpy(), matrix.X)


def test_the_table_has_the_rows_of_the_matrix(home):
    matrix = home.store.matrix(demo_photos.TASK, ["lite0"])
    table = headwater.to_arrow(matrix)
    assert hasattr(table, "__arrow_c_stream__")
    assert table["id"].to_pylist() == matrix.ids
    assert table["labels"].to_pylist() == matrix.y
    assert np.array_equal(np.stack(table["vector"].to_numpy()), matrix.X)
    assert table.schema.field("vector").type.list_size == matrix.X.shape[1]
    empty = headwater.to_arrow(home.store.matrix(demo_photos.TASK, ["lite0"], splits=["ood"]))
    assert (empty.num_rows, empty.schema) == (0, table.schema)


def test_the_notebook_has_the_blocks_of_the_page_and_ran_without_an_error():
    cells = json.loads((ROOT / "examples" / "python.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert ["".join(cell["source"]) for cell in code] == [block.rstrip() for block in BLOCKS]
    assert not [each for cell in code for each in cell["outputs"] if each["output_type"] == "error"]
    printing = [cell for cell in code if "print(" in "".join(cell["source"])]
    assert all(cell["outputs"] and cell["execution_count"] for cell in printing)
