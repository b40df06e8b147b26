"""What the sum of KLM over pairs of latents sees, and what it does not."""

import itertools

import jax
import numpy as np
import pytest

import tripod_lite as tl


def value(z: np.ndarray, scale: np.ndarray, estimator: str) -> float:
    """KLM in float64."""
    with jax.enable_x64(True):
        return float(tl.multiinformation(z, scale, estimator=estimator))


def test_one_latent_has_no_pair():
    z = np.random.default_rng(0).uniform(-1, 1, (8, 1))
    assert value(z, z.std(axis=0), "pairwise") == 0


def test_pairs_are_not_enough_for_three():
    # z_2 is the product of the signs z_0 and z_1: each two are independent, all three are not.
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=2)))
    z = np.tile(np.concatenate([signs, signs.prod(axis=1, keepdims=True)], axis=1), (64, 1))
    assert abs(value(z, z.std(axis=0), "pairwise")) < 0.05 < 0.3 < value(z, 0.7 * z.std(axis=0), "leave_one_out")


@pytest.mark.parametrize("d", [2, 5])
def test_copies_of_one_latent_count_once_a_pair(d):
    z = np.random.default_rng(6).uniform(-1, 1, (32, 1))
    pair = value(np.tile(z, 2), 0.7 * np.tile(z.std(axis=0), 2), "leave_one_out")
    assert value(np.tile(z, d), np.tile(z.std(axis=0), d), "pairwise") == pytest.approx(d * (d - 1) / 2 * pair)


@pytest.mark.parametrize("b", [32, 64])
def test_a_copy_is_seen_better_than_by_all_latents_at_once(b):
    rng = np.random.default_rng(b)
    z = rng.integers(0, 12, (64, b, 12)) / 5.5 - 1
    copied = z.copy()
    copied[:, :, 1] = z[:, :, 0]
    steps = {}
    for estimator in ("leave_one_out", "pairwise"):
        klm = jax.jit(lambda z, estimator=estimator: tl.multiinformation(z, z.std(axis=0) + 1e-6, estimator=estimator))
        apart, tied = (np.array([klm(batch) for batch in drawn.astype(np.float32)]) for drawn in (z, copied))
        steps[estimator] = (tied - apart).mean() / apart.std(ddof=1)
    assert steps["pairwise"] > 1.1 * steps["leave_one_out"] > 1.1
