"""Every published set, in small: from an archive in its original layout to a data set."""

import jax
import numpy as np
import pytest
from tiny_archives import ALL, ROUNDED, halved, pngs, tiny, unpack, values
from tiny_server import whole

from tripod_lite.datasets.real.dataset import Real
from tripod_lite.datasets.real.prepare import prepare


def downloaded(server, small, tmp_path, image_size=64, **kwargs):
    source = small.at(server.add(f"/{small.file.name}", whole(small.archive)))
    return prepare(source, image_size, data_dir=tmp_path, progress=False, **kwargs)


@pytest.mark.parametrize(("name", "variant", "which_file"), [*((*key, 0) for key in ALL), ("dsprites", "", 1)])
def test_a_set_arrives_whole(server, tmp_path, name, variant, which_file):
    small = tiny(name, variant, which_file)
    prepared = downloaded(server, small, tmp_path)
    n = len(small.factors)
    assert isinstance(prepared.images, np.memmap)
    assert (prepared.images.shape, prepared.images.dtype) == ((n, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(prepared.factors, small.factors)
    if small.pictures.shape[1] == 64:
        np.testing.assert_array_equal(prepared.images, small.pictures)
    else:
        assert np.abs(prepared.images - halved(small.pictures)).max() < ROUNDED
    ds = Real(prepared)
    assert (ds.name, len(ds), ds.factor_names, ds.factor_sizes) == (
        name,
        n,
        small.source.factor_names,
        small.source.factor_sizes,
    )
    images, factors = ds.sample(jax.random.key(0), 7)
    np.testing.assert_array_equal(ds.images(factors), images)
    np.testing.assert_array_equal(prepared.images[np.ravel_multi_index(tuple(factors.T), ds.factor_sizes)], images)


def test_pictures_are_resized(server, tmp_path):
    small = tiny("shapes3d")
    images = downloaded(server, small, tmp_path, 32).images
    assert np.abs(images - halved(small.pictures)).max() < ROUNDED


def test_resizing_clips(server, tmp_path):
    small = tiny("falcor3d")
    pictures = np.zeros_like(small.pictures)
    pictures[:, 64:] = 255  # an edge across one axis, where a cubic overshoots on both sides
    small = tiny("falcor3d", pictures=pictures)
    images = downloaded(server, small, tmp_path).images
    assert np.abs(images - halved(pictures)).max() < ROUNDED
    assert set(np.unique(images[:, :28])) == {0} and set(np.unique(images[:, 36:])) == {255}


def test_an_unpacked_folder_is_as_good(tmp_path):
    small = tiny("isaac3d")
    by_hand = unpack(small.archive, tmp_path / "hand")
    prepared = prepare(small.at(), 64, data_dir=tmp_path / "cache", manual_dir=by_hand, progress=False)
    assert np.abs(prepared.images - halved(small.pictures)).max() < ROUNDED
    np.testing.assert_array_equal(prepared.factors, small.factors)


def test_labels_in_another_order_are_followed(server, tmp_path):
    small = tiny("falcor3d")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(small.factors))
    labels = values(small.source, small.factors[order])
    small.archive = pngs(small.source, small.pictures, small.factors, labels)
    ds = Real(downloaded(server, small, tmp_path))
    np.testing.assert_array_equal(ds.prepared.factors, small.factors[order])
    np.testing.assert_array_equal(ds.images(small.factors[order][:5]), ds.prepared.images[:5])
