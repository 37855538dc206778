"""What `headwater compare` prints: the command that trains a candidate, and the difference of two heads."""

import shlex
from types import SimpleNamespace

from classifiers.compare.candidates import parse
from classifiers.evaluation.paired import Difference, Pair
from services.cli.comparisons import show_pair, train_command


def test_the_command_trains_the_candidate():
    [candidate] = parse("gaussian dims=0.9 project=pca 'priors={\"a\": 1}' @ lite0", ["lite0"])
    words = shlex.split(train_command(candidate, "my task!", ["--store", "x y"]))
    assert words[:8] == ["headwater", "train", "--task", "my task!", "--name", "my-task", "--kind", "gaussian"]
    assert words[8:] == [
        "--encoder",
        "lite0",
        "--set",
        "dims=0.9",
        "--set",
        "project=pca",
        "--set",
        'priors={"a": 1}',
        "--store",
        "x y",
    ]


def test_a_difference_that_rounds_to_zero_has_no_minus(capsys):
    tiny = Difference(-1e-6, -2e-6, 1e-6, 0.5)
    trial = SimpleNamespace(candidate=SimpleNamespace(label="gaussian @ lite0"), outcomes=[0])
    comparison = SimpleNamespace(pair=lambda *_: (trial, trial, Pair(tiny, tiny)))
    show_pair(comparison, ("1", "2"), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines if "A - B" in line] == [
        "0.0 (0.0 to 0.0)",
        "0.0000 (0.0000 to 0.0000)",
    ]
