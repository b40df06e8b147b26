"""Sampling and splitting, on a data set whose images say which row they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from tripod_lite.datasets import Dataset, Part
from tripod_lite.datasets.base import scramble


class Numbers(Dataset):
    """Every pixel of row i is i modulo 256, and its one factor is i."""

    name, factor_names, image_size = "numbers", ("row",), 8

    def __init__(self, n):
        self.n, self.factor_sizes = n, (n,)

    def __len__(self):
        return self.n

    def fetch(self, rows):
        pixels = (rows % 256).astype(jnp.uint8)[:, None, None, None]
        return jnp.broadcast_to(pixels, (len(rows), 8, 8, 3)), rows[:, None]

    def images(self, factors):
        return self.fetch(jnp.asarray(factors)[:, 0])[0]


def rows_of(ds):
    return np.asarray(ds.take(np.arange(len(ds)))[1])[:, 0]


def test_parts_are_disjoint_and_together_everything():
    train, held_out = Numbers(1000).split(seed=3, held_out=100)
    assert (len(train), len(held_out)) == (900, 100)
    np.testing.assert_array_equal(np.sort(np.concatenate([rows_of(train), rows_of(held_out)])), np.arange(1000))
    assert (np.diff(rows_of(train)) > 0).all()


@pytest.mark.parametrize(("n", "held_out"), [(2, 1), (3, 2), (10, 9), (10, 1)])
def test_small_sets_split_too(n, held_out):
    parts = Numbers(n).split(held_out=held_out)
    assert [len(part) for part in parts] == [n - held_out, held_out]
    assert sorted([*rows_of(parts[0]), *rows_of(parts[1])]) == list(range(n))


@pytest.mark.parametrize(("n", "held_out"), [(480_000, 10_000), (46, 4), (5, 1)])
def test_by_default_ten_thousand_or_a_tenth_are_held_out(n, held_out):
    assert len(Numbers(n).split()[1]) == held_out


def test_the_split_is_the_same_on_every_machine():
    """Recorded once; the rows of every published score depend on them."""
    held_out = Numbers(480_000).split()[1]
    assert rows_of(held_out)[:8].tolist() == [70273, 390831, 164256, 185931, 328513, 371863, 333023, 447624]
    assert rows_of(Numbers(100).split(seed=7, held_out=5)[1]).tolist() == [16, 71, 89, 11, 38]


def test_seeds_select_splits():
    ds = Numbers(1000)
    first, again, other = (set(rows_of(ds.split(seed, 100)[1]).tolist()) for seed in (1, 1, 2))
    assert first == again
    assert len(first & other) < 30  # 10 by chance


def test_the_held_out_part_is_shuffled():
    rows = rows_of(Numbers(100_000).split()[1])
    assert abs(rows[:500].mean() - 50_000) < 5_000  # 500 of a uniform distribution: a standard error of 1 300
    assert abs(np.corrcoef(rows, np.arange(len(rows)))[0, 1]) < 0.05


def test_scrambled_numbers_are_those_of_splitmix64():
    """Seed 0 starts the generator at 0; these are its published first outputs from there."""
    assert scramble(3, 0).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert len(set(scramble(100_000, 5).tolist())) == 100_000


def test_train_never_samples_what_is_held_out():
    train, held_out = Numbers(300).split(held_out=100)
    drawn = np.asarray(jax.jit(train.sample, static_argnums=1)(jax.random.key(0), 5000)[1])[:, 0]
    assert set(drawn.tolist()) == set(rows_of(train).tolist())
    assert set(drawn.tolist()).isdisjoint(rows_of(held_out).tolist())


@pytest.mark.parametrize("which", [0, 1])
def test_sampling_is_uniform(which):
    part = Numbers(200).split(held_out=100)[which]
    drawn = np.asarray(part.sample(jax.random.key(1), 20_000)[1])[:, 0]
    counts = np.bincount(drawn, minlength=200)[rows_of(part)]
    statistic = ((counts - 200) ** 2 / 200).sum()
    assert chi2.cdf(statistic, df=99) < 0.999 and chi2.sf(statistic, df=99) < 0.999


def test_samples_depend_on_the_key_alone():
    ds = Numbers(1000)
    one, same = ds.sample(jax.random.key(5), 50), jax.jit(ds.sample, static_argnums=1)(jax.random.key(5), 50)
    np.testing.assert_array_equal(one[1], same[1])
    assert (np.asarray(one[1]) != np.asarray(ds.sample(jax.random.key(6), 50)[1])).any()
    np.testing.assert_array_equal(one[0][:, 0, 0, 0], np.asarray(one[1])[:, 0] % 256)


def test_parts_say_what_they_are():
    ds = Numbers(100)
    train, held_out = ds.split()
    assert (ds.part, train.part, held_out.part) == ("all", "train", "held_out")
    for part in (train, held_out):
        assert isinstance(part, Part)
        assert (part.name, part.factor_names, part.factor_sizes) == ("numbers", ("row",), (100,))
        assert part.image_shape == (8, 8, 3)
        np.testing.assert_array_equal(part.images([[7], [42]])[:, 0, 0, 0], [7, 42])


def test_a_part_can_be_split_again():
    train, test = Numbers(100).split(held_out=20)
    train, validation = train.split(held_out=10)
    everything = np.concatenate([rows_of(part) for part in (train, validation, test)])
    np.testing.assert_array_equal(np.sort(everything), np.arange(100))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"held_out": 0}, ValueError, "held_out must be at least 1, got 0"),
        ({"held_out": 100}, ValueError, "held_out must be at most 99, got 100"),
        ({"held_out": 10.0}, TypeError, "held_out"),
        ({"held_out": True}, TypeError, "held_out must be an integer, got True"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 2**63}, ValueError, "seed must be at most"),
        ({"seed": "0"}, TypeError, "seed"),
    ],
)
def test_impossible_splits_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Numbers(100).split(**arguments)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([0, 100], ValueError, r"rows\[1\] must be at least 0 and below 100, got 100"),
        ([-1], ValueError, r"rows\[0\]"),
        ([[1]], ValueError, r"rows must have 1 dimension, got shape \(1, 1\)"),
        (np.array(3), ValueError, r"rows must have 1 dimension, got shape \(\)"),
        ([1.0], TypeError, "rows must be integers, got dtype float64"),
    ],
)
def test_rows_that_do_not_exist_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        Numbers(100).take(rows)


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [(0, ValueError, "n must be at least 1, got 0"), (2.0, TypeError, "n"), (True, TypeError, "n")],
)
def test_samples_of_no_size_are_refused(n, error, message):
    with pytest.raises(error, match=message):
        Numbers(100).sample(jax.random.key(0), n)
