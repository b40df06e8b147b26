"""How disentangled a code is, and how good its reconstructions: InfoMEC, DCI, PSNR, and all of them at once."""

from tripod_lite.metrics.dci import DCI, dci
from tripod_lite.metrics.images import psnr
from tripod_lite.metrics.infomec import InfoMEC, infomec, normalized_information
from tripod_lite.metrics.scores import Scores, evaluate

__all__ = ["DCI", "InfoMEC", "Scores", "dci", "evaluate", "infomec", "normalized_information", "psnr"]
