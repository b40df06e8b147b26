"""What the multiinformation keeps in memory, and that groups of latents change nothing."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tripod_lite as tl
from tripod_lite.legs import ESTIMATORS, latent_scale


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_memory_does_not_grow_with_the_number_of_latents(estimator):
    def scratch(n_z, b=1024):
        gradient = jax.jit(jax.grad(lambda z, s: tl.multiinformation(z, s, estimator=estimator), argnums=(0, 1)))
        shapes = jax.ShapeDtypeStruct((b, n_z), np.float32), jax.ShapeDtypeStruct((n_z,), np.float32)
        return gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    table = 4 * 1024**2
    assert scratch(24) < scratch(6) + table and scratch(24) < 10 * table


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_latents_in_groups_give_the_same(estimator, monkeypatch, x64):
    module = sys.modules["tripod_lite.legs.multiinformation"]  # the package has a function of that name

    z = np.random.default_rng(3).uniform(-1, 1, (9, 6))

    def value_and_gradient():
        module._klm.clear_cache()
        module._pairwise.clear_cache()
        return jax.value_and_grad(lambda z: tl.multiinformation(z, latent_scale(z), estimator=estimator))(
            jnp.asarray(z)
        )

    together = value_and_gradient()
    for tables in (1, 3 * 9 * 9):
        monkeypatch.setattr(module, "TABLES", tables)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), value_and_gradient(), together
        )
    module._klm.clear_cache()
    module._pairwise.clear_cache()
