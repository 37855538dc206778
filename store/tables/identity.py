"""The identity of a feature table: which encoder's features it holds, in which form and dtype.

The table carries its identity as JSON in its own Arrow metadata, so a copied or exported table is still complete.
"""

import base64
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedder.spec import EncoderSpec
from store.errors import FeaturesMismatch, WrongSchema
from store.schema import FORMAT, Dtype, features_schema

Form = Literal["vector", "tokens"]
"""The form of an asset's features: one pooled vector, or its tokens."""

PREFIX: dict[Form, str] = {"vector": "features_", "tokens": "tokens_"}
"""Table name prefix of each form; the first 12 digits of the fingerprint follow."""

_METADATA = b"headwater"
_LEAST_COSINE = 0.999
"""Smallest cosine between the probe vectors of two engines that may write to the same table."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The encoder, form and dtype of a feature table.

    Attributes:
        name: name of the encoder.
        probe: float32 (m, d), the encoder's vectors of the fixed probe batch when the table was created.
    """

    form: Form
    name: str
    spec: EncoderSpec
    dtype: Dtype
    probe: NDArray[np.float32]

    @property
    def table(self) -> str:
        """Name of the table."""
        return PREFIX[self.form] + self.spec.fingerprint[:12]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (d,) for a vector, (P, F) for tokens. Raises FeaturesMismatch if there are none."""
        if self.form == "vector":
            return (self.spec.dim,)
        if self.spec.tokens is None:
            raise FeaturesMismatch(f"encoder {self.name!r} gives no tokens; store its vectors instead")
        return self.spec.tokens

    def schema(self) -> pa.Schema:
        """The table's Arrow schema, with this identity in its metadata."""
        probe = np.ascontiguousarray(self.probe, "<f4")
        record = {
            "format": FORMAT,
            "encoder": self.name,
            "fingerprint": self.spec.fingerprint,
            "spec": self.spec.canonical_json(),
            "probe_shape": probe.shape,
            "probe": base64.b64encode(probe.tobytes()).decode(),
        }
        return features_schema(self.form, math.prod(self.shape), self.dtype, {_METADATA.decode(): json.dumps(record)})

    @classmethod
    def of(cls, table: str, schema: pa.Schema) -> "Identity":
        """Read the identity from a table's stored schema. Raises WrongSchema if Headwater did not create the table."""
        form: Form = "tokens" if table.startswith(PREFIX["tokens"]) else "vector"
        try:
            record: dict[str, Any] = json.loads((schema.metadata or {})[_METADATA])
            layout, spec = record["format"], EncoderSpec.from_json(record["spec"])
            flat = np.frombuffer(base64.b64decode(record["probe"]), "<f4")
            value = schema.field(form).type.value_type
            dtype: Dtype = "float16" if value == pa.float16() else "float32"
            identity = cls(form, record["encoder"], spec, dtype, flat.reshape(record["probe_shape"]))
            if not (identity.probe.ndim == 2 and np.isfinite(identity.probe).all()):
                raise ValueError("its probe is no matrix of finite numbers")
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise WrongSchema(
                f"table {table!r} does not say which encoder it holds ({error}), so Headwater did not create it: "
                "open another folder, or move that table away"
            ) from error
        if layout != FORMAT:
            raise WrongSchema(f"table {table!r} has layout {layout}; this version reads {FORMAT}: update Headwater")
        if record["fingerprint"] != spec.fingerprint:
            raise WrongSchema(
                f"table {table!r} is damaged: its fingerprint {record['fingerprint']} is not that of its spec"
            )
        return identity

    def require(self, wanted: "Identity", *, any_dtype: bool) -> None:
        """Raise FeaturesMismatch unless `wanted` may write to the table of this identity.

        They agree if their specs are equal, their probe vectors have a cosine of at least 0.999, and (unless
        `any_dtype`) their dtypes are equal.
        """
        if self.spec != wanted.spec:
            raise FeaturesMismatch(
                f"table {self.table!r} holds the encoder with fingerprint {self.spec.fingerprint}; that of "
                f"{wanted.name!r}, {wanted.spec.fingerprint}, starts with the same digits: use another store for one"
            )
        if self.dtype != wanted.dtype and not any_dtype:
            raise FeaturesMismatch(
                f"table {self.table!r} stores {self.name!r} as {self.dtype}, not {wanted.dtype}: leave the dtype out, "
                "or use another store"
            )
        if self.probe.shape != wanted.probe.shape:
            raise FeaturesMismatch(
                f"the stored probe of {self.name!r} has shape {self.probe.shape}, the given one {wanted.probe.shape}; "
                "use another store, or the version of Headwater that wrote this one"
            )
        worst = least_cosine(self.probe, wanted.probe)
        if not worst >= _LEAST_COSINE:
            raise FeaturesMismatch(
                f"this encoder's probe differs from the one stored for {self.name!r}: cosine {worst:.5f}, at least "
                f"{_LEAST_COSINE} is needed; its weights or its preprocessing differ from those that made the "
                "table: restore them, or use another store"
            )


def least_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the smallest cosine between corresponding rows of `a` and `b` (m, d); 1.0 if m is 0."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.min(np.sum(a * b, axis=1) / norms, initial=1.0))
