"""What can go wrong with a disk, for the tests of what is kept there."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(limit):
    """No file can grow beyond `limit` bytes: writing fails as it does on a full disk, half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def damage(path, how):
    if how == "deleted":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes({"truncated": content[: len(content) // 2], "flipped": content, "empty": b""}[how])


def largest(folder):
    """The file with most of the values."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
