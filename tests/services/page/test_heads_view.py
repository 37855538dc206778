"""Heads: the figures are those of the report, the photos those of the answers, and aliases move when asked to."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from classifiers.published.registry import Registry

WIDER = """() => [...document.querySelectorAll('.sheet, .sheet .wide')]
    .filter((each) => each.scrollWidth > each.clientWidth + 1)
    .map((each) => each.ariaLabel ?? each.className)"""
NAMELESS = """() => [...document.querySelectorAll('button')]
    .filter((each) => !each.ariaLabel && !each.textContent.trim()).length"""
STATE = "async () => { const { state } = await import('/page/base/state.js'); return %s; }"


@pytest.fixture
def versions(stored):
    """The two versions of the head `gaussian`, the older one first."""
    return sorted(Registry(stored.heads).versions("gaussian"))


@pytest.fixture
def report(stored, versions):
    return stored.report("gaussian", versions[1])


def open_heads(tab, stored, head="gaussian", task="defective"):
    stored.open(tab, f"heads?task={task}&head={head}")
    expect(tab.locator(".verdict")).to_be_visible(timeout=15_000)


def answers(stored, split):
    """Return (id, label, answer, probability) of the rows of a split, asked of the service itself."""
    rows = [row for row in stored.store.labels.get("defective").to_pylist() if row["split"] in split]
    found = []
    for start in range(0, len(rows), 64):
        part = rows[start : start + 64]
        asked = httpx.post(f"{stored.url}/classify?head=gaussian", json={"ids": [row["id"] for row in part]})
        for row, item in zip(part, asked.json()["items"], strict=True):
            [answer] = item["answers"]
            found.append((row["id"], row["labels"][0], answer["label"], answer["probability"]))
    return found


def test_the_figures_are_those_of_the_report_in_plain_words(tab, stored, report):
    open_heads(tab, stored)
    test = report["evaluations"]["test"]
    right = round(test["accuracy"] * test["rows"])
    expect(tab.locator(".verdict")).to_have_text(f"Right on {right} of {test['rows']} test photos")
    low, high = test["accuracy_low"], test["accuracy_high"]
    expect(tab.locator(".sheet")).to_contain_text(
        f"{test['accuracy']:.3f}; with other photos like these likely between {low:.3f} and {high:.3f}."
    )
    tab.get_by_text("More figures").click()
    figures = tab.get_by_role("region", name="Figures by split")
    for name in ("ECE", "AURC"):
        row = figures.get_by_role("row").filter(has=tab.get_by_role("rowheader", name=name))
        expect(row.get_by_role("cell").last).to_have_text(f"{test[name.lower()]:.3f}")
    bars = tab.get_by_role("region", name="How good it is at each class")
    for each in test["per_class"]:
        row = bars.get_by_role("row").filter(has=tab.get_by_role("rowheader", name=each["class"]))
        cells = row.get_by_role("cell").all_inner_texts()
        shares = [f"{each[name] * 100:.0f}\u00a0%" for name in ("recall", "precision")]
        assert [cell.strip() for cell in cells] == [*shares, f"{each['f1']:.2f}", str(each["support"])]


@pytest.mark.slow
def test_the_worst_mistakes_are_held_out_photos_the_surest_first(tab, stored):
    wrong = [row for row in answers(stored, ("test", "val")) if row[1] != row[2]]
    wrong.sort(key=lambda row: -row[3])
    assert len(wrong) > 3
    open_heads(tab, stored)
    photos = tab.get_by_role("list", name="Worst mistakes").get_by_role("button")
    expect(photos.first.locator("img")).to_be_visible()
    said = [text.split() for text in photos.all_inner_texts()]
    assert [(label, answer) for label, _, answer, *_ in said] == [(row[1], row[2]) for row in wrong[: len(said)]]
    photos.nth(2).click()
    assert tab.evaluate(STATE % "state.rows.id(state.open)") == wrong[2][0]
    dialog = tab.locator("dialog.photo")
    dialog.get_by_role("button", name="Next photo").click()
    assert tab.evaluate(STATE % "state.rows.id(state.open)") == wrong[3][0]
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    tab.get_by_role("button", name=f"See all {len(wrong)} in Photos").click()
    shown = tab.evaluate(STATE % "Array.from(state.shown, (row) => state.rows.id(row))")
    assert shown == [row[0] for row in wrong]
    assert tab.url.endswith("#browse")


@pytest.mark.slow
def test_a_cell_of_the_confusions_opens_its_photos(tab, stored, report):
    open_heads(tab, stored)
    for label, prediction, count in report["evaluations"]["test"]["confusion"]:
        cell = tab.get_by_role(
            "button",
            name=f"{count} photos of {label}, {'recognised' if label == prediction else f'taken for {prediction}'}",
        )
        cell.click()
        wanted = {row[0] for row in answers(stored, ("test",)) if row[1:3] == (label, prediction)}
        assert len(wanted) == count  # the report counted the same rows when the head was trained
        assert set(tab.evaluate(STATE % "Array.from(state.shown, (row) => state.rows.id(row))")) == wanted
        tab.evaluate("location.hash = '#heads'")


@pytest.mark.slow
def test_another_version_is_shown_with_its_own_report_and_answers(tab, stored, versions):
    open_heads(tab, stored)
    buttons = tab.locator(".versions").filter(has_text="gaussian").get_by_role("button")
    expect(buttons).to_have_count(2)
    buttons.last.click()
    old = stored.report("gaussian", versions[0])["evaluations"]["test"]
    expect(tab.locator(".verdict")).to_contain_text(f"Right on {round(old['accuracy'] * old['rows'])} of")
    expect(buttons.last).to_have_attribute("aria-current", "true")
    assert stored.asked("/v1/rows", "GET")[-1]["head"] == f"gaussian@{versions[0]}"


@pytest.mark.slow
def test_promote_then_roll_back_moves_the_real_alias(tab, stored, versions):
    registry = Registry(stored.heads)
    old, new = versions
    open_heads(tab, stored)
    tab.get_by_role("button", name="Use this version").click()
    expect(tab.locator(".title .badge.strong")).to_have_text("production")
    assert registry.aliases("gaussian")["production"] == new
    tab.locator(".versions").filter(has_text="gaussian").get_by_role("button").last.click()
    back = tab.get_by_role("button", name="Go back to this version")
    back.click()
    expect(back).to_have_count(0)
    expect(tab.locator(".notice")).to_contain_text("gaussian@production now get the version of")
    assert registry.aliases("gaussian")["production"] == old


@pytest.mark.slow
def test_who_is_no_admin_sees_the_button_but_cannot_press_it(tab, stored):
    stored.me["role"] = "write"
    open_heads(tab, stored)
    expect(tab.get_by_role("button", name="Use this version")).to_be_disabled()


@pytest.mark.slow
def test_versions_that_learned_from_fewer_photos_show_whether_more_help(tab, stored, versions):
    few, many = (stored.report("gaussian", version) for version in versions)
    few["rows"]["train"], few["evaluations"]["test"]["accuracy"] = 50, 0.6
    many["evaluations"]["test"]["accuracy"] = 0.75
    stored.answers["/heads/gaussian/report"] = lambda body: few if body["version"] == versions[0] else many
    open_heads(tab, stored)
    section = tab.locator("section").filter(has_text="Would more labels help?")
    trained = many["rows"]["train"]
    expect(section).to_contain_text(
        f"With {trained} photos to learn from it is 15 percentage points better, compared with 50."
    )
    expect(section.get_by_role("img")).to_be_visible()
    section.get_by_text("As a table").click()
    expect(section.get_by_role("row")).to_have_count(3)


@pytest.mark.slow
def test_a_job_finds_out_what_more_labels_would_bring_and_its_curve_is_kept(tab, stored, versions, report):
    open_heads(tab, stored)
    section = tab.locator("section").filter(has_text="Would more labels help?")
    section.get_by_role("button", name="Find out").click()
    expect(section.get_by_role("img").first).to_be_visible(timeout=60_000)
    jobs = httpx.get(f"{stored.url}/v1/jobs").json()["jobs"]
    result = httpx.get(f"{stored.url}/v1/jobs/{jobs[0]['id']}").json()["result"]
    assert result["head"] == f"gaussian@{versions[1]}"
    last = result["points"][-1]
    assert last["value"] == pytest.approx(report["evaluations"]["test"]["accuracy"])
    section.get_by_text("As a table").first.click()
    row = section.get_by_role("rowheader", name=f"{last['rows']}", exact=True)
    expect(row).to_be_visible()
    words = "With twice the labels" if result["next"] else "Nobody can say|Hardly"
    expect(section).to_contain_text(re.compile(words))
    expect(section).to_contain_text(f"to {last['rows']} photos for learning, it became right on")
    tab.reload()
    expect(section.get_by_role("img").first).to_be_visible(timeout=15_000)
    expect(section.get_by_role("button", name="Find out")).to_have_count(0)


@pytest.mark.slow
def test_a_head_with_several_labels_a_photo_has_a_report_too(tab, stored):
    open_heads(tab, stored, head="several", task="looks")
    [version] = Registry(stored.heads).versions("several")
    test = stored.report("several", version)["evaluations"]["test"]
    expect(tab.locator(".verdict")).to_have_text(f"F1 {test['micro_f1']:.3f} on {test['rows']} test photos")
    expect(tab.get_by_role("region", name="How good it is at each class").get_by_role("rowheader")).to_have_count(3)
    expect(tab.get_by_text("What it mixes up")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["heads", "learn", "jobs"])
def test_nothing_is_wider_than_a_phone_and_every_button_has_a_name(tab, stored, view, scheme):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": 390, "height": 844})
    stored.open(tab, f"{view}?task=defective&head=gaussian")
    expect(tab.locator(".sheet h1")).to_be_visible(timeout=15_000)
    tab.wait_for_load_state("networkidle")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate(WIDER) == []
    assert tab.evaluate(NAMELESS) == 0


@pytest.mark.slow
def test_no_head_and_no_report_are_said(tab, stored):
    stored.answers["/heads"] = {"heads": [], "refused": {}}
    stored.open(tab, "heads?task=defective&head=gaussian")
    expect(tab.locator(".sheet")).to_contain_text("No head has learned the task defective yet.")
    stored.answers["/heads"] = httpx.get(f"{stored.url}/heads").json()
    stored.answers["/heads/gaussian/report"] = 404
    tab.reload()
    expect(tab.get_by_role("alert")).to_have_text("It is not possible now.")
