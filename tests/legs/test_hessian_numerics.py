"""Hessian penalties: Proposition 3.1, finite differences, precision, gradients, transforms and bad input."""

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
from small_functions import latents, mlp

import tripod_lite as tl
from tripod_lite.legs import latent_scale
from tripod_lite.legs.hessian import METHODS, second_derivative, second_difference

every_method = pytest.mark.parametrize("method", METHODS)
KEY = jax.random.key(0)


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
        same = tl.normalized_hessian_penalty(stretched, c[None] * z, c * sigma, KEY, probes=8, method=method)
        exact = [tl.exact_hessian_energy(*x) for x in ((f, z, sigma), (stretched, c[None] * z, c * sigma))]
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
@given(seed=st.integers(0, 2**31), n_z=st.integers(1, 5), epsilon=st.sampled_from([1e-2, 0.1, 1.0]))
def test_finite_differences_are_exact_for_quadratics(seed, n_z, epsilon):
    a = np.random.default_rng(seed).uniform(-3, 3, size=(n_z, n_z))
    h = a + a.T
    with jax.enable_x64(True):
        z, v = latents(18, 2, n_z)
        q = second_difference(lambda y: 0.5 * y @ jnp.asarray(h) @ y, z, v, epsilon)
        expected = float(v @ h @ v)
    # Round-off: 2^-53 times terms of at most ½·(n·6)·2²·n, a few of them, over ε².
    assert float(q) == pytest.approx(expected, abs=1e-13 * n_z**2 / epsilon**2)


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
        plain = [float(tl.hessian_penalty(f, z, KEY, method=m, epsilon=1e-4)) for m in METHODS]
        normalized = [
            float(tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=8, method=m, epsilon=1e-4)) for m in METHODS
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
    assert penalty.dtype == jnp.promote_types(z.dtype, jnp.float32)
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
    assert error((f(half[0] + step) - 2 * f(half[0]) + f(half[0] - step)) / 0.01) > 0.1


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
    def f(y):
        return y[0] * y[1] + jnp.exp(y[2] * y[0])

    z, sigma = latents(29, 1, 3), jnp.asarray([1.0, 0.5, 0.0])
    held = tl.normalized_hessian_penalty(lambda y: f(y.at[2].set(z[0, 2])), z, sigma, KEY, probes=4)
    assert float(tl.normalized_hessian_penalty(f, z, sigma, KEY, probes=4)) == pytest.approx(float(held), rel=1e-12)
    off, total = tl.exact_hessian_energy(lambda y: y[2] ** 2 * y[0], z, sigma)
    assert (float(off), float(total)) == (0, 0)


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
