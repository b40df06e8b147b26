"""Leg 3: penalties on the mixed curvature of a decoder, from random probes of its Hessian.

Sources: Peebles et al., *The Hessian Penalty* (ECCV 2020); Hsu et al., *Tripod* (ICML 2024) for the normalized penalty.
Finite differences follow the released code; the exact second directional derivative is this project's own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

METHODS = ("forward", "finite")
Function = Callable[[Float[Array, " n_z"]], PyTree[Float[Array, "..."]]]


def _check(z: Array, probes: int, method: str, epsilon: float) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if isinstance(probes, bool) or not isinstance(probes, int):
        raise TypeError(f"probes must be an integer, got {probes!r}")
    if probes < 2:
        raise ValueError(f"probes must be at least 2 (a variance needs two values), got {probes}")
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, got {epsilon!r}")
    _check_latents(z)


def _check_latents(z: Array) -> None:
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise TypeError(f"z must be floating point, got {z.dtype}")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"z must have shape (b, n_z), not empty, got {z.shape}")


def _full_scale(scale: ArrayLike, z: Array) -> Array:
    scale = jnp.asarray(scale, z.dtype)
    if scale.shape not in ((), z.shape[1:]):
        raise ValueError(f"scale must be a scalar or have shape ({z.shape[1]},), one value a latent, got {scale.shape}")
    return jnp.broadcast_to(scale, z.shape[1:])


def second_derivative(f: Function, z: Float[Array, " n_z"], v: Float[Array, " n_z"]) -> PyTree[Float[Array, "..."]]:
    """q(v) = vᵀ H v for every output of f: the second directional derivative, by forward mode over forward mode.

    Exact: no step size and no cancellation. A function that is linear in z gives exactly zero.
    """
    return jax.jvp(lambda y: jax.jvp(f, (y,), (v,))[1], (z,), (v,))[1]


def second_difference(
    f: Function, z: Float[Array, " n_z"], v: Float[Array, " n_z"], epsilon: float
) -> PyTree[Float[Array, "..."]]:
    """q(v) ≈ [f(z + εv) - 2 f(z) + f(z - εv)] / ε² for every output of f.

    Differences that are no larger than the round-off of their terms are set to zero, or a linear f would seem curved.

    Raises:
        TypeError: an output with less precision than float32, where the difference is lost in round-off.
    """

    def difference(plus: Array, center: Array, minus: Array) -> Array:
        resolution = jnp.finfo(center.dtype).eps
        if resolution > jnp.finfo(jnp.float32).eps:
            raise TypeError(
                f"method 'finite' needs float32 or float64 outputs of f, got {center.dtype}; use method 'forward'"
            )
        raw = plus - 2 * center + minus
        # f may cancel larger terms inside, so the round-off is measured by the largest output, not by each one.
        round_off = 16 * resolution * jnp.max(jnp.abs(plus) + 2 * jnp.abs(center) + jnp.abs(minus))
        return jnp.where(jnp.abs(raw) > round_off, raw, 0.0) / epsilon**2

    return jax.tree.map(difference, f(z + epsilon * v), f(z), f(z - epsilon * v))


def _probe(f: Function, z: Array, probes: Array, method: str, epsilon: float) -> PyTree[Array]:
    """Values of q for every probe (k, n_z) at one z: f's pytree with a leading axis k."""

    def q(v: Array) -> PyTree[Array]:
        return second_derivative(f, z, v) if method == "forward" else second_difference(f, z, v, epsilon)

    return jax.vmap(q)(probes)


def hessian_penalty(
    f: Function,
    z: Float[Array, "b n_z"] | ArrayLike,
    key: PRNGKeyArray,
    *,
    probes: int = 2,
    method: str = "forward",
    epsilon: float = 0.1,
) -> PyTree[Float[Array, ""]]:
    """The Hessian penalty: the variance of vᵀHv over Rademacher probes v, an estimate of 2 Σ_{i≠j} H_ij².

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays.
        z: latents, shape (b, n_z).
        key: random key for the probes.
        probes: k ≥ 2 probes a sample; the variance has ddof 1, hence the estimate is unbiased for any k.
        method: "forward" (exact second derivatives) or "finite" (differences of step `epsilon`).
        epsilon: the step ε of the finite differences.

    Returns:
        f's pytree with one scalar a leaf, averaged over the leaf's entries and over the batch.

    Raises:
        TypeError: z is not floating point, probes is not an integer, or half-precision outputs with "finite".
        ValueError: z is not (b, n_z), fewer than two probes, a step that is not positive, an unknown method.

    Source: Peebles et al. (2020).
    """
    z = jnp.asarray(z)
    _check(z, probes, method, epsilon)
    v = jax.random.rademacher(key, (z.shape[0], probes, z.shape[1]), z.dtype)
    q = jax.vmap(lambda z_i, v_i: _probe(f, z_i, v_i, method, epsilon))(z, v)
    return jax.tree.map(lambda q_l: jnp.mean(jnp.var(q_l, axis=1, ddof=1)), q)


def normalized_hessian_penalty(
    f: Function,
    z: Float[Array, "b n_z"] | ArrayLike,
    scale: Float[Array, ""] | Float[Array, " n_z"] | ArrayLike,
    key: PRNGKeyArray,
    *,
    probes: int = 2,
    method: str = "forward",
    epsilon: float = 0.1,
) -> PyTree[Float[Array, ""]]:
    """The normalized Hessian penalty (NHP): the share of a layer's curvature that mixes different latents.

        q(r) = (σ ⊙ r)ᵀ H (σ ⊙ r)
        A = mean over the layer's entries of Var q over Rademacher probes r      estimates 2 Σ_{i≠j} H̃_ij²
        B = mean over the layer's entries of Var q over Gaussian probes r        estimates 2 Σ_{i,j} H̃_ij²
        NHP = mean over the batch of A / (B + 1e-10)

    with H̃ = diag(σ) H diag(σ). Scaling f, or any latent together with its σ, multiplies A and B alike (Proposition 3.1
    of the paper), so the penalty cannot be lowered by shrinking. Few probes make the ratio noisy and biased: report k.

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays, one leaf a layer.
        z: latents, shape (b, n_z).
        scale: σ, a scalar or one value a latent, shape (n_z,). Gradients flow through it.
        key: random key for the probes.
        probes: k ≥ 2 Rademacher and k Gaussian probes a sample; variances with ddof 0 as in the released code.
        method: "forward" (exact second derivatives) or "finite" (differences of step ε σ, as released).
        epsilon: the step ε of the finite differences.

    Returns:
        f's pytree with one scalar a leaf. A layer without curvature gives 0.

    Raises:
        TypeError: z is not floating point, probes is not an integer, or half-precision outputs with "finite".
        ValueError: wrong shapes, fewer than two probes, a step that is not positive, an unknown method.

    Source: Hsu et al. (2024); k, ε, ddof and 1e-10 from the released code.
    """
    z = jnp.asarray(z)
    _check(z, probes, method, epsilon)
    sigma = _full_scale(scale, z)[None, None, :]
    rademacher_key, gaussian_key = jax.random.split(key)
    shape = (z.shape[0], probes, z.shape[1])
    rademacher = jax.random.rademacher(rademacher_key, shape, z.dtype)
    gaussian = jax.random.normal(gaussian_key, shape, z.dtype)
    v = sigma * jnp.concatenate([rademacher, gaussian], axis=1)  # together, so that f is traced once
    q = jax.vmap(lambda z_i, v_i: _probe(f, z_i, v_i, method, epsilon))(z, v)

    def ratio(q_l: Array) -> Array:
        entries = tuple(range(1, q_l.ndim - 1))  # after the variance over the probes
        a = jnp.mean(jnp.var(q_l[:, :probes], axis=1), axis=entries)
        b = jnp.mean(jnp.var(q_l[:, probes:], axis=1), axis=entries)
        return jnp.mean(a / (b + 1e-10))

    return jax.tree.map(ratio, q)


def exact_hessian_energy(
    f: Function,
    z: Float[Array, "b n_z"] | ArrayLike,
    scale: Float[Array, ""] | Float[Array, " n_z"] | ArrayLike = 1.0,
) -> tuple[PyTree[Float[Array, ""]], PyTree[Float[Array, ""]]]:
    """The quantities that the probes estimate, from the full Hessian: for small functions and for tests.

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays.
        z: latents, shape (b, n_z).
        scale: σ, a scalar or shape (n_z,); the Hessian is H̃ = diag(σ) H diag(σ).

    Returns:
        (off_diagonal, total): 2 Σ_{i≠j} H̃_ij² and 2 Σ_{i,j} H̃_ij², averaged over the outputs and the batch; each
        a scalar, or f's pytree of scalars.

    Raises:
        TypeError: z is not floating point.
        ValueError: wrong shapes.
    """
    z = jnp.asarray(z)
    _check_latents(z)
    sigma = _full_scale(scale, z)
    weights = sigma[:, None] * sigma[None, :]
    off = 1 - jnp.eye(z.shape[1], dtype=z.dtype)
    structure = jax.tree.structure(jax.eval_shape(f, z[0]))
    hessians = structure.flatten_up_to(jax.vmap(jax.hessian(f))(z))

    def energy(mask: Array) -> PyTree[Array]:
        def leaf(h: Array) -> Array:
            h = h.reshape(-1, *weights.shape)  # batch and outputs, n_z, n_z
            return 2 * jnp.mean(jnp.sum(jnp.square(h * (weights * mask)[None]), axis=(1, 2)))

        return structure.unflatten([leaf(h) for h in hessians])

    return energy(off), energy(jnp.ones_like(off))
