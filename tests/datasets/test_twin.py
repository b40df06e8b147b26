"""The Shapes3D twin as a data set."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from tripod_lite.datasets import DATASETS, Twin, load_dataset
from tripod_lite.datasets import twin as module


@pytest.fixture(scope="module")
def twin():
    return load_dataset("shapes3d", image_size=8)


def test_it_is_the_whole_grid(twin):
    assert "shapes3d" in DATASETS
    assert isinstance(twin, Twin)
    assert len(twin) == 480_000
    assert twin.name == "shapes3d"
    assert twin.factor_names == ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    assert twin.factor_sizes == (10, 10, 10, 8, 4, 15)
    assert (twin.image_size, twin.image_shape, twin.part) == (8, (8, 8, 3), "all")
    assert load_dataset("shapes3d").image_size == 64


def test_samples_are_images_of_their_factors(twin):
    images, factors = twin.sample(jax.random.key(0), 20)
    assert (images.shape, images.dtype) == ((20, 8, 8, 3), jnp.uint8)
    assert (factors.shape, factors.dtype) == ((20, 6), jnp.int32)
    np.testing.assert_array_equal(twin.images(factors), images)
    again, rows = twin.take(twin.index(factors))
    np.testing.assert_array_equal(again, images)
    np.testing.assert_array_equal(rows, factors)
    np.testing.assert_array_equal(twin.factors(twin.index(factors)), factors)


def test_sampling_works_under_jit(twin):
    train, _ = twin.split()
    for ds in (twin, train):
        images, factors = jax.jit(ds.sample, static_argnums=1)(jax.random.key(3), 16)
        eager = ds.sample(jax.random.key(3), 16)
        np.testing.assert_array_equal(factors, eager[1])
        assert np.abs(np.asarray(images, np.int32) - np.asarray(eager[0], np.int32)).max() <= 1


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17])
def test_any_number_of_images(twin, n):
    rows = np.arange(n) * 7919
    images, factors = twin.take(rows)
    assert images.shape == (n, 8, 8, 3)
    if n:
        np.testing.assert_array_equal(images[-1:], twin.images(factors[-1:]))


@pytest.mark.parametrize("n", [300, 600, 2100])
def test_many_images_are_those_of_few(twin, n, monkeypatch):
    """Drawn in small blocks, in large ones, all at once, and inside a compiled function."""
    factors = twin.factors(np.arange(n) * 197)
    few = np.asarray(twin.images(factors[-5:]), np.int32)
    blocks = np.asarray(twin.images(factors), np.int32)
    compiled = np.asarray(jax.jit(twin.images)(factors), np.int32)
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    at_once = np.asarray(twin.images(factors), np.int32)
    assert blocks.shape == (n, 8, 8, 3)
    for many in (compiled, at_once):
        assert np.abs(many - blocks).max() <= 1
    assert np.abs(blocks[-5:] - few).max() <= 1


@pytest.mark.parametrize(("backend", "programs"), [("cpu", {16, 512}), ("gpu", {16, 32, 512, 2048, 2560})])
def test_few_programs_are_compiled(backend, programs, monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    calls = Counter()

    def draw(scene, rows, image_size):
        calls[len(rows)] += 1
        return jnp.zeros((len(rows), 9, 9, 3), jnp.uint8)

    monkeypatch.setattr(module, "_draw", draw)
    ds = load_dataset("shapes3d", image_size=9)
    for n in (0, 1, 16, 17, 300, 512, 2048, 2049, 2100):
        assert len(ds.images(ds.factors(np.arange(n)))) == n
    assert set(calls) == programs
    for n, room in ((15, 16), (40, 64), (64, 64), (513, 1024)):
        calls.clear()
        factors = ds.factors(np.arange(n))
        assert len(jax.jit(ds.images)(factors)) == n
        assert len(jax.jit(lambda factors=factors: ds.images(factors))()) == n  # as constants of the program
        assert calls == {room: 2}


def test_every_factor_is_sampled_uniformly(twin):
    factors = np.asarray(twin.sample(jax.random.key(7), 5120)[1])
    for column, size in zip(factors.T, twin.factor_sizes, strict=True):
        expected = len(column) / size
        statistic = ((np.bincount(column, minlength=size) - expected) ** 2 / expected).sum()
        assert chi2.sf(statistic, df=size - 1) > 1e-3


def test_parts_draw_the_whole_s_images(twin):
    train, held_out = twin.split(held_out=1000)
    assert (len(train), len(held_out)) == (479_000, 1000)
    for part in (train, held_out):
        images, factors = part.take(np.arange(16))
        np.testing.assert_array_equal(images, twin.images(factors))
    left_out = set(np.asarray(twin.index(held_out.take(np.arange(1000))[1])).tolist())
    drawn = np.asarray(twin.index(train.sample(jax.random.key(0), 5120)[1])).tolist()
    assert len(left_out) == 1000
    assert left_out.isdisjoint(drawn)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("shapes4d",), ValueError, "name must be one of .*shapes3d.*, got 'shapes4d'"),
        (("shapes3d", "photo"), ValueError, "source must be one of twin, real, got 'photo'"),
        (("shapes3d", "twin", 7), ValueError, "image_size must be at least 8, got 7"),
        (("shapes3d", "twin", 32.0), TypeError, "image_size"),
        (("shapes3d", "twin", "32"), TypeError, "image_size"),
        (("shapes3d", "twin", True), TypeError, "image_size must be an integer, got True"),
    ],
)
def test_unknown_data_sets_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        load_dataset(*arguments)


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ([[0, 0, 0, 8, 0, 0]], ValueError, r"factors\[0, 3\] must be at least 0 and below 8, got 8"),
        ([[0, 0, 0]], ValueError, r"factors must have shape \(n, 6\)"),
        ([[0.0] * 6], TypeError, "factors must be integers"),
    ],
)
def test_factors_off_the_grid_are_refused(twin, factors, error, message):
    with pytest.raises(error, match=message):
        twin.images(factors)
    with pytest.raises(error, match=message):
        twin.split()[0].images(factors)
