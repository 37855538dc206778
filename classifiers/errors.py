"""What goes wrong with heads. Standard library only."""

from collections.abc import Iterable, Mapping


def listing(names: Iterable[object]) -> str:
    """The names that exist, for the end of a message."""
    return ", ".join(str(name) for name in names) or "none yet"


class BadVectors(ValueError):
    """An array that no head can take: wrong rank, width or type, or values that are not finite."""


class NotTrainable(ValueError):
    """The rows cannot give a head; the text says what is missing and what to do."""


MODALITIES = {
    "image": ("images", "lite0"),
    "audio": ("sounds", "melstat"),
    "video": ("videos", "imagebind/huge"),
    "depth": ("depth images", "imagebind/huge"),
    "thermal": ("thermal images", "imagebind/huge"),
    "imu": ("motion recordings", "imagebind/huge"),
}
"""What each modality is called, and an encoder that takes it."""


class NoVectors(NotTrainable):
    """Fewer than two classes or labels of a task have training rows with vectors.

    Attributes:
        task, encoders: the rows that were asked for.
        present, classes: number of classes (or labels) with vectors, and of all.
        refused: modalities of the rows that an encoder does not take, by the encoder's name; empty if the vectors are
            only missing.
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
    ) -> None:
        self.task, self.encoders, self.present, self.classes = task, tuple(encoders), present, classes
        self.refused = dict(refused)
        said = (
            f"of the {classes} {word} of task {task!r}, {present} have training rows with vectors of "
            f"{', '.join(self.encoders)}"
        )
        for encoder, each in self.refused.items():
            names = " and ".join(f"{MODALITIES[modality][0]} ({modality})" for modality in each)
            others = " or ".join(dict.fromkeys(MODALITIES[modality][1] for modality in each))
            said += f"; its assets are {names}, which {encoder} does not take: use an encoder that does, e.g. {others}"
        super().__init__(said if self.refused else f"{said}; embed its assets with that encoder first")


class NoTokens(NotTrainable):
    """No tokens of an encoder are stored; `encoder` is its name."""

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder
        super().__init__(
            f"no tokens of encoder {encoder!r} are stored, and a decoder reads several tokens of each image, not its "
            "vector: store the tokens of that encoder first"
        )


class BadParameter(ValueError):
    """A hyper-parameter with a value that is not allowed; the text names those that are."""


class WrongFingerprint(ValueError):
    """Vectors of another encoder than the head was trained on."""

    def __init__(self, head: str, expected: tuple[str, ...], got: tuple[str, ...]) -> None:
        self.head, self.expected, self.got = head, expected, got
        super().__init__(
            f"head {head!r} reads vectors of {listing(expected)}, got {listing(got)}; "
            "embed with the head's encoder or train a head on these vectors"
        )


class BadArtifact(ValueError):
    """A head folder that must not be served; `reason` says why."""

    def __init__(self, folder: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"head folder {str(folder)!r} refused: {reason}")


class BadComparison(ValueError):
    """A folder that holds no comparison which could go on; `reason` says why."""

    def __init__(self, folder: object, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no comparison to go on with in {str(folder)!r}: {reason}")


class BadName(ValueError):
    """A head, version or alias name that could not be a folder name."""


class Unknown(LookupError):
    """A name that does not exist. `known` lists those that do."""

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


class UnknownKind(Unknown):
    what = "kind of head"


class UnknownParameter(Unknown):
    what = "parameter"


class UnknownCoverage(Unknown):
    what = "coverage"


class UnknownSets(Unknown):
    what = "kind of prediction set"


class NoTexts(ValueError):
    """Other labels were asked of a head that knows its own alone."""

    def __init__(self, head: str, kind: str, known: Iterable[str]) -> None:
        names = list(known)
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        super().__init__(
            f"head {head!r} ({kind}) can't be asked for labels by name: it knows {listing(names[:20])}{more}; leave "
            "labels out, or train a head with texts: --kind bilinear, decoder with queries=text, zeroshot with blend=0"
        )


class NoOutlierScore(ValueError):
    """An outlier limit was asked of a head that can't tell outliers."""

    def __init__(self, head: str) -> None:
        super().__init__(
            f"head {head!r} has no outlier percentiles, so max_outlier means nothing to it; leave it out, or train the "
            "head again with at least 20 rows (its report says what was missing)"
        )


class UnknownClustering(Unknown):
    what = "clustering"


class BadClustering(ValueError):
    """A clustering that is damaged, of another encoder, or whose name is taken; the text says what to do."""
