"""What scenes are made of: a camera, antialiased edges, colors, and closed-form solids that stand on the floor.

A scene is drawn by a function of the image plane, for one pixel with center (u, v) at a time; `jax.vmap` makes it a
picture. Nothing is marched and nothing is supersampled. Every edge in a picture, be it a silhouette, a corner or the
rim of a shadow, is where some function g(u, v) changes sign, and g over its own slope is the distance to that edge. So
the share of a pixel on the positive side is, by forward-mode differentiation,

    coverage = clip(1/2 + g / (pixel · (|∂g/∂u| + |∂g/∂v|)), 0, 1).

Edges are thus smooth in whatever moves them, and a picture is differentiable in its geometry as well as in its colors.

Space is right-handed with z up; the floor is z = 0 and the solids stand around the z axis.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""]
Edge = Callable[[Scalar, Scalar], Scalar]

# Below every length that can be seen: keeps quotients and the slope of a square root finite.
_TINY = 1e-6


class Ray(NamedTuple):
    """The points (ox, oy, oz) + t · (dx, dy, dz), t > 0."""

    ox: Scalar
    oy: Scalar
    oz: Scalar
    dx: Scalar
    dy: Scalar
    dz: Scalar


class Span(NamedTuple):
    """Where a ray passes an endless upright column: from t = enter to t = leave if `inside` is positive."""

    enter: Scalar
    leave: Scalar
    inside: Scalar


def orbit_ray(u: Scalar, v: Scalar, *, azimuth: Scalar, distance: float, height: float, focal: float) -> Ray:
    """The ray through (u, v) of a level camera that looks at the z axis; verticals stay vertical, v = 0 is the horizon.

    Args:
        u: place on the image plane, -1 left to 1 right.
        v: place on the image plane, -1 bottom to 1 top; also the direction's z.
        azimuth: where the camera stands, in radians from the negative y axis, counterclockwise seen from above.
        distance: from the z axis.
        height: over the floor.
        focal: focal length, in half picture widths.
    """
    sin, cos = jnp.sin(azimuth), jnp.cos(azimuth)
    eye = (distance * sin, -distance * cos, jnp.full_like(sin, height))
    return Ray(*eye, u * cos - focal * sin, u * sin + focal * cos, v)


def coverage(edge: Edge, u: Scalar, v: Scalar, pixel: float) -> Scalar:
    """The share, 0 to 1, of the pixel with center (u, v) and side `pixel` on which `edge` is positive.

    The edge is taken as straight across the pixel; where it runs along the pixel grid the share is exact.
    """
    one = jnp.ones_like(u)
    value, by_u = jax.jvp(lambda u: edge(u, v), (u,), (one,))
    _, by_v = jax.jvp(lambda v: edge(u, v), (v,), (one,))
    return share(value, pixel * (jnp.abs(by_u) + jnp.abs(by_v)))


def share(value: Float[Array, "*s"], width: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """The share, 0 to 1, of a pixel that is positive, if `value` at its center changes by `width` across it."""
    return jnp.clip(0.5 + value / (width + _TINY), 0.0, 1.0)


def pixel_centers(image_size: int, dtype: jnp.dtype) -> Float[Array, " image_size"]:
    """The pixels' centers along u, from -1 to 1; along v they run the other way."""
    return (jnp.arange(image_size, dtype=dtype) + 0.5) * (2.0 / image_size) - 1.0


def hue_to_rgb(hue: Scalar) -> Float[Array, "3"]:
    """The color of a hue at full saturation and value; 0 is red, 1/3 green, 2/3 blue, 1 red again."""
    distance = jnp.abs((6.0 * hue + jnp.array([0.0, 4.0, 2.0], hue.dtype)) % 6.0 - 3.0)
    return jnp.clip(distance - 1.0, 0.0, 1.0)


def _root(square: Scalar) -> Scalar:
    return jnp.sqrt(jnp.maximum(square, _TINY))


def through_cylinder(ray: Ray, radius: Scalar) -> Span:
    """Where a ray passes the endless cylinder x² + y² < radius²."""
    a = ray.dx**2 + ray.dy**2
    b = -(ray.ox * ray.dx + ray.oy * ray.dy)
    inside = b**2 - a * (ray.ox**2 + ray.oy**2 - radius**2)
    root = _root(inside)
    return Span((b - root) / a, (b + root) / a, inside)


def through_square(ray: Ray, half: Scalar) -> Span:
    """Where a ray passes the endless column |x| < half, |y| < half."""
    dx = jnp.where(jnp.abs(ray.dx) < _TINY, _TINY, ray.dx)
    dy = jnp.where(jnp.abs(ray.dy) < _TINY, _TINY, ray.dy)
    x_1, x_2 = (-half - ray.ox) / dx, (half - ray.ox) / dx
    y_1, y_2 = (-half - ray.oy) / dy, (half - ray.oy) / dy
    enter = jnp.maximum(jnp.minimum(x_1, x_2), jnp.minimum(y_1, y_2))
    leave = jnp.minimum(jnp.maximum(x_1, x_2), jnp.maximum(y_1, y_2))
    inside = half * (jnp.abs(ray.dx) + jnp.abs(ray.dy)) - jnp.abs(ray.ox * ray.dy - ray.oy * ray.dx)
    return Span(enter, leave, inside)


def capped(
    ray: Ray, column: Callable[[Scalar], Span], u: Scalar, height: Scalar, pixel: float
) -> tuple[Scalar, Scalar]:
    """Cuts a column off at the floor and at `height`, for a camera above the floor.

    Args:
        ray: the ray through the pixel's center.
        column: where a ray through u passes the column, which stands upright and so does not depend on v.
        u: the pixel's center.
        height: of the column.
        pixel: the pixel's side.

    Returns:
        (between, top): the share of the pixel between the column's lower and upper outlines, and of what is seen of the
        column the share that is its top.
    """
    span, by_u = jax.jvp(column, (u,), (jnp.ones_like(u),))

    def width(t: Scalar, t_by_u: Scalar) -> Scalar:
        # How much the height z = oz + t v changes across a pixel, up and sideways. At the sides of a cylinder, where
        # its outlines stand upright, the latter has no bound of its own.
        return pixel * (t + jnp.minimum(jnp.abs(ray.dz * t_by_u), 2.0 * t))

    far = ray.dz < 0  # from above it is the far rim that outlines the top, from below the near one
    over, over_by_u = jnp.where(far, span.leave, span.enter), jnp.where(far, by_u.leave, by_u.enter)
    entry, entry_width = ray.oz + span.enter * ray.dz, width(span.enter, by_u.enter)
    between = share(entry, entry_width) * share(height - ray.oz - over * ray.dz, width(over, over_by_u))
    return between, share(entry - height, entry_width)


def inside_capsule(ray: Ray, radius: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Positive where a ray comes nearer than `radius` to the piece of the z axis between `low` and `high`."""
    a = ray.dx**2 + ray.dy**2
    b = -(ray.ox * ray.dx + ray.oy * ray.dy)
    nearest = jnp.clip(ray.oz + ray.dz * b / a, low, high) - ray.oz
    along = b + nearest * ray.dz
    return radius**2 - (ray.ox**2 + ray.oy**2 + nearest**2 - along**2 / (a + ray.dz**2))


def capsule_normal(ray: Ray, radius: Scalar, low: Scalar, high: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The unit normal where a ray first meets that capsule; about that of its nearest point for a ray that misses."""
    a = ray.dx**2 + ray.dy**2
    b = -(ray.ox * ray.dx + ray.oy * ray.dy)
    c = ray.ox**2 + ray.oy**2 - radius**2
    side = (b - _root(b**2 - a * c)) / a
    z = ray.oz + ray.dz * side
    center = jnp.clip(z, low, high) - ray.oz
    along, square = b + center * ray.dz, a + ray.dz**2
    cap = (along - _root(along**2 - square * (c + center**2))) / square
    on_side = (z > low) & (z < high)
    t = jnp.where(on_side, side, cap)
    up = jnp.where(on_side, 0.0, ray.dz * t - center)
    return (ray.ox + ray.dx * t) / radius, (ray.oy + ray.dy * t) / radius, up / radius


def cylinder_shadow(x: Scalar, y: Scalar, sun: tuple[float, float], radius: Scalar, height: Scalar) -> Scalar:
    """Positive at points (x, y) of the floor in the shadow of an upright cylinder.

    A shadow ray from the floor climbs along `sun`, x and y for each unit of height. Seen from above it is a segment,
    and it meets the cylinder where the segment meets the disk.
    """
    along_x, along_y = sun[0] * height, sun[1] * height
    s = jnp.clip(-(x * along_x + y * along_y) / (along_x**2 + along_y**2), 0.0, 1.0)
    return radius**2 - (x + s * along_x) ** 2 - (y + s * along_y) ** 2


def square_shadow(x: Scalar, y: Scalar, sun: tuple[float, float], half: Scalar, height: Scalar) -> Scalar:
    """Positive at points (x, y) of the floor in the shadow of an upright square column.

    The segment of `cylinder_shadow` meets the square where no axis separates them: neither x, nor y, nor the one across
    the segment.
    """
    along_x, along_y = sun[0] * height, sun[1] * height
    apart_x = jnp.abs(x + along_x / 2) - jnp.abs(along_x) / 2
    apart_y = jnp.abs(y + along_y / 2) - jnp.abs(along_y) / 2
    across = half * (jnp.abs(along_x) + jnp.abs(along_y)) - jnp.abs(x * along_y - y * along_x)
    return jnp.minimum(half - jnp.maximum(apart_x, apart_y), across)
