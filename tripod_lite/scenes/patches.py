"""Pictures of flat and round surfaces, painted from back to front.

A camera sees the edge of a flat face along a line, and a sphere or a disc inside a conic. So every edge is where a
polynomial in (u, v) changes sign, and its coefficients are computed once a picture. A patch is where four lines, or a
conic, or all of them are positive; a pixel's share of it follows from their values and slopes, as in `primitives`.
Patches are painted in the order given. No ray is traced and no depths are compared, so that a rounding error moves a
pixel by a rounding error, on every machine.

The faces of one solid that can be seen tile its outline: their shares add up before they cover what is behind, or a
seam would shine through. Shadows add up in the same way until a surface receives them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tripod_lite.scenes.primitives import pixel_centers, share

Vector = Float[Array, "3"]
Conic = Float[Array, "6"]  # coefficients of u², uv, v², u, v, 1
Scalar = Float[Array, ""]

_TINY = 1e-9


class Camera(NamedTuple):
    """An eye and the directions that u, v and 1 stand for: the ray through (u, v) leaves along (u, v, 1) @ axes."""

    eye: Vector
    axes: Float[Array, "3 3"]


class Outline(NamedTuple):
    """Four lines and a conic, positive inside.

    The first and the third line count as opposite, so do the second and the fourth: where both of a pair run through
    one pixel, their shares less one are left. So a face that is seen edge on is not seen.

    Attributes:
        lines: of each its coefficients.
        conic: its coefficients; also what rounds the light of a patch.
        bounded: 1 where the conic is an edge, 0 where it only rounds the light.
    """

    lines: Float[Array, "*p 4 3"]
    conic: Float[Array, "*p 6"]
    bounded: Float[Array, "*p"]


class Patches(NamedTuple):
    """P patches in the order in which they are painted.

    Attributes:
        outline: where they are.
        color: red, green and blue in full light.
        light: the brightness, coefficients of 1, u, v and √conic; of flat faces only the first is not zero.
        least: what the brightness does not fall below.
        opens: 1 where a new solid begins, 0 where the patch belongs to the one before.
        opacity: 1 opaque, 0 not to be seen.
        casts: 1 where the patch is a shadow, which waits to be received.
        receives: how much of the light the waiting shadows take from the patch's pixels; then they are gone. -1 where
            the patch leaves them waiting.
    """

    outline: Outline
    color: Float[Array, "*p 3"]
    light: Float[Array, "*p 4"]
    least: Float[Array, "*p"]
    opens: Float[Array, "*p"]
    opacity: Float[Array, "*p"]
    casts: Float[Array, "*p"]
    receives: Float[Array, "*p"]


def look_at(eye: Vector, target: Vector, focal: float) -> Camera:
    """A camera that is upright (z is up) and looks at `target`; the focal length is in half picture widths."""
    ahead = unit(target - eye)
    right = unit(jnp.stack([ahead[1], -ahead[0], jnp.zeros_like(ahead[0])]))
    return Camera(eye, jnp.stack([right / focal, jnp.cross(right, ahead) / focal, ahead]))


def unit(vector: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """The vector at length 1."""
    return vector * jax.lax.rsqrt(jnp.sum(vector**2, axis=-1, keepdims=True) + _TINY)


def edges(camera: Camera, normals: Float[Array, "k 3"]) -> Float[Array, "k 3"]:
    """Lines on whose positive sides directions d have d · normal > 0: a row a normal, coefficients of u, v and 1.

    Of no normal, one that is positive all over.
    """
    coefficients = normals @ camera.axes.T
    length = jnp.sqrt(jnp.sum(coefficients**2, axis=1, keepdims=True) + _TINY**2)
    return jnp.where(length < 1e-6, jnp.array([0.0, 0.0, 1.0], length.dtype), coefficients / length)


def conic(camera: Camera, form: Float[Array, "3 3"]) -> Conic:
    """The edge on whose positive side directions d have d · form · d > 0, for a symmetric form."""
    q = camera.axes @ form @ camera.axes.T
    rows, columns = np.array([0, 0, 1, 0, 1, 2]), np.array([0, 1, 1, 2, 2, 2])
    return q[rows, columns] * jnp.asarray(1 + (rows != columns), q.dtype)


def inside(edge: Conic) -> Outline:
    """The outline of what is inside a conic."""
    nowhere = jnp.zeros((4, 3), edge.dtype).at[:, 2].set(1.0)
    return Outline(nowhere, edge, jnp.ones((), edge.dtype))


def between(lines: Float[Array, "4 3"]) -> Outline:
    """The outline of what is between two pairs of lines."""
    return Outline(lines, jnp.zeros(6, lines.dtype), jnp.zeros((), lines.dtype))


def patch(
    outline: Outline,
    color: Vector,
    light: Float[Array, "4"] | Scalar,
    *,
    least: Scalar | float = 0.0,
    opens: Scalar | float = 1.0,
    opacity: Scalar | float = 1.0,
) -> Patches:
    """One patch that is painted; a single number for the light makes it flat."""
    zero = jnp.zeros((), outline.lines.dtype)
    light = light if jnp.ndim(light) else jnp.stack([light, zero, zero, zero])
    return Patches(outline, color, light, zero + least, zero + opens, zero + opacity, zero, zero - 1)


def shadow(outline: Outline) -> Patches:
    """One patch that is a shadow."""
    nothing = jnp.zeros(4, outline.lines.dtype)
    zero = nothing[0]
    return Patches(outline, nothing[:3], nothing, zero, zero, zero, zero + 1, zero - 1)


def receive(outline: Outline, strength: Scalar | float) -> Patches:
    """One patch that receives the shadows cast since the last one that did."""
    nothing = jnp.zeros(4, outline.lines.dtype)
    zero = nothing[0]
    return Patches(outline, nothing[:3], nothing, zero, zero + 1, zero, zero, zero + strength)


def join(*parts: Patches) -> Patches:
    """All patches in one list; a part may have any axes before the patches' own."""
    dims = Patches(Outline(2, 1, 0), 1, 1, 0, 0, 0, 0, 0)

    def joined(own: int, *fields: Array) -> Array:
        return jnp.concatenate([field.reshape(-1, *field.shape[field.ndim - own :]) for field in fields])

    return jax.tree.map(joined, dims, *parts)


def each(build: Callable[..., Patches], *columns: Array) -> Patches:
    """The patches of `build(row of every column)`, for one row after the other."""
    return join(jax.vmap(build)(*columns))


def by_distance(*groups: tuple[Scalar, Patches]) -> Patches:
    """Groups with their distances from the eye, the farthest first."""
    lists = [(distance, join(group)) for distance, group in groups]
    distances = jnp.concatenate([jnp.broadcast_to(distance, patches.least.shape) for distance, patches in lists])
    order = jnp.argsort(-distances, stable=True)
    return jax.tree.map(lambda field: field[order], join(*(patches for _, patches in lists)))


# Pictures painted side by side: as many as the processor's cache has room for.
_GROUP = 16


def pictures(
    build: Callable[[Float[Array, " n_s"]], Patches], values: Float[Array, "n n_s"], image_size: int
) -> Float[Array, "n h w 3"]:
    """The pictures of rows of factor values, whose patches `build` gives."""
    images = jax.lax.map(lambda row: paint(build(row), image_size), values, batch_size=_GROUP)
    return jnp.moveaxis(images, 1, 3)


def paint(patches: Patches, image_size: int) -> Float[Array, "3 h w"]:
    """The picture, in red, green and blue; black where no patch is."""
    patches, u, v, pixel = _on_pixels(patches, image_size)
    zero = jnp.zeros((image_size, image_size), u.dtype)

    def add(canvas: tuple[list[Array], list[Array], Array, Array], p: Patches) -> tuple[tuple, None]:
        behind, solid, solid_share, dark = canvas
        covered, light = _look(p, u, v, pixel)

        # A new solid: the one before covers what is behind it.
        keep = 1.0 - p.opens
        behind = [b + p.opens * (s - solid_share * b) for b, s in zip(behind, solid, strict=True)]
        behind = [b * (1.0 - jnp.maximum(p.receives, 0.0) * covered * dark) for b in behind]
        added = jnp.minimum(covered * p.opacity, 1.0 - keep * solid_share)
        solid = [keep * s + added * light * p.color[k] for k, s in enumerate(solid)]
        solid_share = keep * solid_share + added
        dark = jnp.minimum(dark + p.casts * covered, 1.0) * jnp.where(p.receives < 0, 1.0, 0.0)
        return (behind, solid, solid_share, dark), None

    canvas = ([zero] * 3, [zero] * 3, zero, zero)
    (behind, solid, solid_share, _), _ = jax.lax.scan(add, canvas, patches, unroll=4)
    return jnp.stack([b + s - solid_share * b for b, s in zip(behind, solid, strict=True)])


def silhouette(patches: Patches, image_size: int) -> Float[Array, "h w"]:
    """The largest share of each pixel that one patch covers: the outline of patches that overlap."""
    patches, u, v, pixel = _on_pixels(patches, image_size)
    covered = jax.vmap(lambda p: p.opacity * _look(p, u, v, pixel)[0])(patches)
    return jnp.max(covered, axis=0)


def _on_pixels(patches: Patches, image_size: int) -> tuple[Patches, Float[Array, "1 w"], Float[Array, "h 1"], float]:
    """The patches with lines over their change across a pixel; the pixels' centers and their side."""
    pixel = 2.0 / image_size
    lines = patches.outline.lines
    steps = pixel * jnp.sum(jnp.abs(lines[..., :2]), axis=-1, keepdims=True) + _TINY
    patches = patches._replace(outline=patches.outline._replace(lines=lines / steps))
    centers = pixel_centers(image_size, lines.dtype)
    return patches, centers[None, :], -centers[:, None], pixel


def _look(p: Patches, u: Float[Array, "1 w"], v: Float[Array, "h 1"], pixel: float) -> tuple[Array, Array]:
    """How much one patch covers of each pixel, and its brightness there."""
    shares = [jnp.clip(0.5 + line[0] * u + line[1] * v + line[2], 0.0, 1.0) for line in p.outline.lines]
    opposite = [jnp.maximum(shares[k] + shares[k + 2] - 1.0, 0.0) for k in (0, 1)]
    uu, uv, vv, by_u, by_v, constant = p.outline.conic
    value = (uu * u + uv * v + by_u) * u + (vv * v + by_v) * v + constant
    slope = jnp.abs(2 * uu * u + uv * v + by_u) + jnp.abs(2 * vv * v + uv * u + by_v)
    rounded = 1.0 + p.outline.bounded * (share(value, slope * pixel) - 1.0)
    root = jnp.sqrt(jnp.maximum(value, 1e-6))
    light = jnp.maximum(p.light[0] + p.light[1] * u + p.light[2] * v + p.light[3] * root, p.least)
    return opposite[0] * opposite[1] * rounded, light
