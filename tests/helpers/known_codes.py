"""Codes that the tests of the metrics share."""

import numpy as np


def full_grid(*sizes: int) -> np.ndarray:
    """Every combination of factor values once: sources that are exactly independent."""
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))


def random_code(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Sources of 3, 4 and 5 classes, (n, 3), and noisy mixtures of them as indices of seven levels, (n, 4)."""
    rng = np.random.default_rng(seed)
    s = np.stack([rng.integers(0, k, n) for k in (3, 4, 5)], axis=1)
    mix = s @ rng.normal(size=(3, 4)) + 0.5 * rng.normal(size=(n, 4))
    return s, np.clip(np.round(mix), -3, 3).astype(int) + 3
