"""The charts of a comparison, with captions, and with texts for readers who cannot see the charts."""

from collections.abc import Callable

from classifiers.compare.candidates import ONE_VS_REST, SOFTMAX
from classifiers.compare.comparison import Comparison
from classifiers.compare.curves import CurvePoint
from classifiers.compare.family import ANY_LABELS, Family
from classifiers.compare.trial import Trial
from classifiers.evaluation import plots
from classifiers.evaluation.html import Picture

MARKED = 0.8
"""Share of the variance that is marked in PCA curves, the default of `project=pca`."""


def draw(comparison: Comparison, shortened: Callable[[str], str]) -> list[Picture]:
    """Return all charts that have data; none before a candidate is finished.

    Args:
        shortened: returns the name of an encoder as the charts show it.
    """
    best = comparison.winner()
    if best is None:
        return []
    found = [parameters(comparison, best, shortened), reliability(comparison, best)]
    if comparison.family is not ANY_LABELS:
        found.insert(1, confusion(comparison, best))
    curves = {shortened(encoder): points for encoder, points in comparison.curves.items() if points}
    return [*found, pca(curves, comparison.family)] if curves else found


def parameters(comparison: Comparison, best: Trial, shortened: Callable[[str], str]) -> Picture:
    trials = [trial for trial in comparison.ranking() if trial.candidate.trainable]
    family = comparison.family
    points = [
        plots.Point(
            trial.parameters,
            family.value(trial.evaluation),
            group="\n".join(map(shortened, trial.candidate.encoders)),
            kind=trial.candidate.kind,
            name=trial.candidate.title,
        )
        for trial in trials
    ]
    sizes, right = [point.parameters for point in points], [point.accuracy for point in points]
    return Picture(
        "parameters",
        plots.png(
            plots.accuracy_by_parameters(points, trials.index(best), family.interval(best.evaluation), family.figure)
        ),
        f"{family.figure[0].upper() + family.figure[1:]} of each head by its number of parameters; the best on each "
        f"set of encoders is named. The winner is ringed, and the band is the 95 % interval of its {family.figure}.",
        f"{len(points)} heads of {min(sizes):,} to {max(sizes):,} parameters, with {family.figure} from "
        f"{min(right):.1%} to {max(right):.1%}; the winner has {best.parameters:,}.",
    )


def confusion(comparison: Comparison, best: Trial) -> Picture:
    wrong = best.evaluation.errors()
    commonest = "; ".join(f"{true} predicted as {predicted}, {rows} times" for true, predicted, rows in wrong[:3])
    some = len(best.evaluation.classes) > plots.MOST_CLASSES
    return Picture(
        "confusion",
        plots.png(plots.confusion(best.evaluation)),
        f"Errors of the winner on {comparison.validated_on}: number of rows by true and predicted class"
        + (f", the {plots.MOST_CLASSES} classes with the most errors." if some else "."),
        f"Commonest errors: {commonest}." if wrong else "No errors.",
    )


def reliability(comparison: Comparison, best: Trial) -> Picture:
    several = comparison.family is ANY_LABELS
    plain = ONE_VS_REST if several else SOFTMAX
    what = "Probabilities of labels, and shares of rows that have them," if several else "Confidence and accuracy"
    controls = [trial for trial in comparison.controls() if trial.candidate.control == plain]
    heads = dict(zip(("winner", plain), (best, *controls), strict=False))
    errors = " and ".join(f"{trial.evaluation.ece:.3f} for the {name}" for name, trial in heads.items())
    return Picture(
        "reliability",
        plots.png(plots.reliability({name: trial.evaluation for name, trial in heads.items()})),
        f"{what} of the heads on {comparison.validated_on}. Their calibration was fitted on the "
        "same rows, so new rows look a little worse. Faint points have few rows.",
        f"Expected calibration error {errors}.",
    )


def pca(curves: dict[str, list[CurvePoint]], family: Family) -> Picture:
    lines, said = {}, []
    for encoder, points in curves.items():
        marked = min(range(len(points)), key=lambda i: abs(points[i].share - MARKED))
        lines[encoder] = plots.Line([p.components for p in points], [p.value for p in points], marked)
        at, whole = points[marked], points[-1]
        said.append(f"{encoder} {at.value:.1%} with {at.components:,} components, {whole.value:.1%} with all")
    return Picture(
        "pca",
        plots.png(plots.pca(lines, family.figure)),
        f"Validation {family.figure} of a {family.on_components} on the first principal components alone.",
        f"At {MARKED:.0%} of the variance: {'; '.join(said)}.",
    )
