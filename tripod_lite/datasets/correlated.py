"""Data sets in which two factors go together, as they often do outside of benchmarks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Array, Float, Int

from tripod_lite.datasets.base import Dataset, Factors, Images, Part
from tripod_lite.datasets.twin import Twin


class Correlated(Dataset):
    """The rows of a twin, or of the training part of one, sampled with two factors tied.

    With probability `strength` both factors of a sample stand at the same place between their first and their last
    value, otherwise they are independent. On a whole twin each of them alone stays uniform; if both have the same
    number of values, the strength is their correlation coefficient. In a training part, rows that are held out are
    drawn again.

    Only `rows` and `sample` know of it: rows keep their numbers. `split` and `split_combinations` give a training part
    that is sampled in this way and a held-out part that is not, so that scores tell what the correlation did to the
    model.
    """

    _arrays = ("base", "_left_out")

    def __init__(self, base: Dataset, first: str, second: str, strength: float) -> None:
        """Tie `second` to `first`.

        Raises:
            TypeError: a strength that is not a number.
            ValueError: rows of something else; an unknown factor, or twice the same; a strength outside [0, 1]; a part
                in which hardly a tied row is left.
        """
        whole = base.whole if isinstance(base, Part) and base.part == "train" else base
        if not isinstance(whole, Twin):
            raise ValueError(f"factors can be tied in a twin and in its training part, got {type(base).__name__}")
        for argument, factor in (("first", first), ("second", second)):
            if factor not in base.factor_names:
                raise ValueError(f"{argument} must be one of {', '.join(base.factor_names)}, got {factor!r}")
        if first == second:
            raise ValueError(f"first and second must be two factors, got {first!r} twice")
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            raise TypeError(f"strength must be a number from 0 to 1, got {strength!r}")
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be from 0 to 1, got {strength}")
        self.base = base
        self.name, self.image_size, self.part = base.name, base.image_size, base.part
        self.factor_names, self.factor_sizes = base.factor_names, base.factor_sizes
        self.first, self.second, self.strength = first, second, float(strength)
        self._left_out = base.left_out() if isinstance(base, Part) else jnp.zeros(0, jnp.int32)
        if len(self._left_out):
            drawn = self._draw(jax.random.key(0), 4096, left_out=self._left_out[:0])
            share = float(jnp.mean(base.holds(drawn)))
            if share < 0.01:
                raise ValueError(f"of rows with {first} and {second} tied only {share:.1%} are in this part")

    def __len__(self) -> int:
        return len(self.base)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`."""
        return self.base.identity() | {"correlated": [self.first, self.second, self.strength]}

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        return self.base.fetch(rows)

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """See `Dataset.factors_of`."""
        return self.base.factors_of(rows)

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`."""
        return self.base.images(factors)

    def rows(self, key: Array, n: int) -> Int[Array, " n"]:
        """As `Dataset.rows`, with the two factors tied."""
        rows = self._draw(key, n, left_out=self._left_out)
        return rows - jnp.searchsorted(self._left_out, rows).astype(rows.dtype)

    def split(self, seed: int = 0, held_out: int | None = None) -> tuple[Dataset, Dataset]:
        """As `Dataset.split`; the training part is tied, the held-out part is not."""
        return self._tie_first(self.base.split(seed, held_out))

    def split_combinations(self, **values: npt.ArrayLike) -> tuple[Dataset, Dataset]:
        """As `Dataset.split_combinations`; the training part is tied, the held-out part is not."""
        return self._tie_first(self.base.split_combinations(**values))

    def _tie_first(self, parts: tuple[Dataset, Dataset]) -> tuple[Dataset, Dataset]:
        return Correlated(parts[0], self.first, self.second, self.strength), parts[1]

    def _draw(self, key: Array, n: int, *, left_out: Int[Array, " m"]) -> Int[Array, " n"]:
        """Rows of the whole."""
        tied = tuple(self.factor_names.index(name) for name in (self.first, self.second))
        return _tied_rows(key, jnp.asarray(self.strength), left_out, n, tied, self.factor_sizes)


@partial(jax.jit, static_argnames=("n", "tied", "sizes"))
def _tied_rows(
    key: Array,
    strength: Float[Array, ""],
    left_out: Int[Array, " m"],
    n: int,
    tied: tuple[int, int],
    sizes: tuple[int, ...],
) -> Int[Array, " n"]:
    """Numbers of n rows of a factor grid, none of which is in `left_out`, which is sorted."""
    first, second = tied

    def draw(key: Array) -> Int[Array, " n"]:
        places, together = jax.random.split(key)
        u = jax.random.uniform(places, (n, len(sizes)))
        follow = jax.random.uniform(together, (n,)) < strength
        u = u.at[:, second].set(jnp.where(follow, u[:, first], u[:, second]))
        number = jnp.zeros(n, jnp.int32)
        for k, size in enumerate(sizes):
            number = number * size + jnp.minimum((u[:, k] * size).astype(jnp.int32), size - 1)
        return number

    if not len(left_out):
        return draw(key)

    def missing(rows: Int[Array, " n"]) -> Array:
        place = jnp.minimum(jnp.searchsorted(left_out, rows), len(left_out) - 1)
        return left_out[place] == rows

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        key, rows = state
        key, now = jax.random.split(key)
        return key, jnp.where(missing(rows), draw(now), rows)

    start, key = jax.random.split(key)
    return jax.lax.while_loop(lambda state: jnp.any(missing(state[1])), again, (key, draw(start)))[1]
