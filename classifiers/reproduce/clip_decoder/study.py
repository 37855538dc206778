"""The run of the experiment: every head on every draw of the labels, then on the closed set."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.resampled import Draws, row_draws
from classifiers.prompts import class_vectors
from classifiers.reproduce.clip_decoder.captions import Captions
from classifiers.reproduce.clip_decoder.entrants import CHANCE, Entrant, Learned, Lesson, by_texts, closed
from classifiers.reproduce.clip_decoder.figures import Figure, measure
from classifiers.reproduce.clip_decoder.images import Images, why_no_tokens
from classifiers.reproduce.clip_decoder.labels import LabelDraw, frequent
from classifiers.training.kinds import make_estimator
from classifiers.training.labels import require_one_text_side
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.token_rows import tokens_in_text_space

ALPHAS = (0.1, 0.3, 1.0)
"""Weights of the alignment that are tried by default. The paper has 1, beside a sum over rows in the other loss."""

ZSL, GZSL, CLOSED = "zsl", "gzsl", "closed"

CELLS = 2 * 10**8
"""Most cells (draws × rows × labels) of the bootstrap of one head: a tenth of a comparison's, because there are tens of
heads. They take about 2 s."""

Progress = Callable[[int, int, str], None]
"""A function that is called with (number of steps done, number of all steps, name of the current step)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for.

    Attributes:
        draws: divisions of the labels, each with unseen labels.
        alphas: weights of the alignment that are tried, besides 0.
        params: parameters of the decoders that differ from those of the kind.
        captions: task whose labels are captions; None to align to labels only.
        seed: of the decoders, and of the rows that the bootstrap draws.
        told: where the draws come from, for the report.
        remarks: what of the labels is left out, and why.
    """

    draws: tuple[LabelDraw, ...]
    alphas: tuple[float, ...] = ALPHAS
    params: Mapping[str, Any] = field(default_factory=dict)
    captions: str | None = None
    seed: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """One entrant on one draw of the labels.

    Attributes:
        alignment: see `Entrant`.
        judged: see `Learned`.
        seconds: time to learn, in seconds.
        figures: by mode (`ZSL`, `GZSL`, `CLOSED`), then by name.
    """

    label: str
    family: str
    alignment: tuple[str, float] | None
    judged: float
    seconds: float
    figures: Mapping[str, Mapping[str, Figure]]


@dataclass
class Study:
    """The experiment on the rows of one task. `run` fills `trials`; they can be read at any time.

    Attributes:
        trials: those of each finished draw of the labels, in the order of the plan; the closed set is the last one.
    """

    rows: Rows
    plan: Plan
    trials: list[list[Trial]] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_one_text_side(self.rows)
        make_estimator("decoder", self.plan.params)  # raises for a wrong parameter, before any work
        if self.plan.captions is not None:
            self.rows.store.labels.get(self.plan.captions)  # raises UnknownTask, before any work
        if not self.rows.labelled("test").num_rows:
            raise NotTrainable(
                f"task {self.rows.task!r} has no rows in split 'test', on which unseen labels are measured; label some"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels of all draws, sorted."""
        return tuple(sorted({name for draw in self.plan.draws for name in draw.names}))

    @cached_property
    def no_tokens(self) -> str:
        """Why no decoder can learn; empty if decoders can."""
        return why_no_tokens(self.rows)

    @cached_property
    def train(self) -> Images:
        return self._read("train")

    @cached_property
    def test(self) -> Images:
        return self._read("test")

    @cached_property
    def text(self) -> NDArray[np.float32]:
        """Text vectors of `names`, (L, t)."""
        prompts = make_estimator("decoder", self.plan.params).prompts
        found = class_vectors(self.rows.embed_texts, self.names, prompts, self.rows.text_edges())
        return found.astype(np.float32)

    @cached_property
    def captions(self) -> Captions | None:
        task = self.plan.captions
        return None if task is None else Captions.read(self.rows, task, self.train.ids)

    @cached_property
    def row_draws(self) -> Draws:
        return row_draws(len(self.test.ids), len(self.names), self.plan.seed, CELLS)

    def entrants(self, draw: LabelDraw) -> list[Entrant]:
        """Return the entrants that can learn from the labels of a draw."""
        params = {"seed": self.plan.seed, **self.plan.params}
        found = by_texts(self.plan.alphas, params, captions=self.plan.captions is not None)
        every = found if draw.unseen else [*found, *closed(params)]
        return [each for each in every if not (each.needs_tokens and self.no_tokens)]

    def run(self, on_progress: Progress = lambda *_: None) -> None:
        """Let every entrant learn and be measured on every draw, and on the closed set.

        Raises NotTrainable, BadVectors, BadParameter, UnknownTask for captions.
        """
        every = [*self.plan.draws, LabelDraw(self.names)]
        total, done = sum(len(self.entrants(draw)) for draw in every), 0
        on_progress(done, total, "reading rows")
        if self.captions is not None and not self.captions.texts:
            raise NotTrainable(
                f"task {self.plan.captions!r} has no caption of a training row of task {self.rows.task!r}"
            )
        for number, draw in enumerate(every, 1):
            place = f"draw {number} of {len(every) - 1}" if draw.unseen else "closed set"
            lesson, trials = self.lesson(draw), [self.chance(draw)]
            for entrant in self.entrants(draw):
                on_progress(done, total, f"{place}: {entrant.label}")
                trials.append(self.trial(entrant, lesson, draw))
                done += 1
            self.trials.append(trials)
        on_progress(done, total, "done")

    def lesson(self, draw: LabelDraw) -> Lesson:
        """Return the training rows with a seen label, the seen labels alone, and captions that name no unseen label."""
        columns = self.columns(draw.seen)
        own = np.flatnonzero(self.train.truth[:, columns].any(axis=1))
        if not len(own):
            raise NotTrainable(f"no training row of task {self.rows.task!r} has one of the {len(columns)} seen labels")
        images = self.train.of(own, columns)
        return Lesson(
            images,
            draw.seen,
            self.text[columns],
            self.rows.label_bank(),
            tokens_in_text_space(self.rows.features[0].spec),
            bool(draw.unseen),
            None if self.captions is None else self.captions.of(images.ids, draw.unseen),
        )

    def trial(self, entrant: Entrant, lesson: Lesson, draw: LabelDraw) -> Trial:
        """Let an entrant learn, and measure it on the test rows."""
        start = time.perf_counter()
        learned = entrant.learn(lesson)
        seconds = time.perf_counter() - start
        figures = self.figures(self.scores(learned, draw), draw)
        return Trial(entrant.label, entrant.family, entrant.alignment, learned.judged, seconds, figures)

    def chance(self, draw: LabelDraw) -> Trial:
        """Return random scores, measured like heads."""
        scores = np.random.default_rng(self.plan.seed).random((len(self.test.ids), len(draw.names)), np.float32)
        return Trial(CHANCE, CHANCE, None, 0.0, 0.0, self.figures(scores, draw))

    def scores(self, learned: Learned, draw: LabelDraw) -> NDArray[np.float32]:
        """Return the scores of the labels of a draw on the test rows, (n, L)."""
        head = (
            learned.head.with_labels(draw.names, self.text[self.columns(draw.names)]) if draw.unseen else learned.head
        )
        return np.concatenate([head.scores(part) for part in self.test.parts(tokens=learned.reads_tokens)])

    def figures(self, scores: NDArray[np.float32], draw: LabelDraw) -> dict[str, dict[str, Figure]]:
        """Return the figures of scores: in ZSL and GZSL, or in the closed set if no label is unseen."""
        truth = self.test.truth[:, self.columns(draw.names)]
        if not draw.unseen:
            return {CLOSED: measure(scores, truth, self.row_draws)}
        new = np.flatnonzero(np.isin(draw.names, draw.unseen))
        return {
            ZSL: measure(scores[:, new], truth[:, new], self.row_draws),
            GZSL: measure(scores, truth, self.row_draws),
        }

    def columns(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return the numbers of labels among `names` of the study."""
        place = {name: column for column, name in enumerate(self.names)}
        return np.array([place[name] for name in names], np.intp)

    def _read(self, split: str) -> Images:
        return Images.read(self.rows, split, self.names, tokens=not self.no_tokens)


def labels_of(rows: Rows, least: int) -> tuple[str, ...]:
    """Return the labels of a task that at least `least` rows have, sorted. Raises UnknownTask."""
    return frequent([labels or [] for labels in rows.labels["labels"].to_pylist()], least)


def winners(trials: Sequence[Trial]) -> Iterator[Trial]:
    """Yield one trial of each family: the one with the highest `judged`."""
    for family in dict.fromkeys(each.family for each in trials):
        yield max((each for each in trials if each.family == family), key=lambda each: each.judged)
