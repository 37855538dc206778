"""Errors as the command line prints them: one line with the reason, and a hint with the option that helps.

Lower layers raise typed errors that name no command, option or variable. `HINTS` adds them.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from classifiers import errors as heads
from embedder import errors as encoders
from services.cli import extras
from services.jobs import errors as jobs
from services.jobs.annotations import errors as annotations
from services.settings import variable
from services.web.access.errors import BadKeys, Unguarded
from services.web.errors import NotStarted, PortTaken, RemoteProblem, ServiceDown
from store import errors as stored


class BadSettings(ValueError):
    """Settings have values that are not allowed. `given` has the values that options set, by setting."""

    def __init__(self, error: ValidationError, given: Mapping[str, object]) -> None:
        super().__init__("; ".join(_setting(each["loc"], each["msg"], each["input"], given) for each in error.errors()))


EXPECTED: tuple[type[Exception], ...] = (
    *jobs.EXPECTED,
    *(RemoteProblem, NotStarted, Unguarded, BadKeys, BadSettings, ModuleNotFoundError),
    *(
        heads.BadComparison,
        heads.AliasInUse,
        heads.BadParameter,
        heads.NotTrainable,
        heads.TooManyPairs,
        heads.UnknownKind,
        heads.UnknownParameter,
    ),
    *(heads.BadClustering, heads.UnknownClustering),
    *(encoders.ExportFailed, heads.ExportDiffers, heads.ExportTooLarge),
)
"""Errors that a user can mend. The command prints them and exits with 1. Others are bugs and keep their traceback."""

Hint = str | Callable[[Any], str]


def _backfill(error: stored.UnknownFeatures) -> str:
    tokens = " --tokens" if error.what == "tokens" else ""
    embed = f"run `headwater backfill --encoder {error.name}{tokens}` first"
    return f"{embed}, or choose a stored encoder with --encoder" if error.known else embed


def _vectors(error: heads.NoVectors) -> str:
    if error.refused:
        return " or ".join(f"--encoder {each}, after `headwater backfill --encoder {each}`" for each in error.others)
    return "run " + " and ".join(f"`headwater backfill --encoder {name}`" for name in error.encoders) + " first"


def _tokens(error: heads.NoTokens) -> str:
    return f"run `headwater backfill --encoder {error.encoder} --tokens` first"


def _head(error: heads.Unknown) -> str:
    return "`headwater heads list` lists heads, versions and aliases" if error.known else "`headwater train` makes one"


def _one_label(error: stored.NotOneLabel | heads.SeveralLabels) -> str:
    return f"`headwater labels set {error.id} --task {shlex.quote(error.task)} --label NAME` gives a row one label"


def _frozen(error: stored.FrozenSplit) -> str:
    id_, _, split = error.moves[0]
    move = f"`headwater labels set {id_} --task {shlex.quote(error.task)} --split {split} --move-split --label NAME`"
    return f"{move} moves one asset"


def _column(error: annotations.NoColumn) -> str:
    return f"--{error.role}-column NAME" + (", or --id-column NAME" if error.role == "path" else "")


def _remote(error: RemoteProblem) -> str:
    return REMOTE_HINTS.get(error.code, "")


def _compared(error: heads.NotCompared) -> str:
    return " ".join(f"--encoder {name}" for name in (*error.encoders, error.encoder)) + " compares all of them"


def _probe(error: encoders.ProbeMismatch) -> str:
    chosen = "HEADWATER_BACKEND or --backend without a precision lets the inference engine choose one that passes"
    return chosen if error.passing else ""


HINTS: dict[type[Exception], Hint] = {
    stored.NoStore: "`headwater ingest SOURCE --store URI` makes one; --store or HEADWATER_STORE names another one",
    encoders.LicenceNotAccepted: "if your use is not commercial, add --accept-noncommercial or set "
    "HEADWATER_ACCEPT_NONCOMMERCIAL=true",
    encoders.CheckpointNotTrusted: "if you trust whoever made it, add --trust-checkpoint or set "
    "HEADWATER_TRUST_CHECKPOINT=true",
    annotations.NoColumn: _column,
    annotations.NothingMatched: "--path-column NAME or --id-column NAME",
    annotations.UnknownSplit: "--split-column NAME names another column; --split-column none reads no split",
    annotations.Conflicts: "--on-conflict first, last or both",
    stored.UnknownFeatures: _backfill,
    stored.UntrustedReferences: "--trust-references takes them, from files below FOLDER or --root",
    stored.NoExport: "`headwater export FOLDER` writes such a folder",
    encoders.ProbeMismatch: _probe,
    encoders.DeviceFull: "--backend torch-fp16 takes half the memory of torch-fp32; --backend openvino uses the CPU",
    stored.UnknownId: "`headwater assets list` lists ids and names; `headwater ingest FILE` stores a file",
    stored.AmbiguousId: "`headwater assets show ID` describes one of them",
    stored.NotOneLabel: _one_label,
    heads.SeveralLabels: _one_label,
    stored.FrozenSplit: _frozen,
    stored.TaskExists: lambda error: f"`headwater tasks remove {shlex.quote(error.task)}` removes its labels",
    stored.NothingToUndo: "`headwater labels history ASSET` lists the changes of one asset",
    heads.AliasInUse: lambda error: (
        f"`headwater heads promote {error.name} {error.aliases[0]} VERSION` moves the alias"
    ),
    stored.UnknownTask: "`headwater ingest SOURCE --task NAME` stores labels of a task",
    stored.DiskFull: "--store puts the store elsewhere",
    stored.NoRoom: "--store puts the store elsewhere; without --tokens, only vectors are written",
    encoders.AdapterMissing: "HEADWATER_ADAPTERS names the folder of adapters",
    heads.NoVectors: _vectors,
    heads.NoTokens: _tokens,
    heads.NoDiskSpace: "the variable TMPDIR names another folder for temporary files",
    heads.NotCompared: _compared,
    heads.NameTaken: "--task gives the clustering another name",
    heads.UnknownHead: _head,
    heads.UnknownVersion: _head,
    heads.UnknownAlias: _head,
    heads.UnknownClustering: "`headwater cluster --task NAME` makes one",
    ServiceDown: "`headwater up` starts both services; --url names another address",
    RemoteProblem: _remote,
    jobs.NameInUse: "--name gives these vectors another name; --source states what made them",
    jobs.NothingInCommon: "--add states that the same network made both; --name gives these vectors another name",
    jobs.VectorsRefused: "--name gives these vectors another name",
    jobs.NothingToReview: lambda error: f"run `headwater backfill --encoder {error.encoder}` first",
    heads.TooManyPairs: "--threshold X sets it; without it, one is proposed from the vectors",
    jobs.OutputExists: "--overwrite replaces it; --out names another file",
    encoders.NoNetwork: "`headwater import-vectors FILE --name NAME` adds vectors to it",
    jobs.NoRay: "--ray-address names a running cluster; without it, this machine is used",
    jobs.NoWorkerFits: "--cpus and --gpus set the size of a worker",
    Unguarded: "`headwater keys new` makes a key, HEADWATER_KEYS names those that count; if you trust everyone who "
    "reaches the address, --insecure or HEADWATER_INSECURE=true does without",
    BadKeys: "`headwater keys new` prints a key and its line",
    PortTaken: "--embedding-port and --classification-port choose other ports",
}
"""The hint for each type of error, or a function from the error to its hint; subclasses inherit it."""

REMOTE_HINTS = {
    "unknown_head": "`headwater heads list` lists the heads of this machine; --head chooses one",
    "no_texts": "leave --labels out, or train a head of kind bilinear, or zeroshot with --set blend=0",
    "no_outlier_score": "leave --max-outlier out",
    "missing_key": "HEADWATER_KEY has the key, or names a file that holds it",
    "bad_key": "HEADWATER_KEY has the key, or names a file that holds it",
    "role_too_low": "`headwater keys new --role ROLE` makes a key with another role",
    "service_down": "`headwater up` starts both services",
}
"""The hint for the code of an error that a service answered."""

REASON_HINTS = {
    "too_long": "HEADWATER_MAX_SECONDS, HEADWATER_MAX_SAMPLES and HEADWATER_MAX_DECODE_SECONDS set the limits",
    "too_many_pixels": "HEADWATER_MAX_PIXELS and HEADWATER_MAX_SIDE set the limits",
    "too_large": "HEADWATER_MAX_FILE_BYTES sets the limit",
    "wrong_modality": "--modality names the modality of files whose first bytes do not show it",
}
"""The hint for the reason of a quarantined item."""


def message(error: Exception) -> str:
    """Return what went wrong, in one line."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; this command needs: {extras.installing(error.name or '')}"
    return str(error) or type(error).__name__


def hint(error: Exception) -> str:
    """Return the hint for `error` from the nearest of its types in `HINTS`; empty if there is none."""
    found = next((HINTS[kind] for kind in type(error).__mro__ if kind in HINTS), "")
    return found if isinstance(found, str) else found(error)


def _setting(location: tuple[int | str, ...], reason: str, value: object, given: Mapping[str, object]) -> str:
    """Return the option or the variable that has the wrong value, and the reason."""
    reason = reason.removeprefix("Value error, ")
    if not location:
        return reason
    name = str(location[0])
    if name in given:
        return f"--{name.replace('_', '-')} {given[name]}: {reason}"
    return f"{variable(name)}={value}: {reason}"
