"""DCI against values worked out on paper."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tripod_lite.metrics import dci
from tripod_lite.metrics.dci import completeness, disentanglement


def sources(n: int = 600) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, k, n) for k in (3, 4, 2)], axis=1)


def test_a_latent_for_each_source_scores_one():
    # Up to the importance that trees find in chance, about 40/n here.
    s = sources(2000)
    scores = dci(s, s[:, [2, 0, 1]])
    assert scores[:3] == pytest.approx((1, 1, 1), abs=0.04)
    assert scores.importance == pytest.approx(np.eye(3)[:, [2, 0, 1]], abs=0.02)


def test_noise_scores_near_zero():
    s = sources(2000)
    z = np.random.default_rng(1).normal(size=(2000, 4))
    scores = dci(s, z)
    assert max(scores[:2]) < 0.02
    assert scores.informativeness == pytest.approx((1 / 3 + 1 / 4 + 1 / 2) / 3, abs=0.06)


def test_a_source_held_twice_costs_completeness():
    # Trees share their splits between the two copies: H(1/2, 1/2) to base 4 is 1/2.
    s = sources(2000)
    d, c, i, _ = dci(s, s[:, [0, 0, 1, 2]])
    assert d == pytest.approx(1, abs=0.02)
    assert c == pytest.approx((1 / 2 + 1 + 1) / 3, abs=0.02)
    assert i == 1


def test_formulas_by_hand():
    # Rows: sources. Latent 0 serves both equally (D_0 = 0, weight 2/4), latent 1 only source 0, latent 2 only source 1.
    r = np.array([[1.0, 1, 0], [1, 0, 1]])
    assert disentanglement(r) == pytest.approx(1 / 2)
    assert completeness(r) == pytest.approx(1 - math.log(2) / math.log(3))
    # Weights: source 1 has a quarter of the importance and one latent, source 0 spreads evenly over both.
    r = np.array([[1.5, 1.5], [1, 0]])
    assert completeness(r) == pytest.approx(1 / 4)
    p = 1.5 / 2.5
    assert disentanglement(r) == pytest.approx(1 - 2.5 / 4 * -(p * math.log2(p) + (1 - p) * math.log2(1 - p)))


def test_formulas_at_their_edges():
    assert disentanglement(np.eye(3)) == completeness(np.eye(3)) == 1
    assert disentanglement(np.ones((3, 2))) == pytest.approx(0, abs=1e-12)
    assert disentanglement(np.zeros((3, 2))) == completeness(np.zeros((3, 2))) == 0
    assert completeness(np.ones((2, 1))) == disentanglement(np.ones((1, 2))) == 1  # one latent, one source


def test_only_order_matters_and_the_seed_decides():
    s = sources(200)
    z = s @ np.random.default_rng(2).normal(size=(3, 3))
    a, b, c = dci(s, z, seed=3), dci(s * 5 - 2, np.sinh(z), seed=3), dci(s, z, seed=4)
    assert a.importance == pytest.approx(b.importance, abs=1e-9)
    assert a[:3] == pytest.approx(b[:3], abs=1e-9)
    assert not np.allclose(a.importance, c.importance)


def slow_concentration(rows: np.ndarray) -> float:
    """SciPy's entropy, a row at a time."""
    from scipy.stats import entropy

    total = 0.0
    for row in rows:
        if row.sum() > 0:
            total += row.sum() / rows.sum() * (1 - entropy(row, base=len(row)))
    return total


def test_formulas_equal_the_loop():
    s = sources(200)
    scores = dci(s, s @ np.random.default_rng(2).normal(size=(3, 4)))
    assert scores.importance.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert 0.01 < scores.disentanglement == pytest.approx(slow_concentration(scores.importance.T), abs=1e-6)
    assert 0.01 < scores.completeness == pytest.approx(slow_concentration(scores.importance), abs=1e-6)


@given(seed=st.integers(0, 2**16), n_s=st.integers(2, 5), n_z=st.integers(2, 5))
@example(seed=21911, n_s=2, n_z=2)  # diagonal, where rounding led past 1
@settings(max_examples=15, deadline=None)
def test_formulas_do_not_know_the_order(seed, n_s, n_z):
    rng = np.random.default_rng(seed)
    r = rng.random((n_s, n_z)) * (rng.random((n_s, n_z)) < 0.7)
    r[0, 0] = 0.5
    moved = r[rng.permutation(n_s)][:, rng.permutation(n_z)]
    for formula, rows in ((disentanglement, r.T), (completeness, r)):
        assert 0 <= formula(r) <= 1
        assert formula(moved) == pytest.approx(formula(r), abs=1e-12)
        assert formula(5 * r) == pytest.approx(slow_concentration(rows), abs=1e-12)


def test_a_latent_that_holds_two_sources_costs_disentanglement():
    # R = [[1, 0], [1, 0], [0, 1]]: latent 0 has two thirds of all importance, and entropy log 2 to base 3.
    s = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], range(50), indexing="ij"), axis=-1).reshape(-1, 4)[:, :3]
    scores = dci(s, np.column_stack([2 * s[:, 0] + s[:, 1], s[:, 2]]))
    assert scores[:3] == pytest.approx((1 - 2 / 3 * math.log(2, 3), 1, 1), abs=0.03)


def test_a_class_that_the_forest_has_not_seen():
    # Two samples of 20 are tested: one of a class that only it has, which cannot be told, and one that is.
    s = np.arange(20)[:, None] % 2
    tested = np.random.default_rng(0).permutation(20)[:2]
    s[tested[0]] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = dci(s, np.where(s == 7, 5, s))
    assert scores[:3] == pytest.approx((1, 1, 1 / 2))


def test_latents_that_tell_nothing():
    s = sources(50)[:, :2]
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise"):
        warnings.simplefilter("error")
        scores = dci(s, np.full((50, 2), 0.1))
        one = dci(s, np.column_stack([np.zeros(50), s[:, 0]]))
    assert scores[:2] == (0, 0)
    assert scores.importance.tolist() == [[0, 0]] * 2
    # One latent has all the importance there is, for the source that it holds and, by chance, for the other.
    assert one[:2] == pytest.approx((0, 1), abs=1e-12)


def test_one_source_and_one_latent():
    s = sources(50)[:, :1]
    scores = dci(s, s)
    assert scores[:3] == (1, 1, 1)
    assert scores.importance.tolist() == [[1]]
    assert dci(np.arange(12)[:, None] // 6, np.arange(12)[:, None])[:2] == (1, 1)  # a level of its own for each sample


def test_dtypes_do_not_matter():
    s = np.stack(np.meshgrid([0, 1], [0, 1], range(8), indexing="ij"), axis=-1).reshape(-1, 3)[:, :2]
    z = np.column_stack([s[:, 0], s[:, 0] | s[:, 1]])
    expected = dci(s, z)
    found = dci(s.astype(bool), z.astype(np.float32))
    assert found[:3] == expected[:3]
    assert found.importance.tolist() == expected.importance.tolist()


@pytest.mark.parametrize(
    ("error", "match", "factors", "latents"),
    [
        (ValueError, "600 and 599 rows", sources(), sources()[1:]),
        (ValueError, "at least 10 samples", sources()[:9], sources()[:9]),
        (ValueError, "column 2 is constant", sources() * [1, 1, 0], sources()),
        (TypeError, "factors must be integer", sources() * 0.5, sources()),
        (ValueError, "NaN", sources(), np.full((600, 2), np.nan)),
    ],
)
def test_bad_input(error, match, factors, latents):
    with pytest.raises(error, match=match):
        dci(factors, latents)


def test_only_the_order_of_a_latents_values_matters():
    s = np.random.default_rng(0).integers(0, 2, (300, 1))
    for z in (1e9 + s, s + 2**30, 1e39 * (s + 1.0)):  # single precision, of the forests, cannot hold them
        assert dci(s, z) == dci(s, s)
