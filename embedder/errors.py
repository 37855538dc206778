"""What can go wrong in this package. Each error says what was wrong, with what value, and what to do."""

from collections.abc import Sequence
from typing import Literal

Reason = Literal[
    "empty",
    "unknown_format",
    "not_an_image",
    "wrong_modality",
    "truncated",
    "too_many_pixels",
    "too_long",
    "unsupported",
]
"""Why bytes give no picture, sound or measurement, for programs; `str(error)` is the sentence for people.

empty: no bytes, or nothing in them. unknown_format: no format that we read. not_an_image: no picture, where one was
asked for. wrong_modality: readable, but nothing that this encoder takes. truncated: the file is cut off or damaged.
too_many_pixels, too_long: over the limit, found in the header where that tells. unsupported: a whole file of a kind
that has no one right reading (float pixels, CIE Lab, an array of another shape, ...).
"""


class BadMedia(ValueError):
    """These bytes give nothing to embed. It is the fault of one item: its batch-mates are not concerned."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["BadMedia"], tuple[Reason, str]]:
        # The default would call BadMedia(message): this error has to cross process borders whole.
        return type(self), (self.reason, str(self))


class BadImage(BadMedia):
    """These bytes give no picture."""


class BadSound(BadMedia):
    """These bytes give no sound."""


class BadArray(BadMedia):
    """These bytes give no depth map, thermal image or motion."""


class BadVideo(BadMedia):
    """These bytes give no video."""


class UnknownEncoder(LookupError):
    """No encoder has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no encoder is named {name!r}; known: {', '.join(known) or 'none'}")
        self.name = name
        self.known = list(known)

    def __reduce__(self) -> tuple[type["UnknownEncoder"], tuple[str, list[str]]]:
        return type(self), (self.name, self.known)


class WeightsError(RuntimeError):
    """A checkpoint is missing, unreadable or of another architecture. Random weights are never the answer."""


class LicenceNotAccepted(RuntimeError):
    """These weights may not be used commercially, and nobody has said that they are not."""


class ExportFailed(RuntimeError):
    """An encoder cannot be written as ONNX, or what was written does not give its numbers."""


class ProbeMismatch(RuntimeError):
    """An encoder does not give the vectors that it gave when its table was made (see `embedder.probe`)."""


class QueueFull(RuntimeError):
    """The batcher's queue has no room for the whole submission.

    `retry_after` is the time in seconds after which it is likely to fit, judged by recent throughput.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type["QueueFull"], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class BatcherStopped(RuntimeError):
    """The batcher is not running (any more), so this submission will get no answer from it."""
