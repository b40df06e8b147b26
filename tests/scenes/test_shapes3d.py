"""The Shapes3D twin: what can be seen in its pictures."""

import colorsys
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.scenes import SCENES, SHAPES3D

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "shapes3d.gif"
FLOOR_HUE, WALL_HUE, OBJECT_HUE, SCALE, SHAPE, ORIENTATION = range(6)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)

draw = jax.jit(SHAPES3D.images, static_argnums=1)
render = jax.jit(SHAPES3D.render, static_argnums=1)


def images(rows, image_size):
    """Pictures as whole numbers that can be subtracted; always 512 are drawn, so that each size is compiled once."""
    rows = np.asarray(rows, np.int32)
    padded = np.pad(rows, ((0, 512 - len(rows)), (0, 0)))
    return np.asarray(draw(jnp.asarray(padded), image_size))[: len(rows)].astype(np.int32)


def random_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, n) for size in SHAPES3D.factor_sizes], axis=1)


def test_factors_are_those_of_the_benchmark():
    assert SCENES["shapes3d"] is SHAPES3D
    assert SHAPES3D.factor_names == ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    assert SHAPES3D.factor_sizes == (10, 10, 10, 8, 4, 15)
    for name, first, last in (("floor_hue", 0, 0.9), ("scale", 0.75, 1.25), ("orientation", -30, 30)):
        values = SHAPES3D.factors[name]
        assert (values[0], values[-1]) == pytest.approx((first, last))
        assert np.ptp(np.diff(values)) < 1e-12


# Mean absolute difference between pictures of neighboring values, of 255, the least over all pairs and 512 settings,
# half of them with one hue for floor, walls and object: 6.2 (floor and wall hue), 3.4 (object hue), 0.7 (scale),
# 1.3 (shape), 0.8 (orientation); the medians are 12, 12, 8, 4, 8 and 2.5.
CLEAR = {FLOOR_HUE: 5.0, WALL_HUE: 5.0, OBJECT_HUE: 2.5, SCALE: 0.6, SHAPE: 1.0, ORIENTATION: 0.6}


@pytest.mark.parametrize("image_size", [32, 64])
def test_every_neighboring_pair_of_values_looks_clearly_different(image_size):
    settings = np.concatenate([random_rows(6), [[0, 0, 0, 0, SPHERE, 5], [3, 3, 3, 4, CAPSULE, 2]]])
    rows = [[*s[:k], value, *s[k + 1 :]] for k, size in enumerate(SHAPES3D.factor_sizes) for s in settings
            for value in range(size)]  # fmt: skip
    pictures, start = images(rows, image_size), 0
    for k, size in enumerate(SHAPES3D.factor_sizes):
        block = pictures[start : start + len(settings) * size].reshape(len(settings), size, -1)
        start += len(settings) * size
        difference = np.abs(np.diff(block, axis=1)).mean(axis=2)
        assert difference.min() > CLEAR[k], SHAPES3D.factor_names[k]


@pytest.mark.parametrize("factor", [FLOOR_HUE, WALL_HUE, OBJECT_HUE])
def test_ten_hues_stay_apart(factor):
    row = [5, 5, 5, 7, CUBE, 7]
    pictures = images([[*row[:factor], hue, *row[factor + 1 :]] for hue in range(10)], 32)
    y, x = {FLOOR_HUE: (31, 2), WALL_HUE: (14, 3), OBJECT_HUE: (18, 16)}[factor]
    colors = pictures[:, y, x]
    closest = min(np.linalg.norm(a - b) for a, b in combinations(colors, 2))
    assert closest > 90  # of 255; neighbors in the brightest light: 0.4 and 0.2 of two channels, a distance of 114
    for hue, color in enumerate(colors):
        light, wanted = color.max() / 255, np.array(colorsys.hsv_to_rgb(hue / 10, 1, 1))
        sheen = color.min() / 255
        np.testing.assert_allclose(color / 255, sheen + (light - sheen) * wanted, atol=0.02)


def test_the_picture_is_composed_as_in_the_benchmark():
    """Floor red, walls blue, object green: sky above walls above floor, the object in the middle on the floor."""
    red, green, blue = np.moveaxis(images([[0, 6, 3, 7, CAPSULE, 14]], 64)[0], -1, 0)
    assert (red[0] == 153).all() and (blue[0] == 249).all()  # sky
    assert (blue[24, [2, 12, 52, 61]] > 90).all() and (red[24, [2, 12, 52, 61]] == 0).all()  # walls
    assert blue[24, 2] < 0.7 * blue[24, 61]  # the left one is darker
    assert (red[60, :8] > 200).all() and (blue[60, :8] == 0).all()  # floor
    covered = (green > 1.5 * red) & (green > 1.5 * blue)
    rows, columns = np.nonzero(covered.any(1))[0], np.nonzero(covered.any(0))[0]
    assert 40 < len(rows) < 50 and 22 < len(columns) < 30  # about 70 % of the height
    assert abs(columns.mean() - 31.5) < 1


@pytest.mark.parametrize("shape", [CUBE, CYLINDER, SPHERE, CAPSULE])
def test_a_larger_scale_covers_more(shape):
    pictures = images([[0, 0, 5, scale, shape, 7] for scale in range(8)], 64)  # cyan on red
    covered = (pictures[..., 1] > 80) & (pictures[..., 0] < 60)
    areas = covered.mean(axis=(1, 2))
    assert areas[0] > 0.03
    assert (np.diff(areas) > 0.1 * areas[:-1]).all()
    assert areas[-1] == pytest.approx(
        areas[0] * (1.25 / 0.75) ** 2, rel=0.35
    )  # more, since what is larger is also nearer


@pytest.mark.parametrize("shape", [CUBE, CYLINDER, SPHERE, CAPSULE])
def test_a_shadow_lies_on_the_floor_to_the_right(shape):
    picture = images([[1, 6, 3, 5, shape, 10]], 64)[0]  # on an orange floor
    on_floor = (picture[..., 0] > picture[..., 1]) & (picture[..., 1] > picture[..., 2] + 10)
    shadow = on_floor & (picture[..., 0] < 110)
    assert 40 < shadow.sum() < 800
    assert np.nonzero(shadow)[1].mean() > 34
    assert np.nonzero(shadow)[0].min() > 36


def test_pictures_turn_with_the_camera_and_shadows_with_the_room():
    pictures = images([[1, 6, 3, 5, CYLINDER, k] for k in range(15)], 64)
    left_wall = (pictures[:, 22, :20, 2] < 170).sum(axis=1)  # the left wall is dark, and comes in from the left
    assert (np.diff(left_wall) >= 0).all() and left_wall[-1] > left_wall[7] + 8
    assert (images([[1, 6, 3, 5, CYLINDER, 0]], 64)[0, 22, -12:, 2] < 110).all()  # the right one is darker


def test_images_are_deterministic_and_jit_changes_nothing():
    rows = jnp.asarray(random_rows(16))
    first, second = draw(rows, 8), draw(rows, 8)
    np.testing.assert_array_equal(first, second)
    eager = np.asarray(SHAPES3D.images(rows, 8)).astype(np.int32)
    assert np.abs(eager - np.asarray(first)).max() <= 1  # rounding


def test_many_images_are_those_of_each_alone():
    rows = jnp.asarray(random_rows(1100))  # two chunks and a rest
    many = np.asarray(draw(rows, 8)).astype(np.int32)
    assert many.shape == (1100, 8, 8, 3)
    some = np.array([0, 511, 512, 1023, 1024, 1099])
    assert np.abs(many[some] - images(np.asarray(rows)[some], 8)).max() <= 1


@pytest.mark.parametrize("image_size", [8, 17])
def test_any_size_shows_the_same_picture(image_size):
    rows = random_rows(4)
    small = images(rows, image_size)
    assert small.shape == (4, image_size, image_size, 3)
    # A picture's mean color is off by what its edges are: they are straight within a pixel only if pixels are small.
    np.testing.assert_allclose(small.mean((1, 2)), images(rows, 64).mean((1, 2)), atol=80 / image_size)


def test_edges_are_antialiased():
    """A picture is near the mean of the 16 times finer one, and several times nearer to it than sampled centers are."""
    values = SHAPES3D.values(jnp.asarray(random_rows(32)))
    fine, coarse = np.asarray(render(values, 256)), np.asarray(render(values, 32))
    boxed = fine.reshape(32, 32, 8, 32, 8, 3).mean(axis=(2, 4))
    sampled = fine[:, 4::8, 4::8]
    error = np.abs(coarse - boxed)
    assert error.mean() < 0.004
    assert np.quantile(error, 0.999) < 0.13
    assert error.mean() < 0.3 * np.abs(sampled - boxed).mean()


def test_half_the_size_is_about_the_mean_of_four_pixels():
    rows = random_rows(64)
    boxed = images(rows, 64).reshape(64, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(boxed - images(rows, 32)).mean() < 1  # of 255


def loss(values, weights):
    return jnp.sum(weights * SHAPES3D.render(values[None], 16)[0])


loss_and_gradient = jax.jit(jax.value_and_grad(loss))


@pytest.mark.parametrize("shape", [0.0, 1.0, 2.0, 3.0, 0.4, 1.7, 2.5])
def test_gradients_are_those_of_finite_differences(x64, shape):
    """In every continuous factor, and in shape where it is between two solids."""
    rng = np.random.default_rng(int(10 * shape))
    weights = jnp.asarray(rng.standard_normal((16, 16, 3)))
    values = np.array([0.23, 0.61, 0.87, rng.uniform(0.8, 1.2), shape, rng.uniform(-25, 25)])
    gradient = np.asarray(loss_and_gradient(values, weights)[1])
    assert np.isfinite(gradient).all() and (np.abs(gradient) > 1e-3).all()
    for k in range(6):
        if k == SHAPE and shape in (0, 1, 2, 3):  # kinks: fades start and end there
            continue
        step = np.zeros(6)
        step[k] = 1e-6
        ahead, behind = loss_and_gradient(values + step, weights)[0], loss_and_gradient(values - step, weights)[0]
        assert gradient[k] == pytest.approx(float(ahead - behind) / 2e-6, rel=1e-4, abs=1e-4)


def test_gradients_are_finite_on_the_grid():
    """Also where a ray runs along a face, at orientation 0, and where the far corner of a cube is behind it."""
    edge_on = [[5, 5, 5, scale, shape, 7] for scale in (0, 7) for shape in range(4)]
    weights = jnp.ones((16, 16, 3))
    for values in np.asarray(SHAPES3D.values(jnp.asarray([*random_rows(40).tolist(), *edge_on]))):
        assert np.isfinite(loss_and_gradient(values, weights)[1]).all()


def test_shapes_between_two_solids_lie_between_them():
    between = [[0.1, 0.5, 0.8, 1.0, shape, 10.0] for shape in (0.0, 0.5, 1.0, 2.0, 2.5, 3.0)]
    cube, half, cylinder, sphere, stretched, capsule = np.asarray(render(jnp.asarray(between, jnp.float32), 32))
    fade = np.abs(half - (cube + cylinder) / 2)
    assert (
        np.quantile(fade, 0.98) < 1e-5 and fade.max() < 0.1
    )  # all but floor seen past one solid in the other's shadow
    for a, b in ((sphere, stretched), (stretched, capsule)):
        assert np.abs(a - b).mean() < np.abs(sphere - capsule).mean()


@pytest.mark.parametrize(
    ("values", "image_size", "error", "message"),
    [
        (jnp.zeros((2, 6), jnp.int32), 8, TypeError, "values"),
        (jnp.zeros((2, 5)), 8, ValueError, r"values must have shape \(n, 6\).*\(2, 5\)"),
        (jnp.zeros((2, 6)), 0, ValueError, "image_size must be at least 1, got 0"),
        (jnp.zeros((2, 6)), 8.0, TypeError, "image_size"),
        (jnp.zeros((2, 6)), True, TypeError, "image_size must be an integer, got True"),
    ],
)
def test_render_refuses_what_it_cannot_draw(values, image_size, error, message):
    with pytest.raises(error, match=message):
        SHAPES3D.render(values, image_size)


def test_the_twin_resembles_published_frames():
    """Nine frames of the real benchmark: sky, wall and floor in the same colors at the same places."""
    if not REFERENCE.exists():
        pytest.skip(f"no published frames at {REFERENCE}")
    from PIL import Image

    frames = {0: (0, 6, 3, 0, 0, 0), 7: (0, 6, 3, 0, 0, 7), 14: (0, 6, 3, 0, 0, 14), 15: (0, 6, 3, 0, 1, 14),
              16: (0, 6, 3, 0, 2, 14), 17: (0, 6, 3, 0, 3, 14), 24: (0, 6, 3, 7, 3, 14), 30: (0, 6, 9, 7, 3, 14),
              40: (1, 5, 2, 7, 3, 14)}  # fmt: skip
    twins = images(list(frames.values()), 64)
    with Image.open(REFERENCE) as file:
        for twin, number in zip(twins, frames, strict=True):
            file.seek(number)
            real = np.asarray(file.convert("RGB").crop((1, 1, 226, 226)).resize((64, 64)), np.int32)
            for y, x in ((3, 5), (3, 60), (27, 60), (27, 3), (58, 4)):
                if (y, x) == (27, 60) and number == 0:  # side walls are darker in the twin
                    continue
                distance = np.abs(
                    twin[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1)) - real[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
                )
                assert distance.max() < 60, (number, y, x)
