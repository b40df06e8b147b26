"""InfoMEC: modularity, compactness and explicitness, all in terms of information."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int, Shaped

from tripod_lite.checks import check_count
from tripod_lite.metrics.information import information
from tripod_lite.metrics.regression import least_losses
from tripod_lite.metrics.tables import as_codes, level_numbers, one_hot, standardized


class InfoMEC(NamedTuple):
    """What `infomec` returns.

    Attributes:
        modularity: InfoM in [0, 1], is each latent about one source?
        compactness: InfoC in [0, 1], is each source in one latent?
        explicitness: InfoE in [0, 1], can a linear reader tell the sources?
        nmi: I(s_i; z_j) / H(s_i), shape (n_s, n_z), every latent, active or not.
        active: which latents vary, shape (n_z,).
    """

    modularity: float
    compactness: float
    explicitness: float
    nmi: Float[np.ndarray, "n_s n_z"]
    active: Bool[np.ndarray, " n_z"]


def infomec(
    factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True, *, levels: int | None = None
) -> InfoMEC:
    """Modularity, compactness and explicitness of a code.

        InfoM = (mean over active j of max_i NMI_ij / Σ_i NMI_ij - 1/n_s) / (1 - 1/n_s)
        InfoC = (mean over i of max_j NMI_ij / Σ_j NMI_ij - 1/n_a) / (1 - 1/n_a)
        InfoE = mean over i of (H∅ - H_z)/H∅

    over the n_a active latents for InfoM and InfoC, over all of them for InfoE; see `normalized_information`,
    `active_latents` and `explicitness`. A latent that tells nothing of any source counts 0 in the first mean, a source
    that no latent knows 0 in the second. With one active latent, compactness is 1 for every source of which it tells
    anything; with one source, modularity likewise. Without an active latent all three are 0.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z). Discrete ones are grid values in [-1, 1] (floats) or indices of levels (integers).
        discrete: whether the latents take few values; otherwise information is estimated from nearest neighbors.
        levels: L, for latents given as indices; by default the largest index + 1. Decides only which are active.

    Returns:
        `InfoMEC(modularity, compactness, explicitness, nmi, active)`.

    Raises:
        TypeError: factors are not integers, or latents not numbers.
        ValueError: wrong shapes or numbers of rows; NaN or infinity; a factor with only one value; discrete latents
            that take more than 256 values, or indices outside 0 … levels - 1; too few samples for the neighbors.

    Source: Hsu et al., *Disentanglement via latent quantization* (NeurIPS 2023), which proposed InfoMEC.
    """
    s, z = as_codes(factors, latents)
    nmi = information(s, z, discrete).normalized
    active = active_latents(on_grid(z, levels) if discrete else z, discrete)
    told = float(np.mean(explicitness(s, z, discrete))) if active.any() else 0.0
    return InfoMEC(*modularity_compactness(nmi, active), told, nmi, active)


def modularity_compactness(nmi: Float[np.ndarray, "n_s n_z"], active: Bool[np.ndarray, " n_z"]) -> tuple[float, float]:
    """InfoM and InfoC of a table of normalized information; both 0 where no latent is active."""
    if not active.any():
        return 0.0, 0.0
    relevant = nmi[:, active]
    return float(np.mean(concentration(relevant.T))), float(np.mean(concentration(relevant)))


def concentration(rows: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
    """How far each row of nonnegative numbers is concentrated on one entry.

    Returns:
        (max / sum - 1/k)/(1 - 1/k), shape (r,): 1 where one entry has it all, 0 where all k are equal. A row of zeros
        gets 0; with k = 1 any other row gets 1.
    """
    k = rows.shape[1]
    total = rows.sum(axis=1)
    if k == 1:
        return (total > 0).astype(float)
    share = np.divide(rows.max(axis=1), total, out=np.full(len(rows), 1 / k), where=total > 0)
    return (share - 1 / k) / (1 - 1 / k)


def active_latents(latents: Shaped[np.ndarray, "n n_z"], discrete: bool) -> Bool[np.ndarray, " n_z"]:
    """Which latents vary: those whose interquartile range is above a threshold.

    The threshold is 0.1 for discrete latents, on a grid in [-1, 1], and a tenth of the largest interquartile range for
    continuous ones. Quartiles interpolate linearly. A latent that leaves one value in less than a quarter of the
    samples is inactive, however much it tells. Shapes (n, n_z) to (n_z,).
    """
    low, high = np.percentile(latents, [25, 75], axis=0)
    spread = high - low
    return spread > (0.1 if discrete else spread.max() / 10)


def explicitness(
    s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"], discrete: bool = True
) -> Float[np.ndarray, " n_s"]:
    """(H∅ - H_z)/H∅ for each source, shape (n_s,).

    H_z is the cross-entropy of logistic regression from all latents (one-hot where discrete, else standardized), fitted
    and measured on the same samples, every class weighing the same. H∅ is that of constant inputs: log K for K classes.
    """
    return explicitness_of_losses(s, sample_losses(s, z, discrete), s.max(axis=0) + 1)


def sample_losses(
    s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"], discrete: bool
) -> Float[np.ndarray, "n n_s"]:
    """The cross-entropy of `explicitness` sample by sample, in nats, shape (n, n_s)."""
    return least_losses(one_hot(level_numbers(z))[0] if discrete else standardized(z), s)


def explicitness_of_losses(
    s: Int[np.ndarray, "n n_s"], losses: Float[np.ndarray, "n n_s"], classes: Int[np.ndarray, " n_s"]
) -> Float[np.ndarray, " n_s"]:
    """`explicitness` of the losses of each sample; of K classes, shape (n_s,), a resample may lack some."""
    scores = []
    for column, loss, k in zip(s.T, losses.T, classes, strict=True):
        seen = np.bincount(column)
        h_z = np.mean(np.bincount(column, loss)[seen > 0] / seen[seen > 0])
        scores.append(1 - h_z / np.log(k))
    return np.clip(scores, 0, 1)  # H_z is above H∅ by round-off only


def on_grid(z: Shaped[np.ndarray, "n n_z"], levels: int | None) -> Float[np.ndarray, "n n_z"]:
    """Indices of levels as grid values in [-1, 1]; floats are grid values already."""
    top = None if levels is None else check_count("levels", levels, 2) - 1
    if not np.issubdtype(z.dtype, np.integer):
        return z
    largest = max(int(z.max()), 1) if top is None else top
    if z.min() < 0 or z.max() > largest:
        raise ValueError(f"latents given as integers are indices from 0 to {largest}, got {z.min()} to {z.max()}")
    return 2 * z / largest - 1
