"""Twins: data sets that are drawn as they are asked for."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from tripod_lite.checks import check_count
from tripod_lite.datasets.base import Dataset, Factors, Images
from tripod_lite.datasets.grid import FactorGrid
from tripod_lite.scenes import Scene

# Images that a CPU draws at once; the larger blocks are for more than so many, which would be too many small ones.
_BLOCK, _LARGE_BLOCK, _MANY = 16, 512, 2048


class Twin(Dataset):
    """The whole factor grid of a scene. A row's number is its factors' index on the grid.

    Attributes:
        scene: what is drawn.
        grid: the factor grid.
    """

    def __init__(self, scene: Scene, image_size: int = 64) -> None:
        """Images of `scene`, `image_size` (at least 8) pixels high and wide.

        Raises:
            TypeError: image_size is not an integer.
            ValueError: image_size below 8.
        """
        self.image_size = check_count("image_size", image_size, 8)
        self.scene, self.grid = scene, FactorGrid(scene.factor_names, scene.factor_sizes)
        self.name, self.factor_names, self.factor_sizes = scene.name, scene.factor_names, scene.factor_sizes

    def __len__(self) -> int:
        return len(self.grid)

    def index(self, factors: npt.ArrayLike) -> Int[Array, " n"]:
        """The rows of given factors; see `FactorGrid.index`."""
        return self.grid.index(factors)

    def factors(self, index: npt.ArrayLike) -> Factors:
        """The factors of given rows; see `FactorGrid.factors`."""
        return self.grid.factors(index)

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        factors = self.grid.unravel(rows)
        return self._draw(factors), factors

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """See `Dataset.factors_of`."""
        return self.grid.unravel(rows)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`."""
        return super().identity() | ({"variant": self.scene.variant} if self.scene.variant else {})

    def sample_continuous(self, key: Array, n: int) -> tuple[Images, Float[Array, "n n_s"]]:
        """Random images off the grid: continuous factors are uniform between their first and last value.

        Args:
            key: a JAX random key.
            n: how many; static under `jax.jit`.

        Returns:
            (images, values): uint8 of shape (n, h, w, 3), and the factors' values, float32 of shape (n, n_s), in the
            units of `scene.factors`. Factors that have no values in between, such as shapes, are on the grid.

        Raises:
            TypeError: n is not an integer.
            ValueError: n below 1.
        """
        n = check_count("n", n, 1)
        columns = []
        for name, values, one in zip(
            self.factor_names, self.scene.factors.values(), jax.random.split(key, len(self.factor_names)), strict=True
        ):
            grid = jnp.asarray(values, jnp.float32)
            if name in self.scene.continuous:
                columns.append(jax.random.uniform(one, (n,), jnp.float32, grid.min(), grid.max()))
            else:
                columns.append(jax.random.choice(one, grid, (n,)))
        values = jnp.stack(columns, axis=1)
        return _drawn(partial(_render, self.scene, image_size=self.image_size), values), values

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`; safe under `jax.jit`, where values off the grid go unnoticed."""
        return self._draw(self.grid.check(factors))

    def _draw(self, factors: Factors) -> Images:
        return _drawn(partial(_draw, self.scene, image_size=self.image_size), factors)


def _drawn(draw: Callable[[Array], Images], rows: Array) -> Images:
    """What `draw` gives for all rows. It is compiled for few numbers of rows, since that takes seconds.

    On accelerators and under `jax.jit`: 16, 32, … 512 rows, or a multiple of 512, all at once. A CPU draws one block
    after another, nearly as fast.
    """
    n = len(rows)
    if jax.default_backend() == "cpu":
        size = _BLOCK if n <= _MANY else _LARGE_BLOCK
        padded = jnp.pad(rows, ((0, -n % size if n else size), (0, 0)))
        if not isinstance(padded, jax.core.Tracer):  # `rows` may be constants of a program that is being traced
            blocks = [draw(padded[at : at + size]) for at in range(0, len(padded), size)]
            return jnp.concatenate(blocks)[:n]
    room = max(16, 1 << (n - 1).bit_length()) if n <= 512 else -(-n // 512) * 512
    return draw(jnp.pad(rows, ((0, room - n), (0, 0))))[:n]


@partial(jax.jit, static_argnames=("scene", "image_size"))
def _draw(scene: Scene, factors: Factors, image_size: int) -> Images:
    return scene.images(factors, image_size)


@partial(jax.jit, static_argnames=("scene", "image_size"))
def _render(scene: Scene, values: Float[Array, "n n_s"], image_size: int) -> Images:
    return scene.images_of(values, image_size)
