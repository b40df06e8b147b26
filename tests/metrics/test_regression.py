"""The regression of InfoE: its optimum by what makes it one."""

import warnings

import jax
import numpy as np
import pytest
from scipy import sparse, special

from tripod_lite.metrics import regression
from tripod_lite.metrics.infomec import sample_losses
from tripod_lite.metrics.regression import TOLERANCE, least_losses
from tripod_lite.metrics.tables import one_hot

# One shape for nearly all tests, compiled once: 64 samples, up to 16 inputs, three sources of two to four classes.
N = 64


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (64, 5) and sources of 2, 3 and 4 unbalanced classes, which overlap."""
    rng = np.random.default_rng(seed)
    s = np.stack([rng.permutation(np.arange(N) ** 2 // 16 % k) for k in (2, 3, 4)], axis=1)
    return s @ rng.normal(size=(3, 5)) + 2 * rng.normal(size=(N, 5)), s


def weights(y: np.ndarray) -> np.ndarray:
    """Every class the same, all together 1."""
    counts = np.bincount(y)
    return 1 / (len(counts) * counts[y])


def balanced(losses: np.ndarray, s: np.ndarray) -> np.ndarray:
    return np.array([weights(y) @ loss for y, loss in zip(s.T, losses.T, strict=True)])


def losses_of(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    logits = x @ w[1:] + w[0]
    return special.logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]


def test_one_discrete_latent_by_hand():
    # A table of one latent is saturated: p(s | level) is the share of the class's weight among all at the level.
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(4), 16)[:, None]
    s = np.stack([rng.permutation(np.arange(N) % k) for k in (2, 3, 4)], axis=1)
    losses = least_losses(one_hot(z)[0], s)
    for y, loss in zip(s.T, losses.T, strict=True):
        omega = weights(y)
        joint = [omega[(y == k) & (z[:, 0] == v)].sum() for k, v in zip(y, z[:, 0], strict=True)]
        share = joint / np.array([omega[z[:, 0] == v].sum() for v in z[:, 0]])
        assert loss == pytest.approx(-np.log(share), abs=0.02)
        assert omega @ loss == pytest.approx(omega @ -np.log(share), abs=2 * TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_weights_do_better(seed):
    x, s = problem(seed)
    least = balanced(least_losses(x, s), s)
    assert (least < np.log([2, 3, 4])).all()
    rng = np.random.default_rng(seed)
    for y, best in zip(s.T, least, strict=True):
        for size in (0.01, 0.1, 0.3, 1.0):
            for _ in range(5):
                w = size * rng.normal(size=(6, y.max() + 1))
                assert best <= weights(y) @ losses_of(w, x, y) + TOLERANCE


def test_it_is_as_low_as_scipy_gets():
    from scipy.optimize import minimize

    x, s = problem()
    least = balanced(least_losses(x, s), s)
    for y, best in zip(s.T, least, strict=True):
        k = y.max() + 1
        found = minimize(lambda w, y=y, k=k: weights(y) @ losses_of(w.reshape(6, k), x, y), np.zeros(6 * k))
        assert best == pytest.approx(found.fun, abs=1e-5)


@pytest.fixture(scope="module")
def nearly_separable() -> tuple[np.ndarray, np.ndarray]:
    """Ten noisy latents of 12 levels and a source of 5 classes: the optimum has logits in the thousands."""
    rng = np.random.default_rng(0)
    sizes = np.array([4, 6, 5])
    s = np.stack([rng.integers(0, k, 4000) for k in sizes], axis=1)
    z = (2 * s / (sizes - 1) - 1) @ rng.normal(size=(3, 10)) + 0.4 * rng.normal(size=(4000, 10))
    return np.rint((np.tanh(z) + 1) / 2 * 11).astype(int), s[:, [2]]


def by_newton(x: np.ndarray, y: np.ndarray) -> float:
    """The least balanced loss by Newton's method from 0, the Hessian summed class by class; x has full rank."""
    omega, k, d = weights(y), y.max(), x.shape[1]
    w = np.zeros((k, d))  # the last class has weights 0
    loss = lambda w: omega @ losses_of(np.pad(w.T, ((1, 0), (0, 1))), x, y)  # noqa: E731
    for _ in range(100):
        p = special.softmax(np.pad(x @ w.T, ((0, 0), (0, 1))), axis=1)[:, :k]
        gradient = ((p - np.eye(k + 1)[y][:, :k]) * omega[:, None]).T @ x
        hessian = np.zeros((k, d, k, d))
        for a, b in np.ndindex(k, k):
            hessian[a, :, b] = (x * (omega * p[:, a] * ((a == b) - p[:, b]))[:, None]).T @ x
        step = np.linalg.solve(hessian.reshape(k * d, k * d) + 1e-14 * np.eye(k * d), gradient.ravel()).reshape(k, d)
        rates = 2.0 ** np.arange(-8, 5)
        w = w - rates[np.argmin([loss(w - rate * step) for rate in rates])] * step
        if np.vdot(gradient, step) < 2e-7:
            return loss(w)
    raise AssertionError("Newton's method did not end")


def test_the_optimum_is_reached_where_noise_nearly_separates_classes(nearly_separable):
    z, s = nearly_separable
    x, starts = one_hot(z)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        least = balanced(least_losses(x, s), s)
    # One level of each latent is what the intercept makes superfluous.
    least_by_newton = by_newton(np.column_stack([np.delete(x.toarray(), starts, axis=1), np.ones(len(s))]), s[:, 0])
    assert least == pytest.approx(least_by_newton, abs=TOLERANCE)


def test_it_says_when_it_did_not_get_there(nearly_separable, monkeypatch):
    z, s = nearly_separable
    monkeypatch.setattr(regression, "NEWTON_STEPS", 2)
    with pytest.warns(RuntimeWarning, match=r"source 0: 2 Newton steps left up to .* nats to gain"):
        least_losses(one_hot(z)[0], s)


def test_the_hessian_is_the_second_derivative():
    rng = np.random.default_rng(0)
    x, y = sparse.csr_array(rng.normal(size=(20, 3)) * (rng.random((20, 3)) < 0.7)), rng.integers(0, 3, 20)
    omega, basis, v = weights(y), rng.normal(size=(3, 2)), rng.normal(size=(2, 2))

    def objective(v):
        logits = jax.numpy.pad(x.toarray() @ basis @ v.T, ((0, 0), (0, 1)))
        return -(omega * jax.nn.log_softmax(logits)[np.arange(20), y]).sum()

    with jax.enable_x64(True):
        true = np.asarray(jax.jit(jax.hessian(objective))(v)).reshape(4, 4)
    p = regression._losses(np.pad(x @ basis @ v.T, ((0, 0), (0, 1))), y)[1]
    assert regression._hessian(regression._pairs(x), basis, omega, p) == pytest.approx(true, abs=1e-12)


def nearly_piecewise_linear(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Saturated latents that tell sources apart by their last digits: logits go into the millions."""
    rng = np.random.default_rng(seed)
    s = np.stack([rng.integers(0, k, 512) for k in (2, 3, 4)], axis=1)
    u = 2 * s / (s.max(axis=0)) - 1
    return np.tanh(5 * (u @ rng.normal(size=(3, 4)) + 0.2 * rng.normal(size=(512, 4)))), s


def test_what_a_step_promises_is_not_believed_far_out():
    """At one point on the way the Newton step for source 1 promises 2e-6 nats; 3.5e-3 are left."""
    x, s = nearly_piecewise_linear(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        least = balanced(least_losses(x, s), s)
    assert least[1] == pytest.approx(0.13983, abs=TOLERANCE)  # by 150 steps, which no longer move


@pytest.mark.parametrize("size", [0.3, 0.1, 0.03])
def test_the_gap_bounds_what_is_left(size):
    x, s = problem()
    x, y = np.column_stack([x / x.std(axis=0), np.ones(N)]), s[:, 1]
    omega, left = weights(y), None
    logits = size * np.pad(x @ np.random.default_rng(0).normal(size=(6, 2)), ((0, 0), (0, 1)))
    least = by_newton(x, y)
    for _ in range(20):
        losses, p = regression._losses(logits, y)
        hessian = regression._hessian(regression._pairs(sparse.csr_array(x)), np.eye(6), omega, p)
        uphill = ((np.eye(3)[y] - p)[:, :2] * omega[:, None]).T @ x
        along = np.pad(x @ np.linalg.solve(hessian, uphill.ravel()).reshape(2, 6).T, ((0, 0), (0, 1)))
        gap, left = regression._gap(omega, omega @ losses, p, along), omega @ losses - least
        assert gap >= left - 1e-9
        if left < 1e-3:
            assert gap == pytest.approx(left, rel=0.1, abs=1e-9)
        logits = logits + 0.5 * along  # half a step, to pass many points
    assert left < 1e-9


@pytest.mark.parametrize(("minimum", "rate"), [(1.0, 1), (5.0, 4), (0.3, 0.25), (1e3, 1024), (1e-4, 2**-13), (-1.0, 0)])
def test_the_best_rate_is_a_power_of_two(minimum, rate):
    assert regression._best_rate(minimum**2, lambda x: (x - minimum) ** 2) == rate


def test_the_gradient_vanishes():
    # For two classes the losses tell it all: p = exp(-loss), and the gradient is Σ_i ω_i (1 - p_i) (±1) (1, x_i).
    x, s = problem()
    y, loss = s[:, 0], least_losses(x, s)[:, 0]
    x = np.column_stack([np.ones(N), (x - x.mean(axis=0)) / x.std(axis=0)])
    at_zero = x.T @ (weights(y) * 0.5 * np.where(y == 1, -1, 1))
    gradient = x.T @ (weights(y) * -np.expm1(-loss) * np.where(y == 1, -1, 1))
    assert np.abs(at_zero).max() > 0.1
    assert np.abs(gradient).max() < 2e-3


def test_separable_classes_leave_nothing():
    s = np.stack(np.meshgrid(*map(np.arange, (2, 3, 4)), indexing="ij"), axis=-1).reshape(-1, 3)
    s = np.vstack([s, s, s[:16]])
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
        warnings.simplefilter("error")
        for losses in (sample_losses(s, s, True), least_losses(np.eye(4)[s[:, 2]] * 5, s[:, [2, 2, 2]])):
            assert (balanced(losses, s if losses.shape[1] == 3 else s[:, [2]]) < 1e-3).all()
            assert (losses >= 0).all()


def test_separable_continuous_classes_leave_nothing():
    rng = np.random.default_rng(0)
    s = np.stack([rng.permutation(np.arange(N) % 2) for _ in range(3)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = sample_losses(s, s + 0.2 * rng.uniform(-1, 1, s.shape), False)
    assert (balanced(losses, s) < 1e-3).all()


def test_inputs_that_add_nothing_change_nothing():
    x, s = problem()
    losses = least_losses(x, s)
    more = np.hstack([x, x[:, :2], np.full((N, 1), 3.0), np.zeros((N, 1)), x @ np.ones((5, 1))])
    assert least_losses(more, s) == pytest.approx(losses, abs=0.02)
    assert balanced(least_losses(more, s), s) == pytest.approx(balanced(losses, s), abs=2 * TOLERANCE)


def test_units_do_not_matter():
    x, s = problem()
    moved = x @ np.random.default_rng(0).normal(size=(5, 5)) * [1, 10, 0.1, 1, 1] + 7
    assert balanced(least_losses(moved, s), s) == pytest.approx(balanced(least_losses(x, s), s), abs=2 * TOLERANCE)


def test_sparse_inputs_are_inputs():
    _, s = problem()
    x = one_hot(np.random.default_rng(0).integers(0, 4, (N, 3)))[0]
    assert sparse.issparse(x)
    dense = least_losses(x.toarray(), s)
    assert least_losses(x, s) == pytest.approx(dense, abs=1e-3)


def test_each_source_by_itself():
    """Sources of fewer classes are padded; that must not be seen."""
    x, s = problem()
    together = least_losses(x, s)
    for i in range(3):
        alone = least_losses(x, s[:, [i] * 3])
        assert alone[:, 0] == pytest.approx(together[:, i], abs=1e-3)
    assert least_losses(x[::-1], s[::-1])[::-1] == pytest.approx(together, abs=0.02)


def test_double_precision_elsewhere_changes_nothing():
    x, s = problem()
    before = least_losses(x, s)
    with jax.enable_x64(True):
        after = least_losses(x, s)
        assert jax.numpy.ones(1).dtype == np.float64  # as it was
    assert after.dtype == before.dtype == np.float64
    assert after == pytest.approx(before, abs=1e-6)
