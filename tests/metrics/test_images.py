"""PSNR, and the trap it avoids; SSIM against its definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.metrics import psnr, ssim


def flat(*values: float) -> np.ndarray:
    return np.stack([np.full((4, 4, 3), value, np.float32) for value in values])


def test_a_known_error_in_decibels():
    assert psnr(flat(0.5), flat(0.6)) == pytest.approx(20, abs=1e-4)
    assert psnr(flat(0.0), flat(1.0)) == pytest.approx(0, abs=1e-6)
    assert psnr(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.01)) == pytest.approx(40, abs=1e-4)


def test_it_is_the_mean_over_images_not_of_their_errors():
    assert psnr(flat(0.5, 0.5), flat(0.6, 0.51)) == pytest.approx((20 + 40) / 2, abs=1e-3)


def test_equal_images_are_infinitely_close():
    assert psnr(flat(0.3, 0.7), flat(0.3, 0.7)) == np.inf


def test_symmetric():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 8, 8, 3))
    assert psnr(a, b) == psnr(b, a)


def test_uint8_is_not_subtracted_as_uint8():
    """An error of -20 wraps around to 236, its square 400 to 144: the trap reports 4 dB too many."""
    a = np.full((1, 4, 4, 3), 100, np.uint8)
    b = np.full((1, 4, 4, 3), 120, np.uint8)
    trap = -10 * np.log10(np.mean((a - b) ** 2) / 255**2)
    assert trap == pytest.approx(20 * np.log10(255 / 12), abs=1e-9)
    assert psnr(a, b) == pytest.approx(20 * np.log10(255 / 20), abs=1e-9)
    assert psnr(a, b) == pytest.approx(psnr(a / 255, b / 255), abs=1e-9)


def test_uint8_at_its_ends():
    # The whole range: 0 dB. A single step: 20 log10 255 = 48.13 dB, also where it would wrap around.
    black, nearly, white = (np.full((1, 4, 4, 3), value, np.uint8) for value in (0, 1, 255))
    for a, b, decibels in ((black, white, 0), (black, nearly, 48.1308), (white, white - 1, 48.1308)):
        assert psnr(a, b) == pytest.approx(decibels, abs=1e-4)
        assert psnr(b, a) == pytest.approx(decibels, abs=1e-4)


SHAPE = (2, 13, 14, 3)  # compiled once


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al., one window at a time."""
    y, x = np.mgrid[-5:6, -5:6]
    window = np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for image_a, image_b in zip(a, b, strict=True):
        for c in range(a.shape[3]):
            for i in range(a.shape[1] - 10):
                for j in range(a.shape[2] - 10):
                    p, q = image_a[i : i + 11, j : j + 11, c], image_b[i : i + 11, j : j + 11, c]
                    mean_p, mean_q = (window * p).sum(), (window * q).sum()
                    var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
                    covariance = (window * (p - mean_p) * (q - mean_q)).sum()
                    luminance = (2 * mean_p * mean_q + 1e-4) / (mean_p**2 + mean_q**2 + 1e-4)
                    values.append(luminance * (2 * covariance + 9e-4) / (var_p + var_q + 9e-4))
    return float(np.mean(values))


def checkerboard() -> np.ndarray:
    """Zeros and ones: in every window mean 1/2 and variance 1/4."""
    return np.broadcast_to(np.indices(SHAPE[1:3]).sum(axis=0)[None, ..., None] % 2, SHAPE).astype(float)


@pytest.mark.parametrize("seed", range(2))
def test_ssim_equals_the_double_loop(seed):
    rng = np.random.default_rng(seed)
    a = rng.random(SHAPE) * np.linspace(0.2, 1, 14)[:, None]  # rows and columns differ
    b = np.clip(0.7 * a + 0.2 * rng.random(SHAPE) + 0.1 * np.linspace(0, 1, 13)[:, None, None], 0, 1)
    assert 0.5 < ssim(a, b) < 0.99
    assert ssim(a, b) == pytest.approx(slow_ssim(a, b), abs=1e-5)
    assert ssim(a[..., ::-1], b[..., ::-1]) == pytest.approx(ssim(b, a), abs=1e-6)


def test_ssim_of_equal_images_is_one():
    a = np.random.default_rng(0).random(SHAPE)
    for image in (a, np.ones(SHAPE), np.zeros(SHAPE), (255 * a).astype(np.uint8)):
        assert ssim(image, image) == pytest.approx(1, abs=1e-6)


def test_ssim_of_constant_images_compares_their_means():
    for a, b in ((0.0, 0.1), (0.0, 1.0), (0.25, 0.5), (1.0, 0.5)):
        expected = (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
        assert ssim(np.full(SHAPE, a), np.full(SHAPE, b)) == pytest.approx(expected, abs=1e-4)


def test_ssim_of_a_negative_is_negative():
    # Means 1/2, variances 1/4, covariance -1/4: (1/2 + C_1)(-1/2 + C_2)/((1/2 + C_1)(1/2 + C_2)).
    a = checkerboard()
    assert ssim(a, 1 - a) == pytest.approx((-1 / 2 + 9e-4) / (1 / 2 + 9e-4), abs=1e-4)


def test_ssim_of_half_the_contrast():
    # Covariance 1/8, variances 1/4 and 1/16; means 1/2.
    a = checkerboard()
    assert ssim(a, 1 / 4 + a / 2) == pytest.approx((1 / 4 + 9e-4) / (5 / 16 + 9e-4), abs=1e-4)


def test_ssim_is_the_mean_over_images_and_takes_uint8():
    a = checkerboard()
    b = np.stack([a[0], 1 - a[1]])
    assert ssim(a, b) == pytest.approx((1 + ssim(a, 1 - a)) / 2, abs=1e-6)
    assert ssim((255 * a).astype(np.uint8), (255 * b).astype(np.uint8)) == pytest.approx(ssim(a, b), abs=1e-6)
    assert ssim(a.astype(np.float32), jnp.asarray(b, jnp.float32)) == pytest.approx(ssim(a, b), abs=1e-6)


@pytest.mark.parametrize(
    ("error", "match", "a", "b"),
    [
        (ValueError, r"at least 11 × 11 pixels, got shape \(1, 10, 11, 3\)", *[np.zeros((1, 10, 11, 3))] * 2),
        (ValueError, r"at least 11 × 11 pixels, got shape \(1, 11, 10, 3\)", *[np.zeros((1, 11, 10, 3))] * 2),
        (ValueError, "same shape", np.zeros(SHAPE), np.zeros(SHAPE)[:1]),
        (ValueError, "b must lie in .* nan", np.zeros(SHAPE), np.full(SHAPE, np.nan)),
        (TypeError, "both floating point or both uint8", np.zeros(SHAPE), np.zeros(SHAPE, np.uint8)),
    ],
)
def test_bad_input_of_ssim(error, match, a, b):
    with pytest.raises(error, match=match):
        ssim(a, b)


@pytest.mark.parametrize(
    ("error", "match", "a", "b"),
    [
        (TypeError, "both floating point or both uint8", flat(0.5), np.zeros((1, 4, 4, 3), np.uint8)),
        (TypeError, "must be floating point", np.zeros((1, 4, 4, 3), int), np.zeros((1, 4, 4, 3), int)),
        (ValueError, "same shape", flat(0.5), flat(0.5, 0.5)),
        (ValueError, r"shape \(b, h, w, channels\)", flat(0.5)[0], flat(0.5)[0]),
        (ValueError, r"a must lie in \[0, 1\], got values from 255", flat(255.0), flat(0.5)),
        (ValueError, "b must lie in .* nan", flat(0.5), flat(np.nan)),
    ],
)
def test_bad_input(error, match, a, b):
    with pytest.raises(error, match=match):
        psnr(a, b)


def test_ssim_of_bright_flat_images_keeps_its_digits():
    a, b = np.full((1, 16, 16, 3), 0.999), np.full((1, 16, 16, 3), 0.998)
    assert ssim(a, b) == pytest.approx((2 * 0.999 * 0.998 + 1e-4) / (0.999**2 + 0.998**2 + 1e-4), abs=1e-6)
