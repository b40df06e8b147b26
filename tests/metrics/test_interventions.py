"""The FactorVAE and β-VAE scores against values worked out on paper and slow versions."""

import functools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_codes import full_grid, random_code

from tripod_lite.metrics import beta_vae_score, factor_vae_score

NOISE = 0.03  # four standard deviations of the share of 5 000 votes


def alike(column: np.ndarray, row: int, size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(np.flatnonzero(column == column[row]), size)


def slow_factor_vae(s: np.ndarray, z: np.ndarray, votes: int, group: int) -> float:
    rng = np.random.default_rng(100)

    def vote() -> tuple[int, int]:
        i = int(rng.integers(s.shape[1]))
        rows = alike(s[:, i], rng.integers(len(s)), group, rng)
        return int(np.argmin([np.var(b[rows]) / np.var(b) for b in z.T])), i

    ballot = [[0] * s.shape[1] for _ in z.T]
    for _ in range(votes):
        j, i = vote()
        ballot[j][i] += 1
    return float(np.mean([int(np.argmax(ballot[j])) == i for j, i in (vote() for _ in range(votes))]))


def slow_beta_vae(s: np.ndarray, z: np.ndarray, votes: int, group: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(100)
    held = rng.integers(s.shape[1], size=2 * votes)
    x = []
    for i in held:
        first = rng.integers(len(s), size=group)
        second = [alike(s[:, i], row, 1, rng)[0] for row in first]
        x.append(np.mean(np.abs(z[first] - z[second]), axis=0))
    reader = make_pipeline(StandardScaler(), LogisticRegression()).fit(x[:votes], held[:votes])
    return float(reader.score(x[votes:], held[votes:]))


def test_a_latent_for_each_source_scores_one():
    s = full_grid(3, 4, 5)
    for z in (s, s[:, [2, 0, 1]], s[:, [0, 0, 1, 2]]):  # as they are, permuted, one of them twice
        assert factor_vae_score(s, z) == beta_vae_score(s, z) == 1


def test_a_latent_that_holds_two_sources():
    # z0 = 2 s0 + s1: holding s0 leaves a fifth of its variance, holding s1 four fifths, and z1 has all of its own. So
    # z0 is found for both, and stands for one: two of three. The changes of z0 differ in size, and β-VAE tells them.
    s = full_grid(2, 2, 2)
    z = np.column_stack([2 * s[:, 0] + s[:, 1], s[:, 2]])
    assert factor_vae_score(s, z) == pytest.approx(2 / 3, abs=NOISE)
    assert beta_vae_score(s, z) > 0.98


def test_a_source_that_no_latent_holds():
    # Where it is held, either latent varies least: it is told never; or by elimination.
    s = full_grid(3, 3, 3)
    assert factor_vae_score(s, s[:, :2]) == pytest.approx(2 / 3, abs=NOISE)
    assert beta_vae_score(s, s[:, :2]) > 0.98


def test_exclusive_or_leaves_chance():
    s = full_grid(2, 2)
    xor = s[:, :1] ^ s[:, 1:]
    assert factor_vae_score(s, xor) == pytest.approx(1 / 2, abs=NOISE)
    assert beta_vae_score(s, xor) == pytest.approx(1 / 2, abs=NOISE)


def test_independent_latents_leave_chance():
    s = full_grid(4, 4, 4, 3, 3)
    z = s[:, 3:] + 0.01 * np.random.default_rng(0).normal(size=(len(s), 2))
    for discrete in (False, True):
        latents = z if not discrete else s[:, 3:]
        assert factor_vae_score(s[:, :3], latents, discrete) == pytest.approx(1 / 3, abs=NOISE)
    assert beta_vae_score(s[:, :3], z) == pytest.approx(1 / 3, abs=NOISE)


def test_a_noisy_copy_still_varies_least():
    # Bits flipped one time in ten: holding the source leaves 4 · 0.1 · 0.9 = 0.36 of the variance.
    rng = np.random.default_rng(0)
    s = rng.integers(0, 2, (2000, 3))
    z = s ^ (rng.random(s.shape) < 0.1)
    assert factor_vae_score(s, z) > 0.99
    assert factor_vae_score(s, z, group=2) < 0.8  # two samples do not show it
    assert beta_vae_score(s, z) > 0.98


def test_they_equal_the_loops():
    s, z = random_code(3, n=200)
    assert factor_vae_score(s, z, group=8) == pytest.approx(slow_factor_vae(s, z, 1500, 8), abs=0.04)
    assert beta_vae_score(s, z, group=8) == pytest.approx(slow_beta_vae(s, z, 1000, 8), abs=0.05)


def test_variances_are_relative():
    s, z = random_code(1)
    z = z + 0.1 * np.random.default_rng(0).normal(size=z.shape)  # no ties
    before = factor_vae_score(s, z, discrete=False)
    assert factor_vae_score(s, z * [3, 1, 1, 1] + 7, discrete=False) == before > 0.4
    assert beta_vae_score(s, z * [3, 1, 1, 1] + 7) == pytest.approx(beta_vae_score(s, z), abs=1e-3)


@given(seed=st.integers(0, 20), draws=st.integers(0, 2**16))
@settings(max_examples=6, deadline=None)
def test_names_and_order_do_not_matter(seed, draws):
    """Up to the noise of the draws."""
    s, z = random_code(seed)
    rng = np.random.default_rng(draws)
    names, signs = rng.permutation(20) - 7, rng.choice([-1, 1], 4)
    s_too, z_too = names[s][:, rng.permutation(3)], np.where(signs > 0, z, 6 - z)[:, rng.permutation(4)]
    for metric in (functools.partial(factor_vae_score, levels=7), beta_vae_score):
        before = metric(s, z, group=16)
        assert 0 <= before <= 1
        assert metric(s_too, z_too, group=16) == pytest.approx(before, abs=1.5 * NOISE)


def test_the_seed_decides():
    s, z = random_code(0)
    for metric in (factor_vae_score, beta_vae_score):
        a, b, c = metric(s, z, group=4, seed=1), metric(s, z, group=4, seed=1), metric(s, z, group=4, seed=2)
        assert a == b != c


def test_latents_that_do_not_vary_are_not_asked():
    s = full_grid(3, 4)
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
        warnings.simplefilter("error")
        for z in (np.zeros((12, 2)), np.full((12, 1), 0.1)):
            for discrete in (True, False):
                assert factor_vae_score(s, z, discrete) == 0
            assert beta_vae_score(s, z) == pytest.approx(1 / 2, abs=NOISE)
        nearly = np.column_stack([s, np.full(12, 2), [3] + [0] * 11])
        for discrete in (True, False):
            assert factor_vae_score(s, nearly, discrete) == 1
        assert factor_vae_score(s, nearly[:, [0, 2]]) == pytest.approx(1 / 2, abs=NOISE)  # one active
    assert factor_vae_score(s, np.minimum(s, 1), levels=41) == 0  # of 41 levels: a step of 1/20


def test_one_source_is_always_the_one():
    s = full_grid(4, 4)
    for z in (s, s[:, 1:]):
        assert factor_vae_score(s[:, :1], z) == beta_vae_score(s[:, :1], z) == 1


def test_dtypes_do_not_matter():
    s = full_grid(2, 2, 2)
    z = np.column_stack([s[:, 0], s[:, 1] | s[:, 2]])
    for metric in (factor_vae_score, beta_vae_score):
        before = metric(s, z)
        assert metric(s.astype(bool), z.astype(bool)) == before
        assert metric(s.astype(np.uint8), z.astype(np.float32)) == before


S = full_grid(3, 4)


@pytest.mark.parametrize("metric", [factor_vae_score, beta_vae_score])
@pytest.mark.parametrize(
    ("error", "match", "factors", "latents", "options"),
    [
        (ValueError, "column 0 is constant", S * [0, 1], S, {}),
        (ValueError, "NaN or infinity in column 1", S, np.where(S == 3, np.nan, S), {}),
        (TypeError, "factors must be integer", S / 2, S, {}),
        (ValueError, "all of column 1 differ", np.column_stack([S[:, 0], np.arange(12)]), S, {}),
        (ValueError, "group must be at least", S, S, {"group": 0}),
        (ValueError, "seed must be at least 0, got -1", S, S, {"seed": -1}),
    ],
)
def test_bad_input(metric, error, match, factors, latents, options):
    with pytest.raises(error, match=match):
        metric(factors, latents, **options)


def test_one_sample_has_no_variance():
    with pytest.raises(ValueError, match="group must be at least 2, got 1"):
        factor_vae_score(S, S, group=1)


def test_the_order_of_tied_latents_does_not_matter():
    # Both latents are constant in every group of the second source: which one varies less is a coin's throw.
    s = full_grid(2, 3)
    z = np.array([[0, 0], [1, 1], [2, 2], [0, 2], [1, 1], [2, 0]])
    assert factor_vae_score(s, z) == pytest.approx(factor_vae_score(s, z[:, ::-1]), abs=0.03)
