"""The modularity score: how far a latent is from telling of one source only."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from tripod_lite.metrics.information import information
from tripod_lite.metrics.tables import as_codes


def modularity_score(factors: npt.ArrayLike, latents: npt.ArrayLike, discrete: bool = True) -> float:
    """One minus the mean over latents of the squared information on other sources than the best, relative to the best.

    With m_ij = I(s_i; z_j) and θ_j = max_i m_ij, the mean over j of 1 - (Σ_i m_ij² - θ_j²)/(θ_j² (n_s - 1)). In [0, 1].
    It rewards modularity: 1 where every latent tells of one source. A latent that tells nothing of any source counts 0,
    so that constant latents cost, unlike in InfoM. But information estimated from samples is hardly ever 0: latents
    that move and tell nothing get a score of noise, often above a half. It is blind to compactness and explicitness,
    and the squares forgive leaks: a latent with a tenth of its best source's information on every other one gets 0.99.
    With one source, a latent that tells anything of it gets 1.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z).
        discrete: whether the latents take few values; see `normalized_information`.

    Raises:
        TypeError, ValueError: as for `infomec`.

    Source: Ridgeway and Mozer, *Learning deep disentangled embeddings with the F-statistic loss* (NeurIPS 2018).
    """
    s, z = as_codes(factors, latents)
    return modularity_of_information(information(s, z, discrete).mutual)


def modularity_of_information(mutual: Float[np.ndarray, "n_s n_z"]) -> float:
    """`modularity_score` of a table of mutual information, in nats or any other unit."""
    squares = mutual**2
    best = squares.max(axis=0)
    others = (squares.sum(axis=0) - best) / np.where(best > 0, best, 1.0) / max(len(mutual) - 1, 1)
    return float(np.mean(np.where(best > 0, 1 - others, 0.0)))
