"""From a published archive to one memory map, once: in bounded memory, and going on where a kill stopped it.

A part of `PART` pictures at a time goes from the archive into `array_record` files of TensorFlow Datasets, from there,
resized, to the end of `images.npy`, and is removed. Memory holds one part, about 120 MB, and of a .zip its table of
contents, about 1 kB a picture: 0.25 GB for Falcor3D, 0.8 GB for Isaac3D. It does not grow with the images.
"""

import io
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Int, UInt8
from PIL import Image

from tripod_lite.datasets.real.archives import Archive, ArchiveError, Picture, open_archive
from tripod_lite.datasets.real.builders import Builder, prepare_rows
from tripod_lite.datasets.real.download import DownloadError, check_file, check_room, download, sha256_of
from tripod_lite.datasets.real.sources import File, Source
from tripod_lite.datasets.rows_on_disk import RowWriter, note_of

PART = 1024
FORMAT = 1  # of the prepared folder; another number prepares anew


@dataclass(frozen=True)
class Prepared:
    """A set on the disk.

    Attributes:
        source: which.
        images: read-only memory map.
        factors: class numbers of every image.
        sha256: of the file of images.
    """

    source: Source
    images: UInt8[np.ndarray, "n h h 3"]
    factors: Int[np.ndarray, "n n_s"]
    sha256: str


def cache_dir(data_dir: str | Path | None = None) -> Path:
    """Where data sets are kept: `data_dir`, or else $TRIPOD_LITE_DATA, or else the user's cache."""
    if data_dir is None:
        data_dir = os.environ.get("TRIPOD_LITE_DATA") or Path(
            os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tripod_lite"
        )
    return Path(data_dir).expanduser()


def prepare(
    source: Source,
    image_size: int,
    *,
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    progress: bool = True,
) -> Prepared:
    """The prepared set; download and prepare it if that has not been done, and verify it if it has.

    Another process that prepares the same source waits for this one.

    Raises:
        DownloadError: it could not be had; says how to get it by hand, and how to go on without.
        ArchiveError: what was had is damaged or something else. A download is removed, a copy of yours is not.
        FileNotFoundError: there is no copy in `manual_dir`.
        ValueError: what was prepared earlier has changed since.
        OSError: the disk is full; what has been done is kept, and the next call goes on from there.
    """
    root = cache_dir(data_dir)
    folder = root / f"{source.key}-{image_size}"
    note = _read_note(folder, source)
    if "sha256" in note:
        return _open_verified(source, folder, note)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{source.key}.lock"):
        note = _read_note(folder, source)
        if "sha256" not in note:  # which another process may have changed while this one waited
            file, path = obtain(source, root, manual_dir, progress)
            try:
                _write(source, file, path, folder, image_size, note, progress)
            except ArchiveError as error:
                shutil.rmtree(folder, ignore_errors=True)
                if path.parent == root / "downloads":
                    path.unlink(missing_ok=True)
                    raise ArchiveError(f"{error}. The download was removed; the next call gets it again.") from error
                raise
            note = _read_note(folder, source)
        return _open_verified(source, folder, note)


def obtain(source: Source, root: Path, manual_dir: str | Path | None, progress: bool) -> tuple[File, Path]:
    """A file of the source, or the folder it unpacks to: a copy of the user's, an earlier download, or a download.

    Raises:
        DownloadError, FileNotFoundError, OSError: see `prepare`.
    """
    by_hand = Path(manual_dir).expanduser() if manual_dir is not None else root / "manual"
    for file in source.files:
        if (path := by_hand / file.name).is_file():
            check_file(file, path)
            return file, path
        unpacked = file.layout.kind == "pngs" and by_hand / Path(file.layout.images).parts[0]
        if unpacked and unpacked.is_dir():
            return file, by_hand
    names = " or ".join(file.name for file in source.files)
    if manual_dir is not None:
        raise FileNotFoundError(f"manual_dir must hold {names}, but {by_hand} does not. {_advice(source, by_hand)}")
    for file in source.files:
        if (path := root / "downloads" / file.name).is_file():
            try:
                check_file(file, path)
            except ArchiveError:  # it has changed since it was downloaded
                path.unlink()
            else:
                return file, path
    failures = []
    for file in source.files:
        path = root / "downloads" / file.name
        try:
            download(file, path, progress=progress)
        except DownloadError as error:
            failures.append(str(error))
        else:
            return file, path
    raise DownloadError("\n".join([f"could not download {names}:", *failures, _advice(source, by_hand)]))


def _advice(source: Source, by_hand: Path) -> str:
    """What a person can do."""
    name, url = source.files[0].name, source.files[0].urls[0]
    return (
        f"Get {name} by hand, from {url} (see {source.homepage}), put it under this name into {by_hand}, or name its "
        f"folder as manual_dir, and call again. To go on without it, use the twin: "
        f"load_dataset({source.name!r}, source='twin')"
    )


def _read_note(folder: Path, source: Source) -> dict:
    """What the folder holds; nothing where it holds nothing that can be used."""
    note = note_of(folder)
    if not note.is_file():
        return {}
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{note} cannot be read; remove the folder to prepare the set anew: {error}") from error
    return found if isinstance(found, dict) and found.get("set") == _identity(source) else {}


def _identity(source: Source) -> dict:
    """Which rows are prepared, in what order, as JSON has it."""
    sizes = dict(zip(source.factor_names, source.factor_sizes, strict=True))
    return {"name": source.key, "factors": sizes, "format": FORMAT}


def _write(source: Source, file: File, path: Path, folder: Path, image_size: int, note: dict, progress: bool) -> None:
    """Write the rows that are not yet there."""
    from tqdm.auto import tqdm

    wanted = {"set": _identity(source), "archive": _fingerprint(file, path)}
    written = note["written"] if note.get("archive") == wanted["archive"] else 0
    if not written:
        shutil.rmtree(folder, ignore_errors=True)
    arrays = {
        "images": ((len(source), image_size, image_size, 3), np.dtype(np.uint8)),
        "factors": ((len(source), len(source.factor_sizes)), np.dtype(np.int32)),
    }
    check_room(folder.parent, (len(source) - written) * image_size**2 * 3)
    parts = folder / "parts"
    with (
        open_archive(source, file, path) as archive,
        RowWriter(folder, arrays, wanted, written) as writer,
        tqdm(total=len(source), initial=written, unit="image", desc=source.key, disable=not progress) as bar,
    ):
        shutil.rmtree(parts, ignore_errors=True)  # of a call that was killed
        pictures = archive.pictures(written)
        try:
            while writer.written < len(source):
                images, factors = _next_part(source, archive, pictures, writer.written, image_size, parts)
                if writer.written + len(images) == len(source):
                    next(pictures, None)  # lets the archive compare its checksum before the last part is counted
                writer.append(images=images, factors=factors)
                bar.update(len(images))
        finally:
            shutil.rmtree(parts, ignore_errors=True)
    with RowWriter(folder, arrays, wanted, len(source)) as writer:
        writer.finish(sha256={name: sha256_of(folder / f"{name}.npy") for name in arrays})


def _next_part(
    source: Source, archive: Archive, pictures: Iterator[Picture], start: int, image_size: int, parts: Path
) -> tuple[np.ndarray, np.ndarray]:
    """The next images and factors, by way of `array_record` files."""
    stop = min(start + PART, len(source))
    # Read before TFDS is called, so that what is wrong with the archive is not wrapped in what TFDS says about it.
    examples = list(zip(itertools.islice(pictures, stop - start), archive.factors[start:stop], strict=True))
    rows = prepare_rows(Builder(source, examples, data_dir=parts))
    found: Sequence[dict] = rows.__getitems__(list(range(len(rows))))
    with ThreadPoolExecutor() as pool:  # decoding and resizing leave Python to others
        images = list(
            pool.map(lambda i: _as_image(source, start + i, found[i]["image"], image_size), range(len(found)))
        )
    shutil.rmtree(parts)
    return np.stack(images), np.stack([row["factors"] for row in found]).astype(np.int32)


def _as_image(source: Source, row: int, png: bytes, image_size: int) -> UInt8[np.ndarray, "h h 3"]:
    """Decode a picture and resize it: bicubic; PIL widens its kernel when it shrinks, and clips."""
    wanted = (source.picture_size, source.picture_size)
    try:
        with Image.open(io.BytesIO(png), formats=["png"]) as opened:
            size = opened.size
            picture = opened.convert("RGB") if size == wanted else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArchiveError(f"picture {row} is damaged: {error}") from error
    if picture is None:
        raise ArchiveError(f"picture {row} must be {wanted[0]} pixels wide and high, got {size}")
    if image_size != source.picture_size:
        picture = picture.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _fingerprint(file: File, path: Path) -> list:
    """Tells an archive from another one that takes its place between two calls."""
    kept = path / file.layout.labels if path.is_dir() else path
    return [file.name, kept.stat().st_size, kept.stat().st_mtime_ns]


def _open_verified(source: Source, folder: Path, note: dict) -> Prepared:
    """Open the arrays if they are what was prepared. Reading them once also brings them into memory where they fit."""
    for name, recorded in note["sha256"].items():
        path = folder / f"{name}.npy"
        if not path.is_file() or sha256_of(path) != recorded:
            raise ValueError(f"{path} is not what was prepared; remove the folder {folder} to prepare the set anew")
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    factors = np.load(folder / "factors.npy", allow_pickle=False)
    return Prepared(source, images, factors, note["sha256"]["images"])
