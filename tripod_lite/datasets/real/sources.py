"""Where the published sets are, what their files are called, and how they are laid out."""

import math
from dataclasses import dataclass

from tripod_lite.scenes import SCENES, VARIANTS

HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"  # the first bytes of a file


@dataclass(frozen=True)
class Layout:
    """How an archive holds pictures and labels.

    Attributes:
        kind: "h5", "npz" (both with arrays), or "pngs" (a .zip, or the folder that it unpacks to).
        images: the array of pictures, uint8 of shape (n, h, w, 3), or (n, h, w) with values 0 and 1; for "pngs" the
            name of picture number i with six digits, such as "images/{:06}.png".
        labels: the array or file (npy format) of labels, of shape (n, n_s); "" where there is none, since the pictures
            are in the order of the grid.
        first_label: how many columns of `labels` come before those of the factors.
    """

    kind: str
    images: str
    labels: str = ""
    first_label: int = 0


@dataclass(frozen=True)
class File:
    """A file that holds a whole set.

    Attributes:
        name: what it is called where it is published.
        urls: mirrors, tried in order.
        layout: what is inside.
        size: bytes, where known.
        sha256: where the true value is known.
    """

    name: str
    urls: tuple[str, ...]
    layout: Layout
    size: int | None = None
    sha256: str | None = None

    @property
    def magic(self) -> bytes:
        """The bytes that such a file begins with."""
        return HDF5 if self.layout.kind == "h5" else ZIP


@dataclass(frozen=True)
class Source:
    """A published set.

    Attributes:
        name: as in `DATASETS`.
        variant: "" or which of several sets of this name.
        factor_names: in storage order, the last one fastest.
        factor_sizes: how many values each has.
        picture_size: height and width of the stored pictures.
        files: alternatives; the first one that can be had is taken.
        homepage: where a person finds the set.
    """

    name: str
    variant: str
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]
    picture_size: int
    files: tuple[File, ...]
    homepage: str

    def __len__(self) -> int:
        return math.prod(self.factor_sizes)

    @property
    def key(self) -> str:
        """A name for folders."""
        return f"{self.name}-{self.variant}" if self.variant else self.name


def _drive(number: str) -> tuple[str, ...]:
    """Two addresses of a file on Google Drive; the answer to either may be a page that asks for a confirmation."""
    return (
        f"https://drive.usercontent.google.com/download?id={number}&export=download&confirm=t",
        f"https://drive.google.com/uc?export=download&confirm=t&id={number}",
    )


def _source(name: str, variant: str, scene: str, picture_size: int, files: tuple[File, ...], homepage: str) -> Source:
    """A source with the factors of its twin, which are the published ones."""
    twin = VARIANTS[name, scene] if scene else SCENES[name]
    return Source(name, variant, twin.factor_names, twin.factor_sizes, picture_size, files, homepage)


_MPI3D = "https://github.com/rr-learning/disentanglement_dataset"
_NVIDIA = "https://github.com/NVlabs/High-res-disentanglement-datasets"
_DSPRITES = "https://github.com/google-deepmind/dsprites-dataset"
_SPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64"


def _mpi3d(variant: str) -> Source:
    file = f"mpi3d_{variant}.npz"
    urls = (
        f"https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main/{file}",
        f"https://storage.googleapis.com/disentanglement_dataset/Final_Dataset/{file}",  # where it was first
    )
    return _source("mpi3d", variant, "toy", 64, (File(file, urls, Layout("npz", "images")),), _MPI3D)


# The sizes in bytes and SHA-256 of 3dshapes.h5 and of dSprites' .hdf5 are those that TensorFlow Datasets records.
_ALL = (
    _source(
        "shapes3d",
        "",
        "",
        64,
        (
            File(
                "3dshapes.h5",
                ("https://storage.googleapis.com/3d-shapes/3dshapes.h5",),
                Layout("h5", "images", "labels"),
                267_573_662,
                "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
            ),
        ),
        "https://github.com/google-deepmind/3d-shapes",
    ),
    _source(
        "mpi3d",
        "real_complex",
        "",
        64,
        (
            File(
                "real3d_complicated_shapes_ordered.npz",
                _drive("1Tp8eTdHxgUMtsZv5uAoYAbJR1BOa_OQm"),
                Layout("npz", "images"),
            ),
        ),
        _MPI3D,
    ),
    _mpi3d("toy"),
    _mpi3d("realistic"),
    _mpi3d("real"),
    _source(
        "falcor3d",
        "",
        "",
        128,
        (
            File(
                "Falcor3D_down128.zip",
                _drive("1XAQfFK1x6cpN1eiovbP0hVfLTm5SsSoJ"),
                Layout("pngs", "Falcor3D_down128/images/{:06}.png", "Falcor3D_down128/train-rec.labels"),
            ),
        ),
        _NVIDIA,
    ),
    _source(
        "isaac3d",
        "",
        "",
        128,
        (
            File(
                "Isaac3D_down128.zip",
                _drive("1OmQ1G2wnm6eTsSFGTKFZZAh5D3nQTW1B"),
                Layout("pngs", "Isaac3D_down128/images/{:06}.png", "Isaac3D_down128/labels.npy"),
            ),
        ),
        _NVIDIA,
    ),
    _source(
        "dsprites",
        "",
        "",
        64,
        (
            File(
                f"{_SPRITES}.hdf5",
                (
                    f"{_DSPRITES}/raw/master/{_SPRITES}.hdf5",
                    f"https://github.com/deepmind/dsprites-dataset/blob/master/{_SPRITES}.hdf5?raw=true",
                ),
                Layout("h5", "imgs", "latents/classes", first_label=1),  # before them the color, which has one value
                28_024_106,
                "729fa22e884c9c500e1f17415d580746b4c5894fbbb780a1319bbcfa39a745bb",
            ),
            File(
                f"{_SPRITES}.npz",
                (f"{_DSPRITES}/raw/master/{_SPRITES}.npz",),
                Layout("npz", "imgs", "latents_classes", first_label=1),
            ),
        ),
        _DSPRITES,
    ),
)
SOURCES = {(source.name, source.variant): source for source in _ALL}


def find_source(name: str, variant: str = "") -> Source:
    """The set of this name; of mpi3d, `real_complex` unless told otherwise.

    Raises:
        ValueError: an unknown variant.
    """
    variants = [known for other, known in SOURCES if other == name]
    if not variant:
        return SOURCES[name, variants[0]]
    if variant not in variants:
        known = ", ".join(repr(v) for v in variants if v) or "none"
        raise ValueError(f"variant of the real {name} must be one of {known}, or empty, got {variant!r}")
    return SOURCES[name, variant]
