"""Miniatures of published data sets: a few generated files in the layout in which each is downloaded."""

import csv
import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from helpers.pictures import photo
from helpers.sounds import sound
from helpers.videos import film
from store import Store
from store.rows import strings


def write(path: Path, content: bytes | str | object) -> Path:
    """Write bytes, text, or anything else as JSON; with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def photos(folder: Path, *names: str, start: int = 0) -> None:
    """Write a different small photo under each name, the first with the seed `start`."""
    for seed, name in enumerate(names, start):
        write(folder / name, photo(seed, 8, 8, "JPEG"))


def stored(store: Store, task: str) -> dict[str, tuple[list[str], str]]:
    """Name of each labelled file → its labels and its split, as they are in the store."""
    rows = store.labels.get(task)
    assets = store.assets.get(strings(rows["id"]))
    values = zip(rows["labels"].to_pylist(), strings(rows["split"]), strict=True)
    return {Path(asset.uri).name: value for asset, value in zip(assets, values, strict=True)}


def python2(value: object) -> bytes:
    """Return the pickle that Python 2 wrote for dictionaries like CIFAR's, in protocol 2."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    if isinstance(value, bytes):
        return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_opcodes, value)) + b"t"
    if isinstance(value, Mapping):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(each) for key, each in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01bq\x03\x87Rq\x04"
    dtype = b"cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return empty + b"(K\x01" + _opcodes(value.shape) + dtype + b"\x89" + _opcodes(value.tobytes()) + b"tb"


def pixels(seed: int, count: int) -> np.ndarray:
    """Return images of CIFAR (count, 3072) of uint8, planes red, green and blue."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


CIFAR10 = (b"airplane", b"automobile", b"bird")
"""Names of the classes of the miniature of CIFAR-10."""


def cifar10(folder: Path, *, binary: bool = False) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Make CIFAR-10 with two images a batch. Return the pixels and the classes of each batch."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    made = {name: (pixels(seed, 2), [seed % 3, (seed + 1) % 3]) for seed, name in enumerate(names)}
    for name, (data, codes) in made.items():
        if binary:
            write(folder / "cifar-10-batches-bin" / f"{name}.bin", records(data, [codes]))
        else:
            batch = {b"batch_label": name.encode(), b"labels": codes, b"data": data, b"filenames": [b"a.png", b"b.png"]}
            write(folder / "cifar-10-batches-py" / name, python2(batch))
    if binary:
        write(folder / "cifar-10-batches-bin" / "batches.meta.txt", b"\n".join(CIFAR10) + b"\n\n")
    else:
        meta = {b"num_cases_per_batch": 2, b"label_names": list(CIFAR10), b"num_vis": 3072}
        write(folder / "cifar-10-batches-py" / "batches.meta", python2(meta))
    return made


def cifar100(folder: Path, *, binary: bool = False) -> dict[str, np.ndarray]:
    """Make CIFAR-100: train has the fine classes apple, bear (coarse: fruit, mammals), test has bear. Return pixels."""
    made = {"train": pixels(10, 2), "test": pixels(11, 1)}
    codes = {"train": [0, 1], "test": [1]}
    names = {"fine": [b"apple", b"bear"], "coarse": [b"fruit", b"mammals"]}
    for name, data in made.items():
        if binary:
            write(folder / "cifar-100-binary" / f"{name}.bin", records(data, [codes[name], codes[name]]))
        else:
            batch = {b"fine_labels": codes[name], b"coarse_labels": codes[name], b"data": data}
            write(folder / "cifar-100-python" / name, python2(batch))
    if binary:
        for sort, each in names.items():
            write(folder / "cifar-100-binary" / f"{sort}_label_names.txt", b"\n".join(each))
    else:
        write(folder / "cifar-100-python" / "meta", python2({f"{k}_label_names".encode(): v for k, v in names.items()}))
    return made


def records(data: np.ndarray, codes: list[list[int]]) -> bytes:
    """Return the records of the binary version: the numbers of the classes, then the pixels."""
    return np.column_stack([*(np.array(each, np.uint8) for each in codes), data]).tobytes()


SYNSETS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n03126707": "crane",
    "n03710637": "maillot",
    "n03710721": "maillot, tank suit",
}
"""Words of the classes of the miniature of ImageNet, two pairs of which share their first word, as in ImageNet."""

NAMES = ["tench", "crane (n02012849)", "crane (n03126707)", "maillot", "maillot, tank suit"]
"""The labels of these classes."""


def imagenet(folder: Path, truth: Iterable[int] = (4, 1, 1, 2)) -> Path:
    """Make ImageNet: one training image a class, validation images by their number in `truth`, and the kit."""
    photos(folder / "train", *(f"{wnid}/{wnid}_1.JPEG" for wnid in SYNSETS))
    numbers = list(truth)
    photos(folder / "val", *(f"ILSVRC2012_val_{i:08}.JPEG" for i in range(1, len(numbers) + 1)), start=20)
    kit = folder / "ILSVRC2012_devkit_t12" / "data"
    write(kit / "ILSVRC2012_validation_ground_truth.txt", "".join(f"{number}\n" for number in numbers))
    save_meta(kit / "meta.mat")
    return folder


def save_meta(path: Path) -> None:
    """Write `meta.mat`: the classes by number, and a group of classes above them, as the kit has 74 of."""
    from scipy.io import savemat

    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height"]
    groups = [(len(SYNSETS) + 1, "n00001740", "entity", "what exists", 2, np.array([1, 2]), 19)]
    rows = [(i, wnid, words, "a thing", 0, np.zeros(0), 0) for i, (wnid, words) in enumerate(SYNSETS.items(), 1)]
    synsets = np.empty((len(rows) + 1, 1), [(name, object) for name in fields])
    synsets[:, 0] = [*rows, *groups]
    savemat(path, {"synsets": synsets})


def esc50(folder: Path) -> Path:
    """Make ESC-50: a sound of two categories in each fold."""
    rows = [("filename", "fold", "target", "category", "esc10", "src_file", "take")]
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (14, "chirping_birds")):
            name = f"{fold}-{1000 + fold}-A-{target}.wav"
            rows.append((name, str(fold), str(target), category, "False", str(1000 + fold), "A"))
            write(folder / "audio" / name, sound(fold * 50 + target, seconds=0.1))
    return write_csv(folder / "meta" / "esc50.csv", rows)


def write_csv(path: Path, rows: Iterable[Iterable[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def coco(folder: Path, year: str = "2017") -> Path:
    """Make COCO: three training images, the second without objects, and one of val; each with two captions."""
    parts = {"train": (1, 2, 3), "val": (4,)}
    objects = {1: [18, 1, 1], 3: [1], 4: [18]}
    for part, ids in parts.items():
        images = [{"id": i, "file_name": f"{i:012}.jpg", "license": 3, "height": 8, "width": 8} for i in ids]
        photos(folder / f"{part}{year}", *(image["file_name"] for image in images), start=ids[0])
        marks = [
            {"id": n, "image_id": i, "category_id": c, "bbox": [0, 0, 2, 2], "iscrowd": 0, "area": 4.0}
            for i in ids
            for n, c in enumerate(objects.get(i, []))
        ]
        texts = [{"id": n, "image_id": i, "caption": f"Caption {n} of  image {i}.\n"} for i in ids for n in (1, 2)]
        categories = [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "animal", "id": 18, "name": "dog"},
        ]
        info = {"year": int(year)}
        instances = {"info": info, "images": images, "annotations": marks, "categories": categories}
        write(folder / "annotations" / f"instances_{part}{year}.json", instances)
        write(folder / "annotations" / f"captions_{part}{year}.json", {"images": images, "annotations": texts})
    return folder


def karpathy(path: Path, images: Mapping[str, str]) -> Path:
    """Write a file of captions and splits by Karpathy: {name of an image: split}, two captions each."""
    entries = [
        {
            "filename": name,
            "split": split,
            "imgid": i,
            "sentences": [{"raw": f"Sentence {n} of {name}", "tokens": ["sentence"]} for n in (1, 2)],
        }
        for i, (name, split) in enumerate(images.items())
    ]
    return write(path, {"images": entries, "dataset": path.stem})


CONCEPTS = ("animal", "clouds", "sky")
TAGS = ("nikon", "sky", "sunset")
"""Concepts and tags of the miniature of NUS-WIDE. One is both, as 75 of the data set are."""


def nus_wide(folder: Path) -> Path:
    """Make NUS-WIDE: three training images and one test image. The third has neither concept nor tag."""
    lists = {"Train": ["actor\\0001_11.jpg", "actor\\0002_12.jpg", "zoo\\0001_13.jpg"], "Test": ["zoo\\0002_14.jpg"]}
    concepts = {"Train": ["011", "100", "000"], "Test": ["001"]}
    tags = {"Train": ["110", "000", "000"], "Test": ["001"]}
    write(folder / "ConceptsList" / "Concepts81.txt", "".join(f"{name}\r\n" for name in CONCEPTS))
    write(folder / "NUS_WID_Tags" / "TagList1k.txt", "".join(f"{name}\r\n" for name in TAGS))
    for part, names in lists.items():
        photos(folder / "Flickr", *(name.replace("\\", "/") for name in names), start=len(part))
        write(folder / "ImageList" / f"{part}Imagelist.txt", "".join(f"{name}\r\n" for name in names))
        write(folder / "NUS_WID_Tags" / f"{part}_Tags1k.dat", "".join("\t".join(row) + "\t\n" for row in tags[part]))
        for i, concept in enumerate(CONCEPTS):
            bits = "".join(f"{row[i]}\n" for row in concepts[part])
            write(folder / "Groundtruth" / "TrainTestLabels" / f"Labels_{concept}_{part}.txt", bits)
    return folder


def open_images(folder: Path) -> Path:
    """Make Open Images: two training images and one each of validation and test, with verified labels."""
    names = [("LabelName", "DisplayName"), ("/m/0199g", "Bicycle"), ("/m/01g317", "Person"), ("/m/0bt9lr", "Dog, pet")]
    write_csv(folder / "oidv7-class-descriptions.csv", names)
    header = ("ImageID", "Source", "LabelName", "Confidence")
    rows = {
        "oidv6-train": [
            ("00aa", "verification", "/m/0199g", "1"),
            ("00aa", "crowdsource-verification", "/m/01g317", "1"),
            ("00aa", "verification", "/m/0bt9lr", "0"),
            ("00bb", "verification", "/m/0bt9lr", "0"),
        ],
        "validation": [("00cc", "verification", "/m/0bt9lr", "1")],
        "test": [("00dd", "verification", "/m/01g317", "1"), ("00dd", "verification", "/m/0unnamed", "1")],
    }
    for part, each in rows.items():
        write_csv(folder / f"{part}-annotations-human-imagelabels.csv", [header, *each])
    photos(folder, "train/00aa.jpg", "train/00bb.jpg", "validation/00cc.jpg", "test/00dd.jpg")
    return folder


def msr_vtt(folder: Path) -> Path:
    """Make MSR-VTT: a video of each split, with two captions each."""
    files = {"train_val": [("video0", "train", 9), ("video1", "validate", 0)], "test": [("video2", "test", 19)]}
    for part, videos in files.items():
        entries = [
            {
                "video_id": name,
                "split": split,
                "category": number,
                "url": "",
                "start time": 0.0,
                "end time": 1.0,
                "id": 0,
            }
            for name, split, number in videos
        ]
        sentences = [
            {"caption": f"caption {n} of {name}", "video_id": name, "sen_id": n}
            for name, _, _ in videos
            for n in (1, 2)
        ]
        told = {"info": {"year": "2016"}, "videos": entries, "sentences": sentences}
        write(folder / f"{part}_videodatainfo.json", told)
        for name, _, number in videos:
            write(folder / "videos" / "all" / f"{name}.mp4", film("mp4", 2, width=16 + 2 * number))
    return folder


def flickr8k(folder: Path) -> Path:
    """Make Flickr8k: an image in each split, with two captions each."""
    names = {"train": "1000_aa.jpg", "dev": "1001_bb.jpg", "test": "1002_cc.jpg"}
    tokens = [f"{name}#{n}\tCaption {n} of {name} ." for name in names.values() for n in range(2)]
    write(folder / "Flickr8k_text" / "Flickr8k.token.txt", "".join(f"{line}\n" for line in tokens))
    for split, name in names.items():
        write(folder / "Flickr8k_text" / f"Flickr_8k.{split}Images.txt", f"{name}\n")
    photos(folder / "Flicker8k_Dataset", *names.values())
    return folder
