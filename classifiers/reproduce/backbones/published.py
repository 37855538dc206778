"""The figures of the two papers on the fusion of backbones, as far as they could be read."""

from classifiers.reproduce.paper import Paper, Table

SECOND_HAND = (
    "[second-hand] from a close reading by a third party and from the reviews, not from the paper itself. The paper "
    "has nine image towers of OpenAI's CLIP and 21 data sets. Points are points of accuracy in percent."
)
ABSTRACT = "[abstract] read in the abstract of arXiv 2312.14400."

GAINS = Table(
    "What fusing nine backbones gains over the best single one",
    ("quantity", "=published", "source"),
    (
        ("oracle minus best single, largest of 21 data sets (EuroSAT)", "+43.5", "[second-hand]"),
        ("NLC on zero-shot scores, mean of 21 data sets", "+9.1", "[second-hand]"),
        ("NLC on zero-shot scores, largest (EuroSAT)", "+39.1", "[second-hand]"),
        ("votes, confidence and averages on zero-shot scores", "about 0, sometimes negative", "[second-hand]"),
        ("NLC on linear probes, mean", "+1.6", "[second-hand]"),
        ("Super Learner on linear probes, mean", "+1.6", "[second-hand]"),
        ("mixture of experts on linear probes", "-20.9 to +20.8", "[second-hand]"),
        ("oracle, arXiv 2312.14400", "over 20 %", "[abstract]"),
        ("combination of backbones, arXiv 2312.14400", "up to +6.34 %", "[abstract]"),
    ),
    (SECOND_HAND, ABSTRACT),
)

COSTS = Table(
    "What fusing costs",
    ("quantity", "=published", "source"),
    (
        ("nine backbones against one, computation", "5 to 34 times", "[second-hand]"),
        ("saved by the four cheapest with NLC, which beat the best single one", "about 300 GFLOPs", "[second-hand]"),
    ),
)

FEW_SHOT = Table(
    "With few rows of each class",
    ("quantity", "=published", "source"),
    (
        ("nine backbones with NLC, 1 row of each class, mean accuracy", "78.2", "[second-hand]"),
        ("Tip-Adapter-F with one backbone, 1 row of each class, mean accuracy", "61.3", "[second-hand]"),
        ("NLC on top of Tip-Adapter, 16 rows of each class (EuroSAT)", "over +15", "[second-hand]"),
    ),
)

PAPER = Paper(
    "backbones",
    "2312.14400, 2405.17139",
    "Fusion of CLIP backbones",
    (GAINS, COSTS, FEW_SHOT),
)
