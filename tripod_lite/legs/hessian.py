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


def check_design(design: str, probes: int, method: str) -> None:
    """Whether the probes of the normalized penalty can be drawn in this way.

    Raises:
        ValueError: an unknown design, or "crossed" with an odd number of probes or another method than "forward".
    """
    if design not in DESIGNS:
        raise ValueError(f"design must be one of {', '.join(DESIGNS)}, got {design!r}")
    if design == "crossed" and probes % 2:
        raise ValueError(f"probes must be even in the crossed design, which pairs them, got {probes}")
    if design == "crossed" and method != "forward":
        raise ValueError(f"method must be 'forward' in the crossed design, got {method!r}")


def _full_scale(scale: ArrayLike, z: Array) -> Array:
    scale = jnp.asarray(scale, z.dtype)
    if scale.shape not in ((), z.shape[1:]):
        raise ValueError(f"scale must be a scalar or have shape ({z.shape[1]},), one value a latent, got {scale.shape}")
    return jnp.broadcast_to(scale, z.shape[1:])


def mixed_derivative(
    f: Function, z: Float[Array, " n_z"], u: Float[Array, " n_z"], w: Float[Array, " n_z"]
) -> PyTree[Float[Array, "..."]]:
    """uᵀ H w for every output of f: the mixed directional derivative, by forward mode over forward mode.

    Exact: no step size and no cancellation. A function that is linear in z gives exactly zero.
    """
    return jax.jvp(lambda y: jax.jvp(f, (y,), (u,))[1], (z,), (w,))[1]


def second_derivative(f: Function, z: Float[Array, " n_z"], v: Float[Array, " n_z"]) -> PyTree[Float[Array, "..."]]:
    """q(v) = vᵀ H v for every output of f, as `mixed_derivative`."""
    return mixed_derivative(f, z, v, v)


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


def _wide(x: Array) -> Array:
    """At least single precision, in which statistics are taken."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _variances(f: Function, z: Array, probes: Array, method: str, epsilon: float) -> PyTree[Array]:
    """Var q (ddof 0) over each group of probes (groups, k, n_z) at one z: f's pytree with a leading axis of groups."""
    if method == "forward" and probes.shape[1] == 2:
        # Of two values the variance is ((q_1 - q_2)/2)², and q_1 - q_2 = (v_1 + v_2)ᵀ H (v_1 - v_2): one mixed
        # derivative, which takes three tangents through f where two second derivatives take four.
        u, w = (probes[:, 0] + probes[:, 1]) / 2, probes[:, 0] - probes[:, 1]
        mixed = jax.vmap(lambda u, w: mixed_derivative(f, z, u, w))(u, w)
        return jax.tree.map(lambda m: jnp.square(_wide(m)), mixed)

    def q(v: Array) -> PyTree[Array]:
        return second_derivative(f, z, v) if method == "forward" else second_difference(f, z, v, epsilon)

    return jax.tree.map(lambda q_l: jnp.var(_wide(q_l), axis=1), jax.vmap(jax.vmap(q))(probes))


def _crossed(f: Function, z: Array, g: Array, h: Array, mask: Array) -> PyTree[Array]:
    """g_xᵀ H h_y for the parts x, y of probes g and h inside and outside of a mask: f's pytree with axes (x, y)."""
    g, h = (jnp.stack([v * mask, v * (1 - mask)]) for v in (g, h))

    def along_g(y: Array) -> PyTree[Array]:  # all of g's tangents at once, so that h's are computed once and not twice
        return jax.vmap(lambda g_x: jax.jvp(f, (y,), (g_x,))[1])(g)

    return jax.vmap(lambda h_y: jax.jvp(along_g, (z,), (h_y,))[1], out_axes=1)(h)


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
    variances = jax.vmap(lambda z_i, v_i: _variances(f, z_i, v_i[None], method, epsilon))(z, v)
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
) -> PyTree[Float[Array, ""]]:
    """The normalized Hessian penalty (NHP): the share of a layer's curvature that mixes different latents.

        q(r) = (σ ⊙ r)ᵀ H (σ ⊙ r)
        A = mean over the layer's entries of Var q over Rademacher probes r      estimates 2 Σ_{i≠j} H̃_ij²
        B = mean over the layer's entries of Var q over Gaussian probes r        estimates 2 Σ_{i,j} H̃_ij²
        NHP = mean over the batch of A / (B + 1e-10)

    with H̃ = diag(σ) H diag(σ). Scaling f, or any latent together with its σ, multiplies A and B alike (Proposition 3.1
    of the paper), so the penalty cannot be lowered by shrinking. Few probes make the ratio noisy and biased: report k.

    The design "crossed" estimates the same A and B from mixed derivatives c_xy = g_xᵀ H̃ h_y. For Rademacher probes g
    and h, E (gᵀ H̃ h)² = Σ_{i,j} H̃_ij²; a random half of the latents cuts each probe in two, g = g_1 + g_2 and
    h = h_1 + h_2. The four terms share the sum among them, and c_12 and c_21 never see the diagonal:

        A = (c_12² + c_21²) · 2/p,   p = 2m(n_z - m)/(n_z (n_z - 1)), m = ⌊n_z/2⌋: how often the cut parts two latents
        B = (c_11² + c_12² + c_21² + c_22²) · 2

    A and B are made of the same terms, so that noise divides out; eight tangents pass through f for two probes, where
    "independent" takes six for its four.

    Args:
        f: the function of one latent vector, (n_z,) → pytree of arrays, one leaf a layer.
        z: latents, shape (b, n_z).
        scale: σ, a scalar or one value a latent, shape (n_z,). Gradients flow through it.
        key: random key for the probes.
        probes: k ≥ 2. "independent": k Rademacher and k Gaussian probes a sample; variances with ddof 0 as in the
            released code. "crossed": k/2 pairs of Rademacher probes a sample, k even.
        method: "forward" (exact second derivatives) or "finite" (differences of step ε σ, as released).
        epsilon: the step ε of the finite differences.
        design: "independent" (as released) or "crossed" (only with method "forward").

    Returns:
        f's pytree with one scalar a leaf. A layer without curvature gives 0.

    Raises:
        TypeError: z is not floating point, probes is not an integer, or half-precision outputs with "finite".
        ValueError: wrong shapes, fewer than two probes, a step that is not positive, an unknown method or design;
            "crossed" with an odd number of probes or with "finite".

    Source: Hsu et al. (2024); k, ε, ddof and 1e-10 from the released code. The crossed design is this project's own.
    """
    z = jnp.asarray(z)
    _check(z, probes, method, epsilon)
    check_design(design, probes, method)
    sigma = _full_scale(scale, z)
    energies = _crossed_energies if design == "crossed" else _independent_energies
    a, b = energies(f, z, sigma, key, probes, method, epsilon)
    return jax.tree.map(lambda a_l, b_l: jnp.mean(a_l / (b_l + 1e-10)), a, b)


def _independent_energies(
    f: Function, z: Array, sigma: Array, key: PRNGKeyArray, probes: int, method: str, epsilon: float
) -> tuple[PyTree[Array], PyTree[Array]]:
    """A and B of each sample, f's pytree of (b,) arrays, from k Rademacher and k Gaussian probes."""
    rademacher_key, gaussian_key = jax.random.split(key)
    shape = (z.shape[0], probes, z.shape[1])
    rademacher = jax.random.rademacher(rademacher_key, shape, z.dtype)
    gaussian = jax.random.normal(gaussian_key, shape, z.dtype)
    v = sigma[None, None, None, :] * jnp.stack([rademacher, gaussian], axis=1)  # together, so that f is traced once
    variances = jax.vmap(lambda z_i, v_i: _variances(f, z_i, v_i, method, epsilon))(z, v)
    means = jax.tree.map(lambda variance: jnp.mean(variance, axis=range(2, variance.ndim)), variances)
    return tuple(jax.tree.map(lambda mean, kind=kind: mean[:, kind], means) for kind in (0, 1))


def _crossed_energies(
    f: Function, z: Array, sigma: Array, key: PRNGKeyArray, probes: int, method: str, epsilon: float
) -> tuple[PyTree[Array], PyTree[Array]]:
    """A and B of each sample, f's pytree of (b,) arrays, from k/2 crossed pairs of Rademacher probes."""
    sign_key, cut_key = jax.random.split(key)
    b, n_z = z.shape
    half = n_z // 2
    g, h = sigma[None, None, None, :] * jax.random.rademacher(sign_key, (2, b, probes // 2, n_z), z.dtype)
    ranks = jnp.argsort(jnp.argsort(jax.random.uniform(cut_key, (b, probes // 2, n_z)), axis=2), axis=2)
    terms = jax.vmap(jax.vmap(lambda z_i, *pair: _crossed(f, z_i, *pair), in_axes=(None, 0, 0, 0)))(
        z, g, h, (ranks < half).astype(z.dtype)
    )
    parted = 2 * half * (n_z - half) / (n_z * (n_z - 1)) if n_z > 1 else 1.0  # one latent has no mixed curvature
    squares = jax.tree.map(lambda c: jnp.mean(jnp.square(_wide(c)), axis=(1, *range(4, c.ndim))), terms)  # (b, 2, 2)
    return (
        jax.tree.map(lambda c: 2 / parted * (c[:, 0, 1] + c[:, 1, 0]), squares),
        jax.tree.map(lambda c: 2 * jnp.sum(c, axis=(1, 2)), squares),
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
