"""The MPI3D twins: a robot arm on a dark stage holds an object, with the factors of `real_complex` or of `toy`.

The composition and what each factor does follow the published sample frames: a coaxial ring on the stage is the
background, the arm turns about the upright axis and about a level one, and the camera looks from three heights. The
upright axis spans a half turn in front of the stand; the level one lifts the arm from below level to past upright.

Source: Gondal et al., On the Transfer of Inductive Bias from Simulation to the Real World: a New Disentanglement
Dataset (NeurIPS 2019).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import Camera, Patches, Vector, by_distance, each, join, look_at, paint, receive, unit
from tripod_lite.scenes.scene import Scene
from tripod_lite.scenes.solids import (
    Light,
    Plane,
    disc,
    frustum,
    frustum_shadow,
    outline,
    perpendicular,
    polyhedron,
    polyhedron_shadow,
    prism,
    sphere,
    sphere_shadow,
    tube,
)

SIDE_BY_SIDE = 8  # pictures

# The stand is 1 high, on the axis x = y = 0; the camera is at negative y.
STAGE, RING_INNER, RING_OUTER = 3.4, 2.7, 3.1
PIVOT, ARM = 0.9, 1.0
CAMERA_DISTANCE, FOCAL = 6.2, 2.55
CAMERA_HEIGHTS = (3.4, 2.2, 1.2)
FLOOR, FAR_FLOOR, METAL, INSIDE = (0.15, 0.19, 0.17), (0.07, 0.09, 0.08), (0.1, 0.12, 0.11), (0.82, 0.86, 0.8)
LAMP = (-0.35, -0.5, 1.0)

COMPLEX_COLORS = ((0.9, 0.75, 0.12), (0.16, 0.55, 0.24), (0.5, 0.5, 0.2), (0.85, 0.14, 0.07))  # yellow, green, olive, red
TOY_COLORS = (
    (0.92, 0.92, 0.9), (0.15, 0.65, 0.2), (0.85, 0.12, 0.1), (0.12, 0.25, 0.8), (0.45, 0.27, 0.12), (0.5, 0.52, 0.18)
)  # white, green, red, blue, brown, olive  # fmt: skip
RINGS = ((0.42, 0.38, 0.72), (0.22, 0.62, 0.48), (0.78, 0.42, 0.35))  # purple, sea green, salmon
SIZES = (0.6, 0.95)

Build = Callable[[Vector, Vector], tuple[Patches, Patches]]


def _blend(table: tuple[tuple[float, ...], ...], place: Array) -> Vector:
    """A row of the table, or what lies between two."""
    rows = jnp.asarray(table, place.dtype)
    weights = jnp.maximum(1.0 - jnp.abs(place - jnp.arange(len(table), dtype=place.dtype)), 0.0)
    return weights @ rows


def _objects(camera: Camera, light: Light, floor: Plane, at: Vector, out: Vector, size: Array, color: Vector) -> dict:
    """Every object, by name, with its shadow: it is held at `at` and points along the unit vector `out`."""
    across, along = perpendicular(out)

    def lathe(*profile: tuple[float, float], inside: Vector | None = None) -> tuple[Patches, Patches]:
        """A round solid by its distances along the arm and radii; its far end may have a color of its own."""
        rings = [(at + out * distance * size, radius * size) for distance, radius in profile]
        parts, shadows = [], []
        for (start, start_radius), (end, end_radius) in zip(rings[:-1], rings[1:], strict=True):
            parts.append((start, end, start_radius, end_radius))
            shadows.append(frustum_shadow(camera, light, floor, start, end, start_radius, end_radius))
        solids = [frustum(camera, light, *part, color) for part in parts[:-1]]
        solids.append(frustum(camera, light, *parts[-1], color, color, color if inside is None else inside))
        # Whichever end looks away is painted first.
        depth = [jnp.sum((camera.eye - (start + end) / 2) ** 2) for start, end, *_ in parts]
        return by_distance(*zip(depth, solids, strict=True)), join(*shadows)

    def faceted(sides: int, length: float, radius: float, top: float = 1.0) -> tuple[Patches, Patches]:
        faces = prism(sides, at, out * length * size, radius * size, top)
        return polyhedron(camera, light, faces, color), polyhedron_shadow(camera, light, floor, faces)

    def balls(*places: tuple[float, float, float, float]) -> tuple[Patches, Patches]:
        """Spheres by distances along the arm, across it, and across both, and radii."""
        centers = [at + size * (a * out + b * across + c * along) for a, b, c, _ in places]
        radii = [radius * size for *_, radius in places]
        each_ball = [
            (jnp.sum((camera.eye - center) ** 2), sphere(camera, light, center, radius, color))
            for center, radius in zip(centers, radii, strict=True)
        ]
        shadows = [sphere_shadow(camera, light, floor, c, r) for c, r in zip(centers, radii, strict=True)]
        return by_distance(*each_ball), join(*shadows)

    def cup(*profile: tuple[float, float], handle: float) -> tuple[Patches, Patches]:
        body, shade = lathe(*profile, inside=jnp.asarray(INSIDE, at.dtype))
        grip = at + size * (0.35 * out + handle * across)
        thick = 0.07 * size
        arc = [grip + size * (a * out + b * across) for a, b in ((-0.18, -0.16), (-0.16, 0.08), (0.16, 0.08), (0.18, -0.16))]
        bars = [tube(camera, light, p, q, thick, thick, color) for p, q in zip(arc[:-1], arc[1:], strict=True)]
        middle = at + size * 0.35 * out
        return by_distance(
            (jnp.sum((camera.eye - middle) ** 2), body), (jnp.sum((camera.eye - grip) ** 2), join(*bars))
        ), shade

    turns = np.linspace(-1.25, 1.25, 7)
    return {
        "coffee-cup": lambda: cup((0.0, 0.2), (0.14, 0.36), (0.36, 0.52), (0.7, 0.6), handle=0.68),
        "tennis-ball": lambda: balls((0.42, 0.0, 0.0, 0.46)),
        "croissant": lambda: balls(*((0.62 - 0.5 * np.cos(t), 0.5 * np.sin(t), 0.0, 0.26 - 0.09 * abs(t)) for t in turns)),
        "beer-cup": lambda: cup((0.0, 0.3), (0.85, 0.36), handle=0.46),
        "cone": lambda: lathe((0.0, 0.45), (0.9, 0.02)),
        "cube": lambda: faceted(4, 0.75, 0.53),
        "cylinder": lambda: lathe((0.0, 0.38), (0.8, 0.38)),
        "hexagonal": lambda: faceted(6, 0.8, 0.45),
        "pyramid": lambda: faceted(4, 0.85, 0.62, 0.0),
        "sphere": lambda: balls((0.42, 0.0, 0.0, 0.46)),
    }


def _patches(values: Float[Array, "7"], colors: tuple, shapes: tuple[str, ...]) -> Patches:
    dtype = values.dtype
    color, shape, size, height, background, turn, lift = values
    up = jnp.asarray((0, 0, 1), dtype)
    zero = jnp.zeros_like(color)
    eye = jnp.stack([zero, zero - CAMERA_DISTANCE, height])
    camera = look_at(eye, jnp.asarray((0, 0, 1.0), dtype), FOCAL)
    light = Light(unit(jnp.asarray(LAMP, dtype)), zero + 0.45, zero + 0.65)
    floor = Plane(up, zero)

    # The arm: from the pivot outward, in front of the stand while it is below upright.
    turn, lift = jnp.deg2rad(turn), jnp.deg2rad(lift)
    out = jnp.stack([jnp.cos(turn) * jnp.cos(lift), -jnp.sin(turn) * jnp.cos(lift), jnp.sin(lift)])
    pivot, tip = PIVOT * up, PIVOT * up + ARM * out

    ring = _blend(RINGS, background)
    rounds = [(STAGE, FLOOR), (RING_OUTER, ring), (RING_INNER, FLOOR)]
    stage = [
        disc(camera, 0 * up, up, zero + radius, jnp.asarray(paint_of, dtype), zero + 0.95) for radius, paint_of in rounds
    ]
    square = jnp.asarray([(-9, -9, 0), (9, -9, 0), (9, 30, 0), (-9, 30, 0)], dtype)
    metal = jnp.asarray(METAL, dtype)

    objects = _objects(camera, light, floor, tip, out, size, _blend(colors, color))
    held, shadows = [], []
    for k, name in enumerate(shapes):
        solid, shade = objects[name]()
        weight = jnp.maximum(1.0 - jnp.abs(shape - k), 0.0)
        held.append(solid._replace(opacity=solid.opacity * weight))
        shadows.append(shade._replace(casts=shade.casts * weight))

    stand = join(
        frustum(camera, light, 0 * up, 0.12 * up, zero + 0.42, zero + 0.36, metal),
        frustum(camera, light, 0.1 * up, pivot, zero + 0.17, zero + 0.17, metal),
        sphere(camera, light, pivot, zero + 0.22, metal),
    )
    rod = tube(camera, light, pivot, tip + 0.1 * out, zero + 0.05, zero + 0.04, 1.6 * metal)

    def distance(point: Vector) -> Array:
        return jnp.sum((camera.eye - point) ** 2)

    return join(
        *stage,
        frustum_shadow(camera, light, floor, 0 * up, pivot, zero + 0.17, zero + 0.17),
        *shadows,
        receive(outline(camera, square), 0.55),
        by_distance(
            (distance(pivot), stand),
            (distance((pivot + tip) / 2), rod),
            (distance(tip + 0.3 * out), join(*held)),
        ),
    )


def _scene(colors: tuple, shapes: tuple[str, ...]) -> Scene:
    def draw(values: Float[Array, "n 7"], image_size: int) -> Float[Array, "n h w 3"]:
        images = jax.lax.map(
            lambda row: paint(_patches(row, colors, shapes), image_size), values, batch_size=SIDE_BY_SIDE
        )
        return jnp.moveaxis(images, 1, 3)

    return Scene(
        name="mpi3d",
        factors={
            "object_color": tuple(map(float, range(len(colors)))),
            "object_shape": tuple(map(float, range(len(shapes)))),
            "object_size": SIZES,
            "camera_height": CAMERA_HEIGHTS,
            "background_color": (0.0, 1.0, 2.0),
            "horizontal_axis": tuple(np.linspace(0, 180, 40).tolist()),  # degrees, from the right over the front
            "vertical_axis": tuple(np.linspace(-15, 110, 40).tolist()),  # degrees above the level
        },
        draw=draw,
        continuous=("object_size", "camera_height", "horizontal_axis", "vertical_axis"),
    )


COMPLEX_SHAPES = ("coffee-cup", "tennis-ball", "croissant", "beer-cup")
TOY_SHAPES = ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere")

MPI3D = _scene(COMPLEX_COLORS, COMPLEX_SHAPES)
MPI3D_TOY = _scene(TOY_COLORS, TOY_SHAPES)
