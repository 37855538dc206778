"""Exports of COCO, Label Studio and CVAT, as these tools write them."""

import json
import random

import pytest

from services.jobs.annotations import json_stream
from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.reading import open_labels
from services.jobs.annotations.tables import Columns


def read(path) -> dict[str, list[str] | None]:
    return {row.key: row.labels for row in open_labels(path, Columns())}


@pytest.mark.parametrize("seed", range(5))
def test_the_labels_of_coco_are_the_categories_in_each_image(tmp_path, seed, monkeypatch):
    """The keys of a COCO file come in any order, and pieces of the text end anywhere."""
    monkeypatch.setattr(json_stream, "STEP", 7)
    draw = random.Random(seed)
    images = [{"id": i, "file_name": f"val/{i}.jpg"} for i in range(8)]
    categories = [{"id": 10 + i, "name": name} for i, name in enumerate(["zebra", "ant", "käfer"])]
    boxes = [
        {"image_id": draw.randrange(6), "category_id": 10 + draw.randrange(3), "bbox": [1.5, 2]} for _ in range(12)
    ]
    document = [("info", {"year": 2017}), ("images", images), ("categories", categories), ("annotations", boxes)]
    draw.shuffle(document)
    (tmp_path / "coco.json").write_text(json.dumps(dict(document), indent=draw.choice([None, 2])))
    names = {each["id"]: each["name"] for each in categories}
    expected = {
        each["file_name"]: sorted({names[box["category_id"]] for box in boxes if box["image_id"] == each["id"]})
        for each in images
    }
    assert read(tmp_path / "coco.json") == expected
    assert expected["val/7.jpg"] == []


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"images": [{"id": 1}]}, "an element of 'images' lacks id or file_name"),
        ({"images": [], "annotations": [{"image_id": 1, "category_id": 2}]}, "image 1 and category 2"),
        ({"images": [3]}, "an element of 'images' lacks"),
    ],
)
def test_a_damaged_coco_file_is_refused(tmp_path, document, told):
    (tmp_path / "coco.json").write_text(json.dumps(document))
    with pytest.raises(BadAnnotations, match=told):
        read(tmp_path / "coco.json")


def choice(*labels: str, **more: object) -> dict[str, object]:
    return {"result": [{"type": "choices", "value": {"choices": list(labels)}}], **more}


def test_label_studio_has_choices_links_to_its_server_and_several_answers(tmp_path):
    box = {"type": "rectanglelabels", "value": {"rectanglelabels": ["car"]}}
    tasks = [
        {"id": 7, "data": {"image": "/data/upload/1/0123abcd-cat 1.jpg"}, "annotations": [choice("cat")]},
        {"id": 8, "data": {"image": "/data/local-files/?d=photos%2Fdog.jpg"}, "annotations": [choice("a", "b")]},
        {"id": 9, "data": {"image": "https://host/x/9.jpg"}, "annotations": [choice("old"), choice("new")]},
        {
            "id": 10,
            "data": {"text": "a remark", "image": "s3://bucket/10.jpg"},
            "annotations": [choice("truth", ground_truth=True), choice("x"), choice("y", was_cancelled=True)],
        },
        {"id": 11, "data": {"image": "photos/11.jpg"}, "annotations": [{"result": [box]}]},
        {"id": 12, "data": {"image": "photos/12.jpg"}, "annotations": []},
    ]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    assert read(tmp_path / "a.json") == {
        "cat 1.jpg": ["cat"],
        "photos/dog.jpg": ["a", "b"],
        "x/9.jpg": ["new"],
        "10.jpg": ["truth"],
        "photos/11.jpg": None,
        "photos/12.jpg": None,
    }
    minimal = [{"id": 1, "image": "photos/1.jpg", "choice": "cat", "annotator": 1}]
    (tmp_path / "min.json").write_text(json.dumps(minimal))
    assert read(tmp_path / "min.json") == {"photos/1.jpg": ["cat"]}


CVAT = """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><labels>
<label><name>cat</name></label></labels></task></meta>
<image id="0" name="a/1.jpg" width="2" height="2"><tag label="cat" source="manual"/><tag label="dog"/></image>
<image id="1" name="2.jpg" subset="Train"><tag label="cat"/><box label="ear" xtl="0"/></image>
<image id="2" name="3.jpg"/></annotations>"""


def test_the_labels_of_cvat_are_its_tags(tmp_path):
    (tmp_path / "a.xml").write_text(CVAT)
    assert read(tmp_path / "a.xml") == {"a/1.jpg": ["cat", "dog"], "2.jpg": ["cat"], "3.jpg": None}
    assert [row.split for row in open_labels(tmp_path / "a.xml")] == [None, "train", None]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CVAT[:-20], "is not XML"),
        (CVAT.replace("<tag", "<polygon"), "has shapes, but no tags"),
        ('<!DOCTYPE a [<!ENTITY b "x">]><annotations/>', "declares a document type"),
    ],
)
def test_a_bad_file_of_cvat_is_refused(tmp_path, text, told):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(BadAnnotations, match=told):
        read(tmp_path / "a.xml")
