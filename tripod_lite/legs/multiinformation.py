"""Leg 2: kernel-based latent multiinformation (KLM), the dependence of the latents in nats.

Source: Hsu et al., *Tripod* (ICML 2024). The `released` estimator follows the authors' public code, `matched`
the paper's Figure 3 (one smoothing matrix for both densities); `leave_one_out` and `pairwise` are this project's own.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree, Shaped

ESTIMATORS = ("released", "matched", "leave_one_out", "pairwise")
PAIR_BANDWIDTH = 0.7  # of `pairwise`, in units of σ: at b = 64 it shows copies as wider ones do, and rotations better
TABLES = 2**20  # numbers in the tables of all latents that are worked on together, if it is more than one


def silverman_factor(n: int, d: int) -> float:
    """Silverman's rule-of-thumb bandwidth for n points in d dimensions, in units of the standard deviation.

        c(n, d) = (4/(d + 2))^(1/(d + 4)) · n^(-1/(d + 4))

    Raises:
        ValueError: n or d below 1.

    Source: Silverman, *Density Estimation for Statistics and Data Analysis* (1986), chapter 4.
    Derived in the book's chapter Kernels.
    """
    if n < 1 or d < 1:
        raise ValueError(f"n and d must be at least 1, got n = {n}, d = {d}")
    return float((4 / (d + 2)) ** (1 / (d + 4)) * n ** (-1 / (d + 4)))


def latent_scale(c: Float[Array, "b n_z"] | ArrayLike, *, floor: float = 1e-6) -> Float[Array, " n_z"]:
    """σ_j: the batch standard deviation of each continuous latent (ddof 0), plus a floor.

    The square root has an infinite slope at zero; a constant latent is given slope zero instead, so that a collapsed
    latent yields finite gradients.

    Args:
        c: continuous latents, floating point, shape (b, n_z).
        floor: what is added, so that it can be divided by.

    Returns:
        σ, shape (n_z,).

    Raises:
        TypeError: c is not floating point.
        ValueError: c is not of shape (b, n_z), or empty.

    Derived in the book's chapter Kernels.
    """
    c = jnp.asarray(c)
    if not jnp.issubdtype(c.dtype, jnp.floating):
        raise TypeError(f"c must be floating point, got {c.dtype}")
    if c.ndim != 2 or 0 in c.shape:
        raise ValueError(f"c must have shape (b, n_z), not empty, got {c.shape}")
    variance = jnp.var(c, axis=0)
    constant = variance == 0
    return jnp.where(constant, 0.0, jnp.sqrt(jnp.where(constant, 1.0, variance))) + floor


def _bandwidths(estimator: str, b: int, n_z: int) -> tuple[float, float]:
    """(h_J, h_M): kernel widths of the joint and of the marginals, in units of σ."""
    if estimator == "released":
        return silverman_factor(b, n_z), 1.0
    if estimator == "matched":
        return silverman_factor(b, n_z), silverman_factor(b, n_z)
    return 1.0, 1.0


def multiinformation(
    z: Float[Array, "b n_z"] | ArrayLike, scale: Float[Array, " n_z"] | ArrayLike, *, estimator: str = "released"
) -> Float[Array, ""]:
    """KLM: the Kullback-Leibler divergence of the smoothed joint from the product of its smoothed marginals.

        q̂(z)     = mean_i Π_k N(z_k; z_k^i, (h_J σ_k)²)
        q̂_k(z_k) = mean_i N(z_k; z_k^i, (h_M σ_k)²)
        KLM      = mean_i [ log q̂(z^i) - Σ_k log q̂_k(z_k^i) ]

    The factors 1/(√2π σ_k) of the kernels occur once in the joint and once in the marginals and cancel; only the
    bandwidths' log-ratio is left. KLM therefore does not change under z → diag(a) z, σ → |a| σ. It takes O(b² n_z) time
    and O(b²) memory.

    The estimator "pairwise" is the sum over all pairs of latents of their own KLM, for which 64 points in the plane are
    enough. It sees no dependence of three latents of which each two are independent. It takes O(b² n_z²) time. The
    chapter Beyond the paper derives it.

    Args:
        z: latents, floating point, shape (b, n_z), b ≥ 2. Gradients flow through z and scale.
        scale: σ, positive, shape (n_z,); usually `latent_scale` of the continuous latents.
        estimator: "released" (h_J Silverman's, h_M = 1), "matched" (both Silverman's), "leave_one_out" (both 1, each
            point left out of its own density estimate) or "pairwise" (as "leave_one_out", by pairs, both 0.7).

    Returns:
        KLM, a scalar, in nats. `released` and `matched` have a floor of several nats at small b and large n_z, since
        each point is nearly its own only neighbor.

    Raises:
        TypeError: z is not floating point.
        ValueError: wrong shapes, fewer than two points, or an unknown estimator.

    Derived in the book's chapter Kernels.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
    z, scale = jnp.asarray(z), jnp.asarray(scale)
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"z must be floating point, got {z.dtype}")
    if z.ndim != 2 or z.shape[0] < 2 or z.shape[1] < 1:
        raise ValueError(f"z must have shape (b, n_z) with b at least 2, got {z.shape}")
    if scale.shape != z.shape[1:]:
        raise ValueError(f"scale must have shape ({z.shape[1]},), one value a latent, got {scale.shape}")
    b, n_z = z.shape
    if estimator == "pairwise":
        return _pairwise(z, scale, PAIR_BANDWIDTH)
    return _klm(z, scale, *_bandwidths(estimator, b, n_z), estimator == "leave_one_out")


def _exponents(z: Float[Array, "g b"], scale: Float[Array, " g"]) -> Float[Array, "g b b"]:
    """Of the kernels of unit bandwidth, a table of (point, kernel) for each latent."""
    return -0.5 * jnp.square((z[:, :, None] - z[:, None, :]) / scale[:, None, None])


def _log_density(exponent: Float[Array, "*g b b"], bandwidth: float, leave_out: bool) -> Float[Array, "*g b"]:
    """At each point, up to the kernels' factor."""
    b = exponent.shape[-1]
    if leave_out:
        own = jnp.broadcast_to(jnp.eye(b, dtype=bool), exponent.shape)
        exponent = jnp.where(own, -jnp.inf, exponent)
    return logsumexp(exponent / bandwidth**2, axis=-1) - jnp.log(jnp.asarray(b - leave_out, exponent.dtype))


def _sum_by_groups(function: Callable[..., PyTree[Array]], b: int, *arrays: Shaped[Array, "m ..."]) -> PyTree[Array]:
    """function(*arrays), which makes a table (b, b) for each of the m rows and sums over them, by groups of rows.

    Few tables are in memory at once, in the gradient too, which makes each anew.
    """
    m = len(arrays[0])
    group = max(g for g in range(1, m + 1) if m % g == 0 and (g == 1 or g * b * b <= TABLES))
    grouped = [array.reshape(m // group, group, *array.shape[1:]) for array in arrays]
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(function, *(a[0] for a in grouped)))

    def add(sums: PyTree[Array], rows: list[Array]) -> tuple[PyTree[Array], None]:
        return jax.tree.map(jnp.add, sums, jax.checkpoint(function)(*rows)), None

    return jax.lax.scan(add, start, grouped)[0]


@partial(jax.jit, static_argnums=(2, 3, 4))
def _klm(
    z: Float[Array, "b n_z"], scale: Float[Array, " n_z"], h_joint: float, h_marginal: float, leave_out: bool
) -> Float[Array, ""]:
    def densities(z: Float[Array, "g b"], scale: Float[Array, " g"]) -> tuple[Array, Array]:
        exponents = _exponents(z, scale)
        return jnp.sum(exponents, axis=0), jnp.sum(_log_density(exponents, h_marginal, leave_out), axis=0)

    joint, marginals = _sum_by_groups(densities, len(z), z.T, scale)
    log_bandwidths = z.shape[1] * jnp.log(jnp.asarray(h_marginal / h_joint, z.dtype))
    return jnp.mean(_log_density(joint, h_joint, leave_out) - marginals) + log_bandwidths


@partial(jax.jit, static_argnums=2)
def _pairwise(z: Float[Array, "b n_z"], scale: Float[Array, " n_z"], h: float) -> Float[Array, ""]:
    b, n_z = z.shape
    first, second = np.triu_indices(n_z, 1)
    if not len(first):
        return jnp.zeros((), z.dtype)  # one latent has nothing to depend on

    def marginals(z: Float[Array, "g b"], scale: Float[Array, " g"]) -> Float[Array, " b"]:
        return jnp.sum(_log_density(_exponents(z, scale), h, leave_out=True), axis=0)

    def joints(k: Int[Array, " g"], m: Int[Array, " g"]) -> Float[Array, " b"]:
        exponents = _exponents(z.T[k], scale[k]) + _exponents(z.T[m], scale[m])
        return jnp.sum(_log_density(exponents, h, leave_out=True), axis=0)

    pairs = _sum_by_groups(joints, b, jnp.asarray(first), jnp.asarray(second))
    return jnp.mean(pairs - (n_z - 1) * _sum_by_groups(marginals, b, z.T, scale))  # each latent is in n_z - 1 pairs
