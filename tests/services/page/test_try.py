"""Photos that are dropped on the page are answered, with the training photos that resemble them; folders are stored."""

import re

import httpx
import numpy as np
import pytest
from helpers.pictures import jpeg
from playwright.sync_api import Page, expect

from store import Store, asset_id


def test_a_dropped_photo_gets_the_answer_of_the_service_and_its_nearest_training_photos(tab: Page, services, home):
    cell = next(cell for cell in home.cells if cell.split == "test")
    tab.goto(f"{services.classification_url}/#drop")
    tab.set_input_files("input[type=file]:not([webkitdirectory])", cell.path)
    file = {"images": cell.path.read_bytes()}
    asked = httpx.post(f"{services.classification_url}/classify?head=linear", files=file).json()["items"][0]["answers"][
        0
    ]
    answer = tab.get_by_role("region", name="Answer of linear")
    expect(answer.get_by_role("heading")).to_contain_text(asked["label"])
    expect(answer.get_by_role("listitem").first).to_contain_text(f"{100 * asked['probability']:.0f} %")
    similar = tab.get_by_role("region", name="Most similar photos").get_by_role("listitem")
    expect(similar).to_have_count(6)
    expect(similar.locator("img[src^='blob:']")).to_have_count(6)
    labels = {cell.label for cell in home.cells}
    assert {text.strip() for text in similar.all_inner_texts()} <= labels


@pytest.mark.slow
def test_a_broken_file_is_told_beside_a_good_one(tab: Page, services, home, tmp_path):
    good = home.cells[0].path
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(good.read_bytes()[:300])
    tab.goto(f"{services.classification_url}/#drop")
    tab.set_input_files("input[type=file]:not([webkitdirectory])", [broken, good])
    expect(tab.get_by_role("alert")).to_contain_text("is cut off")
    expect(tab.get_by_role("region", name="Answer of linear")).to_have_count(1)


@pytest.mark.slow
def test_a_folder_is_stored_under_the_names_of_its_folders_and_embedded(tab: Page, own_services, tmp_path):
    running, settings = own_services
    random = np.random.default_rng(0)
    names = [f"{label}/{i}.jpg" for label in ("cat", "horse") for i in range(3)]
    pictures = {name: jpeg(random.integers(0, 256, (64, 64, 3), np.uint8)) for name in names}
    for name, data in pictures.items():
        (tmp_path / "animals" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "animals" / name).write_bytes(data)
    (tmp_path / "animals" / "cat" / "notes.txt").write_text("no photo")
    (tmp_path / "animals" / "cat" / ".DS_Store").write_text("junk")
    tab.goto(f"{running.classification_url}/#drop")
    tab.set_input_files("input[webkitdirectory]", tmp_path / "animals")
    expect(tab.get_by_label("Task", exact=True).last).to_have_value("animals")
    tab.get_by_role("button", name="Store and embed").click()
    expect(tab.get_by_role("button", name="Look at them")).to_be_visible(timeout=120_000)
    expect(tab.locator("hw-keep")).to_contain_text(re.compile(r"6 new, 0 known\s+already, 1 refused"))
    store = Store.open(settings.store)
    for name, data in pictures.items():
        [row] = store.labels.of(asset_id(data), "animals")
        assert row.labels == [name.partition("/")[0]]
    assert set(store.features("lite0").ids().to_pylist()) >= {asset_id(data) for data in pictures.values()}
