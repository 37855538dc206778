"""The published figures on MLCD, each with its source; most were read in the paper (arXiv 2407.17331, version 2)."""

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
    (
        *("model", "pre-training data", "=Food-101", "=CIFAR-10", "=CIFAR-100", "=Birdsnap", "=SUN397", "=Cars"),
        *("=Aircraft", "=DTD", "=EuroSAT", "=Kinetics-700", "=CLEVR", "=mean of 26 sets"),
    ),
    tuple(
        tuple(row.split("|"))
        for row in (
            "CLIP, as published|WIT-400M|95.2|98.0|87.5|77.0|81.8|90.9|69.4|82.1|98.2|72.0|57.8|84.2",
            "CLIP, run again|WIT-400M|95.3|98.1|87.2|77.8|81.5|90.7|68.0|80.9|96.7|70.6|59.6|83.5",
            "OpenCLIP|LAION-400M|93.3|97.9|87.9|78.0|81.0|93.6|64.4|83.0|97.1|64.0|59.8|82.3",
            "UNICOM|LAION-400M|93.4|98.5|90.8|82.4|80.0|94.6|74.5|82.2|96.7|66.7|60.3|83.3",
            "MLCD|LAION-400M|94.3|98.9|92.0|83.4|82.1|94.8|79.6|84.6|99.1|68.5|60.1|84.6",
        )
    ),
    ("The mean of 26 sets with ViT-B/32: UNICOM 79.2, MLCD 81.4.", SOURCE),
)
IMAGENET = Table(
    "ImageNet-1k, ViT-L/14, accuracy in %",
    ("model", "=fine-tuned", "=linear probe", "=zero-shot"),
    (("OpenCLIP", "86.2", "82.1", "72.8"), ("CLIP", "", "83.9", "75.3"), ("MLCD", "87.1", "84.6", "75.6")),
    ("Mean zero-shot accuracy of 25 sets: CLIP 66.9 (run again 65.6), OpenCLIP 63.6, FLIP 66.0, MLCD 67.5.", SOURCE),
)
RETRIEVAL = Table(
    "Retrieval on COCO, ViT-L/14, R@1 in %",
    ("model", "=image to text", "=text to image"),
    (("OpenCLIP", "58.0", "41.3"), ("MLCD", "60.8", "44.5")),
    ("MLCD on Flickr30k: 89.1 from image to text, 75.9 from text to image.", SOURCE),
)
RELEASED = Table(
    "Released models, linear probe, ViT-L/14 at 336 pixels, accuracy in %",
    ("model", "=CIFAR-100", "=Birdsnap", "=Aircraft", "=Cars", "=DTD", "=SUN397"),
    (
        ("CLIP", "87.40", "79.90", "71.60", "91.50", "83.00", "82.20"),
        ("MLCD", "93.69", "88.18", "86.38", "95.16", "86.70", "87.96"),
    ),
    (
        "ImageNet-1k: ViT-B/32 79.1, ViT-L/14 at 336 pixels 86.3 (86.1 in another table), ViT-bigG 87.1.",
        "Read in the README of the authors' code (deepglint/unicom).",
    ),
)
FEW_SHOT = Table(
    "Released models, 16 images of each class, mean of 5 draws, accuracy in %",
    ("model", "=CIFAR-10", "=CIFAR-100"),
    (
        ("CLIP, ViT-B/32", "90.10", "67.79"),
        ("MLCD, ViT-B/32", "94.29", "77.18"),
        ("CLIP, ViT-L", "95.44", "79.04"),
        ("MLCD, ViT-L", "98.28", "89.50"),
    ),
    ("Measured by a reader of the paper, not by its authors: mteb, pull request 5406, open when it was read.",),
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
        IMAGENET,
        RETRIEVAL,
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
        RELEASED,
        FEW_SHOT,
    ),
)
