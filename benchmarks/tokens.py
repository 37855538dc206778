"""The cost of token reduction (condense) for a decoder: mAP on test rows, and bytes of an image's tokens.

    python -m benchmarks.tokens --data FOLDER [--task coco18_share] [--work FOLDER]

Decoder heads with group queries learn all frequent labels of the task from lite0's tokens, first from all tokens, then
from tokens reduced as `headwater condense` does it. Components are learned from training rows. The settings are those
of `benchmarks.quality`; nothing is tuned here.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import machine
from benchmarks.quality import zero_shot
from benchmarks.quality.__main__ import WORK
from benchmarks.quality.vectors import prepare
from classifiers.evaluation.label_figures import evaluate_labels
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from embedder import registry
from embedder.derived.stored import StoredAdapter
from services.jobs.condense import CondenseRequest, condense
from services.settings import Settings
from store import Store

WAYS = ((1, None), (2, None), (1, 256), (1, 64), (2, 256), (2, 64), (4, None))
"""(pool, components) of each reduction; (1, None) is none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=zero_shot.TASKS, default=zero_shot.TASKS[0])
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the store")
    options = parser.parse_args()
    print(machine())
    store = Store.open(options.work / "headwater.db")
    prepare(store, options.data, [options.task])
    images = zero_shot.read(store, options.task)
    names, (Y, own) = images.names, zero_shot.learning(images, images.names)
    truth = images.truth[~images.training]
    pooled = LabelwiseClassifier().fit(images.vectors[own], Y, names).head_
    control = evaluate_labels(pooled.scores(images.vectors[~images.training]), truth, names, 0.0)
    print(f"{options.task}, {len(own)} training rows, {len(names)} labels")
    print(f"logistic regression for each label on pooled vectors: mAP {control.map:.3f}")
    encoder = registry.load(zero_shot.ENCODER, cache_dir=Settings().cache)
    for pool, components in WAYS:
        told, some = "whole", images
        if (pool, components) != (1, None):
            request = CondenseRequest(pool=pool, components=components, rows_of=options.task)
            made = condense(store, encoder, request, options.work / "adapters")
            condenser = StoredAdapter.load(made.path).adapter
            parts = np.array_split(images.tokens, math.ceil(len(images.tokens) / zero_shot.READ_ROWS))
            some = replace(images, tokens=np.concatenate([condenser(part) for part in parts]))
            told = f"pool {pool}, {components or 'all'} components, {made.kept:.0%} of the variance"
        head = zero_shot.unfitted(some, "groups").fit(some.tokens[own], Y, names).head_
        found = evaluate_labels(zero_shot.flat(head.scores, some), truth, names, 0.0)
        shape = some.tokens.shape[1:]
        size = 2 * math.prod(shape) / 1000
        print(f"{told}: {shape[0]} × {shape[1]} = {size:.1f} kB, mAP {found.map:.3f}", flush=True)


if __name__ == "__main__":
    main()
