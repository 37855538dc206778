"""Labelled vectors as an Arrow table, which pandas, polars and DuckDB read without a copy of the vectors."""

import pyarrow as pa

from store import Matrix


def to_arrow(matrix: Matrix) -> pa.Table:
    """Return the rows of `matrix` with the columns id, labels (list<string>), split, vector (float32, fixed length)."""
    values = pa.array(matrix.X.reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(values, matrix.X.shape[1])
    return pa.table(
        {
            "id": pa.array(matrix.ids, pa.string()),
            "labels": pa.array(matrix.y, pa.list_(pa.string())),
            "split": pa.array(matrix.splits.tolist(), pa.string()),
            "vector": vectors,
        }
    )
