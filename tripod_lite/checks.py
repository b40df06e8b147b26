"""Checks of arguments: what came, what is wanted, under the argument's name."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Integer


def check_count(argument: str, value: object, least: int, most: int | None = None) -> int:
    """The value, if it is an integer of at least `least` and at most `most`.

    Raises:
        TypeError: not an integer; a bool is none.
        ValueError: out of range.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{argument} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{argument} must be at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{argument} must be at most {most}, got {value}")
    return int(value)


def check_integers(
    argument: str, values: npt.ArrayLike, ndim: int
) -> Integer[Array, "..."] | Integer[np.ndarray, "..."]:
    """The values as an array, if they are integers and have `ndim` dimensions. A JAX array stays one.

    Raises:
        TypeError: not integers.
        ValueError: another number of dimensions.
    """
    array = values if isinstance(values, jax.Array) else np.asarray(values)
    if array.ndim != ndim:
        raise ValueError(f"{argument} must have {ndim} dimension{'s'[: ndim != 1]}, got shape {array.shape}")
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"{argument} must be integers, got dtype {array.dtype}")
    return array


def check_below(argument: str, numbers: Array | np.ndarray, sizes: int | tuple[int, ...]) -> None:
    """Raise unless every number is at least 0 and below its size; numbers under `jax.jit` cannot be looked at and pass.

    Args:
        argument: its name.
        numbers: integers, any shape if there is one size, else shape (n, len(sizes)).
        sizes: one for all, or one a column.

    Raises:
        ValueError: a number is out of range; the message says which.
    """
    if isinstance(numbers, jax.core.Tracer):
        return
    concrete = np.asarray(numbers)
    limits = np.broadcast_to(sizes, concrete.shape)
    bad = np.argwhere((concrete < 0) | (concrete >= limits))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise ValueError(f"{argument}{list(place)} must be at least 0 and below {limits[place]}, got {concrete[place]}")
