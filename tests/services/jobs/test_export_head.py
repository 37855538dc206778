"""The command that writes a head as ONNX: the file's answers are those of the head, or there is no file."""

import json

import numpy as np
import onnxruntime
import pytest
from helpers.commands import runner
from helpers.toys import fill, make_toy

from classifiers.export import model
from classifiers.export.scores import SCORES
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from store import Store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return the folder of a store with the vectors of two encoders, and of heads on one of them and on both."""
    folder = tmp_path_factory.mktemp("home")
    store, registry = Store.open(folder / "db"), Registry(folder / "heads")
    fill(store, make_toy(), encoder="toy")
    fill(store, make_toy(dim=8), encoder="small")
    for name, kind, encoders in (("g", "gaussian", ["toy"]), ("two", "fusion", ["toy", "small"])):
        train(store, registry, task="toy", encoders=encoders, kind=kind, name=name)
    return folder


@pytest.fixture
def export(home):
    run = runner({"HEADWATER_STORE": str(home / "db"), "HEADWATER_HEADS": str(home / "heads")})
    return lambda *arguments, code=0: run("export-head", *arguments, code=code)


def answers(path, **inputs):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["probabilities"], inputs)[0]


def test_the_file_answers_as_the_head_and_says_what_it_is(home, export, tmp_path):
    path = tmp_path / "new" / "g.onnx"
    told = json.loads(export("--head", "g", "--out", path, "--json")[0])
    head = Registry(home / "heads").load("g").head
    X = make_toy(300, seed=5).X
    np.testing.assert_allclose(answers(path, vectors=X), head.predict_proba(X), atol=1e-5)
    assert told["inputs"] == {"vectors": ["n", 12]}
    assert told["outputs"] == {"probabilities": ["n", 5]}
    assert told["checked_rows"] == 256
    assert told["largest_difference"] < 1e-5
    assert told["bytes"] == path.stat().st_size
    assert [each.name for each in path.parent.iterdir()] == ["g.onnx"]


def test_a_head_on_two_encoders_has_an_input_for_each(home, export, tmp_path):
    path = tmp_path / "two.onnx"
    shown, _ = export("--head", "two", "--out", path)
    assert "toy (n, 12), small (n, 8)" in shown
    head = Registry(home / "heads").load("two").head
    X, Y = make_toy(300, seed=5).X, make_toy(300, dim=8, seed=5).X
    wanted = head.predict_proba(np.concatenate([X, Y], axis=1))
    np.testing.assert_allclose(answers(path, toy=X, small=Y), wanted, atol=1e-5)


def test_what_cannot_be_written_leaves_no_file(home, export, tmp_path, monkeypatch):
    path = tmp_path / "g.onnx"
    assert "unknown head 'none'" in export("--head", "none", "--out", path, code=1)[1]
    empty = str(tmp_path / "empty")
    Store.open(empty).labels.table.create()
    assert "no vectors of encoder" in export("--head", "g", "--out", path, "--store", empty, code=1)[1]
    monkeypatch.setattr(model, "scores", lambda w, head, x: w.scaled(SCORES[head.kind](w, head, x), 1.01))
    assert "the ONNX model of g was not written: a probability differs" in export("--head", "g", "--out", path, code=1)[
        1
    ].replace("\n", " ")
    assert not path.exists()
    monkeypatch.undo()
    path.write_bytes(b"mine")
    assert "exists; name a file that does not" in export("--head", "g", "--out", path, code=1)[1].replace("\n", " ")
    assert path.read_bytes() == b"mine"
