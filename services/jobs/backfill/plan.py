"""The plan of a backfill, equal for every engine: which rows are missing, and which of them come from the parent."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from embedder.encoder import Encoder
from embedder.spec import EncoderSpec, Modality
from services.jobs.backfill.disk_space import Size, require_room
from services.jobs.backfill.timing import Profile
from services.jobs.derived import Derivation, from_parent, without
from services.jobs.progress import OnProgress, Outcome
from store import Features, Store
from store.rows import strings


@dataclass(slots=True)
class Progress(Outcome):
    """Counts of one backfill so far.

    Attributes:
        total: assets without a vector when it began (with tokens: without a vector or tokens).
        done: assets whose rows are stored.
        tokens: size of the tokens that it will write; None for a backfill without tokens.
        profile: time of each stage.
    """

    total: int = 0
    done: int = 0
    tokens: Size | None = None
    profile: Profile = field(default_factory=Profile)

    @property
    def handled(self) -> int:
        return self.done + self.quarantined

    @property
    def note(self) -> str:
        return f"{self.items_per_second:.0f}/s"

    @property
    def items_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a backfill.

    Attributes:
        features: table of the encoder's vectors.
        tokens: table of its tokens; None to store none.
        missing: ids of the assets to embed, by modality, in stored order.
        progress: the progress when the embedding begins. Assets whose rows came from the parent are done.
    """

    features: Features
    tokens: Features | None
    missing: dict[Modality, list[str]]
    progress: Progress

    @property
    def tables(self) -> list[Features]:
        """The tables in the order to write them: tokens first, so that an asset with a vector is complete."""
        return [self.features] if self.tokens is None else [self.tokens, self.features]


def plan(
    store: Store,
    encoder: Encoder,
    features: Features,
    on_progress: OnProgress[Progress],
    *,
    tokens: bool,
    retry_quarantined: bool,
) -> Plan:
    """Find out which rows are missing, check that the disk has room for them, and write those that the parent gives.

    Args:
        features: table of the encoder's vectors.
        on_progress: called before the first row is written, and then after each commit.
        tokens: store the patch tokens of images too.
        retry_quarantined: also try the assets that failed before.

    Raises:
        NoRoom: the disk is too full for the rows of both kinds. No row was written.
    """
    token_table = store.ensure_tokens(encoder.name, encoder.spec, features.probe) if tokens else None
    missing = missing_assets(store, encoder.spec, tokens=tokens, retry_quarantined=retry_quarantined)
    found = Plan(features, token_table, missing, Progress(total=sum(map(len, missing.values()))))
    derivations = from_parent(store, encoder, features, token_table)
    sizes = [_size(features, [id_ for ids in missing.values() for id_ in ids], derivations)]
    if token_table is not None:
        found.progress.tokens = _size(token_table, missing.get("image", []), derivations)
        sizes.append(found.progress.tokens)
    require_room(store, [size for size in sizes if size.rows])
    on_progress(found.progress)
    return _derived(found, derivations, on_progress) if derivations else found


def _size(table: Features, missing: Sequence[str], derivations: Sequence[Derivation]) -> Size:
    """Return the size of the rows that `table` lacks: those of `missing` assets, and those that the parent gives."""
    ids = [pa.array(missing, pa.string()), *(each.ids for each in derivations if each.table is table)]
    return Size.of(table, len(without(pc.unique(pa.concat_arrays(ids)), table.ids())))


def _derived(found: Plan, derivations: Sequence[Derivation], on_progress: OnProgress[Progress]) -> Plan:
    """Write the rows that the parent gives. Assets that are complete now are done, and no longer missing."""
    for each in derivations:
        each.write(lambda _: on_progress(found.progress))
    complete = pc.unique(pa.concat_arrays([each.ids for each in derivations]))
    for table in found.tables:
        complete = complete.filter(pc.is_in(complete, value_set=table.ids().combine_chunks()))
    left = {modality: strings(without(pa.array(ids, pa.string()), complete)) for modality, ids in found.missing.items()}
    found.progress.done = len(complete)
    found.progress.total = len(complete) + sum(map(len, left.values()))
    on_progress(found.progress)
    return replace(found, missing=left)


def missing_assets(
    store: Store, spec: EncoderSpec, *, tokens: bool, retry_quarantined: bool
) -> dict[Modality, list[str]]:
    """Return the ids of assets without a vector (with `tokens`: without tokens), by modality, in stored order."""
    return {
        modality: store.missing(
            spec.fingerprint,
            tokens=tokens and modality == "image",
            retry_quarantined=retry_quarantined,
            modality=modality,
        )
        for modality in spec.modalities
    }
