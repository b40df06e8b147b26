"""How disentangled a code is, and how good its reconstructions: each metric by itself, and all of them at once."""

from tripod_lite.metrics.dci import DCI, dci
from tripod_lite.metrics.gaps import mig, sap
from tripod_lite.metrics.images import psnr, ssim
from tripod_lite.metrics.infomec import InfoMEC, infomec
from tripod_lite.metrics.information import normalized_information
from tripod_lite.metrics.intervals import Interval, bootstrap, student
from tripod_lite.metrics.interventions import beta_vae_score, factor_vae_score
from tripod_lite.metrics.modularity import modularity_score
from tripod_lite.metrics.scores import Scores, compare, evaluate

__all__ = [
    "DCI",
    "InfoMEC",
    "Interval",
    "Scores",
    "beta_vae_score",
    "bootstrap",
    "compare",
    "dci",
    "evaluate",
    "factor_vae_score",
    "infomec",
    "mig",
    "modularity_score",
    "normalized_information",
    "psnr",
    "sap",
    "ssim",
    "student",
]
