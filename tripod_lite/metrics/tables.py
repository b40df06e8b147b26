"""What the metrics ask of a table of factors and a table of latents."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Shaped

MAX_LEVELS = 256


def as_table(name: str, values: npt.ArrayLike) -> Shaped[np.ndarray, "n d"]:
    """Values as a finite numeric matrix, one row a sample; integers stay integers.

    Raises:
        ValueError: not two-dimensional, empty, NaN or infinite.
        TypeError: not real numbers.
    """
    table = np.asarray(values)
    if table.ndim != 2 or 0 in table.shape:
        raise ValueError(f"{name} must have shape (samples, columns), both at least 1, got {table.shape}")
    if np.issubdtype(table.dtype, np.integer) or table.dtype == bool:
        return table.astype(np.int64)
    try:
        table = table.astype(np.float64, casting="same_kind")
    except TypeError:
        raise TypeError(f"{name} must hold real numbers, got dtype {table.dtype}") from None
    bad = ~np.isfinite(table).all(axis=0)
    if bad.any():
        raise ValueError(f"{name} must be finite, got NaN or infinity in column {int(np.argmax(bad))}")
    return table


def class_numbers(column: Shaped[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], int]:
    """A column's values as class numbers 0, 1, …, and how many classes occur."""
    values, numbers = np.unique(column, return_inverse=True)
    return numbers, len(values)


def as_factors(factors: npt.ArrayLike) -> Int[np.ndarray, "n n_s"]:
    """Factors as class numbers, column by column.

    Raises:
        TypeError: not integers.
        ValueError: a wrong shape, or a factor with only one value, about which there is nothing to know.
    """
    table = as_table("factors", factors)
    if not np.issubdtype(table.dtype, np.integer):
        raise TypeError(f"factors must be integer class numbers, got dtype {np.asarray(factors).dtype}")
    columns = [class_numbers(column) for column in table.T]
    for i, (_, classes) in enumerate(columns):
        if classes < 2:
            raise ValueError(f"every factor must take at least two values, but column {i} is constant; leave it out")
    return np.stack([numbers for numbers, _ in columns], axis=1)


def as_codes(
    factors: npt.ArrayLike, latents: npt.ArrayLike
) -> tuple[Int[np.ndarray, "n n_s"], Shaped[np.ndarray, "n n_z"]]:
    """Factors as class numbers and latents as numbers, row for row.

    Raises:
        TypeError, ValueError: as `as_factors` and `as_table`; different numbers of rows.
    """
    s, z = as_factors(factors), as_table("latents", latents)
    if len(s) != len(z):
        raise ValueError(f"factors and latents must have one row a sample each, got {len(s)} and {len(z)} rows")
    return s, z


def standardized(z: Shaped[np.ndarray, "n n_z"]) -> Float[np.ndarray, "n n_z"]:
    """Each column with mean 0 and standard deviation 1; a constant column becomes 0."""
    moves = z.max(axis=0) > z.min(axis=0)
    return np.where(moves, z - z.mean(axis=0), 0.0) / np.where(moves, z.std(axis=0), 1.0)


def level_numbers(z: Shaped[np.ndarray, "n n_z"]) -> Int[np.ndarray, "n n_z"]:
    """The values of discrete latents numbered, column by column.

    Raises:
        ValueError: a latent takes more than 256 values.
    """
    columns = [class_numbers(column) for column in z.T]
    for j, (_, values) in enumerate(columns):
        if values > MAX_LEVELS:
            raise ValueError(
                f"discrete latents must take at most {MAX_LEVELS} values, but latents column {j} takes {values}; "
                "pass discrete=False for continuous ones"
            )
    return np.stack([numbers for numbers, _ in columns], axis=1)


def one_hot(numbers: Int[np.ndarray, "n d"]) -> "tuple[scipy.sparse.csr_array, Int[np.ndarray, ' d']]":
    """One row a sample, a 1 for the class in each of the d columns, side by side; and where each of them starts."""
    from scipy import sparse

    n, d = numbers.shape
    ends = np.cumsum(numbers.max(axis=0) + 1)
    starts = np.concatenate([[0], ends[:-1]])
    places = (numbers + starts).ravel()
    return sparse.csr_array((np.ones(n * d), places, np.arange(0, n * d + 1, d)), shape=(n, int(ends[-1]))), starts
