"""PSNR, and the trap it avoids."""

import jax.numpy as jnp
import numpy as np
import pytest

from tripod_lite.metrics import psnr


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
