"""Tripod: three legs for disentangled representation learning, in JAX.

    import tripod_lite as tl

Source: Hsu, Ibn Hamid, Burns, Finn, Wu, *Tripod: Three Complementary Inductive Biases for Disentangled Representation
Learning* (ICML 2024).
"""

from tripod_lite.legs import (
    Quantized,
    exact_hessian_energy,
    hessian_penalty,
    latent_scale,
    multiinformation,
    normalized_hessian_penalty,
    quantize,
    silverman_factor,
)

__version__ = "0.1.0"
