"""Data sets by name."""

from pathlib import Path

from tripod_lite.checks import check_count
from tripod_lite.datasets.base import Dataset
from tripod_lite.datasets.twin import Twin
from tripod_lite.scenes import SCENES, VARIANTS

DATASETS: tuple[str, ...] = tuple(SCENES)
SOURCES = ("twin", "real")


def load_dataset(
    name: str,
    source: str = "twin",
    image_size: int = 64,
    *,
    variant: str = "",
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    on_device: bool | None = None,
    progress: bool = True,
) -> Dataset:
    """A benchmark by name.

    A real set is downloaded and prepared once, which the next call finds done: one file of uint8 images in the cache,
    verified by its SHA-256 at every load. A call that was stopped goes on where it was. It needs
    `pip install 'tripod-lite[datasets]'`; see data/cards for the sizes, hosts and licences.

    Args:
        name: one of `DATASETS`.
        source: "twin": drawn as it is asked for, by a scene of this package; "real": the published pictures.
        image_size: height and width in pixels, at least 8. Real pictures of another size are resized: bicubic,
            antialiased, clipped.
        variant: of the twin of "mpi3d", "toy": the 6 colors and 6 shapes of its other sets instead of the 4 and 4 of
            `real_complex`; of the real one "real_complex" (or empty), "toy", "realistic" or "real"; of the twin of
            "dsprites", "antialiased": gray edges instead of binary pixels.
        data_dir: of a real set, where downloads and prepared files are kept; None: the folder that the environment
            variable TRIPOD_LITE_DATA names, or else `tripod_lite` in the user's cache.
        manual_dir: of a real set, the folder with a copy that you downloaded: the file under its published name, or the
            folder that it unpacks to. None: `manual` in data_dir is looked into before anything is downloaded.
        on_device: of a real set, whether all images are copied to the accelerators (one copy, spread over all of them);
            None: where they fit. Otherwise they are read from the disk, ahead of `batches`.
        progress: of a real set, whether progress bars are shown.

    Raises:
        TypeError: image_size is not an integer.
        ValueError: an unknown name, source or variant; image_size below 8; an argument of real sets for a twin; an
            archive that is not what it should be (`ArchiveError`); prepared files that have changed.
        ImportError: a real set without the packages it needs.
        OSError: a real set that cannot be downloaded (`DownloadError`) or is not in manual_dir; the disk is full.
    """
    for argument, value, known in (("name", name, DATASETS), ("source", source, SOURCES)):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    if source == "real":
        from tripod_lite.datasets.real import load_real

        size = check_count("image_size", image_size, 8)
        where = {"data_dir": data_dir, "manual_dir": manual_dir}
        return load_real(name, size, variant=variant, on_device=on_device, progress=progress, **where)
    for argument, value in (("data_dir", data_dir), ("manual_dir", manual_dir), ("on_device", on_device)):
        if value is not None:
            raise ValueError(f"{argument} is for source='real', but this is the twin; got {value!r}")
    if not variant:
        return Twin(SCENES[name], image_size)
    if (name, variant) not in VARIANTS:
        known = ", ".join(repr(v) for n, v in VARIANTS if n == name) or "none"
        raise ValueError(f"variant of {name} must be one of {known}, or empty, got {variant!r}")
    return Twin(VARIANTS[name, variant], image_size)
