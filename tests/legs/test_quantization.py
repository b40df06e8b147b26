"""Leg 1: the grid, its exactness and its straight-through gradient."""

import math

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tripod_lite as tl
from tripod_lite.legs.quantization import check_levels, straight_through

MANY_LEVELS = (2, 3, 4, 10, 12, 50, 99)  # at 50 and 99 a reciprocal in the place of a division misses the end 1


def grid(levels: int, dtype="float64") -> np.ndarray:
    """The L values, each the quotient of two integers, rounded once."""
    steps = levels - 1
    return np.asarray(np.arange(-steps, steps + 1, 2) / steps, jnp.dtype(dtype))


def by_loops(z: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slow, obvious version in double precision: of all values of a latent's grid the one nearest to tanh z̃."""
    flat = z.reshape(-1, z.shape[-1])
    value, index = np.empty(flat.shape), np.empty(flat.shape, int)
    for i, row in enumerate(flat):
        for j, z_ij in enumerate(row):
            distances = [abs(math.tanh(z_ij) - v) for v in grid(levels[j])]
            index[i, j] = distances.index(min(distances))
            value[i, j] = grid(levels[j])[index[i, j]]
    return value.reshape(z.shape), index.reshape(z.shape)


@pytest.fixture
def package_checks():
    """Switches off the checks of annotated types that the tests add: a user sees the package's own messages."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


# Worked on paper: c = tanh z̃, u = (c + 1)/2 · (L - 1), index = u rounded, value = (2 index - (L - 1))/(L - 1).
ON_PAPER = [
    (2, 0.5, 1, 1.0),  # c = 0.4621, u = 0.731
    (2, -0.5, 0, -1.0),
    (3, 0.5, 1, 0.0),  # c = 0.4621, u = 1.462; the border is at c = 1/2, z̃ = 0.5493
    (3, 0.6, 2, 1.0),  # c = 0.5370, u = 1.537
    (3, -0.6, 0, -1.0),
    (12, 0.1, 6, 1 / 11),  # c = 0.0997, u = 6.048
    (12, 0.75, 9, 7 / 11),  # c = 0.6351, u = 8.993
    (12, 1.0, 10, 9 / 11),  # c = 0.7616, u = 9.689
    (12, -2.0, 0, -1.0),  # c = -0.9640, u = 0.198
]


@pytest.mark.parametrize(("levels", "z", "index", "value"), ON_PAPER)
def test_values_worked_on_paper(x64, levels, z, index, value):
    got = tl.quantize(jnp.array([z], jnp.float64), levels)
    assert got.continuous[0] == pytest.approx(math.tanh(z), abs=1e-15)
    assert got.indices[0] == index
    assert got.quantized[0] == value


def test_default_is_twelve_levels():
    z = jnp.linspace(-4.0, 4.0, 801)[:, None]
    got = tl.quantize(z)
    assert sorted(set(np.asarray(got.indices).ravel().tolist())) == list(range(12))
    np.testing.assert_array_equal(got.quantized, tl.quantize(z, 12).quantized)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
def test_every_value_is_on_the_grid_bit_for_bit(x64, jitted, dtype):
    z = jnp.broadcast_to(jnp.linspace(-8.0, 8.0, 4001, dtype=dtype)[:, None], (4001, len(MANY_LEVELS)))
    quantize = jax.jit(lambda z: tl.quantize(z, MANY_LEVELS)) if jitted else lambda z: tl.quantize(z, MANY_LEVELS)
    got = jax.tree.map(np.asarray, quantize(z))
    assert got.quantized.dtype == z.dtype
    for j, levels in enumerate(MANY_LEVELS):
        np.testing.assert_array_equal(got.quantized[:, j], grid(levels, dtype)[got.indices[:, j]])
        assert (got.quantized[0, j], got.quantized[-1, j]) == (-1, 1)


@pytest.mark.parametrize("levels", MANY_LEVELS)
def test_both_ends_are_hit_exactly_and_the_rest_is_spaced_evenly(x64, levels):
    z = jnp.linspace(-6.0, 6.0, 20_001, dtype=jnp.float64)[:, None]
    values = np.unique(tl.quantize(z, levels).quantized)
    assert (len(values), values[0], values[-1]) == (levels, -1.0, 1.0)
    np.testing.assert_allclose(np.diff(values), 2 / (levels - 1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("levels", MANY_LEVELS)
def test_the_grid_is_symmetric(levels):
    z = jax.random.normal(jax.random.key(0), (2000, 1)) + 1e-3  # no exact tie
    there, back = tl.quantize(z, levels), tl.quantize(-z, levels)
    np.testing.assert_array_equal(back.quantized, -there.quantized)
    np.testing.assert_array_equal(back.indices, levels - 1 - there.indices)


@pytest.mark.parametrize(("levels", "index"), [(2, 0), (4, 2), (12, 6), (3, 1)])
def test_zero_goes_to_the_even_index_where_it_lies_between_two_values(levels, index):
    assert tl.quantize(jnp.zeros(1), levels).indices[0] == index


@pytest.mark.parametrize("levels", MANY_LEVELS)
def test_the_error_bound_holds_and_is_attained(x64, levels):
    c = jnp.linspace(-1 + 1e-9, 1 - 1e-9, 30_001, dtype=jnp.float64)[:, None]
    got = tl.quantize(jnp.arctanh(c), levels)
    worst = float(jnp.max(jnp.abs(got.quantized - got.continuous)))
    assert worst <= 1 / (levels - 1) + 1e-12
    assert worst >= 1 / (levels - 1) - 1e-4


@pytest.mark.parametrize("levels", MANY_LEVELS)
def test_grid_values_are_left_where_they_are(levels):
    inside = jnp.asarray(grid(levels)[1:-1], jnp.float32)
    z = jnp.concatenate([jnp.array([-20.0]), jnp.arctanh(inside), jnp.array([20.0])])[:, None]
    once = tl.quantize(z, levels)
    np.testing.assert_array_equal(once.indices[:, 0], np.arange(levels))
    np.testing.assert_array_equal(once.quantized[:, 0], grid(levels, "float32"))


def test_indices_rise_with_z():
    z = jnp.sort(jax.random.normal(jax.random.key(1), (5000, 1)) * 2, axis=0)
    assert bool(jnp.all(jnp.diff(tl.quantize(z, 12).indices[:, 0]) >= 0))


def test_levels_a_latent():
    levels = (2, 3, 12, 50)
    z = jax.random.normal(jax.random.key(2), (7, 5, 4))
    together = tl.quantize(z, levels)
    for j, one in enumerate(levels):
        alone = tl.quantize(z[..., j : j + 1], one)
        np.testing.assert_array_equal(together.quantized[..., j : j + 1], alone.quantized)
        np.testing.assert_array_equal(together.indices[..., j : j + 1], alone.indices)


@pytest.mark.parametrize("levels", [[2, 5, 12], (2, 5, 12), np.array([2, 5, 12]), jnp.array([2, 5, 12])], ids=type)
def test_levels_come_as_any_sequence(levels):
    z = jax.random.normal(jax.random.key(3), (6, 3))
    np.testing.assert_array_equal(tl.quantize(z, levels).indices, tl.quantize(z, (2, 5, 12)).indices)
    np.testing.assert_array_equal(check_levels(levels, 3), [2, 5, 12])


@pytest.mark.parametrize("levels", [7, np.int64(7), jnp.int32(7)], ids=type)
def test_levels_come_as_any_integer(levels):
    np.testing.assert_array_equal(check_levels(levels, 2), [7, 7])


@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]))
@settings(max_examples=20, deadline=None)
def test_agrees_with_the_double_loop(data, dtype):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    z = data.draw(hnp.arrays(dtype, shape, elements=st.floats(-6, 6, width=16)))
    levels = data.draw(st.lists(st.integers(2, 40), min_size=shape[-1], max_size=shape[-1]))
    with jax.enable_x64(True):
        got = jax.tree.map(np.asarray, jax.jit(lambda z: tl.quantize(z, levels))(z))
    assert got.continuous.shape == got.quantized.shape == got.indices.shape == shape
    assert got.continuous.dtype == got.quantized.dtype == z.dtype
    assert got.indices.dtype == np.int32
    np.testing.assert_allclose(got.continuous, np.tanh(z.astype(np.float64)), atol=4 * np.finfo(z.dtype).eps)
    value, index = by_loops(z, np.asarray(levels))
    # Within round-off of a border either neighbor is right.
    place = (np.tanh(z.astype(np.float64)) + 1) / 2 * (np.asarray(levels) - 1)
    clear = np.abs(place - np.floor(place) - 0.5) > 64 * np.finfo(z.dtype).eps * np.asarray(levels)
    np.testing.assert_array_equal(got.indices[clear], index[clear])
    np.testing.assert_array_equal(got.quantized[clear], value.astype(z.dtype)[clear])
    assert np.all(np.abs(got.indices - index) <= ~clear)


@given(
    shape=hnp.array_shapes(min_dims=1, max_dims=3, max_side=5),
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    levels=st.integers(2, 64),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=12, deadline=None)
def test_shapes_dtypes_and_ranges(shape, dtype, levels, seed):
    with jax.enable_x64(True):
        z = jnp.asarray(3 * np.random.default_rng(seed).standard_normal(shape), dtype)
        got = jax.tree.map(np.asarray, jax.jit(tl.quantize, static_argnums=1)(z, levels))
    gap = np.abs(got.quantized.astype(np.float64) - got.continuous.astype(np.float64))
    resolution = float(jnp.finfo(dtype).eps)
    assert got.continuous.shape == got.quantized.shape == got.indices.shape == shape
    assert got.continuous.dtype == got.quantized.dtype == jnp.dtype(dtype)
    assert np.all((got.indices >= 0) & (got.indices < levels))
    assert np.all(gap <= 1 / (levels - 1) + 4 * resolution)
    np.testing.assert_array_equal(got.quantized, grid(levels, dtype)[got.indices])


@pytest.mark.parametrize("levels", [2, 3, 12, (2, 3, 12, 50, 7)])
def test_the_gradient_is_that_of_tanh(x64, levels):
    z = 2 * jax.random.normal(jax.random.key(4), (16, 5), jnp.float64)
    weights = jax.random.normal(jax.random.key(5), z.shape, jnp.float64)
    gradient = jax.grad(lambda z: jnp.sum(weights * tl.quantize(z, levels).quantized))(z)
    np.testing.assert_allclose(gradient, weights * (1 - np.tanh(z) ** 2), rtol=0, atol=1e-12)
    _, tangent = jax.jvp(lambda z: tl.quantize(z, levels).quantized, (z,), (weights,))
    np.testing.assert_allclose(tangent, weights * (1 - np.tanh(z) ** 2), rtol=0, atol=1e-12)


def test_the_loss_behind_the_grid_is_differentiated_at_the_grid_value(x64):
    z = jnp.array([0.1, 0.75], jnp.float64)
    gradient = jax.grad(lambda z: jnp.sum(tl.quantize(z, 12).quantized ** 3))(z)
    np.testing.assert_allclose(
        gradient, 3 * np.array([1 / 11, 7 / 11]) ** 2 * (1 - np.tanh(z) ** 2), rtol=0, atol=1e-12
    )


def test_second_derivatives_are_those_of_tanh(x64):
    z = jnp.linspace(-2.0, 2.0, 9, dtype=jnp.float64)
    second = jax.vmap(jax.grad(jax.grad(lambda z: tl.quantize(z[None], 12).quantized[0])))(z)
    np.testing.assert_allclose(second, -2 * np.tanh(z) * (1 - np.tanh(z) ** 2), rtol=0, atol=1e-12)


def test_straight_through_takes_its_value_here_and_its_gradient_there(x64):
    value, carrier = jnp.array([0.1, -0.3, 7.0]), jnp.array([1e8, 1 / 3, -2e-9])
    out, pullback = jax.vjp(straight_through, value, carrier)
    np.testing.assert_array_equal(out, value)  # value + (carrier - carrier) loses no bit, however large the carrier
    to_value, to_carrier = pullback(jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(to_value, np.zeros(3))
    np.testing.assert_array_equal(to_carrier, [1.0, 2.0, 3.0])


def test_jit_vmap_and_batches_agree():
    z = jax.random.normal(jax.random.key(6), (8, 3))
    levels = (2, 12, 5)
    plain = tl.quantize(z, levels)
    for other in (
        jax.jit(lambda z: tl.quantize(z, levels))(z),
        jax.vmap(lambda z: tl.quantize(z, levels))(z),
        jax.tree.map(lambda a: a[0], tl.quantize(z[None], levels)),
    ):
        np.testing.assert_array_equal(other.indices, plain.indices)
        np.testing.assert_array_equal(other.quantized, plain.quantized)


def test_nan_stays_nan_in_its_own_entry():
    got = tl.quantize(jnp.array([[jnp.nan, 0.75], [0.75, 0.75]]), 12)
    np.testing.assert_array_equal(np.isnan(got.continuous), [[True, False], [False, False]])
    np.testing.assert_array_equal(np.isnan(got.quantized), [[True, False], [False, False]])
    # An index has no NaN to show; it stays in range, so that looking something up with it cannot go astray.
    assert 0 <= got.indices[0, 0] < 12


def test_infinite_latents_go_to_the_ends_with_gradient_zero():
    z = jnp.array([-jnp.inf, jnp.inf])
    np.testing.assert_array_equal(tl.quantize(z, 12).quantized, [-1.0, 1.0])
    np.testing.assert_array_equal(jax.grad(lambda z: tl.quantize(z, 12).quantized.sum())(z), [0.0, 0.0])


@pytest.mark.parametrize("levels", [(258, 258), (1000, 2)])
def test_in_half_precision_the_ends_stay_in_their_own_latent(levels):
    code = tl.quantize(jnp.array([[20.0, -20.0]], jnp.bfloat16), levels)
    assert code.indices.tolist() == [[levels[0] - 1, 0]]
    np.testing.assert_array_equal(np.asarray(code.quantized, np.float32), [[1.0, -1.0]])


def test_no_latents_is_an_empty_code():
    assert tl.quantize(jnp.zeros((3, 0)), 12).quantized.shape == (3, 0)


BAD = [
    pytest.param(jnp.zeros((2, 3), jnp.int32), 12, TypeError, "z must be floating point.*int32", id="integer z"),
    pytest.param(jnp.zeros((2, 3), bool), 12, TypeError, "z must be floating point.*bool", id="boolean z"),
    pytest.param(jnp.zeros((2, 3), jnp.complex64), 12, TypeError, "z must be floating point.*complex64", id="complex"),
    pytest.param(jnp.float32(0.5), 12, ValueError, r"z must have shape \(\.\.\., n_z\).*scalar", id="scalar z"),
    pytest.param(jnp.zeros((2, 3)), 1, ValueError, "levels must be at least 2.*got 1", id="one level"),
    pytest.param(jnp.zeros((2, 3)), 0, ValueError, "levels must be at least 2.*got 0", id="no level"),
    pytest.param(jnp.zeros((2, 3)), -12, ValueError, "levels must be at least 2.*got -12", id="negative"),
    pytest.param(jnp.zeros((2, 3)), (12, 1, 12), ValueError, "levels must be at least 2.*got 1", id="one of three"),
    pytest.param(jnp.zeros((2, 3)), (12, 12), ValueError, r"levels must be one integer or n_z = 3.*\(2,\)", id="two"),
    pytest.param(jnp.zeros((2, 3)), [[12, 12, 12]], ValueError, r"levels.*n_z = 3.*\(1, 3\)", id="matrix"),
    pytest.param(jnp.zeros((2, 3)), [[2, 3], [2]], (TypeError, ValueError), "levels must be", id="ragged"),
    pytest.param(jnp.zeros((2, 3)), [], (TypeError, ValueError), "levels must be", id="empty"),
    pytest.param(jnp.zeros((2, 3)), 12.0, TypeError, "levels must be an integer.*got 12.0", id="float"),
    pytest.param(jnp.zeros((2, 3)), True, TypeError, "levels must be an integer.*got True", id="boolean"),
    pytest.param(jnp.zeros((2, 3)), "12", TypeError, "levels must be an integer.*got '12'", id="string"),
    pytest.param(jnp.zeros((2, 3)), None, TypeError, "levels must be an integer.*got None", id="None"),
]


@pytest.mark.parametrize(("z", "levels", "error", "message"), BAD)
def test_bad_input_is_named(package_checks, z, levels, error, message):
    with pytest.raises(error, match=message):
        tl.quantize(z, levels)


def test_bad_input_is_named_before_compilation(package_checks):
    with pytest.raises(ValueError, match="levels must be at least 2"):
        jax.jit(lambda z: tl.quantize(z, 1)).lower(jnp.zeros((2, 3)))
