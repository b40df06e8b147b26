"""Prepare small sets in child processes that end at a chosen moment: `python interrupted.py ROOT MOMENT …`.

Each child works on ROOT/MOMENT/cache, from the archive in ROOT/MOMENT/hand. Forked from one process that has imported
everything, so that a child takes no time to start. Prints the moments and how each child ended.
"""

import os
import resource
import signal
import sys
from pathlib import Path

from tiny_archives import tiny

from tripod_lite.datasets import rows_on_disk
from tripod_lite.datasets.real import download, prepare

PART = 8  # pictures; the sets have 48


def kill_at(module, name, call, after=False):
    """Let a function end the process at its nth call, before or after its work."""
    original, calls = getattr(module, name), [0]

    def patched(*args, **kwargs):
        calls[0] += 1
        result = original(*args, **kwargs) if after or calls[0] < call else None
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(module, name, patched)


def too_small_a_file():
    """No file may grow beyond 30 pictures: as a full disk, for those who may not mount a small one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30 * 64 * 64 * 3, resource.RLIM_INFINITY))


MOMENTS = {
    "before anything is written": lambda: kill_at(rows_on_disk, "_open", 1),
    "before the first part": lambda: kill_at(prepare, "prepare_rows", 1),
    "in TensorFlow Datasets": lambda: kill_at(prepare, "prepare_rows", 3, after=True),
    "between images and factors": lambda: kill_at(rows_on_disk, "_write_all", 4),
    "before the rows are counted": lambda: kill_at(rows_on_disk.RowWriter, "_write_note", 4),
    "before the checksum": lambda: kill_at(prepare, "sha256_of", 1),
    "before the checksum is noted": lambda: kill_at(rows_on_disk.RowWriter, "finish", 1),
    "full disk": too_small_a_file,
    "at once 1": lambda: None,
    "at once 2": lambda: None,
}
DONE = {  # rows that need not be done again
    "before anything is written": 0,
    "before the first part": 0,
    "in TensorFlow Datasets": 16,
    "between images and factors": 8,
    "before the rows are counted": 16,
    "before the checksum": 48,
    "before the checksum is noted": 48,
    "full disk": 24,
}


def main(root, url, moments):
    prepare.PART = PART
    children = {}
    for moment in moments:
        if (child := os.fork()) == 0:
            try:
                MOMENTS[moment]()
                folder = root / ("at once" if moment.startswith("at once") else moment)
                small = tiny("shapes3d")
                prepare.prepare(small.at(url), 64, data_dir=folder, progress=False)
                os._exit(0)
            except OSError as error:
                print(f"{error!r}", file=sys.stderr, flush=True)
                os._exit(3)
        children[child] = moment
    for _ in moments:
        child, status = os.wait()
        print(f"{children[child]}: {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    assert download.CHUNK
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
