"""DCI: disentanglement, completeness and informativeness from a random forest's importances."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from tripod_lite.metrics.tables import as_codes, class_numbers

TREES = 100
DEPTH = 10
TEST_SHARE = 0.1


class DCI(NamedTuple):
    """What `dci` returns.

    Attributes:
        disentanglement: D in [0, 1], is each latent important for one source?
        completeness: C in [0, 1], does each source need one latent?
        informativeness: I in [0, 1], mean accuracy of the forests on samples that they have not seen.
        importance: R_ij of latent j for source i, shape (n_s, n_z); each row sums to 1, or to 0 where the forest found
            nothing to split.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Float[np.ndarray, "n_s n_z"]


def dci(factors: npt.ArrayLike, latents: npt.ArrayLike, seed: int = 0) -> DCI:
    """Disentanglement, completeness and informativeness of a code.

    For each source a random forest (100 trees, entropy criterion, depth at most 10) is fitted on nine tenths of the
    samples and tested on the rest; its feature importances are a row of R. See `disentanglement` and `completeness`.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z), grid values, indices or continuous; within a latent only the order matters.
        seed: of the split and the forests.

    Returns:
        `DCI(disentanglement, completeness, informativeness, importance)`.

    Raises:
        TypeError: factors are not integers, or latents not numbers.
        ValueError: wrong shapes or numbers of rows; NaN or infinity; a factor with only one value; under 10 samples.

    Source: Eastwood and Williams, *A framework for the quantitative evaluation of disentangled representations*
    (ICLR 2018); the forest's settings are those of the released code.
    """
    from sklearn.ensemble import RandomForestClassifier

    s, z = as_codes(factors, latents)
    z = np.stack([class_numbers(column)[0] for column in z.T], axis=1)  # ranks: forests compute in single precision
    if len(s) < 10:
        raise ValueError(f"dci needs at least 10 samples, got {len(s)}")
    order = np.random.default_rng(seed).permutation(len(s))
    test, train = np.split(order, [max(1, round(TEST_SHARE * len(s)))])
    importance, accuracy = [], []
    for column in s.T:
        forest = RandomForestClassifier(TREES, criterion="entropy", max_depth=DEPTH, random_state=seed, n_jobs=-1)
        forest.fit(z[train], column[train])
        importance.append(forest.feature_importances_)
        accuracy.append(forest.score(z[test], column[test]))
    r = np.stack(importance)
    return DCI(disentanglement(r), completeness(r), float(np.mean(accuracy)), r)


def disentanglement(importance: Float[np.ndarray, "n_s n_z"]) -> float:
    """D = Σ_j ρ_j (1 - H(R_·j / Σ_i R_ij)), entropy to base n_s, ρ_j = Σ_i R_ij / Σ_ij R_ij."""
    return _concentration_by_entropy(importance.T)


def completeness(importance: Float[np.ndarray, "n_s n_z"]) -> float:
    """C = Σ_i ρ_i (1 - H(R_i· / Σ_j R_ij)), entropy to base n_z, ρ_i = Σ_j R_ij / Σ_ij R_ij."""
    return _concentration_by_entropy(importance)


def _concentration_by_entropy(rows: Float[np.ndarray, "r k"]) -> float:
    """Mean over the rows, weighted by their sums, of 1 - entropy to base k; 1 where k = 1, 0 for all zeros."""
    total = rows.sum()
    if total == 0:
        return 0.0
    weight = rows.sum(axis=1)
    if rows.shape[1] == 1:
        return 1.0
    p = rows / np.where(weight > 0, weight, 1.0)[:, None]
    entropy = -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=1) / np.log(rows.shape[1])
    return float(np.clip(weight / total @ (1 - entropy), 0.0, 1.0))  # rounding leads past the ends
