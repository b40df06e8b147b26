"""How close reconstructions are to their images."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float


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
    a, b = np.asarray(a), np.asarray(b)
    if (a.dtype == np.uint8) != (b.dtype == np.uint8):
        raise TypeError(f"a and b must be both floating point or both uint8, got {a.dtype} and {b.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape, got {a.shape} and {b.shape}")
    a, b = _as_floats("a", a), _as_floats("b", b)
    error = np.mean((a - b) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):  # equal images: infinite
        return -10 * np.log10(error)


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
