"""Test accuracy of heads that learn from k training rows per class, beside few-shot methods for CLIP.

    python -m benchmarks.few_shot --store URI [--encoder lite0] [--shots K]… [--method NAME]… TASK…

For k = 1, 2, 4, 8 and 16, in five draws of the training rows. Test rows give the figures, and choose nothing. The
`zeroshot` heads are trained as by `headwater fewshot`, LP++ (arXiv 2404.02285) among them. Parameters of their peers
are chosen on folds of the k rows, which hold out as many rows of one class as of another; with one row they are the
fixed ones below. Peers see vectors that are centred on the mean of the k rows per class, at unit norm.

- Tip-Adapter (arXiv 2111.03930, eqs. 4 and 5), training-free: logits = x·t / T + α exp(-β (1 - x·F)) L.
- Tip-Adapter-F: the keys F of that are trained by AdamW, 20 steps on all rows, at its α and β.
- TransCLIP (arXiv 2406.01837): a Gaussian mixture with one diagonal covariance over the labelled rows and all test
  rows without their labels, tied to the texts and to the 3 nearest neighbours; 10 rounds. It is transductive: it sees
  the test vectors, which the others do not.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.candidates import assignment
from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import fit_temperature
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.prompts import class_vectors, default_prompts
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.learning.few_shot import LEAST_TO_CHOOSE, FewRows
from classifiers.training.rows.rows import Rows
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Matrix, Store

SHOTS, DRAWS = (1, 2, 4, 8, 16), 5
BETAS = (1.0, 3.0, 5.5)
TIP = [(alpha, beta) for alpha, beta in product((1.17, 5.0, 20.0, 80.0), BETAS)]
TIP_ONE_SHOT = (1.17, 1.0)
"""Parameters of the paper on ImageNet."""

Array = NDArray[np.float64]


def unit(X: Array) -> Array:
    return np.asarray(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12))


class Shots:
    """k rows per class, and what is computed from them once: the centre, class means, and the texts' temperature.

    `rows` are the same rows in the store, for the heads of this project.
    """

    def __init__(self, few: FewRows, text: Array, rows: Rows) -> None:
        self.few, self.text, self.classes, self.rows = few, text, len(text), rows
        self.centre = few.U.mean(axis=0)
        self.F = self.seen(few.U)
        self.means = unit(np.stack([self.F[few.codes == k].mean(axis=0) for k in range(self.classes)]))
        self.temperature = fit_temperature((self.F @ text.T).astype(np.float32), few.codes)

    def seen(self, U: Array) -> Array:
        return unit(U - self.centre)


def texts(shots: Shots, U: Array) -> Array:
    return shots.seen(U) @ shots.text.T


def class_means(shots: Shots, U: Array) -> Array:
    return shots.seen(U) @ shots.means.T


def tip_adapter(shots: Shots, U: Array, alpha: float, beta: float) -> Array:
    affinity = np.exp(-beta * (1 - shots.seen(U) @ shots.F.T))
    return texts(shots, U) / shots.temperature + alpha * affinity @ np.eye(shots.classes)[shots.few.codes]


def softmax(logits: Array) -> Array:
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)))


def tip_adapter_f(shots: Shots, U: Array, alpha: float, beta: float, steps: int = 20) -> Array:
    X, keys, Y = shots.F, shots.F.copy(), np.eye(shots.classes)[shots.few.codes]
    alone = X @ shots.text.T / shots.temperature
    first, second = np.zeros_like(keys), np.zeros_like(keys)
    for step in range(1, steps + 1):
        affinity = np.exp(-beta * (1 - X @ keys.T))
        wrong = (softmax(alone + alpha * affinity @ Y) - Y) / len(X)
        slope = (affinity * beta * alpha * (wrong @ Y.T)).T @ X
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        move = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-4)
        rate = 5e-4 * (1 + np.cos(np.pi * (step - 1) / steps))  # cosine decay from 1e-3
        keys -= rate * (move + 0.01 * keys)
    return texts(shots, U) / shots.temperature + alpha * np.exp(-beta * (1 - shots.seen(U) @ keys.T)) @ Y


def transclip(shots: Shots, U: Array, weight: float = 1.0) -> Array:
    """Return the responsibilities (n, K) of the rows U after 10 rounds. `weight` is that of the labelled rows."""
    X, Y = shots.seen(U), np.eye(shots.classes)[shots.few.codes]
    log_text = texts(shots, U) / shots.temperature
    log_text -= np.logaddexp.reduce(log_text, axis=1, keepdims=True)
    near = X @ X.T
    np.fill_diagonal(near, -1)
    kept = np.argsort(-near, axis=1)[:, :3]
    links = np.take_along_axis(near, kept, axis=1).clip(0)
    z, means, variance = np.exp(log_text), shots.means, np.full(X.shape[1], 1 / X.shape[1])
    for _ in range(10):
        scaled = X / variance
        fit = scaled @ means.T - 0.5 * ((means / variance) * means).sum(axis=1)
        for _ in range(5):
            logits = fit + log_text + (links[:, :, None] * z[kept]).sum(axis=1)
            z = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        a, b = weight / len(Y), 1 / len(X)
        means = unit((a * Y.T @ shots.F + b * z.T @ X) / (a * Y.sum(axis=0) + b * z.sum(axis=0))[:, None])
        # Σ z (x - μ)² = Σ x² - 2 Σ x μ_z + Σ μ²: the columns of every row and class at once
        spread = sum(
            s * ((R**2).sum(axis=0) - 2 * ((Z @ means) * R).sum(axis=0) + Z.sum(axis=0) @ means**2)
            for s, R, Z in ((a, shots.F, Y), (b, X, z))
        )
        variance = np.maximum(spread / (weight + 1), 1e-6)
    return z


def fitted(make: Callable[[], GaussianClassifier | LinearClassifier]) -> Callable[[Shots, Array], Array]:
    def scores(shots: Shots, U: Array) -> Array:
        return make().fit(shots.few.U, shots.few.codes).head_.scores(U.astype(np.float32)).astype(np.float64)

    return scores


def trained(line: str) -> Callable[[Shots, Array], Array]:
    """Return the scores by a head that is trained from the store, given as for `headwater fewshot`."""
    kind, *settings = line.split()

    def scores(shots: Shots, U: Array) -> Array:
        estimator = make_estimator(kind, dict(map(assignment, settings)), shots.rows.encoders)
        head = CLASS_KINDS[kind].learn_again(estimator, shots.rows, shots.rows.classes())
        return head.scores(U.astype(np.float32)).astype(np.float64)

    return scores


NAMED = (
    "zeroshot",
    "zeroshot blend=auto",
    "zeroshot blend=auto bank_weight=0",
    "zeroshot blend=lp++",
    "zeroshot blend=lp++ bank_weight=1",
)
"""Heads of this project that know the texts; those with a `bank_weight` show what the label bank adds."""


METHODS: dict[str, tuple[Callable[..., Array], list[tuple[float, ...]], tuple[float, ...]]] = {
    "texts": (texts, [()], ()),
    "class means": (class_means, [()], ()),
    "`gaussian norm=unit`": (fitted(lambda: GaussianClassifier(norm="unit")), [()], ()),
    "`linear norm=unit`": (fitted(lambda: LinearClassifier(norm="unit")), [()], ()),
    **{f"`{line}`": (trained(line), [()], ()) for line in NAMED},
    "Tip-Adapter": (tip_adapter, TIP, TIP_ONE_SHOT),
    "Tip-Adapter-F": (tip_adapter_f, TIP, TIP_ONE_SHOT),
    "TransCLIP (sees the test vectors)": (transclip, [()], ()),
}
"""For each method: its scores, the parameters that are tried, and those without rows to choose on."""


def chosen(score: Callable[..., Array], tried: list[tuple[float, ...]], fixed: tuple[float, ...], shots: Shots):
    """Return the parameters with the best accuracy on folds, or the fixed ones with too few rows."""
    if len(tried) == 1:
        return tried[0]
    folds = [(Shots(learned, shots.text, shots.rows), held) for learned, held in shots.few.folds() if len(held.codes)]
    score = tip_adapter if score is tip_adapter_f else score  # as its α and β are chosen before the keys are trained
    if sum(len(held.codes) for _, held in folds) < LEAST_TO_CHOOSE:
        return fixed

    def right(parameters: tuple[float, ...]) -> int:
        return sum(int(np.sum(score(s, held.U, *parameters).argmax(axis=1) == held.codes)) for s, held in folds)

    return max(tried, key=right)


def draws(rows: Rows, training: Matrix, text: Array, k: int) -> Iterator[Shots]:
    U, codes = unit(training.X.astype(np.float64)), training.codes
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(codes))
        few = np.concatenate([order[codes[order] == each][:k] for each in range(len(text))])
        part = rows.narrowed(np.array(training.ids)[few].tolist())
        yield Shots(FewRows(U[few], codes[few], (0, U.shape[1])), text, part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--shots", type=int, action="append")
    parser.add_argument("--method", choices=METHODS, action="append")
    parser.add_argument("tasks", nargs="+")
    options = parser.parse_args()
    tried_shots, names = options.shots or SHOTS, options.method or list(METHODS)
    store = Store.open(options.store, must_exist=True)
    print(f"| task | method | {' | '.join(f'k = {k}' for k in tried_shots)} |\n|---|---|{'---|' * len(tried_shots)}")
    for task in options.tasks:
        rows = Rows(store, task, (options.encoder,), store.snapshot(), texts=text_sides(store, Settings()))
        training, test = (rows.matrix(split, rows.classes()) for split in ("train", "test"))
        text = class_vectors(rows.embed_texts, test.classes, default_prompts(rows.encoders), rows.edges())
        held = unit(test.X.astype(np.float64))
        found = {name: np.full((len(tried_shots), DRAWS), np.nan) for name in names}
        for at, k in enumerate(tried_shots):
            for draw, shots in enumerate(draws(rows, training, text, k)):
                for name, (score, tried, fixed) in ((name, METHODS[name]) for name in names):
                    try:
                        scores = score(shots, held, *chosen(score, tried, fixed, shots))
                    except NotTrainable:
                        continue
                    found[name][at, draw] = np.mean(scores.argmax(axis=1) == test.codes)
        for name, each in found.items():
            half = 2.776 * each.std(axis=1, ddof=1) / np.sqrt(DRAWS)  # 95 % of Student's t with 4 degrees of freedom
            cells = [f"{m:.3f} ± {h:.3f}" if m == m else "–" for m, h in zip(each.mean(axis=1), half, strict=True)]
            print(f"| {task} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
