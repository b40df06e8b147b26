"""Information of all pairs against values worked out on paper and scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_codes import full_grid, random_code

from tripod_lite.metrics import normalized_information
from tripod_lite.metrics.information import Counts, Information, information
from tripod_lite.metrics.tables import as_table, level_numbers, standardized


def test_information_in_nats():
    # z0 copies s0, z1 numbers both, z2 is whether s1 = 0: H(1/4) of the log 4.
    s = full_grid(3, 4)
    z = np.column_stack([s[:, 0], 4 * s[:, 0] + s[:, 1], s[:, 1] > 0])
    found = information(s, z, True)
    a_quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    expected = np.array([[math.log(3), math.log(3), 0], [0, math.log(4), a_quarter]])
    assert found.mutual == pytest.approx(expected, abs=1e-12)
    assert found.entropy == pytest.approx(np.log([3, 4]), abs=1e-12)
    assert found.normalized == pytest.approx(expected / np.log([[3], [4]]), abs=1e-12)


def test_a_noisy_binary_channel():
    # A bit flipped one time in eight: log 2 - H(1/8). Flipped half the time: exactly nothing.
    s = np.repeat([[0], [1]], 8, axis=0)
    z = np.column_stack([[1] + [0] * 7 + [0] + [1] * 7, [0, 1] * 8])
    noise = -(1 / 8 * math.log(1 / 8) + 7 / 8 * math.log(7 / 8))
    mutual = information(s, z, True).mutual
    assert mutual[0, 0] == pytest.approx(math.log(2) - noise, abs=1e-12)
    assert mutual[0, 1] == 0


@pytest.mark.parametrize("seed", range(3))
def test_all_pairs_equal_scikit_learns(seed):
    from sklearn.metrics import mutual_info_score

    s, z = random_code(seed, n=500)
    z = level_numbers(z)
    found = information(s, z, True)
    assert found.mutual == pytest.approx(np.array([[mutual_info_score(a, b) for b in z.T] for a in s.T]), abs=1e-12)
    assert found.entropy == pytest.approx(np.array([mutual_info_score(a, a) for a in s.T]), abs=1e-12)


def test_tables_are_blocks():
    s, z = random_code(0)
    z = level_numbers(z)
    counts = Counts(s, z)
    assert counts.classes.tolist() == [0, 3, 7]
    table = [[np.mean((s[:, 1] == a) & (z[:, 2] == b)) for b in range(z[:, 2].max() + 1)] for a in range(4)]
    ends = [*counts.levels, counts.joint.shape[1]]
    assert counts.joint[3:7, ends[2] : ends[3]] == pytest.approx(np.array(table), abs=1e-12)
    assert counts.source[3:7] == pytest.approx(np.bincount(s[:, 1]) / 60, abs=1e-12)
    assert counts.latent[ends[2] : ends[3]] == pytest.approx(np.bincount(z[:, 2]) / 60, abs=1e-12)


@given(seed=st.integers(0, 2**16), n=st.integers(2, 40), n_z=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_information_is_at_most_either_entropy(seed, n, n_z):
    rng = np.random.default_rng(seed)
    s = np.stack([np.arange(n) % 2, rng.permutation(n)], axis=1)
    z = level_numbers(rng.integers(0, 9, (n, n_z)))
    found = information(s, z, True)
    of_latents = np.diag(information(z, z, True).mutual)
    assert (found.mutual >= 0).all()
    assert (found.mutual <= np.minimum(found.entropy[:, None], of_latents) + 1e-12).all()
    assert found.mutual[1] == pytest.approx(of_latents, abs=1e-12)  # a source that numbers the samples
    assert np.allclose(information(s[::-1], z[::-1], True).mutual, found.mutual, atol=1e-12)


def test_continuous_noise_tells_nothing():
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, k, 2000) for k in (3, 4)], axis=1)
    nmi = normalized_information(s, rng.normal(size=(2000, 2)), discrete=False)
    assert nmi == pytest.approx(0, abs=0.02)
    assert normalized_information(s, s + rng.uniform(-0.3, 0.3, s.shape), discrete=False) == pytest.approx(
        np.eye(2), abs=0.02
    )


def test_of_a_constant_source_there_is_nothing_to_know():
    found = Information(np.array([[0.0], [0.5]]), np.array([0.0, 1.0]))
    with np.errstate(all="raise"):
        assert found.normalized.tolist() == [[0], [0.5]]


def test_few_latents_make_no_warnings():
    s = full_grid(3, 4)
    z = np.column_stack([s[:, 0], np.full(12, 0.1), s[:, 0], np.arange(12)])
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        nmi = normalized_information(s, z)
    assert nmi == pytest.approx(np.array([[1, 0, 1, 1], [0, 0, 0, 1]]), abs=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_dtypes_do_not_matter(dtype):
    s = full_grid(2, 2)
    z = np.column_stack([s[:, 0], s[:, 0] & s[:, 1]])
    factors = s if dtype == np.float32 else s.astype(dtype)
    found = normalized_information(factors, z.astype(dtype))
    assert found[:, 0].tolist() == [1, 0]
    assert found == pytest.approx(normalized_information(s.tolist(), z.tolist()), abs=1e-12)


def test_tables_keep_integers_and_standardize_columns():
    assert as_table("x", np.array([[True], [False]])).dtype == np.int64
    assert as_table("x", np.array([[0.5]], np.float16)).dtype == np.float64
    z = standardized(np.array([[1, 5.0, 1], [3, 5, 4], [5, 5, 4], [7, 5, 7]]))
    assert z.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert z.std(axis=0) == pytest.approx([1, 0, 1], abs=1e-12)


S = full_grid(3, 4)


@pytest.mark.parametrize(
    ("error", "match", "factors", "latents"),
    [
        (ValueError, "column 1 is constant", S * [1, 0], S),
        (ValueError, "latents must be finite, got NaN or infinity in column 0", S, np.where(S == 2, -np.inf, S)),
        (ValueError, "factors must be finite, got NaN or infinity in column 1", np.where(S == 3, np.nan, S), S),
        (TypeError, "factors must be integer class numbers, got dtype float32", S.astype(np.float32), S),
        (ValueError, "latents column 1 takes 400", full_grid(2, 200), np.stack([np.zeros(400), np.arange(400)], 1)),
    ],
)
def test_bad_input(error, match, factors, latents):
    with pytest.raises(error, match=match):
        normalized_information(factors, latents)
