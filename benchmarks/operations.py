"""Floating-point operations: how many XLA counts in a function, and how many a second a large matrix product has.

A matrix product is the kindest thing that one can ask of a processor. The rate of a training step against it says how
much of the machine the step uses, whatever the machine is.
"""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

PRODUCT_EDGE = {"cpu": 2048}  # of the square matrices; elsewhere ACCELERATOR_EDGE
ACCELERATOR_EDGE = 8192


def counted(stage: Any) -> float | None:
    """XLA's count of the floating-point operations of a lowered or a compiled function.

    A multiplication and an addition are two. The body of a loop counts once. What a compiled function hands to a
    library, as GPUs do with convolutions, may not be counted; a lowered one is counted as it was written.

    Returns:
        The count, or None where there is none.
    """
    analysis = stage.cost_analysis()
    flops = (analysis or {}).get("flops", 0.0)
    return float(flops) if flops > 0 else None


def product_rate(dtype: str, *, edge: int | None = None, seconds: float = 2.0) -> float:
    """Operations a second, 2 n³ a product, of multiplying n×n matrices on the default device with default precision.

    The median of repeated products of the same matrices, not the best of them, since a step is timed so too.

    Args:
        dtype: of the matrices, "float32" or "bfloat16".
        edge: n; by default what suits the device.
        seconds: for how long to repeat; three times at least.
    """
    if edge is None:
        edge = PRODUCT_EDGE.get(jax.default_backend(), ACCELERATOR_EDGE)
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (edge, edge), jnp.dtype(dtype)) for key in keys)
    multiply = jax.jit(jnp.matmul).lower(a, b).compile()
    multiply(a, b).block_until_ready()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        clock = time.perf_counter()
        multiply(a, b).block_until_ready()
        times.append(time.perf_counter() - clock)
    return 2 * edge**3 / statistics.median(times)
