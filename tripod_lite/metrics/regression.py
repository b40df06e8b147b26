"""Multinomial logistic regression, fitted to its optimum: what a linear reader can tell about the sources."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int

TOLERANCE = 2e-6  # nats
MAX_ITERATIONS = 1000
MEMORY = 20


def least_losses(x: Any, s: Int[np.ndarray, "n n_s"]) -> Float[np.ndarray, "n n_s"]:
    """What unregularized multinomial logistic regression leaves unsaid of each source in each sample.

    For each source, min over weights W of Σ_i ω_i · -log softmax(x_i W)[s_i], where ω_i makes the K classes weigh the
    same and Σ_i ω_i = 1. All sources are fitted in one call on JAX's default device.

    Args:
        x: inputs, shape (n, d), an array or a scipy sparse matrix. An intercept is added.
        s: class numbers 0 … K - 1, each of them present, shape (n, n_s).

    Returns:
        -log softmax(x_i W)[s_i] at the optimum, in nats, shape (n, n_s). Their sum under ω is between 0 and log K,
        which constant inputs give. Classes that linear functions separate have their optimum at infinity; the search
        stops where little is left to gain.

    Warns:
        RuntimeWarning: an optimum was not reached in 1000 iterations.

    The objectives are convex. L-BFGS (Optax) with backtracking finds the optima, in the coordinates V with W = T V,
    where the columns of x T are orthonormal: there it takes a tenth of the steps. It stops when half of g·H⁻¹g, which
    estimates what is left to gain, is below 2e-6 nats, H⁻¹ being L-BFGS's own. The search is in single precision, the
    losses are computed in double. Directions in which x has less than 1e-5 of its largest spread are left out, so
    columns should be on one scale. Where noise nearly separates classes, as with few samples and many levels, optima
    lie far out and the estimate of what is left is too small: the loss was 0.01 nats too large in one such case.
    """
    from scipy import sparse

    ones = np.ones((len(s), 1))
    x = sparse.csr_array(sparse.hstack([x, ones])) if sparse.issparse(x) else np.hstack([x, ones])
    gram = x.T @ x / len(s)
    scale, directions = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
    spanned = scale > 1e-10 * scale[-1]
    x = (x @ (directions[:, spanned] / np.sqrt(scale[spanned]))).T  # (r, n)

    classes = s.max(axis=0) + 1
    omega = np.stack([1 / (k * np.bincount(y)[y]) for y, k in zip(s.T, classes, strict=True)])
    # Padded with zeros, so that codes of nearly the same size share one compiled program.
    r, n, k = _up(x.shape[0], 16), _up(x.shape[1], 512 if x.shape[1] > 512 else 64), _up(int(classes.max()), 4)
    more = ((0, 0), (0, n - x.shape[1]))
    present = np.arange(k) < classes[:, None]
    with jax.enable_x64(False):
        found = _minimize(
            np.pad(x, ((0, r - len(x)), more[1])).astype(np.float32),
            np.pad(s.T, more).astype(np.int32),
            np.pad(omega, more).astype(np.float32),
            present,
            MAX_ITERATIONS,
        )
    v, left, iterations = jax.device_get(found)
    if (left > TOLERANCE).any():
        worst = int(np.argmax(left))
        warnings.warn(
            f"logistic regression for source {worst} stopped after {iterations[worst]} iterations with about "
            f"{left[worst]:.1e} nats to gain, above {TOLERANCE:.0e}; explicitness may be too low",
            RuntimeWarning,
            stacklevel=2,
        )
    logits = v[..., : len(x)].astype(np.float64) @ x  # (n_s, K, n)
    logits = np.where(present[..., None], logits, -np.inf)
    top = logits.max(axis=1, keepdims=True)
    evidence = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return (evidence - np.take_along_axis(logits, s.T[:, None], axis=1)[:, 0]).T


def _up(size: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-size // step) * step


@functools.partial(jax.jit, static_argnums=4)
def _minimize(
    x: Float32[Array, "r n"],
    y: Int[Array, "n_s n"],
    omega: Float32[Array, "n_s n"],
    present: Bool[Array, "n_s k"],
    max_iterations: int,
) -> tuple[Float32[Array, "n_s k r"], Float32[Array, " n_s"], Int[Array, " n_s"]]:
    """V of each source, what is left to gain, and the iterations taken."""
    optimizer = optax.lbfgs(
        memory_size=MEMORY,
        # The objective is convex: any step that goes down enough keeps L-BFGS's estimate of H⁻¹ positive.
        linesearch=optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=15, store_grad=True, max_learning_rate=1.0, increase_factor=float("inf"), atol=1e-7
        ),
    )

    def fit(problem: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        y, omega, present = problem
        targets = (jax.nn.one_hot(y, len(present), axis=0, dtype=jnp.float32) * omega[None]) @ x.T
        hidden = jnp.where(present, jnp.float32(0), jnp.float32(-1e9))[:, None]

        def objective(v: Float32[Array, "k r"]) -> Float32[Array, ""]:
            logits = v @ x + hidden
            evidence = jax.nn.logsumexp(logits, axis=0)
            return omega @ evidence - jnp.vdot(targets, v)

        value_and_grad = optax.value_and_grad_from_state(objective)

        def step(state: tuple) -> tuple:
            v, memory, _, iteration = state
            value, grad = value_and_grad(v, state=memory)
            update, memory = optimizer.update(grad, memory, v, value=value, grad=grad, value_fn=objective)
            rate = optax.tree_utils.tree_get(memory, "learning_rate")
            left = -jnp.vdot(update, grad) / (2 * rate)
            return v + update, memory, left, iteration + 1

        start = jnp.zeros((len(present), len(x)), jnp.float32)
        v, _, left, iteration = jax.lax.while_loop(
            lambda state: (state[2] > TOLERANCE) & (state[3] < max_iterations),
            step,
            (start, optimizer.init(start), jnp.float32(jnp.inf), jnp.int32(0)),
        )
        return v, left, iteration

    return jax.lax.map(fit, (y, omega, present))
