"""The dSprites twin: a white square, ellipse or heart on black.

The factors, their numbers of values and the order are those of the original; the sizes were measured on its published
sample frames. One step in position is one pixel of a 64×64 picture. The orientations have both ends of the full turn,
so the first and the last are the same picture.

Source: Matthey et al., dSprites, 2017.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tripod_lite.scenes.patches import Camera, Patches, join, silhouette
from tripod_lite.scenes.scene import Scene, evenly
from tripod_lite.scenes.solids import disc, face

# In half picture widths, at scale 1: half side of the square, half axes of the ellipse, half side of the square that
# makes, with two half discs on it, a heart.
SQUARE, ELLIPSE, HEART = 0.28, (0.225, 0.4), 0.2
SPREAD = 31 / 32  # from the first to the last position

# Looks at the plane z = 0 from (0, 0, 1), so that a point (u, v) of the picture is the point (u, v) of the plane.
CAMERA = ((0.0, 0.0, 1.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))


def _patches(values: Float[Array, "5"]) -> Patches:
    shape, scale, angle, x, y = values
    one = jnp.ones_like(shape)
    white = jnp.ones(3, values.dtype)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    # The picture's axes as the sprite sees them: everything is drawn upright, by a camera that moves, turns and zooms.
    u, v = SPREAD * (x - 0.5), SPREAD * (0.5 - y)
    zero = jnp.zeros_like(u)
    turn = jnp.stack([cos, sin, zero, -sin, cos, zero, zero, zero, one]).reshape(3, 3) / scale
    eye, axes = (jnp.asarray(part, values.dtype) for part in CAMERA)
    center = turn @ jnp.stack([u, v, zero])
    camera = Camera(eye - center, jnp.stack([turn @ axes[0], turn @ axes[1], axes[2]]))

    up, origin = eye, jnp.zeros(3, values.dtype)
    corner = jnp.asarray([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], values.dtype)
    square = face(camera, SQUARE * corner, white, one)
    squeeze = jnp.asarray([1 / ELLIPSE[0], 1 / ELLIPSE[1], 1.0], values.dtype)
    round_camera = Camera(camera.eye * squeeze, camera.axes * squeeze[None])
    ellipse = disc(round_camera, origin, up, one, white, one)
    half = HEART * 2**0.5
    diamond = jnp.asarray([(0, -half, 0), (half, 0, 0), (0, half, 0), (-half, 0, 0)], values.dtype)
    heart = [face(camera, diamond, white, one)]
    for side in (-1, 1):
        heart.append(
            disc(camera, jnp.asarray([side * half / 2, half / 2, 0], values.dtype), up, one * HEART, white, one)
        )
    weights = jnp.stack([jnp.maximum(1.0 - jnp.abs(shape - k), 0.0) for k in (0, 1, 2, 2, 2)])
    patches = join(square, ellipse, *heart)
    return patches._replace(opacity=weights)


def _draw(values: Float[Array, "n 5"], image_size: int, *, binary: bool) -> Float[Array, "n h w 3"]:
    gray = jax.lax.map(lambda row: silhouette(_patches(row), image_size), values, batch_size=64)
    # Not at 1/2, which the edge of an upright square may hit.
    gray = (gray > 0.501).astype(gray.dtype) if binary else gray
    return jnp.broadcast_to(gray[..., None], (*gray.shape, 3))


_FACTORS = {
    "shape": (0.0, 1.0, 2.0),  # square, ellipse, heart
    "scale": evenly(0.5, 1.0, 6),
    "orientation": evenly(0.0, 2 * math.pi, 40),  # radians, counterclockwise
    "pos_x": evenly(0.0, 1.0, 32),
    "pos_y": evenly(0.0, 1.0, 32),  # downward
}
_CONTINUOUS = ("scale", "orientation", "pos_x", "pos_y")

DSPRITES = Scene("dsprites", _FACTORS, partial(_draw, binary=True), _CONTINUOUS)
DSPRITES_ANTIALIASED = Scene("dsprites", _FACTORS, partial(_draw, binary=False), _CONTINUOUS, "antialiased")
