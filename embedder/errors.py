"""The errors of this package. A message says what was wrong and what to do; attributes carry data for programs.

BadMedia                    a file gives nothing to embed
    BadImage, BadSound, BadArray, BadVideo
UnknownEncoder              no encoder has this name
    NoNetwork               … but imported vectors have it, so nothing can be embedded
Unsupported                 a model prepares images, or gives outputs, in a way that this package cannot represent
WeightsError                weights cannot be used
    WeightsMissing          … because they are not on this machine
    AdapterMissing          … because the folder of a derived encoder's adapter is not there
    CheckpointNotTrusted    … because reading them may run code, and the caller has not said that they are trusted
LicenceNotAccepted          weights may not be used commercially, and the caller has not confirmed a non-commercial use
ExportFailed                an encoder cannot be written as ONNX
DeviceFull                  a device has too little memory for one item
ProbeMismatch               an encoder gives other vectors than the stored ones
QueueFull, BatcherStopped   the batcher cannot take a submission

No message names a command, an option or an environment variable of this project: the program that catches the error
adds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
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
"""Why a file gives nothing to embed, for programs; `str(error)` is the sentence for people.

empty: there are no bytes, or no content in them.
unknown_format: the format is not supported.
not_an_image: the file is no supported image, and the caller needs an image.
wrong_modality: the file can be read, but this encoder does not take its modality.
truncated: the file is cut off or damaged.
too_many_pixels, too_long: the file is over the limit. The header is checked first where it says so.
unsupported: the file is whole, but has no one right reading (float pixels, CIE Lab, an array of another shape, ...),
    or its structure costs too much to read (millions of empty blocks).
"""

MODALITY_NAMES = {
    "image": ("an image", "images"),
    "audio": ("a sound", "sounds"),
    "video": ("a video", "videos"),
    "depth": ("a depth map", "depth maps"),
    "thermal": ("a thermal image", "thermal images"),
    "imu": ("a motion recording", "motion recordings"),
}
"""What one file of a modality is called, and what several are called."""

Limit = Literal["max_pixels", "max_side", "max_seconds", "max_samples", "max_decode_seconds"]
"""The field of `embedder.media.Limits` that a file exceeds."""


class BadMedia(ValueError):
    """A file gives nothing to embed. Only this item fails; the others of its batch do not.

    Attributes:
        reason: see `Reason`.
        limit: the limit that was exceeded, if the caller can raise it; None otherwise.
    """

    def __init__(self, reason: Reason, message: str, limit: Limit | None = None) -> None:
        super().__init__(message)
        self.reason, self.limit = reason, limit

    def __reduce__(self) -> tuple[type["BadMedia"], tuple[Reason, str, Limit | None]]:
        # The default would call BadMedia(message) and so lose data when the error crosses a process border.
        return type(self), (self.reason, str(self), self.limit)


class BadImage(BadMedia):
    """A file gives no image."""


class BadSound(BadMedia):
    """A file gives no sound."""


class BadArray(BadMedia):
    """A file gives no depth map, thermal image or motion."""


class BadVideo(BadMedia):
    """A file gives no video."""


class UnknownEncoder(LookupError):
    """No encoder has this name. `known` lists the names that exist, or patterns of them."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no encoder is named {name!r}; known: {', '.join(known) or 'none'}")
        self.name, self.known = name, list(known)

    def __reduce__(self) -> tuple[type["UnknownEncoder"], tuple[str, list[str]]]:
        return type(self), (self.name, self.known)


class NoNetwork(UnknownEncoder):
    """The vectors of the encoder `name` were imported. No network is known, so it cannot embed anything."""

    def __init__(self, name: str) -> None:
        LookupError.__init__(
            self,
            f"encoder {name!r} cannot embed: its vectors were imported, and no network is known. Ask with stored ids "
            "or with vectors, or import the vectors of these files too",
        )
        self.name, self.known = name, []

    def __reduce__(self) -> tuple[type["NoNetwork"], tuple[str]]:  # type: ignore[override]  # fewer arguments
        return type(self), (self.name,)


class Unsupported(ValueError):
    """A model prepares its images, or gives its outputs, in a way that no spec can represent."""


class WeightsError(RuntimeError):
    """A checkpoint is missing, unreadable or of another architecture. No encoder falls back to random weights."""


@dataclass(frozen=True, slots=True)
class Published:
    """A place where weights are published.

    Attributes:
        origin: repository of the Hugging Face hub, or an address.
        files: names of the files there, or patterns of them.
        place: file or folder on this machine that they belong in.
        command: a shell command that puts them there.
    """

    origin: str
    files: tuple[str, ...]
    place: Path
    command: str


class WeightsMissing(WeightsError):
    """Weights are not on this machine and could not be fetched.

    Attributes:
        encoder: name of the encoder.
        why: why they could not be fetched.
        published: where they are published; any of these will do.
        own: how to name your own weights instead.
    """

    def __init__(self, encoder: str, why: str, published: Sequence[Published], own: str) -> None:
        commands = " — or: ".join(each.command for each in published)
        super().__init__(
            f"the weights of {encoder} are not on this machine and could not be fetched ({why}). Where there is "
            f"internet access run: {commands}. Elsewhere copy the result to the same place, or give your own as {own}"
        )
        self.encoder, self.why, self.published, self.own = encoder, why, list(published), own

    def __reduce__(self) -> tuple[type["WeightsMissing"], tuple[str, str, list[Published], str]]:
        return type(self), (self.encoder, self.why, self.published, self.own)


class AdapterMissing(WeightsError):
    """The adapter of a derived encoder is not there.

    Attributes:
        encoder: name of the derived encoder.
        adapter: name of the adapter's folder.
        root: the folder that was searched; None if no folder was given.
        known: names of the derived encoders whose adapters are in `root`.
    """

    def __init__(self, encoder: str, adapter: str, root: Path | None, known: Sequence[str]) -> None:
        where = f"is not in {str(root)!r}" if root else "cannot be looked for: no folder of adapters was given"
        super().__init__(
            f"the adapter of {encoder!r} {where}; name the folder that has {adapter}, or copy {adapter} there; "
            f"found: {', '.join(known) or 'none'}"
        )
        self.encoder, self.adapter, self.root, self.known = encoder, adapter, root, list(known)

    def __reduce__(self) -> tuple[type["AdapterMissing"], tuple[str, str, Path | None, list[str]]]:
        return type(self), (self.encoder, self.adapter, self.root, self.known)


class CheckpointNotTrusted(WeightsError):
    """A checkpoint is a TorchScript archive, which may run code when it is read. `path` is the file."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the checkpoint {path} is a TorchScript archive, which may run code when it is read. It is read only "
            "after you confirm that you trust whoever made it; a file of tensors alone (safetensors, or "
            "model.state_dict() saved with torch.save) needs no trust"
        )
        self.path = path

    def __reduce__(self) -> tuple[type["CheckpointNotTrusted"], tuple[Path]]:
        return type(self), (self.path,)


class LicenceNotAccepted(RuntimeError):
    """Weights may not be used commercially, and the caller has not confirmed that this use is not commercial.

    Attributes:
        encoder: name of the encoder.
        notice: what the licence says.
    """

    def __init__(self, encoder: str, notice: str) -> None:
        super().__init__(f"{notice}. {encoder} is loaded only after you confirm that your use is not commercial")
        self.encoder, self.notice = encoder, notice

    def __reduce__(self) -> tuple[type["LicenceNotAccepted"], tuple[str, str]]:
        return type(self), (self.encoder, self.notice)


class ExportFailed(RuntimeError):
    """An encoder cannot be written as ONNX, or the file does not give the encoder's numbers."""


class DeviceFull(RuntimeError):
    """A device has too little memory for one item of an encoder. `device` is its type, e.g. cuda."""

    def __init__(self, device: str) -> None:
        super().__init__(
            f"the {device} device has too little free memory for one item: stop other programs that use it, choose a "
            f"smaller encoder or a precision of 16 bits, or compute on the CPU"
        )
        self.device = device

    def __reduce__(self) -> tuple[type["DeviceFull"], tuple[str]]:
        return type(self), (self.device,)


class ProbeMismatch(RuntimeError):
    """An encoder does not give the vectors that it gave when its table was made (see `embedder.probe`).

    `passing` lists the precisions of its engine whose vectors pass; it is empty if none does.
    """

    def __init__(self, message: str, passing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.passing = list(passing)

    def __reduce__(self) -> tuple[type["ProbeMismatch"], tuple[str, list[str]]]:
        return type(self), (str(self), self.passing)


class QueueFull(RuntimeError):
    """The batcher's queue has no room for the whole submission.

    `retry_after` is the time in seconds after which there is likely room, judged by recent throughput.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type["QueueFull"], tuple[str, float]]:
        return type(self), (str(self), self.retry_after)


class BatcherStopped(RuntimeError):
    """The batcher does not run, or stopped before this submission was answered."""
