"""The crossed design of probes: what it estimates, by enumeration; what it cannot be cheated by; what it costs."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from small_functions import corners, latents, mlp

import tripod_lite as tl
from tripod_lite.legs.hessian import _crossed_energies, mixed_derivative

KEY = jax.random.key(0)
SCRIPT = Path(__file__).parents[1] / "helpers/gradient_of_penalty.py"


def crossed(f, z, scale=1.0, key=KEY):
    return tl.normalized_hessian_penalty(f, z, scale, key, design="crossed")


def test_the_mixed_derivative_is_that_of_the_hessian(x64):
    f, z = mlp(1, 4), latents(1, 1, 4)[0]
    u, w = latents(2, 2, 4)
    expected = np.einsum("i,kij,j->k", u, jax.hessian(f)(z), w)
    assert np.asarray(mixed_derivative(f, z, u, w)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_probes_and_cuts_give_the_exact_energies(n, monkeypatch, x64):
    cuts = list(itertools.combinations(range(n), n // 2))
    draws = list(itertools.product(corners(n), corners(n), cuts))
    signs = np.stack([[g for g, _, _ in draws], [h for _, h, _ in draws]])
    order = np.array([[-1.0 if j in cut else 1.0 for j in range(n)] for *_, cut in draws])  # the least are inside
    monkeypatch.setattr(jax.random, "rademacher", lambda key, shape, dtype: jnp.asarray(signs, dtype))
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.asarray(order))
    f, z, sigma = mlp(3, n, outputs=3), latents(3, 1, n), jnp.linspace(0.5, 1.5, n)
    a, b = _crossed_energies(jax.vmap(f), jnp.tile(z, (len(draws), 1)), sigma, KEY)
    off, total = tl.exact_hessian_energy(f, z, sigma)
    assert (float(a.mean()), float(b.mean())) == pytest.approx((float(off), float(total)), rel=1e-10)


def test_its_first_moments_at_any_number_of_latents(x64):
    f, z, sigma = mlp(4, 7), latents(4, 1, 7), jnp.linspace(0.5, 1.5, 7)
    n = 20_000
    energies = jax.jit(lambda z: _crossed_energies(jax.vmap(f), z, sigma, KEY))(jnp.tile(z, (n, 1)))
    for estimates, exact in zip(energies, tl.exact_hessian_energy(f, z, sigma), strict=True):
        error = float(estimates.std()) / math.sqrt(n)
        assert error < 0.02 * float(exact)
        assert float(estimates.mean()) == pytest.approx(float(exact), abs=4.5 * error)


def test_by_loops_from_the_probes_it_draws(x64):
    f, z, sigma = mlp(5, 5), latents(5, 3, 5), jnp.linspace(0.5, 1.5, 5)
    sign_key, cut_key = jax.random.split(KEY)
    signs = np.asarray(jax.random.rademacher(sign_key, (2, 3, 5), float))
    drawn = np.asarray(jax.random.uniform(cut_key, (3, 5)))
    ratios = []
    for i in range(3):
        inside = np.isin(np.arange(5), np.argsort(drawn[i])[:2])
        a = b = 0.0
        for h in np.asarray(jax.hessian(f)(z[i])) * np.outer(sigma, sigma):
            table = np.outer(signs[0, i], signs[1, i]) * h
            blocks = [[table[np.ix_(x, y)].sum() ** 2 for y in (inside, ~inside)] for x in (inside, ~inside)]
            a += 2 * (blocks[0][1] + blocks[1][0]) / (2 * 2 * 3 / (5 * 4))
            b += 2 * np.sum(blocks)
        ratios.append(a / b)
    assert float(crossed(f, z, sigma)) == pytest.approx(np.mean(ratios), rel=1e-7)


def test_pure_curvature_and_linear_layers_give_zero(x64):
    z = latents(6, 5, 3)
    assert float(crossed(lambda y: jnp.exp(y[0]) + y[1] ** 2 + jnp.sin(y[2]), z)) < 1e-20
    assert float(crossed(lambda y: 3 * y + 1, z)) == 0
    assert float(crossed(jnp.sin, latents(7, 5, 1))) == 0  # one latent has nothing to be mixed with


def test_it_cannot_be_lowered_by_scaling(x64):
    f, z, sigma, c = mlp(8, 3), latents(8, 4, 3), jnp.asarray([0.3, 1.0, 0.7]), jnp.asarray([5.0, 0.2, 3.0])
    kept = float(crossed(f, z, sigma))
    assert float(crossed(lambda y: 30 * f(y), z, sigma)) == pytest.approx(kept, rel=1e-6)
    assert float(crossed(lambda y: f(y / c), c[None] * z, c * sigma)) == pytest.approx(kept, rel=1e-8)


def test_gradients(x64):
    f, z = mlp(9, 4), latents(9, 3, 4)
    check_grads(lambda a, s: crossed(lambda y: f(a * y), z, s), (1.3, jnp.linspace(0.5, 1, 4)), 1, ["rev"], rtol=1e-5)


def test_it_is_less_noisy_than_independent_probes(x64):
    f, z = mlp(10, 6, outputs=40), latents(10, 4, 6)
    keys = jax.random.split(KEY, 4000)

    def draws(design):
        return jax.jit(jax.vmap(lambda k: tl.normalized_hessian_penalty(f, z, 1.0, k, design=design)))(keys)

    off, total = tl.exact_hessian_energy(f, z)
    share = np.mean([float(np.divide(*tl.exact_hessian_energy(f, z_i[None]))) for z_i in z])
    assert 0.1 < share < 1 and float(off) < float(total)
    errors = {d: float(jnp.sqrt(jnp.mean((draws(d) - share) ** 2))) for d in ("independent", "crossed")}
    assert errors["crossed"] < 0.6 * errors["independent"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": "paired"}, "design must be one of independent, crossed, got 'paired'"),
        ({"design": "crossed", "probes": 3}, "probes must be 2 in the crossed design, got 3"),
        ({"design": "crossed", "method": "finite"}, "method must be 'forward' in the crossed design, got 'finite'"),
    ],
)
def test_bad_designs(arguments, message):
    with pytest.raises(ValueError, match=message):
        tl.normalized_hessian_penalty(jnp.sin, jnp.zeros((2, 3)), 1.0, KEY, **arguments)


@pytest.mark.parametrize("arguments", [{}, {"probes": 3}, {"method": "finite"}, {"design": "crossed"}], ids=str)
def test_a_function_of_batches_gives_the_same(arguments, x64):
    f, z, sigma = mlp(11, 4), latents(11, 5, 4), jnp.linspace(0.5, 1.5, 4)
    one = tl.normalized_hessian_penalty(f, z, sigma, KEY, **arguments)
    many = tl.normalized_hessian_penalty(jax.vmap(f), z, sigma, KEY, batched=True, **arguments)
    assert float(many) == pytest.approx(float(one), rel=1e-12)


def test_the_gradient_of_a_decoders_penalty_compiles_to_code_that_runs():
    # Reductions over seven axes, one of size 1, crash XLA's CPU compiler of JAX 0.10 and 0.11 (issue 39257 there).
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert float(run.stdout) < 1e-5
