"""Preparing small sets in tests, and what a failure may leave."""

from tiny_archives import check_right, tiny
from tiny_server import whole

from tripod_lite.datasets.real.prepare import prepare

KINDS = {"h5": ("shapes3d", ""), "npz": ("mpi3d", "toy"), "pngs": ("falcor3d", "")}


def small_of(kind, **kwargs):
    """A set in each of the three layouts."""
    return tiny(*KINDS[kind], **kwargs)


def get(source, root, **kwargs):
    """Prepare quietly."""
    return prepare(source, 64, data_dir=root, progress=False, **kwargs)


def check_no_bad_cache(server, root, small, downloads=()):
    """Nothing prepared, nothing of the work, of downloads only what is named; and the next call is a good one."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert found == {f"{small.source.key}.lock", *downloads}
    check_right(get(small.at(server.add("/healthy", whole(small.archive))), root), small)
