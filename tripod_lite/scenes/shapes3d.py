"""The Shapes3D twin: a solid in the middle of a room, under a sky, and a camera that orbits.

The factors, their values and the composition are those of 3D Shapes; eye height, distance and focal length were fitted
to its published sample frames. Ours, so that every value of every factor weighs in a reconstruction loss: solids larger
by a quarter and a stouter capsule, and a room narrow enough that a corner is always in sight. The faint texture of its
walls is left out.

Source: Burgess and Kim, 3D Shapes Dataset, 2018.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tripod_lite.scenes.primitives import (
    Edge,
    Ray,
    Scalar,
    capped,
    capsule_normal,
    coverage,
    cylinder_shadow,
    hue_to_rgb,
    inside_capsule,
    orbit_ray,
    pixel_centers,
    square_shadow,
    through_cylinder,
    through_square,
)
from tripod_lite.scenes.scene import Scene

Cover = Callable[[Edge], Scalar]
Light = tuple[Scalar, Scalar]  # what a surface sends back: in its own color, and white

# Lengths are in half sides of the original's cube at scale 1.
EYE, DISTANCE, FOCAL = 2.0, 7.0, 2.156
WIDE, DEEP, TALL = 6.4, 7.5, 5.0  # x of the side walls, y of the back wall, height of all three
CUBE, CYLINDER, SPHERE, CAPSULE, STRETCH = 1.25, 1.3, 1.45, 1.0, 0.75  # half side, radii, half of a capsule's side

# The sun: x and y a unit of height toward it, and as a unit vector.
SUN = (-0.4, 0.22)
SUN_X, SUN_Y, SUN_Z = (c / (1 + SUN[0] ** 2 + SUN[1] ** 2) ** 0.5 for c in (*SUN, 1.0))
AMBIENT, SUNLIGHT, LAMP, SHEEN = 0.2, 0.4, 0.75, 0.15  # the lamp is on the camera, the sheen is white
BACK, LEFT, RIGHT, UMBRA = 1.0, 0.62, 0.4, 0.3  # brightness of the walls and of the shadow
SKY = (0.6, 0.886, 0.976)


class Solids(NamedTuple):
    """How much of each solid there is, and their sizes. A sphere is a capsule whose axis is a point."""

    cubes: Scalar
    cylinders: Scalar
    capsules: Scalar
    half: Scalar
    height: Scalar
    cylinder: Scalar
    radius: Scalar
    low: Scalar
    high: Scalar


def _solids(scale: Scalar, shape: Scalar) -> Solids:
    """Cube 0, cylinder 1, sphere 2, capsule 3; between them the first three cross-fade, and a sphere stretches."""
    stretch = jnp.clip(shape - 2.0, 0.0, 1.0)
    radius = scale * (SPHERE + stretch * (CAPSULE - SPHERE))
    return Solids(
        cubes=jnp.clip(1.0 - shape, 0.0, 1.0),
        cylinders=jnp.maximum(1.0 - jnp.abs(shape - 1.0), 0.0),
        capsules=jnp.clip(shape - 1.0, 0.0, 1.0),
        half=scale * CUBE,
        height=2.0 * scale * CUBE,
        cylinder=scale * CYLINDER,
        radius=radius,
        low=radius,
        high=radius + 2.0 * stretch * scale * STRETCH,
    )


def _room(ray: Callable[[Scalar, Scalar], Ray], cover: Cover) -> tuple[Scalar, Scalar, Scalar]:
    """Shares of floor and sky, and the brightness of the walls.

    A ray from the camera meets a plane at some t; 1/t is linear on the image plane, and the largest is the nearest.
    """

    def walls(u: Scalar, v: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        r = ray(u, v)
        return r.dy / (DEEP - r.oy), -r.dx / (WIDE + r.ox), r.dx / (WIDE - r.ox)

    def nearest(u: Scalar, v: Scalar) -> Scalar:
        back, left, right = walls(u, v)
        return jnp.maximum(back, jnp.maximum(left, right))

    floor = cover(lambda u, v: -v / EYE - nearest(u, v))
    sky = cover(lambda u, v: v / (TALL - EYE) - nearest(u, v))
    left = cover(lambda u, v: walls(u, v)[1] - walls(u, v)[0])
    right = cover(lambda u, v: walls(u, v)[2] - walls(u, v)[0])
    return floor, (1.0 - floor - sky) * (BACK + left * (LEFT - BACK) + right * (RIGHT - BACK)), sky


def _floor_light(ray: Callable[[Scalar, Scalar], Ray], u: Scalar, v: Scalar, cover: Cover, solids: Solids) -> Scalar:
    """Brightness of the floor: it fades toward the far right corner, and the solid casts its shadow."""

    def ground(u: Scalar, v: Scalar) -> tuple[Scalar, Scalar]:
        r = ray(u, v)
        t = EYE / jnp.maximum(-v, 0.01)  # anything above the horizon; it shows no floor
        return r.ox + t * r.dx, r.oy + t * r.dy

    def capsule_shadow(u: Scalar, v: Scalar) -> Scalar:
        x, y = ground(u, v)
        zero = jnp.zeros_like(x)
        climb = Ray(x, y, zero, zero + SUN[0], zero + SUN[1], zero + 1.0)
        return inside_capsule(climb, solids.radius, solids.low, solids.high)

    shadow = (
        solids.cubes * cover(lambda u, v: square_shadow(*ground(u, v), SUN, solids.half, solids.height))
        + solids.cylinders * cover(lambda u, v: cylinder_shadow(*ground(u, v), SUN, solids.cylinder, solids.height))
        + solids.capsules * cover(capsule_shadow)
    )
    x, y = ground(u, v)
    return (1.0 + shadow * (UMBRA - 1.0)) / (1.0 + ((x + 3.0) ** 2 + (y + 3.0) ** 2) / 24.0**2)


def _lit(x: Scalar, y: Scalar, z: Scalar, camera_x: Scalar, camera_y: Scalar) -> Light:
    """The light from a surface with unit normal (x, y, z), by Lambert's law for the sun and for the camera's lamp."""
    sun = jnp.maximum(x * SUN_X + y * SUN_Y + z * SUN_Z, 0.0)
    lamp = jnp.maximum(x * camera_x + y * camera_y, 0.0)
    return AMBIENT + SUNLIGHT * sun + LAMP * lamp, SHEEN * sun


def _mix(weight: Scalar, a: Light, b: Light) -> Light:
    return b[0] + weight * (a[0] - b[0]), b[1] + weight * (a[1] - b[1])


def _layers(u: Scalar, v: Scalar, values: Float[Array, "6"], pixel: float) -> tuple[Scalar, ...]:
    """Weights of the colors of floor, walls, solid, sky, and of white."""
    azimuth = jnp.deg2rad(values[5])
    ray = partial(orbit_ray, azimuth=azimuth, distance=DISTANCE, height=EYE, focal=FOCAL)
    cover = partial(coverage, u=u, v=v, pixel=pixel)
    solids = _solids(values[3], values[4])
    floor, walls, sky = _room(ray, cover)
    floor = floor * _floor_light(ray, u, v, cover, solids)

    r = ray(u, v)
    zero, one = jnp.zeros_like(u), jnp.ones_like(u)
    lit = partial(_lit, camera_x=jnp.sin(azimuth), camera_y=-jnp.cos(azimuth))
    top = lit(zero, zero, one)

    # The cube shows its front, and its left or right face beyond the front's upright edge nearer to the camera.
    side = jnp.where(azimuth < 0, -1.0, 1.0)

    def beyond_edge(u: Scalar, v: Scalar) -> Scalar:
        q = ray(u, v)
        return side * (q.dx * (-solids.half - q.oy) - q.dy * (side * solids.half - q.ox))

    faces = _mix(cover(beyond_edge), lit(side * one, zero, zero), lit(zero, -one, zero))
    between, on_top = capped(r, lambda u: through_square(ray(u, v), solids.half), u, solids.height, pixel)
    cube = solids.cubes * between * cover(lambda u, v: through_square(ray(u, v), solids.half).inside)
    cube_light = _mix(on_top, top, faces)

    between, on_top = capped(r, lambda u: through_cylinder(ray(u, v), solids.cylinder), u, solids.height, pixel)
    cylinder = solids.cylinders * between * cover(lambda u, v: through_cylinder(ray(u, v), solids.cylinder).inside)
    entry = through_cylinder(r, solids.cylinder).enter
    x, y = (r.ox + entry * r.dx) / solids.cylinder, (r.oy + entry * r.dy) / solids.cylinder
    cylinder_light = _mix(on_top, top, lit(x, y, zero))

    capsule = solids.capsules * cover(lambda u, v: inside_capsule(ray(u, v), solids.radius, solids.low, solids.high))
    capsule_light = lit(*capsule_normal(r, solids.radius, solids.low, solids.high))

    open_view = 1.0 - cube - cylinder - capsule
    color, white = (
        cube * on_cube + cylinder * on_cylinder + capsule * on_capsule
        for on_cube, on_cylinder, on_capsule in zip(cube_light, cylinder_light, capsule_light, strict=True)
    )
    return open_view * floor, open_view * walls, color, open_view * sky, white


def _palette(values: Float[Array, "6"]) -> Float[Array, "5 3"]:
    fixed = jnp.array([SKY, (1.0, 1.0, 1.0)], values.dtype)
    return jnp.concatenate([jnp.stack([hue_to_rgb(values[k]) for k in range(3)]), fixed])


# Pictures drawn side by side. More fill the processor's cache, and a loop that runs once is no loop, see `_draw`; so
# half of the 16 pictures that a twin draws at least.
_GROUP = 8


def _draw(values: Float[Array, "n 6"], image_size: int) -> Float[Array, "n h w 3"]:
    """Pictures: the product of gray layers, which hold the geometry and the light, and of a palette.

    So a factor that only recolors never touches the geometry.
    """
    centers = pixel_centers(image_size, values.dtype)

    def layers(row: Float[Array, "6"]) -> tuple[Float[Array, "h w"], ...]:
        line = jax.vmap(lambda u, v: _layers(u, v, row, 2.0 / image_size), (0, None))
        return jax.vmap(line, (None, 0))(centers, -centers)

    # Besides bounding memory, the loop keeps the compiler from computing the layers anew for each color.
    gray = jnp.stack(jax.lax.map(layers, values, batch_size=_GROUP))
    return jnp.einsum("knhw,nkc->nhwc", gray, jax.vmap(_palette)(values))


_HUES = tuple(k / 10 for k in range(10))

SHAPES3D = Scene(
    name="shapes3d",
    factors={
        "floor_hue": _HUES,  # in turns of the color circle
        "wall_hue": _HUES,
        "object_hue": _HUES,
        "scale": tuple(0.75 + k / 14 for k in range(8)),
        "shape": (0.0, 1.0, 2.0, 3.0),  # cube, cylinder, sphere, capsule
        "orientation": tuple(30 * (k - 7) / 7 for k in range(15)),  # of the camera, in degrees
    },
    draw=_draw,
    continuous=("floor_hue", "wall_hue", "object_hue", "scale", "orientation"),
)
