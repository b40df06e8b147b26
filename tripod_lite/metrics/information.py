"""Entropy of sources and their mutual information with latents, for all pairs at once."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int, Shaped

from tripod_lite.metrics.tables import as_codes, level_numbers, one_hot, standardized

NEIGHBORS = 10
ROUND_OFF = 1e-12  # nats; must not look like a preference


class Information(NamedTuple):
    """What latents tell of sources, in nats.

    Attributes:
        mutual: I(s_i; z_j), shape (n_s, n_z).
        entropy: H(s_i), shape (n_s,).
    """

    mutual: Float[np.ndarray, "n_s n_z"]
    entropy: Float[np.ndarray, " n_s"]

    @property
    def normalized(self) -> Float[np.ndarray, "n_s n_z"]:
        """NMI_ij = I(s_i; z_j) / H(s_i), the share of source i that latent j tells; 0 of a source that is constant."""
        return self.mutual / np.where(self.entropy > 0, self.entropy, 1.0)[:, None]


def normalized_information(
    factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True
) -> Float[np.ndarray, "n_s n_z"]:
    """NMI_ij = I(s_i; z_j) / H(s_i), the share of source i that latent j tells, shape (n_s, n_z).

    Discrete latents: the plug-in estimate, from counts. Continuous: from the k = 10 nearest neighbors (Ross 2014), on
    standardized latents. Arguments and errors as for `infomec`.
    """
    s, z = as_codes(factors, latents)
    return information(s, z, discrete).normalized


def information(s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"], discrete: bool) -> Information:
    """Of class numbers and latents; see `normalized_information`."""
    return counted_information(Counts(s, level_numbers(z))) if discrete else _neighbor_information(s, z)


class Counts:
    """The contingency tables of all pairs of sources and latents.

    With the one-hot codes of all sources side by side in S, and those of all latents in Z, the one product Sᵀ Z
    holds every table as a block.

    Attributes:
        joint: the share of samples with each class of each source and each level of each latent, shape (Σ K, Σ L).
        classes: where the block of each source starts in the first axis, shape (n_s,).
        levels: where that of each latent starts in the second, shape (n_z,).
        source: the share of samples with each class, shape (Σ K,).
        latent: the share of samples with each level, shape (Σ L,).
    """

    def __init__(
        self,
        s: Int[np.ndarray, "n n_s"],
        z: Int[np.ndarray, "n n_z"],
    ) -> None:
        """Count.

        Args:
            s: class numbers, shape (n, n_s).
            z: level numbers, shape (n, n_z).
        """
        (sources, self.classes), (latents, self.levels) = one_hot(s), one_hot(z)
        self.joint = (sources.T @ latents).toarray() / len(s)
        self.source = sources.sum(axis=0) / len(s)
        self.latent = latents.sum(axis=0) / len(s)


def counted_information(counts: Counts) -> Information:
    """The plug-in estimate: I(s; z) = H(s) + H(z) - H(s, z), each entropy the sum of a block of -p log p."""
    source = np.add.reduceat(_surprise(counts.source), counts.classes)
    latent = np.add.reduceat(_surprise(counts.latent), counts.levels)
    joint = np.add.reduceat(np.add.reduceat(_surprise(counts.joint), counts.classes, axis=0), counts.levels, axis=1)
    mutual = source[:, None] + latent - joint
    return Information(np.where(mutual > ROUND_OFF, mutual, 0.0), source)


def _surprise(p: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """-p log p, 0 at 0."""
    return -p * np.log(np.where(p > 0, p, 1.0))


def _neighbor_information(s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"]) -> Information:
    from sklearn.feature_selection import mutual_info_classif

    if len(s) <= NEIGHBORS:
        raise ValueError(f"continuous latents need more than {NEIGHBORS} samples, got {len(s)}")
    for i, column in enumerate(s.T):
        if np.bincount(column).max() < 2:
            raise ValueError(f"some value of every factor must occur twice, but all of column {i} differ")
    z = standardized(z)
    moves = z.any(axis=0)  # of a constant, scikit-learn measures the noise that it adds to break ties
    mutual = [
        moves * mutual_info_classif(z, column, discrete_features=False, n_neighbors=NEIGHBORS, random_state=0)
        for column in s.T
    ]
    entropy = [_surprise(np.bincount(column) / len(column)).sum() for column in s.T]
    return Information(np.stack(mutual), np.array(entropy))
