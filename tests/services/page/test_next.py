"""The next useful step, what is found by jobs and searches, and the page on a narrow screen."""

import json
from typing import Any

import numpy as np
import pytest
from helpers.page_rows import Columns, Scripted, rows_body, some_columns, some_ids
from playwright.sync_api import Page, expect

CLASSES = ["hat", "dress", "duck", "sock"]
slow = pytest.mark.slow


def opened(tab: Page, files: str, columns: Columns | None = None, **more: Any) -> Scripted:
    scripted = Scripted(some_columns(200, 4) if columns is None else columns, CLASSES, **more)
    scripted.serve(tab)
    tab.goto(files)
    return scripted


def bare(count: int = 50) -> Columns:
    return {"id": some_ids(count), "modality": np.zeros(count, np.uint8)}


def ids_shown(tab: Page) -> list[int]:
    script = "import('/page/base/state.js').then(({ state }) => [...state.shown])"
    return list(tab.evaluate(script))


@slow
def test_an_empty_store_asks_for_photos(tab: Page, files: str) -> None:
    opened(tab, files, bare(0), assets=0, tasks=[], heads=[], encoders=[])
    expect(tab.get_by_role("heading", name="Drop a folder of photos here")).to_be_visible()
    listen = "(event) => { window.names = [...event.detail.input.files].map((file) => file.name); }"
    tab.evaluate(f"document.addEventListener('hw-files', {listen})")
    tab.get_by_label("Choose photos").set_input_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"x"}])
    assert tab.evaluate("names") == ["a.jpg"]


@slow
def test_photos_without_vectors_are_embedded_by_a_job(tab: Page, files: str) -> None:
    scripted = opened(tab, files, bare(), tasks=[], heads=[], encoders=[])
    job = {"id": "j", "kind": "backfill", "state": "running", "progress": {"done": 5, "total": 50, "note": ""}}
    scripted.answers["v1/jobs"] = job
    scripted.answers["v1/jobs/j"] = job
    tab.get_by_role("button", name="Embed the photos").click()
    expect(tab.locator("hw-next")).to_contain_text("10 %")
    assert scripted.asked("v1/jobs") == [{"kind": "backfill", "encoder": "lite0"}]
    scripted.columns["vector"] = np.ones(50, np.uint8)
    scripted.encoders = [{"name": "lite0", "rows": 50, "texts": False}]
    scripted.answers["v1/jobs/j"] = {**job, "state": "done"}
    expect(tab.locator("hw-next")).to_contain_text("Label twenty photos")


@slow
def test_storing_goes_on_in_other_views_and_stop_cancels_the_embedding(tab: Page, files: str) -> None:
    scripted = opened(tab, files, bare(), tasks=[], heads=[], encoders=[])
    job = {"id": "j", "kind": "backfill", "state": "running", "progress": {"done": 5, "total": 50, "note": ""}}
    scripted.answers |= {"v1/files": {"items": [], "new": 2, "known": 0}, "v1/jobs": job, "v1/jobs/j": job}
    tab.evaluate("location.hash = '#drop'")
    many = [{"name": f"{i}.jpg", "mimeType": "image/jpeg", "buffer": b"x"} for i in range(2)]
    tab.get_by_label("Choose files").set_input_files(many)
    tab.get_by_role("button", name="Store and embed").click()
    expect(tab.locator(".keep")).to_contain_text("10 %")
    tab.get_by_role("link", name="look at the photos").click()
    expect(tab.locator("hw-next")).to_contain_text("are being embedded: 10 %")
    tab.get_by_role("link", name="Your photos").click()
    expect(tab.locator(".keep")).to_contain_text("2 new")
    scripted.answers |= {"v1/jobs/j/cancel": job, "v1/jobs/j": {**job, "state": "cancelled", "error": None}}
    tab.get_by_role("button", name="Stop").click()
    expect(tab.get_by_role("heading", name="Stopped")).to_be_visible()
    assert scripted.asked("v1/jobs/j/cancel")
    expect(tab.get_by_role("alert")).to_have_count(0)
    assert len(scripted.asked("v1/files")) == 1
    tab.get_by_role("button", name="Look at them").click()
    expect(tab.locator("hw-next")).to_contain_text("Embed the photos")


@slow
@pytest.mark.parametrize(
    ("modalities", "encoders", "chosen", "embedders"),
    [
        (["image"], [], None, ["lite0"]),
        (["audio"], [], None, ["melstat"]),
        (["image", "audio"], [("own", ["image"], True)], "own", ["own", "melstat"]),
        (["image"], [("a", ["image"], True), ("b", ["image"], True)], "b", ["b"]),
        (["image"], [("imported", ["image"], False)], "imported", ["lite0"]),
        (["image", "audio"], [("both", ["image", "audio"], True)], "both", ["both"]),
        (["imu"], [], None, []),
    ],
)
def test_every_modality_gets_an_encoder_that_takes_it(
    tab: Page, files: str, modalities: list[str], encoders: list[Any], chosen: str | None, embedders: list[str]
) -> None:
    opened(tab, files)
    listed = [{"name": name, "modalities": taken, "network": network} for name, taken, network in encoders]
    script = "([overview, chosen]) => import('/page/base/keeping.js').then((made) => made.embedders(overview, chosen))"
    assert tab.evaluate(script, [{"modalities": dict.fromkeys(modalities, 1), "encoders": listed}, chosen]) == embedders


@slow
def test_a_job_that_fails_says_why(tab: Page, files: str) -> None:
    scripted = opened(tab, files, bare(), tasks=[], heads=[], encoders=[])
    scripted.answers["v1/jobs"] = {"id": "j", "kind": "backfill", "state": "failed", "error": "torch is not installed."}
    tab.get_by_role("button", name="Embed the photos").click()
    expect(tab.locator(".notice .error")).to_have_text("torch is not installed.")
    expect(tab.get_by_role("button", name="Embed the photos")).to_be_visible()


@slow
def test_the_first_label_begins_a_task(tab: Page, files: str) -> None:
    scripted = opened(tab, files, bare(), tasks=[], heads=[])
    tab.get_by_label("What are these labels?").fill("garment")
    tab.locator(".cell").nth(2).click()
    tab.get_by_placeholder("New class").fill("scarf")
    tab.keyboard.press("Enter")
    expect(tab.locator(".notice")).to_contain_text("Saved. 1 photo: scarf.")
    [body] = scripted.asked("v1/labels")
    assert body["task"] == "garment"
    assert body["labels"][0]["labels"] == ["scarf"]


@slow
def test_new_photos_are_embedded_before_anything_else(tab: Page, files: str) -> None:
    columns = some_columns(200, 4)
    columns["modality"][:] = np.arange(200) % 2
    columns["vector"] = (columns["modality"] == 0).astype(np.uint8)
    columns["vector"][:20] = 0  # ten photos; the encoder does not take the ten sounds
    encoder = {"name": "lite0", "rows": 90, "texts": True, "modalities": ["image"]}
    body = rows_body(columns, labels=CLASSES, modalities=["image", "audio"])
    opened(tab, files, columns, encoders=[encoder], answers={"v1/rows": body})
    expect(tab.locator("hw-next")).to_contain_text("10 photos not embedded yet.")


@slow
def test_the_process_that_trains_is_started_before_it_is_asked_for(tab: Page, files: str) -> None:
    columns = some_columns(200, 4, labelled=1)
    columns["vector"][:] = 1
    scripted = opened(tab, files, columns, heads=[], answers={"v1/learn": {"ready": False, "tasks": []}})
    expect(tab.locator("hw-next")).to_contain_text("Teach a head")
    tab.wait_for_timeout(200)
    assert len(scripted.asked("v1/learn")) == 1


@slow
def test_labels_count_at_once(tab: Page, files: str) -> None:
    columns = some_columns(30, 4, labelled=1)
    columns["vector"][:] = 1
    columns["label"][18:] = -1
    opened(tab, files, columns, heads=[])
    expect(tab.locator("hw-next")).to_contain_text("18 of 20")
    tab.evaluate("document.querySelector('hw-grid').go(18)")
    tab.keyboard.press("1")
    expect(tab.locator("hw-next")).to_contain_text("19 of 20")
    tab.keyboard.press("1")
    expect(tab.locator("hw-next")).to_contain_text("20 photos labelled.")


@slow
@pytest.mark.parametrize(
    ("labelled", "heads", "words"),
    [
        (3, [], "3 of 20"),
        (150, [], "Teach a head"),
        (150, [{"name": "head", "task": "kind", "encoders": ["lite0"]}], "Look at what the head gets wrong"),
    ],
)
def test_the_next_step_follows_the_labels(tab: Page, files: str, labelled: int, heads: list[Any], words: str) -> None:
    columns = some_columns(200, 4, labelled=1)
    columns["label"][labelled:] = -1
    columns["vector"][:] = 1
    opened(tab, files, columns, heads=heads)
    expect(tab.locator("hw-next")).to_contain_text(words)


@slow
def test_what_the_head_gets_wrong_comes_surest_first(tab: Page, files: str) -> None:
    columns = some_columns(200, 4)
    columns["vector"][:] = 1
    opened(tab, files, columns)
    tab.get_by_role("button", name="gets wrong").click()
    expect(tab.locator("hw-next")).to_contain_text("teach the head again")
    label, answer = columns["label"], columns["prediction"]
    wrong = np.flatnonzero((label >= 0) & (answer >= 0) & (label != answer))
    assert ids_shown(tab) == sorted(wrong.tolist(), key=lambda row: -float(columns["probability"][row]))


@slow
@pytest.mark.parametrize(
    ("button", "request_body", "lines", "rows"),
    [
        ("Likely mistakes", {"kind": "mistakes", "head": "head"}, [{"id": 7}, {"id": 3}], [7, 3]),
        ("What to label next", {"kind": "suggest", "count": 60, "head": "head"}, [{"id": 9}], [9]),
        (
            "Near-duplicates",
            {"kind": "duplicates", "encoder": "lite0", "task": "kind"},
            [
                {"group": 1, "id_a": 5, "id_b": 6},
                {"group": 2, "id_a": 8, "id_b": 9},
                {"group": 1, "id_a": 6, "id_b": 2},
            ],
            [5, 6, 2, 8, 9],  # groups stand together
        ),
    ],
)
def test_a_finding_is_shown_in_its_order(
    tab: Page, files: str, button: str, request_body: Any, lines: list[dict[str, int]], rows: list[int]
) -> None:
    scripted = opened(tab, files)

    def written(line: dict[str, int]) -> str:
        return json.dumps({key: v if key == "group" else bytes(some_ids(v + 1)[v]).hex() for key, v in line.items()})

    scripted.answers["v1/jobs"] = {"id": "j", "state": "done"}
    scripted.answers["v1/jobs/j/result"] = "\n".join(map(written, lines)).encode()
    tab.get_by_role("button", name=button).click()
    expect(tab.locator(".chip")).to_contain_text(button)
    assert ids_shown(tab) == rows
    assert scripted.asked("v1/jobs") == [request_body]
    tab.locator(".chip").click()
    assert len(ids_shown(tab)) == 200


@slow
def test_a_search_shows_its_hits_nearest_first(tab: Page, files: str) -> None:
    scripted = opened(tab, files)
    hits = [{"id": bytes(some_ids(row + 1)[row]).hex(), "score": 0.5} for row in (11, 4)]
    scripted.answers["search"] = {"encoder": "lite0", "hits": hits, "note": "Texts find little with lite0."}
    tab.get_by_placeholder("Search").fill("a red hat")
    tab.keyboard.press("Enter")
    expect(tab.locator(".chip")).to_contain_text("a red hat")
    assert ids_shown(tab) == [11, 4]
    expect(tab.locator(".notice")).to_have_text("Texts find little with lite0.")
    assert scripted.asked("search") == [{"text": ["a red hat"], "k": ["300"]}]


@slow
def test_a_narrow_screen_folds_the_controls(tab: Page, files: str) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    opened(tab, files)
    expect(tab.locator(".cell").first).to_be_visible()
    expect(tab.get_by_label("Show")).to_be_hidden()
    tab.get_by_role("button", name="Filters").click()
    tab.get_by_label("Show").select_option(label="With a label")
    tab.get_by_role("button", name="Show ", exact=False).last.click()
    expect(tab.get_by_label("Show")).to_be_hidden()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    tab.locator(".cell").first.click()
    tab.get_by_role("button", name="sock").click()
    expect(tab.locator(".notice")).to_contain_text("sock")
    columns = int(tab.locator("hw-grid").get_attribute("aria-colcount") or 0)
    assert columns == 3
