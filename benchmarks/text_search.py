"""How well a text finds photos, for encoders that take texts: captions and class names against real photos.

    python -m benchmarks.text_search --data FOLDER [--encoder lite0 --encoder openclip/ViT-B-32/openai]

- captions: the caption of each photo of coco18_share.parquet is searched among all photos. recall@1 and recall@10 are
  the shares of captions whose own photo is the first, or among the first 10.
- class names: precision@10 is the share of the first 10 photos that have the class, over the 18 labels of coco18 and
  the 99 classes of caltech99; "chance" is that of photos in random order.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedder import registry
from embedder.encoder import Encoder
from embedder.media.image import decode


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def images(encoder: Encoder, table: pa.Table) -> NDArray[np.float32]:
    parts = []
    for start in range(0, table.num_rows, 32):
        some = table["image"].slice(start, 32).to_pylist()
        parts.append(encoder.embed(np.stack([encoder.prepare(decode(data).image) for data in some])).vectors)
    return unit(np.concatenate(parts))


def texts(encoder: Encoder, words: list[str]) -> NDArray[np.float32]:
    parts = [encoder.embed_texts(words[start : start + 64]) for start in range(0, len(words), 64)]
    return unit(np.concatenate(parts))


def precision(scores: NDArray[np.float32], has: NDArray[np.bool_], k: int = 10) -> float:
    """Return the mean share of the first `k` photos that have the class, of scores (classes, photos)."""
    first = np.argsort(-scores, axis=1)[:, :k]
    return float(np.take_along_axis(has, first, axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", action="append")
    args = parser.parse_args()
    coco = pq.read_table(args.data / "coco18_share.parquet", columns=["image", "labels", "caption"])
    caltech = pq.read_table(
        args.data / "caltech99.parquet", columns=["image", "label"], filters=[("split", "!=", "ood")]
    )
    print("| encoder | caption: recall@1 | recall@10 | coco18 names: precision@10 | caltech99 names: precision@10 |")
    print("|---|---:|---:|---:|---:|")
    named = []
    for labels in (coco["labels"].to_pylist(), [[each] for each in caltech["label"].to_pylist()]):
        classes = sorted({name for some in labels for name in some})
        named.append((classes, np.array([[name in some for some in labels] for name in classes])))
    chance = [f"{has.mean():.3f}" for _, has in named]
    print(f"| chance | {1 / len(coco):.3f} | {10 / len(coco):.3f} | {chance[0]} | {chance[1]} |", flush=True)
    for name in args.encoder or ["lite0", "lite1", "lite2"]:
        encoder = registry.load(name)
        photos = [images(encoder, table) for table in (coco, caltech)]
        scores = texts(encoder, coco["caption"].to_pylist()) @ photos[0].T
        ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
        found = [
            precision(texts(encoder, [f"a photo of a {each.replace('_', ' ')}" for each in classes]) @ X.T, has)
            for (classes, has), X in zip(named, photos, strict=True)
        ]
        print(
            f"| {name} | {(ranks < 1).mean():.3f} | {(ranks < 10).mean():.3f} | {found[0]:.3f} | {found[1]:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
