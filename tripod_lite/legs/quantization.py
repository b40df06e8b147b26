"""Leg 1: finite scalar quantization onto a fixed grid, with a straight-through gradient.

Source: Hsu et al., *Tripod* (ICML 2024); the grid is that of Mentzer et al., *Finite Scalar Quantization* (ICLR 2024).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


class Quantized(NamedTuple):
    """One batch of latents, before and after the grid.

    Attributes:
        continuous: c = tanh z̃ in (-1, 1), shape (..., n_z).
        quantized: z, the nearest grid point in [-1, 1], shape (..., n_z). Its gradient is that of `continuous`.
        indices: the grid point's number in {0, …, L_j - 1}, int32, shape (..., n_z).
    """

    continuous: Float[Array, "*batch n_z"]
    quantized: Float[Array, "*batch n_z"]
    indices: Int[Array, "*batch n_z"]


def straight_through(value: Float[Array, "*s"], carrier: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """`value` in the forward pass, the gradient of `carrier` in the backward pass.

    Written as value + (carrier - carrier), so that the forward value is exact to the last bit.
    """
    return jax.lax.stop_gradient(value) + (carrier - jax.lax.stop_gradient(carrier))


def check_levels(levels: Any, n_z: int) -> np.ndarray:
    """Levels as an integer array of shape (n_z,).

    Raises:
        TypeError: levels that are not integers.
        ValueError: a level below 2, or a sequence whose length is not n_z.
    """
    try:
        array = np.asarray(levels)
    except ValueError:  # ragged
        array = np.asarray(levels, dtype=object)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"levels must be an integer or a sequence of n_z integers, got {levels!r}")
    if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != n_z):
        raise ValueError(f"levels must be one integer or n_z = {n_z} of them, got shape {array.shape}")
    if array.size and array.min() < 2:
        raise ValueError(f"levels must be at least 2 (a grid needs both its ends), got {array.min()}")
    return np.broadcast_to(array, (n_z,))


def quantize(z: Float[Array, "*batch n_z"] | ArrayLike, levels: ArrayLike | Sequence[int] = 12) -> Quantized:
    """Squash latents into (-1, 1) and round each to a grid of evenly spaced values.

        c_j = tanh z̃_j
        z_j = 2 · round((c_j + 1)/2 · (L_j - 1)) / (L_j - 1) - 1

    Both ends ±1 belong to the grid. Rounding has zero gradient almost everywhere, so the backward pass
    uses ∂z/∂z̃ = ∂tanh/∂z̃ (straight-through).

    Args:
        z: encoder outputs z̃, unbounded, floating point, shape (..., n_z).
        levels: L, the number of grid values of every latent, or one number a latent, shape (n_z,); each at least 2.

    Returns:
        `Quantized(continuous, quantized, indices)`, each of shape (..., n_z).

    Raises:
        TypeError: z is not floating point, or levels are not integers.
        ValueError: z has no latent axis, or levels are below 2 or of another length than n_z.

    Derived in the book's chapter Grids.
    """
    z = jnp.asarray(z)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"z must be floating point, got {z.dtype}")
    if z.ndim == 0:
        raise ValueError("z must have shape (..., n_z), got a scalar")
    steps = check_levels(levels, z.shape[-1]) - 1
    c = jnp.tanh(z)
    latents = (1,) * (z.ndim - 1) + (-1,)
    exact = c.astype(jnp.promote_types(c.dtype, jnp.float32))  # half precision has no room for a few hundred levels
    indices = jnp.round((exact + 1) * jnp.asarray(steps / 2, exact.dtype).reshape(latents)).astype(jnp.int32)
    # A table, not arithmetic: compiled, a division by a constant becomes a product, and the end 1 is missed by a bit.
    grid = np.concatenate([np.zeros(0), *((2 * np.arange(s + 1) - s) / s for s in steps)])
    first = np.cumsum(steps + 1) - (steps + 1)  # where each latent's values start in the table
    nearest = jnp.asarray(grid, c.dtype)[indices + jnp.asarray(first, jnp.int32).reshape(latents)]
    return Quantized(c, straight_through(nearest, c), indices)
