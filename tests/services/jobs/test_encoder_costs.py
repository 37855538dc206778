"""Costs of encoders: their time if they can be loaded, otherwise the width of their vectors."""

import numpy as np
from helpers.blocks import Blocks
from helpers.toys import spec_of

from services.jobs.encoder_costs import COLUMNS, encoder_costs, milliseconds
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Store


def test_encoders_that_cannot_be_loaded_cost_as_much_as_their_vectors_are_wide(tmp_path):
    store = Store.open(tmp_path / "db")
    for name, width in (("wide", 8), ("narrow", 3)):
        store.ensure_features(name, spec_of(width, weights=name), np.eye(2, width, dtype=np.float32))
    sides = text_sides(store, Settings(store=str(tmp_path / "db"), cache=tmp_path))
    assert encoder_costs(store, ["wide", "narrow"], sides) == ([8, 3], COLUMNS)
    assert encoder_costs(store, ["narrow", "wide"], None) == ([3, 8], COLUMNS)


def test_the_time_is_that_of_one_asset_in_the_probes_batch():
    encoder = Blocks()
    assert 0 < milliseconds(encoder) < 1000
    assert set(encoder.batches) == {5}
