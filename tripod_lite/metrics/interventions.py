"""The FactorVAE and β-VAE scores: hold one source, vary the others, and ask which source it was."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Int, Shaped

from tripod_lite.checks import check_count
from tripod_lite.metrics.infomec import active_latents, on_grid
from tripod_lite.metrics.tables import as_codes, standardized

VOTES = 10_000
TEST_VOTES = 5_000
GROUP = 64
ROUND_OFF = 1e-12  # of variances; equal values do not always have 0


def factor_vae_score(
    factors: npt.ArrayLike,
    latents: npt.ArrayLike,
    discrete: bool = True,
    *,
    levels: int | None = None,
    group: int = GROUP,
    seed: int = 0,
) -> float:
    """How often the latent that varies least tells which source was held.

    A vote: choose a source i, draw 64 samples with one value of s_i, and find the active latent j whose variance in
    this group, relative to its variance in all samples, is the least. Each latent then stands for the source for which
    it was found most often in 10 000 votes; the score is the share of 5 000 further votes that it tells rightly.

    In [0, 1]; about 1/n_s by chance, 0 where no latent is active. It rewards that each source has a latent that moves
    only with it; other latents may hold the source as well, so it is blind to compactness, and to leaks that leave the
    order of the variances alone. Of latents with the same least variance one is drawn.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z). Discrete ones as for `infomec`.
        discrete: decides which latents are active; see `active_latents`.
        levels: L, for latents given as indices.
        group: how many samples a vote, at least 2.
        seed: of the draws. Groups are drawn from the given samples, with replacement.

    Raises:
        TypeError, ValueError: as for `infomec`; a source none of whose values occurs twice.

    Source: Kim and Mnih, *Disentangling by factorising* (ICML 2018); numbers of votes and samples as in
    disentanglement_lib.
    """
    s, z = _check(factors, latents, group, 2, seed)
    active = active_latents(on_grid(z, levels) if discrete else z, discrete)
    if not active.any():
        return 0.0
    z = standardized(z)[:, active]
    rng = np.random.default_rng(seed)
    held = rng.integers(s.shape[1], size=VOTES + TEST_VOTES)
    least = np.empty(len(held), int)
    for i in range(s.shape[1]):
        mine = np.flatnonzero(held == i)
        first = rng.integers(len(s), size=(len(mine), 1))
        rows = _draw_alike(s[:, i], np.repeat(first, group, axis=1), rng)
        spread = np.stack([column[rows].var(axis=1) for column in z.T], axis=1)
        tied = spread <= spread.min(axis=1, keepdims=True) + ROUND_OFF
        least[mine] = np.where(tied, rng.random(spread.shape), -1.0).argmax(axis=1)
    votes = np.zeros((z.shape[1], s.shape[1]), int)
    np.add.at(votes, (least[:VOTES], held[:VOTES]), 1)
    return float(np.mean(votes.argmax(axis=1)[least[VOTES:]] == held[VOTES:]))


def beta_vae_score(factors: npt.ArrayLike, latents: npt.ArrayLike, *, group: int = GROUP, seed: int = 0) -> float:
    """How often a linear classifier tells from differences of latents which source was held.

    A vote: choose a source i, draw 64 pairs of samples, the two of a pair with the same value of s_i, and average
    |z_j - z_j'| over the pairs. A logistic regression learns i from 10 000 such vectors; the score is its accuracy on
    5 000 others.

    In [0, 1]; about 1/n_s by chance. It rewards that the sizes of the latents' changes tell the held source linearly.
    No latent needs to stand for one source alone, and the last source may be told by elimination. All latents are used;
    one source is always told.

    Args:
        factors: sources s, integers, shape (n, n_s). Only equality of values matters.
        latents: shape (n, n_z), grid values, indices or continuous.
        group: how many pairs a vote.
        seed: of the draws and the classifier. Pairs are drawn from the given samples, with replacement.

    Raises:
        TypeError, ValueError: as for `infomec`; a source none of whose values occurs twice.

    Source: Higgins et al., *β-VAE* (ICLR 2017); numbers of votes and pairs, and the regularized classifier, as in
    disentanglement_lib. The features are standardized first.
    """
    from sklearn.linear_model import LogisticRegression

    s, z = _check(factors, latents, group, 1, seed)
    if s.shape[1] == 1:
        return 1.0  # nothing to tell apart
    z = standardized(z)
    rng = np.random.default_rng(seed)
    held = rng.integers(s.shape[1], size=VOTES + TEST_VOTES)
    features = np.empty((len(held), z.shape[1]))
    for i in range(s.shape[1]):
        mine = np.flatnonzero(held == i)
        first = rng.integers(len(s), size=(len(mine), group))
        second = _draw_alike(s[:, i], first, rng)
        features[mine] = np.stack([np.abs(column[first] - column[second]).mean(axis=1) for column in z.T], axis=1)
    features = standardized(features)
    reader = LogisticRegression(max_iter=1000).fit(features[:VOTES], held[:VOTES])
    return float(reader.score(features[VOTES:], held[VOTES:]))


def _check(
    factors: npt.ArrayLike, latents: npt.ArrayLike, group: int, least: int, seed: int
) -> tuple[Int[np.ndarray, "n n_s"], Shaped[np.ndarray, "n n_z"]]:
    check_count("group", group, least)
    check_count("seed", seed, 0)
    s, z = as_codes(factors, latents)
    for i, column in enumerate(s.T):
        if np.bincount(column).max() < 2:
            raise ValueError(f"some value of every factor must occur twice, but all of column {i} differ")
    return s, z


def _draw_alike(
    column: Int[np.ndarray, " n"], rows: Int[np.ndarray, "votes group"], rng: np.random.Generator
) -> Int[np.ndarray, "votes group"]:
    """For each row a row with the same class, any of them, itself included."""
    order = np.argsort(column, kind="stable")
    counts = np.bincount(column)
    starts = np.cumsum(counts) - counts
    y = column[rows]
    return order[starts[y] + rng.integers(counts[y])]
