"""The command that `headwater compare` prints for a candidate."""

import shlex

from classifiers.compare.candidates import parse
from services.cli.comparisons import train_command


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
