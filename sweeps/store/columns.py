"""Columns of an Arrow table as numpy's arrays, and back: by their buffers.

Arrow's own ways import pandas on first use, which takes longer than reading and judging 100,000 trials.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from pyarrow import Table


def floats(table: Table, name: str) -> np.ndarray:
    """A column of numbers as float64, null as NaN."""
    array = _whole(table, name, pa.float64())
    found = _buffer(array, np.float64)
    validity = array.buffers()[0]
    if validity is None or not array.null_count:
        return found
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
    return np.where(valid[array.offset : array.offset + len(array)], found, np.nan)


def integers(table: Table, name: str) -> np.ndarray:
    """A column of whole numbers without null as int64."""
    return _buffer(_whole(table, name, pa.int64()), np.int64)


def equals(table: Table, name: str, text: str) -> np.ndarray:
    """Which rows have this text in a column, as booleans."""
    encoded = _whole(table, name, pa.string()).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    if text not in words:
        return np.zeros(len(encoded), dtype=bool)
    # A null has no index of its own: what stands in its place is told by the bits of validity.
    places = Table.from_arrays([encoded.indices], ["place"])
    return floats(places, "place") == words.index(text)


def rows(table: Table, which: np.ndarray) -> Table:
    """Some rows, by their places or by a boolean for each."""
    places = np.flatnonzero(which) if which.dtype == bool else which
    buffer = pa.py_buffer(np.ascontiguousarray(places, dtype=np.int64))
    return table.take(pa.Array.from_buffers(pa.int64(), len(places), [None, buffer]))


def concat(tables: Sequence[Table]) -> Table:
    """Tables of the same columns one below the other."""
    return pa.concat_tables([table.select(tables[0].column_names) for table in tables])


def without_moments(table: Table) -> Table:
    """The table without its columns of moments.

    To make one of these an object pyarrow imports pandas, which takes longer than all else that a front needs.
    """
    return table.select([field.name for field in table.schema if not pa.types.is_timestamp(field.type)])


def _whole(table: Table, name: str, kind: pa.DataType) -> pa.Array:
    """A column in one piece."""
    column = table.column(name)
    column = column if column.type == kind else column.cast(kind)
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.nulls(0, kind)


def _buffer(array: pa.Array, kind: type) -> np.ndarray:
    """The values as they lie in memory; of a null anything."""
    if not len(array):
        return np.zeros(0, dtype=kind)
    return np.frombuffer(array.buffers()[1], kind)[array.offset : array.offset + len(array)]
