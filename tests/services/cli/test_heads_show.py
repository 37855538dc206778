"""`heads show` summarises long lists of numbers, whole numbers too."""

import json

from helpers.toys import fill, make_toy

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from store import Store


def test_the_counts_of_a_head_with_many_classes_are_one_line(headwater, tmp_path):
    store = Store.open(tmp_path / "db")
    fill(store, make_toy(900, n_classes=15))
    train(store, Registry(tmp_path / "heads"), task="toy", encoders=["toy"], kind="gaussian", name="many")
    shown = json.loads(headwater("heads", "show", "many")[1])
    whole = json.loads(headwater("heads", "show", "many", "--json")[1])
    assert len(whole["counts"]) == 15
    assert shown["counts"] == f"15 numbers from {min(whole['counts'])} to {max(whole['counts'])}"
    assert shown["outlier"].startswith("101 numbers from")
