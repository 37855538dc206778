"""The figures that the paper on MLCD printed, all read in its text (arXiv 2407.17331, version 2)."""

from classifiers.reproduce.paper import Paper, Table

LINEAR = "ViT-B/32 on LAION-400M, 5 epochs, linear probe on ImageNet-1k, in %."
SOURCE = "Read in the text of the paper."

CLUSTERS = {"100K": "66.9", "200K": "71.1", "500K": "74.4", "1M": "75.2", "2M": "74.9", "5M": "74.7"}
NEGATIVES = {0.01: "73.4", 0.05: "75.1", 0.1: "75.2", 0.2: "74.9", 0.5: "68.3", 1.0: "63.2"}
NEAREST = {1: "71.4", 2: "72.9", 4: "73.2", 8: "75.2", 16: "72.1", 32: "68.7"}
THRESHOLDS = {0.95: "72.2", 0.93: "72.7", 0.91: "73.3", 0.89: "72.4", 0.87: "68.7", 0.85: "63.2"}


def _across(title: str, name: str, figures: dict[str, str], *notes: str) -> Table:
    """Return a table of one row, with a column for each value of a parameter."""
    columns = (name, *(f"={value}" for value in figures))
    return Table(title, columns, (("accuracy", *figures.values()),), (*notes, SOURCE))


PROBES = Table(
    "Linear probe, ViT-L/14, accuracy in %",
    ("model", "pre-training data", "=Food-101", "=CIFAR-10", "=CIFAR-100", "=Cars", "=Aircraft", "=DTD", "=26 sets"),
    (
        ("CLIP, as published", "WIT-400M", "95.2", "98.0", "87.5", "90.9", "69.4", "82.1", "84.2"),
        ("CLIP, run again", "WIT-400M", "95.3", "98.1", "87.2", "90.7", "68.0", "80.9", "83.5"),
        ("OpenCLIP", "LAION-400M", "93.3", "97.9", "87.9", "93.6", "64.4", "83.0", "82.3"),
        ("UNICOM", "LAION-400M", "93.4", "98.5", "90.8", "94.6", "74.5", "82.2", "83.3"),
        ("MLCD", "LAION-400M", "94.3", "98.9", "92.0", "94.8", "79.6", "84.6", "84.6"),
    ),
    ("The mean over 26 data sets with ViT-B/32: UNICOM 79.2, MLCD 81.4.", SOURCE),
)
TEXTS = Table(
    "Zero-shot and retrieval, ViT-L/14, in %",
    ("model", "=zero-shot, 25 sets", "=ImageNet", "=COCO image to text R@1", "=COCO text to image R@1"),
    (("OpenCLIP", "63.6", "72.8", "58.0", "41.3"), ("MLCD", "67.5", "75.6", "60.8", "44.5")),
    ("MLCD on Flickr30k: R@1 89.1 from image to text, 75.9 from text to image.", SOURCE),
)
LOSSES = Table(
    "Loss, ViT-B/32, 32 epochs, ImageNet-1k, in %",
    ("loss", "=fine-tuned", "=linear probe", "=zero-shot"),
    (("MLC", "80.9", "76.9", "63.9"), ("MLCD", "81.2", "78.1", "64.5")),
    (SOURCE,),
)
ON_IMAGENET = {
    "500": "61.9",
    "1K": "63.7",
    "4K": "66.7",
    "8K": "67.5",
    "20K": "67.0",
    "80K": "69.5",
    "160K": "70.7",
    "320K": "71.4",
    "500K": "71.3",
}

PAPER = Paper(
    command="mlcd",
    arxiv="2407.17331",
    title="Multi-label cluster discrimination (MLCD)",
    published=(
        PROBES,
        TEXTS,
        _across("Number of clusters k, 390 million images", "k", CLUSTERS, LINEAR),
        _across(
            "Number of clusters k, 1.28 million images (ImageNet-1k)",
            "k",
            ON_IMAGENET,
            "ResNet-50, linear probe, mean of 27 data sets, in %. 320K clusters are one for four images.",
            "UNICOM's best was 60.6, with 40K clusters.",
        ),
        _across("Positives l of each image", "l", {str(value): text for value, text in NEAREST.items()}, LINEAR),
        _across(
            "Positives by a threshold of the cosine, in place of l",
            "threshold",
            {f"{value:g}": text for value, text in THRESHOLDS.items()},
            LINEAR,
        ),
        _across("Share r of the negatives", "r", {f"{value:g}": text for value, text in NEGATIVES.items()}, LINEAR),
        LOSSES,
    ),
)
