"""What is asked of the experiment: the grid of heads, and the runs in which they are measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from classifiers.errors import BadParameter
from classifiers.reproduce.gmm.entrants import ENTRANTS, Entrant
from classifiers.reproduce.gmm.projected import Norm, Size
from classifiers.training.kinds import make_estimator

SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Shares of the variance that are tried by default. The paper has 0.05, 0.1, … 1.0."""
PAPERS_SHARE = 0.8
"""Share of the variance that the paper keeps on ImageNet."""
COMPONENTS = (1, 2, 4, 8)
MOST_PARAMETERS = 300_000
"""Most learned values of a mixture by default, for the time of its training and the memory of its features."""


SETTLED = {"model", "components", "norm", "project", "dims", "whiten", "blocks"}
"""Parameters of mixtures that the grid and the plan settle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked for.

    Attributes:
        seeds: number of draws of the validation rows, whose heads are all measured on `test`; 0 to measure folds.
        folds: number of folds of all rows, each of which is measured once; 0 to measure `test`.
        seed: the first seed; also that of the bootstrap.
        norm, whiten: what is done to the vectors before PCA, and whether components get unit variance.
        params: parameters of the paper's three models that differ from those here.
        most_parameters: mixtures that would learn more values than this are left out.
    """

    sizes: tuple[Size, ...] = tuple(Size(share=share) for share in SHARES)
    components: tuple[int, ...] = COMPONENTS
    entrants: tuple[Entrant, ...] = tuple(ENTRANTS.values())
    seeds: int = 3
    folds: int = 0
    norm: Norm = "none"
    whiten: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    most_parameters: int = MOST_PARAMETERS

    def __post_init__(self) -> None:
        if not (self.sizes and self.components and self.entrants) or min(self.components) < 1:
            raise BadParameter("name at least one number of dimensions, one of components ≥ 1, and one head")
        if (self.seeds > 0) == (self.folds > 0):
            raise BadParameter("give a number of seeds or a number of folds, not both")
        if settled := sorted(SETTLED & self.params.keys()):
            raise BadParameter(
                f"{settled[0]} is settled by the grid, so it cannot be given as a parameter of all mixtures"
            )
        for entrant in self.entrants:  # raises for a wrong parameter, before any work
            candidate = entrant.candidate("", 1, self.params)
            make_estimator(candidate.kind, candidate.params)

    @property
    def reduced(self) -> Size | None:
        """The share of the variance nearest to the paper's 80 %, without that of all components; None without any."""
        shares = {each.share: each for each in self.sizes if each.share is not None and each.share < 1}
        return shares[min(shares, key=lambda share: abs(share - PAPERS_SHARE))] if shares else None

    @property
    def whole(self) -> Size | None:
        """All components; None if they are not asked for."""
        return next((each for each in self.sizes if each.share == 1), None)

    def cells(self) -> Iterator[tuple[Size, Entrant, int]]:
        """Yield every cell of the grid: the dimensions, the head, and its number of components."""
        for size in self.sizes:
            for entrant in self.entrants:
                yield from ((size, entrant, count) for count in (self.components if entrant.grows else (1,)))
