"""The errors of training, publishing and answering. Every module can import them: they need no other package."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar


def listing(names: Iterable[object], most: int | None = None) -> str:
    """Return names as text for a message: at most `most` of them, then the number of the others; None for all."""
    found = [str(name) for name in names]
    more = f" and {len(found) - most} more" if most is not None and len(found) > most else ""
    return ", ".join(found[:most]) + more or "none yet"


class BadVectors(ValueError):
    """An array that no head accepts: wrong rank, width or dtype, or values that are not finite."""


class VectorsOverflow(BadVectors):
    """Finite vectors whose scores are beyond float32, so that they have no probabilities.

    Attributes:
        rows: numbers of these rows.
    """

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = tuple(rows)
        super().__init__(
            f"the values of {len(self.rows)} vectors, the first in row {self.rows[0]}, are so large that the head's "
            "scores overflow; send vectors as the encoder gives them"
        )


class NotTrainable(ValueError):
    """No head can be trained on these rows. The message says what is missing and what to do."""


class NoCovariance(NotTrainable):
    """No class has two different rows, so how the rows of a class vary is unknown."""


class SeveralLabels(NotTrainable):
    """Rows have several labels or none, and the kind of head needs exactly one.

    Attributes:
        id: asset id of the first such row.
        labels: its labels.
    """

    def __init__(self, task: str, id_: str, labels: Sequence[str], wrong: int, rows: int) -> None:
        self.task, self.id, self.labels = task, id_, list(labels)
        has = f"the labels {listing(self.labels, 5)}" if labels else "none"
        super().__init__(
            f"task {task!r} has {wrong} of {rows} rows with several labels or none, and this kind of head gives each "
            f"row exactly one class. The first is asset {id_}, which has {has}. Correct these rows, or use a kind for "
            "any number of labels: labelwise, bilinear or decoder"
        )


PLURALS = {
    "image": "images",
    "audio": "sounds",
    "video": "videos",
    "depth": "depth maps",
    "thermal": "thermal images",
    "imu": "motion recordings",
}
"""The names of several files of each modality, as in `embedder.errors`, which heads must not import."""

TAKEN_BY = {"image": "lite0", "audio": "melstat"} | dict.fromkeys(
    ("video", "depth", "thermal", "imu"), "imagebind/huge"
)
"""An encoder to recommend for each modality."""


def plurals(modalities: Iterable[str]) -> str:
    """Return the names of some modalities, for a message: "images and sounds"."""
    return " and ".join(PLURALS[each] for each in modalities)


class NoVectors(NotTrainable):
    """Fewer than two classes or labels of a task have training rows with vectors.

    Attributes:
        task, encoders: the rows that were asked for.
        present, classes: number of classes (or labels) with vectors, and number of all classes (or labels).
        refused: modalities of the rows that an encoder does not take, by the encoder's name; empty if the vectors are
            only missing.
        takes: modalities that each of these encoders takes.
        others: encoders that take the refused modalities.
    """

    def __init__(
        self,
        task: str,
        encoders: Iterable[str],
        *,
        present: int,
        classes: int,
        word: str,
        refused: Mapping[str, tuple[str, ...]],
        takes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.task, self.encoders, self.present, self.classes = task, tuple(encoders), present, classes
        self.refused, self.takes = dict(refused), dict(takes or {})
        modalities = dict.fromkeys(modality for each in self.refused.values() for modality in each)
        self.others = tuple(dict.fromkeys(TAKEN_BY[modality] for modality in modalities))
        counted = (
            f"of the {classes} {word} of task {task!r}, {present} have training rows with vectors of "
            f"{', '.join(self.encoders)}"
        )
        if not self.refused:
            super().__init__(f"{counted}; embed its assets with that encoder first")
            return
        taken = "; ".join(f"{name} takes {plurals(self.takes.get(name, ())) or 'none'}" for name in self.refused)
        said = f"the assets of task {task!r} are {plurals(modalities)}; {taken}"
        super().__init__(f"{said}; {counted}" if present else said)


class NoTokens(NotTrainable):
    """No tokens of an encoder are stored; `encoder` is its name."""

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder
        super().__init__(
            f"no tokens of encoder {encoder!r} are stored, and a decoder reads several tokens of each image, not its "
            "vector: store the tokens of that encoder first"
        )


class NoDiskSpace(NotTrainable):
    """The disk of the temporary files has no room for the rows that a head learns from."""


class BadParameter(ValueError):
    """A hyper-parameter has a value that is not allowed. The message names the allowed values."""


class NotCompared(BadParameter):
    """A candidate names `encoder`, which is not among the `encoders` of its comparison."""

    def __init__(self, candidate: str, encoder: str, encoders: Iterable[str]) -> None:
        self.encoder, self.encoders = encoder, tuple(encoders)
        super().__init__(
            f"candidate {candidate!r}: {encoder!r} is not among the encoders of this comparison: "
            f"{', '.join(self.encoders)}"
        )


class WrongFingerprint(ValueError):
    """The vectors come from another encoder than the head was trained on."""

    def __init__(self, head: str, expected: tuple[str, ...], got: tuple[str, ...]) -> None:
        self.head, self.expected, self.got = head, expected, got
        super().__init__(
            f"head {head!r} reads vectors of {listing(expected)}, got {listing(got)}; "
            "embed with the head's encoder or train a head on these vectors"
        )


class BadArtifact(ValueError):
    """A head folder is damaged or unknown, so it is not served. `reason` says why."""

    LONGEST: ClassVar = 500
    """Most characters of a reason: it may quote a damaged manifest."""

    def __init__(self, folder: object, reason: str) -> None:
        self.reason = reason if len(reason) <= self.LONGEST else f"{reason[: self.LONGEST - 1]}…"
        super().__init__(f"head folder {str(folder)!r} refused: {self.reason}")


class BadComparison(ValueError):
    """A folder holds no comparison that can be continued. `reason` says why."""

    def __init__(self, folder: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the comparison in {str(folder)!r} cannot be continued: {reason}")


class BadName(ValueError):
    """The name of a head, alias or clustering cannot be a folder name."""


class Unknown(LookupError):
    """A name does not exist. `known` lists the names that do."""

    what = "name"

    def __init__(self, name: str, known: Iterable[object]) -> None:
        self.name = name
        self.known = [str(each) for each in known]
        super().__init__(f"unknown {self.what} {name!r}; known: {listing(self.known)}")


class UnknownHead(Unknown):
    what = "head"


class UnknownVersion(Unknown):
    what = "version"


class UnknownAlias(Unknown):
    what = "alias"


class NoReport(LookupError):
    """A version of a head was published without a report on its training."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"head {name!r} has no report in version {version}; train it again to get one")


class AliasInUse(ValueError):
    """A version cannot be removed, because aliases point to it. `aliases` lists them."""

    def __init__(self, name: str, version: str, aliases: Sequence[str]) -> None:
        self.name, self.version, self.aliases = name, version, list(aliases)
        super().__init__(
            f"version {version} of head {name!r} is {listing(self.aliases, 20)}, and services may use it; point the "
            "alias at another version first"
        )


class UnknownKind(Unknown):
    what = "kind of head"


class UnknownParameter(Unknown):
    what = "parameter"


class UnknownCoverage(Unknown):
    what = "coverage"


class UnknownSets(Unknown):
    what = "kind of prediction set"


class NoTexts(ValueError):
    """A request names other labels than the head's own, but the head does not know its labels by texts."""

    def __init__(self, head: str, kind: str, known: Iterable[str]) -> None:
        super().__init__(
            f"head {head!r} ({kind}) can't be asked for other labels: it knows {listing(known, most=20)}; leave "
            "labels out, or train a head of a kind that reads texts: bilinear, decoder with queries=text, or zeroshot "
            "with blend=0"
        )


class NoOutlierScore(ValueError):
    """A request limits outliers, but the head has no outlier percentiles."""

    def __init__(self, head: str) -> None:
        super().__init__(
            f"head {head!r} has no outlier percentiles, so max_outlier cannot be applied; leave it out, or train the "
            "head again with at least 20 rows (its report says what was missing)"
        )


class UnknownClustering(Unknown):
    what = "clustering"


class BadClustering(ValueError):
    """A clustering is damaged, belongs to another encoder, or its name is in use. The message says what to do."""


class NameTaken(BadClustering):
    """The name of a new clustering is the name of a task, or of a clustering of another encoder."""


class TooManyPairs(ValueError):
    """More pairs of vectors reach a threshold than are kept, so it shows no near-duplicates."""

    def __init__(self, threshold: float, most: int, rows: int, of: int) -> None:
        super().__init__(
            f"more than {most:,} pairs have a cosine of at least {threshold:g}, found in the first {rows:,} of {of:,} "
            "rows; near-duplicates are rarer: choose a higher threshold"
        )


class ExportTooLarge(ValueError):
    """A head is larger than a model file may be."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            f"the model takes {size / 1e9:.1f} GB, and an ONNX file holds at most {most / 1e9:.0f} GB; train the head "
            "with fewer dimensions (project=pca) or with one covariance for all classes"
        )


class ExportDiffers(RuntimeError):
    """The ONNX model of a head does not give the head's probabilities, so nothing is written."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the ONNX model of {name} was not written: {why}")
