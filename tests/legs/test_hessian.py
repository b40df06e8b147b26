"""Hessian penalties against closed forms, the full Hessian, and exact enumeration of the probes."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from small_functions import corners, latents, mlp

import tripod_lite as tl
from tripod_lite.legs.hessian import METHODS, second_derivative

every_method = pytest.mark.parametrize("method", METHODS)
KEY = jax.random.key(0)


def oracle(z):
    """z_0² z_1, with H = [[2 z_1, 2 z_0], [2 z_0, 0]]: A = 16 z_0², B = 16 z_0² + 8 z_1² for σ = 1."""
    return z[0] ** 2 * z[1]


def quadratic(h):
    """½ zᵀHz, so that H is the Hessian everywhere."""
    h = jnp.asarray(h)
    return lambda z: 0.5 * z @ h @ z


def symmetric(largest: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Symmetric matrices of any small size, zero ones among them."""
    entries = st.floats(-3, 3, allow_subnormal=False)
    square = st.integers(1, largest).flatmap(lambda n: hnp.arrays(float, (n, n), elements=entries))
    return square.map(lambda a: a + a.T)


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


@pytest.mark.parametrize("k", [2, 4])  # two probes take a path of their own
def test_normalized_penalty_by_loops(monkeypatch, x64, k):
    b, n_z = 3, 3
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


@pytest.mark.parametrize("k", [2, 3])
def test_plain_penalty_by_loops(monkeypatch, x64, k):
    b, n_z = 2, 4
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

        @jax.jit
        def measured(z):
            penalties = tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=probes, method=method)
            plain = tl.hessian_penalty(f, z, KEY, probes=probes, method=method)
            return penalties, plain, tl.exact_hessian_energy(f, z, sigma)

        penalties, plain, energy = measured(z)
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
