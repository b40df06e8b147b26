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
DESIGNS = ("independent", "crossed")
Function = Callable[[Float[Array, "*b n_z"]], PyTree[Float[Array, "..."]]]


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


def check_design(design: str, probes: int, method: str) -> None:
    """Whether the probes of the normalized penalty can be drawn in this way.

    Raises:
        ValueError: an unknown design, or "crossed" with other than two probes or another method than "forward".
    """
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
    if design == "crossed" and probes != 2:
        raise ValueError(f"probes must be 2 in the crossed design, got {probes}")
    if design == "crossed" and method != "forward":
        raise ValueError(f"method must be 'forward' in the crossed design, got {method!r}")


def _full_scale(scale: ArrayLike, z: Array) -> Array:
    scale = jnp.asarray(scale, z.dtype)
    if scale.shape not in ((), z.shape[1:]):
        raise ValueError(f"scale must be a scalar or have shape ({z.shape[1]},), one value a latent, got {scale.shape}")
    return jnp.broadcast_to(scale, z.shape[1:])


def mixed_derivative(
    f: Function, z: Float[Array, "*b n_z"], u: Float[Array, "*b n_z"], w: Float[Array, "*b n_z"]
) -> PyTree[Float[Array, "..."]]:
    """uᵀ H w for every output of f: the mixed directional derivative, by forward mode over forward mode.

    Exact: no step size and no cancellation. A function that is linear in z gives exactly zero.
    """
    return jax.jvp(lambda y: jax.jvp(f, (y,), (u,))[1], (z,), (w,))[1]


def second_derivative(f: Function, z: Float[Array, "*b n_z"], v: Float[Array, "*b n_z"]) -> PyTree[Float[Array, "..."]]:
    """q(v) = vᵀ H v for every output of f, as `mixed_derivative`."""
    return mixed_derivative(f, z, v, v)


def second_difference(
    f: Function, z: Float[Array, "*b n_z"], v: Float[Array, "*b n_z"], epsilon: float
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
        size = jnp.abs(plus) + 2 * jnp.abs(center) + jnp.abs(minus)
        round_off = 16 * resolution * jnp.max(size, axis=range(z.ndim - 1, size.ndim), keepdims=True)
        return jnp.where(jnp.abs(raw) > round_off, raw, 0.0) / epsilon**2

    return jax.tree.map(difference, f(z + epsilon * v), f(z), f(z - epsilon * v))


def _wide(x: Array) -> Array:
    """At least single precision, in which statistics are taken."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _over_batch(f: Function, batched: bool) -> Function:
    return f if batched else jax.vmap(f)


def _variances(f: Function, z: Array, probes: Array, method: str, epsilon: float) -> PyTree[Array]:
    """Var q (ddof 0) of each sample over k probes (k, b, n_z), for a function of batches: f's pytree, (b, …)."""
    if method == "forward" and len(probes) == 2:
        # Of two values the variance is ((q_1 - q_2)/2)², and q_1 - q_2 = (v_1 + v_2)ᵀ H (v_1 - v_2): one mixed
        # derivative, which takes three tangents through f where two second derivatives take four.
        mixed = mixed_derivative(f, z, (probes[0] + probes[1]) / 2, probes[0] - probes[1])
        return jax.tree.map(lambda m: jnp.square(_wide(m)), mixed)

    def q(v: Array) -> PyTree[Array]:
        return second_derivative(f, z, v) if method == "forward" else second_difference(f, z, v, epsilon)

    return jax.tree.map(lambda q_l: jnp.var(_wide(q_l), axis=0), jax.vmap(q)(probes))


def hessian_penalty(
    f: Function,
    z: Float[Array, "b n_z"] | ArrayLike,
    key: PRNGKeyArray,
    *,
    probes: int = 2,
    method: str = "forward",
    epsilon: float = 0.1,
    batched: bool = False,
) -> PyTree[Float[Array, ""]]:
    """The Hessian penalty: the variance of vᵀHv over Rademacher probes v, an estimate of 2 Σ_{i≠j} H_ij².

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays.
        z: latents, shape (b, n_z).
        key: random key for the probes.
        probes: k ≥ 2 probes a sample; the variance has ddof 1, hence the estimate is unbiased for any k.
        method: "forward" (exact second derivatives) or "finite" (differences of step `epsilon`).
        epsilon: the step ε of the finite differences.
        batched: f takes latents (b, n_z) and gives arrays (b, …), each row of which depends on its latents only.

    Returns:
        f's pytree with one scalar a leaf, averaged over the leaf's entries and over the batch.

    Raises:
        TypeError: z is not floating point, probes is not an integer, or half-precision outputs with "finite".
        ValueError: z is not (b, n_z), fewer than two probes, a step that is not positive, an unknown method.

    Source: Peebles et al. (2020).
    Derived in the book's chapter Curvature.
    """
    z = jnp.asarray(z)
    _check(z, probes, method, epsilon)
    v = jax.random.rademacher(key, (z.shape[0], probes, z.shape[1]), z.dtype)
    variances = _variances(_over_batch(f, batched), z, jnp.swapaxes(v, 0, 1), method, epsilon)
    return jax.tree.map(lambda variance: probes / (probes - 1) * jnp.mean(variance), variances)


def normalized_hessian_penalty(
    f: Function,
    z: Float[Array, "b n_z"] | ArrayLike,
    scale: Float[Array, ""] | Float[Array, " n_z"] | ArrayLike,
    key: PRNGKeyArray,
    *,
    probes: int = 2,
    method: str = "forward",
    epsilon: float = 0.1,
    design: str = "independent",
    batched: bool = False,
) -> PyTree[Float[Array, ""]]:
    """The normalized Hessian penalty (NHP): the share of a layer's curvature that mixes different latents.

        q(r) = (σ ⊙ r)ᵀ H (σ ⊙ r)
        A = mean over the layer's entries of Var q over Rademacher probes r      estimates 2 Σ_{i≠j} H̃_ij²
        B = mean over the layer's entries of Var q over Gaussian probes r        estimates 2 Σ_{i,j} H̃_ij²
        NHP = mean over the batch of A / (B + 1e-10)

    with H̃ = diag(σ) H diag(σ). Scaling f, or any latent together with its σ, multiplies A and B alike (Proposition 3.1
    of the paper), so the penalty cannot be lowered by shrinking. Few probes make the ratio noisy and biased: report k.

    The design "crossed" estimates the same A and B from mixed derivatives q_xy = r_xᵀ H̃ r'_y. For Rademacher probes r
    and r', E (rᵀ H̃ r')² = Σ_{i,j} H̃_ij²; a random half of the latents cuts each probe in two, r = r_1 + r_2 and
    r' = r'_1 + r'_2. The four terms share the sum among them, and q_12 and q_21 never see the diagonal:

        A = (q_12² + q_21²) · 2/p,   p = 2m(n_z - m)/(n_z (n_z - 1)), m = ⌊n_z/2⌋: how often the cut parts two latents
        B = (q_11² + q_12² + q_21² + q_22²) · 2

    A and B are made of the same terms, so that much of the noise divides out. Eight tangents pass through f; two
    independent probes of each kind take six.

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays, one leaf a layer.
        z: latents, shape (b, n_z).
        scale: σ, a scalar or one value a latent, shape (n_z,). Gradients flow through it.
        key: random key for the probes.
        probes: k ≥ 2. "independent": k Rademacher and k Gaussian probes a sample; variances with ddof 0 as in the
            released code. "crossed": 2.
        method: "forward" (exact second derivatives) or "finite" (differences of step ε σ, as released).
        epsilon: the step ε of the finite differences.
        design: "independent" (as released) or "crossed" (only with method "forward").
        batched: f takes latents (b, n_z) and gives arrays (b, …), each row of which depends on its latents only. Better
            for convolutions, whose axis of batches this saves: on CPUs, XLA of JAX 0.10 and 0.11 crashes on some
            reductions over seven axes of which one has size 1.

    Returns:
        f's pytree with one scalar a leaf. A layer without curvature gives 0.

    Raises:
        TypeError: z is not floating point, probes is not an integer, or half-precision outputs with "finite".
        ValueError: wrong shapes, fewer than two probes, a step that is not positive, an unknown method or design;
            "crossed" with other than two probes or with "finite".

    Source: Hsu et al. (2024); k, ε, ddof and 1e-10 from the released code. The crossed design is this project's own.
    Derived in the book's chapter Curvature.
    """
    z = jnp.asarray(z)
    _check(z, probes, method, epsilon)
    check_design(design, probes, method)
    sigma = _full_scale(scale, z)
    f = _over_batch(f, batched)
    if design == "crossed":
        a, b = _crossed_energies(f, z, sigma, key)
    else:
        a, b = _independent_energies(f, z, sigma, key, probes, method, epsilon)
    return jax.tree.map(lambda a_l, b_l: jnp.mean(a_l / (b_l + 1e-10)), a, b)


def _independent_energies(
    f: Function, z: Array, sigma: Array, key: PRNGKeyArray, probes: int, method: str, epsilon: float
) -> tuple[PyTree[Array], PyTree[Array]]:
    """A and B of each sample, f's pytree of (b,) arrays, from k Rademacher and k Gaussian probes."""
    rademacher_key, gaussian_key = jax.random.split(key)
    shape = (z.shape[0], probes, z.shape[1])
    rademacher = jax.random.rademacher(rademacher_key, shape, z.dtype)
    gaussian = jax.random.normal(gaussian_key, shape, z.dtype)
    v = sigma[None, None, None, :] * jnp.swapaxes(jnp.stack([rademacher, gaussian]), 1, 2)  # (kind, k, b, n_z)
    variances = jax.vmap(lambda v_kind: _variances(f, z, v_kind, method, epsilon))(v)  # together: f is traced once
    means = jax.tree.map(lambda variance: jnp.mean(variance, axis=range(2, variance.ndim)), variances)
    return tuple(jax.tree.map(lambda mean, kind=kind: mean[kind], means) for kind in (0, 1))


def _crossed_energies(f: Function, z: Array, sigma: Array, key: PRNGKeyArray) -> tuple[PyTree[Array], PyTree[Array]]:
    """A and B of each sample, f's pytree of (b,) arrays, from two Rademacher probes, each cut in two."""
    sign_key, cut_key = jax.random.split(key)
    b, n_z = z.shape
    half = n_z // 2
    ranks = jnp.argsort(jnp.argsort(jax.random.uniform(cut_key, (b, n_z)), axis=1), axis=1)
    parts = jnp.stack([ranks < half, ranks >= half]).astype(z.dtype)
    signs = sigma[None, None, :] * jax.random.rademacher(sign_key, (2, b, n_z), z.dtype)
    first, second = (parts * probe[None] for probe in signs)  # (parts, b, n_z) each

    def along_first(z: Array) -> PyTree[Array]:  # f's values and these tangents do not depend on the second probe
        return jax.vmap(lambda r_x: jax.jvp(f, (z,), (r_x,))[1])(first)

    terms = jax.vmap(lambda r_y: jax.jvp(along_first, (z,), (r_y,))[1])(second)  # (parts, parts, b, …)
    squares = jax.tree.map(lambda q: jnp.mean(jnp.square(_wide(q)), axis=range(3, q.ndim)), terms)
    parted = 2 * half * (n_z - half) / (n_z * (n_z - 1)) if n_z > 1 else 1.0  # one latent has no mixed curvature
    return (
        jax.tree.map(lambda q: 2 / parted * (q[0, 1] + q[1, 0]), squares),
        jax.tree.map(lambda q: 2 * jnp.sum(q, axis=(0, 1)), squares),
    )


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

    Derived in the book's chapter Curvature.
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
