"""The report of a comparison: one HTML file that parses, shows its pictures and loads nothing from outside."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.toys import fill, make_toy
from PIL import Image

from classifiers.compare.candidates import parse_lines, with_controls
from classifiers.compare.held import HeldRows
from classifiers.compare.mistakes import MOST_MISTAKES, Shown
from classifiers.compare.page import to_html, write
from classifiers.compare.run import run, start
from classifiers.compare.sections import more_labels
from classifiers.evaluation import plots
from classifiers.evaluation.figures import evaluate
from classifiers.evaluation.paired import Difference
from classifiers.evaluation.percentages import points
from store import Store

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """A parsed page: its tags in order, its text, and the rows of its tables. Every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def recipe(candidate, task, options):
    """A command as a caller may write it."""
    return f"learn {task} < {candidate.label}"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Return a finished comparison with names that need escaping in HTML, and one candidate that fails."""
    folder = tmp_path_factory.mktemp("report")
    toy = make_toy(n=300, spread=0.6)
    named = np.array(["<script>alert(1)</script>", "a & b", 'say "x"', "it's", "größe"])
    store = Store.open(folder / "db")
    fill(store, replace(toy, labels=named[toy.codes]), task="<b>")
    lines = ["gaussian", "gaussian project=pca dims=0.5", "gaussian project=pca dims=99"]
    candidates = with_controls(parse_lines(lines, ["toy"]))
    made = start(store, folder / "it", task="<b>", encoders=["toy"], candidates=candidates, train_command=recipe)
    run(made)
    write(made)
    return made


@pytest.fixture(scope="module")
def page(comparison):
    return Page((comparison.folder / "report.html").read_text(encoding="utf-8"))


def test_it_needs_nothing_from_outside(page, comparison):
    text = (comparison.folder / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert "url(" not in text
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "b")]
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not [attrs for _, attrs in page.tags if "href" in attrs]


def test_every_picture_decodes_and_has_a_text(page, comparison):
    images = page.all("img")
    assert len(images) == len(page.all("figcaption")) == 4
    files = {path.read_bytes() for path in comparison.folder.glob("*.png")}
    for image in images:
        data = base64.b64decode(image["src"].partition(",")[2], validate=True)
        assert data in files
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        assert min(pixels.shape) > 300
        assert pixels.std() > 5
        assert len(image["alt"]) > 20


def test_all_that_is_known_stands_in_it(page, comparison):
    best = comparison.winner()
    assert f"learn <b> < {best.candidate.label}" in page.text
    ranked = next(rows for rows in range(len(page.rows)) if page.rows[rows][0] == "rank")
    shown = page.rows[ranked + 1 : ranked + 1 + len(comparison.trials)]
    assert [row[0] for row in shown] == [str(rank) for rank in range(1, len(shown) + 1)]
    assert [float(row[3]) for row in shown] == [
        pytest.approx(trial.evaluation.accuracy, abs=5e-5) for trial in comparison.ranking()
    ]
    assert page.rows[-1][0] == "gaussian project=pca dims=99 @ toy"
    assert "vary in only 12 directions" in page.rows[-1][1]
    assert page.rows[1][0] == best.candidate.title
    assert "<b>" in page.text


def test_the_worst_mistakes_are_those_of_the_winner_on_test_and_have_their_photos(comparison):
    best = comparison.winner()
    rows = HeldRows.read(comparison.rows, comparison.classes, ("test", "train", "val"))
    head = comparison.family.relearn(best, rows.of(best.candidate.encoders), comparison.classes)
    matrix = rows.matrix("test", comparison.classes)
    proba = head.predict_proba(matrix.X)
    wrong = np.flatnonzero(proba.argmax(axis=1) != matrix.codes)
    assert len(wrong) >= 2
    order = wrong[np.argsort(-proba[wrong].max(axis=1))][:MOST_MISTAKES]
    assert [each.id for each in comparison.mistakes] == [matrix.ids[row] for row in order]
    assert sum(count for _, _, count in comparison.test[best.candidate.label].errors()) == len(wrong)
    first, second, *_ = comparison.mistakes
    file = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(file, "JPEG")
    shown = {first.id: Shown("<i>.jpg", file.getvalue()), second.id: Shown("a sound.wav")}
    page = Page(to_html(comparison, [], shown))
    [photo] = page.all("img")
    assert photo["alt"] == "<i>.jpg"
    assert base64.b64decode(photo["src"].removeprefix("data:image/jpeg;base64,")) == file.getvalue()
    assert f"{first.label} ≠ {first.answer} {first.probability:.0%}<i>.jpg" in page.text
    assert "a sound.wav" in page.text


def test_confusions_classes_and_class_balance_are_counted(comparison, page):
    found = comparison.test[comparison.winner().candidate.label]
    start = page.rows.index(["label", "answer", "rows"]) + 1
    wrong = found.errors()
    assert page.rows[start : start + len(wrong)] == [[true, answer, str(count)] for true, answer, count in wrong]
    assert [count for _, _, count in wrong] == sorted((count for _, _, count in wrong), reverse=True)
    start = page.rows.index(["class", "recall", "precision", "F1", "rows"]) + 1
    shown = {name: values for name, *values in page.rows[start : start + len(comparison.classes)]}
    for k, name in enumerate(found.classes):
        assert float(shown[name][0]) == pytest.approx(found.confusion[k, k] / found.confusion[k].sum(), abs=0.005)
    start = page.rows.index(["class", "rows", "train", "val", "test"]) + 1
    for name, *counts in page.rows[start : start + len(comparison.classes)]:
        labelled = [
            sum(labels == [name] for labels in comparison.rows.labelled(split)["labels"].to_pylist())
            for split in ("train", "val", "test")
        ]
        assert list(map(int, counts)) == [sum(labelled), *labelled]


def test_the_learning_curve_has_a_row_for_each_number_of_training_rows(comparison, page):
    curve = comparison.growth
    shown = [row for row in page.rows if row[0] in {f"{each.rows:,}" for each in curve.points}]
    assert [row[1:] for row in shown] == [
        [f"{each.value:.1%}", f"{each.low:.1%} to {each.high:.1%}"] for each in curve.points
    ]
    assert "What more labels would bring" in page.text
    assert more_labels(None, "test") == []


def test_a_path_in_the_name_of_an_encoder_can_be_cut(tmp_path):
    store, encoder = Store.open(tmp_path / "db"), "openclip/ViT-B-32@/srv/models/weights.pt"
    fill(store, make_toy(n=120), encoder=encoder)
    candidates = parse_lines(["gaussian"], [encoder])
    made = start(store, tmp_path / "it", task="toy", encoders=[encoder], candidates=candidates, train_command=recipe)
    run(made)
    write(made)
    report = made.folder / "report.html"
    assert "/srv/models" in report.read_text()
    write(made, shortened=lambda name: name.replace("/srv/models", "…"))
    assert "/srv" not in report.read_text()
    assert "…/weights.pt" in report.read_text()


def test_a_difference_that_rounds_to_zero_has_no_minus():
    assert points(Difference(-1e-5, -0.012, 1e-5, 0.5)) == "+0.0 (-1.2 to +0.0)"


def test_without_a_command_none_is_shown(comparison):
    page = Page(to_html(replace(comparison, train_command=None), [], {}))
    assert comparison.winner().candidate.label in page.text
    assert not page.all("pre")


def test_a_page_can_be_made_before_anything_is_finished(comparison):
    nothing = replace(comparison, trials={}, failed={}, pairs={}, test={}, test_pairs={}, curves={}, state="stopped")
    page = Page(to_html(nothing, [], {}))
    assert "There is no trained head" in page.text
    assert "Unfinished: 0 of 6 tried" in page.text


def test_the_confusion_shows_the_classes_with_the_most_errors():
    codes = np.repeat(np.arange(30), 4)
    predicted = np.where(np.isin(codes, (3, 17)), (codes + 5) % 30, codes)
    found = evaluate(np.eye(30, dtype=np.float32)[predicted], codes, [f"class {k}" for k in range(30)])
    assert set(plots.most_confused(found, 4)) == {3, 8, 17, 22}
    assert plots.png(plots.confusion(found)).startswith(b"\x89PNG")


def test_the_same_figure_gives_the_same_bytes(comparison):
    evaluation = comparison.winner().evaluation
    assert plots.png(plots.confusion(evaluation)) == plots.png(plots.confusion(evaluation))
