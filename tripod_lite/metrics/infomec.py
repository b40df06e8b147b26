"""InfoMEC: modularity, compactness and explicitness, all in terms of information."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float, Int, Shaped

from tripod_lite.checks import check_count
from tripod_lite.metrics.regression import balanced_cross_entropy
from tripod_lite.metrics.tables import as_codes, class_numbers, standardized

MAX_LEVELS = 256
NEIGHBORS = 10


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
    if discrete:
        nmi = _discrete_information(s, _level_numbers(z))
        active = active_latents(_on_grid(z, levels), discrete=True)
    else:
        nmi = _continuous_information(s, z)
        active = active_latents(z, discrete=False)
    if not active.any():
        return InfoMEC(0.0, 0.0, 0.0, nmi, active)
    relevant = nmi[:, active]
    return InfoMEC(
        float(np.mean(concentration(relevant.T))),
        float(np.mean(concentration(relevant))),
        float(np.mean(explicitness(s, z, discrete))),
        nmi,
        active,
    )


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
    continuous ones. Quartiles interpolate linearly. Shapes (n, n_z) to (n_z,).
    """
    low, high = np.percentile(latents, [25, 75], axis=0)
    spread = high - low
    return spread > (0.1 if discrete else spread.max() / 10)


def normalized_information(
    factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True
) -> Float[np.ndarray, "n_s n_z"]:
    """NMI_ij = I(s_i; z_j) / H(s_i), the share of source i that latent j tells, shape (n_s, n_z).

    Discrete latents: the plug-in estimate, from counts. Continuous: from the k = 10 nearest neighbors (Ross 2014), on
    standardized latents. Arguments and errors as for `infomec`.
    """
    s, z = as_codes(factors, latents)
    return _discrete_information(s, _level_numbers(z)) if discrete else _continuous_information(s, z)


def explicitness(
    s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"], discrete: bool = True
) -> Float[np.ndarray, " n_s"]:
    """(H∅ - H_z)/H∅ for each source, shape (n_s,).

    H_z is the cross-entropy of logistic regression from all latents (one-hot where discrete, else standardized), fitted
    and measured on the same samples, every class weighing the same. H∅ is that of constant inputs: log K for K classes.
    """
    x = _one_hot(_level_numbers(z)) if discrete else standardized(z)
    scores = []
    for column in s.T:
        y, classes = class_numbers(column)
        scores.append(1 - balanced_cross_entropy(x, y) / np.log(classes))
    return np.clip(scores, 0, 1)  # round-off only: H_z lies between 0 and H∅


def _level_numbers(z: Shaped[np.ndarray, "n n_z"]) -> Int[np.ndarray, "n n_z"]:
    """The latents' values numbered, column by column."""
    columns = [class_numbers(column) for column in z.T]
    for j, (_, values) in enumerate(columns):
        if values > MAX_LEVELS:
            raise ValueError(
                f"discrete latents must take at most {MAX_LEVELS} values, but latents column {j} takes {values}; "
                "pass discrete=False for continuous ones"
            )
    return np.stack([numbers for numbers, _ in columns], axis=1)


def _on_grid(z: Shaped[np.ndarray, "n n_z"], levels: int | None) -> Float[np.ndarray, "n n_z"]:
    """Indices of levels as grid values in [-1, 1]; floats are grid values already."""
    if not np.issubdtype(z.dtype, np.integer):
        return z
    largest = max(int(z.max()), 1) if levels is None else check_count("levels", levels, 2) - 1
    if z.min() < 0 or z.max() > largest:
        raise ValueError(f"latents given as integers are indices from 0 to {largest}, got {z.min()} to {z.max()}")
    return 2 * z / largest - 1


def _one_hot(numbers: Int[np.ndarray, "n d"]) -> "scipy.sparse.csr_array":
    """One row a sample, a 1 for the class in each of the d columns, side by side."""
    from scipy import sparse

    n, d = numbers.shape
    sizes = numbers.max(axis=0) + 1
    columns = numbers + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return sparse.csr_array((np.ones(n * d), columns.ravel(), np.arange(0, n * d + 1, d)), shape=(n, int(sizes.sum())))


def _discrete_information(s: Int[np.ndarray, "n n_s"], z: Int[np.ndarray, "n n_z"]) -> Float[np.ndarray, "n_s n_z"]:
    """Every table of counts at once: a product of two one-hot matrices, cut into n_s × n_z blocks."""
    n = len(s)
    counts = (_one_hot(s).T @ _one_hot(z)).toarray()
    cuts = [np.cumsum(table.max(axis=0) + 1)[:-1] for table in (s, z)]
    nmi = np.zeros((s.shape[1], z.shape[1]))
    for i, stripe in enumerate(np.split(counts, cuts[0])):
        for j, block in enumerate(np.split(stripe, cuts[1], axis=1)):
            joint = block / n
            p, q = joint.sum(axis=1), joint.sum(axis=0)
            there = joint > 0
            information = np.sum(joint[there] * np.log(joint[there] / np.outer(p, q)[there]))
            nmi[i, j] = information / -np.sum(p * np.log(p))
    return np.where(nmi > 1e-12, nmi, 0.0)  # round-off must not look like a preference


def _continuous_information(
    s: Int[np.ndarray, "n n_s"], z: Shaped[np.ndarray, "n n_z"]
) -> Float[np.ndarray, "n_s n_z"]:
    from sklearn.feature_selection import mutual_info_classif

    if len(s) <= NEIGHBORS:
        raise ValueError(f"continuous latents need more than {NEIGHBORS} samples, got {len(s)}")
    z = standardized(z)
    nmi = np.zeros((s.shape[1], z.shape[1]))
    for i, column in enumerate(s.T):
        p = np.bincount(column) / len(column)
        information = mutual_info_classif(z, column, discrete_features=False, n_neighbors=NEIGHBORS, random_state=0)
        nmi[i] = information / -np.sum(p * np.log(p))
    return nmi
