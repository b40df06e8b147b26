"""Hessian penalties against closed forms, the full Hessian, exact enumeration of the probes, and their invariances."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jax.test_util import check_grads
from jaxtyping import config as jaxtyping_config

import tripod_lite as tl
from tripod_lite.legs import latent_scale
from tripod_lite.legs.hessian import METHODS, second_derivative, second_difference

every_method = pytest.mark.parametrize("method", METHODS)
KEY = jax.random.key(0)


def oracle(z):
    """z_0² z_1, with H = [[2 z_1, 2 z_0], [2 z_0, 0]]: A = 16 z_0², B = 16 z_0² + 8 z_1² for σ = 1."""
    return z[0] ** 2 * z[1]


def quadratic(h):
    """½ zᵀHz, so that H is the Hessian everywhere."""
    h = jnp.asarray(h)
    return lambda z: 0.5 * z @ h @ z


def mlp(seed: int, n_z: int, outputs: int = 5, width: int = 7):
    """A smooth random function (n_z,) → (outputs,), in the precision of its argument."""
    rng = np.random.default_rng(seed)
    w, b, u = rng.normal(size=(n_z, width)), rng.normal(size=width), rng.normal(size=(width, outputs))
    return lambda z: jnp.tanh(z @ jnp.asarray(w, z.dtype) + jnp.asarray(b, z.dtype)) @ jnp.asarray(u, z.dtype)


def latents(seed: int, b: int, n_z: int, dtype=float):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, size=(b, n_z)), dtype)


def symmetric(largest: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Symmetric matrices of any small size, zero ones among them."""
    entries = st.floats(-3, 3, allow_subnormal=False)
    square = st.integers(1, largest).flatmap(lambda n: hnp.arrays(float, (n, n), elements=entries))
    return square.map(lambda a: a + a.T)


def corners(n: int) -> np.ndarray:
    """All 2^n Rademacher vectors."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def gauss_hermite(n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (p, n) and weights that integrate polynomials of degree 2 nodes - 1 in each variable over N(0, I)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(x, repeat=n)))
    weights = np.array([math.prod(p) for p in itertools.product(w / w.sum(), repeat=n)])
    return points, weights


def moments(q: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Variance and fourth central moment of the values q under the weights."""
    centered = q - weights @ q
    return float(weights @ centered**2), float(weights @ centered**4)


# --------------------------------------------------------------------------------------- the full Hessian


@settings(max_examples=20, deadline=None)
@given(z=hnp.arrays(float, (3, 2), elements=st.floats(-2, 2, allow_subnormal=False)))
def test_the_oracle_in_closed_form(z):
    with jax.enable_x64(True):
        off, total = tl.exact_hessian_energy(oracle, jnp.asarray(z))
    a, b = 16 * z[:, 0] ** 2, 16 * z[:, 0] ** 2 + 8 * z[:, 1] ** 2
    assert float(off) == pytest.approx(a.mean(), rel=1e-12, abs=1e-12)
    assert float(total) == pytest.approx(b.mean(), rel=1e-12, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(h=symmetric(), data=st.data())
def test_energy_of_a_quadratic_by_loops(h, data):
    n = len(h)
    scale = data.draw(hnp.arrays(float, n, elements=st.floats(0.1, 3)))
    z = data.draw(hnp.arrays(float, (2, n), elements=st.floats(-3, 3)))
    off_by_hand, total_by_hand = 0.0, 0.0
    for i in range(n):
        for j in range(n):
            entry = 2 * (scale[i] * h[i, j] * scale[j]) ** 2
            total_by_hand += entry
            off_by_hand += entry if i != j else 0.0
    with jax.enable_x64(True):
        off, total = tl.exact_hessian_energy(quadratic(h), jnp.asarray(z), jnp.asarray(scale))
    assert float(off) == pytest.approx(off_by_hand, rel=1e-11, abs=1e-11)
    assert float(total) == pytest.approx(total_by_hand, rel=1e-11, abs=1e-11)


def test_energy_of_a_pytree_is_averaged_leaf_by_leaf(x64):
    def f(z):
        return {"mixed": jnp.stack([z[0] * z[1], 3 * z[1] * z[2]]), "pure": (z[0] ** 2, jnp.zeros((2, 3))), "flat": z}

    off, total = tl.exact_hessian_energy(f, latents(0, 4, 3), 0.5)
    # z_0 z_1 has H_01 = H_10 = 1: energy 2·2·(½·½)² = ¼; the second output 9 times that; their mean 1.25.
    assert jax.tree.map(float, off) == {"mixed": 1.25, "pure": (0.0, 0.0), "flat": 0.0}
    assert jax.tree.map(float, total) == {"mixed": 1.25, "pure": (2 * (2 / 4) ** 2, 0.0), "flat": 0.0}


def test_energy_is_averaged_over_the_batch(x64):
    z = jnp.asarray([[1.0, 0.0], [2.0, 5.0]])
    off, total = tl.exact_hessian_energy(oracle, z)
    assert float(off) == 16 * (1 + 4) / 2
    assert float(total) == (16 + 16 * 4 + 8 * 25) / 2


@pytest.mark.parametrize("scale", [0.7, np.float64(0.7), jnp.asarray(0.7), jnp.full(3, 0.7)])
def test_one_scale_for_all_may_be_a_number(scale):
    f, z = mlp(1, 3), latents(1, 4, 3, jnp.float32)
    expected = tl.exact_hessian_energy(f, z, jnp.full(3, 0.7))
    assert tl.exact_hessian_energy(f, z, scale) == expected
    penalty = tl.normalized_hessian_penalty(f, z, scale, KEY)
    assert penalty == tl.normalized_hessian_penalty(f, z, jnp.full(3, 0.7), KEY)


# ------------------------------------------------------------------------------------- second derivatives


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), n_z=st.integers(1, 6), outputs=st.integers(1, 4), data=st.data())
def test_second_derivative_of_a_network_is_vHv(seed, n_z, outputs, data):
    f = mlp(seed, n_z, outputs)
    z, v = (data.draw(hnp.arrays(float, n_z, elements=st.floats(-2, 2))) for _ in range(2))
    with jax.enable_x64(True):
        hessian = jax.hessian(f)(jnp.asarray(z))
        q = second_derivative(f, jnp.asarray(z), jnp.asarray(v))
    np.testing.assert_allclose(q, np.einsum("i,kij,j->k", v, hessian, v), rtol=1e-10, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(
    powers=hnp.arrays(int, (4, 3), elements=st.integers(0, 4)),
    weights=hnp.arrays(float, 4, elements=st.floats(-2, 2)),
    z=hnp.arrays(float, 3, elements=st.floats(-1.5, 1.5)),
    v=hnp.arrays(float, 3, elements=st.floats(-1.5, 1.5)),
)
def test_second_derivative_of_a_polynomial_on_paper(powers, weights, z, v):
    def power(x, n):  # x^n by products: its derivatives at 0 are exact too
        return jnp.asarray(1.0) if n == 0 else x * power(x, n - 1)

    def f(y):
        return sum(
            w * power(y[0], a) * power(y[1], b) * power(y[2], c) for w, (a, b, c) in zip(weights, powers, strict=True)
        )

    def monomial(p):  # p entries may be negative only where the factor in front is zero
        return math.prod(z[m] ** p[m] for m in range(3)) if min(p) >= 0 else 0.0

    expected, e = 0.0, np.eye(3, dtype=int)
    for w, p in zip(weights, powers, strict=True):
        for i in range(3):
            for j in range(3):
                factor = p[i] * (p[j] - (i == j))
                expected += w * v[i] * v[j] * factor * monomial(p - e[i] - e[j])
    with jax.enable_x64(True):
        q = second_derivative(f, jnp.asarray(z), jnp.asarray(v))
    assert float(q) == pytest.approx(expected, rel=1e-10, abs=1e-10)


def test_second_derivative_keeps_the_pytree_and_the_shapes(x64):
    def f(z):
        return {"a": jnp.outer(z, z), "b": (z[0] ** 3, jnp.zeros((0, 2)))}

    z, v = jnp.asarray([1.0, 2.0]), jnp.asarray([3.0, -1.0])
    q = second_derivative(f, z, v)
    np.testing.assert_array_equal(q["a"], 2 * np.outer(v, v))
    assert float(q["b"][0]) == 6 * 1 * 9
    assert q["b"][1].shape == (0, 2)


# --------------------------------------------------------------------- the two theorems, without sampling noise


@settings(max_examples=20, deadline=None)
@given(h=symmetric())
def test_rademacher_variance_is_the_off_diagonal_energy(h):
    n = len(h)
    with jax.enable_x64(True):
        z, f = jnp.ones((1, n)), quadratic(h)
        off, _ = tl.exact_hessian_energy(f, z)
        q = np.asarray(jax.vmap(lambda v: second_derivative(f, z[0], v))(jnp.asarray(corners(n))))
    assert q.var() == pytest.approx(float(off), rel=1e-10, abs=1e-10)
    assert q.mean() == pytest.approx(np.trace(h), rel=1e-10, abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(h=symmetric(largest=4))
def test_gaussian_variance_is_the_total_energy(h):
    n = len(h)
    points, weights = gauss_hermite(n, nodes=3)  # q² has degree 4
    with jax.enable_x64(True):
        z, f = jnp.ones((1, n)), quadratic(h)
        _, total = tl.exact_hessian_energy(f, z)
        q = np.asarray(jax.vmap(lambda v: second_derivative(f, z[0], v))(jnp.asarray(points)))
    assert moments(q, weights)[0] == pytest.approx(float(total), rel=1e-9, abs=1e-9)
    assert weights @ q == pytest.approx(np.trace(h), rel=1e-9, abs=1e-9)


def test_enumeration_on_a_network_with_scaled_latents(x64):
    n, f, z = 6, mlp(3, 6), latents(3, 2, 6)
    sigma = jnp.asarray(np.random.default_rng(4).uniform(0.2, 2, size=n))
    off, _ = tl.exact_hessian_energy(f, z, sigma)
    q = jax.vmap(lambda y: jax.vmap(lambda r: second_derivative(f, y, sigma * r))(jnp.asarray(corners(n))))(z)
    assert float(jnp.mean(jnp.var(q, axis=1))) == pytest.approx(float(off), rel=1e-12)


# ------------------------------------------------------------------------------------------- the penalties


def fix_probes(monkeypatch, rademacher, gaussian) -> None:
    """Let both penalties draw these probes, shape (b, k, n_z)."""

    def drawn(probes):
        def draw(key, shape, dtype):
            assert probes.shape == shape
            return jnp.asarray(probes, dtype)

        return draw

    monkeypatch.setattr(jax.random, "rademacher", drawn(rademacher))
    monkeypatch.setattr(jax.random, "normal", drawn(gaussian))


def test_normalized_penalty_by_loops(monkeypatch, x64):
    b, k, n_z = 3, 4, 3
    rng = np.random.default_rng(5)
    rademacher, gaussian = rng.choice([-1.0, 1.0], size=(b, k, n_z)), rng.normal(size=(b, k, n_z))
    sigma, z = np.array([0.5, 1.5, 1.0]), latents(5, b, n_z)
    first, second = mlp(6, n_z, outputs=2), mlp(7, n_z, outputs=4)

    def by_hand(f, probes, i):  # mean over the outputs of the variance (ddof 0) over the probes
        hessians = np.asarray(jax.hessian(f)(z[i]))
        q = np.array([[(sigma * r) @ h @ (sigma * r) for r in probes[i]] for h in hessians])
        return np.mean([np.sum((row - row.mean()) ** 2) / k for row in q])

    expected = {
        name: np.mean([by_hand(f, rademacher, i) / (by_hand(f, gaussian, i) + 1e-10) for i in range(b)])
        for name, f in (("first", first), ("second", second))
    }
    fix_probes(monkeypatch, rademacher, gaussian)
    penalty = tl.normalized_hessian_penalty(
        lambda y: {"first": first(y), "second": second(y)}, z, jnp.asarray(sigma), KEY, probes=k
    )
    assert jax.tree.map(float, penalty) == pytest.approx(expected, rel=1e-12)


def test_plain_penalty_by_loops(monkeypatch, x64):
    b, k, n_z = 2, 3, 4
    rademacher = np.random.default_rng(8).choice([-1.0, 1.0], size=(b, k, n_z))
    z, f = latents(8, b, n_z), mlp(8, n_z, outputs=2)
    total = 0.0
    for i in range(b):
        for h in np.asarray(jax.hessian(f)(z[i])):
            q = [r @ h @ r for r in rademacher[i]]
            total += sum((value - sum(q) / k) ** 2 for value in q) / (k - 1)
    fix_probes(monkeypatch, rademacher, rademacher)
    assert float(tl.hessian_penalty(f, z, KEY, probes=k)) == pytest.approx(total / (2 * b), rel=1e-12)


def test_all_corners_as_probes_give_the_oracles_ratio(monkeypatch, x64):
    # With every Rademacher vector once, A is exact; so is B with q = ±√B at equal numbers of Gaussian probes.
    z = jnp.asarray([[0.5, -1.5], [1.0, 0.25]])
    b = 16 * z[:, 0] ** 2 + 8 * z[:, 1] ** 2
    share = 2 * z[:, 0] ** 2 / (2 * z[:, 0] ** 2 + z[:, 1] ** 2)
    # For v = (1, t): q = 2 z_1 + 4 z_0 t, and variance B over t = ±√B/(4 z_0).
    t = jnp.sqrt(b) / (4 * z[:, 0])
    gaussian = np.stack([np.stack([np.ones(4), np.array([1, -1, 1, -1]) * float(t_i)], axis=1) for t_i in t])
    fix_probes(monkeypatch, np.stack([corners(2)] * 2), gaussian)
    penalty = tl.normalized_hessian_penalty(oracle, z, 1.0, KEY, probes=4)
    assert float(penalty) == pytest.approx(float(share.mean()), rel=1e-10)


def test_plain_penalty_is_unbiased_at_two_probes(x64):
    f, z = mlp(9, 4), latents(9, 8, 4)
    off, _ = tl.exact_hessian_energy(f, z)
    keys = jax.random.split(jax.random.key(9), 4000)
    estimates = np.asarray(jax.jit(jax.vmap(lambda key: tl.hessian_penalty(f, z, key)))(keys))
    standard_error = estimates.std(ddof=1) / math.sqrt(len(keys))
    assert standard_error < 0.03 * float(off)
    assert estimates.mean() == pytest.approx(float(off), abs=5 * standard_error)


def test_normalized_penalty_tends_to_the_share(x64):
    k, n, z = 40_000, 3, latents(10, 1, 3)
    f = mlp(10, n, outputs=1)
    sigma = np.array([0.5, 1.0, 2.0])
    hessian = np.asarray(jax.hessian(f)(z[0])[0]) * np.outer(sigma, sigma)

    def variance_and_relative_error(probes, weights):
        """Var q, and the relative variance of its estimate from k probes: (μ_4/Var² - 1)/k for large k."""
        variance, fourth = moments(np.einsum("pi,ij,pj->p", probes, hessian, probes), weights)
        return variance, (fourth / variance**2 - 1) / k

    a, a_error = variance_and_relative_error(corners(n), np.full(2**n, 2.0**-n))
    b, b_error = variance_and_relative_error(*gauss_hermite(n, nodes=5))  # q⁴ has degree 8
    off, total = tl.exact_hessian_energy(f, z, jnp.asarray(sigma))
    assert (a, b) == pytest.approx((float(off), float(total)), rel=1e-9)
    estimate = float(tl.normalized_hessian_penalty(f, z, jnp.asarray(sigma), KEY, probes=k))
    tolerance = 5 * a / b * math.sqrt(a_error + b_error)
    assert tolerance < 0.1 * a / b
    assert estimate == pytest.approx(a / b, abs=tolerance)


@every_method
def test_pure_and_mixed_curvature_are_the_ends(method, x64):
    z = latents(11, 5, 3)
    pure = {"pure": lambda y: jnp.exp(y[0]) + y[1] ** 2 + jnp.sin(y[2]), "one": lambda y: y[1] ** 4}
    for f in pure.values():
        assert float(tl.normalized_hessian_penalty(f, z, 1.0, KEY, probes=8, method=method)) < 1e-12
        assert float(tl.hessian_penalty(f, z, KEY, probes=8, method=method)) < 1e-12
    mixed = tl.normalized_hessian_penalty(lambda y: y[0] * y[1], z, 1.0, KEY, probes=20_000, method=method)
    # q = 2 v_0 v_1: Var of the product is 1 for both laws; the fourth moments are 1 and 9.
    assert float(mixed) == pytest.approx(1, abs=5 * math.sqrt(8 / 20_000 / 5) + 1e-3)


@settings(max_examples=12, deadline=None)
@given(b=st.integers(1, 4), n_z=st.integers(1, 5), probes=st.integers(2, 4), data=st.data())
def test_any_shape_and_pytree(b, n_z, probes, data):
    shapes = data.draw(st.lists(hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), min_size=1, max_size=3))
    method = data.draw(st.sampled_from(METHODS))

    def f(z):
        return {str(i): jnp.broadcast_to(jnp.sin(z).sum() ** 2, shape) for i, shape in enumerate(shapes)}

    with jax.enable_x64(True):
        z = latents(12, b, n_z)
        sigma = jnp.ones(n_z)
        penalties = tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=probes, method=method)
        plain = tl.hessian_penalty(f, z, KEY, probes=probes, method=method)
        energy = tl.exact_hessian_energy(f, z, sigma)
    for tree in (penalties, plain, *energy):
        assert tree.keys() == f(z[0]).keys()
        values = [float(x) for x in tree.values()]
        assert all(x.shape == () for x in tree.values())
        assert values == pytest.approx([values[0]] * len(values), rel=1e-12)  # equal outputs, equal means
        assert values[0] >= 0


def test_the_key_decides(x64):
    f, z = mlp(13, 3), latents(13, 2, 3)
    first, again = (float(tl.normalized_hessian_penalty(f, z, 1.0, KEY)) for _ in range(2))
    assert first == again
    assert first != float(tl.normalized_hessian_penalty(f, z, 1.0, jax.random.key(1)))


# ------------------------------------------------------------------------------------------- Proposition 3.1


@every_method
@pytest.mark.parametrize("a", [1e-2, 0.1, 7.0, -30.0])
def test_scaling_the_output(method, a, x64):
    f, z, sigma = mlp(14, 4), latents(14, 6, 4), jnp.asarray([0.3, 1.0, 0.7, 0.5])
    plain, scaled = (tl.hessian_penalty(g, z, KEY, method=method) for g in (f, lambda y: a * f(y)))
    assert float(scaled) == pytest.approx(a**2 * float(plain), rel=1e-9)
    kept, same = (
        tl.normalized_hessian_penalty(g, z, sigma, KEY, probes=8, method=method) for g in (f, lambda y: a * f(y))
    )
    assert float(same) == pytest.approx(float(kept), rel=1e-5)  # the 1e-10 does not scale along


@every_method
@settings(max_examples=12, deadline=None)
@given(c=hnp.arrays(float, 3, elements=st.floats(0.05, 20)))
def test_scaling_every_latent(method, c):
    with jax.enable_x64(True):
        f, z, sigma, c = mlp(15, 3), latents(15, 4, 3), jnp.asarray([0.3, 1.0, 0.7]), jnp.asarray(c)

        def stretched(y):  # the same function of latents in other units, y = c z
            return f(y / c)

        # ε scales with the latents: in finite differences the step is ε σ.
        kept = tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=8, method=method)
        same = tl.normalized_hessian_penalty(stretched, c * z, c * sigma, KEY, probes=8, method=method)
        exact = [tl.exact_hessian_energy(*x) for x in ((f, z, sigma), (stretched, c * z, c * sigma))]
    assert float(same) == pytest.approx(float(kept), rel=1e-8)
    np.testing.assert_allclose(exact[0], exact[1], rtol=1e-10)


@pytest.mark.parametrize("c", [0.1, 4.0, 100.0])
def test_the_plain_penalty_falls_with_the_fourth_power_of_the_latents(c, x64):
    f, z = mlp(16, 3), latents(16, 4, 3)
    plain = float(tl.hessian_penalty(f, z, KEY))
    stretched = float(tl.hessian_penalty(lambda y: f(y / c), c * z, KEY))
    assert stretched == pytest.approx(c**-4 * plain, rel=1e-10)
    assert float(tl.exact_hessian_energy(lambda y: f(y / c), c * z)[0]) == pytest.approx(
        c**-4 * float(tl.exact_hessian_energy(f, z)[0]), rel=1e-10
    )


def test_stretching_one_latent_cheats_the_plain_penalty_only(x64):
    # z_0 z_1 + z_1²: H_01 falls with 1/c, H_11 stays.
    z, c = latents(17, 3, 2), 10.0

    def f(y):
        return y[0] * y[1] + y[1] ** 2

    def stretched(y):
        return f(y / jnp.asarray([c, 1.0]))

    plain = [float(tl.hessian_penalty(g, z, KEY, probes=16)) for g in (f, stretched)]
    assert plain[1] == pytest.approx(plain[0] / c**2, rel=1e-12)
    # A normalized penalty whose σ stays behind is cheated too: A/B = 4/(4 + 8) becomes 4/c²/(4/c² + 8).
    left_behind, moved = (tl.exact_hessian_energy(stretched, z, jnp.asarray(s)) for s in ([1.0, 1.0], [c, 1.0]))
    assert float(left_behind[0] / left_behind[1]) == pytest.approx(4 / c**2 / (4 / c**2 + 8), rel=1e-12)
    assert float(moved[0] / moved[1]) == pytest.approx(4 / 12, rel=1e-12)
    kept = tl.normalized_hessian_penalty(f, z, 1.0, KEY, probes=16)
    same = tl.normalized_hessian_penalty(stretched, z, jnp.asarray([c, 1.0]), KEY, probes=16)
    cheated = tl.normalized_hessian_penalty(stretched, z, 1.0, KEY, probes=16)
    assert float(same) == pytest.approx(float(kept), rel=1e-10)
    assert float(cheated) < 0.1 * float(kept)


# ---------------------------------------------------------------------------------------- finite differences


@settings(max_examples=20, deadline=None)
@given(h=symmetric(), epsilon=st.sampled_from([1e-2, 0.1, 1.0]))
def test_finite_differences_are_exact_for_quadratics(h, epsilon):
    n = len(h)
    with jax.enable_x64(True):
        z, v = latents(18, 2, n)
        q = second_difference(quadratic(h), z, v, epsilon)
    # Round-off: 2^-53 times terms of at most ½·(n·6)·3²·n, a few of them, over ε².
    assert float(q) == pytest.approx(float(v @ h @ v), abs=1e-12 * n**2 / epsilon**2)


def test_finite_differences_of_a_quartic_err_by_the_fourth_derivative(x64):
    # f = z_0² z_1²: the difference is vᵀHv + ε²/12 · D⁴f[v, v, v, v] exactly, and D⁴f[v, v, v, v] = 24 v_0² v_1².
    z, v = jnp.asarray([0.5, -1.0]), jnp.asarray([1.0, 2.0])

    def f(y):
        return y[0] ** 2 * y[1] ** 2

    exact = float(second_derivative(f, z, v))
    errors = [float(second_difference(f, z, v, epsilon)) - exact for epsilon in (0.4, 0.2, 0.1, 0.05)]
    assert errors == pytest.approx([2 * 4 * e**2 for e in (0.4, 0.2, 0.1, 0.05)], rel=1e-9)
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(rates, 2, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), n_z=st.integers(1, 5))
def test_finite_and_forward_agree(seed, n_z):
    with jax.enable_x64(True):
        f, z, sigma = mlp(seed, n_z), latents(seed, 3, n_z), jnp.full(n_z, 0.6)
        plain = [float(tl.hessian_penalty(f, z, KEY, method=m, epsilon=1e-3)) for m in METHODS]
        normalized = [
            float(tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=8, method=m, epsilon=1e-3)) for m in METHODS
        ]
    assert plain[1] == pytest.approx(plain[0], rel=1e-5, abs=1e-5)
    assert normalized[1] == pytest.approx(normalized[0], rel=1e-5, abs=1e-5)


def test_the_released_step_is_close_on_a_smooth_network(x64):
    f, z, sigma = mlp(19, 4, outputs=32), latents(19, 16, 4), jnp.full(4, 0.5)
    forward, finite = (float(tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=8, method=m)) for m in METHODS)
    assert finite == pytest.approx(forward, rel=0.03)
    assert finite != forward


# ----------------------------------------------------------------------------------- linear maps and precision

LINEAR = {
    "small": (1.0, 0.0),
    "a large offset": (1.0, 1e5),
    "large weights": (1e4, 0.0),
    "large weights and offsets": (1e3, -1e6),
    "tiny": (1e-6, 1.0),
}


@pytest.mark.parametrize("weight, offset", LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize(
    "method, dtype",
    [("forward", jnp.bfloat16), ("forward", np.float32), ("forward", float), ("finite", np.float32), ("finite", float)],
)
def test_a_linear_layer_has_exactly_zero(weight, offset, method, dtype, x64):
    rng = np.random.default_rng(20)
    w = jnp.asarray(weight * rng.normal(size=(6, 40)), dtype)
    shift = jnp.asarray(offset * rng.normal(size=40), dtype)

    def f(z):
        return z @ w + shift

    z = latents(20, 16, 6, dtype)
    sigma = jnp.std(z, axis=0)
    penalty = tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=4, method=method)
    assert penalty.dtype == z.dtype
    assert penalty == 0
    assert tl.hessian_penalty(f, z, KEY, probes=4, method=method) == 0
    assert tuple(tl.exact_hessian_energy(f, z, sigma)) == (0, 0)


def test_a_layer_between_linear_maps_is_not_taken_for_linear(x64):
    def f(z):
        return {"linear": 3 * z + 100, "curved": jnp.sin(z.sum()) + 100}

    z = latents(21, 8, 3, jnp.float32)
    for method in METHODS:
        penalty = tl.normalized_hessian_penalty(f, z, 0.5, KEY, probes=8, method=method)
        assert penalty["linear"] == 0
        assert penalty["curved"] > 0.1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_differences_are_refused(dtype):
    z, f = latents(22, 4, 3, dtype), mlp(22, 3)
    with pytest.raises(
        TypeError, match=f"method 'finite' needs float32 or float64.*{jnp.dtype(dtype).name}.*'forward'"
    ):
        tl.normalized_hessian_penalty(f, z, 1.0, KEY, method="finite")
    with pytest.raises(TypeError, match="method 'finite' needs float32"):
        tl.hessian_penalty(f, z, KEY, method="finite")
    with pytest.raises(TypeError, match="method 'finite' needs float32"):  # one layer is enough
        tl.hessian_penalty(lambda y: (f(y), y.astype(jnp.float32)), z, KEY, method="finite")


def test_forward_mode_in_bfloat16_where_differences_fail(x64):
    f, z, v = mlp(23, 4, outputs=64), latents(23, 1, 4)[0], jnp.ones(4)
    exact = second_derivative(f, z, v)
    size = float(jnp.sqrt(jnp.mean(exact**2)))
    half = [x.astype(jnp.bfloat16) for x in (z, v)]

    def error(q):
        return float(jnp.sqrt(jnp.mean((q.astype(float) - exact) ** 2))) / size

    assert error(second_derivative(f, *half)) < 0.03
    step = 0.1 * half[1]
    assert error((f(half[0] + step) - 2 * f(half[0]) + f(half[0] - step)) / 0.01) > 0.3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(dtype, x64):
    z = latents(24, 4, 3, dtype)
    for method in METHODS:
        for value in (
            tl.hessian_penalty(mlp(24, 3), z, KEY, method=method),
            tl.normalized_hessian_penalty(mlp(24, 3), z, 0.5, KEY, method=method),
            *tl.exact_hessian_energy(mlp(24, 3), z),
        ):
            assert value.dtype == dtype


# -------------------------------------------------------------------------- gradients, hard cases, transforms


@every_method
def test_gradients_equal_finite_differences_of_the_penalty(method, x64):
    f, z = mlp(25, 3), latents(25, 4, 3)
    sigma = jnp.asarray([0.5, 0.8, 1.2])

    def penalty(z, sigma, a):
        return tl.normalized_hessian_penalty(
            lambda y: jnp.tanh(a * f(y)), z, sigma, KEY, probes=4, method=method, epsilon=0.1
        )

    check_grads(penalty, (z, sigma, jnp.asarray(0.7)), 1, modes=["rev"], atol=1e-5, rtol=1e-5)
    check_grads(lambda z: tl.hessian_penalty(f, z, KEY, method=method), (z,), 1, modes=["rev"], atol=1e-5, rtol=1e-5)


@every_method
def test_no_gradient_along_the_scale_of_the_output(method, x64):
    f, z = mlp(26, 3), latents(26, 4, 3)
    sigma = jnp.std(z, axis=0)

    def normalized(a):
        return tl.normalized_hessian_penalty(lambda y: a * f(y), z, sigma, KEY, probes=8, method=method)

    def plain(a):
        return tl.hessian_penalty(lambda y: a * f(y), z, KEY, method=method)

    assert abs(float(jax.grad(normalized)(1.0))) < 1e-6 * float(normalized(1.0))
    assert float(jax.grad(plain)(1.0)) == pytest.approx(2 * float(plain(1.0)), rel=1e-8)


def hard_cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(27)
    batch = rng.uniform(-1, 1, size=(6, 3))
    return {
        "all constant": np.full((6, 3), 0.1),
        "one constant": np.concatenate([batch[:, :2], np.full((6, 1), -0.7)], axis=1),
        "duplicates": np.repeat(batch[:2], 3, axis=0),
        "one sample": batch[:1],
        "one latent": batch[:, :1],
        "the origin": np.zeros((2, 3)),
        "far out": 1e3 * batch,
    }


@every_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", hard_cases().values(), ids=hard_cases())
def test_hard_batches_have_finite_values_and_gradients(method, dtype, case, x64):
    z = jnp.asarray(case, dtype)
    f = mlp(27, z.shape[1])

    def penalties(z, a):
        normalized = tl.normalized_hessian_penalty(lambda y: a * f(y), z, latent_scale(z), KEY, method=method)
        return normalized + tl.hessian_penalty(lambda y: a * f(y), z, KEY, method=method)

    value, gradients = jax.jit(jax.value_and_grad(penalties, argnums=(0, 1)))(z, jnp.asarray(1.0, dtype))
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)


def test_one_latent_alone_mixes_with_nothing(x64):
    z = latents(28, 5, 1)
    assert float(tl.normalized_hessian_penalty(lambda y: jnp.sin(3 * y), z, 1.0, KEY)) < 1e-20
    off, total = tl.exact_hessian_energy(lambda y: jnp.sin(3 * y), z)
    assert float(off) == 0 < float(total)


def test_a_latent_of_no_scale_is_not_probed(x64):
    z = latents(29, 4, 3)
    sigma = jnp.asarray([1.0, 1.0, 0.0])
    with_third = tl.normalized_hessian_penalty(lambda y: y[0] * y[1] + jnp.exp(y[2] * y[0]), z, sigma, KEY)
    without = tl.normalized_hessian_penalty(lambda y: y[0] * y[1] + jnp.exp(z[0, 2] * y[0]), z[:1], sigma, KEY)
    off, total = tl.exact_hessian_energy(lambda y: y[2] ** 2 * y[0], z, sigma)
    assert (float(off), float(total)) == (0, 0)
    assert np.isfinite(with_third) and np.isfinite(without)


@every_method
def test_jit_vmap_and_grad_compose(method, x64):
    f, sigma = mlp(30, 3), jnp.asarray([0.5, 1.0, 1.5])
    batches = jnp.stack([latents(seed, 4, 3) for seed in range(3)])
    keys = jax.random.split(KEY, 3)

    def penalty(z, key):
        return tl.normalized_hessian_penalty(f, z, sigma, key, probes=3, method=method)

    one_by_one = [float(penalty(z, key)) for z, key in zip(batches, keys, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(penalty))(batches, keys), one_by_one, rtol=1e-9)
    slopes = [np.asarray(jax.grad(penalty)(z, key)) for z, key in zip(batches, keys, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(penalty)))(batches, keys), slopes, rtol=1e-7, atol=1e-10)


# ------------------------------------------------------------------------------------------------ bad input

Z, ONES = np.zeros((4, 3), np.float32), np.ones(3, np.float32)
BAD = {
    "integers": (Z.astype(int), ONES, {}, TypeError, "z must be floating point, got int"),
    "booleans": (Z > 0, ONES, {}, TypeError, "z must be floating point, got bool"),
    "complex numbers": (Z + 1j, ONES, {}, TypeError, "z must be floating point, got complex"),
    "one dimension": (ONES, ONES, {}, ValueError, r"z .*\(b, n_z\).*got \(3,\)"),
    "three dimensions": (Z[None], ONES, {}, ValueError, r"z .*got \(1, 4, 3\)"),
    "no sample": (Z[:0], ONES, {}, ValueError, r"z .*got \(0, 3\)"),
    "no latent": (Z[:, :0], ONES[:0], {}, ValueError, r"z .*got \(4, 0\)"),
    "a scale too many": (Z, np.ones(4, np.float32), {}, ValueError, r"scale .*\(3,\).*got \(4,\)"),
    "a scale a sample": (Z, Z, {}, ValueError, r"scale .*\(3,\).*got \(4, 3\)"),
    "unknown method": (Z, ONES, {"method": "backward"}, ValueError, "method .*forward, finite.*'backward'"),
    "one probe": (Z, ONES, {"probes": 1}, ValueError, "probes must be at least 2.*got 1"),
    "no probe": (Z, ONES, {"probes": 0}, ValueError, "probes must be at least 2.*got 0"),
    "half a probe": (Z, ONES, {"probes": 2.5}, TypeError, "probes must be an integer, got 2.5"),
    "true probes": (Z, ONES, {"probes": True}, TypeError, "probes must be an integer, got True"),
    "no step": (Z, ONES, {"epsilon": 0.0}, ValueError, "epsilon must be positive.*got 0.0"),
    "a step back": (Z, ONES, {"epsilon": -0.1}, ValueError, "epsilon must be positive.*got -0.1"),
    "a step of NaN": (Z, ONES, {"epsilon": math.nan}, ValueError, "epsilon must be positive.*got nan"),
}


@pytest.mark.parametrize("z, scale, options, error, message", BAD.values(), ids=BAD)
def test_bad_input_is_named_before_f_is_called(z, scale, options, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)  # the function's own messages, as users meet them

    def never(y):
        raise AssertionError("f was called")

    calls = [lambda: tl.normalized_hessian_penalty(never, z, scale, KEY, **options)]
    if "scale" not in message:
        calls.append(lambda: tl.hessian_penalty(never, z, KEY, **options))
    if not options:
        calls.append(lambda: tl.exact_hessian_energy(never, z, scale))
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        assert re.search(message, str(caught.value))
