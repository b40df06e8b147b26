"""Tripod: three legs for disentangled representation learning, in JAX.

    import tripod_lite as tl

Source: Hsu, Ibn Hamid, Burns, Finn, Wu, *Tripod: Three Complementary Inductive Biases for Disentangled Representation
Learning* (ICML 2024).
"""

from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.checkpoints import load, save
from tripod_lite.datasets import DATASETS, from_images, load_dataset, materialize
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
from tripod_lite.metrics import DCI, InfoMEC, Scores, dci, evaluate, infomec, psnr
from tripod_lite.training import Run, fit
from tripod_lite.widgets import explore, knobs

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "DCI",
    "dci",
    "evaluate",
    "exact_hessian_energy",
    "explore",
    "fit",
    "from_images",
    "hessian_penalty",
    "InfoMEC",
    "infomec",
    "knobs",
    "latent_scale",
    "load",
    "load_dataset",
    "materialize",
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
    "save",
    "Scores",
    "silverman_factor",
    "Tripod",
    "TripodConfig",
]
