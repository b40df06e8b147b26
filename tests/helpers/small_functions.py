"""Functions, latents and probes that tests of curvature share."""

import itertools

import jax.numpy as jnp
import numpy as np


def mlp(seed: int, n_z: int, outputs: int = 5, width: int = 7):
    """A smooth random function (n_z,) → (outputs,), in the precision of its argument."""
    rng = np.random.default_rng(seed)
    w, b, u = rng.normal(size=(n_z, width)), rng.normal(size=width), rng.normal(size=(width, outputs))
    return lambda z: jnp.tanh(z @ jnp.asarray(w, z.dtype) + jnp.asarray(b, z.dtype)) @ jnp.asarray(u, z.dtype)


def latents(seed: int, b: int, n_z: int, dtype=float):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=(b, n_z)), dtype)


def corners(n: int) -> np.ndarray:
    """All 2^n Rademacher vectors."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))
