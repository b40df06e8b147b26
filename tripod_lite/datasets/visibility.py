"""How much each factor changes the picture, and how far two factors change it in the same way."""

from typing import NamedTuple

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
        overlap: mean of |⟨d_i, d_j⟩| / (‖d_i‖ ‖d_j‖) over the settings in which neither is zero, where d_i is how a
            step in factor i changes the picture: 0 where the changes have nothing in common, 1 where they are
            proportional; shape (n_s, n_s).
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
        ValueError: fewer than one setting, a negative seed.
    """
    check_count("settings", settings, 1)
    rng = np.random.default_rng(check_count("seed", seed, 0))
    sizes = ds.factor_sizes
    rows = np.stack([rng.integers(0, size, settings) for size in sizes], axis=1)
    tables = []
    for k, size in enumerate(sizes):
        table = np.repeat(rows[:, None], size, axis=1)
        table[:, :, k] = np.arange(size)[None]
        tables.append(table.reshape(-1, len(sizes)))
    images = np.asarray(ds.images(np.concatenate(tables)))  # together: accelerators compile one size
    steps = np.empty((settings, len(sizes), *ds.image_shape), np.float32)
    least, median = np.empty(len(sizes)), np.empty(len(sizes))
    start = 0
    for k, size in enumerate(sizes):
        block = images[start : start + settings * size].reshape(settings, size, *ds.image_shape).astype(np.float32)
        start += settings * size
        changes = np.diff(block, axis=1)
        amounts = np.abs(changes).mean(axis=(2, 3, 4))
        least[k], median[k] = amounts.min(), np.median(amounts)
        steps[:, k] = changes[np.arange(settings), np.minimum(rows[:, k], size - 2)]
    flat = steps.reshape(settings, len(sizes), -1)
    flat /= np.linalg.norm(flat, axis=2, keepdims=True) + 1e-12
    cosines = np.abs(np.einsum("sip,sjp->sij", flat, flat))
    changed = np.linalg.norm(flat, axis=2) > 0.5  # where a step changes nothing there is no angle
    both = changed[:, :, None] & changed[:, None, :]
    overlap = np.where(both, cosines, 0).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    return Visibility(least, median, overlap)
