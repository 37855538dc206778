"""The figures that CLIP-Decoder and ML-Decoder published, with the source of each."""

from classifiers.reproduce.paper import Paper, Table

SOURCES = (
    "[text]: read in the paper. [abstract]: read in its abstract. [code]: read in the authors' repository. – is a "
    "figure that could not be read at its source."
)

PAPER = Paper(
    command="clip-decoder",
    arxiv="2406.14830",
    title="CLIP-Decoder: zero-shot multi-label classification by aligned attention over tokens",
    published=(
        Table(
            "CLIP-Decoder on NUS-WIDE, 925 seen and 81 unseen labels: gain in mAP over the best method before it",
            ("method", "=ZSL", "=GZSL", "source"),
            (("CLIP-Decoder", "+3.9", "+2.3", "[abstract]"),),
            (
                "In points. The authors tune the image tower, and choose the epoch on the test labels. Here the tower "
                "is frozen, and nothing is chosen on test rows or unseen labels.",
            ),
        ),
        Table(
            "NUS-WIDE, 925 seen and 81 unseen labels: mAP / F1@3 / F1@5 in percent, from ML-Decoder's paper "
            "(arXiv 2111.12933)",
            ("method", "=ZSL", "=GZSL", "source"),
            (
                ("CONSE", "9.4 / 21.6 / 20.2", "2.1 / 7.0 / 8.1", "[text]"),
                ("Fast0Tag", "15.1 / 27.8 / 26.4", "3.7 / 11.5 / 13.5", "[text]"),
                ("attention per label", "10.4 / 25.8 / 23.6", "3.7 / 10.9 / 13.2", "[text]"),
                ("attention per cluster (M=10)", "12.9 / 24.6 / 22.9", "2.6 / 6.4 / –", "[text]"),
                ("ML-Decoder", "31.1 / – / –", "–", "[text]"),
            ),
            (SOURCES,),
        ),
        Table(
            "Closed set: mAP in percent on MS-COCO, all labels trained",
            ("method", "=mAP", "source"),
            (
                ("ML-Decoder, TResNet-XL, 640 px", "91.4", "[code], [text]"),
                ("ML-Decoder, TResNet-L, 448 px", "90.1", "[code], [text]"),
                ("ML-Decoder, TResNet-M, 224 px", "84.2", "[code], [text]"),
                ("mean of tokens with the asymmetric loss, TResNet-XL, 640 px", "88.4", "[code], [text]"),
                ("mean of tokens with the asymmetric loss, TResNet-L, 448 px", "86.6", "[code], [text]"),
            ),
            ("80 labels with their natural frequencies, and towers that are tuned: other data than this store's.",),
        ),
    ),
)
