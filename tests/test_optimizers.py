"""The optimizers: what Muon does to kernels and to all else."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from optax.contrib import MuonDimensionNumbers, muon

import tripod_lite as tl
from tripod_lite.checkpoints import Checkpoints
from tripod_lite.optimizers import optimizer, pack, packed

CONFIG = tl.TripodConfig(n_z=3, image_size=16, size="tiny", batch_size=8, learning_rate=1e-2, schedule="cosine")


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (3, 3, 4, 7)])
def test_muon_steps_kernels_alike_in_all_directions(shape):
    config = CONFIG.replace(optimizer="muon", schedule="constant")
    gradient = np.random.default_rng(0).normal(size=shape) * np.geomspace(0.01, 0.1, shape[-1])
    matrix = gradient.reshape(-1, shape[-1])
    before = np.linalg.svd(matrix, compute_uv=False)
    assert before[0] > 4 * before[-1]
    method = optimizer(config, 1)
    step, _ = method.update({"kernel": gradient}, method.init({"kernel": gradient}), {"kernel": gradient})
    after = np.linalg.svd(np.asarray(step["kernel"]).reshape(matrix.shape), compute_uv=False)
    unit = config.learning_rate * 0.2 * np.sqrt(max(matrix.shape))
    assert 0.65 < after.min() / unit and after.max() / unit < 1.2  # where five rounds of the quintic end
    assert np.sum(matrix * np.asarray(step["kernel"]).reshape(matrix.shape)) < 0


def test_muon_steps_what_is_no_kernel_as_nadam_does():
    rng = np.random.default_rng(0)
    gradients = [{"bias": rng.normal(size=7) / 9, "constant": rng.normal(size=(4, 4, 8)) / 9} for _ in range(3)]
    ours, nadam = optimizer(CONFIG.replace(optimizer="muon", schedule="constant"), 3), optax.nadam(1e-2)
    states = [ours.init(gradients[0]), nadam.init(gradients[0])]
    for gradient in gradients:
        pairs = zip((ours, nadam), states, strict=True)
        steps, states = zip(*(method.update(gradient, state, gradient) for method, state in pairs), strict=True)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *steps)


def test_the_state_of_muon_comes_back_from_a_checkpoint(tmp_path):
    params = {"kernel": np.ones((4, 3), np.float32), "bias": np.ones(3, np.float32)}
    method = optimizer(CONFIG.replace(optimizer="muon"), 9)
    fresh = {"params": params, "optimizer": method.init(params)}
    moved = {"params": params, "optimizer": method.update(params, fresh["optimizer"], params)[1]}
    store = Checkpoints(tmp_path, CONFIG, data={}, seed=0, steps=9)
    store.save(1, moved, [{}], 0.0)
    store.close()
    steps, state, *_ = Checkpoints(tmp_path, CONFIG, data={}, seed=0, steps=9).restore(fresh)
    assert steps == 1
    jax.tree.map(np.testing.assert_array_equal, state, moved)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, state, fresh)


SHAPES = {"dense": (3, 8), "turned": (8, 3), "conv": (3, 3, 2, 5), "same": (5, 18), "bias": (5,), "picture": (4, 4, 2)}


def draws(number):
    rng = np.random.default_rng(number)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_packing_stacks_matrices_of_one_shape_and_joins_all_else():
    tree = draws(0)
    arrays, unpack = pack(tree)
    assert {name: a.shape for name, a in arrays.items()} == {"3x8": (2, 3, 8), "5x18": (2, 5, 18), "vector": (37,)}
    jax.tree.map(np.testing.assert_array_equal, unpack(arrays), tree)
    np.testing.assert_array_equal(arrays["3x8"][1], tree["turned"].T)


def test_a_tree_of_vectors_only_and_one_of_kernels_only_are_packed_too():
    for tree in ({"a": np.ones(2), "b": np.zeros(3)}, {"kernel": np.ones((2, 3))}):
        arrays, unpack = pack(tree)
        jax.tree.map(np.testing.assert_array_equal, unpack(arrays), tree)


def test_packed_muon_steps_as_the_plain_one():
    def axes(params):
        kernel = lambda p: MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)  # noqa: E731
        return jax.tree.map(lambda p: kernel(p) if p.ndim in (2, 4) else None, params)

    plain = muon(1e-2, consistent_rms=0.2, muon_weight_dimension_numbers=axes)
    ours = optimizer(CONFIG.replace(optimizer="muon", schedule="constant"), 3)
    params = draws(0)
    states = [plain.init(params), ours.init(params)]
    for number in (1, 2, 3):
        gradient = jax.tree.map(lambda g: np.clip(g, -1, 1), draws(number))
        pairs = zip((plain, ours), states, strict=True)
        steps, states = zip(*(method.update(gradient, state, params) for method, state in pairs), strict=True)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *steps)


def test_packed_hands_on_the_parameters_too():
    method = packed(optax.add_decayed_weights(0.5))
    params = draws(0)
    steps, _ = method.update(jax.tree.map(np.zeros_like, params), method.init(params), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b / 2), steps, params)


def test_muon_takes_every_kernel_of_the_model():
    params = nnx.state(nnx.eval_shape(lambda: tl.Tripod(CONFIG, rngs=nnx.Rngs(0))), nnx.Param)
    arrays = jax.eval_shape(lambda tree: pack(tree)[0], params)
    named = jax.tree_util.tree_leaves_with_path(params)
    kernels = sum(leaf.size for path, leaf in named if "kernel" in jax.tree_util.keystr(path))
    assert kernels == sum(array.size for name, array in arrays.items() if name != "vector")
    assert sum(leaf.size for _, leaf in named) - kernels == arrays["vector"].size
