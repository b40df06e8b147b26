"""Saved models come back as they were."""

import jax
import numpy as np
import pytest
from flax import nnx

import tripod_lite as tl

CONFIG = tl.TripodConfig(n_z=2, image_size=16, size="tiny", levels=(3, 4), batch_size=4)


def test_save_and_load(tmp_path):
    model = tl.Tripod(CONFIG, rngs=nnx.Rngs(3))
    tl.save(model, tmp_path / "model")
    tl.save(model, tmp_path / "model")  # replaces
    loaded = tl.load(tmp_path / "model")
    assert loaded.config == CONFIG
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    np.testing.assert_array_equal(loaded.reconstruct(images), model.reconstruct(images))


def test_a_model_goes_into_an_empty_folder_but_not_over_a_config(tmp_path):
    model = tl.Tripod(CONFIG, rngs=nnx.Rngs(0))
    (tmp_path / "empty").mkdir()
    tl.save(model, tmp_path / "empty")
    assert tl.load(tmp_path / "empty").config == CONFIG
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        tl.save(model, tmp_path / "other")


def test_only_models_are_replaced_or_loaded(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        tl.save(tl.Tripod(CONFIG, rngs=nnx.Rngs(0)), tmp_path)
    with pytest.raises(ValueError, match=r"has no config\.json"):
        tl.load(tmp_path)
    with pytest.raises(TypeError, match="model must be a Tripod, got str"):
        tl.save("model", tmp_path / "model")
