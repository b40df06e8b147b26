"""Reading the published archives: picture by picture, never a pickle, never a path that leads elsewhere.

The members of a .zip or .npz have checksums, which are compared. HDF5 has none, so that some damage would pass for
other pictures; but of both published .h5 files the SHA-256 is known.
"""

import errno
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int, UInt8

from tripod_lite.datasets.real.sources import File, Source

Picture = UInt8[np.ndarray, "h w 3"] | bytes
BLOCK = 256  # pictures read at once: 3 MB of 64×64
LONGEST = 10 * 2**20  # bytes of one picture or table of labels that anybody could have meant


class ArchiveError(ValueError):
    """An archive does not hold what it should: damaged, malicious, or another one."""


@dataclass(frozen=True)
class Archive:
    """An opened archive.

    Attributes:
        factors: class numbers of every picture, int32, shape (n, n_s), in the order of the pictures.
        pictures: yields the pictures from a given one on: arrays, or PNG files as bytes.
    """

    factors: Int[np.ndarray, "n n_s"]
    pictures: Callable[[int], Iterator[Picture]]


# What damaged files make the readers raise; a zip with an unknown compression, NotImplementedError.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError)
HDF5_DAMAGE = (OSError, TypeError, KeyError, ValueError)


@contextmanager
def reading(where: object, *also: type[Exception]) -> Iterator[None]:
    """What the libraries say about damage, as an `ArchiveError` that says where.

    Around reading alone, so that it never sees the errors of those who use what was read.
    """
    try:
        yield
    except ArchiveError:
        raise
    except (*DAMAGE, *also) as error:
        raise ArchiveError(f"{where} is damaged: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a place before the start of the file; others are the disk's
            raise
        raise ArchiveError(f"{where} is damaged: {error}") from error


@contextmanager
def open_archive(source: Source, file: File, path: Path) -> Iterator[Archive]:
    """Open a file of a source, or the folder that it unpacks to.

    Everything that can be told without reading the pictures is checked here: paths, shapes, the number of pictures, and
    that the labels are every combination of the factors' values once.

    Raises:
        ArchiveError: it is not what it should be.
    """
    opened: AbstractContextManager[Archive]
    if path.is_dir():
        opened = _open_folder(source, file, path)
    else:
        opened = {"h5": _open_h5, "npz": _open_npz, "pngs": _open_zip}[file.layout.kind](source, file, path)
    with opened as archive:
        yield archive


def classes_of(source: Source, labels: np.ndarray, where: str) -> Int[np.ndarray, "n n_s"]:
    """Labels as class numbers: the place of each value among the sorted values of its factor.

    Raises:
        ArchiveError: labels of another shape, or not every combination of the factors' values once.
    """
    wanted = (len(source), len(source.factor_sizes))
    if labels.shape != wanted:
        raise ArchiveError(f"{where} must have shape {wanted}, got {labels.shape}")
    if labels.dtype.kind not in "iuf":
        raise ArchiveError(f"{where} must be numbers, got dtype {labels.dtype}")
    classes = np.empty(wanted, np.int32)
    for k, (name, size) in enumerate(zip(source.factor_names, source.factor_sizes, strict=True)):
        values, classes[:, k] = np.unique(labels[:, k], return_inverse=True)
        if len(values) != size:
            raise ArchiveError(f"{where} must have {size} values of {name}, got {len(values)}")
    if len(np.unique(np.ravel_multi_index(tuple(classes.T), source.factor_sizes))) != len(source):
        raise ArchiveError(f"{where} must be every combination of the factors' values once, but some come twice")
    return classes


def _grid(source: Source) -> Int[np.ndarray, "n n_s"]:
    """The factors of pictures in the order of the grid."""
    return np.stack(np.unravel_index(np.arange(len(source)), source.factor_sizes), axis=1).astype(np.int32)


def _as_rgb(images: np.ndarray) -> UInt8[np.ndarray, "n h w 3"]:
    """Colors as they are; of black and white pictures, 0 and 1 become three channels of 0 and 255."""
    return images if images.ndim == 4 else np.repeat(images[..., None] * np.uint8(255), 3, axis=3)


def _check_images(source: Source, shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    colored = (len(source), source.picture_size, source.picture_size, 3)
    if shape[:1] != colored[:1]:
        raise ArchiveError(f"{where} must have {len(source)} pictures, got shape {shape}")
    if shape not in (colored, colored[:3]) or dtype != np.uint8:
        raise ArchiveError(f"{where} must be uint8 of shape {colored} or {colored[:3]}, got {dtype} of shape {shape}")


@contextmanager
def _open_h5(source: Source, file: File, path: Path) -> Iterator[Archive]:
    import h5py

    layout = file.layout
    with reading(path, *HDF5_DAMAGE):
        opened = h5py.File(path, "r")
    with opened as content:
        with reading(path, *HDF5_DAMAGE):
            found = {name: content.get(name) for name in (layout.images, layout.labels)}
            missing = [name for name, dataset in found.items() if not isinstance(dataset, h5py.Dataset)]
            if missing:
                raise ArchiveError(f"{path} must hold {missing[0]}, got {', '.join(content) or 'nothing'}")
            images, labels = found.values()
            _check_images(source, images.shape, images.dtype, f"{path}: {layout.images}")
            if labels.ndim != 2 or labels.nbytes > 100 * LONGEST:
                raise ArchiveError(f"{path}: {layout.labels} must be a table, got shape {labels.shape}")
            factors = classes_of(source, labels[:, layout.first_label :], f"{path}: {layout.labels}")

        def pictures(start: int) -> Iterator[Picture]:
            for first in range(start, len(source), BLOCK):
                with reading(f"{path}: {layout.images} from row {first} on", *HDF5_DAMAGE):
                    block = images[first : min(first + BLOCK, len(source))]
                yield from _as_rgb(block)

        yield Archive(factors, pictures)


def _open_safely(path: Path) -> zipfile.ZipFile:
    """Open a .zip or .npz; refuse names that would leave the folder they were unpacked to."""
    with reading(path):
        archive = zipfile.ZipFile(path)
    for name in archive.namelist():
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name:
            archive.close()
            raise ArchiveError(f"{path} has a member that leads out of its folder, {name!r}; nothing of it was used")
    return archive


def _read_header(member: "zipfile.ZipExtFile | io.BytesIO", where: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array in npy format; what follows in `member` are its values, rows first."""
    try:
        version = np.lib.format.read_magic(member)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_columns, dtype = read(member)
    except (ValueError, KeyError, SyntaxError, tokenize.TokenError) as error:
        raise ArchiveError(f"{where} is no array in npy format: {error}") from error
    if dtype.hasobject:
        raise ArchiveError(f"{where} is a pickle, which could run any code; it was not read")
    if by_columns and len(shape) > 1:
        raise ArchiveError(f"{where} must be stored by rows, got columns")
    return shape, dtype


def _read_exactly(member: "zipfile.ZipExtFile | io.BytesIO", count: int, where: str) -> bytes:
    with reading(where):
        data = member.read(count)
    if len(data) < count:
        raise ArchiveError(f"{where} ends {count - len(data)} bytes too early")
    return data


def _read_table(data: bytes, where: str) -> np.ndarray:
    """A small array in npy format."""
    buffer = io.BytesIO(data)
    shape, dtype = _read_header(buffer, where)
    count = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(_read_exactly(buffer, count, where), dtype).reshape(shape)


@contextmanager
def _open_npz(source: Source, file: File, path: Path) -> Iterator[Archive]:
    layout = file.layout
    images, labels = (f"{name}.npy" for name in (layout.images, layout.labels))
    where = f"{path}: {images}"
    with _open_safely(path) as archive:
        with reading(path):
            names = set(archive.namelist())
            missing = {images, labels if layout.labels else images} - names
            if missing:
                raise ArchiveError(f"{path} must hold {min(missing)}, got {', '.join(sorted(names)[:5]) or 'nothing'}")
            with archive.open(images) as member:
                shape, dtype = _read_header(member, where)
            _check_images(source, shape, dtype, where)
            factors = _grid(source)
            if layout.labels:
                if archive.getinfo(labels).file_size > 100 * LONGEST:
                    raise ArchiveError(f"{path}: {labels} is far too long")
                table = _read_table(archive.read(labels), f"{path}: {labels}")
                factors = classes_of(source, table[..., layout.first_label :], f"{path}: {labels}")

        def pictures(start: int) -> Iterator[Picture]:
            row = int(np.prod(shape[1:]))
            with archive.open(images) as member:
                with reading(where):
                    _read_header(member, where)
                for first in range(0, len(source), BLOCK):
                    count = min(BLOCK, len(source) - first)
                    data = _read_exactly(member, count * row, where)
                    if first + count > start:  # what came earlier is only read past, which checks it too
                        block = np.frombuffer(data, np.uint8).reshape(count, *shape[1:])
                        yield from _as_rgb(block[max(0, start - first) :])
                with reading(where):
                    if member.read(1):  # reading on to the end also compares the checksum
                        raise ArchiveError(f"{where} is longer than its shape {shape} says")

        yield Archive(factors, pictures)


def _check_names(source: Source, file: File, found: set[str], where: Path) -> None:
    """Every picture must be there, and no other."""
    layout = file.layout
    folder = str(PurePosixPath(layout.images).parent) + "/"
    count = sum(name.startswith(folder) and name.lower().endswith(".png") for name in found)
    missing = next((name for i in range(len(source)) if (name := layout.images.format(i)) not in found), None)
    if missing or count != len(source):
        says = f"{missing} is missing" if missing else f"there are more than {layout.images.format(len(source) - 1)}"
        raise ArchiveError(f"{where} must have {len(source)} pictures, got {count}: {says}")
    if layout.labels not in found:
        raise ArchiveError(f"{where} must hold {layout.labels}, which is missing")


@contextmanager
def _open_zip(source: Source, file: File, path: Path) -> Iterator[Archive]:
    layout = file.layout
    with _open_safely(path) as archive:
        _check_names(source, file, set(archive.namelist()), path)

        def read(name: str, most: int = LONGEST) -> bytes:
            where = f"{path}: {name}"
            if archive.getinfo(name).file_size > most:
                raise ArchiveError(f"{where} is far too long: {archive.getinfo(name).file_size} bytes")
            with reading(where):
                return archive.read(name)

        labels = _read_table(read(layout.labels, 100 * LONGEST), f"{path}: {layout.labels}")
        factors = classes_of(source, labels, f"{path}: {layout.labels}")
        yield Archive(factors, lambda start: (read(layout.images.format(i)) for i in range(start, len(source))))


@contextmanager
def _open_folder(source: Source, file: File, path: Path) -> Iterator[Archive]:
    layout = file.layout
    folders = {PurePosixPath(name).parent for name in (layout.images, layout.labels)}
    found = {entry.relative_to(path).as_posix() for folder in folders for entry in (path / folder).glob("*")}
    _check_names(source, file, found, path)
    where = f"{path / layout.labels}"
    factors = classes_of(source, _read_table((path / layout.labels).read_bytes(), where), where)
    yield Archive(
        factors, lambda start: ((path / layout.images.format(i)).read_bytes() for i in range(start, len(source)))
    )
