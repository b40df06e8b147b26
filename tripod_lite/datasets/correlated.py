"""Data sets in which two factors go together, as they often do outside of benchmarks."""

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Array, Bool, Int

from tripod_lite.checks import check_count
from tripod_lite.datasets.base import Dataset, Factors, Images, Part
from tripod_lite.datasets.grid import FactorGrid


class Correlated(Dataset):
    """The rows of another data set, which must be a full factor grid or a part of one, sampled with two factors tied.

    With probability `strength` both factors of a sample stand at the same place between their first and their last
    value, otherwise they are independent. Each of them alone stays uniform; if both have the same number of values, the
    strength is their correlation coefficient.

    Only `sample` knows of it: rows keep their numbers. `split` gives a training part that is sampled in this way and a
    held-out part that is not, so that scores tell what the correlation did to the model.
    """

    def __init__(self, base: Dataset, first: str, second: str, strength: float) -> None:
        """Tie `second` to `first`.

        Raises:
            TypeError: a strength that is not a number.
            ValueError: an unknown factor, twice the same, a strength outside [0, 1], or rows that are no factor grid.
        """
        self.base = base
        whole = base.whole if isinstance(base, Part) else base
        self._grid = FactorGrid(base.factor_names, base.factor_sizes) if base.factor_names else None
        if self._grid is None or len(self._grid) != len(whole):
            raise ValueError(f"factors can be tied where rows are a full factor grid; those of {base.name} are not")
        for argument, factor in (("first", first), ("second", second)):
            if factor not in base.factor_names:
                raise ValueError(f"{argument} must be one of {', '.join(base.factor_names)}, got {factor!r}")
        if first == second:
            raise ValueError(f"first and second must be two factors, got {first!r} twice")
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            raise TypeError(f"strength must be a number from 0 to 1, got {strength!r}")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {strength}")
        self.name, self.image_size, self.part = base.name, base.image_size, base.part
        self.factor_names, self.factor_sizes = base.factor_names, base.factor_sizes
        self.first, self.second, self.strength = first, second, float(strength)

    def __len__(self) -> int:
        return len(self.base)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`."""
        return self.base.identity() | {"correlated": [self.first, self.second, self.strength]}

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        return self.base.fetch(rows)

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`."""
        return self.base.images(factors)

    def sample(self, key: Array, n: int) -> tuple[Images, Factors]:
        """As `Dataset.sample`, with the two factors tied; rows that are not of this part are drawn again."""
        n = check_count("n", n, 1)
        whole = self.base.whole if isinstance(self.base, Part) else self.base
        start, again = jax.random.split(key)
        if not isinstance(self.base, Part):
            return whole.fetch(self._draw(start, n))

        def redraw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, rows, missing = state
            key, now = jax.random.split(key)
            rows = jnp.where(missing, self._draw(now, n), rows)
            return key, rows, ~self._holds(rows)

        rows = self._draw(start, n)
        first = (again, rows, ~self._holds(rows))
        return whole.fetch(jax.lax.while_loop(lambda state: jnp.any(state[2]), redraw, first)[1])

    def split(self, seed: int = 0, held_out: int | None = None) -> tuple[Dataset, Dataset]:
        """As `Dataset.split`; the training part is correlated, the held-out part is not."""
        train, rest = self.base.split(seed, held_out)
        return Correlated(train, self.first, self.second, self.strength), rest

    def _holds(self, rows: Int[Array, " n"]) -> Bool[Array, " n"]:
        return self.base.holds(rows)

    def _draw(self, key: Array, n: int) -> Int[Array, " n"]:
        """Rows of the whole."""
        places, tied = jax.random.split(key)
        u = jax.random.uniform(places, (n, len(self.factor_sizes)))
        first, second = (self.factor_names.index(name) for name in (self.first, self.second))
        together = jax.random.uniform(tied, (n,)) < self.strength
        u = u.at[:, second].set(jnp.where(together, u[:, first], u[:, second]))
        sizes = jnp.asarray(self.factor_sizes, jnp.int32)
        factors = jnp.minimum((u * sizes[None, :]).astype(jnp.int32), sizes[None, :] - 1)
        return jnp.sum(factors * jnp.asarray(self._grid.strides, jnp.int32)[None, :], axis=1)
