"""The tables of the experiment: ablations on validation rows, test figures, claims, clusters, texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from classifiers.evaluation.percentages import percent, points
from classifiers.fit.discrimination.recipe import ONE_POSITIVE
from classifiers.reproduce.mlcd import published
from classifiers.reproduce.mlcd.judges import JUDGES
from classifiers.reproduce.mlcd.leads import Claim, Lead, lead
from classifiers.reproduce.mlcd.quality import Quality
from classifiers.reproduce.mlcd.spaces import MOST_POSITIVES, OWN
from classifiers.reproduce.mlcd.study import Found, Tested, Trial
from classifiers.reproduce.mlcd.texts import FIRST, Retrieved
from classifiers.reproduce.paper import Table


@dataclass(frozen=True, slots=True)
class Ablation:
    """How an ablation is shown: its title, the name of what is changed, the paper's figures by value, and notes."""

    title: str
    changed: str
    paper: dict[str, str]
    notes: tuple[str, ...]


LINEAR = f"paper: {published.LINEAR}"
PAPERS = {
    "clusters": Ablation(
        "Number of clusters",
        "k",
        {},
        (
            "The paper's best k had 390 images for each cluster on LAION-400M, and 4 on ImageNet-1k.",
            "At least one centre is a negative of each row, so very few clusters leave fewer positives than l.",
        ),
    ),
    "nearest": Ablation(
        "Positives of each image",
        "l",
        {str(value): text for value, text in published.NEAREST.items()},
        ("The l nearest centres are the positives of an image.", LINEAR),
    ),
    "threshold": Ablation(
        "Positives by a threshold",
        "cosine (positives a row)",
        {},
        (
            f"All centres above this cosine are positives, the nearest one always, and at most {MOST_POSITIVES}.",
            "Vectors are centred, so cosines are smaller than the paper's.",
        ),
    ),
    "negatives": Ablation(
        "Share of the negatives",
        "r",
        {f"{value:g}": text for value, text in published.NEGATIVES.items()},
        ("Here r holds for few clusters too. In all other tables a step draws at least `least_negatives`.", LINEAR),
    ),
    "loss": Ablation(
        "Loss",
        "loss",
        {"mlc": "76.9", "mlcd": "78.1"},
        (
            "single and unicom have one positive. unicom is single on a random half of the dimensions at each step.",
            "paper: ViT-B/32, 32 epochs, linear probe on ImageNet-1k, in %.",
        ),
    ),
}
Leads = Mapping[tuple[Claim, str], Lead]


def interval(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent(low)} to {percent(high)})"


def ablation(name: str, found: Sequence[Found]) -> Table:
    """Return the table of an ablation on validation rows, with the lead of each row over the encoder's own vectors."""
    shown = PAPERS[name]
    judged = [title for judge in JUDGES for title in (f"={judge.name}", f"=− own, {judge.name}")]
    trials = [(each, *row) for each in found for row in ((OWN, None, each.controls[OWN]), *each.ablations[name])]
    scores = [trial.score if variant else 0.0 for _, _, variant, trial in trials]
    rows = [
        (each.encoder, value, *_verdicts(trial, each.controls[OWN] if variant else None), shown.paper.get(value, ""))
        for each, value, variant, trial in trials
    ]
    kept = slice(None) if shown.paper else slice(-1)  # without figures of the paper, without their column
    return Table(
        f"{shown.title}, validation {found[0].figure} in %",
        ("encoder", shown.changed, *judged, "=paper")[kept],
        tuple(row[kept] for row in rows),
        shown.notes,
        best=scores.index(max(scores)),
    )


def _verdicts(trial: Trial, own: Trial | None) -> list[str]:
    """Return accuracy and lead over `own`, in points, by each judge."""
    cells = []
    for judge, verdict in trial.verdicts.items():
        cells.append(percent(verdict.outcome.value))
        cells.append("" if own is None else points(lead(verdict.outcome, own.verdicts[judge].outcome, 0)))
    return cells


def test_figures(found: Sequence[Found]) -> Table:
    """Return the accuracies or mAPs on test rows, which nothing was chosen on."""
    columns = ["encoder", "vectors", "=width"]
    for judge in JUDGES:
        columns += [f"={judge.name}", judge.setting]
    rows = [
        (each.encoder, _titled(name, each), str(tested.trials[0].space.dim), *_tested(tested))
        for each in found
        for name, tested in each.tested.items()
    ]
    notes = (
        f"Adapters learned from {found[0].learned:,} training rows, without labels. No row of val or test was used for "
        "them or for their clusters.",
        f"{len(found[0].parts.test.truth):,} test rows, looked at once; both classifiers learned from train and val.",
        f"k and C were chosen on {len(found[0].parts.val.truth):,} {found[0].parts.validated_on}.",
        "In brackets: 95 % bootstrap interval over test rows. Adapters: mean over the seeds; settings of the first.",
    )
    return Table(f"Test {found[0].figure} in %", tuple(columns), tuple(rows), notes)


def _titled(name: str, found: Found) -> str:
    """Return the name of tested vectors with the parameters that are not in it."""
    variant = found.chosen if name == "chosen" else found.plan.base
    recipe = variant.recipe
    count = 1 if recipe.loss in ONE_POSITIVE else recipe.nearest
    positives = f"l = {count}" if variant.threshold is None else f"cosine ≥ {variant.threshold:.3g}"
    if name == "MLCD":
        return f"MLCD, {positives}"
    if name == "chosen":
        shared = f", r = {recipe.negatives:g}" if recipe.least_negatives == 1 else ""
        return f"chosen: {recipe.loss}, k = {variant.clusters:,}, {positives}{shared}"
    return name


def _tested(tested: Tested) -> list[str]:
    cells = []
    for judge, outcome in tested.outcomes.items():
        cells.append(interval(outcome.value, *outcome.interval(0)))
        cells.append(f"{tested.trials[0].verdicts[judge].setting:g}")
    return cells


def claims(found: Mapping[str, Leads], figure: str) -> Table:
    """Return the claims with the lead on test rows, from the leads of each encoder, in points of this figure."""
    rows = tuple(
        (claim.text, encoder, judge, points(one), one.points_of_seeds(), one.verdict)
        for encoder, leads in found.items()
        for (claim, judge), one in leads.items()
    )
    columns = ("claim", "encoder", "judge", "=points (over rows)", "=over seeds", "verdict")
    notes = (
        f"Points of {figure} on test rows, with 95 % intervals: a paired bootstrap over rows, Student's t over seeds.",
        "A verdict needs both intervals on one side of 0; with one seed there is only the first.",
    )
    return Table("Claims, on test rows", columns, rows, notes)


def clusters(found: Sequence[Found]) -> Table:
    """Return the quality of the clusters."""
    columns = (
        *("encoder", "=k asked", "=k left", "=rows per cluster", "=NMI", "=ARI", "=purity"),
        *("=cosine of a row's centres", "=cosine of any centres"),
    )
    rows = tuple((each.encoder, *_quality(one)) for each in found for one in each.quality)
    nearest = max(one.nearest for each in found for one in each.quality)
    notes = (
        "Empty centres were removed, and of centres with a cosine above 0.98 only one was kept.",
        "NMI, ARI and purity: agreement with the classes of training rows, which clustering never saw. All three "
        "depend on k. They are left out where rows have any number of labels.",
        f"Cosine of a row's centres: mean between two of its {nearest} nearest centres (fewer for small k). Near 1 "
        "they would be duplicates; near that of any centres they would be unrelated.",
    )
    return Table("Quality of the clusters", columns, rows, notes)


def _quality(one: Quality) -> list[str]:
    figures = (one.nmi, one.ari, one.purity, one.together, one.apart)
    cells = ["" if value != value else f"{value:z.3f}" for value in figures]
    return [f"{one.asked:,}", f"{one.found:,}", f"{one.rows:.1f}", *cells]


def zero_shot(found: Sequence[Found]) -> Table:
    """Return the zero-shot accuracies of the encoders that take texts."""
    rows = tuple(
        (each.encoder, interval(share.value, share.low, share.high)) for each in found if (share := each.zero_shot)
    )
    notes = (
        "The encoder's own vectors: adapters take no texts. Prompts and centring are those that training uses; the "
        "label bank is off.",
    )
    return Table("Zero-shot accuracy on test rows, in %", ("encoder", "=accuracy"), rows, notes)


def retrieval(task: str, found: Mapping[str, Retrieved]) -> Table:
    """Return recall at 1, 5 and 10 in both directions, by encoder."""
    rows = tuple(
        (encoder, way, vectors, *(interval(each.value, each.low, each.high) for each in shares))
        for encoder, one in found.items()
        for (way, vectors), shares in one.recall.items()
    )
    first, *_ = found.values()
    notes = (
        f"{first.images:,} images and {first.captions:,} captions in split {first.split} of task {task}. Recall rises "
        "as they become fewer: COCO's test set has 5,000 images with five captions each.",
        "By chance, R@1 would be about "
        f"{100 / first.captions:.2g} % from image to text, and {100 / first.images:.2g} % from text to image.",
    )
    return Table(
        "Image-text retrieval, in %", ("encoder", "direction", "vectors", *(f"=R@{k}" for k in FIRST)), rows, notes
    )
