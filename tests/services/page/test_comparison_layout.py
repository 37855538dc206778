"""The report of `compare` fits its window: no table, and nothing else, is wider than a screen or a phone."""

import pytest
from helpers.toys import fill, make_toy

from classifiers.compare.candidates import parse_lines, with_controls
from classifiers.compare.page import write
from classifiers.compare.run import run, start
from store import Store

TASK = "solar_cells_by_their_defects_and_manufacturer"
ENCODER = "clip-vit-large-patch14-336-finetuned-on-everything"
SIZES = {"screen": (1280, 800), "tablet": (820, 1180), "phone": (390, 844), "small phone": (320, 640)}

WIDER = """() => [...document.querySelectorAll("html, body, main, table, pre, p, th, td")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1 || each.getBoundingClientRect().right > innerWidth + 1)
    .filter((each) => each.clientWidth)
    .map((each) => `${each.tagName} ${each.scrollWidth} > ${each.clientWidth}: ${each.textContent.slice(0, 60)}`)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Return the report of several heads, one of which fails, with names as long as they get."""
    folder = tmp_path_factory.mktemp("comparison")
    store = Store.open(folder / "db")
    fill(store, make_toy(n=300, spread=0.6), task=TASK, encoder=ENCODER)
    lines = ["gaussian", "gaussian project=pca dims=0.5", "gaussian project=pca dims=99", "linear C=0.01"]
    candidates = with_controls(parse_lines(lines, [ENCODER]))
    made = start(store, folder / "it", task=TASK, encoders=[ENCODER], candidates=candidates)
    run(made)
    write(made)
    return made.folder / "report.html"


@pytest.mark.slow
def test_no_table_of_a_comparison_is_cut(tab, report):
    tab.goto(report.as_uri())
    assert tab.locator("table").count() == 8
    for name, (width, height) in SIZES.items():
        tab.set_viewport_size({"width": width, "height": height})
        assert tab.evaluate(WIDER) == [], name
    tab.set_viewport_size({"width": 390, "height": 844})
    first = tab.locator("td", has_text="gaussian").first
    title = first.evaluate("(cell) => getComputedStyle(cell, '::before').content")
    assert title == '"head"'  # a phone shows no line of titles, so each cell has its own
