"""Archives in the layouts of the published sets, with a handful of pictures."""

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from tripod_lite.datasets.real.sources import SOURCES, Source

SIZES = {  # the published numbers of factors, with few values each
    "shapes3d": (3, 2, 1, 2, 2, 2),
    "mpi3d": (2, 1, 2, 3, 1, 2, 2),
    "falcor3d": (3, 2, 1, 2, 1, 2, 1),
    "isaac3d": (3, 1, 2, 1, 2, 1, 2, 1, 1),
    "dsprites": (3, 2, 2, 2, 2),
}
ALL = tuple(SOURCES)
# PIL resizes in two passes that each round: half a unit, which the weights of a cubic amplify a little, and half more.
ROUNDED = 1.2


@dataclass
class Tiny:
    """A small set: where it would be published, what is in its file, and what a user must get."""

    source: Source
    archive: bytes
    pictures: np.ndarray
    factors: np.ndarray

    @property
    def file(self):
        return self.source.files[0]

    def at(self, *urls, **known):
        """The source, published at these addresses, with this size or checksum."""
        return replace(self.source, files=(replace(self.file, urls=urls, **known),))


def tiny(name, variant="", which_file=0, *, sizes=None, pictures=None, **kwargs):
    """A small set in the layout of a published one."""
    real = SOURCES[name, variant]
    source = replace(real, factor_sizes=sizes or SIZES[name])
    file = real.files[which_file]
    source = replace(source, files=(replace(file, size=None, sha256=None),))
    n = len(source)
    factors = np.stack(np.unravel_index(np.arange(n), source.factor_sizes), axis=1)
    if pictures is None:
        rng = np.random.default_rng(len(name) + n)
        black_and_white = name == "dsprites"
        # Far enough from 0 and 255 for no resizing to reach them, since libraries differ in when they clip.
        low, high, channels = (0, 2, 1) if black_and_white else (64, 192, 3)
        small = rng.integers(low, high, (n, 16, 16, channels), np.uint8)
        pictures = small.repeat(real.picture_size // 16, 1).repeat(real.picture_size // 16, 2)
    make = {"h5": h5, "npz": npz, "pngs": pngs}[file.layout.kind]
    shown = pictures if pictures.shape[-1] == 3 else np.concatenate([pictures] * 3, axis=-1) * np.uint8(255)
    return Tiny(source, make(source, pictures, factors, **kwargs), shown, factors)


def values(source, factors, unit=True):
    """Labels as they are published: increasing values of each factor, in [0, 1] where `unit`."""
    steps = np.maximum(np.array(source.factor_sizes) - 1, 1)
    return factors / steps if unit else factors * 1.5 - 30


def h5(source, pictures, factors, labels=None):
    """3dshapes.h5, with labels that are values, or dSprites, with classes and a first column for the color."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        layout = source.files[0].layout
        stored = pictures[..., 0] if pictures.shape[-1] == 1 else pictures
        file.create_dataset(layout.images, data=stored, chunks=(1, *stored.shape[1:]), compression="gzip")
        if labels is None and layout.first_label:
            labels = np.concatenate([np.zeros((len(factors), 1), np.int64), factors], axis=1)
        file[layout.labels] = values(source, factors, unit=False) if labels is None else labels
    return buffer.getvalue()


def npz(source, pictures, factors, labels=None, members=None, compressed=True):
    """An .npz; dSprites' has a pickled member too, as the published one."""
    layout = source.files[0].layout
    arrays = {layout.images: pictures[..., 0] if pictures.shape[-1] == 1 else pictures}
    if layout.labels:
        first = np.zeros((len(factors), 1), np.int64)
        arrays[layout.labels] = np.concatenate([first, factors], axis=1) if labels is None else labels
        arrays["metadata"] = np.array({"title": "a dictionary"}, dtype=object)
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **(arrays | (members or {})))
    return buffer.getvalue()


def png(picture):
    """One PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def npy(array):
    """An array in npy format."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def members_of(source, pictures, factors, labels=None):
    """What is in NVIDIA's archives: pictures with six digits, and labels in npy format under a name of their own."""
    layout = source.files[0].layout
    members = {layout.images.format(i): png(picture) for i, picture in enumerate(pictures)}
    return members | {layout.labels: npy(values(source, factors) if labels is None else labels)}


def zipped(members, compression=zipfile.ZIP_STORED):
    """A .zip with these members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def pngs(source, pictures, factors, labels=None, extra=None, without=()):
    """Falcor3D's or Isaac3D's .zip."""
    members = members_of(source, pictures, factors, labels) | (extra or {})
    return zipped({name: data for name, data in members.items() if name not in without})


def unpack(archive, folder):
    """The folder that a .zip unpacks to."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        file.extractall(folder)
    return Path(folder)


def halved(pictures):
    """Pictures of half the size, by another library: Keys' cubic, widened to where it averages."""
    wanted = (len(pictures), pictures.shape[1] // 2, pictures.shape[2] // 2, 3)
    small = jax.image.resize(jnp.asarray(pictures, jnp.float32), wanted, "cubic", antialias=True)
    return np.clip(np.asarray(small), 0, 255)


def check_right(prepared, small):
    """Assert that a prepared set has every image of 64 by 64 pixels, and its factors."""
    np.testing.assert_array_equal(prepared.factors, small.factors)
    if small.pictures.shape[1] == 64:
        np.testing.assert_array_equal(prepared.images, small.pictures)
    else:
        assert np.abs(prepared.images - halved(small.pictures)).max() < ROUNDED
