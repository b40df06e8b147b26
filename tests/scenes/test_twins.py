"""The twins of MPI3D, Falcor3D, Isaac3D and dSprites: their factors, and what can be seen of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.datasets import load_dataset
from tripod_lite.datasets.visibility import visibility
from tripod_lite.scenes import (
    DSPRITES,
    DSPRITES_ANTIALIASED,
    FALCOR3D,
    ISAAC3D,
    MPI3D,
    MPI3D_TOY,
    SCENES,
    SHAPES3D,
    VARIANTS,
)
from tripod_lite.scenes.isaac3d import FOREARM, ROBOT_X, ROBOT_Y, SHOULDER, UPPER_ARM, elbow

PAINTED = {"mpi3d": MPI3D, "falcor3d": FALCOR3D, "isaac3d": ISAAC3D}
SIZE = 32
# The toy is drawn by MPI3D's code. Sprites have gray edges: a binary pixel that is half covered may fall either way.
FRAMED = PAINTED | {"shapes3d": SHAPES3D, "dsprites-antialiased": DSPRITES_ANTIALIASED}
# Twelve pictures of each, drawn in double precision; `python tests/scenes/test_twins.py` draws them again.
FRAMES = Path(__file__).with_name("frames.npz")


def images(scene, rows):
    """Pictures as whole numbers that can be subtracted."""
    ds = load_dataset(scene.name, image_size=SIZE, variant=scene.variant)
    return np.asarray(ds.images(rows)).astype(np.int32)


def random_rows(scene, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, n) for size in scene.factor_sizes], axis=1)


FACTORS = {  # in storage order
    MPI3D: {"object_color": 4, "object_shape": 4, "object_size": 2, "camera_height": 3, "background_color": 3,
            "horizontal_axis": 40, "vertical_axis": 40},
    MPI3D_TOY: {"object_color": 6, "object_shape": 6, "object_size": 2, "camera_height": 3, "background_color": 3,
                "horizontal_axis": 40, "vertical_axis": 40},
    FALCOR3D: {"lighting_intensity": 5, "lighting_x": 6, "lighting_y": 6, "lighting_z": 6, "camera_x": 6, "camera_y": 6,
               "camera_z": 6},
    ISAAC3D: {"object_shape": 3, "robot_x": 8, "robot_y": 5, "camera_height": 4, "object_scale": 4,
              "lighting_intensity": 4, "lighting_y_dir": 6, "object_color": 4, "wall_color": 4},
    DSPRITES: {"shape": 3, "scale": 6, "orientation": 40, "pos_x": 32, "pos_y": 32},
}  # fmt: skip
IMAGES = {MPI3D: 460_800, MPI3D_TOY: 1_036_800, FALCOR3D: 233_280, ISAAC3D: 737_280, DSPRITES: 737_280}


@pytest.mark.parametrize("scene", FACTORS, ids=lambda scene: f"{scene.name}{scene.variant}")
def test_factors_are_those_of_the_benchmark(scene):
    assert dict(zip(scene.factor_names, scene.factor_sizes, strict=True)) == FACTORS[scene]
    assert tuple(FACTORS[scene]) == scene.factor_names
    ds = load_dataset(scene.name, image_size=SIZE, variant=scene.variant)
    assert (ds.scene, len(ds)) == (scene, IMAGES[scene])
    assert set(scene.continuous) <= set(scene.factor_names)
    for values in scene.factors.values():
        assert len(set(values)) == len(values)


def test_variants_are_found_by_name():
    assert set(SCENES) == {"shapes3d", "mpi3d", "falcor3d", "isaac3d", "dsprites"}
    assert VARIANTS == {("mpi3d", "toy"): MPI3D_TOY, ("dsprites", "antialiased"): DSPRITES_ANTIALIASED}
    for name, variant, known in (("mpi3d", "real", "'toy'"), ("falcor3d", "toy", "none")):
        with pytest.raises(ValueError, match=f"variant of {name} must be one of {known}, or empty, got '{variant}'"):
            load_dataset(name, variant=variant)
    assert load_dataset("dsprites", variant="antialiased").identity() != load_dataset("dsprites").identity()


# Mean absolute difference between pictures of neighboring values, of 255, at 32×32: the least over the settings. Small
# is what covers few pixels; the bounds are about half of what was measured.
SETTINGS = {"mpi3d": 5, "falcor3d": 12, "isaac3d": 12}  # each about 500 pictures
CLEAR = {
    "mpi3d": (0.1, 0.2, 0.5, 3.0, 1.0, 0.02, 0.05),
    "falcor3d": (4.0, 0.4, 0.6, 1.0, 3.0, 1.2, 1.1),
    "isaac3d": (0.15, 0.8, 0.8, 8.0, 0.1, 8.0, 1.5, 0.05, 2.5),
}


@pytest.mark.parametrize("name", PAINTED)
def test_every_value_changes_the_picture_and_no_two_factors_in_the_same_way(name):
    seen = visibility(load_dataset(name, image_size=SIZE), settings=SETTINGS[name])
    for factor, least, wanted in zip(PAINTED[name].factor_names, seen.least, CLEAR[name], strict=True):
        assert least > wanted, factor
    np.testing.assert_allclose(np.diag(seen.overlap), 1, atol=1e-5)
    np.testing.assert_allclose(seen.overlap, seen.overlap.T, atol=1e-6)
    assert (seen.overlap - np.eye(len(seen.least))).max() < 0.8


def test_sprites_change_with_every_factor():
    """But a square looks the same a few degrees before and after a half turn."""
    seen = visibility(load_dataset("dsprites", image_size=64), settings=4)
    assert (seen.median > 0.5).all()
    assert (seen.least[[0, 1, 3, 4]] > 0.5).all()
    smooth = visibility(load_dataset("dsprites", image_size=64, variant="antialiased"), settings=4)
    assert (smooth.least > 0.2).all()
    assert (smooth.overlap - np.eye(5)).max() < 0.6


@pytest.mark.parametrize("name", FRAMED)
def test_pictures_are_those_of_double_precision(name):
    """Neither rounding nor another machine or release moves a pixel by more than 2 of 255."""
    scene = FRAMED[name]
    with np.load(FRAMES) as frames:
        double = frames[name].astype(np.int32)
    assert np.abs(images(scene, random_rows(scene, len(double), seed=1)) - double).max() <= 2


def in_double_precision(scene):
    """What the frames hold of one scene."""
    rows = random_rows(scene, 12, seed=1)
    with jax.enable_x64(True):
        table = [np.asarray(values)[rows[:, k]] for k, values in enumerate(scene.factors.values())]
        values = jnp.asarray(np.stack(table, axis=1), jnp.float64)
        return np.asarray(jax.jit(lambda v: scene.images_of(v, SIZE))(values))


def test_pictures_are_differentiable_and_finite_on_the_grid():
    scene = ISAAC3D  # the one with a joint and three solids; each painted part has a test of its own
    values = scene.values(jnp.asarray(random_rows(scene, 4, seed=2), jnp.int32))
    tangent = 0.01 * jnp.ones_like(values)
    quickly = {"xla_backend_optimization_level": 0}  # it runs once, on four small pictures
    along = jax.jit(lambda v: jax.jvp(lambda v: scene.render(v, 16), (v,), (tangent,))[1], compiler_options=quickly)
    slope = along(values)
    assert np.isfinite(slope).all()
    assert (np.abs(slope).max(axis=(1, 2, 3)) > 0).all()


def test_sprites_are_binary_unless_antialiased():
    rows = random_rows(DSPRITES, 64)
    assert set(np.unique(images(DSPRITES, rows))) == {0, 255}
    smooth = images(DSPRITES_ANTIALIASED, rows)
    assert len(np.unique(smooth)) > 100
    clear = np.abs(smooth - 0.501 * 255) > 1  # not on the threshold
    np.testing.assert_array_equal((images(DSPRITES, rows) == 255)[clear], (smooth > 0.501 * 255)[clear])
    assert (smooth[..., 0] == smooth[..., 1]).all()


def test_sprites_move_by_whole_pixels():
    """One step in position is a pixel at 64×64, so two steps are one at 32×32."""
    rows = [[0, 3, 5, x, 10] for x in (8, 10)] + [[0, 3, 5, 8, y] for y in (12, 14)]
    first, right, up, down = images(DSPRITES_ANTIALIASED, rows)
    np.testing.assert_allclose(np.roll(first, 1, axis=1), right, atol=1)
    np.testing.assert_allclose(np.roll(up, 1, axis=0), down, atol=1)


def test_areas_of_sprites():
    """Square, ellipse and heart of scale 1, against their formulas; half the scale is a quarter of the area."""
    area = images(DSPRITES_ANTIALIASED, [[shape, 5, 0, 15, 15] for shape in range(3)])[..., 0].sum((1, 2)) / 255
    unit = (SIZE / 2) ** 2
    wanted = np.array([0.56**2, np.pi * 0.225 * 0.4, 4 * 0.2**2 + np.pi * 0.2**2]) * unit
    np.testing.assert_allclose(area, wanted, rtol=0.03)
    half = images(DSPRITES_ANTIALIASED, [[shape, 0, 0, 15, 15] for shape in range(3)])[..., 0].sum((1, 2)) / 255
    np.testing.assert_allclose(half, wanted / 4, rtol=0.06)


def test_the_arm_reaches_every_hand():
    """The elbow is one link from the shoulder and one from the hand, for every value of robot_x and robot_y."""
    shoulder = jnp.array([ROBOT_X, ROBOT_Y, SHOULDER])
    slope = jax.jit(jax.jacfwd(lambda hand: elbow(shoulder, hand, UPPER_ARM, FOREARM)))
    for x in ISAAC3D.factors["robot_x"]:
        for y in ISAAC3D.factors["robot_y"]:
            hand = jnp.array([x, ROBOT_Y, y])
            bend = elbow(shoulder, hand, UPPER_ARM, FOREARM)
            assert float(jnp.linalg.norm(bend - shoulder)) == pytest.approx(UPPER_ARM, abs=2e-3)
            assert float(jnp.linalg.norm(bend - hand)) == pytest.approx(FOREARM, abs=2e-3)
            assert float(bend[1]) == pytest.approx(ROBOT_Y)
            assert np.isfinite(slope(hand)).all()


def test_colors_are_seen_where_they_belong():
    """Isaac3D: the wall takes the wall's color and the object its own; MPI3D: so does the object."""
    blue = images(ISAAC3D, [[0, 3, 2, 0, 3, 2, 2, 0, wall] for wall in range(4)])
    left_top = blue[:, 5, 2]
    assert (np.ptp(left_top, axis=0) > 60).any()
    assert left_top[0].argmax() == 1  # green
    objects = images(ISAAC3D, [[0, 3, 2, 0, 3, 2, 2, color, 0] for color in range(4)])
    changed = np.abs(objects[0] - objects[3]).sum(-1) > 100
    assert 8 < changed.sum() < 200
    red = images(MPI3D, [[3, 1, 1, 0, 0, 10, 20], [1, 1, 1, 0, 0, 10, 20]])
    changed = np.abs(red[0] - red[1]).sum(-1) > 100
    assert changed.sum() > 5
    assert red[0][changed].mean(0).argmax() == 0
    assert red[1][changed].mean(0).argmax() == 1


def test_shadows_of_the_living_room_move_with_the_lamp():
    """As the lamp goes to the right, what lies in shadow of the shelves on the back wall goes to the left."""
    pictures = images(FALCOR3D, [[4, x, 3, 4, 2, 2, 2] for x in range(6)]).sum(-1)
    wall = pictures[:, 6:14, 6:26].astype(float)
    dark = np.maximum(np.median(wall, axis=(1, 2), keepdims=True) - wall, 0)
    middle = (dark * np.arange(20)[None, None]).sum((1, 2)) / dark.sum((1, 2))
    assert middle[-1] < middle[0] - 0.1


def test_the_arm_swings_round_and_up():
    """MPI3D: the object goes from the right to the left with the horizontal axis, and up with the vertical one."""
    turned = images(MPI3D, [[3, 1, 1, 0, 0, k, 12] for k in (0, 13, 26, 39)])
    lifted = images(MPI3D, [[3, 1, 1, 0, 0, 0, k] for k in (0, 12, 24)])
    red = [np.clip(p[..., 0] - p[..., 1:].max(-1), 0, None).astype(float) for p in (turned, lifted)]
    across = [(r * np.arange(SIZE)[None]).sum() / r.sum() for r in red[0]]
    down = [(r * np.arange(SIZE)[:, None]).sum() / r.sum() for r in red[1]]
    assert (np.diff(across) < -1).all()
    assert (np.diff(down) < -0.5).all()


if __name__ == "__main__":
    np.savez_compressed(FRAMES, **{name: in_double_precision(scene) for name, scene in FRAMED.items()})
