"""The Isaac3D twin: a robot in a kitchen, whose arm holds an object up.

The composition, the factors and what each of them does follow the published sample frames. The gripper goes where
robot_x and robot_y say, in a plane that faces the camera, and the two links of the arm follow by inverse kinematics.
The lamp's direction moves its glare up the fridge, and the shadows of arm, object and cupboards down the wall.

Source: Nie et al., Semi-Supervised StyleGAN for Disentanglement Learning (ICML 2020), which published Isaac3D.
"""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import Camera, Patches, Scalar, Vector, join, look_at, pictures, unit
from tripod_lite.scenes.scene import Scene, evenly
from tripod_lite.scenes.solids import (
    Furniture,
    Light,
    Plane,
    blend,
    box,
    box_shadow,
    disc,
    face,
    frustum,
    frustum_shadow,
    furniture,
    furniture_shadow,
    lit_through,
    polyhedron,
    polyhedron_shadow,
    prism,
    sphere,
    sphere_shadow,
    tube,
)

# Meters; x to the right along the back wall y = 0, z up. The camera stands at y = -4.9.
LEFT, RIGHT, FRONT, BACK, HEIGHT = -4.5, 4.5, -6.0, 0.0, 3.8
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
_HUNG: Furniture = [
    ((-1.5, -0.25), (-0.12, 0.0), (1.8, 2.95), CUPBOARD),
    ((1.35, 2.1), (-0.38, 0.0), (1.8, 2.95), CUPBOARD),
    ((2.13, 3.4), (-0.38, 0.0), (1.8, 2.95), CUPBOARD),
]
_COUNTER: Furniture = [
    ((-1.3, 4.5), (-0.6, 0.0), (0.0, 0.84), CUPBOARD),
    ((-1.35, 4.5), (-0.66, 0.0), (0.84, 0.92), WOOD),
    ((1.05, 1.75), (-0.63, -0.6), (0.04, 0.82), DISHWASHER),
]
_FRIDGE: Furniture = [((-2.75, -1.35), (-1.0, 0.0), (0.02, 2.05), STEEL)]
_BASE: Furniture = [
    ((ROBOT_X - 0.22, ROBOT_X + 0.22), (ROBOT_Y - 0.25, ROBOT_Y + 0.25), (0.06, 0.52), RUST),
    ((ROBOT_X - 0.26, ROBOT_X + 0.26), (ROBOT_Y - 0.28, ROBOT_Y + 0.28), (0.52, 0.62), RUST),
    ((ROBOT_X - 0.13, ROBOT_X + 0.13), (ROBOT_Y - 0.3, ROBOT_Y - 0.25), (0.0, 0.2), DARK_RUST),
]
# Lines between doors and handles, as flat boxes in front of the doors.
_TRIM: Furniture = [((x, x + 0.02), (-0.605, -0.6), (0.02, 0.82), DARK) for x in (-0.62, 0.0, 0.55, 1.9, 2.6)]
_TRIM += [((-0.87, -0.86), (-0.125, -0.12), (1.8, 2.95), DARK), ((-1.95, -1.93), (-1.005, -1.0), (0.05, 2.03), DARK)]


def elbow(shoulder: Vector, hand: Vector, upper: float, fore: float) -> Vector:
    """Where the elbow of a two-link arm is, by the law of cosines: of two places the one on the right.

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


def _room(camera: Camera, light: Light, wall_color: Vector, glare: Vector, shine: Scalar, casts: Patches) -> Patches:
    """The kitchen, with the shadows of its furniture and those given."""
    dtype, zero = wall_color.dtype, jnp.zeros_like(shine)
    up, front = jnp.asarray((0, 0, 1), dtype), jnp.asarray((0, -1, 0), dtype)
    boxes, shadows = partial(furniture, camera, light), partial(furniture_shadow, camera, light)

    def at(*point: float | tuple[float, ...]) -> Array:
        return jnp.asarray(point, dtype)

    low, high = ((LEFT, FRONT), (RIGHT, FRONT), (RIGHT, BACK), (LEFT, BACK)), ((LEFT, BACK), (RIGHT, BACK))
    ceiling, floor = at(*((x, y, HEIGHT) for x, y in low)), at(*((x, y, 0.0) for x, y in low))
    wall = at(*((x, y, 0.0) for x, y in high), *((x, y, HEIGHT) for x, y in high[::-1]))
    surfaces = join(
        face(camera, ceiling, at(*CEILING), light.on(-up)),
        face(camera, wall, wall_color, light.on(front)),
        face(camera, floor, at(*FLOOR), light.on(up)),
    )
    clock = [
        disc(camera, at(0.6, y, 2.62), front, zero + radius, at(*color), light.on(front))
        for y, radius, color in ((-0.01, 0.25, DARK), (-0.02, 0.21, WHITE))
    ]
    sink = at((0.15, -0.5, 0.925), (0.95, -0.5, 0.925), (0.95, -0.15, 0.925), (0.15, -0.15, 0.925))
    return join(
        surfaces._replace(opens=at(1.0, 0.0, 0.0)),  # they tile the picture
        casts,
        shadows(Plane(front, zero), _HUNG),
        lit_through(camera, light, wall, front),
        shadows(Plane(up, zero), _FRIDGE + _BASE[:1]),
        lit_through(camera, light, floor, up),
        boxes(_HUNG),
        *clock,
        boxes(_FRIDGE),
        disc(camera, glare, front, zero + 0.22, at(*WHITE), zero + 1, 0.55 * shine),
        boxes(_COUNTER),
        face(camera, sink, at(*STEEL), light.on(up)),
        tube(camera, light, at(0.55, -0.1, 0.92), at(0.55, -0.1, 1.25), zero + 0.03, zero + 0.03, at(*DARK)),
        boxes(_TRIM),
    )


def _robot(camera: Camera, light: Light, wall: Plane, hand: Vector) -> tuple[Patches, Patches, Vector]:
    """The robot, the shadow of its arm on the wall, and the unit vector along its forearm."""
    dtype, zero = hand.dtype, jnp.zeros_like(hand[0])
    rust, joint = jnp.asarray(RUST, dtype), jnp.asarray(DARK_RUST, dtype)
    base, shoulder = (jnp.asarray((ROBOT_X, ROBOT_Y, z), dtype) for z in (0.6, SHOULDER))
    bend = elbow(shoulder, hand, UPPER_ARM, FOREARM)
    reach = unit(hand - bend)
    neck, upper, fore = (
        (start, end, zero + radius, zero + 0.9 * radius)
        for start, end, radius in ((base, shoulder, 0.13), (shoulder, bend, 0.085), (bend, hand, 0.07))
    )
    hubs = jnp.asarray([[(ROBOT_X + side * x, ROBOT_Y, 0.2) for x in (0.3, 0.4)] for side in (-1, 1)], dtype)
    wheels = [
        frustum(camera, light, inner, outer, zero + 0.22, zero + 0.22, joint, rust, rust) for inner, outer in hubs
    ]
    seen = join(
        *wheels,
        furniture(camera, light, _BASE),
        tube(camera, light, *neck, rust),
        tube(camera, light, *upper, rust),
        sphere(camera, light, shoulder, zero + 0.13, joint),
        tube(camera, light, *fore, rust),
        sphere(camera, light, bend, zero + 0.11, joint),
        tube(camera, light, hand - 0.12 * reach, hand, zero + 0.1, zero + 0.1, joint),
    )
    shadows = [frustum_shadow(camera, light, wall, *link) for link in (upper, fore)]
    return seen, join(*shadows), reach


def _held(
    camera: Camera,
    light: Light,
    wall: Plane,
    shape: Scalar,
    middle: Vector,
    reach: Vector,
    scale: Scalar,
    color: Vector,
) -> tuple[Patches, Patches]:
    """The object and its shadow on the wall: cube 0, pyramid 1, sphere 2; between them both, each in part."""
    # Of the cube one axis follows the forearm; it is turned about that a little, so that three faces are seen.
    aside = jnp.stack([reach[2], 0 * reach[1], -reach[0]])
    aside = unit(aside + jnp.asarray((0.05, 0.2, 0.03), aside.dtype))
    axes = jnp.stack([reach, aside, unit(jnp.cross(reach, aside))])
    half, radius = scale * jnp.ones_like(middle), 1.15 * scale
    pyramid = prism(4, middle - 0.9 * scale * reach, 2.0 * scale * reach, aside, 1.4 * scale, 0.0)
    solids = (
        (box(camera, light, middle, half, color, axes), box_shadow(camera, light, wall, middle, half, axes)),
        (polyhedron(camera, light, pyramid, color), polyhedron_shadow(camera, light, wall, pyramid)),
        (sphere(camera, light, middle, radius, color), sphere_shadow(camera, light, wall, middle, radius)),
    )
    weights = [jnp.maximum(1.0 - jnp.abs(shape - k), 0.0) for k in range(3)]
    seen = [solid._replace(opacity=w * solid.opacity) for w, (solid, _) in zip(weights, solids, strict=True)]
    shadows = [shadow._replace(casts=w * shadow.casts) for w, (_, shadow) in zip(weights, solids, strict=True)]
    return join(*seen), join(*shadows)


def _patches(values: Float[Array, "9"]) -> Patches:
    shape, x, y, height, scale, intensity, lamp, object_color, wall_color = values
    dtype, zero = values.dtype, jnp.zeros_like(x)
    camera = look_at(jnp.stack([zero, zero - DISTANCE, height]), jnp.stack([zero, zero, 0.8 * height + 0.3]), FOCAL)
    light = Light(unit(jnp.stack([zero - 0.45, zero - 1.0, lamp])), 0.3 + 0.25 * intensity, 0.75 * intensity)
    wall = Plane(jnp.asarray((0, -1, 0), dtype), zero)
    hand = jnp.stack([x, zero + ROBOT_Y, y])
    robot, arm_shadow, reach = _robot(camera, light, wall, hand)
    color, middle = blend(OBJECT_COLORS, object_color), hand + 0.7 * scale * reach
    held, shadow = _held(camera, light, wall, shape, middle, reach, scale, color)
    glare = jnp.stack([zero - 1.65, zero - 1.01, 0.35 + 0.75 * lamp])
    room = _room(camera, light, blend(WALL_COLORS, wall_color), glare, intensity, join(arm_shadow, shadow))
    return join(room, robot, held)


ISAAC3D = Scene(
    name="isaac3d",
    factors={
        "object_shape": (0.0, 1.0, 2.0),  # cube, pyramid, sphere
        "robot_x": evenly(-0.75, 0.6, 8),  # meters: of the hand, to the right
        "robot_y": evenly(1.45, 2.05, 5),  # and up
        "camera_height": evenly(1.2, 2.4, 4),
        "object_scale": evenly(0.11, 0.23, 4),  # half edge of the cube
        "lighting_intensity": evenly(0.5, 1.1, 4),
        "lighting_y_dir": evenly(0.2, 1.8, 6),  # height of the lamp for each meter in front of the wall
        "object_color": (0.0, 1.0, 2.0, 3.0),  # blue, violet, lavender, ivory
        "wall_color": (0.0, 1.0, 2.0, 3.0),  # green, gray, pink, purple
    },
    draw=partial(pictures, _patches),
    continuous=(
        "robot_x", "robot_y", "camera_height", "object_scale", "lighting_intensity", "lighting_y_dir",
    ),
)  # fmt: skip
