"""The heads of the experiment, and how many numbers each learns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from classifiers.compare.candidates import Candidate
from classifiers.errors import BadParameter
from classifiers.heads.gaussian.mixture import parameter_count

Count = Callable[[int, int, int], int]
"""(classes K, components of each class G, dimensions D) → a number of parameters."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A head that is tried on every number of dimensions, and mixtures with every number of components.

    Attributes:
        key: its name in options and JSON.
        name: its name in tables.
        params: parameters that differ from the defaults of the kind.
        formula: number of learned values for K classes, G components and D dimensions; `count` computes it.
        trained: number of values that the paper's training has, with the variances of the weights; None for `count`.
        grows: true if it is tried with several components.
    """

    key: str
    name: str
    kind: str
    formula: str
    count: Count
    params: Mapping[str, Any] = field(default_factory=dict)
    trained: Count | None = None
    grows: bool = False

    def candidate(self, encoder: str, components: int, more: Mapping[str, Any]) -> Candidate:
        """Return the head with a number of components, to be learned from rows that are projected already.

        Args:
            more: parameters of the paper's three models that the user gave.
        """
        given = {**more, "components": components} if self.grows else {}
        return Candidate(self.kind, (encoder,), {**self.params, **given})


def softmax_count(K: int, _: int, D: int) -> int:
    return K * (D + 1)


RECIPE = {"metric": "one"}
"""Parameters of the paper's three models that differ from the defaults of `mixture`: all columns are divided by one
number, because the paper does not whiten."""

LDA, SOFTMAX, DGMMC, WHITENED, SDGM_D, SDGM_F = (
    Entrant("lda", "LDA", "gaussian", "K (D + 1)", softmax_count),
    Entrant("softmax", "softmax", "linear", "K (D + 1)", softmax_count, {"standardise": False}),
    Entrant(
        "dgmmc-s",
        "DGMMC-S",
        "mixture",
        "K G (D + 1) + K, and K G for G > 1",
        lambda K, G, D: parameter_count("dgmmc-s", K, G, D),
        {**RECIPE, "model": "dgmmc-s"},
        grows=True,
    ),
    Entrant(
        "whitened",
        "DGMMC-S, whitened",
        "mixture",
        "K D + 1 + K",
        lambda K, G, D: parameter_count("dgmmc-s", K, G, D, common=True),
    ),
    Entrant(
        "sdgm-d",
        "SDGM-D",
        "mixture",
        "K G (2 D + 1)",
        lambda K, G, D: parameter_count("sdgm-d", K, G, D),
        {**RECIPE, "model": "sdgm-d"},
        lambda K, G, D: K * G * (4 * D + 1),
        grows=True,
    ),
    Entrant(
        "sdgm-f",
        "SDGM-F",
        "mixture",
        "K G (D (D + 3) / 2 + 1)",
        lambda K, G, D: parameter_count("sdgm-f", K, G, D),
        {**RECIPE, "model": "sdgm-f"},
        lambda K, G, D: K * G * (D * (D + 3) + 1),
        grows=True,
    ),
)
ENTRANTS = {each.key: each for each in (LDA, SOFTMAX, DGMMC, WHITENED, SDGM_D, SDGM_F)}
"""All heads by key, in the order of the tables. `whitened` is this project's own default of `mixture`."""


def chosen(keys: list[str] | None) -> tuple[Entrant, ...]:
    """Return the heads of these keys in the order of the tables; all for None. Raises BadParameter."""
    if unknown := [key for key in keys or () if key not in ENTRANTS]:
        raise BadParameter(f"there is no head {unknown[0]!r} here; choose among {', '.join(ENTRANTS)}")
    return tuple(each for key, each in ENTRANTS.items() if keys is None or key in keys)
