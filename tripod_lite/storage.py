"""Text and arrays on disk, written whole or not at all, and read back only as they were written. Arrays are Orbax's."""

import contextlib
import json
import logging
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def remove(path: Path) -> None:
    """Remove a folder where there is one, if possible. After an error Orbax's threads may still be writing into it."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.1)


def seal(arrays: Any, notes: dict[str, Any]) -> dict[str, Any]:
    """The notes on some arrays, with a checksum of both.

    Args:
        arrays: a pytree of NumPy's arrays.
        notes: what JSON can hold.
    """
    total = zlib.crc32(json.dumps(notes).encode())
    for leaf in jax.tree.leaves(arrays):
        total = zlib.crc32(f"{leaf.dtype}{leaf.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8), total)
    return notes | {"checksum": total}


@contextlib.contextmanager
def _orbax() -> Iterator[Any]:
    """Orbax's checkpointer for a single process, silent: it logs each error several times before it raises it."""
    import orbax.checkpoint as ocp

    def ours(record: logging.LogRecord) -> bool:
        return f"{os.sep}orbax{os.sep}" not in record.pathname

    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )
    logger = logging.getLogger("absl")
    logger.addFilter(ours)
    try:
        with ocp.Checkpointer(
            ocp.StandardCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
        ) as checkpointer:
            yield checkpointer
    finally:
        logger.removeFilter(ours)


def write_arrays(path: Path, arrays: Any) -> None:
    """Write a pytree of NumPy's arrays into the directory `path`, which must not exist."""
    import orbax.checkpoint as ocp

    with _orbax() as checkpointer:
        checkpointer.save(path, args=ocp.args.StandardSave(arrays))


def read_arrays(path: Path, like: Any, notes: dict[str, Any] | None) -> Any:
    """The pytree of NumPy's arrays at `path`.

    Args:
        path: where `write_arrays` put them.
        like: a pytree of the same structure, shapes and types.
        notes: as `seal` gave them; None: there are none to check.

    Raises:
        ValueError, KeyError: arrays or notes are not those that were written. What else is wrong Orbax says, in its own
            ways.
    """
    import orbax.checkpoint as ocp

    wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    with _orbax() as checkpointer:
        arrays = checkpointer.restore(path, args=ocp.args.StandardRestore(wanted))
    # Orbax minds neither other shapes nor a flipped bit in the values.
    for found, leaf in zip(jax.tree.leaves(arrays), jax.tree.leaves(wanted), strict=True):
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise ValueError(f"it has {found.dtype}{found.shape} where {leaf.dtype}{leaf.shape} is wanted")
    if notes is not None:
        unsealed = {name: value for name, value in notes.items() if name != "checksum"}
        if notes["checksum"] != seal(arrays, unsealed)["checksum"]:
            raise ValueError("this is not what was written (the checksum differs)")
    return arrays


def short(error: BaseException) -> str:
    """The kind of an error and the beginning of its text; of Orbax's many lines, what the system said, if it did."""
    text = " ".join(str(error).split())
    if code := re.search(r"os_error_code='(\d+)'", text):
        error = OSError(int(code[1]), os.strerror(int(code[1])))
        text = str(error)
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:200] + ' ...'}"
