"""KLM against a slow double loop, values worked out on paper, the recorded table, and its invariances."""

import itertools
import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads
from jaxtyping import config as jaxtyping_config
from scipy.stats import gaussian_kde, norm

import tripod_lite as tl
from tripod_lite.legs import ESTIMATORS, latent_scale

every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


@partial(jax.jit, static_argnames="estimator")
def klm(z, scale, estimator):
    return tl.multiinformation(z, scale, estimator=estimator)


def value(z, scale, estimator: str) -> float:
    """KLM in float64."""
    with jax.enable_x64(True):
        return float(klm(np.asarray(z, np.float64), np.asarray(scale, np.float64), estimator))


def slow(z: np.ndarray, scale: np.ndarray, estimator: str) -> float:
    """KLM from its definition: densities, not logarithms, one pair of points and one latent at a time."""
    b, d = z.shape
    if estimator == "pairwise":  # a bandwidth of 0.7 is one of 1 with 0.7 σ
        pairs = map(list, itertools.combinations(range(d), 2))
        return sum(slow(z[:, pair], 0.7 * scale[pair], "leave_one_out") for pair in pairs)
    silverman = (4 / (d + 2)) ** (1 / (d + 4)) * b ** (-1 / (d + 4))
    h_joint = 1.0 if estimator == "leave_one_out" else silverman
    h_marginal = silverman if estimator == "matched" else 1.0
    total = 0.0
    for i in range(b):
        kernels = [j for j in range(b) if j != i or estimator != "leave_one_out"]
        joint, marginals = 0.0, np.zeros(d)
        for j in kernels:
            joint += math.prod(norm.pdf(z[i, k], z[j, k], h_joint * scale[k]) for k in range(d)) / len(kernels)
            for k in range(d):
                marginals[k] += norm.pdf(z[i, k], z[j, k], h_marginal * scale[k]) / len(kernels)
        total += math.log(joint) - sum(math.log(m) for m in marginals)
    return total / b


def latents(dimensions: tuple[int, ...] = (1, 2, 4)) -> st.SearchStrategy[np.ndarray]:
    """Latents in [-1, 1] of several small shapes (each is compiled), ties and constant latents among them."""
    shapes = st.tuples(st.sampled_from((2, 3, 5)), st.sampled_from(dimensions))
    numbers = st.floats(-1, 1, allow_subnormal=False)
    return shapes.flatmap(lambda shape: hnp.arrays(float, shape, elements=numbers))


def gaussians(seed: int, b: int, d: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, d)) @ rng.normal(size=(d, d))


# ---------------------------------------------------------------------------------------- the definition


@every_estimator
@settings(max_examples=40, deadline=None)
@given(z=latents(), data=st.data())
def test_it_equals_the_double_loop(estimator, z, data):
    scale = data.draw(hnp.arrays(float, z.shape[1], elements=st.floats(0.3, 3)))
    assert value(z, scale, estimator) == pytest.approx(slow(z, scale, estimator), rel=1e-10, abs=1e-11)


@pytest.mark.parametrize("r", [0.0, 0.5, 2.0, 6.0])
def test_two_points_on_a_line(r):
    z, scale = np.array([[0.3], [0.3 + 0.2 * r]]), np.array([0.2])
    h = (2 / 3) ** (1 / 5)  # c(2, 1)
    by_hand = math.log1p(math.exp(-(r**2) / (2 * h**2))) - math.log1p(math.exp(-(r**2) / 2)) - math.log(h)
    assert value(z, scale, "released") == pytest.approx(by_hand, abs=1e-12)
    assert value(z, scale, "matched") == pytest.approx(0, abs=1e-12)
    assert value(z, scale, "leave_one_out") == pytest.approx(0, abs=1e-12)


def test_two_points_in_the_plane():
    z, scale = np.array([[0.0, 0.0], [1.0, -3.0]]), np.array([1.0, 2.0])
    h = 2 ** (-1 / 6)  # c(2, 2)
    a, c = math.exp(-0.5 * (1 / h) ** 2), math.exp(-0.5 * (1.5 / h) ** 2)
    by_hand = math.log((1 + a * c) / 2) - math.log((1 + a) / 2) - math.log((1 + c) / 2)
    assert value(z, scale, "matched") == pytest.approx(by_hand, abs=1e-12)
    assert value(z, scale, "leave_one_out") == pytest.approx(0, abs=1e-12)  # one kernel is a product


def test_three_points_can_be_less_than_independent():
    # At the corner the other two are A each in the joint, (1 + A)/2 in both marginals; at the other points both agree.
    a = 3.0
    z, kernel = np.array([[0.0, 0.0], [a, 0.0], [0.0, a]]), math.exp(-(a**2) / 2)
    by_hand = math.log(4 * kernel / (1 + kernel) ** 2) / 3
    assert by_hand < -1
    assert value(z, np.ones(2), "leave_one_out") == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("estimator", ["matched", "leave_one_out", "pairwise"])
@settings(max_examples=25, deadline=None)
@given(z=latents((1,)), scale=st.floats(1e-3, 1e3))
def test_one_latent_alone_has_nothing_to_depend_on(estimator, z, scale):
    assert value(z, np.array([scale]), estimator) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("levels", [(2, 3), (4, 4), (2, 3, 5)])
def test_a_full_grid_is_independent(levels):
    # The points are their own population: the joint of a full grid is the product of its marginals, own points and all.
    z = np.array(list(itertools.product(*(np.linspace(-1, 1, n) for n in levels))))
    assert value(z, z.std(axis=0), "matched") == pytest.approx(0, abs=1e-12)
    lines = [value(z[:, [k]], z[:, k].std(keepdims=True), "released") for k in range(len(levels))]
    h, h_1 = tl.silverman_factor(len(z), len(levels)), tl.silverman_factor(len(z), 1)
    for k, line in enumerate(lines):  # the same joint bandwidth on the line as in the grid
        t = 0.5 * ((z[:, None, k] - z[None, :, k]) / z[:, k].std()) ** 2
        narrow, wide = (np.log(np.exp(-t / g**2).mean(axis=1)).mean() for g in (h_1, h))
        lines[k] = line + wide - narrow - math.log(h / h_1)
    assert value(z, z.std(axis=0), "released") == pytest.approx(sum(lines), abs=1e-12)


# ------------------------------------------------------------------------------------------- the population


def gaussian_population(correlation: np.ndarray, h: float) -> tuple[float, float]:
    """(KL divergence of the smoothed law, what KLM tends to) for Gaussian latents, both in closed form.

    KLM averages over the latents, not over the smoothed latents, so the quadratic forms do not cancel.
    """
    d = len(correlation)
    smoothed = correlation + h**2 * np.eye(d)
    divergence = -0.5 * np.log(np.linalg.det(smoothed / (1 + h**2)))
    trace = np.trace(np.linalg.solve(smoothed, correlation))
    return divergence, divergence + 0.5 * (d / (1 + h**2) - trace)


@pytest.mark.parametrize("d, rho, h", [(2, 0.0, 1.0), (2, 0.9, 1.0), (2, -0.9, 0.6), (3, 0.7, 1.0)])
def test_gaussian_latents_in_closed_form(d, rho, h):
    correlation = np.full((d, d), rho) + (1 - rho) * np.eye(d)
    divergence, expected = gaussian_population(correlation, h)
    sigma, b, rng = np.array([0.5, 2.0, 1.0])[:d], 512, np.random.default_rng(0)
    batches = rng.multivariate_normal(np.zeros(d), correlation * np.outer(sigma, sigma), size=(24, b))
    values = np.array([value(z, h * sigma, "leave_one_out") for z in batches])
    # Bias: half the variance of the mean of b - 1 kernels, relative to the density; below 3/b for these laws.
    tolerance = 4 * values.std(ddof=1) / math.sqrt(len(values)) + 3 / b
    assert values.mean() == pytest.approx(expected, abs=tolerance)
    if rho:
        assert values.mean() > divergence + tolerance  # it is not the divergence itself


def test_wide_kernels_see_second_moments_only():
    # h⁴ KLM tends to Σ_{k<l} [C_kl² + Cov(z_k², z_l²)/4] in units of σ.
    z = np.random.default_rng(1).exponential(size=(40, 3)) @ np.array([[1, 0.5, 0], [0, 1, -0.3], [0, 0, 1]])
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    limit = sum(
        np.cov(z[:, k], z[:, m], ddof=0)[0, 1] ** 2 + np.cov(z[:, k] ** 2, z[:, m] ** 2, ddof=0)[0, 1] / 4
        for k, m in itertools.combinations(range(3), 2)
    )
    h = 200.0
    scaled = h**4 * value(z, np.full(3, h / tl.silverman_factor(40, 3)), "matched")
    assert scaled == pytest.approx(limit, rel=1e-3)


def test_a_ring_reads_less_than_independent_under_wide_kernels():
    # Uncorrelated, yet dependent: large z_0² goes with small z_1².
    turn = 2 * np.pi * np.arange(512) / 512
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    sigma = ring.std(axis=0)
    assert value(ring, 0.5 * sigma, "leave_one_out") > 0.2
    assert value(ring, 1.5 * sigma, "leave_one_out") < -0.005


RECORDED = {  # independent, one pair equal, all pairs equal, all equal: means over 8 batches, d = 12, L = 12
    (64, "released"): (7.09, 7.08, 7.15, 9.30),
    (64, "matched"): (6.09, 6.10, 6.14, 8.38),
    (64, "leave_one_out"): (-0.33, 0.09, 1.79, 5.67),
    (1024, "released"): (6.42, 6.43, 6.76, 11.21),
    (1024, "leave_one_out"): (-0.02, 0.30, 1.99, 5.55),
}


@pytest.mark.parametrize("b, estimator", RECORDED)
def test_the_recorded_table(b, estimator):
    count = 64 if b == 64 else 2
    z = np.random.default_rng(b).integers(0, 12, size=(count, b, 12)) / 5.5 - 1
    pair, pairs = z.copy(), z.copy()
    pair[..., 1], pairs[..., 1::2] = z[..., 0], z[..., ::2]
    laws = np.stack([z, pair, pairs, np.broadcast_to(z[..., :1], z.shape)]).astype(np.float32)
    compiled = jax.jit(lambda batch: klm(batch, latent_scale(batch), estimator))
    values = np.array([[compiled(batch) for batch in law] for law in laws])
    # 0.05, and 3 standard errors of a mean over the 8 batches that were recorded (not resolved from 2 batches of 1024).
    spread = values.std(axis=1, ddof=1) if b == 64 else np.zeros(4)
    assert (np.abs(values.mean(axis=1) - RECORDED[b, estimator]) < 0.05 + 3 * spread / math.sqrt(8)).all(), values


# ------------------------------------------------------------------------------------------- invariance


@every_estimator
@settings(max_examples=25, deadline=None)
@given(z=latents(), data=st.data())
def test_scaling_latents_changes_nothing(estimator, z, data):
    sizes = st.floats(1e-3, 1e3)
    a = data.draw(hnp.arrays(float, z.shape[1], elements=sizes | sizes.map(lambda x: -x)))
    scale = data.draw(hnp.arrays(float, z.shape[1], elements=st.floats(0.3, 3)))
    moved = value(z * a, scale * np.abs(a), estimator)
    assert moved == pytest.approx(value(z, scale, estimator), rel=1e-9, abs=1e-9)


@every_estimator
def test_a_fixed_bandwidth_is_cheated_by_shrinking(estimator):
    dependent = gaussians(0, 64, 2)
    dependent[:, 1] = dependent[:, 0]
    shuffled = np.stack([dependent[:, 0], np.random.default_rng(0).permutation(dependent[:, 1])], axis=1)

    def seen(a: float, fixed: bool) -> float:
        """How much more the dependent latents read, scaled by a."""
        scale = np.ones(2) if fixed else a * dependent.std(axis=0)
        return value(a * dependent, scale, estimator) - value(a * shuffled, scale, estimator)

    assert seen(1, fixed=True) > 0.1
    assert abs(seen(1e-4, fixed=True)) < 1e-6  # nothing left of the dependence
    assert seen(1e-4, fixed=False) == pytest.approx(seen(1, fixed=False), rel=1e-9)
    assert seen(1, fixed=False) > 0.1


@every_estimator
def test_no_gradient_along_scaling(estimator, x64):
    # Euler: KLM(a z) does not depend on a, so Σ_i z_k^i ∂KLM/∂z_k^i = 0 for each latent.
    z = jnp.asarray(gaussians(1, 16))
    gradient = jax.jit(jax.grad(lambda z: klm(z, latent_scale(z, floor=0.0), estimator)))(z)
    assert float(jnp.abs(gradient).max()) > 1e-3
    np.testing.assert_allclose(jnp.sum(z * gradient, axis=0), np.zeros(3), atol=1e-13)


@every_estimator
def test_order_and_origin_do_not_matter(estimator):
    rng, z, scale = np.random.default_rng(2), gaussians(2, 12, 4), np.array([0.5, 1.0, 2.0, 4.0])
    expected = pytest.approx(value(z, scale, estimator), abs=1e-12)
    latent_order = rng.permutation(4)
    assert value(z[rng.permutation(12)], scale, estimator) == expected
    assert value(z[:, latent_order], scale[latent_order], estimator) == expected
    assert value(z + rng.normal(size=(1, 4)), scale, estimator) == expected


# -------------------------------------------------------------------------------- gradients, hard cases, transforms


@every_estimator
@pytest.mark.parametrize("b, d", [(2, 1), (2, 3), (7, 2), (16, 12)])
def test_gradients_equal_finite_differences(estimator, b, d, x64):
    z = jnp.asarray(np.random.default_rng(3).uniform(-1, 1, size=(b, d)))
    accuracy = {"order": 1, "atol": 1e-6, "rtol": 1e-6, "eps": 1e-5}
    check_grads(jax.jit(lambda z, s: klm(z, s, estimator)), (z, latent_scale(z)), **accuracy)
    check_grads(jax.jit(lambda z: klm(z, latent_scale(z), estimator)), (z,), **accuracy)


HARD = {
    "all constant": np.full((8, 3), 0.1),
    "one constant": np.concatenate([gaussians(4, 8, 2), np.full((8, 1), -0.7)], axis=1),
    "duplicate points": np.repeat(gaussians(4, 3), 3, axis=0),
    "two points": gaussians(4, 2),
    "two equal points": np.full((2, 12), 0.25),
    "one point far from the rest in every latent": np.concatenate([-np.ones((63, 12)), np.ones((1, 12))]),
    "a far outlier": np.concatenate([1e-3 * gaussians(4, 63, 12), np.full((1, 12), 1e4)]),
}


@every_estimator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("z", HARD.values(), ids=HARD)
def test_hard_batches_have_finite_values_and_gradients(estimator, z, dtype, x64):
    def penalty(z):
        return klm(z, latent_scale(z), estimator)

    result, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.asarray(z, dtype))
    assert result.dtype == gradient.dtype == dtype
    assert np.isfinite(result) and np.isfinite(gradient).all()
    exact = jax.jit(penalty)(jnp.asarray(z.astype(dtype), np.float64))
    assert float(result) == pytest.approx(float(exact), rel=1e-4, abs=1e-4)


@every_estimator
def test_jit_and_vmap(estimator, x64):
    z = jnp.stack([jnp.asarray(gaussians(seed, 9)) for seed in range(4)])
    scale = jnp.stack([latent_scale(batch) for batch in z])
    one_by_one = [float(tl.multiinformation(*pair, estimator=estimator)) for pair in zip(z, scale, strict=True)]
    together = jax.jit(jax.vmap(lambda z, s: tl.multiinformation(z, s, estimator=estimator)))
    np.testing.assert_allclose(together(z, scale), one_by_one, rtol=1e-12)


def test_the_default_is_the_released_estimator():
    z, scale = jnp.asarray(gaussians(5, 9), jnp.float32), jnp.ones(3, jnp.float32)
    assert tl.multiinformation(z, scale) == tl.multiinformation(z, scale, estimator="released")


POINTS, SCALE = np.zeros((4, 3), np.float32), np.ones(3, np.float32)
UNKNOWN = "estimator .*released, matched, leave_one_out, pairwise.*'silverman'"
BAD = {
    "unknown estimator": (POINTS, SCALE, "silverman", ValueError, UNKNOWN),
    "integers": (POINTS.astype(int), SCALE, "released", TypeError, "z must be floating point, got int"),
    "booleans": (POINTS > 0, SCALE, "released", TypeError, "z must be floating point, got bool"),
    "complex numbers": (POINTS + 1j, SCALE, "released", TypeError, "z must be floating point, got complex"),
    "one point": (POINTS[:1], SCALE, "released", ValueError, r"z .*\(b, n_z\).*at least 2.*\(1, 3\)"),
    "no point": (POINTS[:0], SCALE, "released", ValueError, r"z .*\(0, 3\)"),
    "no latent": (POINTS[:, :0], SCALE[:0], "released", ValueError, r"z .*\(4, 0\)"),
    "one dimension": (SCALE, SCALE, "released", ValueError, r"z .*\(b, n_z\).*got \(3,\)"),
    "three dimensions": (POINTS[None], SCALE, "released", ValueError, r"z .*got \(1, 4, 3\)"),
    "a scale too many": (POINTS, np.ones(4, np.float32), "released", ValueError, r"scale .*\(3,\).*got \(4,\)"),
    "one scale for all": (POINTS, np.float32(1), "released", ValueError, r"scale .*\(3,\).*got \(\)"),
    "a scale a point": (POINTS, POINTS, "released", ValueError, r"scale .*\(3,\).*got \(4, 3\)"),
}


@pytest.mark.parametrize("z, scale, estimator, error, message", BAD.values(), ids=BAD)
def test_bad_input_is_named(z, scale, estimator, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)  # the function's own messages, as users meet them
    with pytest.raises(error) as caught:
        tl.multiinformation(z, scale, estimator=estimator)
    assert re.search(message, str(caught.value))


# --------------------------------------------------------------------------------------- bandwidth and scale


def test_silverman_factor_on_paper():
    assert tl.silverman_factor(1, 2) == 1
    assert tl.silverman_factor(64, 2) == pytest.approx(0.5)  # 64^(-1/6)
    assert tl.silverman_factor(243, 1) == pytest.approx((4 / 3) ** 0.2 / 3)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 200), d=st.integers(1, 12))
def test_silverman_factor_is_scipys_and_minimizes_the_asymptotic_error(n, d):
    factor = tl.silverman_factor(n, d)
    points = np.random.default_rng(0).normal(size=(d, n + d + 1))  # more points than dimensions, or SciPy refuses
    kde = gaussian_kde(points, bw_method="silverman")
    assert tl.silverman_factor(points.shape[1], d) == pytest.approx(kde.factor, rel=1e-12)

    def error(h: float) -> float:  # variance 1/(n h^d) and squared bias d (d + 2) h⁴/16, in units of (2√π)^-d
        return 1 / (n * h**d) + d * (d + 2) * h**4 / 16

    assert error(factor) < min(error(0.99 * factor), error(1.01 * factor))


@pytest.mark.parametrize("n, d", [(0, 1), (1, 0), (-3, 2)])
def test_silverman_factor_refuses_nothing_to_smooth(n, d):
    with pytest.raises(ValueError, match=rf"n\b.*\bd\b.*at least 1.*{n}.*{d}|at least 1, got (n = )?{min(n, d)}"):
        tl.silverman_factor(n, d)


@settings(max_examples=25, deadline=None)
@given(c=latents())
def test_latent_scale_is_the_standard_deviation_of_the_batch(c):
    with jax.enable_x64(True):
        np.testing.assert_allclose(latent_scale(jnp.asarray(c)), c.std(axis=0, ddof=0) + 1e-6, rtol=1e-9, atol=1e-15)
        bare = latent_scale(jnp.asarray(c), floor=0.0)
        np.testing.assert_allclose(bare, c.std(axis=0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("c", "error", "message"),
    [
        (POINTS.astype(int), TypeError, "c must be floating point, got int"),
        (SCALE, ValueError, r"c must have shape \(b, n_z\), not empty, got \(3,\)"),
        (POINTS[:0], ValueError, r"c .*got \(0, 3\)"),
    ],
)
def test_latent_scale_names_bad_input(c, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        latent_scale(c)


def test_a_constant_latent_has_the_floor_and_no_slope(x64):
    c = jnp.asarray(np.stack([np.arange(6.0), np.full(6, 0.5)], axis=1))
    scale, slope = latent_scale(c), jax.jacobian(latent_scale)(c)
    assert scale[1] == 1e-6
    assert not slope[1].any()
    # d std/d c_i = (c_i - mean) / (b std)
    np.testing.assert_allclose(slope[0, :, 0], (np.arange(6) - 2.5) / (6 * np.arange(6).std()), rtol=1e-12)


@pytest.mark.parametrize("b", [3, 7, 49, 64])
def test_the_slope_is_bounded_near_a_constant(b):
    # The mean of equal float32 numbers need not be exact; the slope has length 1/√b whatever the deviations.
    for c in (np.full((b, 1), 0.1), 0.1 + 1e-7 * np.random.default_rng(b).normal(size=(b, 1))):
        slope = jax.jacobian(latent_scale)(jnp.asarray(c, jnp.float32))
        assert float(jnp.linalg.norm(slope)) <= 1.001 / math.sqrt(b)
