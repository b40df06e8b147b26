"""The Isaac3D twin: a robot in a kitchen, whose arm holds an object up.

The composition, the factors and what each of them does follow the published sample frames. The gripper goes where
robot_x and robot_y say, in a plane that faces the camera, and the two links of the arm follow by inverse kinematics.
The lamp's direction moves its glare down the fridge, and the shadows of arm, object and cupboards on the wall.

Source: Nie et al., Semi-Supervised StyleGAN for Disentanglement Learning (ICML 2020), which published Isaac3D.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import Camera, Patches, Vector, each, join, look_at, paint, receive, unit
from tripod_lite.scenes.scene import Scene
from tripod_lite.scenes.solids import (
    Light,
    Plane,
    box,
    box_shadow,
    disc,
    face,
    frustum,
    frustum_shadow,
    outline,
    polyhedron,
    polyhedron_shadow,
    prism,
    sphere,
    sphere_shadow,
    tube,
)

SIDE_BY_SIDE = 8  # pictures

# Meters; x to the right along the back wall y = 0, z up. The camera stands at y = -4.9.
LEFT, RIGHT, FRONT, HEIGHT = -4.5, 4.5, -6.0, 3.5
DISTANCE, FOCAL = 4.9, 1.75
ROBOT_X, ROBOT_Y, SHOULDER = -0.05, -2.4, 0.78
UPPER_ARM, FOREARM = 0.85, 0.85

FLOOR, CEILING, CUPBOARD, DISHWASHER, WOOD = (
    (0.62, 0.6, 0.53), (0.85, 0.85, 0.83), (0.78, 0.77, 0.73), (0.92, 0.92, 0.92), (0.34, 0.22, 0.1)
)  # fmt: skip
STEEL, DARK, WHITE, RUST, DARK_RUST = (
    (0.4, 0.41, 0.43), (0.2, 0.2, 0.21), (0.95, 0.95, 0.95), (0.6, 0.24, 0.12), (0.42, 0.15, 0.08)
)  # fmt: skip
WALL_COLORS = ((0.36, 0.78, 0.2), (0.62, 0.7, 0.58), (0.8, 0.72, 0.8), (0.78, 0.46, 0.82))
OBJECT_COLORS = ((0.14, 0.03, 0.8), (0.34, 0.24, 0.8), (0.58, 0.58, 0.85), (0.9, 0.88, 0.8))

# Boxes by their ranges in x, y, z, and color; in groups, each from the back to the front.
Boxes = list[tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float, float]]]
_HUNG: Boxes = [
    ((-1.5, -0.25), (-0.12, 0.0), (1.8, 2.95), CUPBOARD),
    ((1.35, 2.1), (-0.38, 0.0), (1.8, 2.95), CUPBOARD),
    ((2.13, 3.4), (-0.38, 0.0), (1.8, 2.95), CUPBOARD),
]
_COUNTER: Boxes = [
    ((-1.3, 4.5), (-0.6, 0.0), (0.0, 0.84), CUPBOARD),
    ((-1.35, 4.5), (-0.66, 0.0), (0.84, 0.92), WOOD),
    ((1.05, 1.75), (-0.63, -0.6), (0.04, 0.82), DISHWASHER),
]
_FRIDGE: Boxes = [((-2.75, -1.35), (-1.0, 0.0), (0.02, 2.05), STEEL)]
_BASE: Boxes = [
    ((ROBOT_X - 0.22, ROBOT_X + 0.22), (ROBOT_Y - 0.25, ROBOT_Y + 0.25), (0.06, 0.52), RUST),
    ((ROBOT_X - 0.26, ROBOT_X + 0.26), (ROBOT_Y - 0.28, ROBOT_Y + 0.28), (0.52, 0.62), RUST),
    ((ROBOT_X - 0.13, ROBOT_X + 0.13), (ROBOT_Y - 0.3, ROBOT_Y - 0.25), (0.0, 0.2), DARK_RUST),
]
# Lines between doors and handles, as flat boxes in front of the doors.
_TRIM: Boxes = [((x, x + 0.02), (-0.605, -0.6), (0.02, 0.82), DARK) for x in (-0.62, 0.0, 0.55, 1.9, 2.6)]
_TRIM += [((-0.87, -0.86), (-0.125, -0.12), (1.8, 2.95), DARK), ((-1.95, -1.93), (-1.005, -1.0), (0.05, 2.03), DARK)]


def _columns(boxes: Boxes, dtype: jnp.dtype) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"], Float[Array, "n 3"]]:
    """Centers, half edges and colors."""
    ranges = np.array([ranges for *ranges, _ in boxes])
    colors = np.array([color for *_, color in boxes])
    return tuple(jnp.asarray(a, dtype) for a in (ranges.mean(2), np.ptp(ranges, axis=2) / 2, colors))


def _blend(table: tuple[tuple[float, ...], ...], place: Array) -> Vector:
    """A row of the table, or what lies between two."""
    rows = jnp.asarray(table, place.dtype)
    weights = jnp.maximum(1.0 - jnp.abs(place - jnp.arange(len(table), dtype=place.dtype)), 0.0)
    return weights @ rows


def elbow(shoulder: Vector, hand: Vector, upper: float, fore: float) -> Vector:
    """Where the elbow of a two-link arm is, by the law of cosines: of the two places in the plane, the outer one.

    Args:
        shoulder: in the plane y = constant of the arm.
        hand: in the same plane, no farther away than the links reach.
        upper: length of the link from the shoulder.
        fore: length of the link to the hand.
    """
    reach = hand - shoulder
    distance = jnp.sqrt(jnp.sum(reach**2))
    along = (distance**2 + upper**2 - fore**2) / (2 * distance)
    across = jnp.sqrt(jnp.maximum(upper**2 - along**2, 1e-6))
    normal = jnp.stack([reach[2], 0 * reach[1], -reach[0]]) / distance
    return shoulder + along * reach / distance + across * normal


def _patches(values: Float[Array, "9"]) -> Patches:
    dtype = values.dtype
    shape, x, y, height, scale, intensity, lamp, object_color, wall_color = values
    zero, one = jnp.zeros_like(x), jnp.ones_like(x)
    up, front = jnp.asarray((0, 0, 1), dtype), jnp.asarray((0, -1, 0), dtype)
    camera = look_at(jnp.stack([zero, zero - DISTANCE, height]), jnp.stack([zero, zero, 0.8 * height + 0.3]), FOCAL)
    light = Light(unit(jnp.stack([zero - 0.45, zero - 1.0, lamp])), 0.3 + 0.25 * intensity, 0.75 * intensity)
    wall, floor = Plane(front, zero), Plane(up, zero)

    def at(*point: float) -> Vector:
        return jnp.asarray(point, dtype)

    def boxes(rows: Boxes) -> Patches:
        return each(lambda *box_of: box(camera, light, *box_of), *_columns(rows, dtype))

    def shadows(plane: Plane, rows: Boxes) -> Patches:
        return each(lambda center, half: box_shadow(camera, light, plane, center, half), *_columns(rows, dtype)[:2])

    def received(corners: list[tuple[float, float, float]], normal: Vector) -> Patches:
        direct = light.direct * jnp.maximum(jnp.dot(normal, light.toward), 0.0)
        return receive(outline(camera, jnp.asarray(corners, dtype)), direct / (light.ambient + direct))

    wall_corners = [(LEFT, 0, 0), (RIGHT, 0, 0), (RIGHT, 0, HEIGHT), (LEFT, 0, HEIGHT)]
    floor_corners = [(LEFT, FRONT, 0), (RIGHT, FRONT, 0), (RIGHT, 0, 0), (LEFT, 0, 0)]
    ceiling_corners = [(LEFT, FRONT, HEIGHT), (RIGHT, FRONT, HEIGHT), (RIGHT, 0, HEIGHT), (LEFT, 0, HEIGHT)]
    room = join(
        face(camera, jnp.asarray(ceiling_corners, dtype), at(*CEILING), light.on(-up)),
        face(camera, jnp.asarray(wall_corners, dtype), _blend(WALL_COLORS, wall_color), light.on(front)),
        face(camera, jnp.asarray(floor_corners, dtype), at(*FLOOR), light.on(up)),
    )
    # One solid tiles what is seen of the room.
    room = room._replace(opens=jnp.asarray([1, 0, 0], dtype))

    shoulder, hand = at(ROBOT_X, ROBOT_Y, SHOULDER), jnp.stack([x, zero + ROBOT_Y, y])
    bend = elbow(shoulder, hand, UPPER_ARM, FOREARM)
    rust = at(*RUST)
    links = [(at(ROBOT_X, ROBOT_Y, 0.6), shoulder, 0.13), (shoulder, bend, 0.085), (bend, hand, 0.07)]
    arm = [tube(camera, light, start, end, zero + r, zero + 0.9 * r, rust) for start, end, r in links]
    joints = [sphere(camera, light, place, zero + r, at(*DARK_RUST)) for place, r in ((shoulder, 0.13), (bend, 0.11))]
    reach = unit(hand - bend)
    gripper = tube(camera, light, hand - 0.12 * reach, hand, zero + 0.1, zero + 0.1, at(*DARK_RUST))

    # The object looks along the forearm; its middle is just beyond the gripper.
    color, middle = _blend(OBJECT_COLORS, object_color), hand + 0.7 * scale * reach
    across, deep = jnp.stack([reach[2], zero, -reach[0]]), at(0.25, 1.0, 0.15)
    axes = jnp.stack([reach, unit(across + 0.2 * deep), unit(jnp.cross(reach, across + 0.2 * deep))])
    half = scale * jnp.ones(3, dtype)
    pyramid = prism(4, middle - 0.9 * scale * reach, 2.0 * scale * reach, 1.4 * scale, 0.0)
    solids = [
        (box(camera, light, middle, half, color, axes), [box_shadow(camera, light, wall, middle, half, axes)]),
        (polyhedron(camera, light, pyramid, color), [polyhedron_shadow(camera, light, wall, pyramid)]),
        (sphere(camera, light, middle, 1.15 * scale, color), [sphere_shadow(camera, light, wall, middle, 1.15 * scale)]),
    ]
    held, shaded = [], []
    for k, (solid, shade) in enumerate(solids):
        weight = jnp.maximum(1.0 - jnp.abs(shape - k), 0.0)
        held.append(solid._replace(opacity=solid.opacity * weight))
        shaded += [part._replace(casts=part.casts * weight) for part in shade]

    wheels = [
        frustum(camera, light, at(ROBOT_X + s * 0.3, ROBOT_Y, 0.2), at(ROBOT_X + s * 0.4, ROBOT_Y, 0.2), zero + 0.22,
                zero + 0.22, at(*DARK_RUST), rust, rust)
        for s in (-1, 1)
    ]  # fmt: skip
    sink = [(0.15, -0.5, 0.925), (0.95, -0.5, 0.925), (0.95, -0.15, 0.925), (0.15, -0.15, 0.925)]
    glare_height = 0.35 + 0.75 * lamp
    return join(
        room,
        *(frustum_shadow(camera, light, wall, start, end, zero + r, zero + 0.9 * r) for start, end, r in links[1:]),
        *shaded,
        shadows(wall, _HUNG),
        received(wall_corners, front),
        shadows(floor, _FRIDGE + _BASE[:1]),
        received(floor_corners, up),
        boxes(_HUNG),
        disc(camera, at(0.6, -0.01, 2.62), front, zero + 0.25, at(*DARK), light.on(front)),
        disc(camera, at(0.6, -0.02, 2.62), front, zero + 0.21, at(*WHITE), light.on(front)),
        boxes(_FRIDGE),
        disc(camera, jnp.stack([zero - 1.65, zero - 1.01, glare_height]), front, zero + 0.22, at(*WHITE), one, 0.55 * intensity),
        boxes(_COUNTER),
        face(camera, jnp.asarray(sink, dtype), at(*STEEL), light.on(up)),
        tube(camera, light, at(0.55, -0.1, 0.92), at(0.55, -0.1, 1.25), zero + 0.03, zero + 0.03, at(*DARK)),
        boxes(_TRIM),
        *wheels,
        boxes(_BASE),
        arm[0],
        arm[1],
        joints[0],
        arm[2],
        joints[1],
        *held,
        gripper,
    )


def _draw(values: Float[Array, "n 9"], image_size: int) -> Float[Array, "n h w 3"]:
    images = jax.lax.map(lambda row: paint(_patches(row), image_size), values, batch_size=SIDE_BY_SIDE)
    return jnp.moveaxis(images, 1, 3)


def _steps(first: float, last: float, n: int) -> tuple[float, ...]:
    return tuple(np.linspace(first, last, n).tolist())


ISAAC3D = Scene(
    name="isaac3d",
    factors={
        "object_shape": (0.0, 1.0, 2.0),  # cube, pyramid, sphere
        "robot_x": _steps(-0.75, 0.6, 8),  # meters: of the hand, to the right
        "robot_y": _steps(1.45, 2.05, 5),  # and up
        "camera_height": _steps(1.2, 2.4, 4),
        "object_scale": _steps(0.11, 0.23, 4),  # half edge of the cube
        "lighting_intensity": _steps(0.5, 1.1, 4),
        "lighting_y_dir": _steps(0.2, 1.8, 6),  # height of the lamp for each meter in front of the wall
        "object_color": (0.0, 1.0, 2.0, 3.0),  # blue, violet, lavender, ivory
        "wall_color": (0.0, 1.0, 2.0, 3.0),  # green, gray, pink, purple
    },
    draw=_draw,
    continuous=(
        "robot_x", "robot_y", "camera_height", "object_scale", "lighting_intensity", "lighting_y_dir", "object_color",
        "wall_color",
    ),
)  # fmt: skip
