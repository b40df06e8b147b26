"""A folder of arrays that grows row by row, and a note in it of how far it got: what was stopped can go on."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np


class RowWriter:
    """Appends rows to `.npy` files whose final shapes are known.

    Files are written, not mapped: on a full disk a write raises, where a store into a map ends the process. The note
    counts only rows that are on the disk, and what a stopped call left after them is cut off.

    Attributes:
        note: what the note says, besides the number of rows.
        written: how many rows there are.
    """

    def __init__(
        self,
        folder: Path,
        arrays: dict[str, tuple[tuple[int, ...], np.dtype]],
        note: dict[str, object],
        written: int,
    ) -> None:
        """Open the files for appending after row `written`; 0 begins anew.

        Args:
            folder: it is made where there is none.
            arrays: name of the file without suffix: shape, the rows first, and dtype.
            note: see `note`.
            written: as the note in the folder says.
        """
        self.folder, self.note, self.written = folder, note, written
        folder.mkdir(parents=True, exist_ok=True)
        if not written:  # first of all, so that the next call knows whose files these are
            self._write_note()
        self._files: dict[str, BinaryIO] = {}
        self._arrays = arrays
        try:
            for name, (shape, dtype) in arrays.items():
                self._files[name] = _open(folder / f"{name}.npy", shape, dtype, written)
        except BaseException:
            self.close()
            raise

    def append(self, **blocks: np.ndarray) -> None:
        """Write the next rows of every array, and then count them."""
        count = len(next(iter(blocks.values())))
        for name, block in blocks.items():
            shape, dtype = self._arrays[name]
            if block.shape != (count, *shape[1:]) or block.dtype != dtype:
                raise ValueError(
                    f"{name} must be {dtype} of shape {(count, *shape[1:])}, got {block.dtype} {block.shape}"
                )
            _write_all(self._files[name], block)
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self.written += count
        self._write_note()

    def finish(self, **facts: object) -> None:
        """Add facts to the note."""
        self.note = self.note | facts
        self._write_note()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_note(self) -> None:
        """Replace the note by a draft, so that an interrupt leaves a whole one."""
        file = note_of(self.folder)
        draft = file.with_suffix(".tmp")
        draft.write_text(json.dumps(self.note | {"written": self.written}, indent=1), encoding="utf-8")
        draft.replace(file)


def _write_all(file: BinaryIO, block: np.ndarray) -> None:
    """Write a block; an unbuffered write may take a part of it, as the last one before the disk is full does."""
    rest = np.ascontiguousarray(block).reshape(-1).view(np.uint8)
    while rest.size:
        rest = rest[file.write(rest.data) :]


def note_of(folder: Path) -> Path:
    """The file of the note."""
    return folder / "dataset.json"


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype, written: int) -> BinaryIO:
    """Open for appending after the header and so many rows."""
    # Unbuffered, so that nothing is left to be written when a file is closed after an error.
    file = path.open("r+b" if written else "w+b", buffering=0)
    try:
        if not written:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
        else:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
        end = file.tell() + written * int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
        if file.seek(0, os.SEEK_END) < end:
            raise ValueError(f"{path} is shorter than its note says; remove the folder {path.parent} to write it anew")
        file.truncate(end)
        file.seek(end)
    except BaseException:
        file.close()
        raise
    return file
