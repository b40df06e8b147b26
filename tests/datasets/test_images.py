"""Data sets of anybody's images."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tripod_lite.datasets import from_images

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
rng = np.random.default_rng(0)
RGB = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
FACTORS = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])


def pixels(ds):
    return np.asarray(ds.take(np.arange(len(ds)))[0])


@pytest.mark.parametrize("images", [RGB, jnp.asarray(RGB), RGB / 255, (RGB / 255).astype(np.float32),
                                    jnp.asarray(RGB / 255), RGB.tolist()][:5])  # fmt: skip
def test_arrays_of_any_kind_give_the_same_images(images):
    ds = from_images(images)
    assert (len(ds), ds.image_size, ds.image_shape, ds.name, ds.part) == (6, 8, (8, 8, 3), "images", "all")
    np.testing.assert_array_equal(pixels(ds), RGB)


@pytest.mark.parametrize("images", [RGB[..., 0], RGB[..., :1]])
def test_gray_images_become_three_equal_channels(images):
    np.testing.assert_array_equal(pixels(from_images(images)), np.repeat(RGB[..., :1], 3, axis=3))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_rounded_to_the_nearest_level(dtype):
    levels = np.array([0, 1, 128, 254, 255], np.uint8).repeat(64).reshape(5, 8, 8)
    got = pixels(from_images(jnp.asarray(levels / 255, dtype)))[..., 0].astype(int)
    assert np.abs(got - levels).max() <= 1


def test_without_factors_there_are_none():
    ds = from_images(RGB)
    assert (ds.factor_names, ds.factor_sizes) == ((), ())
    images, factors = ds.sample(jax.random.key(0), 4)
    assert (images.shape, images.dtype) == ((4, 8, 8, 3), jnp.uint8)
    assert (factors.shape, factors.dtype) == ((4, 0), jnp.int32)
    with pytest.raises(ValueError, match="no factors to find them by; take"):
        ds.images([[0]])


def test_factors_find_their_images():
    ds = from_images(RGB, FACTORS, factor_names=["row", "column"], name="mine")
    assert (ds.name, ds.factor_names, ds.factor_sizes) == ("mine", ("row", "column"), (2, 3))
    assert from_images(RGB, FACTORS).factor_names == ("factor_0", "factor_1")
    np.testing.assert_array_equal(ds.images([[1, 1], [0, 2]]), RGB[[4, 2]])
    images, factors = ds.sample(jax.random.key(1), 10)
    np.testing.assert_array_equal(ds.images(factors), images)
    np.testing.assert_array_equal(ds.take([3, 0])[1], FACTORS[[3, 0]])


def test_of_images_with_the_same_factors_the_first_is_found():
    ds = from_images(RGB, [[0], [1], [1], [0], [3], [3]])
    np.testing.assert_array_equal(ds.images([[1], [3], [0]]), RGB[[1, 4, 0]])
    with pytest.raises(ValueError, match=r"got \(2,\), which none of the 6 has"):
        ds.images([[0], [2]])
    with pytest.raises(ValueError, match=r"factors\[0, 0\] must be at least 0 and below 4, got 4"):
        ds.images([[4]])
    with pytest.raises(ValueError, match=r"factors must have shape \(n, 1\)"):
        ds.images([[0, 1]])


def test_sampling_and_splitting_work_as_for_twins():
    train, held_out = from_images(RGB, FACTORS).split(held_out=2)
    assert (len(train), len(held_out)) == (4, 2)
    _, factors = jax.jit(train.sample, static_argnums=1)(jax.random.key(0), 100)
    found = set(map(tuple, np.asarray(factors).tolist()))
    assert len(found) == 4
    assert found.isdisjoint(map(tuple, np.asarray(held_out.take([0, 1])[1]).tolist()))


def test_shrinking_is_antialiased():
    """A checkerboard of single pixels is gray from afar; picking pixels would give black or white."""
    board = np.tile(np.indices((32, 32)).sum(0) % 2, (2, 1, 1)).astype(np.uint8) * 255
    small = pixels(from_images(board, image_size=8)).astype(int)
    assert small.shape == (2, 8, 8, 3)
    assert np.abs(small - 127.5).max() < 12


def test_images_that_are_not_square_are_squeezed():
    wide = np.zeros((2, 16, 32), np.uint8)
    wide[:, :, 16:] = 255
    small = pixels(from_images(wide, image_size=16))[0, :, :, 0]
    assert small.shape == (16, 16)
    assert (small[:, :6] == 0).all() and (small[:, 10:] == 255).all()


def test_a_size_that_images_have_already_changes_nothing():
    np.testing.assert_array_equal(pixels(from_images(RGB, image_size=8)), RGB)


def test_folders_are_read_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "b").mkdir()
    for name, image in zip(("c.png", "a.PNG", "b/x.bmp"), RGB, strict=False):
        Image.fromarray(image).save(tmp_path / name, format="PNG" if name.lower().endswith("png") else "BMP")
    (tmp_path / "notes.txt").write_text("not a picture")
    np.testing.assert_array_equal(pixels(from_images(tmp_path)), RGB[[1, 2, 0]])
    np.testing.assert_array_equal(pixels(from_images(str(tmp_path))), RGB[[1, 2, 0]])


def test_folders_of_several_sizes_and_modes_can_be_resized(tmp_path):
    Image.fromarray(np.full((20, 10), 200, np.uint8)).save(tmp_path / "gray.png")
    Image.new("RGBA", (30, 30), (10, 20, 30, 40)).save(tmp_path / "transparent.png")
    Image.new("P", (9, 9)).save(tmp_path / "palette.gif")
    with pytest.raises(ValueError, match=r"20 by 10 pixels and 9 by 9 pixels .*gray\.png.*palette\.gif"):
        from_images(tmp_path)
    ds = from_images(tmp_path, image_size=8)
    np.testing.assert_array_equal(pixels(ds)[[0, 2], 0, 0], [[200, 200, 200], [10, 20, 30]])


@pytest.mark.parametrize("key", ["factors", "labels", None])
def test_npz_files_may_bring_factors(tmp_path, key):
    np.savez_compressed(tmp_path / "set.npz", images=RGB, **({key: FACTORS} if key else {}))
    ds = from_images(tmp_path / "set.npz")
    np.testing.assert_array_equal(pixels(ds), RGB)
    assert ds.factor_sizes == ((2, 3) if key else ())
    assert from_images(tmp_path / "set.npz", factors=FACTORS[:, :1]).factor_sizes == (2,)


def bad_float(value):
    images = RGB / 255
    images[2, 3, 4, 1] = value
    return images


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"images": RGB[0]}, ValueError, r"images must have shape .* got \(8, 8, 3\)|at least 2|square"),
        ({"images": RGB[:1]}, ValueError, "must have at least 2 images, got 1"),
        ({"images": RGB[:0]}, ValueError, "must have at least 2 images, got 0"),
        ({"images": RGB[..., :2]}, ValueError, r"images must have shape .* got \(6, 8, 8, 2\)"),
        ({"images": RGB[:, :, :0]}, ValueError, r"images must have shape .* got \(6, 8, 0, 3\)"),
        ({"images": RGB[0, 0]}, ValueError, r"images must have shape .* got \(8, 3\)"),
        ({"images": RGB[None]}, ValueError, r"images must have shape .* got \(1, 6, 8, 8, 3\)"),
        ({"images": RGB[:, :6]}, ValueError, "square and at least 8 pixels wide .* got 6 by 8"),
        ({"images": RGB[:, :4, :4]}, ValueError, "at least 8 pixels wide .* got 4 by 4"),
        ({"images": RGB.astype(np.int64)}, TypeError, "images must be uint8, or floating point .* got dtype int64"),
        ({"images": RGB > 100}, TypeError, "got dtype bool"),
        ({"images": RGB.astype(complex)}, TypeError, "got dtype complex128"),
        ({"images": [RGB[0], RGB[0, :4]]}, (TypeError, ValueError), "images"),
        ({"images": bad_float(np.nan)}, ValueError, r"must lie in \[0, 1\], got values from nan to nan"),
        ({"images": bad_float(1.5)}, ValueError, r"must lie in \[0, 1\], got values from 0.0 to 1.5"),
        ({"images": bad_float(-0.5)}, ValueError, r"must lie in \[0, 1\], got values from -0.5 to 1.0"),
        ({"images": RGB, "image_size": 4}, ValueError, "image_size must be at least 8, got 4"),
        ({"images": RGB, "image_size": 32.0}, TypeError, "image_size"),
        ({"images": RGB, "image_size": True}, TypeError, "image_size must be an integer, got True"),
        ({"images": RGB, "factors": FACTORS[:5]}, ValueError, r"a row for each of the 6 images .* got \(5, 2\)"),
        ({"images": RGB, "factors": FACTORS[:, 0]}, ValueError, r"factors must have 2 dimensions, got shape \(6,\)"),
        ({"images": RGB, "factors": FACTORS[:, :0]}, ValueError, r"a column a factor, got \(6, 0\)"),
        ({"images": RGB, "factors": FACTORS / 2}, TypeError, "factors must be integers, got dtype float64"),
        ({"images": RGB, "factors": FACTORS - 1}, ValueError, r"factors\[0, 0\] must be at least 0"),
        ({"images": RGB, "factors": FACTORS, "factor_names": ["a"]}, ValueError, "must be 2 different names"),
        ({"images": RGB, "factors": FACTORS, "factor_names": ["a", "a"]}, ValueError, "must be 2 different names"),
        ({"images": RGB, "factor_names": ["a"]}, ValueError, "must be 0 different names"),
        ({"images": RGB, "factors": FACTORS, "factor_names": "ab"}, TypeError, "factor_names must be a sequence"),
        ({"images": RGB, "factors": FACTORS, "factor_names": [1, 2]}, TypeError, "factor_names"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        from_images(**arguments)


def no_pictures(folder):
    (folder / "notes.txt").write_text("nothing")
    return folder


def one_picture(folder):
    Image.fromarray(RGB[0]).save(folder / "a.png")
    return folder


def corrupt_picture(folder):
    Image.fromarray(RGB[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


def text_as_picture(folder):
    (folder / "b.jpg").write_text("<html>moved</html>")
    return folder


def wrong_key(folder):
    np.savez(folder / "a.npz", imgs=RGB, latents=FACTORS)
    return folder / "a.npz"


def pickled(folder):
    np.savez(folder / "a.npz", images=np.array([RGB, None], dtype=object))
    return folder / "a.npz"


def truncated(folder):
    np.savez_compressed(folder / "a.npz", images=RGB)
    (folder / "a.npz").write_bytes((folder / "a.npz").read_bytes()[:200])
    return folder / "a.npz"


def damaged(folder):
    np.savez_compressed(folder / "a.npz", images=RGB)
    content = bytearray((folder / "a.npz").read_bytes())
    content[150:250] = bytes(100)
    (folder / "a.npz").write_bytes(content)
    return folder / "a.npz"


def single_array(folder):
    np.save(folder / "a.npy", RGB)
    return folder / "a.npy"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_pictures, r"a folder with pictures \(.*\.png.*\), but there is none"),
        (one_picture, "at least 2 images, got 1"),
        (corrupt_picture, "must be readable pictures, but .*b.png is not"),
        (text_as_picture, "must be readable pictures, but .*b.jpg is not"),
        (lambda folder: folder / "nowhere", "neither at .*nowhere"),
        (wrong_key, "a.npz.*an array named images, got imgs, latents"),
        (pickled, "cannot read .*a.npz.*allow_pickle"),
        (truncated, "cannot read .*a.npz"),
        (damaged, "cannot read .*a.npz"),
        (single_array, "a.npy.*a single array; save it with numpy.savez"),
    ],
)
def test_files_that_are_no_data_set_are_refused(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        from_images(make(tmp_path))


@pytest.mark.parametrize("name", ["falcor3d", "isaac3d"])
def test_real_frames_become_a_data_set(name):
    """A strip holds the values of one factor, frames of 128 by 128 side by side."""
    folder = REFERENCE / name
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}")
    frames, factors = [], []
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        with Image.open(path) as file:
            strip = np.asarray(file.convert("RGB"))
        assert strip.shape[0] == 128 and strip.shape[1] % 128 == 0
        for value, frame in enumerate(np.split(strip, strip.shape[1] // 128, axis=1)):
            frames.append(frame)
            factors.append((number, value))
    ds = from_images(np.stack(frames), np.array(factors), image_size=64, factor_names=("factor", "value"))
    assert len(ds) == len(frames) > 30
    small = pixels(ds).astype(float)
    boxed = np.stack(frames).reshape(-1, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - boxed).mean() < 3  # of 255: bicubic against the mean of four
    assert ds.factor_sizes[0] == len(list(folder.glob("*.png")))
    np.testing.assert_array_equal(ds.images([[0, 0]])[0], pixels(ds)[0])
