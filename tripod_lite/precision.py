"""In which precision the convolutions compute."""

import re

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

PRECISIONS = ("auto", "float32", "bfloat16")
FIRST_WITH_BFLOAT16 = 8.0  # NVIDIA's compute capability; a T4 has 7.5


def resolve_precision(precision: str) -> str:
    """What "auto" means on JAX's default device: "bfloat16" on TPUs and NVIDIA's GPUs that have it, else "float32"."""
    if precision != "auto":
        return precision
    device = jax.devices()[0]
    capability = re.fullmatch(r"\d+\.\d+", str(getattr(device, "compute_capability", "")))  # NVIDIA's, such as "7.5"
    has_it = device.platform == "tpu" or (capability and float(capability[0]) >= FIRST_WITH_BFLOAT16)
    return "bfloat16" if has_it else "float32"


def compute_dtype(precision: str) -> DTypeLike | None:
    """The dtype that convolutions cast to, or None to leave the dtypes as they are.

    In bfloat16, parameters, normalizations, activation functions, the latents' and the conditioning vectors' layers,
    penalties and losses stay in single precision: rounded are what goes into a convolution, what comes out, and the
    sums that residual blocks pass on.
    """
    return jnp.bfloat16 if precision == "bfloat16" else None
