"""Data sets of anybody's images: an array, a folder of pictures, an .npz file."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Int, UInt8

from tripod_lite.checks import check_below, check_count, check_integers
from tripod_lite.datasets.base import Dataset, Factors, Images

if TYPE_CHECKING:
    import PIL.Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ArrayDataset(Dataset):
    """Images held in memory, on the accelerator where there is one; `from_images` makes it."""

    _compiled = True
    _arrays = ("_images", "_factors")

    def __init__(
        self,
        images: UInt8[np.ndarray, "n h h 3"],
        factors: Int[np.ndarray, "n n_s"],
        factor_names: tuple[str, ...],
        name: str,
    ) -> None:
        """Images and factors, row for row; n_s = 0 where no factors are known."""
        self.name, self.image_size = name, images.shape[1]
        self.factor_names = factor_names
        self.factor_sizes = tuple(int(largest) + 1 for largest in factors.max(axis=0))
        self._images, self._factors = jnp.asarray(images), jnp.asarray(factors, jnp.int32)

    def __len__(self) -> int:
        return len(self._images)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`; also checksums of up to 64 images and of the factors."""
        rows = np.unique(np.linspace(0, len(self) - 1, 64).astype(np.int32))
        checked = {"images_crc32": self._images[rows], "factors_crc32": self._factors}
        return super().identity() | {name: zlib.crc32(np.asarray(array).tobytes()) for name, array in checked.items()}

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        return self._images[rows], self._factors[rows]

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """See `Dataset.factors_of`."""
        return self._factors[rows]

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`; of several images with the same factors, the first."""
        if not self.factor_names:
            raise ValueError("these images have no factors to find them by; take(rows) gives images by row")
        wanted = check_integers("factors", factors, 2)
        if wanted.shape[1] != len(self.factor_names):
            names = ", ".join(self.factor_names)
            raise ValueError(
                f"factors must have shape (n, {len(self.factor_names)}), a column for each of {names}; "
                f"got {wanted.shape}"
            )
        check_below("factors", wanted, self.factor_sizes)
        row_of: dict[tuple[int, ...], int] = {}
        for row, found in enumerate(np.asarray(self._factors).tolist()):
            row_of.setdefault(tuple(found), row)
        rows = []
        for key in map(tuple, np.asarray(wanted).tolist()):
            if key not in row_of:
                raise ValueError(f"factors must be those of an image, got {key}, which none of the {len(self)} has")
            rows.append(row_of[key])
        return self._images[jnp.asarray(rows, jnp.int32)]


def from_images(
    images: npt.ArrayLike | str | Path,
    factors: npt.ArrayLike | None = None,
    image_size: int | None = None,
    *,
    factor_names: Sequence[str] | None = None,
    name: str = "images",
) -> ArrayDataset:
    """A data set of your own images.

    Args:
        images: one of
            an array, NumPy or JAX: uint8, or floating point in [0, 1], shape (n, h, w, 3), (n, h, w, 1) or (n, h, w);
            a folder: every picture in it and below it (by suffix: see `SUFFIXES`), in the order of their paths; of an
            animation the first frame, without transparency;
            an .npz file: its array `images`, and its array `factors`, or `labels`, if it has one and none are given.
            Gray images become three equal channels.
        factors: class numbers 0, 1, …, integers of shape (n, n_s), row for row; None: not known.
        image_size: height and width in pixels, at least 8, to which images are resized (bicubic, antialiased; what is
            not square is squeezed). None: leave them as they are, which must be square and of one size.
        factor_names: n_s of them; None: factor_0, factor_1, …
        name: the data set's.

    Returns:
        A data set whose `factor_sizes` are one more than the largest class numbers. Without factors they are (), and
        `sample` and `take` give factors of shape (n, 0).

    Raises:
        TypeError: a dtype or an argument of the wrong kind.
        ValueError: fewer than two images; a wrong shape; NaN or values outside [0, 1]; images of several sizes or not
            square without `image_size`; negative factors or the wrong number of them; a file that is missing, empty or
            cannot be read.
    """
    if image_size is not None:
        image_size = check_count("image_size", image_size, 8)
    if isinstance(images, str | Path):
        path = Path(images)
        if path.is_dir():
            pixels = _read_folder(path, image_size)
        else:
            pixels, stored = _read_npz(path)
            factors = stored if factors is None else factors
    else:
        pixels = _as_array(images)
    pixels = _as_rgb(pixels, image_size)
    classes = _as_classes(factors, len(pixels))
    return ArrayDataset(pixels, classes, _as_names(factor_names, classes.shape[1]), name)


def _as_array(images: npt.ArrayLike) -> np.ndarray:
    try:
        return np.asarray(images)
    except ValueError as error:  # a list of arrays that do not stack
        raise ValueError(f"images must be one array or stack to one: {error}") from error


def _as_rgb(images: np.ndarray, image_size: int | None) -> UInt8[np.ndarray, "n h h 3"]:
    """Images as uint8 in three channels and of one size."""
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be uint8, or floating point in [0, 1], got dtype {images.dtype}")
    channels = images.shape[3] if images.ndim == 4 else 1
    if images.ndim not in (3, 4) or channels not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(f"images must have shape (n, h, w, 3), (n, h, w, 1) or (n, h, w), got {images.shape}")
    n, height, width = images.shape[:3]
    if n < 2:
        raise ValueError(f"a data set must have at least 2 images, got {n}")
    if image_size is None and (height != width or height < 8):
        raise ValueError(
            f"images must be square and at least 8 pixels wide unless image_size is given, got {height} by {width}"
        )
    if images.dtype != np.uint8:
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):  # so that NaN, which compares as false, is refused
            raise ValueError(f"floating-point images must lie in [0, 1], got values from {low} to {high}")
        images = np.round(255 * images.astype(np.float32)).astype(np.uint8)
    rgb = np.broadcast_to(images.reshape(n, height, width, channels), (n, height, width, 3))
    if image_size in (None, height) and height == width:
        return rgb
    from PIL import Image

    return np.stack([_resize(Image.fromarray(image), image_size) for image in rgb])


def _resize(picture: "PIL.Image.Image", image_size: int) -> UInt8[np.ndarray, "h h 3"]:
    """A PIL picture at another size; PIL widens its kernel when it shrinks a picture, and clips."""
    from PIL import Image

    return np.asarray(picture.resize((image_size, image_size), Image.Resampling.BICUBIC))


def _read_folder(folder: Path, image_size: int | None) -> UInt8[np.ndarray, "n h w 3"]:
    """Every picture in a folder and below it, resized one by one where a size is wanted."""
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(
            f"images must name a folder with pictures ({', '.join(SUFFIXES)}), but there is none in {folder}"
        )
    pictures = []
    for path in paths:
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(f"images must be readable pictures, but {path} is not: {error}") from error
        pictures.append(_resize(picture, image_size) if image_size else np.asarray(picture))
        if pictures[-1].shape != pictures[0].shape:
            sizes = " and ".join(f"{p.shape[0]} by {p.shape[1]} pixels" for p in (pictures[0], pictures[-1]))
            raise ValueError(
                f"pictures must have one size unless image_size is given, got {sizes} ({paths[0]}, {path})"
            )
    return np.stack(pictures)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays `images` and `factors` (or `labels`, or None) of an .npz file."""
    if not path.is_file():
        raise ValueError(f"images must name a folder or an .npz file, but there is neither at {path}")
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array; save it with numpy.savez(path, images=array)")
        with loaded as file:
            if "images" not in file:
                raise ValueError(f"it must have an array named images, got {', '.join(file.files) or 'no array'}")
            factors = next((file[key] for key in ("factors", "labels") if key in file), None)
            return file["images"], factors
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path} as an .npz file of images: {error}") from error


def _as_classes(factors: npt.ArrayLike | None, n: int) -> Int[np.ndarray, "n n_s"]:
    """Factors as an int32 table; without columns where there are none."""
    if factors is None:
        return np.zeros((n, 0), np.int32)
    table = np.asarray(check_integers("factors", factors, 2))
    if len(table) != n or table.shape[1] < 1:
        raise ValueError(f"factors must have a row for each of the {n} images and a column a factor, got {table.shape}")
    check_below("factors", table, np.iinfo(np.int32).max)
    return table.astype(np.int32)


def _as_names(names: Sequence[str] | None, n_s: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"factor_{k}" for k in range(n_s))
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"factor_names must be a sequence of strings, got {names!r}")
    if len(names) != n_s or len(set(names)) != n_s:
        raise ValueError(f"factor_names must be {n_s} different names, one a factor, got {tuple(names)!r}")
    return tuple(names)
