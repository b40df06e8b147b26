"""In which precision the convolutions compute."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

PRECISIONS = ("auto", "float32", "bfloat16")
FIRST_WITH_BFLOAT16 = 8.0  # NVIDIA's compute capability; a T4 has 7.5


def resolve_precision(precision: str) -> str:
    """What "auto" means on JAX's default device: "bfloat16" on TPUs and on GPUs that have it, else "float32"."""
    if precision != "auto":
        return precision
    device = jax.devices()[0]
    capability = float(getattr(device, "compute_capability", 0.0))  # of NVIDIA's GPUs, for example "7.5"
    return "bfloat16" if device.platform == "tpu" or capability >= FIRST_WITH_BFLOAT16 else "float32"


def compute_dtype(precision: str) -> DTypeLike | None:
    """The dtype that convolutions cast to, or None to leave the dtypes as they are.

    In bfloat16, parameters, normalizations, activation functions, the latents' and the conditioning vectors' layers,
    penalties and losses stay in single precision: only what goes into a convolution, and what comes out, is rounded.
    """
    return jnp.bfloat16 if precision == "bfloat16" else None
