"""MIG and SAP: how far the best latent for a source is ahead of the second best."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Shaped

from tripod_lite.checks import check_count
from tripod_lite.metrics.information import Counts, information
from tripod_lite.metrics.tables import as_codes, level_numbers

BINS = 20


def mig(factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True) -> float:
    """Mutual information gap: the mean over sources of the largest minus the second largest NMI_ij.

    In [0, 1]. It rewards compactness, in units of the source's entropy: 1 where each source is told completely by one
    latent and not at all by another. It is blind to modularity: one latent may hold many sources. With one latent the
    second largest is 0.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z).
        discrete: whether the latents take few values; see `normalized_information`.

    Raises:
        TypeError, ValueError: as for `infomec`.

    Source: Chen et al., *Isolating sources of disentanglement in variational autoencoders* (NeurIPS 2018).
    """
    s, z = as_codes(factors, latents)
    return float(np.mean(gap(information(s, z, discrete).normalized)))


def sap(factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True, *, bins: int = BINS) -> float:
    """Separated attribute predictability: how far the best latent predicts a source better than the second.

    The mean over sources i of the largest minus the second largest S_ij. Latent j predicts source i by the class that
    is most likely at its level, every class weighing the same; S_ij is the share of samples told rightly, the mean over
    classes, on the samples that the classes were chosen on.
    In [0, 1 - 1/K] for sources of K classes: 1/K is told by chance. It rewards compactness, like `mig`, and is as blind
    to modularity.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z).
        discrete: whether the latents take few values; otherwise each is cut into bins of equal width.
        bins: how many, for continuous latents.

    Raises:
        TypeError, ValueError: as for `infomec`; bins below 2.

    Source: Kumar et al., *Variational inference of disentangled latent concepts from unlabeled observations*
    (ICLR 2018), who fit thresholds on z_j for each class. disentanglement_lib fits a linear classifier to one latent,
    which cannot tell a class between two others. A class for each level is what thresholds between all levels allow.
    """
    check_count("bins", bins, 2)
    s, z = as_codes(factors, latents)
    return sap_of_counts(Counts(s, level_numbers(z) if discrete else _bin_numbers(z, bins)))


def sap_of_counts(counts: Counts) -> float:
    """`sap` of contingency tables."""
    seen = counts.source > 0
    likelihood = counts.joint / np.where(seen, counts.source, 1.0)[:, None]  # of a level, given a class
    classes = np.add.reduceat(seen.astype(float), counts.classes)
    told = np.add.reduceat(np.maximum.reduceat(likelihood, counts.classes, axis=0), counts.levels, axis=1)
    return float(np.mean(gap(told / classes[:, None], chance=1 / classes)))


def gap(rows: Float[np.ndarray, "r k"], chance: float | Float[np.ndarray, " r"] = 0.0) -> Float[np.ndarray, " r"]:
    """The largest minus the second largest entry of each row; of a single entry, minus `chance`."""
    if rows.shape[1] == 1:
        return rows[:, 0] - chance
    second, first = np.sort(rows, axis=1)[:, -2:].T
    return first - second


def _bin_numbers(z: Shaped[np.ndarray, "n n_z"], bins: int) -> Int[np.ndarray, "n n_z"]:
    """Bins of equal width from the least to the largest value of each column."""
    low, high = z.min(axis=0), z.max(axis=0)
    numbers = np.floor(bins * (z - low) / np.where(high > low, high - low, 1.0)).astype(np.int64)
    return np.minimum(numbers, bins - 1)
