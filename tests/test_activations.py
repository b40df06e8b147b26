"""GELU and its derivatives against automatic differentiation of JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.activations import gelu

X = np.concatenate([np.linspace(-6, 6, 97), [-1e3, -40.0, 40.0, 1e3]])


def derivative(f, order):
    for _ in range(order):
        f = jax.grad(f)
    return jax.vmap(f)


@pytest.mark.parametrize("order", range(5))
def test_derivatives_are_those_of_jax(order):
    with jax.enable_x64(True):
        expected = derivative(jax.nn.gelu, order)(jnp.asarray(X))
        np.testing.assert_allclose(derivative(gelu, order)(jnp.asarray(X)), expected, rtol=1e-9, atol=1e-12)


def test_forward_over_forward_then_reverse():
    def bend(f):
        return lambda x: jnp.sum(jax.jvp(lambda y: jax.jvp(f, (y,), (2 * x,))[1], (x,), (x,))[1])

    with jax.enable_x64(True):
        x = jnp.asarray(X[:97])
        np.testing.assert_allclose(jax.grad(bend(gelu))(x), jax.grad(bend(jax.nn.gelu))(x), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_dtype_stays(dtype):
    x = jnp.asarray(X, dtype)
    assert gelu(x).dtype == dtype
    assert jax.jvp(gelu, (x,), (x,))[1].dtype == dtype
    assert np.isfinite(np.asarray(jax.grad(lambda y: jnp.sum(gelu(y)))(x), np.float32)).all()
