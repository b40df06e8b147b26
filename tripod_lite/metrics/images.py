"""How close reconstructions are to their images."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float

WINDOW = 11  # pixels
WINDOW_DEVIATION = 1.5


def psnr(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Peak signal-to-noise ratio in decibels, the mean over images of -10 log10(mean squared error).

    Args:
        a: images with values in [0, 1], shape (b, h, w, channels); or uint8, which is divided by 255 first.
        b: likewise, the same shape. Either may come first.

    Returns:
        dB; infinity where an image equals its partner.

    The released evaluation subtracts uint8 images, where 0 - 1 is 255 and every larger error wraps around; it also
    rounds the reconstruction. Here images are floats before they are subtracted.

    Raises:
        TypeError: neither floating point nor uint8, or one of each.
        ValueError: shapes differ or are not four-dimensional; NaN or values outside [0, 1].
    """
    return float(np.mean(psnr_per_image(a, b)))


def psnr_per_image(a: npt.ArrayLike, b: npt.ArrayLike) -> Float[np.ndarray, " b"]:
    """As `psnr`, one value an image, shape (b,)."""
    a, b = _as_pair(a, b)
    error = np.mean((a - b) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):  # equal images: infinite
        return -10 * np.log10(error)


def ssim(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Structural similarity, the mean over images, pixels and channels.

    With the means μ, variances σ² and covariance σ_ab of the two images in a Gaussian window around a pixel,

        (2 μ_a μ_b + C_1)(2 σ_ab + C_2) / ((μ_a² + μ_b² + C_1)(σ_a² + σ_b² + C_2)),  C_1 = 0.01², C_2 = 0.03².

    The window has 11 × 11 pixels and a standard deviation of 1.5 pixels; only windows inside the image count. In
    [-1, 1]; 1 for equal images. It rewards edges and textures in the right place, where PSNR asks for values only.

    Args:
        a: images with values in [0, 1], shape (b, h, w, channels), h and w at least 11; or uint8, divided by 255 first.
        b: likewise, the same shape. Either may come first.

    Raises:
        TypeError: neither floating point nor uint8, or one of each.
        ValueError: shapes differ, are not four-dimensional or too small; NaN or values outside [0, 1].

    Source: Wang et al., *Image quality assessment: from error visibility to structural similarity* (IEEE Transactions
    on Image Processing, 2004).
    """
    return float(np.mean(ssim_per_image(a, b)))


def ssim_per_image(a: npt.ArrayLike, b: npt.ArrayLike) -> Float[np.ndarray, " b"]:
    """As `ssim`, one value an image, shape (b,)."""
    a, b = _as_pair(a, b)
    if min(a.shape[1:3]) < WINDOW:
        raise ValueError(f"a and b must have at least {WINDOW} × {WINDOW} pixels, got shape {a.shape}")
    levels = [x.mean(axis=(1, 2), keepdims=True) for x in (a, b)]
    windows = [_windows(size) for size in a.shape[1:3]]
    return np.asarray(_similarity(a - levels[0], b - levels[1], *levels, *windows), np.float64)


@jax.jit
def _similarity(
    a: Float[Array, "b h w c"],
    b: Float[Array, "b h w c"],
    level_a: Float[Array, "b 1 1 c"],
    level_b: Float[Array, "b 1 1 c"],
    rows: Float[Array, "i h"],
    columns: Float[Array, "j w"],
) -> Float[Array, " b"]:
    """SSIM of a + level_a and b + level_b; without the levels second moments lose less to rounding."""

    def mean(images: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
        return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns, precision="highest")

    mean_a, mean_b = mean(a), mean(b)
    covariance = mean(a * b) - mean_a * mean_b
    variances = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    mean_a, mean_b = mean_a + level_a, mean_b + level_b
    c_1, c_2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c_1) * (2 * covariance + c_2)
    return (similar / ((mean_a**2 + mean_b**2 + c_1) * (variances + c_2))).mean(axis=(1, 2, 3))


def _windows(size: int) -> Float[np.ndarray, "i size"]:
    """A row for each place of the window along an axis: the weights of the pixels."""
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (places / WINDOW_DEVIATION) ** 2)
    windows = np.zeros((size - WINDOW + 1, size))
    for i, row in enumerate(windows):
        row[i : i + WINDOW] = weights / weights.sum()
    return windows


def _as_pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Float[np.ndarray, "b h w c"], Float[np.ndarray, "b h w c"]]:
    a, b = np.asarray(a), np.asarray(b)
    if (a.dtype == np.uint8) != (b.dtype == np.uint8):
        raise TypeError(f"a and b must be both floating point or both uint8, got {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {a.shape} and {b.shape}")
    return _as_floats("a", a), _as_floats("b", b)


def _as_floats(name: str, images: np.ndarray) -> Float[np.ndarray, "b h w c"]:
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{name} must have shape (b, h, w, channels), got {images.shape}")
    if images.dtype == np.uint8:
        return images / 255
    if not np.issubdtype(images.dtype, np.floating):
        raise TypeError(f"{name} must be floating point in [0, 1] or uint8, got {images.dtype}")
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise ValueError(f"{name} must lie in [0, 1], got values from {low} to {high}")
    return images.astype(np.float64)
