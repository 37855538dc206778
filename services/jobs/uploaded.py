"""Stores the files of a request with their labels. What is stored beside them is up to the service."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from embedder.errors import BadMedia
from services.jobs.ingest import to_asset
from services.web.error_answers import problem
from services.web.labelling import Labelling
from services.web.schemas import AssetsResponse, Problem, StoredItem
from services.web.wire import Upload
from store import Added, Asset, Label, Store
from store.errors import FrozenSplit

_ANY = "any"
"""Asset id for a check of labels that holds for every asset. No asset has it: it is no digest."""


@dataclass
class File:
    """One file of the request, and what became of it.

    Attributes:
        error: why it is refused; None if it is not.
        known: True if the store has it already.
    """

    upload: Upload
    error: Problem | None
    known: bool = False

    @property
    def id(self) -> str:
        return self.upload.id

    @cached_property
    def asset(self) -> Asset:
        """The asset of the file. Raises BadMedia if no modality reads its bytes."""
        return to_asset(self.upload.data, self.upload.name or "upload", self.upload.modality)

    def answer(self) -> StoredItem:
        status = "refused" if self.error else "known" if self.known else "stored"
        return StoredItem(id=self.id, name=self.upload.name, status=status, error=self.error)


Around = Callable[[Sequence[File]], AbstractContextManager[object]]
"""Makes a block from the files that are not refused. Their assets are stored inside it."""


def require_labels(store: Store, labelling: Labelling) -> None:
    """Raise BadSplit or BadLabels if no file may have these labels."""
    if labelling.task is not None:
        store.labels.require(labelling.task, [labelling.row(_ANY)])


def judged(uploads: Iterable[Upload]) -> list[File]:
    """Return the files of a request, judged by their headers: those that no modality reads are refused."""
    files = [File(upload, upload.error) for upload in uploads]
    for file in accepted(files):
        try:
            _ = file.asset
        except BadMedia as error:
            file.error = problem(error)
    return files


def store_files(
    store: Store, files: Sequence[File], labelling: Labelling, around: Around = nullcontext
) -> AssetsResponse:
    """Store the files that are not refused. All checks come first, so that nothing of a refused file is stored.

    A file is refused, too, if it has another split already. Labels are written last: no reader sees a label without its
    asset and what `around` stores.
    """
    _label(store.labels.require, files, labelling)
    good, added = accepted(files), Added(new=0, known=0)
    if good:
        there = store.assets.exists([file.id for file in good])
        for file in good:
            file.known = file.id in there
            there.add(file.id)
        with around(good):
            added = store.assets.add(file.asset for file in good)
        _label(store.labels.put, files, labelling)  # refuses a file whose split another process has set meanwhile
    return AssetsResponse(new=added.new, known=added.known, items=[file.answer() for file in files])


def accepted(files: Iterable[File]) -> list[File]:
    """Return the files that are not refused."""
    return [file for file in files if file.error is None]


def _label(act: Callable[[str, list[Label]], object], files: Sequence[File], labelling: Labelling) -> None:
    """Call `act` with the labels of the accepted files, and refuse those with a frozen split, until `act` passes."""
    while labelling.task is not None and (good := accepted(files)):
        try:
            act(labelling.task, [labelling.row(file.id) for file in good])
            return
        except FrozenSplit as error:
            moves = {move[0]: FrozenSplit(error.task, [move]) for move in error.moves}
            for file in good:
                if file.id in moves:
                    file.error = problem(moves[file.id])
