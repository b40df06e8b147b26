"""Multinomial logistic regression, fitted to its optimum: what a linear reader can tell about the sources."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int

TOLERANCE = 5e-5  # nats
NEWTON_STEPS = 100
# Of the first search, which only has to come near.
FIRST_TOLERANCE = 5e-6
FIRST_ITERATIONS = 1000
MEMORY = 20


def least_losses(x: Any, s: Int[np.ndarray, "n n_s"]) -> Float[np.ndarray, "n n_s"]:
    """What unregularized multinomial logistic regression leaves unsaid of each source in each sample.

    For each source, min over weights W of Σ_i ω_i · -log softmax(x_i W)[s_i], where ω_i makes the K classes weigh the
    same and Σ_i ω_i = 1.

    Args:
        x: inputs, shape (n, d), an array or a scipy sparse matrix. An intercept is added.
        s: class numbers 0 … K - 1, each of them present, shape (n, n_s).

    Returns:
        -log softmax(x_i W)[s_i] at the optimum, in nats, shape (n, n_s). Their sum under ω is between 0 and log K,
        which constant inputs give. Classes that linear functions separate have their optimum at infinity; the search
        stops where little is left to gain.

    Warns:
        RuntimeWarning: an optimum was not reached.

    The objectives are convex. L-BFGS (Optax) comes near the optima of all sources in one call on JAX's default device,
    in single precision; Newton's method, which sees directions that are nearly flat, finishes in double precision on
    the host, and starts again from 0 where it does not end soon. It ends when its step promises less than 5e-5 nats,
    half of g·H⁻¹g with the whole Hessian H, and the dual problem, whose entropy no loss can be below, confirms it. A
    step costs O(n q² K² + (K d)³) time for q nonzero inputs a sample, and O((K d)²) memory. Both search the coordinates
    V with W = T V, where the columns of x T are orthonormal. Directions in which x has less than 1e-5 of its largest
    spread are left out, so columns should be on one scale.
    """
    from scipy import sparse

    ones = np.ones((len(s), 1))
    x = sparse.csr_array(sparse.hstack([x, ones])) if sparse.issparse(x) else np.hstack([x, ones])
    gram = x.T @ x / len(s)
    scale, directions = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
    spanned = scale > 1e-10 * scale[-1]
    basis = directions[:, spanned] / np.sqrt(scale[spanned])  # T, (d, r)
    white = x @ basis
    if not sparse.issparse(x):
        x, basis = sparse.csr_array(white), np.eye(white.shape[1])

    omega = np.stack([1 / ((y.max() + 1) * np.bincount(y)[y]) for y in s.T])
    near = _near_optimum(white.T, s.T, omega)
    pairs = _pairs(x)
    losses, left = [], []
    for y, weight, v in zip(s.T, omega, near, strict=True):
        problem, logits = (x, pairs, basis, y, weight), x @ (basis @ v[: y.max() + 1].T)
        loss, gap = _finish(*problem, logits, 12)
        if gap > TOLERANCE:  # single precision led astray
            loss, gap = _finish(*problem, np.zeros_like(logits), NEWTON_STEPS)
        losses.append(loss)
        left.append(gap)
    for number in np.flatnonzero(np.array(left) > TOLERANCE):
        warnings.warn(
            f"logistic regression for source {number}: {NEWTON_STEPS} Newton steps left up to {left[number]:.1e} nats "
            f"to gain, more than {TOLERANCE:.0e}; explicitness may be too low",
            RuntimeWarning,
            stacklevel=2,
        )
    return np.stack(losses, axis=1)


def _near_optimum(
    x: Float[np.ndarray, "r n"], y: Int[np.ndarray, "n_s n"], omega: Float[np.ndarray, "n_s n"]
) -> Float32[np.ndarray, "n_s k r"]:
    """V by L-BFGS, for sources of fewer than k classes with rows to spare."""
    classes = y.max(axis=1) + 1
    # Padded with zeros, so that codes of nearly the same size share one compiled program.
    r, n, k = _up(x.shape[0], 16), _up(x.shape[1], 512 if x.shape[1] > 512 else 64), _up(int(classes.max()), 4)
    more = ((0, 0), (0, n - x.shape[1]))
    with jax.enable_x64(False):
        found = _minimize(
            np.pad(x, ((0, r - len(x)), more[1])).astype(np.float32),
            np.pad(y, more).astype(np.int32),
            np.pad(omega, more).astype(np.float32),
            np.arange(k) < classes[:, None],
        )
    return jax.device_get(found)[..., : len(x)]


def _up(size: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-size // step) * step


@jax.jit
def _minimize(
    x: Float32[Array, "r n"], y: Int[Array, "n_s n"], omega: Float32[Array, "n_s n"], present: Bool[Array, "n_s k"]
) -> Float32[Array, "n_s k r"]:
    """V of each source, where L-BFGS's own H⁻¹ sees less than 5e-6 nats to gain."""
    optimizer = optax.lbfgs(
        memory_size=MEMORY,
        # The objective is convex: any step that goes down enough keeps L-BFGS's estimate of H⁻¹ positive.
        linesearch=optax.scale_by_backtracking_linesearch(
            max_backtracking_steps=15, store_grad=True, max_learning_rate=1.0, increase_factor=float("inf"), atol=1e-7
        ),
    )

    def fit(problem: tuple[Array, Array, Array]) -> Array:
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
        return jax.lax.while_loop(
            lambda state: (state[2] > FIRST_TOLERANCE) & (state[3] < FIRST_ITERATIONS),
            step,
            (start, optimizer.init(start), jnp.float32(jnp.inf), jnp.int32(0)),
        )[0]

    return jax.lax.map(fit, (y, omega, present))


def _finish(
    x: Any,
    pairs: Any,
    basis: Float[np.ndarray, "d r"],
    y: Int[np.ndarray, " n"],
    omega: Float[np.ndarray, " n"],
    logits: Float[np.ndarray, "n k"],
    max_steps: int,
) -> tuple[Float[np.ndarray, " n"], float]:
    """Newton's method from some logits: the losses, and how far they were above the least before the last step."""
    from scipy import linalg

    samples, r, k = np.arange(len(y)), basis.shape[1], logits.shape[1]

    # Adding one vector to the weights of all classes changes nothing, so those of the last class can stay.
    def logits_of(v: np.ndarray) -> np.ndarray:
        return np.pad(x @ (basis @ v.reshape(k - 1, r).T), ((0, 0), (0, 1)))

    def gradient_of(per_logit: np.ndarray) -> np.ndarray:
        return ((x.T @ (omega[:, None] * per_logit[:, :-1])).T @ basis).ravel()

    losses, p = _losses(logits, y)
    left = float(omega @ losses)  # no loss is below 0
    factor = None
    for _ in range(max_steps):
        if left <= TOLERANCE:
            break
        missed = -p
        missed[samples, y] += 1
        uphill = gradient_of(missed)

        def curve(v: np.ndarray, p: np.ndarray = p) -> np.ndarray:
            moved = logits_of(v)
            return gradient_of(p * (moved - (p * moved).sum(axis=1, keepdims=True)))

        # The last step's factor is near enough to solve this step's equation in a few products, often.
        move, solved = (None, False) if factor is None else _conjugate_gradients(curve, factor, uphill)
        if not solved:
            hessian = _hessian(pairs, basis, omega, p)
            hessian[np.diag_indices_from(hessian)] += 1e-12 * hessian.diagonal().max()
            try:  # so far out that double precision sees no curvature, there is no step
                factor = linalg.cho_factor(hessian, lower=True, overwrite_a=True)
            except linalg.LinAlgError:
                break
            move, _ = _conjugate_gradients(curve, factor, uphill)
            if not np.isfinite(move).all():
                break
        along = logits_of(move)
        loss = float(omega @ losses)
        left = max(float(uphill @ move) / 2, _gap(omega, loss, p, along))
        logits = logits + along * _best_rate(
            loss, lambda rate, logits=logits, along=along: omega @ _losses(logits + rate * along, y)[0]
        )
        losses, p = _losses(logits, y)
        left = min(left, float(omega @ losses))
    return losses, left


def _conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], factor: Any, right: Float[np.ndarray, " size"]
) -> tuple[Float[np.ndarray, " size"], bool]:
    """Solve product(solution) = right with the Cholesky factor of a matrix like it; whether 15 products were enough."""
    from scipy import linalg

    solution, rest = np.zeros_like(right), right
    towards = direction = linalg.cho_solve(factor, rest, check_finite=False)
    first = size = rest @ towards
    for _ in range(15):
        curved = product(direction)
        if not direction @ curved > 0:  # round-off
            break
        rate = size / (direction @ curved)
        solution, rest = solution + rate * direction, rest - rate * curved
        towards = linalg.cho_solve(factor, rest, check_finite=False)
        size, before = rest @ towards, size
        if size <= 1e-8 * first:
            return solution, True
        direction = towards + size / before * direction
    return solution, False


def _gap(
    omega: Float[np.ndarray, " n"], loss: float, p: Float[np.ndarray, "n k"], along: Float[np.ndarray, "n k"]
) -> float:
    """How far the loss is above the least one, from the Newton step of the logits.

    The least loss is the largest entropy Σ_i ω_i H(q_i) among the q that agree with the classes on the mean of all
    inputs, Σ_i ω_i (q_i - onehot(y_i)) x_iᵀ = 0. The step makes q_i = p_i + (diag p_i - p_i p_iᵀ) along_i
    agree, so where no q_ik is negative the least loss is at least its entropy. What is negative is cut off; as that
    moves the bound by its mass times the logits of the optimum, it counts 500 times. Round-off, far out, can make the
    gap negative; it is then as wrong as it is large.
    """
    from scipy.special import entr

    q = p * (1 + along - (p * along).sum(axis=1, keepdims=True))
    cut = float(omega @ np.maximum(-q, 0).sum(axis=1))
    q = np.maximum(q, 0)
    q = q / np.maximum(q.sum(axis=1, keepdims=True), 1)  # 1 and up but for round-off
    bound = float(omega @ entr(q).sum(axis=1))
    return max(abs(loss - bound), 500 * cut)


def _losses(
    logits: Float[np.ndarray, "n k"], y: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"]]:
    """-log softmax(logits)[y], and the softmax."""
    logits = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    total = odds.sum(axis=1, keepdims=True)
    return np.log(total[:, 0]) - logits[np.arange(len(y)), y], odds / total


def _best_rate(before: float, objective: Callable[[float], float]) -> float:
    """The best power of two for a step along which the objective is convex; 0 if none of 2^-30 and up goes down."""
    rate, best = 1.0, objective(1.0)
    while rate > 2**-30 and ((lower := objective(rate / 2)) < best or best >= before):
        rate, best = rate / 2, lower
    while rate >= 1 and (higher := objective(2 * rate)) < best:
        rate, best = 2 * rate, higher
    return rate if best < before else 0.0


def _pairs(x: Any) -> Any:
    """Products of any two inputs of a sample, shape (d², n), sparse; zero below the diagonal and halved on it."""
    from scipy import sparse

    width = np.diff(x.indptr)
    times = np.repeat(width, width)  # how many inputs each of them meets
    first = np.repeat(np.arange(x.nnz), times)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(times) - times, times)
    second = np.repeat(np.repeat(x.indptr[:-1], width), times) + nth
    left, right = x.indices[first], x.indices[second]
    keep = left <= right
    first, second, left, right = first[keep], second[keep], left[keep], right[keep]
    products = x.data[first] * x.data[second] * np.where(left == right, 0.5, 1.0)
    sample = np.repeat(np.arange(len(width)), width)[first]
    return sparse.csr_array(
        (products, (left.astype(np.int64) * x.shape[1] + right, sample)), shape=(x.shape[1] ** 2, len(width))
    )


def _hessian(
    pairs: Any, basis: Float[np.ndarray, "d r"], omega: Float[np.ndarray, " n"], p: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "size size"]:
    """Σ_i ω_i (diag p_i - p_i p_iᵀ) ⊗ x_i x_iᵀ in the basis, for all classes but the last."""
    (d, r), k = basis.shape, p.shape[1] - 1
    others = p @ (1 - np.eye(k + 1))  # 1 - p, to all digits where p is close to 1
    a, b = np.triu_indices(k)
    spread = np.where(a == b, others[:, a], -p[:, b]) * p[:, a] * omega[:, None]
    half = (pairs @ spread).reshape(d, d, -1)
    half = np.tensordot(np.tensordot(basis, half, axes=(0, 0)), basis, axes=(1, 0))  # (r, pairs of classes, r)
    block = np.empty((k, k), np.int64)
    block[a, b] = block[b, a] = np.arange(len(a))
    return (half + half.T)[:, block].transpose(1, 0, 2, 3).reshape(k * r, k * r)
