"""The MPI3D twins: a robot arm on a dark stage holds an object; the factors of `real_complex`, or of `toy`.

The composition and what each factor does follow the published sample frames: a colored ring on the stage is the
background, the arm turns about the upright axis and about a level one, and the camera looks from three heights. The
upright axis spans a half turn in front of the stand; the level one lifts the arm from below level to past upright.

Source: Gondal et al., On the Transfer of Inductive Bias from Simulation to the Real World: a New Disentanglement
Dataset (NeurIPS 2019).
"""

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import (
    Camera,
    Patches,
    Scalar,
    Vector,
    by_distance,
    join,
    look_at,
    pictures,
    receive,
    unit,
)
from tripod_lite.scenes.scene import Scene, evenly
from tripod_lite.scenes.solids import (
    Light,
    Plane,
    blend,
    disc,
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

# The stand is on the axis x = y = 0 of the stage z = 0, the camera at negative y. Lengths are about in feet.
STAGE, RING_INNER, RING_OUTER = 3.4, 2.7, 3.1
PIVOT, BOOM, ARM = 0.9, 0.35, 0.8
CAMERA_DISTANCE, FOCAL = 6.2, 2.55
LAMP, AMBIENT, DIRECT, ON_STAGE, SHADE = (-0.35, -0.5, 1.0), 0.45, 0.65, 0.95, 0.55

FLOOR, METAL, ROD, INSIDE = (0.15, 0.19, 0.17), (0.1, 0.12, 0.11), (0.16, 0.19, 0.18), (0.82, 0.86, 0.8)
RINGS = ((0.42, 0.38, 0.72), (0.22, 0.62, 0.48), (0.78, 0.42, 0.35))  # purple, sea green, salmon
YELLOW, GREEN, OLIVE, RED = (0.9, 0.75, 0.12), (0.16, 0.55, 0.24), (0.5, 0.5, 0.2), (0.85, 0.14, 0.07)
WHITE, BLUE, BROWN = (0.92, 0.92, 0.9), (0.12, 0.25, 0.8), (0.45, 0.27, 0.12)

COMPLEX_COLORS, COMPLEX_SHAPES = (YELLOW, GREEN, OLIVE, RED), ("coffee-cup", "tennis-ball", "croissant", "beer-cup")
TOY_COLORS = (WHITE, GREEN, RED, BLUE, BROWN, OLIVE)
TOY_SHAPES = ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere")

Solid = tuple[Patches, Patches]  # what is seen of a thing, and its shadow on the stage


class Hand(NamedTuple):
    """What an object depends on: where it is held, the unit vectors along and across the arm, and how it is seen."""

    camera: Camera
    light: Light
    floor: Plane
    at: Vector
    out: Vector
    across: Vector
    size: Scalar
    color: Vector

    def squared_distance(self, point: Vector) -> Scalar:
        """The square of the distance from the eye."""
        return jnp.sum((self.camera.eye - point) ** 2)

    def lathe(self, *profile: tuple[float, float], inside: Vector | None = None) -> Solid:
        """A round solid by its distances along the arm and radii; its far end may have a color of its own."""
        rings = [(self.at + self.out * distance * self.size, radius * self.size) for distance, radius in profile]
        pieces, shadows = [], []
        for k, ((start, start_radius), (end, end_radius)) in enumerate(itertools.pairwise(rings)):
            piece = (start, end, start_radius, end_radius)
            far_color = self.color if inside is None or k < len(rings) - 2 else inside
            solid = frustum(self.camera, self.light, *piece, self.color, self.color, far_color)
            pieces.append((self.squared_distance((start + end) / 2), solid))
            shadows.append(frustum_shadow(self.camera, self.light, self.floor, *piece))
        return by_distance(*pieces), join(*shadows)

    def faceted(self, sides: int, length: float, radius: float, top: float = 1.0) -> Solid:
        """A prism along the arm, or with `top` = 0 a pyramid."""
        faces = prism(sides, self.at, self.out * length * self.size, self.across, radius * self.size, top)
        solid = polyhedron(self.camera, self.light, faces, self.color)
        return solid, polyhedron_shadow(self.camera, self.light, self.floor, faces)

    def balls(self, *places: tuple[float, float, float]) -> Solid:
        """Spheres by distances along the arm and across it, and radii."""
        balls, shadows = [], []
        for along, aside, radius in places:
            center, radius = self.at + self.size * (along * self.out + aside * self.across), radius * self.size
            balls.append((self.squared_distance(center), sphere(self.camera, self.light, center, radius, self.color)))
            shadows.append(sphere_shadow(self.camera, self.light, self.floor, center, radius))
        return by_distance(*balls), join(*shadows)

    def cup(self, *profile: tuple[float, float], handle: float) -> Solid:
        """A round solid that is light inside, with a handle at this distance from its axis."""
        body, shadow = self.lathe(*profile, inside=jnp.asarray(INSIDE, self.at.dtype))
        middle, thick = self.at + self.size * 0.35 * self.out, 0.07 * self.size
        grip = middle + self.size * handle * self.across
        arc = [(-0.18, -0.16), (-0.16, 0.08), (0.16, 0.08), (0.18, -0.16)]
        ends = [grip + self.size * (along * self.out + aside * self.across) for along, aside in arc]
        bars = [tube(self.camera, self.light, a, b, thick, thick, self.color) for a, b in itertools.pairwise(ends)]
        return by_distance((self.squared_distance(middle), body), (self.squared_distance(grip), join(*bars))), shadow

    def solid(self, name: str) -> Solid:
        """The object of this name."""
        turns = evenly(-1.25, 1.25, 7)
        bend = [(0.62 - 0.5 * math.cos(t), 0.5 * math.sin(t), 0.26 - 0.09 * abs(t)) for t in turns]
        build = {
            "coffee-cup": partial(self.cup, (0.0, 0.2), (0.14, 0.36), (0.36, 0.52), (0.7, 0.6), handle=0.68),
            "tennis-ball": partial(self.balls, (0.42, 0.0, 0.46)),
            "croissant": partial(self.balls, *bend),
            "beer-cup": partial(self.cup, (0.0, 0.3), (0.85, 0.36), handle=0.46),
            "cone": partial(self.lathe, (0.0, 0.45), (0.9, 0.02)),
            "cube": partial(self.faceted, 4, 0.75, 0.53),
            "cylinder": partial(self.lathe, (0.0, 0.38), (0.8, 0.38)),
            "hexagonal": partial(self.faceted, 6, 0.8, 0.45),
            "pyramid": partial(self.faceted, 4, 0.85, 0.62, 0.0),
            "sphere": partial(self.balls, (0.42, 0.0, 0.46)),
        }
        return build[name]()


def _held(hand: Hand, shape: Scalar, names: tuple[str, ...]) -> Solid:
    """The object of number `shape`; between two numbers both, each in part."""
    solids, shadows = [], []
    for k, name in enumerate(names):
        solid, shadow = hand.solid(name)
        weight = jnp.maximum(1.0 - jnp.abs(shape - k), 0.0)
        solids.append(solid._replace(opacity=weight * solid.opacity))
        shadows.append(shadow._replace(casts=weight * shadow.casts))
    return join(*solids), join(*shadows)


def _patches(values: Float[Array, "7"], colors: tuple[tuple[float, ...], ...], shapes: tuple[str, ...]) -> Patches:
    color, shape, size, height, background, turn, lift = values
    dtype, zero = values.dtype, jnp.zeros_like(height)
    up = jnp.asarray((0, 0, 1), dtype)
    camera = look_at(jnp.stack([zero, zero - CAMERA_DISTANCE, height]), up, FOCAL)
    light = Light(unit(jnp.asarray(LAMP, dtype)), zero + AMBIENT, zero + DIRECT)
    floor, metal = Plane(up, zero), jnp.asarray(METAL, dtype)

    rounds = ((STAGE, jnp.asarray(FLOOR, dtype)), (RING_OUTER, blend(RINGS, background)))
    rounds += ((RING_INNER, rounds[0][1]),)
    stage = [disc(camera, 0 * up, up, zero + radius, surface, zero + ON_STAGE) for radius, surface in rounds]

    turn, lift = jnp.deg2rad(turn), jnp.deg2rad(lift)
    level = jnp.stack([jnp.cos(turn), -jnp.sin(turn), zero])
    out, across = jnp.cos(lift) * level + jnp.sin(lift) * up, jnp.cos(lift) * up - jnp.sin(lift) * level
    pivot = PIVOT * up
    joint = pivot + BOOM * level  # beside the axis, so that a turn also moves an arm that points upward
    tip = joint + ARM * out
    stand = join(
        frustum(camera, light, 0 * up, 0.12 * up, zero + 0.42, zero + 0.36, metal),
        frustum(camera, light, 0.1 * up, pivot, zero + 0.17, zero + 0.17, metal),
        sphere(camera, light, pivot, zero + 0.22, metal),
    )
    bars = [(pivot, joint, 0.09), (joint, tip + 0.1 * out, 0.05)]
    rods = [tube(camera, light, start, end, zero + r, zero + r, jnp.asarray(ROD, dtype)) for start, end, r in bars]
    hand = Hand(camera, light, floor, tip, out, across, size, blend(colors, color))
    solid, shadow = _held(hand, shape, shapes)
    everywhere = jnp.asarray([(-9, -9, 0), (9, -9, 0), (9, 30, 0), (-9, 30, 0)], dtype)
    return join(
        *stage,
        frustum_shadow(camera, light, floor, 0 * up, pivot, zero + 0.17, zero + 0.17),
        shadow,
        receive(outline(camera, everywhere), SHADE),
        by_distance(
            (hand.squared_distance(pivot), stand),
            (hand.squared_distance(joint), rods[0]),
            (hand.squared_distance((joint + tip) / 2), rods[1]),
            (hand.squared_distance(tip + 0.3 * out), solid),
        ),
    )


def _scene(colors: tuple[tuple[float, ...], ...], shapes: tuple[str, ...], variant: str = "") -> Scene:
    return Scene(
        name="mpi3d",
        factors={
            "object_color": tuple(map(float, range(len(colors)))),
            "object_shape": tuple(map(float, range(len(shapes)))),
            "object_size": (0.75, 1.15),
            "camera_height": (3.4, 2.2, 1.2),  # top, center, bottom
            "background_color": (0.0, 1.0, 2.0),
            "horizontal_axis": evenly(0.0, 180.0, 40),  # degrees about the upright axis, from the right over the front
            "vertical_axis": evenly(-15.0, 110.0, 40),  # degrees about a level one, above the level
        },
        draw=partial(pictures, partial(_patches, colors=colors, shapes=shapes)),
        continuous=("object_size", "camera_height", "horizontal_axis", "vertical_axis"),
        variant=variant,
    )


MPI3D = _scene(COMPLEX_COLORS, COMPLEX_SHAPES)
MPI3D_TOY = _scene(TOY_COLORS, TOY_SHAPES, "toy")
