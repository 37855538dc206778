"""The parts of a training: its schedule, the order of its images, images that cannot be read, checked parameters."""

import numpy as np
import pytest
from helpers.tuning import picture

from classifiers.errors import BadParameter, UnknownParameter
from embedder.media import DEFAULT_LIMITS
from embedder.spec import ImagePreprocessing
from services.jobs.tune.images import Images, Order
from services.jobs.tune.pixels import Reader
from services.jobs.tune.recipe import TowerRecipe
from store import Asset, Store, asset_id


def test_the_learning_rate_rises_then_falls_to_nothing():
    recipe = TowerRecipe(learning_rate=0.1, warmup=0.2)
    rates = [recipe.rate(step, 50) for step in range(50)]
    assert np.argmax(rates) in (9, 10)
    assert max(rates) == 0.1
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3
    assert TowerRecipe(warmup=0.0).rate(0, 10) == TowerRecipe().learning_rate


def test_a_step_draws_a_share_of_the_centres_but_not_too_few():
    recipe = TowerRecipe(negatives=0.1, least_negatives=1000)
    assert [recipe.drawn(clusters) for clusters in (50, 5000, 1_000_000)] == [50, 1000, 100_000]


@pytest.mark.parametrize(
    "given", [{"loss": "unicom"}, {"epochs": 0}, {"batch": 1}, {"crop": 0}, {"warmup": 1.5}, {"dim": True}]
)
def test_values_that_are_not_allowed_are_refused(given):
    with pytest.raises(BadParameter, match=next(iter(given))):
        TowerRecipe.of(given)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(UnknownParameter):
        TowerRecipe.of({"hidden": 3})


def test_every_epoch_has_another_order_and_no_image_twice():
    order = Order(images=23, batch=5, seed=0)
    epochs = [np.concatenate([order.rows(4 * epoch + step) for step in range(4)]) for epoch in range(3)]
    assert order.steps == 4
    assert all(len(set(rows.tolist())) == 20 for rows in epochs)
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(order.rows(7), Order(23, 5, 0).rows(7))


def test_an_image_that_cannot_be_read_is_black_and_named(tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    contents = [picture(0, seed) for seed in range(5)] + [picture(1, 0)[:200], b"no image"]
    ids = [asset_id(content) for content in contents]
    store.assets.add(
        Asset(id=id_, uri=f"{number}.png", modality="image", media_type="image/png", content=content)
        for number, (id_, content) in enumerate(zip(ids, contents, strict=True))
    )
    ids.append("f" * 64)  # was removed from the store
    half = (0.5, 0.5, 0.5)
    square = ImagePreprocessing(size=8, resize=8, interpolation="bilinear", mean=half, std=half)
    images = Images(store, ids, square, TowerRecipe(), Reader(DEFAULT_LIMITS, 2))
    order = Order(8, 4, 0)
    rows = [order.rows(step) for step in range(4)]
    batches = list(images.batches(order, range(4), slice(0, 4)))
    assert [batch.readable.tolist() for batch in batches] == [(each < 5).tolist() for each in rows]
    assert all(not batch.pixels[~batch.readable].any() for batch in batches)
    assert set(images.broken) == set(ids[5:])
    later = list(images.batches(order, range(2, 4), slice(2, 4)))  # a resumed process that has a part of each step
    assert all(np.array_equal(a.pixels[2:], b.pixels) for a, b in zip(batches[2:], later, strict=True))
