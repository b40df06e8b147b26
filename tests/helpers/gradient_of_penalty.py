"""The gradient of the crossed penalty of a small decoder: in a process of its own, since what fails here is a crash."""

import jax
import jax.numpy as jnp
from flax import nnx

import tripod_lite as tl

config = tl.TripodConfig(n_z=4, image_size=32, size="tiny", batch_size=4)
graph, params = nnx.split(tl.Tripod(config, rngs=nnx.Rngs(0)))
z = jax.random.uniform(jax.random.key(0), (4, 4), minval=-1)


def penalty(params, key):
    decoder = nnx.merge(graph, params).decoder
    return sum(tl.normalized_hessian_penalty(decoder.activations, z, 1.0, key, design="crossed", batched=True))


keys = jax.random.split(jax.random.key(1), 2)
gradients = jax.jit(jax.vmap(jax.grad(penalty), in_axes=(None, 0)))(params, keys)  # as for several seeds
one = jax.jit(jax.grad(penalty))(params, keys[1])
print(max(float(jnp.abs(a[1] - b).max()) for a, b in zip(*map(jax.tree.leaves, (gradients, one)), strict=True)))
