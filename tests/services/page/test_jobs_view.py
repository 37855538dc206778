"""Jobs: they are started, followed and cancelled on the page; their files are saved, their faults said at the field."""

import httpx
import pytest
from playwright.sync_api import expect

DEADLINE = 90_000  # milliseconds for a job of a process of its own

SHOWN = """async () => {
    const { state } = await import('/page/base/state.js');
    return Array.from(state.shown, (row) => state.rows.id(row));
}"""


def open_jobs(tab, stored):
    stored.open(tab, "jobs?task=defective&head=gaussian")
    expect(tab.get_by_role("heading", name="Jobs")).to_be_visible()


def form(tab, kind):
    tab.get_by_role("button", name="Start a job").click()
    tab.get_by_label("what").select_option(kind)
    return tab.get_by_role("dialog")


def test_the_form_has_the_fields_of_each_kind_as_the_service_describes_them(tab, stored):
    open_jobs(tab, stored)
    schemas = httpx.get(f"{stored.url}/openapi.json").json()["components"]["schemas"]
    dialog = form(tab, "backfill")
    mapping = schemas["JobRequest"]["discriminator"]["mapping"]
    kinds = dialog.get_by_label("what").locator("option").evaluate_all("(all) => all.map((each) => each.value)")
    assert set(kinds) == set(mapping)
    for kind, reference in mapping.items():
        dialog.get_by_label("what").select_option(kind)
        schema = schemas[reference.rpartition("/")[2]]
        expect(dialog).to_contain_text(schema["description"])
        names = dialog.locator(".entry :is(input, select, textarea)").evaluate_all(
            "(all) => all.map((each) => each.name)"
        )
        assert set(filter(None, names)) == set(schema["properties"]) - {"kind"}
        required = dialog.locator("input[required]").evaluate_all("(all) => all.map((each) => each.name)")
        assert set(required) == set(schema["required"]) - {"kind"}


@pytest.mark.slow
def test_a_job_is_started_followed_and_its_file_saved(tab, stored, tmp_path):
    open_jobs(tab, stored)
    dialog = form(tab, "predict")
    assert dialog.get_by_label("head", exact=True).input_value() == "gaussian"
    dialog.get_by_text("More", exact=True).click()
    dialog.get_by_label("format").select_option("jsonl")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_be_hidden()
    job = tab.get_by_role("article", name="Write predictions to a file").first
    expect(job.get_by_role("progressbar")).to_be_visible()
    expect(job.locator(".state")).to_have_text("done", timeout=DEADLINE)
    job.get_by_text("Details").click()
    expect(job).to_contain_text("gaussian@")
    with tab.expect_download() as download:
        job.get_by_role("button", name="Save predictions.jsonl").click()
    download.value.save_as(tmp_path / "saved")
    [newest] = httpx.get(f"{stored.url}/v1/jobs?limit=1").json()["jobs"]
    assert (tmp_path / "saved").read_bytes() == httpx.get(f"{stored.url}/v1/jobs/{newest['id']}/result").content
    asked = httpx.get(f"{stored.url}/v1/jobs/{newest['id']}").json()["request"]
    assert asked == {
        "kind": "predict",
        "head": "gaussian",
        "task": None,
        "folder": None,
        "format": "jsonl",
        "top_k": 5,
        "coverage": 0.9,
        "sets": "lac",
    }


@pytest.mark.slow
def test_a_file_is_fetched_with_the_key(tab, stored):
    kind = {"kind": "predict", "state": "done", "position": None, "cancelling": False, "partial": False, "error": None}
    times = {"created": "2026-01-01T00:00:00Z", "started": None, "ended": None, "progress": None}
    job = {"id": "1", **kind, **times, "request": {"kind": "predict"}, "log": [], "result": {}, "file": "x.csv"}
    stored.answers |= {"/v1/jobs": {"count": 1, "jobs": [job]}, "/v1/jobs/1": job, "/v1/jobs/1/result": b"a,b\n"}
    tab.add_init_script("sessionStorage.setItem('headwater-key', 'hw_secret')")
    open_jobs(tab, stored)
    tab.get_by_text("Details").click()
    with tab.expect_request("**/v1/jobs/1/result") as asked, tab.expect_download() as download:
        tab.get_by_role("button", name="Save x.csv").click()
    assert asked.value.headers["authorization"] == "Bearer hw_secret"
    assert download.value.path().read_bytes() == b"a,b\n"


@pytest.mark.slow
def test_faults_are_said_at_their_fields_which_have_the_focus(tab, stored):
    open_jobs(tab, stored)
    dialog = form(tab, "train")
    dialog.get_by_label("name", exact=True).fill("fine")
    dialog.get_by_label("task", exact=True).fill("nosuch")
    dialog.get_by_role("button", name="Start").click()
    field = dialog.locator(".entry.bad")
    expect(field.get_by_role("alert")).to_contain_text("no labels for task 'nosuch'")
    expect(field.get_by_label("task", exact=True)).to_be_focused()
    dialog.get_by_label("task", exact=True).fill("defective")
    dialog.get_by_text("More", exact=True).click()
    dialog.get_by_label("parameters").fill("not a name = 3")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("alert")).to_have_count(1)
    expect(dialog.locator(".entry.bad").get_by_label("parameters")).to_be_visible()
    dialog.get_by_label("what").select_option("ingest")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    dialog.get_by_label("folder").fill("/etc")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.locator(".entry.bad").get_by_label("folder")).to_be_focused()
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


@pytest.mark.slow
def test_a_job_is_cancelled(tab, stored):
    for _ in range(12):  # the last one still waits when the button is pressed
        httpx.post(f"{stored.url}/v1/jobs", json={"kind": "backfill", "encoder": "lite0"}).raise_for_status()
    open_jobs(tab, stored)
    job = tab.get_by_role("article").first
    expect(job.locator(".state")).to_contain_text("waits, number")
    job.get_by_role("button", name="Cancel").click()
    expect(job.locator(".state")).to_have_text("cancelled")
    assert httpx.get(f"{stored.url}/v1/jobs?limit=1").json()["jobs"][0]["state"] == "cancelled"
    for each in httpx.get(f"{stored.url}/v1/jobs").json()["jobs"]:
        httpx.post(f"{stored.url}/v1/jobs/{each['id']}/cancel")


@pytest.mark.slow
def test_a_failed_job_says_why_with_its_log(tab, stored):
    body = {"kind": "train", "task": "looks", "name": "x", "head_kind": "gaussian", "parameters": {"dims": -1}}
    made = httpx.post(f"{stored.url}/v1/jobs", json=body).raise_for_status().json()
    open_jobs(tab, stored)
    job = tab.get_by_role("article").first
    expect(job.locator(".state")).to_have_text("failed", timeout=DEADLINE)
    error = httpx.get(f"{stored.url}/v1/jobs/{made['id']}").json()["error"]
    expect(job.locator("p.error")).to_have_text(" ".join(error.split()))


@pytest.mark.slow
def test_found_photos_are_shown_in_their_order(tab, stored):
    ids = sorted(stored.pictures)
    found = [ids[7], ids[2], ids[5]]
    job = {"id": "1", "kind": "mistakes", "state": "done", "created": "2026-01-01T00:00:00Z", "position": None}
    details = {**job, "request": {"kind": "mistakes"}, "log": [], "result": {"found": 3}, "file": "mistakes.jsonl"}
    lines = "".join(f'{{"id": "{each}", "label": "intact"}}\n' for each in found)
    stored.answers |= {"/v1/jobs": {"count": 1, "jobs": [job]}, "/v1/jobs/1": details}
    stored.answers["/v1/jobs/1/result"] = lines.encode()
    open_jobs(tab, stored)
    tab.get_by_text("Details").click()
    tab.get_by_role("button", name="Show the photos").click()
    tab.wait_for_url("**/#browse")
    assert tab.evaluate(SHOWN) == found


@pytest.mark.slow
def test_a_reader_sees_jobs_but_starts_none_and_a_service_without_jobs_says_so(tab, stored):
    stored.me["role"] = "read"
    open_jobs(tab, stored)
    expect(tab.get_by_role("button", name="Start a job")).to_be_disabled()
    stored.me["jobs"] = False
    tab.reload()
    expect(tab.locator("main")).to_contain_text("This service runs no jobs.")
