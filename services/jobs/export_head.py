"""The job that writes a published head as an ONNX file, alone or behind its encoder. The file is tried on real rows."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from embedder import folders
from embedder.encoder import Encoder
from embedder.errors import ExportFailed
from services.jobs.errors import NothingToCheck
from services.jobs.out_file import require_free
from store import Features, Store
from store.rows import Column, strings

CHECKED_ROWS = 256
"""Number of stored rows on which the file is tried, spread evenly over the table."""


def export_head(
    store: Store, head: PublishedHead, out: Path, encoder: Encoder | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write `head` into the file `out`, which appears when it is complete, and describe it.

    ONNX Runtime must give the head's own probabilities for stored rows; otherwise nothing is written.

    Args:
        encoder: the encoder of the head, on torch in fp32, to write both in one graph; None for the head alone.
        overwrite: replace an existing file.

    Raises:
        OutputExists, NothingToCheck, ExportDiffers, ExportTooLarge.
        ExportFailed: an encoder that cannot be exported, or a head on several encoders with one.
        UnknownFeatures: nothing is stored of an encoder of the head.
        ModuleNotFoundError: the extra ``export`` is not installed.
    """
    import onnx  # noqa: F401  # a missing package fails here, not after minutes of work
    import onnxruntime  # noqa: F401

    from classifiers.export import model

    require_free(out, overwrite=overwrite)
    rows = stored_rows(store, head)
    exported, checked = model.of_vectors(head, rows), len(rows)
    if encoder is not None:
        exported, checked = _with_encoder(head, encoder)
    out.parent.mkdir(parents=True, exist_ok=True)
    folders.write_file(out, exported.model.SerializeToString())
    return {
        "file": str(out),
        "head": f"{head.name}@{head.version}",
        "kind": head.head.kind,
        "classes": len(head.head.classes),
        "inputs": _ports(exported.model.graph.input),
        "outputs": _ports(exported.model.graph.output),
        "checked_rows": checked,
        "largest_difference": exported.difference,
        "bytes": out.stat().st_size,
    }


def stored_rows(store: Store, head: PublishedHead) -> NDArray[np.float32]:
    """Return stored rows (n, d) of the head's encoders side by side, 1 ≤ n ≤ `CHECKED_ROWS`.

    Raises UnknownFeatures; NothingToCheck if no asset has vectors of all its encoders.
    """
    tables = [_table(store, each) for each in head.inputs]
    ids: Column = tables[0].ids().combine_chunks()
    for table in tables[1:]:
        ids = ids.filter(pc.is_in(ids, value_set=table.ids().combine_chunks()))
    if not len(ids):
        names = ", ".join(each.name for each in head.manifest.encoders)
        raise NothingToCheck(f"the store holds no asset with vectors of {names}, on which the file could be tried")
    places = np.unique(np.linspace(0, len(ids) - 1, CHECKED_ROWS).astype(int))
    some = strings(ids.take(places))
    return np.concatenate([table.get(some)[1].reshape(len(some), -1) for table in tables], axis=1)


def _table(store: Store, wanted: Input) -> Features:
    return (store.tokens if wanted.tokens else store.features)(wanted.fingerprint)


def _with_encoder(head: PublishedHead, encoder: Encoder) -> tuple[Any, int]:
    """Return encoder and head in one model, and the number of rows on which it was tried."""
    import onnx

    from classifiers.export import model
    from embedder.engines import onnx as encoders

    if len(head.inputs) > 1:
        raise ExportFailed(
            f"{head.name} reads {len(head.inputs)} encoders, each of which prepares images in its own way; write the "
            "head alone, and each encoder by itself"
        )
    head.require([Input(encoder.spec.fingerprint, head.head.reads_tokens)])
    with tempfile.TemporaryDirectory() as folder:
        spec = encoders.export(encoder, Path(folder) / "encoder")
        name = "tokens" if head.head.reads_tokens else _first(spec["networks"], encoder)
        network = spec["networks"][name]
        graph = onnx.load(Path(folder) / "encoder" / network["file"])
        check = np.load(Path(folder) / "encoder" / "check.npz")
    inputs = {each["name"]: check[f"{name}.{each['name']}"] for each in network["inputs"]}
    output = network["outputs"][-1]["name"]
    more = {"encoder_spec": json.dumps(spec["spec"], ensure_ascii=False)}
    return model.of_encoder(head, graph, output, inputs, more), len(next(iter(inputs.values())))


def _first(networks: Mapping[str, Any], encoder: Encoder) -> str:
    """Return the name of the network of images; without one, of the first that gives vectors of files."""
    named = [each for each in networks if each not in ("text", "tokens")]
    if not named:
        raise ExportFailed(f"{encoder.name} has no network that embeds files")
    return "image" if "image" in named else named[0]


def _ports(ports: Any) -> dict[str, list[str | int]]:
    """Return the shape of each input or output by name; a size that varies is a text."""
    return {port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim] for port in ports}
