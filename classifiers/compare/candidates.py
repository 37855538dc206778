"""The candidates of a comparison, which are written as lines of text; the default candidates and the controls."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from classifiers.errors import BadParameter, NotCompared

NEAREST, SOFTMAX, MAJORITY = "nearest class mean", "plain softmax", "majority class"
"""Names of the controls, which a head has to beat before it is worth its parameters."""

NEAREST_LABEL, ONE_VS_REST, SHARES = "nearest label mean", "plain one-vs-rest", "label shares"
"""Names of the controls of tasks with any number of labels a row."""

LABEL_CONTROL_KINDS = (NEAREST_LABEL, SHARES)
UNTRAINABLE = (MAJORITY, *LABEL_CONTROL_KINDS)
"""Controls that no kind of head trains, so that they cannot be published."""

CONSTANT = (MAJORITY, SHARES)
"""Controls that read no vector."""

EACH = (
    "gaussian",
    "gaussian norm=unit",
    "gaussian covariance=tied-diag",
    "gaussian project=pca",
    "gaussian covariance=full project=pca pooling=0.5",
    "linear norm=unit",
)
"""Candidates that are tried by default on the vectors of every encoder. RanPAC and mixtures are not among them: they
took most of the time and never won."""

TOGETHER = (
    "gaussian",
    "gaussian norm=unit",
    "gaussian project=pca",
    "fusion",
    "fusion rule=log-average",
)
"""Candidates that are tried by default on the vectors of all encoders side by side, if there are several."""


LABEL_EACH = ("labelwise norm=unit", "labelwise norm=unit project=pca dims=0.95")
"""Candidates that are tried by default on tasks with any number of labels a row, on the vectors of every encoder and
of all encoders side by side."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of head with its hyper-parameters, to be trained on the vectors of some encoders.

    Attributes:
        kind: kind of head, one of `classifiers.training.kinds.KINDS`, or one of `UNTRAINABLE`.
        control: name of the control, if the candidate is one; otherwise "".
    """

    kind: str
    encoders: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""

    @property
    def settings(self) -> str:
        """The kind and the parameters, as a user writes them."""
        return " ".join([self.kind, *(shlex.quote(f"{name}={shown(value)}") for name, value in self.params.items())])

    @property
    def title(self) -> str:
        """The name for readers: the control's name, or the kind and the parameters."""
        return self.control or self.settings

    @property
    def inputs(self) -> str:
        """The encoders for readers; a constant control reads no vector."""
        return "–" if self.kind in CONSTANT else " ".join(self.encoders)

    @property
    def trainable(self) -> bool:
        """True if the head can be trained and published."""
        return self.kind not in UNTRAINABLE

    @property
    def label(self) -> str:
        """The unique name among all candidates. `parse` reads it back, except for `UNTRAINABLE` kinds."""
        return f"{self.settings} @ {' '.join(self.encoders)}"


CONTROLS: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    ("gaussian", {"covariance": "tied-spherical", "shrinkage": 0.0, "priors": "uniform"}, NEAREST),
    ("linear", {}, SOFTMAX),
    (MAJORITY, {}, MAJORITY),
)

LABEL_CONTROLS: tuple[tuple[str, Mapping[str, Any], str], ...] = (
    (NEAREST_LABEL, {}, NEAREST_LABEL),
    ("labelwise", {}, ONE_VS_REST),
    (SHARES, {}, SHARES),
)


def shown(value: object) -> str:
    """Return a value as text that `assignment` reads back: text stays as it is, anything else becomes JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def assignment(text: str) -> tuple[str, Any]:
    """Return name and value of an assignment: ("C", 0.5) of ``C=0.5``. Raises BadParameter.

    A value that is not JSON stays a text.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise BadParameter(f"{text!r} sets no parameter: write name=value, e.g. shrinkage=0.1")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def parse(text: str, encoders: Sequence[str]) -> list[Candidate]:
    """Return the candidates of a line ``kind name=value … [@ encoder …]``. Raises BadParameter.

    With encoders, that is one candidate. Without, there is one candidate for each encoder and one for all together,
    except for `fusion`, which needs several encoders and gets all.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadParameter(f"candidate {text!r}: {error}") from error
    at = words.index("@") if "@" in words else len(words)
    kind, params, named = words[:1], dict(map(assignment, words[1:at])), tuple(words[at + 1 :])
    if not kind or kind == ["@"] or (at < len(words) and not named):
        raise BadParameter(f"candidate {text!r}: write kind name=value … @ encoder …, e.g. gaussian norm=unit @ lite0")
    unknown = [name for name in named if name not in encoders]
    if unknown:
        raise NotCompared(text, unknown[0], encoders)
    return [Candidate(kind[0], each, params) for each in ([named] if named else encoder_sets(kind[0], encoders))]


def encoder_sets(kind: str, encoders: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the sets of encoders that a kind is tried on."""
    alone = [] if kind == "fusion" else [(encoder,) for encoder in encoders]
    return alone + ([tuple(encoders)] if len(encoders) > 1 else [])


def parse_lines(lines: Iterable[str], encoders: Sequence[str]) -> list[Candidate]:
    """Return the candidates of several lines of text, in which # starts a comment."""
    texts = (line.partition("#")[0].strip() for line in lines)
    return [candidate for text in texts if text for candidate in parse(text, encoders)]


def defaults(encoders: Sequence[str], kinds: Sequence[str] = (), *, several: bool = False) -> list[Candidate]:
    """Return the default candidates; with `kinds`, only those of these kinds, and each kind with its own defaults.

    Args:
        several: True for a task with any number of labels a row.
    """
    lines, joint = (LABEL_EACH, LABEL_EACH) if several else (EACH, TOGETHER)
    alone = [
        Candidate(each.kind, (encoder,), each.params) for encoder in encoders for each in parse_lines(lines, ["-"])
    ]
    found = alone
    if len(encoders) > 1:
        together = {each.label: each for text in joint for each in parse(f"{text} @ {shlex.join(encoders)}", encoders)}
        found = alone + list(together.values())
    if kinds:
        own = [candidate for kind in kinds for candidate in parse(kind, encoders)]
        found = [*own, *(each for each in found if each.kind in kinds)]
    return found


def with_controls(candidates: Sequence[Candidate], *, several: bool = False) -> list[Candidate]:
    """Return the candidates without repetitions, and the controls on every set of encoders of a candidate.

    Args:
        several: True for heads that give a row any number of labels.
    """
    sets = list(dict.fromkeys(candidate.encoders for candidate in candidates))
    wanted = LABEL_CONTROLS if several else CONTROLS
    controls = [Candidate(kind, each, params, name) for each in sets for kind, params, name in wanted]
    constant = [each for each in controls if each.kind in CONSTANT][:1]  # it reads no vector, so one is enough
    named = {each.label: each for each in candidates}
    named |= {each.label: each for each in controls if each.kind not in CONSTANT}
    return [*named.values(), *constant]
