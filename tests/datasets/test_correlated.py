"""Tied factors, held-out combinations and continuous factors."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from scipy.stats import chi2

import tripod_lite as tl
from tripod_lite.datasets import Correlated, load_dataset


@pytest.fixture(scope="module")
def twin():
    return load_dataset("dsprites", image_size=8)


def sampled(ds, key, n=4096):
    return np.asarray(ds.sample(jax.random.key(key), n)[1])


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_the_strength_is_the_correlation_of_factors_of_one_size(twin, strength):
    factors = sampled(twin.correlated("pos_x", "pos_y", strength), 0)
    found = np.corrcoef(factors[:, 3], factors[:, 4])[0, 1]
    assert found == pytest.approx(strength, abs=0.04)
    if strength == 1:
        np.testing.assert_array_equal(factors[:, 3], factors[:, 4])
    for other in (0, 1, 2):
        assert abs(np.corrcoef(factors[:, other], factors[:, 3])[0, 1]) < 0.06


def test_tied_factors_stay_uniform(twin):
    factors = sampled(twin.correlated("scale", "orientation", 0.8), 1)
    for k, size in enumerate(twin.factor_sizes):
        expected = len(factors) / size
        statistic = ((np.bincount(factors[:, k], minlength=size) - expected) ** 2 / expected).sum()
        assert chi2.sf(statistic, df=size - 1) > 1e-3
    assert np.corrcoef(factors[:, 1], factors[:, 2])[0, 1] > 0.7


def test_samples_are_reproducible_and_images_of_their_factors(twin):
    tied = twin.correlated("pos_x", "pos_y", 0.5)
    images, factors = tied.sample(jax.random.key(3), 16)
    again = tied.sample(jax.random.key(3), 16)
    np.testing.assert_array_equal(factors, again[1])
    np.testing.assert_array_equal(images, twin.images(factors))
    np.testing.assert_array_equal(jax.jit(tied.sample, static_argnums=1)(jax.random.key(3), 16)[1], factors)
    assert len(tied) == len(twin)
    np.testing.assert_array_equal(tied.take([5, 6])[1], twin.take([5, 6])[1])


def test_the_training_part_is_tied_and_the_held_out_part_is_not(twin):
    tied = twin.correlated("pos_x", "pos_y", 1.0)
    train, held_out = tied.split(held_out=400_000)  # most rows, so that some must be drawn again
    assert (train.part, held_out.part) == ("train", "held_out")
    factors = sampled(train, 4)
    np.testing.assert_array_equal(factors[:, 3], factors[:, 4])
    rows = np.asarray(twin.index(factors))
    assert not np.isin(rows, np.asarray(held_out.rows_in_whole(jnp.arange(len(held_out))))).any()
    free = sampled(held_out, 5)
    assert abs(np.corrcoef(free[:, 3], free[:, 4])[0, 1]) < 0.06
    assert isinstance(train, Correlated) and not isinstance(held_out, Correlated)
    assert train.identity() != twin.split(held_out=400_000)[0].identity()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("pos_z", "pos_y", 0.5), ValueError, "first must be one of shape, .*, got 'pos_z'"),
        (("pos_x", "size", 0.5), ValueError, "second must be one of shape, .*, got 'size'"),
        (("pos_x", "pos_x", 0.5), ValueError, "first and second must be two factors, got 'pos_x' twice"),
        (("pos_x", "pos_y", 1.5), ValueError, "strength must be from 0 to 1, got 1.5"),
        (("pos_x", "pos_y", float("nan")), ValueError, "strength must be from 0 to 1"),
        (("pos_x", "pos_y", "high"), TypeError, "strength must be a number from 0 to 1, got 'high'"),
        (("pos_x", "pos_y", True), TypeError, "strength must be a number"),
    ],
)
def test_ties_that_cannot_be_are_refused(twin, arguments, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        twin.correlated(*arguments)


def test_only_twins_and_their_training_parts_can_be_tied(twin):
    ds = tl.from_images(np.zeros((6, 8, 8, 3), np.uint8), np.zeros((6, 2), np.int32))
    with pytest.raises(ValueError, match="factors can be tied in a twin and in its training part, got ArrayDataset"):
        ds.correlated("factor_0", "factor_1", 0.5)
    with pytest.raises(ValueError, match="got ArrayDataset"):
        tl.from_images(np.zeros((6, 8, 8, 3), np.uint8)).correlated("a", "b", 0.5)


def test_held_out_combinations_are_all_of_them_and_no_others(twin):
    train, held_out = twin.split_combinations(shape=[2], scale=[4, 5])
    assert len(held_out) == 2 * 40 * 32 * 32
    assert len(train) + len(held_out) == len(twin)
    out = np.asarray(held_out.factors_of(jnp.arange(len(held_out))))
    assert ((out[:, 0] == 2) & (out[:, 1] >= 4)).all()
    inside = np.asarray(train.factors_of(jnp.arange(len(train))))
    assert not ((inside[:, 0] == 2) & (inside[:, 1] >= 4)).any()
    assert ((inside[:, 0] == 2).any(), (inside[:, 1] == 5).any()) == (True, True)  # each alone was seen
    assert np.std(out[:500, 2]) > 8  # shuffled: all orientations, not the first ones


def test_ties_are_kept_when_combinations_are_held_out(twin):
    train, held_out = twin.correlated("pos_x", "pos_y", 1.0).split_combinations(shape=[2])
    factors = sampled(train, 6)
    np.testing.assert_array_equal(factors[:, 3], factors[:, 4])
    assert set(np.unique(factors[:, 0])) == {0, 1}
    free = sampled(held_out, 7, 512)
    assert set(np.unique(free[:, 0])) == {2}
    assert abs(np.corrcoef(free[:, 3], free[:, 4])[0, 1]) < 0.2


def test_a_part_with_hardly_a_tied_row_is_refused(twin):
    train, _ = twin.split(held_out=len(twin) - 1000)
    with pytest.raises(ValueError, match=r"of rows with pos_x and pos_y tied only 0\.\d% are in this part"):
        train.correlated("pos_x", "pos_y", 1.0)


def test_held_out_parts_and_parts_of_parts_cannot_be_tied(twin):
    train, held_out = twin.split(held_out=1000)
    for part in (held_out, train.split(held_out=10)[0], train.correlated("pos_x", "pos_y", 0.5)):
        with pytest.raises(ValueError, match="factors can be tied in a twin and in its training part, got"):
            part.correlated("shape", "scale", 0.5)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({}, ValueError, "values must name at least one factor of shape"),
        ({"color": [0]}, ValueError, "there is no factor 'color'; there are shape"),
        ({"shape": [3]}, ValueError, r"shape\[0\] must be at least 0 and below 3, got 3"),
        ({"shape": [0.5]}, TypeError, "shape must be integers"),
        ({"shape": 0}, ValueError, "shape must have 1 dimension"),
        ({"shape": [0, 1, 2]}, ValueError, "both parts must have rows"),
        ({"shape": np.zeros(0, np.int32)}, ValueError, "both parts must have rows, but 0 of"),
    ],
)
def test_combinations_that_cannot_be_held_out_are_refused(twin, values, error, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        twin.split_combinations(**values)


def test_continuous_factors_lie_between_their_ends():
    twin = load_dataset("dsprites", image_size=8, variant="antialiased")
    images, values = twin.sample_continuous(jax.random.key(0), 512)
    values = np.asarray(values)
    assert (images.shape, values.shape) == ((512, 8, 8, 3), (512, 5))
    assert set(np.unique(values[:, 0])) == {0, 1, 2}
    for k, (name, grid) in enumerate(twin.scene.factors.items()):
        assert min(grid) - 1e-6 <= values[:, k].min() and values[:, k].max() <= max(grid) + 1e-6
        if name in twin.scene.continuous:
            assert len(np.unique(values[:, k])) > 400
            assert values[:, k].mean() == pytest.approx(np.mean(grid), abs=0.1 * np.ptp(grid))
    again = twin.sample_continuous(jax.random.key(0), 512)
    np.testing.assert_array_equal(values, again[1])
    on_grid = twin.scene.values(jnp.array([[2, 3, 7, 9, 11]], jnp.int32))
    drawn = np.asarray(twin.scene.images_of(jnp.asarray(values[:16]), 8)).astype(int)
    assert np.abs(drawn - np.asarray(images[:16]).astype(int)).max() <= 1
    near = np.asarray(twin.scene.images_of(on_grid, 8)).astype(int)
    assert np.abs(near - np.asarray(twin.images([[2, 3, 7, 9, 11]])).astype(int)).max() <= 1
    with pytest.raises(ValueError, match="n must be at least 1"):
        twin.sample_continuous(jax.random.key(0), 0)
