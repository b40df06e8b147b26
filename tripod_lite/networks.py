"""The encoder and the decoder, one definition for every size.

The `paper` size follows the authors' released networks (20 238 255 parameters together at n_z = 12 and 64×64 images).
Other sizes have other widths and may work on patches of pixels; other image sizes have more or fewer stages.
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from tripod_lite.activations import gelu

FINAL_GRID = 4  # every encoder ends, and every decoder starts, on a 4×4 grid


@dataclass(frozen=True)
class Architecture:
    """What the networks look like, but for the number of latents and the image size.

    Attributes:
        width: channels of a stage on the finest grid, that of `patch`; every halving doubles them.
        blocks: residual blocks a stage, two convolutions each.
        patch: edge in pixels of the patches that the decoder's last stage paints (1: single pixels).
        encoder_patch: edge in pixels of the patches that the encoder's first stage sees, `patch` or a multiple by a
            power of two: the encoder leaves out its stages on finer grids, where most of its time goes, but for one.
        encoder_dense: units of the encoder's dense layer.
        decoder_dense: units of the decoder's two dense layers, the length of the conditioning vector.
    """

    width: int
    blocks: int
    patch: int
    encoder_patch: int
    encoder_dense: int
    decoder_dense: int

    def stages(self, image_size: int) -> int:
        """Number of doublings from the 4×4 grid to patches, the decoder's stages.

        Raises:
            ValueError: image_size / patch is not 4 times a power of two (at least 8).
        """
        grid, rest = divmod(image_size, self.patch)
        stages = (grid // FINAL_GRID).bit_length() - 1
        if rest or stages < 1 or FINAL_GRID << stages != grid:
            sizes = ", ".join(str(self.patch * FINAL_GRID << s) for s in range(1, 6))
            raise ValueError(f"image_size must be one of {sizes}, … for this size of network, got {image_size}")
        return stages

    def encoder_stages(self, image_size: int) -> int:
        """Number of halvings from the encoder's patches to the 4×4 grid, at least one."""
        return max(1, self.stages(image_size) - (self.encoder_patch // self.patch).bit_length() + 1)


ARCHITECTURES = {
    "tiny": Architecture(width=16, blocks=1, patch=2, encoder_patch=4, encoder_dense=128, decoder_dense=64),
    "lite": Architecture(width=16, blocks=1, patch=1, encoder_patch=1, encoder_dense=256, decoder_dense=128),
    "paper": Architecture(width=32, blocks=2, patch=1, encoder_patch=1, encoder_dense=512, decoder_dense=256),
}


def space_to_depth(x: Float[Array, "b h w c"], block: int) -> Float[Array, "b H W d"]:
    """Fold each block×block square of pixels into the channels."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // block, block, w // block, block, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // block, w // block, block * block * c)


def depth_to_space(x: Float[Array, "b h w c"], block: int) -> Float[Array, "b H W d"]:
    """The inverse of `space_to_depth`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, block, block, c // block**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * block, w * block, c // block**2)


def instance_norm(x: Float[Array, "b h w c"], epsilon: float = 1e-5) -> Float[Array, "b h w c"]:
    """Zero mean and unit variance over the pixels of each image and channel, in single precision at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centered = x - jnp.mean(x, axis=(1, 2), keepdims=True)
    return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered), axis=(1, 2), keepdims=True) + epsilon)


def conv3x3(n_in: int, n_out: int, dtype: DTypeLike | None, rngs: nnx.Rngs) -> nnx.Conv:
    """A 3×3 convolution that keeps the image size."""
    return nnx.Conv(n_in, n_out, (3, 3), dtype=dtype, rngs=rngs)


# In a picture whose pixels are doubled, a 3×3 window over an even row sees the row above it and twice its own; over an
# odd row, twice its own and the one below. TAPS[p, i, r] = 1 where tap r falls on the i-th of the two rows.
TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


def doubled_conv(conv: nnx.Conv, x: Float[Array, "b h w c"]) -> Float[Array, "b H W d"]:
    """A 3×3 convolution of x with every pixel doubled, (b, h, w, c) to (b, 2h, 2w, d), without the doubled picture.

    Even and odd rows and columns make four convolutions with 2×2 kernels, the sums of those taps of the 3×3 kernel that
    fall on one pixel: 4/9 of the operations.
    """
    kernel = conv.kernel[...]
    taps = jnp.asarray(TAPS, kernel.dtype)
    dtype = conv.dtype or jnp.promote_types(x.dtype, kernel.dtype)
    x, kernels = x.astype(dtype), jnp.einsum("pir,qjs,rscd->pqijcd", taps, taps, kernel).astype(dtype)
    rows = []
    for p in (0, 1):
        columns = [
            jax.lax.conv_general_dilated(
                x, kernels[p, q], (1, 1), ((1 - p, p), (1 - q, q)), dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            for q in (0, 1)
        ]
        rows.append(jnp.stack(columns, axis=3))
    b, h, w, _ = x.shape
    y = jnp.stack(rows, axis=2)  # (b, h, 2, w, 2, d)
    return y.reshape(b, 2 * h, 2 * w, -1) + conv.bias[...].astype(dtype)[None, None, None]


class InstanceNorm(nnx.Module):
    """Instance normalization with a learned scale and shift a channel."""

    def __init__(self, channels: int):
        self.scale = nnx.Param(jnp.ones((channels,)))
        self.shift = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return instance_norm(x) * self.scale[...][None, None, None] + self.shift[...][None, None, None]


class AdaptiveInstanceNorm(nnx.Module):
    """Instance normalization whose scale and shift are linear in the conditioning vector: x·(1 + scale) + shift."""

    def __init__(self, channels: int, n_condition: int, *, rngs: nnx.Rngs):
        self.style = nnx.Linear(n_condition, 2 * channels, rngs=rngs)

    def __call__(self, x: Float[Array, "#b h w c"], condition: Float[Array, "b m"]) -> Float[Array, "b h w c"]:
        scale, shift = jnp.split(self.style(condition)[:, None, None, :], 2, axis=-1)
        return instance_norm(x) * (1 + scale) + shift


class EncoderBlock(nnx.Module):
    """x + two rounds of (3×3 convolution, instance normalization, GELU); a 1×1 skip where the channels change."""

    def __init__(self, n_in: int, n_out: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.convs = nnx.List([conv3x3(n_in, n_out, dtype, rngs), conv3x3(n_out, n_out, dtype, rngs)])
        self.norms = nnx.List([InstanceNorm(n_out), InstanceNorm(n_out)])
        self.skip = nnx.Conv(n_in, n_out, (1, 1), dtype=dtype, rngs=rngs) if n_in != n_out else None

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        y = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = gelu(norm(conv(y)))
        x = x if self.skip is None else self.skip(x)
        return (x + y).astype(x.dtype)


class DecoderBlock(nnx.Module):
    """x + two rounds of (3×3 convolution, adaptive instance normalization, GELU)."""

    def __init__(self, channels: int, n_condition: int, *, dtype: DTypeLike | None, rngs: nnx.Rngs):
        self.convs = nnx.List([conv3x3(channels, channels, dtype, rngs) for _ in range(2)])
        self.norms = nnx.List([AdaptiveInstanceNorm(channels, n_condition, rngs=rngs) for _ in range(2)])

    def __call__(self, x: Float[Array, "#b h w c"], condition: Float[Array, "b m"]) -> Float[Array, "b h w c"]:
        y = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = gelu(norm(conv(y), condition))
        return (x + y).astype(x.dtype)


class Encoder(nnx.Module):
    """Images to unbounded latents z̃. Convolutions compute in `dtype` where it is given, all else as parameters are."""

    def __init__(
        self,
        architecture: Architecture,
        image_size: int,
        n_z: int,
        *,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        a = architecture
        stages = a.stages(image_size)
        first = stages - a.encoder_stages(image_size)
        self.patch = a.patch << first
        self.stages, self.downs = nnx.List(), nnx.List()
        n_in = 3 * self.patch**2
        for stage in range(first, stages):
            width = a.width << stage
            channels = [n_in] + [width] * a.blocks
            self.stages.append(
                nnx.List([EncoderBlock(i, o, dtype=dtype, rngs=rngs) for i, o in itertools.pairwise(channels)])
            )
            self.downs.append(nnx.Conv(4 * width, 2 * width, (1, 1), dtype=dtype, rngs=rngs))
            n_in = 2 * width
        self.dense = nnx.Linear(n_in, a.encoder_dense, rngs=rngs)
        self.norm = nnx.LayerNorm(a.encoder_dense, rngs=rngs)
        self.head = nnx.Linear(a.encoder_dense, n_z, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b n_z"]:
        x = space_to_depth(images, self.patch) if self.patch > 1 else images
        for blocks, down in zip(self.stages, self.downs, strict=True):
            for block in blocks:
                x = block(x)
            x = down(space_to_depth(x, 2))
        x = jnp.mean(x.astype(jnp.promote_types(x.dtype, jnp.float32)), axis=(1, 2))
        return self.head(gelu(self.norm(self.dense(x))))


class Decoder(nnx.Module):
    """Latents to image logits, and on the way the layers whose curvature is penalized; `dtype` as for `Encoder`."""

    def __init__(
        self,
        architecture: Architecture,
        image_size: int,
        n_z: int,
        *,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        a = architecture
        stages = a.stages(image_size)
        self.patch = a.patch
        self.dense = nnx.List([nnx.Linear(n, a.decoder_dense, rngs=rngs) for n in (n_z, a.decoder_dense)])
        self.norms = nnx.List([nnx.LayerNorm(a.decoder_dense, rngs=rngs) for _ in range(2)])
        self.constant = nnx.Param(jnp.ones((FINAL_GRID, FINAL_GRID, a.width << stages)))
        self.stages, self.ups = nnx.List(), nnx.List()
        for stage in reversed(range(stages)):
            width = 2 * a.width << stage
            blocks = [DecoderBlock(width, a.decoder_dense, dtype=dtype, rngs=rngs) for _ in range(a.blocks)]
            self.stages.append(nnx.List(blocks))
            self.ups.append(conv3x3(width, width // 2 if stage else 3 * a.patch**2, dtype, rngs))

    def condition(self, z: Float[Array, "b n_z"]) -> Float[Array, "b m"]:
        """The conditioning vector, which steers every normalization of the decoder."""
        for dense, norm in zip(self.dense, self.norms, strict=True):
            z = gelu(norm(dense(z)))
        return z

    def activations(self, z: Float[Array, "b n_z"]) -> list[Float[Array, "b ..."]]:
        """The penalized layers: the conditioning vector and the output of every up-block but the last."""
        condition = self.condition(z)
        layers = [condition]
        x = self.constant[...][None]
        for stage in range(len(self.stages) - 1):
            x = self._up_block(stage, x, condition)
            layers.append(x)
        return layers

    def __call__(self, z: Float[Array, "b n_z"]) -> Float[Array, "b h w 3"]:
        condition = self.condition(z)
        x = self.constant[...][None]  # a batch of one until the first normalization, which brings in z
        for stage in range(len(self.stages)):
            x = self._up_block(stage, x, condition)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return depth_to_space(x, self.patch) if self.patch > 1 else x

    def _up_block(self, stage: int, x: Array, condition: Array) -> Array:
        for block in self.stages[stage]:
            x = block(x, condition)
        return doubled_conv(self.ups[stage], x)
