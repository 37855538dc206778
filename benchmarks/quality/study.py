"""Studies and their findings. The outcomes are kept in files, so that each study is measured only once."""

import hashlib
import json
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

CODE = Path(__file__).parents[2] / "classifiers"
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "faiss-cpu")


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim of a paper, tested on one data set.

    Attributes:
        claim: the claim, in the same words for every data set, so that verdicts can be compared.
        where: data set, encoders, head.
        figure: the measured figure, with its interval or deviation.
        holds: True if the claim is true of the measured figure (the point estimate).
        sure: False if the interval also contains the other verdict.
    """

    claim: str
    where: str
    figure: str
    holds: bool
    sure: bool = True

    @property
    def verdict(self) -> str:
        return ("holds here" if self.holds else "does not hold here") + ("" if self.sure else ", too close to be sure")


@dataclass(frozen=True, slots=True)
class Table:
    """The figures behind findings. Tables with the same title and header are shown as one table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The findings of a study, or the reason for its failure."""

    findings: tuple[Finding, ...] = ()
    tables: tuple[Table, ...] = ()
    seconds: float = 0.0
    date: str = ""
    error: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        record = json.loads(text)
        tables = [
            Table(table["title"], tuple(table["header"]), tuple(tuple(row) for row in table["rows"]))
            for table in record["tables"]
        ]
        findings = tuple(Finding(**finding) for finding in record["findings"])
        return cls(findings, tuple(tables), record["seconds"], record["date"], record["error"])

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


@dataclass(frozen=True, slots=True)
class Study:
    """A measurement of all claims of a paper on one data set (and encoder).

    Attributes:
        paper: heading of its findings on the page.
        name: a unique name.
        module: `__file__` of the code that measures.
        data: digest of the vectors, labels and splits that `run` reads.
        run: function that measures, and returns findings and tables.
        settings: everything else that the outcome depends on: seeds, grids, limits.
        remarks: {claim: a sentence that the page shows above the verdicts on it}.
    """

    paper: str
    name: str
    module: str
    data: str
    run: Callable[[], tuple[Sequence[Finding], Sequence[Table]]] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Digest of data, settings, the study's code, the code of `classifiers`, and the versions of packages."""
        told = [self.paper, self.name, self.data, dict(self.settings), sources(self.module), versions()]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def outcome(self, folder: Path, *, fresh: bool = False) -> Outcome:
        """Return the outcome in `folder`, or measure it and keep it there. The outcome of a failure is not kept."""
        kept = folder / f"{self.name.replace(' ', '_').replace(',', '')}-{self.digest}.json"
        if kept.exists() and not fresh:
            return Outcome.from_json(kept.read_text())
        start, date = time.perf_counter(), time.strftime("%Y-%m-%d", time.gmtime())
        try:
            findings, tables = self.run()
        except Exception as error:
            traceback.print_exc()
            return Outcome(error=f"{type(error).__name__}: {error}", date=date)
        made = Outcome(tuple(findings), tuple(tables), time.perf_counter() - start, date)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".part")
        unfinished.write_text(made.to_json())
        unfinished.replace(kept)
        return made


def sources(module: str) -> str:
    """Return a digest of the code that a study depends on."""
    paths = [*sorted(CODE.rglob("*.py")), Path(module)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
