"""The optimizers that a configuration can name."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree
from optax.contrib import MuonDimensionNumbers, muon

from tripod_lite.autoencoder import TripodConfig

KERNEL_RANKS = (2, 4)  # dense and convolution kernels; scales, shifts and biases are vectors, the constant a picture


def optimizer(config: TripodConfig, steps: int) -> optax.GradientTransformation:
    """The optimizer that `config` names, on gradients clipped elementwise to [-1, 1]; the schedule spans `steps`.

    "adam" is the released code's. "muon" gives every kernel, as a matrix from what it reads to what it writes, a step
    with all singular values near one, scaled to the size of Adam's so that rates carry over. The first and the last
    kernels are not excepted, as they often are. All other parameters take Adam's steps, with Nesterov momentum.

    Source: Jordan et al., *Muon* (2024); the scale: Liu et al., *Muon is scalable for LLM training* (2025).
    """
    rate: float | optax.Schedule = config.learning_rate
    if config.schedule == "cosine":
        warm_up = max(1, steps // 50)
        rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm_up, max(steps, warm_up + 1))
    if config.optimizer == "muon":
        method = packed(muon(rate, consistent_rms=0.2, muon_weight_dimension_numbers=_kernel_axes))
    else:
        method = optax.adam(rate)
    return optax.chain(optax.clip(1.0), method)


def penalty_strength(config: TripodConfig, steps: int) -> optax.Schedule:
    """The factor on both λ at each step."""
    if config.penalty_schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    return optax.constant_schedule(1.0)


def packed(method: optax.GradientTransformation) -> optax.GradientTransformation:
    """`method` on few large arrays in place of many small ones, for the time that each array takes whatever its size.

    Kernels are matrices, lying ones, and those of one shape are stacked, in arrays of shape (kernels, short, long). All
    other parameters are one vector. A method for which this makes no difference treats each as it would by itself.
    """

    def update(updates: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        small, unpack = pack(updates)
        steps, state = method.update(small, state, pack(params)[0])
        return unpack(steps), state

    return optax.GradientTransformation(lambda params: method.init(pack(params)[0]), update)


def pack(tree: PyTree) -> tuple[dict[str, Array], Callable[[dict[str, Array]], PyTree]]:
    """What `packed` hands on, by name, and the function that takes it apart again."""
    leaves, structure = jax.tree.flatten(tree)
    members: dict[str, list[int]] = {}
    for n, leaf in enumerate(leaves):
        shape = _matrix_shape(leaf)
        members.setdefault("vector" if shape is None else "{}x{}".format(*sorted(shape)), []).append(n)

    def flat(leaf: Array) -> Array:
        shape = _matrix_shape(leaf)
        if shape is None:
            return jnp.reshape(leaf, -1)
        matrix = jnp.reshape(leaf, shape)
        return matrix if shape[0] <= shape[1] else matrix.T

    def restored(piece: Array, leaf: Array) -> Array:
        shape = _matrix_shape(leaf)
        return jnp.reshape(piece if shape is None or shape[0] <= shape[1] else piece.T, leaf.shape)

    def unpack(arrays: dict[str, Array]) -> PyTree:
        pieces: list[Any] = [None] * len(leaves)
        for name, numbers in members.items():
            cuts = [sum(math.prod(leaves[n].shape) for n in numbers[:k]) for k in range(1, len(numbers))]
            parts = jnp.split(arrays[name], cuts) if name == "vector" else arrays[name]
            for n, part in zip(numbers, parts, strict=True):
                pieces[n] = restored(part, leaves[n])
        return structure.unflatten(pieces)

    join = {name: jnp.concatenate if name == "vector" else jnp.stack for name in members}
    return {name: join[name]([flat(leaves[n]) for n in numbers]) for name, numbers in members.items()}, unpack


def _matrix_shape(leaf: Array) -> tuple[int, int] | None:
    """What a dense or convolution kernel reads and writes; None for other parameters."""
    return (math.prod(leaf.shape[:-1]), leaf.shape[-1]) if len(leaf.shape) in KERNEL_RANKS else None


def _kernel_axes(arrays: dict[str, Array]) -> dict[str, MuonDimensionNumbers | None]:
    """What Muon takes for a matrix, of what `pack` gives."""
    return {name: None if name == "vector" else MuonDimensionNumbers(1, 2) for name in arrays}
