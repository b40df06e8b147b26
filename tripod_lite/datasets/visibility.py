"""How much each factor changes the picture, and how far two factors change it in the same way."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tripod_lite.checks import check_count
from tripod_lite.datasets.twin import Twin


class Visibility(NamedTuple):
    """What `visibility` measures.

    Attributes:
        least: mean absolute difference between pictures of neighboring values, of 255: the least over all settings of
            the other factors that were looked at and all neighbors, shape (n_s,).
        median: the median of the same.
        overlap: mean over the settings of |⟨d_i, d_j⟩| / (‖d_i‖ ‖d_j‖), where d_i is how a step in factor i changes the
            picture: 0 where the changes have nothing in common, 1 where they are proportional; shape (n_s, n_s).
    """

    least: Float[np.ndarray, " n_s"]
    median: Float[np.ndarray, " n_s"]
    overlap: Float[np.ndarray, "n_s n_s"]


def visibility(ds: Twin, *, settings: int = 16, seed: int = 0) -> Visibility:
    """Look at every step of every factor, at random settings of the others.

    Args:
        ds: a twin.
        settings: how many.
        seed: decides which.

    Raises:
        TypeError: settings or seed is not an integer.
        ValueError: fewer than one setting.
    """
    check_count("settings", settings, 1)
    rng = np.random.default_rng(check_count("seed", seed, 0))
    sizes = ds.factor_sizes
    rows = np.stack([rng.integers(0, size, settings) for size in sizes], axis=1)
    steps = np.empty((settings, len(sizes), *ds.image_shape), np.float32)
    least, median = np.empty(len(sizes)), np.empty(len(sizes))
    for k, size in enumerate(sizes):
        table = np.repeat(rows[:, None], size, axis=1)
        table[:, :, k] = np.arange(size)[None]
        images = np.asarray(ds.images(jnp.asarray(table.reshape(-1, len(sizes)), jnp.int32)), np.float32)
        changes = np.diff(images.reshape(settings, size, *ds.image_shape), axis=1)
        sizes_of_change = np.abs(changes).mean(axis=(2, 3, 4))
        least[k], median[k] = sizes_of_change.min(), np.median(sizes_of_change)
        steps[:, k] = changes[np.arange(settings), np.minimum(rows[:, k], size - 2)]
    flat = steps.reshape(settings, len(sizes), -1)
    flat /= np.linalg.norm(flat, axis=2, keepdims=True) + 1e-12
    return Visibility(least, median, np.abs(np.einsum("sip,sjp->sij", flat, flat)).mean(axis=0))
