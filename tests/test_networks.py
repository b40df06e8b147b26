"""The networks: their size, their shapes, and the pieces that a slow version can check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from tripod_lite.networks import (
    ARCHITECTURES,
    Decoder,
    Encoder,
    conv3x3,
    depth_to_space,
    doubled_conv,
    instance_norm,
    space_to_depth,
)


def count_parameters(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def pair(size, image_size, n_z):
    architecture = ARCHITECTURES[size]
    return tuple(network(architecture, image_size, n_z, rngs=nnx.Rngs(0)) for network in (Encoder, Decoder))


def test_paper_size_has_the_released_number_of_parameters():
    assert sum(map(count_parameters, nnx.eval_shape(lambda: pair("paper", 64, 12)))) == 20_238_255


@pytest.mark.parametrize("size", ARCHITECTURES)
@pytest.mark.parametrize("image_size", [32, 64, 128])
def test_one_definition_gives_every_size(size, image_size):
    def walk():
        encoder, decoder = pair(size, image_size, 5)
        z = encoder(jnp.zeros((2, image_size, image_size, 3)))
        return z, decoder(z), decoder.activations(z)

    z, logits, layers = jax.eval_shape(walk)
    assert z.shape == (2, 5)
    assert logits.shape == (2, image_size, image_size, 3)
    assert len(layers) == ARCHITECTURES[size].stages(
        image_size
    )  # the conditioning vector, and all up-blocks but the last


@pytest.mark.parametrize(
    ("size", "image_size", "patch", "widths"),
    [("tiny", 16, 2, [16]), ("tiny", 32, 4, [32]), ("tiny", 64, 4, [32, 64]), ("lite", 64, 1, [16, 32, 64, 128])],
)
def test_the_encoder_begins_on_its_patches_and_ends_as_wide_as_the_decoder_begins(size, image_size, patch, widths):
    encoder, decoder = nnx.eval_shape(lambda: pair(size, image_size, 5))
    assert encoder.patch == patch
    assert [stage[0].convs[0].out_features for stage in encoder.stages] == widths
    assert encoder.stages[0][0].convs[0].in_features == 3 * patch**2
    assert encoder.downs[-1].out_features == decoder.constant.shape[-1]


def test_the_penalized_layers_of_the_paper_size_are_four():
    layers = jax.eval_shape(lambda: pair("paper", 64, 12)[1].activations(jnp.zeros((1, 12))))
    assert [layer.shape for layer in layers] == [(1, 256), (1, 8, 8, 256), (1, 16, 16, 128), (1, 32, 32, 64)]


@pytest.mark.parametrize(("size", "image_size"), [("tiny", 8), ("tiny", 24), ("paper", 4), ("paper", 48), ("tiny", 33)])
def test_image_sizes_that_cannot_be_halved_are_refused(size, image_size):
    with pytest.raises(ValueError, match=f"image_size must be one of .*got {image_size}"):
        ARCHITECTURES[size].stages(image_size)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_space_to_depth_against_loops_and_back(b, rows, columns, block, c):
    x = np.arange(b * rows * block * columns * block * c, dtype=np.float32).reshape(b, rows * block, columns * block, c)
    folded = np.asarray(space_to_depth(jnp.asarray(x), block))
    for i in range(rows):
        for j in range(columns):
            square = x[:, i * block : (i + 1) * block, j * block : (j + 1) * block]
            np.testing.assert_array_equal(folded[:, i, j], square.reshape(b, -1))
    np.testing.assert_array_equal(depth_to_space(jnp.asarray(folded), block), x)


def test_instance_norm_per_image_and_channel():
    x = jax.random.normal(jax.random.key(0), (3, 5, 4, 2)) * 7 + 100
    y = np.asarray(instance_norm(x))
    np.testing.assert_allclose(y.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std((1, 2)), 1, atol=1e-3)


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_doubled_conv_is_the_convolution_of_the_doubled_picture(b, rows, columns, c, d):
    with jax.enable_x64(True):
        conv = nnx.Conv(c, d, (3, 3), rngs=nnx.Rngs(0), param_dtype=jnp.float64, bias_init=nnx.initializers.normal())
        x = jax.random.normal(jax.random.key(1), (b, rows, columns, c), jnp.float64)
        doubled = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        np.testing.assert_allclose(doubled_conv(conv, x), conv(doubled), rtol=0, atol=1e-12)


def test_doubled_conv_keeps_half_precision():
    conv = conv3x3(2, 3, None, nnx.Rngs(0))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), nnx.state(conv))
    nnx.update(conv, half)
    assert doubled_conv(conv, jnp.ones((1, 4, 4, 2), jnp.bfloat16)).dtype == jnp.bfloat16


def test_samples_of_a_batch_do_not_mix():
    architecture = ARCHITECTURES["tiny"]
    encoder = Encoder(architecture, 16, 3, rngs=nnx.Rngs(0))
    decoder = Decoder(architecture, 16, 3, rngs=nnx.Rngs(1))
    images = jax.random.uniform(jax.random.key(0), (3, 16, 16, 3))
    z = encoder(images)
    np.testing.assert_allclose(encoder(images[1:2]), z[1:2], atol=1e-5)
    np.testing.assert_allclose(decoder(z[1:2]), decoder(z)[1:2], atol=1e-4)


def test_the_decoder_ends_where_its_activations_lead():
    decoder = Decoder(ARCHITECTURES["tiny"], 32, 3, rngs=nnx.Rngs(0))
    z = jnp.asarray([[0.3, -1.0, 1.0]])
    condition, *_, last = decoder.activations(z)
    logits = depth_to_space(decoder._up_block(len(decoder.stages) - 1, last, condition), decoder.patch)
    np.testing.assert_allclose(decoder(z), logits, atol=1e-5)
