"""The fused head: one member head for the columns of each encoder, and a rule that fuses their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Head, Meta, check_vectors, require_shapes
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.members import Blocks, class_columns, nested_head, nested_meta, spread
from classifiers.heads.fusion.rules import log_softmax


@dataclass(frozen=True, slots=True)
class Subsets:
    """Measurements of every non-empty subset of members, made in training on rows that no member was trained on.

    The subset with members b, … is at position Σ 2ᵇ - 1, so the last position is the subset of all members. Both arrays
    are empty if nothing was measured.

    Attributes:
        accuracy: float32 (2ᴮ - 1,).
        temperature: best temperature of the fused scores, float32 (2ᴮ - 1,).
    """

    accuracy: NDArray[np.float32]
    temperature: NDArray[np.float32]

    @classmethod
    def unmeasured(cls) -> Self:
        """Return no measurements."""
        return cls(np.zeros(0, np.float32), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.accuracy)


def position(members: Sequence[int]) -> int:
    """Return the position of these members in `Subsets`."""
    return sum(1 << member for member in members) - 1


class FusionHead(Head):
    """Members of any kind with softmax scores, one for each block of columns, and a `Combiner`.

    Members may know different classes. Their own temperatures are not used; the combiner has one for each member. For
    the rule `concatenation`, `joint` is one head on all columns, and the members answer only if a block is missing.
    Arrays: those of the combiner and of the subsets, and those of the members as `member0.W` and so on.
    """

    kind = "fusion"
    partial = True

    def __init__(
        self,
        classes: Sequence[str],
        members: Sequence[Head],
        blocks: Blocks,
        combiner: Combiner,
        *,
        joint: Head | None = None,
        subsets: Subsets | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, temperature)
        self.members, self.blocks, self.combiner, self.joint = tuple(members), blocks, combiner, joint
        self.subsets = Subsets.unmeasured() if subsets is None else subsets
        heads = (*self.members, *([joint] if joint else []))
        widths = [*np.diff(blocks.edges).tolist(), *([blocks.edges[-1]] if joint else [])]
        if [head.dim for head in heads] != widths:
            raise ValueError(f"the members are {[head.dim for head in heads]} columns wide, but their blocks {widths}")
        if (combiner.rule == "concatenation") != (joint is not None):
            raise ValueError("the rule 'concatenation' needs one head on all columns, and no other rule has one")
        self._columns = [class_columns(head, self.classes) for head in heads]

    @property
    def dim(self) -> int:
        return self.blocks.edges[-1]

    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        blocks = self.blocks.of(X)
        if self.joint is not None:
            scores = self.joint.score(np.concatenate(blocks, axis=1))
            return spread(scores, self._columns[-1], len(self.classes))
        return self.combiner.scores(self._member_scores(blocks), blocks)

    def member_scores(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the scores of every member, float32 (n, B, K); -inf for classes that it lacks. Raises BadVectors."""
        return self._member_scores(self.blocks.of(check_vectors(X, self.dim)))

    def _member_scores(self, blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        columns = self._columns[: len(blocks)]
        parts = [
            spread(member.score(block), where, len(self.classes))
            for member, block, where in zip(self.members, blocks, columns, strict=True)
        ]
        return np.stack(parts, axis=1)

    def log_density(self, X: ArrayLike) -> NDArray[np.float32] | None:
        """Return log p(x) under the head on all columns, or the sum over the members, as if blocks were independent.

        The shape is (n,). None if a member has no density. Raises BadVectors.
        """
        blocks = self.blocks.of(check_vectors(X, self.dim))
        if self.joint is not None:
            return self.joint.log_density(np.concatenate(blocks, axis=1))
        total = np.zeros(len(blocks[0]), np.float32)
        for member, block in zip(self.members, blocks, strict=True):
            density = member.log_density(block)
            if density is None:
                return None
            total += density
        return total

    def only(self, available: Sequence[int]) -> Self:
        """Return the head for the blocks of these members alone, side by side in the order of the members.

        The other members' weights are shared among these. The temperature changes by the ratio measured at training.

        Raises ValueError: no member, or a member that does not exist.
        """
        chosen = self._checked(available)
        if len(chosen) == len(self.members):
            return self
        measured = self.subsets.temperature
        change = float(measured[position(chosen)] / measured[-1]) if len(measured) else 1.0
        return self._of(chosen, self.temperature * change)

    def _of(self, members: Sequence[int], temperature: float) -> Self:
        kept = [self.members[member] for member in members]
        return type(self)(
            self.classes, kept, self.blocks.only(members), self.combiner.only(members), temperature=temperature
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of the members in the order in which a cascade uses their encoders; empty for other rules."""
        return self.combiner.cascade.order if self.combiner.cascade else ()

    def first_steps(self, count: int) -> Self:
        """Return the cascade for the vectors of its first `count` ≥ 1 steps, side by side in the order of the members.

        It returns the same scores as the full cascade for rows that stop at one of these steps; `unsure` names the
        others.
        """
        if not self.steps:
            return super().first_steps(count)
        return self._of(sorted(self.steps[:count]), self.temperature)

    def unsure(self, X: ArrayLike) -> NDArray[np.bool_]:
        """True for rows whose largest probability reaches the threshold at no step, (n,).

        Raises BadVectors; ValueError for rules other than "cascade".
        """
        if self.combiner.cascade is None:
            raise ValueError(f"the rule {self.combiner.rule!r} has no steps")
        return self.combiner.cascade.unsure(log_softmax(self.member_scores(X), self.combiner.temperatures))

    def loss_without(self, available: Sequence[int]) -> float | None:
        """Return the accuracy lost with only these members' blocks; None if it was not measured in training.

        It is negative if the accuracy was higher without the other members. Raises ValueError as `only` does.
        """
        chosen = self._checked(available)
        measured = self.subsets.accuracy
        return float(measured[-1] - measured[position(chosen)]) if len(measured) else None

    def _checked(self, available: Sequence[int]) -> list[int]:
        chosen = sorted(set(available))
        if not chosen or chosen[0] < 0 or chosen[-1] >= len(self.members):
            raise ValueError(f"name one or more of the members 0…{len(self.members) - 1}, got {list(available)}")
        return chosen

    def settings(self) -> dict[str, Any]:
        return {
            **self.combiner.settings(),
            "edges": list(self.blocks.edges),
            "normalise": self.blocks.normalise,
            "measured": len(self.subsets) > 0,
            "members": [nested_meta(member) for member in self.members],
            "joint": None if self.joint is None else nested_meta(self.joint),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        own: dict[str, NDArray[Any]] = {"scale": self.blocks.scale, **self.combiner.arrays()}
        if len(self.subsets):
            own |= {"subset_accuracy": self.subsets.accuracy, "subset_temperature": self.subsets.temperature}
        for prefix, head in self._nested():
            own |= {prefix + name: array for name, array in head.arrays().items()}
        return own

    def _nested(self) -> list[tuple[str, Head]]:
        members = [(f"member{number}.", member) for number, member in enumerate(self.members)]
        return members if self.joint is None else [*members, ("joint.", self.joint)]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        settings = meta["settings"]
        edges, n_members = tuple(settings["edges"]), len(settings["members"])
        if len(edges) != n_members + 1:
            raise ValueError(f"{len(edges)} edges of blocks for the arrays of {n_members} members")
        prefixes = [f"member{number}." for number in range(n_members)]
        members = [nested_head(arrays, *each) for each in zip(prefixes, settings["members"], strict=True)]
        joint = None if settings["joint"] is None else nested_head(arrays, "joint.", settings["joint"])
        inner = (*prefixes, "joint.") if joint else tuple(prefixes)
        own = {name: array for name, array in arrays.items() if not name.startswith(inner)}
        shapes = {"scale": (n_members,), **Combiner.shapes(settings, edges)}
        if settings["measured"]:
            shapes |= dict.fromkeys(("subset_accuracy", "subset_temperature"), (2**n_members - 1,))
        require_shapes(own, {name: (shape, "float32") for name, shape in shapes.items()})
        subsets = Subsets(own["subset_accuracy"], own["subset_temperature"]) if settings["measured"] else None
        return cls(
            meta["classes"],
            members,
            Blocks(edges, settings["normalise"], own["scale"]),
            Combiner.from_arrays(own, settings),
            joint=joint,
            subsets=subsets,
            temperature=meta["temperature"],
        )
