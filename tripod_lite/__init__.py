"""Tripod: three legs for disentangled representation learning, in JAX.

    import tripod_lite as tl

Source: Hsu, Ibn Hamid, Burns, Finn, Wu, *Tripod: Three Complementary Inductive Biases for Disentangled Representation
Learning* (ICML 2024).
"""

from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.checkpoints import load, save
from tripod_lite.datasets import DATASETS, from_images, load_dataset, materialize
from tripod_lite.explorer import explore
from tripod_lite.figures import plot_history, plot_images, plot_latents, plot_nmi, plot_reconstructions, plot_traversals
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
from tripod_lite.metrics import (
    DCI,
    InfoMEC,
    Interval,
    Scores,
    beta_vae_score,
    bootstrap,
    compare,
    dci,
    evaluate,
    factor_vae_score,
    infomec,
    mig,
    modularity_score,
    psnr,
    sap,
    ssim,
    student,
)
from tripod_lite.training import Run, fit
from tripod_lite.widgets import knobs

__version__ = "0.1.0"

__all__ = [
    "beta_vae_score",
    "bootstrap",
    "compare",
    "DATASETS",
    "DCI",
    "dci",
    "evaluate",
    "exact_hessian_energy",
    "explore",
    "factor_vae_score",
    "fit",
    "from_images",
    "hessian_penalty",
    "InfoMEC",
    "infomec",
    "Interval",
    "knobs",
    "latent_scale",
    "load",
    "load_dataset",
    "materialize",
    "mig",
    "modularity_score",
    "multiinformation",
    "normalized_hessian_penalty",
    "plot_history",
    "plot_images",
    "plot_latents",
    "plot_nmi",
    "plot_reconstructions",
    "plot_traversals",
    "psnr",
    "quantize",
    "Quantized",
    "Run",
    "sap",
    "save",
    "Scores",
    "silverman_factor",
    "ssim",
    "student",
    "Tripod",
    "TripodConfig",
]
