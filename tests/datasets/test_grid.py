"""The factor grid's numbering."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tripod_lite.datasets import FactorGrid

SHAPES3D = FactorGrid(("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"), (10, 10, 10, 8, 4, 15))
sizes = st.lists(st.integers(1, 9), min_size=4, max_size=4).map(tuple)


def grid_of(sizes):
    return FactorGrid(tuple(f"f{k}" for k in range(len(sizes))), sizes)


def test_storage_order_is_that_of_the_benchmark():
    """By hand: the last factor is the fastest, and strides are products of the sizes after it."""
    assert len(SHAPES3D) == 480_000
    assert SHAPES3D.strides == (48_000, 4_800, 480, 60, 15, 1)
    rows = np.array([[0, 0, 0, 0, 0, 14], [0, 0, 0, 0, 1, 0], [9, 9, 9, 7, 3, 14], [1, 2, 3, 4, 2, 5]])
    numbers = SHAPES3D.index(rows)
    np.testing.assert_array_equal(numbers, [14, 15, 479_999, 48_000 + 9_600 + 1_440 + 240 + 30 + 5])
    np.testing.assert_array_equal(SHAPES3D.factors(numbers), rows)
    assert numbers.dtype == SHAPES3D.factors(numbers).dtype == jnp.int32


@given(sizes)
@settings(max_examples=30, deadline=None)
def test_numbers_are_numpy_s_raveled_indices(sizes):
    grid = grid_of(sizes)
    numbers = np.linspace(0, len(grid) - 1, 50).astype(int)
    np.testing.assert_array_equal(grid.factors(numbers), np.stack(np.unravel_index(numbers, sizes), axis=1))


@given(sizes, st.data())
@settings(max_examples=30, deadline=None)
def test_index_and_factors_are_inverses(sizes, data):
    grid = grid_of(sizes)
    numbers = np.array(data.draw(st.lists(st.integers(0, len(grid) - 1), min_size=10, max_size=10)))
    np.testing.assert_array_equal(grid.index(grid.factors(numbers)), numbers)
    rows = np.array([data.draw(st.tuples(*(st.integers(0, size - 1) for size in sizes)))])
    np.testing.assert_array_equal(grid.factors(grid.index(rows)), rows)


def test_both_ways_work_under_jit():
    numbers = jnp.array([0, 7, 479_999])
    there_and_back = jax.jit(lambda x: SHAPES3D.index(SHAPES3D.factors(x)))
    np.testing.assert_array_equal(there_and_back(numbers), numbers)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int16])
def test_any_integer_dtype_will_do(dtype):
    np.testing.assert_array_equal(SHAPES3D.index(np.array([[9, 9, 9, 7, 3, 14]], dtype)), [479_999])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[0, 0, 0, 0, 0, 15]], ValueError, r"factors\[0, 5\] must be at least 0 and below 15, got 15"),
        ([[0] * 6, [0, -1, 0, 0, 0, 0]], ValueError, r"factors\[1, 1\] must be at least 0 and below 10, got -1"),
        ([[2**40, 0, 0, 0, 0, 0]], ValueError, r"factors\[0, 0\]"),
        ([[0, 0, 0]], ValueError, r"factors must have shape \(n, 6\).*floor_hue.*got \(1, 3\)"),
        ([0, 0, 0, 0, 0, 0], ValueError, r"factors must have 2 dimensions, got shape \(6,\)"),
        ([[0.0] * 6], TypeError, "factors must be integers, got dtype float64"),
        (np.zeros((1, 6), bool), TypeError, "factors must be integers, got dtype bool"),
    ],
)
def test_rows_off_the_grid_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        SHAPES3D.index(rows)


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ([480_000], ValueError, r"index\[0\] must be at least 0 and below 480000, got 480000"),
        ([3, -1], ValueError, r"index\[1\]"),
        ([[3]], ValueError, "index must have 1 dimension, got"),
        ([0.5], TypeError, "index must be integers"),
    ],
)
def test_numbers_off_the_grid_are_refused(numbers, error, message):
    with pytest.raises(error, match=message):
        SHAPES3D.factors(numbers)


@pytest.mark.parametrize(
    ("names", "sizes", "message"),
    [
        (("a",), (2, 3), "one entry a factor"),
        ((), (), "one entry a factor"),
        (("a", "b"), (2, 0), "sizes must be at least 1"),
        (("a", "b"), (2**16, 2**16), r"fewer than 2\*\*31 points"),
    ],
)
def test_impossible_grids_are_refused(names, sizes, message):
    with pytest.raises(ValueError, match=message):
        FactorGrid(names, sizes)
