"""Data sets by name."""

from tripod_lite.datasets.base import Dataset
from tripod_lite.datasets.twin import Twin
from tripod_lite.scenes import SCENES, VARIANTS

DATASETS: tuple[str, ...] = tuple(SCENES)
SOURCES = ("twin",)


def load_dataset(name: str, source: str = "twin", image_size: int = 64, *, variant: str = "") -> Dataset:
    """A benchmark by name.

    Args:
        name: one of `DATASETS`.
        source: "twin": drawn as it is asked for, by a scene of this package.
        image_size: height and width in pixels, at least 8.
        variant: of "mpi3d", "toy": the 6 colors and 6 shapes of its other sets instead of the 4 and 4 of
            `real_complex`; of "dsprites", "antialiased": gray edges instead of binary pixels.

    Raises:
        TypeError: image_size is not an integer.
        ValueError: an unknown name, source or variant; image_size below 8.
    """
    for argument, value, known in (("name", name, DATASETS), ("source", source, SOURCES)):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    if not variant:
        return Twin(SCENES[name], image_size)
    if (name, variant) not in VARIANTS:
        known = ", ".join(repr(v) for n, v in VARIANTS if n == name) or "none"
        raise ValueError(f"variant of {name} must be one of {known}, or empty, got {variant!r}")
    return Twin(VARIANTS[name, variant], image_size)
