"""Accuracy of class names alone, by the prompts that they are put into: what the default prompts were chosen by.

    python -m benchmarks.prompts --store URI [--split train] [--images-only] TASK…

The first table is on images of a store, embedded with lite0, lite1 and lite2: no label is learned from, so the training
rows judge the prompts. Vectors are centred on the mean of the training rows, as `zeroshot` does. The second table is on
ImageNet without images, in five folds: the text map is made without 200 classes, and a row of the classifier replaces
the images of each of them. Its class is to be found among the 200, and among all 1,000, of which the map saw 800.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from timm.data import ImageNetInfo

from benchmarks.textmap import unit
from classifiers.prompt_sets import AS_WRITTEN, SETS
from classifiers.prompts import class_texts
from embedder.encoders.lite import make_text_map
from embedder.encoders.lite.configs import CONFIGS
from embedder.encoders.lite.text_map import artifact
from store import Store

SEVEN = (
    "a photo of a {}.",
    "a close-up photo of a {}.",
    "a bright photo of a {}.",
    "a cropped photo of a {}.",
    "a good photo of the {}.",
    "a photo of one {}.",
    "{}",
)
"""The default before the sets had names."""

CHOICES = {"seven": SEVEN, **{name: SETS[name] for name in ("name", "photo", "name-and-photo")}}
CHOICES |= {name: SETS[name] for name in ("imagenet7", "imagenet80", "caltech101")}
CHOICES["imagenet80 and name"] = (*SETS["imagenet80"], "{}")
CHOICES |= {f"{name}{AS_WRITTEN}": tuple(t.replace("{}", "{label}") for t in SETS[name]) for name in ("name", "photo")}

Vectors = NDArray[np.float64]


class Texts:
    """MiniLM's vectors of texts, each embedded once."""

    def __init__(self) -> None:
        self._known: dict[str, Vectors] = {}

    def __call__(self, texts: Sequence[str]) -> Vectors:
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        if missing:
            self._known |= zip(missing, make_text_map.encode(missing), strict=True)
        return np.stack([self._known[text] for text in texts])


def directions(
    texts: Texts, classes: Sequence[str], prompts: Sequence[str], matrix: Vectors, centre: Vectors
) -> Vectors:
    """Return one direction per class, (K, d), as `classifiers.prompts.class_vectors` does, through a text map."""
    each = unit((texts(class_texts(classes, prompts)) - centre) @ matrix)
    return unit(each.reshape(len(classes), len(prompts), -1).mean(axis=1))


def on_images(store: Store, tasks: Sequence[str], split: str, texts: Texts) -> None:
    print(
        f"| prompts ({split} rows) |", " | ".join(f"{task}, {name}" for task in tasks for name in CONFIGS), "| mean |"
    )
    print("|---" * (len(tasks) * len(CONFIGS) + 2) + "|")
    columns = []
    for task in tasks:
        for name in CONFIGS:
            matrix = store.matrix(task, [name], splits=tuple({"train", split}))
            rows, training = matrix.select(split), matrix.select("train")
            U = unit(rows.X.astype(np.float64)) - unit(training.X.astype(np.float64)).mean(axis=0)
            tensors = load_file(artifact(name))
            map_ = tensors["matrix"].astype(np.float64), tensors["centre"].astype(np.float64)
            classes = [str(each) for each in rows.classes]
            columns.append(
                [
                    float(np.mean((U @ directions(texts, classes, prompts, *map_).T).argmax(axis=1) == rows.codes))
                    for prompts in CHOICES.values()
                ]
            )
    for choice, found in zip(CHOICES, np.transpose(columns), strict=True):
        print(f"| {choice} | {' | '.join(f'{each:.3f}' for each in found)} | {np.mean(found):.3f} |", flush=True)


def on_held_out_classes(texts: Texts) -> None:
    info, examples = ImageNetInfo(), make_text_map.examples()
    names = [info.index_to_description(index).split(", ")[0] for index in range(1000)]
    order = np.random.RandomState(0).permutation(1000)
    columns = [f"{name}, among {count}" for name in CONFIGS for count in ("200", "1,000")]
    print(f"\n| prompts (held-out classes) | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    found = {choice: np.zeros((5, len(columns))) for choice in CHOICES}
    for number, name in enumerate(CONFIGS):
        targets = make_text_map.targets(name)
        for fold in range(5):
            held = order[fold::5]
            seen = ~np.isin(examples.classes, held)
            args = (
                examples.vectors[seen],
                targets[examples.classes[seen]],
                examples.weights[seen],
                make_text_map.RIDGE,
            )
            matrix, centre = make_text_map.ridge(*args)
            for choice, prompts in CHOICES.items():
                scores = targets[held] @ directions(texts, names, prompts, matrix, centre).T
                among_held = scores[:, held].argmax(axis=1) == np.arange(len(held))
                found[choice][fold, 2 * number :][:2] = among_held.mean(), (scores.argmax(axis=1) == held).mean()
    for choice, each in found.items():
        print(f"| {choice} | {' | '.join(f'{one:.3f}' for one in each.mean(axis=0))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--images-only", action="store_true")
    parser.add_argument("tasks", nargs="+")
    options = parser.parse_args()
    texts = Texts()
    on_images(Store.open(options.store, must_exist=True), options.tasks, options.split, texts)
    if not options.images_only:
        on_held_out_classes(texts)


if __name__ == "__main__":
    main()
