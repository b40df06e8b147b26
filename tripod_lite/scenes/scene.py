"""A scene: named factors with their values, and how a picture follows from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, UInt8

from tripod_lite.checks import check_count

# How many pictures are drawn before they become 8-bit ones, which bounds the memory.
_CHUNK = 512


def evenly(first: float, last: float, n: int) -> tuple[float, ...]:
    """N values from first to last, for a factor."""
    return tuple(first + (last - first) * k / (n - 1) for k in range(n))


@dataclass(frozen=True, eq=False)
class Scene:
    """The procedural twin of a benchmark.

    Attributes:
        name: the benchmark's.
        factors: each factor's values, in storage order, the last fastest. Hashing is by identity, so leave it as it is.
        draw: `draw(values, image_size)`: red, green and blue, shape (n, h, w, 3), of values (n, n_s); about in [0, 1].
        continuous: the factors whose values between those of the grid are pictures of the same kind.
        variant: which of the benchmark's variants this is; "" where there is one, or for the default.
    """

    name: str
    factors: Mapping[str, tuple[float, ...]]
    draw: Callable[[Float[Array, "n n_s"], int], Float[Array, "n h w 3"]]
    continuous: tuple[str, ...] = ()
    variant: str = ""

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The factors' names in storage order."""
        return tuple(self.factors)

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """How many values each factor has."""
        return tuple(len(values) for values in self.factors.values())

    def values(self, factors: Int[Array, "n n_s"]) -> Float[Array, "n n_s"]:
        """The values that class numbers stand for; numbers off the grid are not looked for (`Twin` does)."""
        columns = [jnp.asarray(values)[factors[:, k]] for k, values in enumerate(self.factors.values())]
        return jnp.stack(columns, axis=1)

    def render(self, values: Float[Array, "n n_s"] | ArrayLike, image_size: int) -> Float[Array, "n h w 3"]:
        """Pictures of any values, on the grid, between its points or beyond.

        Differentiable in all of them, but for the binary dSprites.

        Args:
            values: floating point, shape (n, n_s): a row a picture, a column a factor, in the units of `factors`.
            image_size: height and width in pixels.

        Returns:
            Red, green and blue in [0, 1], shape (n, image_size, image_size, 3), in the precision of `values`.

        Raises:
            TypeError: values that are not floating point, a size that is not an integer.
            ValueError: a wrong shape, a size below 1.
        """
        check_count("image_size", image_size, 1)
        values = jnp.asarray(values)
        if not jnp.issubdtype(values.dtype, jnp.floating):
            raise TypeError(f"values must be floating point, got dtype {values.dtype}")
        if values.ndim != 2 or values.shape[1] != len(self.factors):
            raise ValueError(f"values must have shape (n, {len(self.factors)}), a column a factor, got {values.shape}")
        with jax.default_matmul_precision("highest"):  # accelerators have faster products that would move edges
            return jnp.clip(self.draw(values, image_size), 0.0, 1.0)

    def images(self, factors: Int[Array, "n n_s"], image_size: int) -> UInt8[Array, "n h w 3"]:
        """Pictures of class numbers in 8 bits; safe under `jax.jit`, in memory little larger than the result."""
        return self.images_of(self.values(factors), image_size)

    def images_of(self, values: Float[Array, "n n_s"], image_size: int) -> UInt8[Array, "n h w 3"]:
        """As `images`, of any values."""

        def draw(chunk: Float[Array, "m n_s"]) -> UInt8[Array, "m h w 3"]:
            return jnp.round(255.0 * self.render(chunk, image_size)).astype(jnp.uint8)

        n, n_s = values.shape
        if n <= _CHUNK:
            return draw(values)
        whole = n - n % _CHUNK
        chunks = jax.lax.map(draw, values[:whole].reshape(-1, _CHUNK, n_s))
        images = chunks.reshape(whole, image_size, image_size, 3)
        return images if whole == n else jnp.concatenate([images, draw(values[whole:])])
