"""What every data set can do, and parts of data sets."""

import abc
import copy
import itertools
import zlib
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Int, UInt8, UInt64

from tripod_lite.checks import check_below, check_count, check_integers

Images = UInt8[Array, "n h w 3"]
Factors = Int[Array, "n n_s"]


class Dataset(abc.ABC):
    """Images and the factors behind them, by row number.

    A subclass says how many rows there are, what a row holds, and where to find given factors; the rest follows.

    A data set is a JAX pytree, so that it can be an argument of a jitted function:
    `jax.jit(lambda ds, key: ds.sample(key, 64))(ds, key)`. A function that closes over it works too, but then JAX
    copies its arrays into the program, which is slow to compile and needs the memory again: not for large sets.

    Attributes:
        name: the data set's.
        factor_names: the factors' in storage order; () where none are known.
        factor_sizes: how many values each factor has.
        image_size: height and width in pixels.
        part: "all", or which part of a split this is: "train", "held_out", or "seen" of `paper_split`.
        on_device: whether `fetch` works on the accelerator alone; False where it reads from the host's memory or disk.
    """

    name: str
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    image_size: int
    part: str = "all"
    on_device: bool = True
    _compiled: bool = False  # whether `sample` may be compiled as a whole, as lookups may; drawings change by a level
    _arrays: ClassVar[tuple[str, ...]] = ()  # attributes that are arrays, or data sets that hold some

    def __init_subclass__(cls) -> None:
        """Make the class a pytree: the attributes in `_arrays` are its children, everything else is static."""
        super().__init_subclass__()
        jax.tree_util.register_pytree_node(cls, _children, _rebuilt)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels. There are always three channels."""
        return self.image_size, self.image_size, 3

    @abc.abstractmethod
    def __len__(self) -> int:
        """The number of rows."""

    def identity(self) -> dict[str, object]:
        """What tells these rows from others, as JSON can hold it; a run that is resumed must find the same."""
        return {"dataset": self.name, "part": self.part, "rows": len(self), "factor_sizes": list(self.factor_sizes)}

    @abc.abstractmethod
    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """As `take`, for int32 rows known to exist; safe under `jax.jit`."""

    @abc.abstractmethod
    def images(self, factors: npt.ArrayLike) -> Images:
        """Images of given factors. A part of a data set answers for the whole of it.

        Args:
            factors: class numbers, integers, shape (n, n_s).

        Returns:
            uint8, shape (n, h, w, 3).

        Raises:
            TypeError: not integers.
            ValueError: a wrong shape, or factors that no image has.
        """

    def take(self, rows: npt.ArrayLike) -> tuple[Images, Factors]:
        """The images and factors of given rows.

        Args:
            rows: row numbers, integers, shape (n,).

        Returns:
            (images, factors): uint8 of shape (n, h, w, 3) and int32 of shape (n, n_s).

        Raises:
            TypeError: not integers.
            ValueError: not of shape (n,), or a row that does not exist.
        """
        rows = check_integers("rows", rows, 1)
        check_below("rows", rows, len(self))
        return self.fetch(jnp.asarray(rows, jnp.int32))

    def rows(self, key: Array, n: int) -> Int[Array, " n"]:
        """The numbers of the rows that `sample` takes."""
        return _draw(key, n, len(self))

    def sample(self, key: Array, n: int) -> tuple[Images, Factors]:
        """Random rows, uniform and independent, with replacement; safe under `jax.jit` where n is static.

        Args:
            key: a JAX random key.
            n: how many rows.

        Returns:
            (images, factors) as `take`.

        Raises:
            TypeError: n is not an integer.
            ValueError: n below 1.
        """
        n = check_count("n", n, 1)
        return self.fetch(self.rows(key, n))

    def batches(self, key: Array, n: int, start: int = 0) -> Iterator[Images]:
        """Batches of images without end: number i is `sample(jax.random.fold_in(key, i), n)[0]`.

        Where the images are not on the accelerator, Grain reads the next batches while one is used. The batches are the
        same, so a run can go on with another way of feeding.

        Args:
            key: a JAX random key.
            n: images a batch.
            start: the number of the first batch.

        Yields:
            uint8 images, shape (n, h, w, 3), on the accelerator.

        Raises:
            TypeError: n or start is not an integer.
            ValueError: n below 1, start below 0.
        """
        n, start = check_count("n", n, 1), check_count("start", start, 0)

        def batch(i: int) -> Images:
            return (_sampled if self._compiled else _sample)(self, key, i, n)

        if self.on_device:
            return map(batch, itertools.count(start))
        from tripod_lite.datasets.feeding import read_ahead

        return read_ahead(batch, start)

    def split(self, seed: int = 0, held_out: int | None = None) -> tuple["Part", "Part"]:
        """Split the rows at random, the same way on every machine.

        Args:
            seed: which split, at least 0.
            held_out: how many rows are held out; None: 10 000, or a tenth of all where that is less.

        Returns:
            (train, held_out): disjoint, together every row. The training part keeps the order of the rows; the held-out
            part is shuffled, so that its first rows are a fair sample of it.

        Raises:
            TypeError: an argument that is not an integer.
            ValueError: a negative seed, or a held_out that leaves one of the parts empty.
        """
        rows = self._chosen(seed, "held_out", held_out)
        return Part.without(self, rows), Part.of(self, rows)

    def paper_split(self, seed: int = 0, seen: int | None = None) -> tuple["Part", "Part"]:
        """The paper's habit, to compare with its numbers: train on every row, and score on 10 000 of them.

        The paper scores on the first 10 000 training images, in the shuffled order in which TensorFlow Datasets stores
        them. In the order of the grid the first 10 000 of Shapes3D would have one floor hue; here they are the rows
        that `split` of the same seed holds out, so that the two ways can be compared on the same images.

        Args:
            seed: which rows, at least 0.
            seen: how many; None: as `split`.

        Returns:
            (train, seen): every row in their order, part "train"; and a shuffled sample of the same rows, part "seen".

        Raises:
            TypeError, ValueError: as `split`.
        """
        return Part.without(self, np.zeros(0, np.int32)), Part.of(self, self._chosen(seed, "seen", seen), part="seen")

    def _chosen(self, seed: int, argument: str, count: int | None) -> Int[np.ndarray, " m"]:
        """Different rows at random, so that each part of a split has some."""
        seed = check_count("seed", seed, 0, 2**63 - 1)
        if count is None:
            count = max(1, min(10_000, len(self) // 10))
        count = check_count(argument, count, 1, len(self) - 1)
        return np.argsort(scramble(len(self), seed))[:count].astype(np.int32)

    def correlated(self, first: str, second: str, strength: float) -> "Dataset":
        """The same rows, sampled with two factors tied; see `Correlated` for what is tied and what it raises.

        Args:
            first: a factor's name.
            second: another's, which follows the first.
            strength: from 0, independent, to 1, always at the same place between their first and last value.
        """
        from tripod_lite.datasets.correlated import Correlated

        return Correlated(self, first, second, strength)

    def split_combinations(self, **values: npt.ArrayLike) -> tuple["Part", "Part"]:
        """Hold out combinations of factor values, to see whether a model puts together what it saw apart.

        Args:
            **values: class numbers by factor name. A row is held out where each named factor has one of its values:
                `split_combinations(shape=[3], object_hue=[0, 1])` holds out capsules in two hues.

        Returns:
            (train, held_out), as `split`.

        Raises:
            TypeError: values that are not integers.
            ValueError: no factor named, an unknown one, a value that its factor does not have, or a part left empty.
        """
        if not values:
            raise ValueError(f"values must name at least one factor of {', '.join(self.factor_names) or 'none'}")
        sizes = dict(zip(self.factor_names, self.factor_sizes, strict=True))
        for name, wanted in values.items():
            if name not in sizes:
                raise ValueError(f"there is no factor {name!r}; there are {', '.join(sizes) or 'none'}")
            check_below(name, check_integers(name, wanted, 1), sizes[name])
        factors = np.asarray(self.factors_of(jnp.arange(len(self), dtype=jnp.int32)))
        held = np.ones(len(self), bool)
        for name, wanted in values.items():
            held &= np.isin(factors[:, self.factor_names.index(name)], np.asarray(wanted))
        rows = np.flatnonzero(held).astype(np.int32)
        if not 0 < len(rows) < len(self):
            raise ValueError(f"both parts must have rows, but {len(rows)} of {len(self)} would be held out")
        rows = rows[np.argsort(scramble(len(rows), 0))]
        return Part.without(self, rows), Part.of(self, rows)

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """The factors of rows known to exist, without their images where that is possible."""
        return self.fetch(rows)[1]


@partial(jax.jit, static_argnames=("n", "below"))
def _draw(key: Array, n: int, below: int) -> Int[Array, " n"]:
    return jax.random.randint(key, (n,), 0, below, jnp.int32)


@jax.jit
def _step_over(listed: Int[Array, " m"], rows: Int[Array, " n"]) -> Int[Array, " n"]:
    """See `Part.without`."""
    return rows + jnp.searchsorted(listed, rows, side="right").astype(rows.dtype)


def _sample(ds: Dataset, key: Array, i: int | Int[Array, ""], n: int) -> Images:
    return ds.sample(jax.random.fold_in(key, i), n)[0]


_sampled = jax.jit(_sample, static_argnames="n")


def _children(ds: Dataset) -> tuple[tuple, Dataset]:
    """The arrays of a data set, and the data set without them; this one is made once, since JAX compares it."""
    if "_static" not in ds.__dict__:
        static = copy.copy(ds)
        for name in ds._arrays:
            setattr(static, name, None)
        static._static = static
        ds._static = static
    return tuple(getattr(ds, name) for name in ds._arrays), ds._static


def _rebuilt(static: Dataset, children: tuple) -> Dataset:
    """The inverse of `_children`."""
    ds = copy.copy(static)
    for name, child in zip(static._arrays, children, strict=True):
        setattr(ds, name, child)
    return ds


class Part(Dataset):
    """Some rows of a data set: those listed, or all but those listed."""

    _arrays = ("whole", "_rows")

    def __init__(self, whole: Dataset, rows: Int[np.ndarray, " m"], *, part: str) -> None:
        """Use `of` or `without`."""
        self.whole, self.part = whole, part
        self.name, self.image_size = whole.name, whole.image_size
        self.factor_names, self.factor_sizes = whole.factor_names, whole.factor_sizes
        self.on_device, self._compiled = whole.on_device, whole._compiled
        self._rows = jnp.asarray(rows)

    @classmethod
    def of(cls, whole: Dataset, rows: Int[np.ndarray, " m"], *, part: str = "held_out") -> "Part":
        """The listed rows, in the order of the list: what is held out, or another part that is not "train"."""
        return cls(whole, rows, part=part)

    @classmethod
    def without(cls, whole: Dataset, rows: Int[np.ndarray, " m"]) -> "Part":
        """The training part: all rows but the listed ones, in the order of the whole.

        Only the list is kept. Let r_0 < r_1 < … be its rows: r_i has r_i - i rows of this part before it, so that the
        part's row j is the whole's row j + #{i: r_i - i ≤ j}.
        """
        return cls(whole, np.sort(rows) - np.arange(len(rows), dtype=rows.dtype), part="train")

    def __len__(self) -> int:
        return len(self.whole) - len(self._rows) if self.part == "train" else len(self._rows)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`; of the rows, a checksum."""
        rows = zlib.crc32(np.asarray(self._rows, "<i4").tobytes())
        return self.whole.identity() | super().identity() | {"rows_crc32": rows}

    def rows_in_whole(self, rows: Int[Array, " n"]) -> Int[Array, " n"]:
        """Which rows of the whole these rows of the part are."""
        if self.part != "train":
            return self._rows[rows]
        return _step_over(self._rows, rows)

    def left_out(self) -> Int[Array, " m"]:
        """Of a training part, the rows of the whole that it does not have, in ascending order."""
        return self._rows + jnp.arange(len(self._rows), dtype=self._rows.dtype)

    def holds(self, rows: Int[Array, " n"]) -> Bool[Array, " n"]:
        """Which of these rows of the whole are rows of the part."""
        listed = self.left_out() if self.part == "train" else jnp.sort(self._rows)
        if not len(listed):
            return jnp.ones(rows.shape, bool)
        place = jnp.minimum(jnp.searchsorted(listed, rows), len(listed) - 1)
        return (listed[place] == rows) == (self.part != "train")

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        return self.whole.fetch(self.rows_in_whole(rows))

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """See `Dataset.factors_of`."""
        return self.whole.factors_of(self.rows_in_whole(rows))

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`."""
        return self.whole.images(factors)


def scramble(n: int, seed: int) -> UInt64[np.ndarray, " n"]:
    """Different 64-bit numbers in random order, n of them, by integer arithmetic that no library's update can change.

    SplitMix64: a bijection of the 64-bit numbers, applied to n steps along an arithmetic sequence.

    Source: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (OOPSLA 2014).
    """
    golden = np.uint64(0x9E3779B97F4A7C15)

    def mix(z: UInt64[np.ndarray, " m"]) -> UInt64[np.ndarray, " m"]:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    start = mix(np.array([seed], np.uint64) * golden)
    return mix(start + np.arange(1, n + 1, dtype=np.uint64) * golden)
