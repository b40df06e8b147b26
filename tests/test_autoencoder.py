"""The configuration's checks, and the model: the legs in its loss, what it accepts and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tripod_lite as tl
from tripod_lite.autoencoder import BENCHMARKS

SMALL = tl.TripodConfig(n_z=3, image_size=16, size="tiny", levels=5, batch_size=4)
IMAGES = jax.random.uniform(jax.random.key(0), (4, 16, 16, 3))


@pytest.fixture(scope="module")
def model():
    return tl.Tripod(SMALL, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("dataset", BENCHMARKS)
@pytest.mark.parametrize("size", ["lite", "paper"])
def test_presets_have_the_released_settings(dataset, size):
    config = tl.TripodConfig.preset(dataset, size=size)
    expected = {
        "shapes3d": (12, 1e-4, 1e-2),
        "mpi3d": (14, 1e-8, 1e-4),
        "falcor3d": (14, 1e-10, 1e-2),
        "isaac3d": (18, 1e-4, 1e-8),
        "dsprites": (10, 1e-4, 1e-2),  # not the paper's: the λ of Shapes3D
    }
    assert (config.n_z, config.lambda_klm, config.lambda_nhp) == expected[dataset]
    assert (config.levels, config.probes, config.batch_size, config.learning_rate) == (12, 2, 64, 2e-4)
    assert (config.estimator, config.optimizer, config.schedule) == ("released", "adam", "constant")
    assert (config.penalty_schedule, config.image_size) == ("constant", 64)


def test_tiny_preset_is_small():
    assert tl.TripodConfig.preset("shapes3d", size="tiny").image_size == 32


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_z": 0}, ValueError, "n_z must be at least 1, got 0"),
        ({"n_z": 2.0}, TypeError, "n_z must be an integer, got 2.0"),
        ({"image_size": 20}, ValueError, "image_size must be one of .*got 20"),
        ({"size": "huge"}, ValueError, "size must be one of tiny, lite, paper, got 'huge'"),
        ({"levels": 1}, ValueError, "levels must be at least 2.*got 1"),
        ({"levels": (2, 2)}, ValueError, "levels must be one integer or n_z = 3"),
        ({"quantize": "no"}, TypeError, "quantize must be True or False, got 'no'"),
        ({"quantize": 1}, TypeError, "quantize must be True or False, got 1"),
        ({"levels": 2.5}, TypeError, "levels must be an integer"),
        (
            {"estimator": "exact"},
            ValueError,
            "estimator must be one of released, matched, leave_one_out, pairwise, got 'exact'",
        ),
        ({"lambda_klm": -1.0}, ValueError, "lambda_klm must be finite and not negative"),
        ({"lambda_nhp": float("nan")}, ValueError, "lambda_nhp must be finite"),
        ({"lambda_nhp": "1"}, TypeError, "lambda_nhp must be a number, got '1'"),
        ({"probes": 1}, ValueError, "probes must be at least 2"),
        ({"nhp_method": "backward"}, ValueError, "nhp_method must be one of forward, finite"),
        ({"nhp_samples": 0}, ValueError, "nhp_samples must be at least 1"),
        ({"batch_size": 1}, ValueError, "batch_size must be at least 2, got 1"),
        ({"optimizer": "sgd"}, ValueError, "optimizer must be one of adam, muon, got 'sgd'"),
        ({"schedule": "linear"}, ValueError, "schedule must be one of constant, cosine"),
        ({"lamda": 1}, TypeError, "no field lamda; it has n_z, image_size"),
    ],
)
def test_bad_configurations(changes, error, message):
    with pytest.raises(error, match=message):
        SMALL.replace(**changes)


@pytest.mark.parametrize(
    "levels", [[5, 4, 3], np.array([5, 4, 3]), (np.int64(5), 4, 3)], ids=["list", "array", "mixed"]
)
def test_configurations_are_plain_values(levels):
    """They hash, compare and go into JSON, whatever they were made from."""
    config = SMALL.replace(levels=levels, n_z=np.int64(3), lambda_klm=0, probes=np.int32(2))
    assert config == SMALL.replace(levels=(5, 4, 3), lambda_klm=0.0)
    assert hash(config) == hash(SMALL.replace(levels=(5, 4, 3), lambda_klm=0.0))
    assert json.loads(json.dumps(dataclasses.asdict(config)))["levels"] == [5, 4, 3]


def test_unknown_preset_lists_the_known():
    known = ", ".join(BENCHMARKS)
    with pytest.raises(ValueError, match=f"dataset must be one of {known}, got 'shapes'"):
        tl.TripodConfig.preset("shapes")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((2, 16, 16)), ValueError, r"shape \(b, 16, 16, 3\), got \(2, 16, 16\)"),
        (np.zeros((2, 32, 32, 3), np.uint8), ValueError, r"got \(2, 32, 32, 3\)"),
        (np.zeros((0, 16, 16, 3), np.uint8), ValueError, r"got \(0, 16, 16, 3\)"),
        (np.zeros((2, 16, 16, 3), np.int32), TypeError, "uint8 or floating point in .*got int32"),
        (np.full((2, 16, 16, 3), 255.0), ValueError, r"lie in \[0, 1\], got values from 255.0 to 255.0"),
        (np.full((2, 16, 16, 3), np.nan), ValueError, "got values from nan"),
    ],
)
def test_bad_images(model, images, error, message):
    with pytest.raises(error, match=message):
        model.encode(images)


@pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (np.zeros((2, 4), np.float32), ValueError, r"z must have shape \(b, 3\), got \(2, 4\)"),
        (np.zeros(3, np.float32), ValueError, r"got \(3,\)"),
        (np.zeros((2, 3), np.int32), TypeError, "z must be floating point latents"),
    ],
)
def test_bad_latents(model, z, error, message):
    with pytest.raises(error, match=message):
        model.decode(z)


def test_encode_and_decode(model):
    code = model.encode(IMAGES)
    assert code.quantized.shape == code.indices.shape == (4, 3)
    assert code.indices.min() >= 0 and code.indices.max() <= 4
    images = model.decode(code.quantized)
    assert images.shape == IMAGES.shape and 0 <= images.min() and images.max() <= 1
    np.testing.assert_array_equal(model.reconstruct(IMAGES), images)


def test_bytes_and_floats_are_the_same_images(model):
    images = np.asarray(jnp.round(IMAGES * 255), np.uint8)
    np.testing.assert_allclose(
        model.encode(images).continuous, model.encode(images.astype(np.float32) / 255).continuous, atol=1e-6
    )


def test_the_loss_is_the_sum_of_its_legs(model):
    key = jax.random.key(1)
    loss, parts = model.loss(IMAGES, key)
    code = model.encode(IMAGES)
    sigma = tl.latent_scale(code.continuous)
    p = jnp.clip(model.decode(code.quantized), 1e-7, 1 - 1e-7)
    bce = -jnp.mean(IMAGES * jnp.log(p) + (1 - IMAGES) * jnp.log(1 - p))
    klm = tl.multiinformation(code.quantized, sigma, estimator="released")
    layers = tl.normalized_hessian_penalty(lambda z: model.decoder.activations(z[None]), code.quantized, sigma, key)
    parts = {name: float(value) for name, value in parts.items()}
    assert parts["bce"] == pytest.approx(float(bce), abs=1e-5)
    assert parts["klm"] == pytest.approx(float(klm), abs=1e-5)
    assert parts["nhp"] == pytest.approx(float(sum(layers)), rel=1e-4)
    assert float(loss) == pytest.approx(parts["bce"] + 1e-4 * parts["klm"] + 1e-2 * parts["nhp"], rel=1e-6)


def test_legs_switch_off(model):
    plain = tl.Tripod(SMALL.replace(quantize=False, lambda_klm=0, lambda_nhp=0), rngs=nnx.Rngs(0))
    loss, parts = plain.loss(IMAGES, jax.random.key(0))
    assert parts.keys() == {"bce"} and loss == parts["bce"]
    code = plain.encode(IMAGES)
    np.testing.assert_array_equal(code.quantized, code.continuous)
    assert model.loss(IMAGES, jax.random.key(0))[1].keys() == {"bce", "klm", "nhp"}


def test_gradients_are_finite_when_every_latent_is_constant():
    config = SMALL.replace(estimator="leave_one_out", lambda_klm=1.0, lambda_nhp=1.0, batch_size=2)
    model = tl.Tripod(config, rngs=nnx.Rngs(0))
    images = jnp.broadcast_to(IMAGES[:1], (2, *IMAGES.shape[1:]))
    slope = nnx.jit(nnx.grad(lambda model, images: model.loss(images, jax.random.key(0))[0]))
    gradient = slope(model, images)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
