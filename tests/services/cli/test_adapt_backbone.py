"""`adapt --train backbone` as a user types it: its result, its next command, and options that do not fit together."""

import json

import pytest
from helpers.tuning import RECIPE, make_home

SHORT = [word for name, value in (RECIPE | {"epochs": 1}).items() for word in ("--set", f"{name}={value}")]


@pytest.fixture
def home(tmp_path, cache_dir):
    return make_home(tmp_path, cache_dir)


def test_the_printed_command_embeds_with_the_trained_network(headwater, home):
    code, out, err = headwater("adapt", "--train", "backbone", "-e", home.encoder.name, "--judge", "colours", *SHORT)
    assert code == 0, err
    lines = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert (lines["images"].strip(), lines["split"].strip()) == ("24", "val")
    assert len(lines["accuracy"].split(" → ")) == 2
    *next_command, name = out.splitlines()[-1].removeprefix("next: headwater ").split()
    assert next_command == ["backfill", "--encoder"]
    assert name.startswith("timm/test_vit@adapters/towers/test_vit-mlcd-")
    code, out, err = headwater("backfill", "--encoder", name, "--backend", "torch-cpu-fp32", "--json")
    assert (code, json.loads(out)["embedded"]) == (0, 36), err


def test_what_does_not_fit_together_is_refused(headwater, home):
    name = home.encoder.name
    for asked, words in {
        ("-e", name, "--judge", "colours"): "--judge needs --train backbone",
        ("-e", name, "--train", "backbone", "--clusters", "3", "--from", "x"): "give --clusters or --from",
        ("-e", name, "--train", "backbone", "--loss", "unicom"): "loss must be one of mlcd, mlc, single",
        ("-e", "melstat", "--train", "backbone"): "the network of melstat cannot be trained",
        ("-e", "lite0", "--train", "backbone"): "headwater backfill --encoder lite0",
    }.items():
        code, _, err = headwater("adapt", *asked)
        assert code in (1, 2)
        assert words in " ".join(err.replace("│", " ").split())
