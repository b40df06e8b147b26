"""Multinomial logistic regression, fitted to its optimum: what a linear reader can tell about a factor."""

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int

GRADIENT_TOLERANCE = 1e-5
MAX_ITERATIONS = 3000


def balanced_cross_entropy(x: Any, y: Int[np.ndarray, " n"]) -> float:
    """The least cross-entropy that unregularized multinomial logistic regression reaches, with balanced classes.

    Args:
        x: inputs, shape (n, d), an array or a scipy sparse matrix. An intercept is added.
        y: class numbers 0 … K - 1, each of them present, shape (n,).

    Returns:
        H_z in nats, min over weights W of Σ_i ω_i · -log softmax(x_i W)[y_i], where ω_i makes the classes weigh the
        same and Σ_i ω_i = 1. Between 0 and log K, which constant inputs give. Classes that a hyperplane separates
        have their optimum at infinity; the search stops where little is left to gain.

    The objective is convex, and L-BFGS finds the optimum, but slowly in the coordinates of W: one-hot columns of rare
    and of common levels differ in scale and depend on each other. In the coordinates V with W = T V, where the columns
    of x T are orthonormal under ω, it takes a tenth of the steps, and x can stay sparse. With 10 000 samples of 12
    latents of 12 levels the result is within 1e-4 · log K of the optimum.
    """
    from scipy import sparse
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    n, classes = len(y), int(y.max()) + 1
    ones = np.ones((n, 1))
    x = sparse.csr_array(sparse.hstack([x, ones])) if sparse.issparse(x) else np.hstack([x, ones])
    omega = 1.0 / (classes * np.bincount(y)[y])
    gram = x.T @ (x * omega[:, None])
    scale, directions = np.linalg.eigh(gram.toarray() if sparse.issparse(gram) else gram)
    spanned = scale > 1e-10 * scale[-1]
    t = directions[:, spanned] / np.sqrt(scale[spanned])
    transposed = sparse.csr_array(x.T) if sparse.issparse(x) else x.T
    targets = np.zeros((n, classes))
    targets[np.arange(n), y] = omega

    def objective(v: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        logits = x @ (t @ v.reshape(-1, classes))
        logits -= logits.max(axis=1, keepdims=True)
        likelihood = np.exp(logits)
        evidence = likelihood.sum(axis=1)
        loss = omega @ (np.log(evidence) - logits[np.arange(n), y])
        residual = likelihood * (omega / evidence)[:, None] - targets
        return float(loss), (t.T @ (transposed @ residual)).ravel()

    options = {
        "gtol": GRADIENT_TOLERANCE,
        "ftol": 0.0,
        "maxcor": 20,
        "maxiter": MAX_ITERATIONS,
        "maxfun": MAX_ITERATIONS,
    }
    with threadpool_limits(1):  # the matrices are too small to share out; threads only wait for each other
        found = minimize(objective, np.zeros(t.shape[1] * classes), jac=True, method="L-BFGS-B", options=options)
    largest = float(np.abs(found.jac).max())
    if largest > 10 * GRADIENT_TOLERANCE:
        warnings.warn(
            f"logistic regression stopped after {found.nit} iterations with a gradient of {largest:.1e}, above "
            f"{GRADIENT_TOLERANCE:.0e}; explicitness may be too low",
            RuntimeWarning,
            stacklevel=2,
        )
    return float(found.fun)
