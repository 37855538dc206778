"""Fills a store from files and a file of labels: checks everything, stores it, and says what was understood."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from embedder.spec import Modality
from services.jobs.annotations.captions import are_captions
from services.jobs.annotations.errors import NoColumn
from services.jobs.annotations.matching import Matching
from services.jobs.annotations.reading import open_labels
from services.jobs.annotations.survey import OnConflict, Sheet, Survey, survey
from services.jobs.annotations.tables import Columns
from services.jobs.ingest import Ingested, ingest, read_id
from services.jobs.progress import JobProgress, OnProgress, ignore
from store import Store
from store.errors import BadSource
from store.items import SPLIT_FOLDERS
from store.sources import Sources, read_sources

METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of the file of labels in an image folder of Hugging Face."""

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
"""Endings of files that may be a table of labels, among the files of a folder."""

_YEAR = re.compile(r"(19|20)\d\d")
_FILE_NAME = "file_name"


@dataclass(frozen=True, slots=True)
class Request:
    """What to store.

    Attributes:
        sources: folders and files; () for labels of assets that are stored.
        task: the task that the labels belong to; None: no label is stored.
        labels: a file of labels; None for the names of the folders, or the metadata of an image folder.
        columns: columns of `labels` that are not to be guessed. Without such a file, the column of labels is that of
            Parquet files in the sources.
        group: column of the sources, or of the file of labels, that holds the groups; None to read none.
        on_conflict: which labels the same content gets if it is given several.
    """

    sources: Sequence[str | Path] = ()
    task: str | None = None
    labels: str | Path | None = None
    columns: Columns | None = None
    group: str | None = None
    on_conflict: OnConflict = "error"
    modality: Modality | None = None
    reference: bool = False


class Warned(NamedTuple):
    """Something that is probably not meant: a short fixed word, and a sentence for the user."""

    code: str
    text: str


@dataclass(slots=True)
class Filled:
    """What was stored, and how it was understood.

    Attributes:
        matching: how the file of labels fits the files; None if there is none.
        conflicts: number of contents that were given different labels or splits, and `examples` of them.
        junk: number of files skipped by their name, by that name.
        classes: {class: {split: number of rows}} of the whole task, as it is stored now.
        warnings: what is probably not meant.
    """

    ingested: Ingested
    matching: Matching | None = None
    conflicts: int = 0
    examples: list[str] = field(default_factory=list)
    junk: Counter[str] = field(default_factory=Counter)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    warnings: list[Warned] = field(default_factory=list)

    @property
    def captions(self) -> bool:
        """True if the labels of the task look like captions, which are no classes."""
        return are_captions(self.classes)


def fill(
    store: Store,
    request: Request,
    on_progress: OnProgress[JobProgress] = ignore,
    *,
    sources: Sources | None = None,
) -> Filled:
    """Store files and labels. Everything is checked before anything is stored. Run it again after an interruption.

    Args:
        sources: items to store instead of those of `request.sources`.

    Raises BadSource and its subclasses BadAnnotations and NothingMatched, Conflicts, BadSplit, FrozenSplit, BadLabels.
    """
    start = time.perf_counter()
    sheets = list(_sheets(request))
    items = sources
    if items is None and request.sources:
        label = request.columns.label if request.columns else None
        group, label = (None, None) if sheets else (request.group, label)
        items = read_sources(request.sources, [sheet.reader.path for sheet in sheets], group, label)
    if request.task is None:
        done = Filled(
            ingest(store, items or (), modality=request.modality, reference=request.reference, on_progress=on_progress)
        )
        done.junk = items.junk if items else Counter()
        return done
    with _surveyed(store, request, request.task, items, sheets, on_progress) as found:
        if request.group and not found.has_groups():
            raise BadSource(
                f"no labelled row has a group in a column {request.group!r}; only tables and Parquet files have "
                "columns, and nothing was stored. Give a file of labels with this column"
            )
        done = Filled(
            _write(store, request, found, items, on_progress), found.matching, found.conflicts, found.examples
        )
        faults = [Warned(word, text) for word, text in found.faulty.said().items()]
    done.junk = Counter(items.junk) if items is not None else Counter()
    done.ingested.seconds = time.perf_counter() - start
    done.classes = classes_of(store, request.task)
    done.warnings = [*faults, *_warnings(request.task, done.classes, sheets), *_unread(request, sheets)]
    return done


def classes_of(store: Store, task: str) -> dict[str, dict[str, int]]:
    """Return {class: {split: number of rows}} of a task, the largest class first; "" for rows without a label."""
    classes: dict[str, dict[str, int]] = {}
    for (label, split), count in store.labels.counts(task).items():
        classes.setdefault(label, {})[split] = count
    return dict(sorted(classes.items(), key=lambda each: (-sum(each[1].values()), each[0])))


def _sheets(request: Request) -> Iterator[Sheet]:
    """Yield the file of labels that was named, or else the metadata of image folders."""
    if request.labels is not None:
        yield Sheet(open_labels(request.labels, replace(request.columns or Columns(), group=request.group)))
    elif request.task is not None:
        for folder in (Path(source).expanduser().absolute() for source in request.sources):
            inside = [folder, *(folder / name for name in sorted(SPLIT_FOLDERS))] if folder.is_dir() else []
            for path in (each / name for each in inside for name in METADATA):
                if path.is_file():
                    yield from _metadata(path, request.group)


def _metadata(path: Path, group: str | None) -> Iterator[Sheet]:
    """Yield the metadata of an image folder, unless it has no labels: then the folders have them."""
    try:
        yield Sheet(open_labels(path, Columns(path=_FILE_NAME, group=group)), str(path.parent))
    except NoColumn as error:
        if error.role == "group":
            raise


def _surveyed(
    store: Store,
    request: Request,
    task: str,
    items: Sources | None,
    sheets: Sequence[Sheet],
    on_progress: OnProgress[JobProgress],
) -> AbstractContextManager[Survey]:
    roots = [str(path) for path in items.paths] if items is not None else []
    return survey(
        store,
        task,
        items,
        partial(read_id, modality=request.modality, most=store.assets.max_file_bytes),
        sheets=sheets,
        roots=[*roots, *(str(sheet.reader.path.parent) for sheet in sheets)],
        on_conflict=request.on_conflict,
        on_progress=on_progress,
    )


def _write(
    store: Store, request: Request, found: Survey, items: Sources | None, on_progress: OnProgress[JobProgress]
) -> Ingested:
    if items is not None:
        return ingest(
            store,
            found.relabelled(items),
            task=request.task,
            modality=request.modality,
            reference=request.reference,
            on_progress=on_progress,
        )
    return Ingested(labelled=store.labels.put(request.task or "", found.labels(str(request.labels))))


def _warnings(task: str, classes: Mapping[str, Mapping[str, int]], sheets: Sequence[Sheet]) -> Iterator[Warned]:
    """Yield what is probably not meant, and what to do."""
    named = [name for name in classes if name]
    years = sorted(name for name in named if _YEAR.fullmatch(name))
    splits = sorted(name for name in named if name.lower() in SPLIT_FOLDERS)
    if not named:
        yield Warned(
            "no_label", f"task {task} has no label: put the files into a folder for each class, or give a table"
        )
    if years and len(years) * 2 >= len(named) and not sheets:
        yield Warned(
            "years",
            f"classes {', '.join(years[:5])} look like years: the names of the folders were taken as classes. If the "
            "labels are in a table, give it and use another task",
        )
    if splits:
        yield Warned(
            "splits",
            f"class {', '.join(splits)} looks like a split. Folders are splits only if all folders beside them "
            f"are named {', '.join(SPLIT_FOLDERS)}: move the others away, and use another task",
        )
    if len(named) == 1:
        yield Warned("one_class", f"task {task} has one class, {named[0]}: a head needs two or more")


def _unread(request: Request, sheets: Sequence[Sheet]) -> Iterator[Warned]:
    """Yield each table that lies in a source, if no file of labels was read."""
    folders = [Path(source).expanduser() for source in request.sources] if not sheets else []
    for path in (path for folder in folders for path in sorted(folder.glob("*")) if path.suffix.lower() in TABLES):
        yield Warned("table", f"{path} was not read: if it has the labels, give it as the file of labels")
