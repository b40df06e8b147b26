"""MIG and SAP against values worked out on paper, slow versions and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_codes import full_grid, random_code

from tripod_lite.metrics import mig, sap
from tripod_lite.metrics.gaps import gap


def slow_mig(s: np.ndarray, z: np.ndarray) -> float:
    from sklearn.metrics import mutual_info_score

    gaps = []
    for a in s.T:
        second, first = sorted(mutual_info_score(a, b) / mutual_info_score(a, a) for b in z.T)[-2:]
        gaps.append(first - second)
    return float(np.mean(gaps))


def slow_sap(s: np.ndarray, z: np.ndarray) -> float:
    """The class most likely at each level, then scikit-learn's accuracy with every class weighing the same."""
    from sklearn.metrics import balanced_accuracy_score

    gaps = []
    for a in s.T:
        told = []
        for b in z.T:
            guess = np.empty_like(a)
            for level in np.unique(b):
                guess[b == level] = max(np.unique(a), key=lambda k, b=b, level=level: np.mean(b[a == k] == level))
            told.append(balanced_accuracy_score(a, guess))
        second, first = sorted(told)[-2:]
        gaps.append(first - second)
    return float(np.mean(gaps))


def test_a_latent_for_each_source():
    # SAP: all of a source by one latent, 1/K of it by another: (2/3 + 3/4)/2.
    s = full_grid(3, 4)
    for z in (s, s[:, ::-1], s[:, [1, 0]] * [-5, 0.25]):
        assert mig(s, z) == pytest.approx(1, abs=1e-12)
        assert sap(s, z) == pytest.approx(17 / 24, abs=1e-12)


def test_a_source_held_twice_has_no_gap():
    s = full_grid(3, 4)
    z = s[:, [0, 0, 1]]
    assert mig(s, z) == pytest.approx((0 + 1) / 2, abs=1e-12)
    assert sap(s, z) == pytest.approx((0 + 3 / 4) / 2, abs=1e-12)


def test_a_latent_that_holds_two_sources_costs_nothing():
    s = full_grid(2, 2, 2)
    z = np.column_stack([2 * s[:, 0] + s[:, 1], s[:, 2]])
    assert mig(s, z) == pytest.approx(1, abs=1e-12)
    assert sap(s, z) == pytest.approx(1 / 2, abs=1e-12)


def test_exclusive_or_tells_of_neither():
    s = full_grid(2, 2)
    xor = s[:, :1] ^ s[:, 1:]
    assert mig(s, xor) == sap(s, xor) == 0
    z = np.hstack([s[:, :1], xor])
    assert mig(s, z) == pytest.approx((1 + 0) / 2, abs=1e-12)
    assert sap(s, z) == pytest.approx((1 / 2 + 0) / 2, abs=1e-12)


def test_a_noisy_copy_is_ahead_of_chance_and_behind_a_copy():
    # A bit flipped one time in four: 1 - H(1/4) bits, and three of four told.
    s = np.array([[0]] * 4 + [[1]] * 4)
    noisy = np.array([[0], [0], [0], [1], [1], [1], [1], [0]])
    share = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    assert mig(s, noisy) == pytest.approx(share, abs=1e-12)
    assert sap(s, noisy) == pytest.approx(3 / 4 - 1 / 2, abs=1e-12)
    both = np.hstack([noisy, s])
    assert mig(s, both) == pytest.approx(1 - share, abs=1e-12)
    assert sap(s, both) == pytest.approx(1 - 3 / 4, abs=1e-12)


def test_the_gap_is_in_units_of_the_sources_entropy():
    # s takes four values, z tells which half: log 2 of log 4; half the samples told, a quarter by chance.
    s = np.arange(4)[:, None]
    assert mig(s, s // 2) == pytest.approx(1 / 2, abs=1e-12)
    assert sap(s, s // 2) == pytest.approx(1 / 4, abs=1e-12)


def test_sap_weighs_classes_equally():
    # Level 0 holds two of three of class 0 and none of class 1, level 1 one of three and all: (2/3 + 1)/2.
    # Each sample weighing the same it would be told by three of four.
    s = np.array([[0], [0], [0], [1]])
    z = np.array([[0], [0], [1], [1]])
    assert sap(s, z) == pytest.approx(5 / 6 - 1 / 2, abs=1e-12)


def test_independent_noise_scores_near_zero():
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, 4, 4000) for _ in range(3)], axis=1)
    z = rng.integers(0, 6, (4000, 4))
    assert mig(s, z) < 0.002
    assert sap(s, z) < 0.02
    assert mig(s, z + rng.uniform(-0.5, 0.5, z.shape), discrete=False) < 0.02
    assert sap(s, z + rng.uniform(-0.5, 0.5, z.shape), discrete=False) < 0.02


def test_gap_by_hand():
    assert gap(np.array([[0.5, 0.75, 0.125], [1.0, 1.0, 0.0]])).tolist() == [0.25, 0]
    assert gap(np.array([[0.5], [1.0]])).tolist() == [0.5, 1]
    assert gap(np.array([[0.5], [1.0]]), chance=np.array([0.5, 0.25])).tolist() == [0, 0.75]


@pytest.mark.parametrize("seed", range(3))
def test_they_equal_the_loops(seed):
    s, z = random_code(seed, n=300)
    assert 0.02 < mig(s, z) == pytest.approx(slow_mig(s, z), abs=1e-6)
    assert 0.02 < sap(s, z) == pytest.approx(slow_sap(s, z), abs=1e-6)


def test_continuous_latents_are_cut_into_bins():
    s = np.array([[0], [1], [0], [1]])
    z = np.array([[0.0], [0.4], [0.6], [1.0]])
    assert sap(s, z, discrete=False, bins=2) == 0  # one of each class in each half
    assert sap(s, z, discrete=False, bins=4) == 1 / 2  # quarters tell them
    assert sap(s, 8 * z - 3, discrete=False, bins=4) == 1 / 2


def test_sap_tells_a_class_between_two_others():
    # What a linear classifier on one latent cannot do.
    rng = np.random.default_rng(0)
    s = rng.integers(0, 3, (900, 1))
    z = s + rng.uniform(-0.3, 0.3, (900, 1))
    assert sap(s, z, discrete=False) == pytest.approx(2 / 3, abs=1e-12)


def test_continuous_gap_of_overlapping_uniforms():
    # s a fair bit; z0 uniform on [s, s + 2] tells half of it, z1 on [2s, 2s + 1] all.
    rng = np.random.default_rng(0)
    s = rng.integers(0, 2, (2000, 1))
    z = np.hstack([s + rng.uniform(0, 2, s.shape), 2 * s + rng.uniform(0, 1, s.shape)])
    assert mig(s, z, discrete=False) == pytest.approx(1 / 2, abs=0.05)


@given(seed=st.integers(0, 50), draws=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_names_and_order_do_not_matter(seed, draws):
    s, z = random_code(seed)
    rng = np.random.default_rng(draws)
    names = rng.permutation(20) - 7
    levels = np.stack([rng.permutation(7) for _ in range(4)])
    renamed = np.take_along_axis(levels, z.T, axis=1).T * [1, -1, 0.5, 3]
    s_too, z_too = names[s][:, rng.permutation(3)], renamed[:, rng.permutation(4)]
    for metric in (mig, sap):
        assert 0 <= metric(s, z) <= 1
        assert metric(s_too, z_too) == pytest.approx(metric(s, z), abs=1e-12)


@given(seed=st.integers(0, 2**16), n=st.integers(2, 30), n_z=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_noise_stays_in_range(seed, n, n_z):
    rng = np.random.default_rng(seed)
    s = np.stack([np.arange(n) % 2, rng.permutation(n)], axis=1)
    z = rng.integers(0, 9, (n, n_z))
    assert 0 <= mig(s, z) <= 1 + 1e-12
    most = np.mean([1 - 1 / 2, 1 - 1 / n])
    assert 0 <= sap(s, z) <= most + 1e-12
    assert 0 <= sap(s, rng.normal(size=(n, n_z)), discrete=False) <= most + 1e-12


@pytest.mark.parametrize(
    ("z", "mig_too", "sap_too"),
    [
        (np.zeros((12, 2)), 0, 0),
        (np.full((12, 1), 0.1), 0, 0),
        (np.column_stack([full_grid(3, 4)[:, 0], np.zeros(12, int)]), 1 / 2, (2 / 3 + 0) / 2),
        (full_grid(3, 4)[:, 1:], 1 / 2, (0 + 3 / 4) / 2),
        (np.arange(12)[:, None], 1, (2 / 3 + 3 / 4) / 2),  # a level of its own for each sample
    ],
)
def test_few_latents(z, mig_too, sap_too):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert mig(full_grid(3, 4), z) == pytest.approx(mig_too, abs=1e-12)
        assert sap(full_grid(3, 4), z) == pytest.approx(sap_too, abs=1e-12)
        assert sap(full_grid(3, 4), z, discrete=False) == pytest.approx(sap_too, abs=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_dtypes_do_not_matter(dtype):
    s = full_grid(2, 2)
    factors = s if dtype == np.float32 else s.astype(dtype)
    z = np.column_stack([s[:, 0], s[:, 0] & s[:, 1]])
    assert mig(factors, z.astype(dtype)) == mig(s, z) > 0
    assert sap(factors, z.astype(dtype)) == sap(s, z) > 0


S = full_grid(3, 4)


@pytest.mark.parametrize("metric", [mig, sap])
@pytest.mark.parametrize(
    ("error", "match", "factors", "latents"),
    [
        (ValueError, "column 0 is constant", S * [0, 1], S),
        (ValueError, "latents must be finite, got NaN or infinity in column 1", S, np.where(S == 3, np.nan, S)),
        (TypeError, "factors must be integer", S / 2, S),
        (ValueError, "12 and 11 rows", S, S[1:]),
        (ValueError, "pass discrete=False", full_grid(2, 200), np.linspace(-1, 1, 400)[:, None]),
    ],
)
def test_bad_input(metric, error, match, factors, latents):
    with pytest.raises(error, match=match):
        metric(factors, latents)


def test_one_bin_is_too_few():
    with pytest.raises(ValueError, match="bins must be at least 2, got 1"):
        sap(S, S, discrete=False, bins=1)
