"""Sliders on a live model: what they set, and what is shown beside them."""

import io
import sys
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from tripod_lite.datasets import from_images
from tripod_lite.explorer import BORDER, FRAME, explore
from tripod_lite.legs import quantize
from tripod_lite.metrics import evaluate


@dataclass(frozen=True)
class Config:
    n_z: int = 3
    levels: int = 5
    quantize: bool = True
    image_size: int = 8


class Painter(nnx.Module):
    """A model of three latents, the red, green and blue of flat images."""

    def __init__(self, config: Config):
        self.config = config

    def encode(self, images):
        return quantize(jax.numpy.arctanh(1.99 * images.mean(axis=(1, 2)) / 255 - 0.995), self.config.levels)

    def decode(self, z):
        return jax.numpy.broadcast_to(((z + 1) / 2)[:, None, None, :], (len(z), 8, 8, 3))


COLORS = np.array([[0, 128, 255], [255, 0, 0], [64, 64, 64], [200, 10, 90]] * 6, np.uint8)
PICTURES = np.broadcast_to(COLORS[:, None, None], (24, 8, 8, 3)).copy()


def held_out(*tables):
    return from_images(*tables).split(held_out=23)[1]


@pytest.fixture
def box():
    pytest.importorskip("ipywidgets")
    return explore(Painter(Config()), held_out(PICTURES))


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.value)).convert("RGB"))


def color(picture):
    image = pixels(picture)
    assert image.shape == (256, 256, 3)
    assert (image == image[0, 0]).all()
    return image[0, 0].tolist()


def parts(box):
    """The image slider, the original, the reconstruction, the latents' sliders, and heading, strip and bars."""
    chosen, pictures, below = box.children
    sliders, beside = below.children
    return chosen, *pictures.children, sliders.children, *beside.children


def test_explore_sets_the_latents(box):
    chosen, left, right, sliders, *_ = parts(box)
    assert chosen.max == 22
    seen = set()
    for chosen.value in range(6):
        red, green, blue = color(left)
        seen.add((red, green, blue))
        levels = np.round(np.array([red, green, blue]) / 255 * 4) / 4 * 255  # the grid of five levels
        np.testing.assert_allclose(color(right), levels, atol=1)
        assert all(slider.value == slider.options[slider.index] for slider in sliders)
    assert len(seen) > 1
    for slider in sliders:
        slider.index = 4
    assert color(right) == [255, 255, 255]
    sliders[1].index = 2
    assert color(right) == [255, 128, 255]


def test_the_latent_that_was_moved_last_is_shown_along_its_values(box):
    _, _, _, sliders, heading, strip, knows = parts(box)
    for slider in sliders:
        slider.index = 0
    sliders[2].index = 3
    assert heading.value == "<b>z_2, active</b>" and knows.value == ""  # there are no sources to know of
    edge = 8 + 2 * BORDER
    cells = pixels(strip).reshape(edge, 5, edge, 3).swapaxes(0, 1)
    assert [cell[edge // 2, edge // 2].tolist() for cell in cells] == [[0, 0, v] for v in (0, 64, 128, 191, 255)]
    assert [tuple(cell[0, 0]) == FRAME for cell in cells] == [False, False, False, True, False]


def test_a_latent_that_stands_still_is_called_inactive():
    pytest.importorskip("ipywidgets")
    flat = PICTURES.copy()
    flat[..., 0] = 128
    _, _, _, sliders, heading, *_ = parts(explore(Painter(Config()), held_out(flat)))
    assert heading.value == "<b>z_1, active</b>"  # the first one that is
    sliders[0].index = 4
    assert heading.value == "<b>z_0, inactive</b>"


def test_what_a_latent_knows_is_beside_it():
    pytest.importorskip("ipywidgets")
    factors = np.stack([np.arange(24) % 4, np.arange(24) % 2], axis=1)
    ds = held_out(PICTURES, factors)
    scores = evaluate(Painter(Config()), ds, n=23)
    *_, sliders, _, _, knows = parts(explore(Painter(Config()), ds, scores=scores))
    for j, slider in enumerate(sliders):
        slider.index = (slider.index + 1) % 5
        assert [f"{value:.2f}<" in knows.value for value in scores.nmi[:, j]] == [True, True]
        assert all(name.replace("_", " ") in knows.value for name in ds.factor_names)


def test_scores_of_another_model_are_refused():
    pytest.importorskip("ipywidgets")
    ds = held_out(PICTURES)
    scores = replace(evaluate(Painter(Config()), ds, n=23), active=np.ones(4, bool))
    with pytest.raises(ValueError, match="scores must be of a model with 3 latents, got 4"):
        explore(Painter(Config()), ds, scores=scores)


def test_explore_asks_for_images_of_the_models_size():
    pytest.importorskip("ipywidgets")
    ds = from_images(np.zeros((4, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="model's size 8, got 16"):
        explore(Painter(Config()), ds)


def test_explore_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"tripod-lite\[book\]"):
        explore(Painter(Config()), None)
