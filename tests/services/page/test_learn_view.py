"""Learn: the button trains, what came out is said in words with its photos, and the user decides what is used."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from classifiers.published.registry import Registry

CHANGE = """async (row) => {
    const { state } = await import('/page/base/state.js');
    await state.labelling.set([row], 'intact');
}"""
BUTTON = re.compile("^Learn from my")


@pytest.fixture
def versions(stored):
    """The two versions of the head `gaussian`, the older one first."""
    return sorted(Registry(stored.heads).versions("gaussian"))


@pytest.fixture
def result(stored, versions):
    """What the service says after a training: on 24 test photos, 3 more are right and one is wrong."""
    old, new = versions
    rows = stored.store.labels.get("defective").to_pylist()
    test = [row["id"] for row in rows if row["split"] == "test"][:24]
    comparison = {
        "split": "test",
        "rows": 24,
        "right_before": 18,
        "right_now": 20,
        "difference": 2 / 24,
        "interval": [-1 / 24, 5 / 24],
        "changed": 4,
        "became_right": test[:3],
        "became_wrong": test[3:4],
    }
    found = {"head": f"gaussian@{new}", "seconds": 1.23, "against": f"gaussian@{old}", "figures": {}}
    return {**found, "warnings": ["Two photos are almost the same."], "comparison": comparison}


def teach(stored, result):
    """Answer POST /v1/learn with `result`, and GET with what can be learned."""
    possible = {"ready": True, "tasks": [stored.learnable("defective"), stored.learnable("looks")]}
    stored.answers["/v1/learn"] = lambda body: result if body else possible


def learn(tab, stored, result):
    teach(stored, result)
    stored.open(tab, "learn?task=defective&head=gaussian")
    tab.get_by_role("button", name=BUTTON).click()
    return tab.locator(".outcome")


def test_the_button_trains_and_says_what_came_of_it_with_the_photos(tab, stored, result):
    outcome = learn(tab, stored, result)
    expect(outcome.locator(".verdict")).to_have_text(
        "The new version is right on 2 more of 24 test photos (between −1 and +5)"
    )
    expect(outcome).to_contain_text(
        "It is right on 20 of 24 (83\u00a0%). 4 answers have changed. The difference may be chance."
    )
    expect(outcome.locator(".caution")).to_have_text("Two photos are almost the same.")
    [asked] = stored.asked("/v1/learn")
    assert asked == {"task": "defective", "name": "gaussian"}
    expect(outcome.get_by_role("list", name="Right now, wrong before").locator("img")).to_have_count(3)
    wrong = outcome.get_by_role("list", name="Wrong now, right before").get_by_role("button")
    wrong.click()
    shown = tab.evaluate(
        "async () => { const { state } = await import('/page/base/state.js'); return state.rows.id(state.open); }"
    )
    assert shown == result["comparison"]["became_wrong"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "interval", "says", "chance"),
    [
        (18, [-2, 2], "as many of 24 test photos as the one before (between −2 and +2)", "may be chance"),
        (17, [-3, 0], "1 fewer of 24 test photos (between −3 and 0)", "may be chance"),
        (23, [2, 8], "5 more of 24 test photos (between +2 and +8)", "unlikely to be chance"),
    ],
)
def test_the_verdict_says_more_fewer_or_as_many(tab, stored, result, now, interval, says, chance):
    result["comparison"] |= {"right_now": now, "interval": [end / 24 for end in interval]}
    outcome = learn(tab, stored, result)
    expect(outcome.locator(".verdict")).to_contain_text(f"is right on {says}")
    expect(outcome).to_contain_text(chance)


@pytest.mark.slow
def test_a_first_version_and_one_without_news_are_said_as_such(tab, stored, result):
    first = {"against": None, "comparison": None, "figures": {"test": {"rows": 24, "accuracy": 0.75}}}
    outcome = learn(tab, stored, result | first)
    expect(outcome.locator(".verdict")).to_have_text("Learned. It is right on 18 of 24 test photos.")
    result["comparison"] |= {"right_now": 18, "changed": 0, "interval": [0.0, 0.0]}
    teach(stored, result)
    tab.get_by_role("button", name=BUTTON).click()
    expect(outcome.locator(".verdict")).to_have_text("The new version answers all 24 test photos as the one before.")
    teach(stored, result | {"against": result["head"]})
    tab.get_by_role("button", name=BUTTON).click()
    expect(outcome.locator(".verdict")).to_have_text("Nothing has changed since this version learned.")


@pytest.mark.slow
def test_use_it_and_keep_the_old_one_move_the_real_alias(tab, stored, result, versions):
    old, new = versions
    registry = Registry(stored.heads)
    outcome = learn(tab, stored, result)
    outcome.get_by_role("button", name="Keep the old one").click()
    expect(tab.locator(".notice")).to_contain_text("Kept the version of")
    assert registry.aliases("gaussian")["production"] == old
    assert stored.asked("/v1/rows", "GET")[-1]["head"] == f"gaussian@{old}"  # its answers are shown again
    tab.get_by_role("button", name=BUTTON).click()
    outcome.get_by_role("button", name="Use it").click()
    expect(outcome).to_contain_text("Programs that ask for gaussian@production get this version.")
    assert registry.aliases("gaussian")["production"] == new
    assert httpx.get(f"{stored.url}/heads").json()["heads"][0]["aliases"]["production"] == new


@pytest.mark.slow
def test_live_learns_once_some_moments_after_the_last_change_whatever_is_shown(tab, stored, result):
    teach(stored, result)
    stored.answers["/v1/labels"] = {"task": "defective", "changed": 1, "at": "2026-01-01T00:00:00Z"}
    stored.open(tab, "learn?task=defective&head=gaussian")
    tab.get_by_role("switch").check()
    expect(tab.get_by_role("button", name=BUTTON)).to_be_enabled()
    tab.evaluate("location.hash = '#browse'")
    for row in (0, 1, 2):
        tab.evaluate(CHANGE, row)
    assert stored.asked("/v1/learn") == []  # another change may follow
    expect(tab.locator(".notice")).to_contain_text("Learned from your labels in 1.2 s.", timeout=10_000)
    tab.wait_for_timeout(4000)
    assert len(stored.asked("/v1/learn")) == 1  # what it learned makes no further change
    tab.evaluate("location.hash = '#learn'")
    expect(tab.get_by_role("switch")).to_be_checked()
    expect(tab.locator(".outcome")).to_be_visible()


@pytest.mark.slow
def test_encoder_and_kind_are_behind_more(tab, stored, result):
    teach(stored, result)
    stored.open(tab, "learn?task=defective&head=gaussian")
    expect(tab.get_by_label("How it decides")).to_be_hidden()
    tab.get_by_text("More", exact=True).click()
    tab.get_by_label("How it decides").select_option("gaussian")
    tab.get_by_role("button", name=BUTTON).click()
    expect(tab.locator(".outcome")).to_be_visible()
    assert stored.asked("/v1/learn") == [{"task": "defective", "name": "gaussian", "kind": "gaussian"}]


@pytest.mark.slow
@pytest.mark.parametrize(("shown", "learns"), [("linear", "linear"), ("words", "gaussian")])
def test_the_head_that_is_shown_learns_unless_its_kind_does_not(tab, stored, result, shown, learns):
    teach(stored, result)
    stored.open(tab, f"learn?task=defective&head={shown}")
    expect(tab.locator(".act")).to_contain_text(f"The head {learns} learned last on")
    tab.get_by_role("button", name=BUTTON).click()
    expect(tab.locator(".outcome")).to_be_visible()
    assert stored.asked("/v1/learn") == [{"task": "defective", "name": learns}]


@pytest.mark.slow
def test_without_a_head_the_task_gives_its_name_and_the_simplest_kind_learns(tab, stored, result):
    stored.answers["/heads"] = {"heads": [], "refused": {}}
    task = {**stored.learnable("defective"), "current": None}
    stored.answers["/v1/learn"] = lambda body: result if body else {"ready": True, "tasks": [task]}
    stored.open(tab, "learn?task=defective")
    expect(tab.locator(".act")).to_contain_text("No head has learned from these labels yet.")
    tab.get_by_role("button", name="Learn from my labels").click()
    expect(tab.locator(".outcome")).to_be_visible()
    assert stored.asked("/v1/learn") == [{"task": "defective", "name": "defective", "kind": "gaussian"}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "learns", "uses", "says"),
    [
        ("read", False, False, "Your key may look"),
        ("write", True, False, "Only a key with the role admin decides"),
        ("admin", True, True, "You may train"),
    ],
)
def test_roles_decide_what_can_be_done(tab, stored, result, role, learns, uses, says):
    stored.me |= {"role": role, "keys": True, "name": "me"}
    teach(stored, result)
    stored.open(tab, "learn?task=defective&head=gaussian")
    expect(tab.locator(".act")).to_contain_text(says)
    button = tab.get_by_role("button", name=BUTTON)
    expect(button).to_be_enabled(enabled=learns)
    expect(tab.get_by_role("switch")).to_be_enabled(enabled=learns)
    if learns:
        button.click()
        expect(tab.get_by_role("button", name="Use it")).to_be_enabled(enabled=uses)


@pytest.mark.slow
def test_without_keys_nothing_is_said_of_roles(tab, stored, result):
    teach(stored, result)
    stored.open(tab, "learn?task=defective&head=gaussian")
    expect(tab.get_by_role("button", name=BUTTON)).to_be_enabled()
    expect(tab.locator(".act")).not_to_contain_text("You may")


@pytest.mark.slow
def test_changes_since_the_last_training_count_photos_and_not_what_was_undone(tab, stored, result):
    teach(stored, result)
    stored.answers["/v1/labels"] = {"task": "defective", "changed": 1, "at": "2026-01-01T00:00:00Z"}
    stored.open(tab, "learn?task=defective&head=gaussian")
    act = tab.locator(".act")
    expect(act).to_contain_text("learned last on")
    expect(act).not_to_contain_text("Since then")
    for row in (0, 1, 2):
        tab.evaluate(CHANGE, row)
    expect(act).to_contain_text("Since then you have changed the labels of 3 photos.")
    tab.keyboard.press("u")
    expect(act).to_contain_text("the labels of 2 photos.")
    tab.evaluate("location.hash = '#browse'")
    again = tab.locator("hw-next")
    expect(again).to_contain_text("2 photos relabelled.")
    again.get_by_role("link", name="Teach the head again").click()
    tab.get_by_role("button", name=BUTTON).click()
    expect(tab.locator(".outcome")).to_be_visible()
    expect(act).not_to_contain_text("Since then")
    tab.keyboard.press("u")  # a label that this version has learned
    expect(act).to_contain_text("the labels of 1 photo.")


@pytest.mark.slow
def test_the_result_leads_to_the_mistakes(tab, stored, result):
    learn(tab, stored, result).get_by_role("link", name="Look at what it gets wrong").click()
    expect(tab.locator("hw-next")).to_contain_text("Is a label wrong?")
    expect(tab.get_by_label("Show")).to_have_value("disagree")


@pytest.mark.slow
def test_what_is_missing_is_said_with_the_way_to_it(tab, stored, result):
    def overview(**changes):
        return {**stored.overview(), **changes}

    task = {"name": "defective", "labelled": 1, "many": False, "classes": []}
    for changes, says in [
        ({"store": False, "assets": 0, "tasks": []}, "There are no photos yet."),
        ({"tasks": []}, "Label about ten photos of each of two kinds"),
        ({"tasks": [task]}, "Label about ten photos of each of two kinds"),
    ]:
        stored.answers["/v1/overview"] = overview(**changes)
        stored.open(tab, "learn")
        tab.reload()
        expect(tab.locator("main")).to_contain_text(says)
        expect(tab.locator("main").get_by_role("link").first).to_have_attribute("href", "#browse")
    stored.answers.pop("/v1/overview")
    stored.me["jobs"] = False
    tab.reload()
    expect(tab.locator("main")).to_contain_text("headwater train --task defective")
    stored.me["jobs"] = True
    without = {**stored.learnable("defective"), "encoders": []}
    stored.answers["/v1/learn"] = {"ready": True, "tasks": [without]}
    tab.reload()
    expect(tab.get_by_role("button", name="Embed all photos")).to_be_enabled()
    stored.answers["/v1/learn"] = 503
    tab.reload()
    expect(tab.get_by_role("alert")).to_have_text("It is not possible now.")


@pytest.mark.slow
def test_a_training_that_fails_says_why_and_can_be_tried_again(tab, stored, result):
    possible = {"ready": True, "tasks": [stored.learnable("defective")]}
    stored.answers["/v1/learn"] = lambda body: 422 if body else possible
    stored.open(tab, "learn?task=defective&head=gaussian")
    tab.get_by_role("button", name=BUTTON).click()
    expect(tab.get_by_role("alert")).to_have_text("It is not possible now.")
    expect(tab.get_by_role("button", name=BUTTON)).to_be_enabled()
    teach(stored, result)
    tab.get_by_role("button", name=BUTTON).click()
    expect(tab.locator(".outcome")).to_be_visible()
    expect(tab.get_by_role("alert")).to_have_count(0)
