"""Data sets by name."""

from tripod_lite.datasets.base import Dataset
from tripod_lite.datasets.twin import Twin
from tripod_lite.scenes import SCENES

DATASETS: tuple[str, ...] = tuple(SCENES)
SOURCES = ("twin",)


def load_dataset(name: str, source: str = "twin", image_size: int = 64) -> Dataset:
    """A benchmark by name.

    Args:
        name: one of `DATASETS`.
        source: "twin": drawn as it is asked for, by a scene of this package.
        image_size: height and width in pixels, at least 8.

    Raises:
        TypeError: image_size is not an integer.
        ValueError: an unknown name or source; image_size below 8.
    """
    for argument, value, known in (("name", name, DATASETS), ("source", source, SOURCES)):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    return Twin(SCENES[name], image_size)
