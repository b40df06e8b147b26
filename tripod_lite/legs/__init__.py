"""The three legs, as pure functions of arrays: nothing here knows of networks, data or training."""

from tripod_lite.legs.hessian import exact_hessian_energy, hessian_penalty, normalized_hessian_penalty
from tripod_lite.legs.multiinformation import ESTIMATORS, latent_scale, multiinformation, silverman_factor
from tripod_lite.legs.quantization import Quantized, quantize

__all__ = [
    "ESTIMATORS",
    "Quantized",
    "exact_hessian_energy",
    "hessian_penalty",
    "latent_scale",
    "multiinformation",
    "normalized_hessian_penalty",
    "quantize",
    "silverman_factor",
]
