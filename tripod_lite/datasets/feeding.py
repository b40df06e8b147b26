"""Feeding from the host: the next batches are read while one is used."""

from collections.abc import Callable, Iterator

from tripod_lite.datasets.base import Images

WORKERS = 4  # threads that read: copying rows, and waiting for the disk, leave Python to others
AHEAD = 16  # batches that are ready or being read


def read_ahead(batch: Callable[[int], Images], start: int) -> Iterator[Images]:
    """Yield batch(start), batch(start + 1), …, in this order, by Grain.

    Threads rather than processes, since nothing is decoded here: a process would only copy every batch once more.
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError("feeding from the host needs Grain: pip install 'tripod-lite[datasets]'") from error

    numbers = grain.MapDataset.range(start, 2**31 - 1)
    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=AHEAD)
    return iter(numbers.map(lambda i: batch(int(i))).to_iter_dataset(options))
