"""Fusion of several encoders as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from classifiers.errors import BadParameter, NotTrainable
from classifiers.fit.base import HeadClassifier, encode, names
from classifiers.fit.fusion.fusers import (
    MOST_BLOCKS,
    choose_rule,
    fit_cascade,
    fit_combiner,
    fit_temperatures,
    measure_subsets,
)
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.held_out import HeldOut, Learner, stratified_folds
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.fusion.cascade import Cascade
from classifiers.heads.fusion.combiner import ALL_RULES
from classifiers.heads.fusion.gate import GateInputs
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.fusion.members import Blocks
from classifiers.heads.fusion.rules import filled, log_softmax, named
from classifiers.heads.transform import check_edges
from classifiers.prompts import EmbedTexts, class_vectors, given_vectors

MEMBERS: dict[str, HeadClassifier] = {
    "gaussian": GaussianClassifier(shrinkage=0.5),
    "linear": LinearClassifier(),
    "zeroshot": ZeroShotClassifier(),
}
"""Member estimators by name, to be cloned. They are not tuned one by one. A shrinkage of 0.5 had the least out-of-fold
NLL on two real tasks with three encoders; OAS shrinks too little there. Zero-shot members know the classes by their
texts only, as the backbones of arXiv 2405.17139 do; the rule learns from labelled rows."""

AUTO = "auto"
WHOLE = (AUTO, "concatenation")
"""Rules that need a member on all columns."""


class FusionClassifier(HeadClassifier):
    """A classifier (member) for each block of columns, and a rule that fuses their scores.

    Temperatures, weights, the gate, the cascade's threshold and the accuracy of every subset come from out-of-fold
    scores of the training rows. The members are then fitted on all rows. A rule fitted on rows that the members have
    learned from would favour the member that overfits most.

    Args:
        rule: "vote-1", "vote-3", "confidence", "log-average", "probability-average", "stack", "nlc",
            "concatenation", "cascade", or "auto", which chooses the rule with the least out-of-fold NLL among
            "log-average", "probability-average", "stack" and "concatenation".
        member: "gaussian", "linear", "zeroshot", or an estimator to clone.
        member_params: parameters of the member.
        blocks: column edges of the blocks, e.g. (0, 1280, 2560); None for one block.
        normalise: scale the rows of each block to unit norm, and each block to a mean column variance of 1.
        calibrate: divide each member's scores by its own temperature, before any rule.
        inputs: input of the gate of "nlc": "unit" or "layer" for the normalised blocks, "statistics" for few rows.
        costs: cost of each block's encoder, in any unit, for "cascade", which uses cheap encoders first; None for 1
            each.
        threshold: probability at which the cascade stops. None chooses the cheapest threshold whose out-of-fold loss
            of accuracy, plus one standard error, is at most `tolerance`.
        tolerance: accepted loss of accuracy in 0…1, see `threshold`.
        folds: number of folds, 2 or more; 0 for temperatures of 1, equal weights and no measurements.
        seed: seed of the folds and of the gate.

    Attributes:
        classes_: labels, sorted, (K,).
        members_: the fitted members.
        joint_: the member on all columns for "concatenation", else None.
        rule_: the rule; the chosen one for "auto".
        rule_nll_: out-of-fold NLL of each rule that "auto" compared, in nats; empty for a given rule.
        combiner_: the rule with its learned values.
        subsets_: out-of-fold accuracy and temperature of every subset of the blocks. For "nlc" they come from the rows
            on which its gate was chosen.
        out_of_fold_: the scores that the rule was fitted on, see `HeldOut`; no rows without folds or with one block.
        fused_: fused scores of the rows in `out_of_fold_`, (m, K).
        measured_: bool (m,), false for the rows in `out_of_fold_` that a gate was trained on.
        head_: the NumPy head for serving.
    """

    def __init__(
        self,
        rule: str = "stack",
        member: str | HeadClassifier = "gaussian",
        member_params: Mapping[str, Any] | None = None,
        blocks: Sequence[int] | None = None,
        normalise: bool = False,
        calibrate: bool = True,
        inputs: GateInputs = "unit",
        costs: Sequence[float] | None = None,
        threshold: float | None = None,
        tolerance: float = 0.005,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.rule = rule
        self.member = member
        self.member_params = member_params
        self.blocks = blocks
        self.normalise = normalise
        self.calibrate = calibrate
        self.inputs = inputs
        self.costs = costs
        self.threshold = threshold
        self.tolerance = tolerance
        self.folds = folds
        self.seed = seed

    @property
    def needs_texts(self) -> bool:
        return self.make_member().needs_texts

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, text: EmbedTexts | Mapping[Any, ArrayLike] | ArrayLike | None = None
    ) -> Self:
        """Learn from X (n, d), y (n,) labels, and for zero-shot members the texts of the classes.

        Args:
            text: see `ZeroShotClassifier.fit`; the vectors of a text in the columns of all blocks, side by side.

        Raises NotTrainable, BadParameter, BadVectors.
        """
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        self.classes_, codes = encode(labels)
        edges = check_parameters(self, vectors.shape[1])
        self.blocks_ = make_blocks(vectors, edges, self.normalise)
        parts = self.blocks_.of(vectors)
        learners, joint = self._learners(text, edges)
        whole = np.concatenate(parts, axis=1) if self.rule in WHOLE else None
        held = HeldOut.of(learners, parts, joint, whole, codes, self._folds(codes, len(parts)))
        temperatures = np.ones(len(parts), np.float32)
        if self.calibrate:
            temperatures = fit_temperatures(held.scores, held.codes)
        self._fit_rule(held, temperatures, [part[held.rows] for part in parts])
        self.members_ = [learner.fit(part, codes) for learner, part in zip(learners, parts, strict=True)]
        self.joint_ = joint.fit(whole, codes) if whole is not None and self.rule_ == "concatenation" else None
        self.out_of_fold_ = held
        self.head_ = self._head()
        return self

    def _learners(self, text: Any, edges: tuple[int, ...]) -> tuple[list[Learner], Learner]:
        """Return a member for each block, and one for all columns."""
        member = self.make_member()
        if not member.needs_texts:
            return [Learner(member)] * (len(edges) - 1), Learner(member)
        if text is None:
            raise NotTrainable("zero-shot members know their classes by their texts: pass text to fit")
        known = names(self.classes_)
        vectors = (
            class_vectors(text, known, member.prompts, edges) if callable(text) else given_vectors(text, known, edges)
        )

        def learner(start: int, stop: int, blocks: Sequence[int]) -> Learner:
            by_code = {str(code): each[start:stop] for code, each in enumerate(vectors)}
            return Learner(clone(member).set_params(blocks=blocks), by_code)

        return [learner(*block, (0, block[1] - block[0])) for block in pairwise(edges)], learner(0, edges[-1], edges)

    def make_member(self) -> HeadClassifier:
        """Return an unfitted member.

        Raises BadParameter for an unknown name, and ValueError for parameters that it does not have, as `set_params`.
        """
        if isinstance(self.member, str) and self.member not in MEMBERS:
            raise BadParameter(f"member must be an estimator or one of {', '.join(MEMBERS)}, got {self.member!r}")
        made: HeadClassifier = clone(MEMBERS[self.member] if isinstance(self.member, str) else self.member)
        made.set_params(**(self.member_params or {}))
        return made

    def _folds(self, codes: NDArray[np.int64], n_blocks: int) -> NDArray[np.int64] | None:
        """Return the fold of each row (n,); None without folds or with one block."""
        if self.folds == 0 or n_blocks == 1:
            return None
        return stratified_folds(codes, self.folds, np.random.default_rng(self.seed))

    def _fit_rule(self, held: HeldOut, temperatures: NDArray[np.float32], blocks: list[NDArray[Any]]) -> None:
        """Set `rule_`, `rule_nll_`, `combiner_` and `subsets_` from out-of-fold rows and their blocks."""
        logs = log_softmax(held.scores, temperatures)
        self.rule_, self.rule_nll_ = named(self.rule), {}
        if self.rule == AUTO:
            self.rule_nll_ = choose_rule(filled(logs), held.codes, held.fold, held.whole) if len(held.codes) else {}
            self.rule_ = min(self.rule_nll_, key=self.rule_nll_.__getitem__, default="stack")
        combiner, measured = fit_combiner(
            self.rule_,
            held.scores,
            held.codes,
            blocks,
            temperatures,
            inputs=self.inputs,
            cascade=self._cascade(logs, held.codes) if self.rule_ == "cascade" else None,
            seed=self.seed,
        )
        fused = held.whole if self.rule_ == "concatenation" else combiner.scores(held.scores, blocks)
        self.subsets_ = measure_subsets(combiner, held.scores[measured], held.codes[measured], fused[measured])
        self.combiner_, self.fused_, self.measured_ = combiner, fused, measured

    def _cascade(self, logs: NDArray[Any], codes: NDArray[np.int64]) -> Cascade:
        costs = [1.0] * logs.shape[1] if self.costs is None else self.costs
        return fit_cascade(logs, codes, costs, threshold=self.threshold, tolerance=self.tolerance)

    def _head(self) -> FusionHead:
        classes = names(self.classes_)
        return FusionHead(
            classes,
            [member.head_.renamed(classes) for member in self.members_],
            self.blocks_,
            self.combiner_,
            joint=None if self.joint_ is None else self.joint_.head_.renamed(classes),
            subsets=self.subsets_,
        )

    def _scores(self, vectors: NDArray[Any]) -> NDArray[Any]:
        blocks = self.blocks_.of(vectors)
        if self.joint_ is not None:
            return np.asarray(self.joint_.scores(np.concatenate(blocks, axis=1)))
        scores = [member.scores(block) for member, block in zip(self.members_, blocks, strict=True)]
        return self.combiner_.scores(np.stack(scores, axis=1), blocks)


def make_blocks(vectors: NDArray[Any], edges: tuple[int, ...], normalise: bool) -> Blocks:
    """Return the blocks. Normalised blocks get the scale that makes the mean variance of their columns 1."""
    blocks = Blocks(edges, normalise, np.ones(len(edges) - 1, np.float32))
    if not normalise:
        return blocks
    spread = np.array([part.var(axis=0).mean() for part in blocks.of(vectors)])
    return replace(blocks, scale=(1 / np.sqrt(np.where(spread > 0, spread, 1))).astype(np.float32))


def check_parameters(asked: FusionClassifier, dim: int) -> tuple[int, ...]:
    """Return the column edges of the blocks of vectors (n, dim). Raises BadParameter for values out of range."""
    edges = check_edges((0, dim) if asked.blocks is None else asked.blocks, dim)
    n_blocks = len(edges) - 1
    if n_blocks > MOST_BLOCKS:
        raise BadParameter(f"at most {MOST_BLOCKS} blocks, because every subset is measured; got {n_blocks}")
    if asked.costs is not None and (len(asked.costs) != n_blocks or min(asked.costs) <= 0):
        raise BadParameter(f"costs must be {n_blocks} positive numbers, one for each block, got {asked.costs}")
    if asked.folds < 0 or asked.folds == 1:
        raise BadParameter(f"folds must be 2 or more, or 0 for none, got {asked.folds}")
    for name, allowed in (("rule", (AUTO, *ALL_RULES)), ("inputs", get_args(GateInputs))):
        if named(getattr(asked, name)) not in allowed:
            raise BadParameter(f"{name} must be one of {', '.join(allowed)}, got {getattr(asked, name)!r}")
    return edges
