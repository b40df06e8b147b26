"""Operations are counted as on paper, and the rate of a product is that count over its time."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from benchmarks import operations


@pytest.fixture
def product():
    a, b = jnp.ones((32, 48)), jnp.ones((48, 16))
    return jax.jit(jnp.matmul).lower(a, b)


def test_a_product_of_matrices_has_two_operations_for_each_triple_of_indices(product):
    assert operations.counted(product) == 2 * 32 * 48 * 16
    assert operations.counted(product.compile()) == 2 * 32 * 48 * 16


def test_padding_of_a_convolution_is_no_work():
    convolve = jax.jit(lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME"))
    lowered = convolve.lower(jnp.ones((5, 3, 4, 4)), jnp.ones((7, 3, 3, 3)))
    taps = (2 + 3 + 3 + 2) ** 2  # of 3×3 windows within 4×4 pixels
    assert operations.counted(lowered) == 2 * 5 * 7 * 3 * taps


@pytest.mark.parametrize("analysis", [None, {}, {"flops": 0.0}, {"flops": -1.0}])
def test_no_count_is_none(analysis):
    class Stage:
        def cost_analysis(self):
            return analysis

    assert operations.counted(Stage()) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_rate_of_a_product_is_its_operations_over_the_median_time(dtype, monkeypatch):
    ticks = iter([0, 1, 3, 3, 7, 7, 10, 10])  # the start, products of 2, 4 and 3 seconds, and the end
    monkeypatch.setattr(operations, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert operations.product_rate(dtype, edge=8, seconds=0) == pytest.approx(2 * 8**3 / 3)
