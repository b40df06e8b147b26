"""The modularity score against values worked out on paper and a slow version."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_codes import full_grid, random_code

from tripod_lite.metrics import modularity_score
from tripod_lite.metrics.modularity import modularity_of_information


def slow_modularity(s: np.ndarray, z: np.ndarray) -> float:
    from sklearn.metrics import mutual_info_score

    scores = []
    for b in z.T:
        m = [mutual_info_score(a, b) for a in s.T]
        best = int(np.argmax(m))
        template = [m[i] if i == best else 0 for i in range(len(m))]
        deviation = sum((x - t) ** 2 for x, t in zip(m, template, strict=True)) / (m[best] ** 2 * (len(m) - 1))
        scores.append(1 - deviation)
    return float(np.mean(scores))


def test_a_latent_for_each_source_scores_one():
    s = full_grid(3, 4, 5)
    for z in (s, s[:, [2, 0, 1]], s[:, [0, 0, 1, 2]]):  # as they are, permuted, one of them twice
        assert modularity_score(s, z) == pytest.approx(1, abs=1e-12)


def test_a_latent_that_holds_two_sources_costs():
    # m = (1, 1, 0) bits: 1 - 1/(1 · 2); the other latent has 1.
    s = full_grid(2, 2, 2)
    z = np.column_stack([2 * s[:, 0] + s[:, 1], s[:, 2]])
    assert modularity_score(s, z) == pytest.approx((1 / 2 + 1) / 2, abs=1e-12)


def test_information_is_not_normalized():
    # A latent that holds a bit of one source and two of another: 1 - 1²/2². In shares of the sources it would be 0.
    s = full_grid(2, 4)
    assert modularity_score(s, 4 * s[:, :1] + s[:, 1:]) == pytest.approx(3 / 4, abs=1e-12)


def test_exclusive_or_tells_of_neither():
    s = full_grid(2, 2)
    xor = s[:, :1] ^ s[:, 1:]
    assert modularity_score(s, xor) == 0
    assert modularity_score(s, np.hstack([s[:, :1], xor])) == pytest.approx((1 + 0) / 2, abs=1e-12)


def test_a_noisy_copy_beside_a_copy():
    # The first source flipped one time in four has a share r of the second's bit: 1 - r². Alone it is modular.
    grid = full_grid(2, 2, 4)
    s, noisy = grid[:, :2], grid[:, :1] ^ (grid[:, 2:] == 0)
    r = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    assert modularity_score(s, noisy) == pytest.approx(1, abs=1e-12)
    assert modularity_score(s, 2 * noisy + s[:, 1:]) == pytest.approx(1 - r**2, abs=1e-12)


def test_independent_sources_and_latents_score_zero():
    s = full_grid(3, 4, 5, 2)
    assert modularity_score(s[:, :2], s[:, 2:]) == 0


def test_the_squares_forgive_leaks():
    assert modularity_of_information(np.array([[1.0], [0.1], [0.1]])) == pytest.approx(0.99, abs=1e-12)
    assert modularity_of_information(np.array([[7.0], [0.7], [0.7]])) == pytest.approx(0.99, abs=1e-12)
    assert modularity_of_information(np.ones((3, 2))) == 0


@pytest.mark.parametrize("seed", range(3))
def test_it_equals_the_loop(seed):
    s, z = random_code(seed, n=300)
    assert 0.3 < modularity_score(s, z) == pytest.approx(slow_modularity(s, z), abs=1e-6)


def test_continuous_copies_of_the_sources():
    # The third latent is uniform over both, and tells of neither but by chance; leave it out and 1 remains.
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, k, 1500) for k in (3, 4)], axis=1)
    z = s + rng.uniform(-0.3, 0.3, s.shape)
    assert modularity_score(s, z, discrete=False) == pytest.approx(1, abs=0.01)
    # log 3 and log 4 nats in one latent: 1 - (log 3 / log 4)².
    both = 4 * s[:, :1] + s[:, 1:] + rng.uniform(-0.3, 0.3, (1500, 1))
    share = math.log(3) / math.log(4)
    assert modularity_score(s, both, discrete=False) == pytest.approx(1 - share**2, abs=0.05)


@given(seed=st.integers(0, 50), draws=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_names_and_order_do_not_matter(seed, draws):
    s, z = random_code(seed)
    rng = np.random.default_rng(draws)
    names = rng.permutation(20) - 7
    levels = np.stack([rng.permutation(7) for _ in range(4)])
    renamed = np.take_along_axis(levels, z.T, axis=1).T * [1, -1, 0.5, 3]
    before = modularity_score(s, z)
    assert 0 <= before <= 1
    after = modularity_score(names[s][:, rng.permutation(3)], renamed[:, rng.permutation(4)])
    assert after == pytest.approx(before, abs=1e-12)


@pytest.mark.parametrize(
    ("factors", "z", "expected"),
    [
        (full_grid(3, 4), np.zeros((12, 2)), 0),
        (full_grid(3, 4), np.full((12, 1), 0.1), 0),
        (full_grid(3, 4), np.column_stack([full_grid(3, 4)[:, 0], np.zeros(12, int)]), 1 / 2),
        (full_grid(3, 4)[:, :1], full_grid(3, 4), 1 / 2),  # one source: 1 for the latent that knows it
        (np.array([[0], [1], [1]]), np.arange(3)[:, None], 1),  # a level of its own for each sample
    ],
)
def test_few_sources_or_latents(factors, z, expected):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert modularity_score(factors, z) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_dtypes_do_not_matter(dtype):
    s = full_grid(2, 2)
    z = np.column_stack([s[:, 0], s[:, 0] & s[:, 1]])
    factors = s if dtype == np.float32 else s.astype(dtype)
    assert modularity_score(factors, z.astype(dtype)) == modularity_score(s, z) == pytest.approx(1 / 2)


S = full_grid(3, 4)


@pytest.mark.parametrize(
    ("error", "match", "factors", "latents"),
    [
        (ValueError, "column 1 is constant", S * [1, 0], S),
        (ValueError, "NaN or infinity in column 1", S, np.where(S == 3, np.nan, S)),
        (TypeError, "factors must be integer", S / 2, S),
        (ValueError, "12 and 11 rows", S, S[1:]),
    ],
)
def test_bad_input(error, match, factors, latents):
    with pytest.raises(error, match=match):
        modularity_score(factors, latents)


def test_constant_continuous_latents_tell_nothing():
    s = np.random.default_rng(0).integers(0, 4, (300, 2))
    assert modularity_score(s, np.full((300, 2), 0.1), discrete=False) == 0
