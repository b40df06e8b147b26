"""The optimizers that a configuration can name."""

import jax
import optax
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

from tripod_lite.autoencoder import TripodConfig


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
        method = muon(rate, consistent_rms=0.2, muon_weight_dimension_numbers=kernel_axes)
    else:
        method = optax.adam(rate)
    return optax.chain(optax.clip(1.0), method)


def penalty_strength(config: TripodConfig, steps: int) -> optax.Schedule:
    """The factor on both λ at each step."""
    if config.penalty_schedule == "cosine":
        return optax.cosine_decay_schedule(1.0, steps)
    return optax.constant_schedule(1.0)


def kernel_axes(params: nnx.State) -> nnx.State:
    """Which axes of each parameter are read and written, for dense and convolution kernels; None for all others."""

    def axes(leaf: jax.Array) -> MuonDimensionNumbers | None:
        if leaf.ndim not in (2, 4):  # scales, shifts and biases are vectors; the decoder's constant is a picture
            return None
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

    return jax.tree.map(axes, params)
