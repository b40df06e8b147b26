"""Writing a data set to disk, picture by picture, for other programs and for repeated passes."""

import json
from importlib.metadata import version
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from tripod_lite.checks import check_count
from tripod_lite.datasets.base import Dataset
from tripod_lite.datasets.correlated import Correlated
from tripod_lite.datasets.rows_on_disk import RowWriter, note_of


def materialize(
    ds: Dataset, path: str | Path, *, chunk: int = 4096, progress: bool = True
) -> UInt8[np.ndarray, "n h w 3"]:
    """Write every image and its factors to a folder; a second call goes on where the first one was stopped.

    The folder then has `images.npy`, uint8 of shape (n, h, w, 3), `factors.npy`, int32 of shape (n, n_s), both in the
    order of the rows, and `dataset.json`: what they are, by which version of this package, and how many are written.

    Args:
        ds: a data set or a part of one.
        path: the folder; it is made where there is none.
        chunk: rows drawn, written and counted at once.
        progress: show a progress bar.

    Returns:
        The images as a read-only memory map: rows are read from the disk when they are asked for.

    Raises:
        TypeError: `ds` is not a data set, or chunk is not an integer.
        ValueError: a chunk below 1; a set with tied factors, whose rows are those of its `base`; a folder that has such
            files of another data set or of another version of this package, or that lost one.
    """
    if not isinstance(ds, Dataset):
        raise TypeError(f"ds must be a data set, from load_dataset or from_images, got {type(ds).__name__}")
    if isinstance(ds, Correlated):
        raise ValueError("ds must have no tied factors, which only sampling knows of; write ds.base")
    chunk = check_count("chunk", chunk, 1)
    folder = Path(path)
    files = {"images": folder / "images.npy", "factors": folder / "factors.npy"}
    identity = ds.identity() | {"image_size": ds.image_size, "factor_names": list(ds.factor_names)}
    wanted = {"identity": identity, "version": version("tripod-lite")}
    written = _written(folder, files, wanted)
    if written < len(ds):
        _write(ds, folder, wanted, written, chunk, progress)
    return np.load(files["images"], mmap_mode="r")


def _written(folder: Path, files: dict[str, Path], wanted: dict[str, object]) -> int:
    """How many rows the folder holds; raise where it holds another data set or files that are not ours."""
    note = note_of(folder)
    if not note.is_file():
        if folder.exists() and (not folder.is_dir() or any(file.exists() for file in files.values())):
            raise ValueError(f"path must be a new folder or one that materialize made, got {folder}")
        return 0
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        written = check_count("written", found.pop("written"), 0)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{note} cannot be read; remove the folder to write it anew: {error}") from error
    if found != json.loads(json.dumps(wanted)):
        other = f"{found.get('identity')}, version {found.get('version')}"
        raise ValueError(f"path must be a new folder or hold this data set, but {folder} holds {other}")
    if written and not all(file.is_file() for file in files.values()):
        raise ValueError(f"{folder} has lost a file; remove the folder to write it anew")
    return written


def _write(ds: Dataset, folder: Path, wanted: dict[str, object], written: int, chunk: int, progress: bool) -> None:
    """Write the rows from number `written` on."""
    from tqdm.auto import tqdm

    arrays = {
        "images": ((len(ds), *ds.image_shape), np.dtype(np.uint8)),
        "factors": ((len(ds), len(ds.factor_names)), np.dtype(np.int32)),
    }
    bar = tqdm(total=len(ds), initial=written, unit="image", disable=not progress)
    with bar, RowWriter(folder, arrays, wanted, written) as writer:
        while writer.written < len(ds):
            rows = jnp.arange(writer.written, min(writer.written + chunk, len(ds)), dtype=jnp.int32)
            images, factors = ds.fetch(rows)
            writer.append(images=np.asarray(images), factors=np.asarray(factors))
            bar.update(len(rows))
