"""Precision: what bfloat16 is allowed to round, and that the curvature survives it where differences do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tripod_lite as tl
from tripod_lite import precision

CONFIG = tl.TripodConfig(n_z=4, image_size=32, size="tiny", batch_size=8, precision="float32")
KEY = jax.random.key(0)


def model(kind):
    return tl.Tripod(CONFIG.replace(precision=kind), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def latents():
    return jax.random.uniform(jax.random.key(1), (8, 4), minval=-1)


def test_parameters_latents_logits_and_losses_are_in_single_precision():
    half = model("bfloat16")
    images = jax.random.uniform(jax.random.key(2), (8, 32, 32, 3))
    leaves = jax.tree.leaves(nnx.state(half, nnx.Param))
    loss, parts = half.loss(images, KEY)
    arrays = [*leaves, *half.encode(images)[:2], half.reconstruct(images), loss, *parts.values()]
    assert {array.dtype for array in arrays} == {jnp.dtype("float32")}


def test_only_convolutions_compute_in_half_precision():
    def dots_and_convolutions(kind):
        graph, params = nnx.split(model(kind))
        text = (
            jax.jit(lambda p, x: nnx.merge(graph, p).reconstruct(x)).lower(params, jnp.zeros((2, 32, 32, 3))).as_text()
        )
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line or "stablehlo.dot" in line]
        return {("convolution" if "convolution" in line else "dot", "bf16" in line) for line in lines}

    assert dots_and_convolutions("float32") == {("convolution", False), ("dot", False)}
    assert dots_and_convolutions("bfloat16") == {("convolution", True), ("dot", False)}


@pytest.mark.parametrize("design", ["independent", "crossed"])
def test_the_penalty_survives_bfloat16(latents, design):
    def penalties(kind):
        decoder = model(kind).decoder
        draw = jax.jit(
            lambda key: tl.normalized_hessian_penalty(
                decoder.activations, latents, 0.5, key, design=design, batched=True
            )
        )
        return np.mean([draw(key) for key in jax.random.split(KEY, 4)], axis=0)

    single, half = penalties("float32"), penalties("bfloat16")
    assert np.all(single > 0.05)
    np.testing.assert_allclose(half, single, rtol=0.02)


def test_differences_do_not_survive_bfloat16(latents):
    v = 0.01 * jax.random.rademacher(KEY, (2, 8, 4), jnp.float32)

    def energies(kind):
        """The variance over both probes, of each layer with a convolution before it."""
        f = model(kind).decoder.activations

        def difference(w):
            triples = zip(f(latents + w), f(latents), f(latents - w), strict=True)
            return [(plus - 2 * center + minus).astype(jnp.float32) for plus, center, minus in triples][1:]

        return np.array([float(jnp.mean((a - b) ** 2)) for a, b in zip(*map(difference, v), strict=True)])

    assert np.all(np.abs(energies("bfloat16") / energies("float32") - 1) > 0.1)
    decoder = model("bfloat16").decoder
    with pytest.raises(TypeError, match="method 'finite' needs float32"):
        tl.normalized_hessian_penalty(decoder.activations, latents, 0.5, KEY, method="finite", batched=True)


def test_training_in_bfloat16_follows_single_precision():
    images, factors = tl.load_dataset("shapes3d", image_size=32).sample(KEY, 64)
    ds = tl.from_images(np.asarray(images), np.asarray(factors))
    runs = [
        tl.fit(
            ds,
            CONFIG.replace(precision=kind, learning_rate=1e-3, lambda_klm=0, lambda_nhp=0),
            steps=20,
            progress=False,
            log_every=10,
        )
        for kind in ("float32", "bfloat16")
    ]
    single, half = (run.history["bce"] for run in runs)
    assert single[1] < single[0] - 0.005
    np.testing.assert_allclose(half, single, rtol=0.01)
    assert not np.array_equal(half, single)


class Device:
    def __init__(self, platform, capability=None):
        self.platform = platform
        if capability is not None:
            self.compute_capability = capability


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (Device("cpu"), "float32"),
        (Device("tpu"), "bfloat16"),
        (Device("gpu", "7.5"), "float32"),
        (Device("gpu", "8.0"), "bfloat16"),
        (Device("gpu", "9.0"), "bfloat16"),
        (Device("gpu", "gfx90a"), "float32"),
    ],
    ids=["CPU", "TPU", "T4", "A100", "H100", "MI250"],
)
def test_the_device_decides_where_the_user_does_not(device, expected, monkeypatch):
    monkeypatch.setattr(precision.jax, "devices", lambda: [device])
    assert tl.TripodConfig(n_z=4, image_size=32).precision == expected
    assert tl.TripodConfig(n_z=4, image_size=32, precision="float32").precision == "float32"


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, float32, bfloat16, got 'float16'"):
        CONFIG.replace(precision="float16")
