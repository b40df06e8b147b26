"""The Falcor3D twin: a living room, one lamp as far away as the sun, and a camera that moves on a grid.

The composition, the factors and what each of them does follow the published sample frames: three factors move the lamp,
three move the camera, one dims the lamp. Of the original's path tracing there are hard shadows on floor, rug and wall,
and light that the lamp does not reach is the same everywhere.

Source: Nie et al., Semi-Supervised StyleGAN for Disentanglement Learning (ICML 2020), which published Falcor3D.
"""

import itertools
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import Camera, Patches, each, join, look_at, patch, pictures
from tripod_lite.scenes.scene import Scene, evenly
from tripod_lite.scenes.solids import (
    Light,
    Plane,
    box,
    disc,
    face,
    frustum,
    frustum_shadow,
    furniture,
    furniture_shadow,
    lit_through,
    outline,
    tube,
    turned,
)

# Meters; x to the right along the back wall y = 0, z up. The camera stands at negative y.
LEFT, RIGHT, FRONT, HEIGHT = -2.75, 4.2, -7.0, 2.75
FOCAL = 1.9
AMBIENT = 0.28

WALL, CEILING, SOFA, SEAT, WHITE, SHELF = (
    (0.62, 0.62, 0.62), (0.9, 0.9, 0.9), (0.6, 0.6, 0.6), (0.72, 0.72, 0.72), (0.8, 0.8, 0.8), (0.45, 0.45, 0.45)
)  # fmt: skip
BLACK, RED, DARK_RED, PINK = (0.07, 0.07, 0.07), (0.62, 0.17, 0.16), (0.36, 0.03, 0.04), (0.85, 0.5, 0.53)
BOARDS = ((0.72, 0.5, 0.25), (0.6, 0.4, 0.18), (0.66, 0.45, 0.21))

# Boxes by their ranges in x, y, z, and color; in groups, each from the back to the front.
_ON_WALL = (-0.2, 0.0)
_SHELVES = [
    # Frames of boards: left, right, low, high.
    *[
        ((x, x + w), _ON_WALL, (z, z + h), SHELF)
        for left, right, low, high in (
            (-2.05, -1.8, 1.25, 2.0), (-1.7, -0.95, 1.27, 1.63), (-1.35, -0.35, 1.7, 2.12), (0.05, 0.3, 1.3, 2.15)
        )
        for x, z, w, h in (
            (left, low, 0.06, high - low), (right - 0.06, low, 0.06, high - low),
            (left, low, right - left, 0.06), (left, high - 0.06, right - left, 0.06),
        )
    ],
    ((-1.8, -1.55), _ON_WALL, (1.78, 2.0), SHELF),
    ((-0.25, 0.05), _ON_WALL, (1.3, 1.5), SHELF),
]  # fmt: skip
_ORNAMENTS = [
    ((x, x + 0.12), (-0.14, -0.06), (z, z + h), color)
    for x, z, h, color in (
        (-1.98, 1.31, 0.28, BLACK), (-1.55, 1.33, 0.2, RED), (-1.55, 2.0, 0.2, RED), (-1.1, 1.63, 0.2, RED),
        (-0.7, 1.76, 0.24, RED), (0.12, 1.36, 0.3, RED),
    )
]  # fmt: skip
_SOFA = [
    ((-2.25, 0.55), (-0.95, -0.1), (0.12, 0.4), SOFA),
    ((-2.05, -0.87), (-0.42, -0.08), (0.4, 0.96), SEAT),
    ((-0.83, 0.35), (-0.42, -0.08), (0.4, 0.98), SEAT),
    ((-2.25, -2.03), (-0.95, -0.1), (0.12, 0.68), SOFA),
    ((-2.03, -0.87), (-0.98, -0.35), (0.4, 0.53), SEAT),
    ((-0.83, 0.33), (-0.98, -0.35), (0.4, 0.53), SEAT),
    ((0.33, 0.55), (-0.95, -0.1), (0.12, 0.68), SOFA),
]
_SIDE_TABLES = [
    ((0.85, 0.92), (-0.75, -0.68), (0.0, 0.52), WHITE),
    ((1.65, 1.72), (-0.75, -0.68), (0.0, 0.52), WHITE),
    ((0.8, 1.75), (-0.78, -0.15), (0.52, 0.6), WHITE),
    ((1.1, 1.16), (-1.25, -1.19), (0.0, 0.38), WHITE),
    ((1.7, 1.76), (-1.25, -1.19), (0.0, 0.38), WHITE),
    ((1.06, 1.8), (-1.3, -0.85), (0.38, 0.45), WHITE),
]
_COFFEE_TABLE = [
    *[
        ((x, x + 0.07), (y, y + 0.07), (0.0, 0.2), BLACK)
        for x, y in ((-1.85, -1.75), (-0.52, -1.75), (-1.85, -2.65), (-0.52, -2.65))
    ],
    ((-1.9, -0.42), (-2.7, -1.65), (0.2, 0.42), WHITE),
]


def _room(camera: Camera, light: Light, dtype: jnp.dtype) -> Patches:
    """Ceiling, walls, floor and rug, without shadows."""
    color = jnp.asarray([CEILING, WALL, WALL, *(BOARDS[k % 3] for k in range(16)), RED], dtype)
    x, low = np.linspace(-0.4, 3.4, 17), 0.0
    rooms = [
        ((LEFT, FRONT, HEIGHT), (RIGHT, FRONT, HEIGHT), (RIGHT, 0, HEIGHT), (LEFT, 0, HEIGHT)),
        ((LEFT, FRONT, 0), (LEFT, 0, 0), (LEFT, 0, HEIGHT), (LEFT, FRONT, HEIGHT)),
        ((LEFT, 0, 0), (RIGHT, 0, 0), (RIGHT, 0, HEIGHT), (LEFT, 0, HEIGHT)),
    ]
    x[0], x[-1] = LEFT, RIGHT
    rooms += [((a, FRONT, low), (b, FRONT, low), (b, 0, low), (a, 0, low)) for a, b in itertools.pairwise(x)]
    rooms += [((LEFT, -4.6, 0), (0.35, -4.6, 0), (0.35, -1.05, 0), (LEFT, -1.05, 0))]
    corners = jnp.asarray(rooms, dtype)
    normals = jnp.asarray([(0, 0, -1), (1, 0, 0), (0, -1, 0), *[(0, 0, 1)] * 17], dtype)
    # Walls and ceiling fade to the left and upward.
    fade = jnp.asarray([(0.08, -0.1)] * 3 + [(0.0, 0.0)] * 17, dtype)
    opens = jnp.asarray([1.0] + [0.0] * 18 + [1.0], dtype)  # the room tiles the picture, the rug lies on it

    def one(corners: Array, color: Array, normal: Array, fade: Array, opens: Array) -> Patches:
        brightness = light.on(normal)
        slopes = jnp.stack([brightness, brightness * fade[0], brightness * fade[1], 0 * brightness])
        return patch(outline(camera, corners), color, slopes, opens=opens)

    return each(one, corners, color, normals, fade, opens)


def _cushions(camera: Camera, light: Light, dtype: jnp.dtype) -> Patches:
    """Pillows: slanted boxes against the back and the arms of the sofa."""
    pink = jnp.asarray(PINK, dtype)
    half = jnp.asarray((0.22, 0.08, 0.22), dtype)
    tilt = jnp.asarray([[1, 0, 0], [0, 0.9, 0.436], [0, -0.436, 0.9]], dtype)

    def one(center: Array, yaw: Array) -> Patches:
        return box(camera, light, center, half, pink, tilt @ turned(yaw))

    places = jnp.asarray([(-1.98, -0.55, 0.74), (-1.62, -0.62, 0.72), (0.2, -0.62, 0.74)], dtype)
    return each(one, places, jnp.asarray([0.5, -0.15, -1.1], dtype))


def _vases(camera: Camera, light: Light, rows: list, dtype: jnp.dtype) -> Patches:
    """Round things: x, y, z, height, radii below, in the middle and above, color."""
    table = jnp.asarray([(*row[:7], *row[7]) for row in rows], dtype)

    def one(row: Array) -> Patches:
        foot, up = row[:3], jnp.asarray([0, 0, 1], dtype) * row[3]
        middle, top = foot + 0.55 * up, foot + up
        return join(
            frustum(camera, light, foot, middle, row[4], row[5], row[7:]),
            frustum(camera, light, middle, top, row[5], row[6], row[7:]),
        )

    return each(one, table)


_ON_SIDE_TABLES = [
    (1.28, -0.5, 0.6, 0.36, 0.09, 0.1, 0.08, BLACK),
    (1.3, -1.05, 0.45, 0.1, 0.06, 0.1, 0.11, DARK_RED),
    (1.2, -0.7, 0.6, 0.05, 0.12, 0.19, 0.1, RED),
]
_ON_COFFEE_TABLE = [
    (-1.35, -2.0, 0.42, 0.3, 0.08, 0.13, 0.06, DARK_RED),
    (-1.12, -2.05, 0.42, 0.2, 0.06, 0.06, 0.06, BLACK),
    (-1.5, -2.3, 0.42, 0.1, 0.05, 0.08, 0.08, DARK_RED),
]
_TWIGS = [
    ((1.28, -0.5, 0.9), tip) for tip in ((1.25, -0.45, 1.75), (0.75, -0.5, 1.45), (1.75, -0.5, 1.5), (1.45, -0.4, 1.8))
]


def _patches(values: Float[Array, "7"]) -> Patches:
    dtype = values.dtype
    intensity, x, y, z, *place = values  # lighting_* and camera_*
    light = Light(jnp.stack([x, -z, y]) / 1.6, jnp.full_like(x, AMBIENT), intensity)  # walls get z, floors y, sides x
    eye = jnp.stack([place[0], place[2], place[1]])
    target = jnp.stack([eye[0] * 0.6 - 1.05, 0 * x, 0.9 + 0 * x])
    camera = look_at(eye, target, FOCAL)
    up, front = jnp.asarray((0, 0, 1), dtype), jnp.asarray((0, -1, 0), dtype)
    floor, wall = Plane(up, 0 * x), Plane(front, 0 * x)

    boxes, shadows = partial(furniture, camera, light), partial(furniture_shadow, camera, light)
    floor_corners = jnp.asarray([(LEFT, FRONT, 0), (RIGHT, FRONT, 0), (RIGHT, 0, 0), (LEFT, 0, 0)], dtype)
    wall_corners = jnp.asarray([(LEFT, 0, 0), (RIGHT, 0, 0), (RIGHT, 0, HEIGHT), (LEFT, 0, HEIGHT)], dtype)
    vase = frustum_shadow(
        camera,
        light,
        wall,
        jnp.asarray((1.28, -0.5, 0.6), dtype),
        jnp.asarray((1.28, -0.5, 0.96), dtype),
        0.1 + 0 * x,
        0.1 + 0 * x,
    )
    twigs = jnp.asarray(_TWIGS, dtype)
    poster = [((2.0, -0.001, 1.2), (2.9, -0.001, 1.2), (2.9, -0.001, 2.2), (2.0, -0.001, 2.2))]
    spots = jnp.asarray([(2.25, -0.01, 1.95), (2.6, -0.01, 1.7), (2.2, -0.01, 1.45)], dtype)
    return join(
        _room(camera, light, dtype),
        shadows(floor, _SOFA + _SIDE_TABLES + _COFFEE_TABLE),
        lit_through(camera, light, floor_corners, up),
        face(camera, jnp.asarray(poster[0], dtype), jnp.asarray(WHITE, dtype), light.on(front)),
        each(lambda c: disc(camera, c, front, 0.2 + 0 * x, jnp.asarray(DARK_RED, dtype), light.on(front)), spots),
        shadows(wall, _SHELVES + _SOFA[1:3] + _SIDE_TABLES[:3]),
        vase,
        lit_through(camera, light, wall_corners, front),
        boxes(_SHELVES[::-1] + _ORNAMENTS),
        boxes(_SOFA[:6]),
        _cushions(camera, light, dtype),
        boxes(_SOFA[6:]),
        boxes(_SIDE_TABLES[:3]),
        each(lambda t: tube(camera, light, t[0], t[1], 0.02 + 0 * x, 0.01 + 0 * x, jnp.asarray(BLACK, dtype)), twigs),
        _vases(camera, light, _ON_SIDE_TABLES, dtype),
        boxes(_SIDE_TABLES[3:]),
        boxes(_COFFEE_TABLE),
        _vases(camera, light, _ON_COFFEE_TABLE, dtype),
    )


FALCOR3D = Scene(
    name="falcor3d",
    factors={
        "lighting_intensity": evenly(0.35, 1.75, 5),
        "lighting_x": evenly(-1.0, 0.8, 6),  # toward the lamp: to the right,
        "lighting_y": evenly(2.0, 0.5, 6),  # up,
        "lighting_z": evenly(0.15, 1.4, 6),  # and away from the back wall
        "camera_x": evenly(0.5, 1.7, 6),  # meters: to the right,
        "camera_y": evenly(1.0, 2.2, 6),  # up,
        "camera_z": evenly(-5.6, -4.1, 6),  # and toward the back wall
    },
    draw=partial(pictures, _patches),
    continuous=tuple(f"lighting_{k}" for k in ("intensity", "x", "y", "z")) + tuple(f"camera_{k}" for k in "xyz"),
)
