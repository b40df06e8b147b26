"""The factor grid: every combination of the factors' values, numbered."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Int

from tripod_lite.checks import check_below, check_integers


@dataclass(frozen=True)
class FactorGrid:
    """Every combination of factor values, numbered in mixed radix with the last factor fastest.

        index = Σ_k factors_k · stride_k,    stride_k = Π_{l > k} size_l

    Attributes:
        names: the factors', in storage order.
        sizes: how many values each factor has.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.sizes) or not self.sizes:
            raise ValueError(f"names and sizes must have one entry a factor, got {self.names} and {self.sizes}")
        if min(self.sizes) < 1:
            raise ValueError(f"sizes must be at least 1, got {self.sizes}")
        if len(self) > np.iinfo(np.int32).max:
            raise ValueError(f"a grid must have fewer than 2**31 points, but sizes {self.sizes} make {len(self)}")

    def __len__(self) -> int:
        return math.prod(self.sizes)

    @property
    def strides(self) -> tuple[int, ...]:
        """How far apart the numbers of two neighboring values of each factor are."""
        return tuple(math.prod(self.sizes[k + 1 :]) for k in range(len(self.sizes)))

    def check(self, factors: npt.ArrayLike) -> Int[Array, "n n_s"]:
        """The rows as int32, if all are on the grid.

        Raises:
            TypeError: not integers.
            ValueError: not of shape (n, n_s), or a value that its factor does not have.
        """
        rows = check_integers("factors", factors, 2)
        if rows.shape[1] != len(self.sizes):
            wanted = f"(n, {len(self.sizes)}), a column for each of {', '.join(self.names)}"
            raise ValueError(f"factors must have shape {wanted}; got {rows.shape}")
        check_below("factors", rows, self.sizes)
        return jnp.asarray(rows, jnp.int32)

    def index(self, factors: npt.ArrayLike) -> Int[Array, " n"]:
        """Numbers of factor rows, (n, n_s) to (n,); the inverse of `factors`. Raises as `check` does."""
        return jnp.sum(self.check(factors) * jnp.asarray(self.strides, jnp.int32)[None, :], axis=1)

    def factors(self, index: npt.ArrayLike) -> Int[Array, "n n_s"]:
        """Factor rows of numbers, (n,) to (n, n_s); the inverse of `index`.

        Raises:
            TypeError: not integers.
            ValueError: not of shape (n,), or a number that is not on the grid.
        """
        index = check_integers("index", index, 1)
        check_below("index", index, len(self))
        return self.unravel(jnp.asarray(index, jnp.int32))

    def unravel(self, index: Int[Array, " n"]) -> Int[Array, "n n_s"]:
        """As `factors`, for numbers known to be on the grid."""
        strides, sizes = jnp.asarray(self.strides, jnp.int32), jnp.asarray(self.sizes, jnp.int32)
        return index[:, None] // strides[None, :] % sizes[None, :]
