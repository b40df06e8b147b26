"""What the painted scenes are made of: faces, boxes and other solids, flat and round, and the shadows they cast.

Every function is of one thing; `patches.each` makes it many. Space is right-handed with z up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import (
    Camera,
    Conic,
    Outline,
    Patches,
    Scalar,
    Vector,
    between,
    conic,
    each,
    edges,
    inside,
    join,
    patch,
    receive,
    shadow,
    unit,
)

_TINY = 1e-9


class Light(NamedTuple):
    """Parallel light: the vector toward its source, and the brightness of what it misses and of what it hits.

    A longer vector is a brighter light.
    """

    toward: Vector
    ambient: Scalar
    direct: Scalar

    def on(self, normal: Float[Array, "*b 3"]) -> Float[Array, "*b"]:
        """The brightness of faces with these unit normals, by Lambert's law."""
        return self.ambient + self.direct * jnp.maximum(normal @ self.toward, 0.0)


class Plane(NamedTuple):
    """The points x with normal · x = offset."""

    normal: Vector
    offset: Scalar

    def along(self, direction: Vector, points: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
        """Where points come to lie if they move along `direction`, which must not run along the plane."""
        steps = (self.offset - points @ self.normal) / jnp.dot(direction, self.normal)
        return points + steps[..., None] * direction.reshape(*[1] * (points.ndim - 1), 3)


Range = tuple[float, float]
Color = tuple[float, float, float]
Furniture = Sequence[tuple[Range, Range, Range, Color]]  # boxes by their ranges in x, y and z, and their colors


def columns(rows: Furniture, dtype: jnp.dtype) -> tuple[Float[Array, "n 3"], Float[Array, "n 3"], Float[Array, "n 3"]]:
    """Centers, half edges and colors of boxes."""
    ranges = np.array([ranges for *ranges, _ in rows])
    colors = np.array([color for *_, color in rows])
    return tuple(jnp.asarray(column, dtype) for column in (ranges.mean(axis=2), np.ptp(ranges, axis=2) / 2, colors))


def furniture(camera: Camera, light: Light, rows: Furniture) -> Patches:
    """Boxes, painted in the order given."""
    return each(lambda *row: box(camera, light, *row), *columns(rows, camera.eye.dtype))


def furniture_shadow(camera: Camera, light: Light, plane: Plane, rows: Furniture) -> Patches:
    """The shadows of boxes on a plane."""
    centers, halves, _ = columns(rows, camera.eye.dtype)
    return each(lambda *row: box_shadow(camera, light, plane, *row), centers, halves)


def lit_through(camera: Camera, light: Light, corners: Float[Array, "4 3"], normal: Vector) -> Patches:
    """A flat surface that receives the shadows cast so far: what is left there is the light from all around."""
    direct = light.direct * jnp.maximum(jnp.dot(normal, light.toward), 0.0)
    return receive(outline(camera, corners), direct / (light.ambient + direct))


def blend(table: Sequence[Sequence[float]], place: Scalar) -> Vector:
    """A row of the table, or what lies between two."""
    weights = jnp.maximum(1.0 - jnp.abs(place - jnp.arange(len(table), dtype=place.dtype)), 0.0)
    return weights @ jnp.asarray(table, place.dtype)


def turned(yaw: ArrayLike) -> Float[Array, "3 3"]:
    """The axes of a box turned about z by `yaw` radians, one a row."""
    sin, cos = jnp.sin(jnp.asarray(yaw)), jnp.cos(jnp.asarray(yaw))
    zero, one = jnp.zeros_like(sin), jnp.ones_like(sin)
    return jnp.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one]).reshape(3, 3)


def outline(camera: Camera, corners: Float[Array, "4 3"]) -> Outline:
    """The edges of a flat face seen from either side; a triangle has its last corner twice.

    An edge and the eye span a plane, so that nothing is divided by a depth and corners may lie behind the camera.
    """
    seen = corners - camera.eye[None]
    normals = jnp.cross(seen, jnp.roll(seen, -1, axis=0))
    side = jnp.where(normals @ jnp.sum(seen, axis=0) < 0, -1.0, 1.0)  # never 0, or a face seen edge on were all over
    return between(edges(camera, side[:, None] * normals))


def face(camera: Camera, corners: Float[Array, "4 3"], color: Vector, light: Scalar, opacity: float = 1.0) -> Patches:
    """A flat face of four corners, seen from either side, in light of one brightness."""
    return patch(outline(camera, corners), color, light, opacity=opacity)


def _box_faces(center: Vector, half: Vector, axes: Float[Array, "3 3"], toward: Vector) -> Float[Array, "3 4 3"]:
    """The corners of those three faces of a box that look `toward`."""
    sides = jnp.where(axes @ toward > 0, 1.0, -1.0)
    spans = half[:, None] * axes
    middle = center[None] + sides[:, None] * spans
    across, along = jnp.roll(spans, -1, axis=0), jnp.roll(spans, -2, axis=0)
    corners = [middle - across - along, middle + across - along, middle + across + along, middle - across + along]
    return jnp.stack(corners, axis=1)


def box(
    camera: Camera, light: Light, center: Vector, half: Vector, color: Vector, axes: Float[Array, "3 3"] | None = None
) -> Patches:
    """A box; `half` are its half edges along `axes`, one axis a row, by default x, y and z."""
    axes = jnp.eye(3, dtype=center.dtype) if axes is None else axes
    view = axes @ (camera.eye - center)
    corners = _box_faces(center, half, axes, camera.eye - center)
    brightness = light.on(jnp.sign(view)[:, None] * axes)
    seen = jnp.where(jnp.abs(view) > half, 1.0, 0.0)
    first = jnp.array([1.0, 0.0, 0.0], center.dtype)

    def one(corners: Array, brightness: Array, opens: Array, opacity: Array) -> Patches:
        return patch(outline(camera, corners), color, brightness, opens=opens, opacity=opacity)

    return each(one, corners, brightness, first, seen)


def box_shadow(
    camera: Camera,
    light: Light,
    plane: Plane,
    center: Vector,
    half: Vector,
    axes: Float[Array, "3 3"] | None = None,
) -> Patches:
    """The shadow of a box on a plane: that of the three faces toward the light, which tile it."""
    axes = jnp.eye(3, dtype=center.dtype) if axes is None else axes
    faces = plane.along(light.toward, _box_faces(center, half, axes, light.toward))
    return each(lambda corners: shadow(outline(camera, corners)), faces)


def polyhedron(camera: Camera, light: Light, faces: Float[Array, "f 4 3"], color: Vector) -> Patches:
    """A convex solid given by its faces, each of four corners in order, or three and the last one twice."""
    middles = jnp.mean(faces, axis=1)
    normals = unit(jnp.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]))
    center = jnp.mean(middles, axis=0)
    normals = normals * jnp.sign(jnp.sum(normals * (middles - center[None]), axis=1, keepdims=True))
    seen = jnp.where(jnp.sum(normals * (camera.eye[None] - middles), axis=1) > 0, 1.0, 0.0)
    first = jnp.zeros_like(seen).at[0].set(1.0)

    def one(corners: Array, normal: Array, seen: Array, opens: Array) -> Patches:
        return patch(outline(camera, corners), color, light.on(normal), opens=opens, opacity=seen)

    return each(one, faces, normals, seen, first)


def polyhedron_shadow(camera: Camera, light: Light, plane: Plane, faces: Float[Array, "f 4 3"]) -> Patches:
    """The shadow of a convex solid: all its faces' shadows, which cover it at least once."""
    return each(lambda corners: shadow(outline(camera, corners)), plane.along(light.toward, faces))


def prism(
    sides: int, base: Vector, axis: Vector, across: Vector, radius: Scalar, top: float = 1.0
) -> Float[Array, "f 4 3"]:
    """The faces of a right prism over a regular polygon with an even number of sides; `top` tapers it.

    Args:
        sides: of the polygon, 4 or more, even.
        base: the middle of the polygon it stands on.
        axis: from there to the middle of the other one.
        across: a unit vector at right angles to the axis; a side of the polygon looks that way.
        radius: of the polygon's corners.
        top: the size of the other polygon, 0 for a pyramid.
    """
    angles = (jnp.arange(sides) + 0.5) * (2 * jnp.pi / sides)
    along = unit(jnp.cross(axis, across))
    rim = radius * (jnp.outer(jnp.cos(angles), across) + jnp.outer(jnp.sin(angles), along))
    low, high = base[None] + rim, (base + axis)[None] + top * rim
    # Round a side in such an order that of a triangle the last corner comes twice.
    walls = jnp.stack([low, jnp.roll(low, -1, axis=0), jnp.roll(high, -1, axis=0), high], axis=1)
    caps = []
    for ring in (low, high) if top else (low,):
        caps += [jnp.stack([ring[0], ring[k], ring[k + 1], ring[k + 2]]) for k in range(1, sides - 2, 2)]
    return jnp.concatenate([walls, jnp.stack(caps)])


def _disc_edge(camera: Camera, center: Vector, normal: Vector, radius: Scalar, along: Vector | None = None) -> Conic:
    """Inside, a ray meets the plane through `center` nearer to it than `radius`, measured across `along` if given.

    A direction d meets the plane at the eye + d h / (n · d), with h = n · (center - eye); times n · d, the distance is
    linear in d.
    """
    seen = center - camera.eye
    reach = jnp.dot(normal, seen) * jnp.eye(3, dtype=seen.dtype) - jnp.outer(seen, normal)
    if along is not None:
        reach = reach - jnp.outer(along, along @ reach)
    edge = conic(camera, radius**2 * jnp.outer(normal, normal) - reach.T @ reach)
    return edge / (jnp.max(jnp.abs(edge)) + _TINY)


def disc(
    camera: Camera,
    center: Vector,
    normal: Vector,
    radius: Scalar,
    color: Vector,
    light: Scalar,
    opacity: Scalar | float = 1.0,
) -> Patches:
    """A flat disc, seen from either side, in light of one brightness.

    It is cut out of a square a little larger, of which nothing is left where it is seen edge on. Of the conic alone a
    streak would be: both its sides run through one pixel, which no slope tells.
    """
    view = center - camera.eye
    across = jnp.cross(normal, view)
    from_above = jnp.sum(across**2) < 1e-4 * jnp.sum(view**2)  # then any direction will do
    across = unit(jnp.where(from_above, jnp.cross(normal, camera.axes[0]), across))
    along = jnp.cross(normal, across)
    a, b = 1.15 * radius * across, 1.15 * radius * along
    square = outline(camera, jnp.stack([center - a - b, center + a - b, center + a + b, center - a + b]))
    edge = _disc_edge(camera, center, normal, radius)
    return patch(square._replace(conic=edge, bounded=jnp.ones_like(radius)), color, light, opacity=opacity)


def sphere(camera: Camera, light: Light, center: Vector, radius: Scalar, color: Vector) -> Patches:
    """A sphere. Its conic at (u, v), over the value in the middle, is about the squared cosine of normal and ray."""
    seen = center - camera.eye
    square = jnp.dot(seen, seen)
    form = jnp.outer(seen, seen) - (square - radius**2) * jnp.eye(3, dtype=seen.dtype)
    depth = jnp.dot(seen, camera.axes[2])
    edge = conic(camera, form) * (depth**2 / (radius**2 * square))
    # The normal: across the view the offset of the ray from the center, and the rest toward the camera.
    across = (depth * camera.axes @ light.toward).at[2].add(-jnp.dot(seen, light.toward)) / radius
    toward = -jnp.dot(seen, light.toward) / jnp.sqrt(square)
    return _round(light, inside(edge), across, toward, color)


def sphere_shadow(camera: Camera, light: Light, plane: Plane, center: Vector, radius: Scalar) -> Patches:
    """The shadow of a sphere on a plane."""
    touch = plane.along(light.toward, center)
    edge = _disc_edge(camera, touch, plane.normal, radius, unit(light.toward))
    return shadow(inside(edge))


def _round(light: Light, where: Outline, across: Vector, toward: Scalar, color: Vector) -> Patches:
    """A round surface: `across` and `toward` are its normal's products with the light, of u, v, 1 and of √conic."""
    brightness = light.direct * jnp.stack([across[2], across[0], across[1], toward])
    return patch(where, color, brightness.at[0].add(light.ambient), least=light.ambient)


def tube(
    camera: Camera, light: Light, start: Vector, end: Vector, start_radius: Scalar, end_radius: Scalar, color: Vector
) -> Patches:
    """The side of a cylinder or a cone, without its ends, as it looks from afar: its outlines run beside the axis.

    Between them a ray passes the axis at ρ radii, and there the normal is ρ across the view and √(1 - ρ²) toward it.
    """
    middle = (start + end) / 2
    axis, view = unit(end - start), unit(camera.eye - middle)
    side = unit(jnp.cross(view, axis))
    front = jnp.cross(axis, side)
    corners = _strip(start, end, start_radius, end_radius, side)
    # The plane of eye and axis has the normal `side`: a ray is at d · side times its depth beside the axis.
    depth = jnp.dot(middle - camera.eye, camera.axes[2])
    rho = camera.axes @ side * depth * 2 / (start_radius + end_radius)
    u, v, one = rho
    ahead = jnp.stack([-u * u, -2 * u * v, -v * v, -2 * u * one, -2 * v * one, 1 - one * one])
    where = outline(camera, corners)._replace(conic=ahead)
    return _round(light, where, rho * jnp.dot(side, light.toward), jnp.dot(front, light.toward), color)


def _strip(start: Vector, end: Vector, start_radius: Scalar, end_radius: Scalar, side: Vector) -> Float[Array, "4 3"]:
    """The corners of a strip along an axis, as wide as two radii."""
    return jnp.stack(
        [start - start_radius * side, start + start_radius * side, end + end_radius * side, end - end_radius * side]
    )


def frustum(
    camera: Camera,
    light: Light,
    start: Vector,
    end: Vector,
    start_radius: Scalar,
    end_radius: Scalar,
    color: Vector,
    start_color: Vector | None = None,
    end_color: Vector | None = None,
) -> Patches:
    """A cylinder or a cone, whole or cut, with its ends; those may have colors of their own."""
    body = tube(camera, light, start, end, start_radius, end_radius, color)
    axis = unit(end - start)
    end_is_near = jnp.dot(axis, camera.eye - (start + end) / 2) > 0
    rim = light.on(unit(camera.eye - (start + end) / 2))

    def cap(at_end: Array) -> Patches:
        center, radius = jnp.where(at_end, end, start), jnp.where(at_end, end_radius, start_radius)
        outward = jnp.where(at_end, axis, -axis)
        own = jnp.where(
            at_end, color if end_color is None else end_color, color if start_color is None else start_color
        )
        seen = jnp.dot(outward, camera.eye - center) > 0  # its outside, and not the rim of the side behind it
        brightness = jnp.where(seen, light.on(outward), rim)
        return disc(camera, center, axis, radius, jnp.where(seen, own, color), brightness)

    return join(cap(~end_is_near), body, cap(end_is_near))


def frustum_shadow(
    camera: Camera, light: Light, plane: Plane, start: Vector, end: Vector, start_radius: Scalar, end_radius: Scalar
) -> Patches:
    """The shadow of a cylinder or a cone on a plane, without the round ends."""
    side = unit(jnp.cross(end - start, light.toward))
    corners = _strip(start, end, start_radius, end_radius, side)
    return shadow(outline(camera, plane.along(light.toward, corners)))
