import subprocess
import sys

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sweeps.store.columns import equals, floats, integers, rows

WORDS = st.sampled_from(["finished", "stopped", "", None])


def tables(values: list[object], kind: pa.DataType, cut: int) -> list[pa.Table]:
    """The same column whole, in two pieces, and as a slice of a longer one."""
    whole = pa.table({"x": pa.array(values, kind)})
    longer = pa.table({"x": pa.array([*values[:1], *values, *values[:2]], kind)})
    in_two = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    return [whole, in_two, longer.slice(min(1, len(values)), len(values)), pa.concat_tables([whole, whole.slice(0, 0)])]


@given(st.lists(st.none() | st.floats(allow_nan=False), max_size=40), st.integers(0, 40))
def test_floats_are_those_of_the_column(values: list[float | None], cut: int) -> None:
    expected = [np.nan if value is None else value for value in values]
    for table in tables(list(values), pa.float64(), cut):
        np.testing.assert_array_equal(floats(table, "x"), np.array(expected, dtype=float))


@given(st.lists(st.integers(-(2**53), 2**53), max_size=40), st.integers(0, 40))
def test_whole_numbers_are_those_of_the_column(values: list[int], cut: int) -> None:
    for table in tables(list(values), pa.int64(), cut):
        assert integers(table, "x").tolist() == values
        assert floats(table, "x").tolist() == values


@given(st.lists(WORDS, max_size=40), st.integers(0, 40))
def test_texts_are_compared_one_by_one(values: list[str | None], cut: int) -> None:
    for table in tables(list(values), pa.string(), cut):
        for word in ("finished", "", "failed"):
            assert equals(table, "x", word).tolist() == [value == word for value in values]


@given(st.lists(st.booleans(), max_size=40))
def test_rows_are_chosen_by_place_and_by_truth(keep: list[bool]) -> None:
    table = pa.table({"x": pa.array(range(len(keep)), pa.int64())})
    wanted = [place for place, kept in enumerate(keep) if kept]
    assert rows(table, np.array(keep, dtype=bool)).column("x").to_pylist() == wanted
    assert rows(table, np.array(wanted[::-1], dtype=int)).column("x").to_pylist() == wanted[::-1]


def test_pandas_is_not_imported() -> None:
    code = (
        "import pyarrow as pa, sys; t = pa.Table.from_arrays([pa.nulls(3, pa.float64())], ['x']); "
        "from sweeps.store.columns import *; rows(t, floats(t, 'x') != 0); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
