"""Batches are the same however they are fed, and the set lies where it is said to."""

import gc
import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_archives
from tiny_archives import tiny

import tripod_lite as tl
from tripod_lite.datasets.real import placement
from tripod_lite.datasets.real.dataset import Real
from tripod_lite.datasets.real.prepare import Prepared

KEY = jax.random.key(11)


@pytest.fixture(scope="module")
def prepared():
    small = tiny("shapes3d")
    return Prepared(small.source, small.pictures, small.factors.astype(np.int32), "0")


@pytest.fixture(scope="module", params=[True, False], ids=["on the device", "from the host"])
def ds(request, prepared):
    return Real(prepared, on_device=request.param)


def first(batches, n=6):
    return np.stack([np.asarray(batch) for batch in itertools.islice(batches, n)])


def test_batches_are_the_samples_of_their_numbers(ds, prepared):
    train, held_out = ds.split(held_out=10)
    for part in (ds, train, held_out, train.split(held_out=5)[0]):
        batches = first(part.batches(KEY, 5, start=3))
        for i, batch in enumerate(batches, 3):
            images, factors = part.sample(jax.random.fold_in(KEY, i), 5)
            np.testing.assert_array_equal(batch, images)
            rows = np.ravel_multi_index(tuple(np.asarray(factors).T), ds.factor_sizes)
            np.testing.assert_array_equal(batch, prepared.images[rows])


def test_both_ways_of_feeding_give_the_same_batches(prepared):
    """More batches than are read ahead, so that threads overtake each other."""
    one, other = (first(Real(prepared, on_device=where).split()[0].batches(KEY, 7), 40) for where in (True, False))
    np.testing.assert_array_equal(one, other)


def test_a_twin_s_batches_are_drawn_on_the_device():
    twin = tl.load_dataset("dsprites", image_size=8)
    assert twin.on_device and twin.split()[0].on_device and twin.correlated("pos_x", "pos_y", 0.5).on_device
    tied = twin.split()[0].correlated("pos_x", "pos_y", 0.5)
    for ds in (twin, tied):
        for i, batch in enumerate(first(ds.batches(KEY, 4), 2)):
            np.testing.assert_array_equal(batch, ds.sample(jax.random.fold_in(KEY, i), 4)[0])


def test_anybody_s_images_are_batched_too():
    ds = tl.from_images(np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)).split(held_out=4)[0]
    for i, batch in enumerate(first(ds.batches(KEY, 5, start=2), 3), 2):
        np.testing.assert_array_equal(batch, ds.sample(jax.random.fold_in(KEY, i), 5)[0])


@pytest.mark.parametrize("close", [True, False], ids=["closed", "forgotten"])
def test_reading_ahead_ends_with_its_iterator(prepared, close):
    batches, before = Real(prepared, on_device=False).batches(KEY, 4), threading.active_count()
    next(batches)
    assert threading.active_count() > before
    if close:
        batches.close()
    del batches
    gc.collect()
    patience = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < patience
        time.sleep(0.01)


def test_an_error_in_reading_arrives(prepared):
    class Lost(Real):
        def _read(self, rows):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(Lost(prepared, on_device=False).batches(KEY, 4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "n must be at least 1, got 0"),
        ((4, -1), ValueError, "start must be at least 0"),
        ((4.0,), TypeError, "n must be an integer"),
    ],
)
def test_bad_arguments(ds, arguments, error, message, monkeypatch):
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(error, match=message):
        ds.batches(KEY, *arguments)


def test_sampling_works_under_jit(ds):
    for part in (ds, ds.split(held_out=10)[0]):
        images, factors = part.sample(KEY, 6)
        for jitted in (
            jax.jit(part.sample, static_argnums=1)(KEY, 6),
            jax.jit(lambda ds, key: ds.sample(key, 6))(part, KEY),
        ):
            np.testing.assert_array_equal(jitted[0], images)
            np.testing.assert_array_equal(jitted[1], factors)


def test_as_an_argument_a_set_is_compiled_once_and_not_copied_into_the_program(prepared):
    ds, traced = Real(prepared, on_device=True), []

    @jax.jit
    def sample(ds, key):
        traced.append(ds)
        return ds.sample(key, 4)[0]

    train = ds.split(held_out=10)[0]
    for key in jax.random.split(KEY, 3):
        np.testing.assert_array_equal(sample(train, key), train.sample(key, 4)[0])
    assert len(traced) == 1
    assert len(sample.lower(train, KEY).as_text()) < ds.prepared.images.nbytes / 10
    assert jax.tree.structure(train) == jax.tree.structure(train)


@pytest.mark.parametrize(
    "make",
    [lambda: tl.load_dataset("dsprites", image_size=8), lambda: tl.from_images(np.zeros((9, 8, 8, 3), np.uint8))],
)
def test_every_set_is_a_pytree(make):
    ds = make()
    for one in (ds, *ds.split(held_out=3)):
        leaves, structure = jax.tree.flatten(one)
        again = jax.tree.unflatten(structure, leaves)
        assert all(isinstance(leaf, jax.Array) for leaf in leaves)
        assert (again.identity(), len(again)) == (one.identity(), len(one))
        np.testing.assert_array_equal(again.take([2, 0])[0], one.take([2, 0])[0])


def test_where_a_set_is_put_depends_on_the_free_memory(prepared, monkeypatch):
    for free, expected in ((placement.ROOM + prepared.images.nbytes, True), (placement.ROOM, False), (None, False)):
        monkeypatch.setattr(placement, "free_bytes", lambda device, free=free: free)
        ds = Real(prepared)
        assert ds.on_device is expected and ds.split()[0].on_device is expected
        assert Real(prepared, on_device=not expected).on_device is not expected


def test_free_memory_is_what_the_device_says():
    class Device:
        platform = "gpu"

        def __init__(self, stats):
            self.memory_stats = lambda: stats

    gpus = [Device({"bytes_limit": 5 * 2**30, "bytes_in_use": used}) for used in (0, 2**30)]
    assert [placement.free_bytes(gpu) for gpu in gpus] == [5 * 2**30, 4 * 2**30]
    assert placement.free_bytes(Device(None)) is None
    assert placement.fits(4 * 2**30, gpus) and not placement.fits(4 * 2**30 + 2, gpus)  # two bytes more: one on each
    cpu = jax.devices("cpu")
    assert placement.free_bytes(cpu[0]) is None and not placement.fits(1, cpu)


@pytest.mark.parametrize("chunk", [1, 5000, 10**9])
def test_rows_are_copied_in_chunks(chunk, monkeypatch):
    monkeypatch.setattr(placement, "CHUNK", chunk)
    rows = np.random.default_rng(0).integers(0, 256, (7, 10, 10, 3), np.uint8)
    np.testing.assert_array_equal(placement.put_rows(rows, jax.devices()[:1]), rows.reshape(7, 300))


def test_over_several_devices_there_is_one_copy():
    folder = Path(tiny_archives.__file__).parent
    run = subprocess.run([sys.executable, "many_devices.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.stdout == "done\n", run.stderr


def test_factors_need_no_images(prepared):
    class Blind(Real):
        def _read(self, rows):
            raise AssertionError("images were read")

    ds = Blind(prepared, on_device=False)
    train, held_out = ds.split_combinations(shape=[1])
    assert set(np.asarray(held_out.factors_of(jnp.arange(len(held_out))))[:, 4].tolist()) == {1}
    assert len(train) + len(held_out) == 48
