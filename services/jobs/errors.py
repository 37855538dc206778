"""The errors of jobs: what can go wrong on a Ray cluster, and which errors of any job a user can mend."""

from embedder.errors import LicenceNotAccepted, Unsupported, WeightsError
from services.web.errors import ERRORS


class RayProblem(RuntimeError):
    """A Ray cluster cannot do the job, for a reason that a user can mend."""


class NoRay(RayProblem):
    """No Ray cluster answers at the address."""


class NoWorkerFits(RayProblem):
    """No node of the cluster is large enough for one worker."""


class WorkerFailed(RuntimeError):
    """A worker on a Ray cluster could not do its part, for a reason that a user can mend."""


class VectorsRefused(ValueError):
    """Vectors cannot be imported under this name."""


class NameInUse(VectorsRefused):
    """The name belongs to other vectors, or to an encoder with a network."""


class NothingInCommon(VectorsRefused):
    """A file has none of the vectors that are stored under the name: nothing shows that both belong together."""


class TrainingFailed(RuntimeError):
    """The training of a network cannot begin or go on, for a reason that a user can mend."""


class BadCondition(ValueError):
    """A condition that chooses rows is no SQL, or names a column that does not exist."""


class OutputExists(ValueError):
    """The file that a job would write exists, or another run writes it."""


class NothingToCheck(ValueError):
    """A head cannot be exported, because nothing is stored on which the file could be tried."""


class NothingToReview(ValueError):
    """An encoder has too few vectors to look for near-duplicates, or none to suggest assets from.

    Attributes:
        encoder: name of the encoder.
    """

    def __init__(self, encoder: str, task: str | None, vectors: int) -> None:
        self.encoder = encoder
        of_task = "" if task is None else f" of task {task!r}"
        super().__init__(
            f"{vectors} assets{of_task} have a vector of encoder {encoder!r}; embed the assets with that encoder first"
        )


class AllLabelled(ValueError):
    """No asset is left to suggest: those that have a vector and were asked for have a label in the task."""

    def __init__(self, task: str, vectors: int, where: str | None) -> None:
        condition = "" if where is None else f" and satisfies the condition {where[:200]!r}"
        super().__init__(
            f"none of the {vectors:,} assets with a vector lacks a label in task {task!r}{condition}; store and embed "
            "more assets, or name another task"
        )


EXPECTED: tuple[type[Exception], ...] = (
    *ERRORS,
    RayProblem,
    WorkerFailed,
    TrainingFailed,
    VectorsRefused,
    BadCondition,
    OutputExists,
    NothingToReview,
    AllLabelled,
    NothingToCheck,
    LicenceNotAccepted,
    Unsupported,
    WeightsError,
    OSError,
)
"""Errors that a user can mend: a job reports them in one line. Others are bugs and keep their traceback."""
