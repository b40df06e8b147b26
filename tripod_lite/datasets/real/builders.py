"""The published sets for TensorFlow Datasets, without TensorFlow.

The builders that TensorFlow Datasets has for Shapes3D and dSprites read a whole set into memory and encode arrays with
TensorFlow, and it has none for the others; so one builder here serves every source. It yields PNG files as bytes, which
need no encoding, in `array_record` files, which are read without TensorFlow.
"""

import contextlib
import errno
import functools
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int
from PIL import Image
from tensorflow_datasets.core.utils import tqdm_utils

from tripod_lite.datasets.real.archives import Picture
from tripod_lite.datasets.real.sources import Source

Example = dict[str, bytes | Int[np.ndarray, " n_s"]]


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Pictures of a source, in the order of its archive.

        with open_archive(source, file, path) as archive:
            builder = Builder(source, zip(archive.pictures(0), archive.factors), data_dir=...)
            rows = prepare_rows(builder)
        rows[0]  # {"image": a PNG file as bytes, "factors": int32 (n_s,)}

    `builder.as_data_source("train")` without decoders gives arrays for the images.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "tripod_lite"
    pkg_dir_path = None

    def __init__(
        self,
        source: Source,
        examples: Iterable[tuple[Picture, Int[np.ndarray, " n_s"]]],
        *,
        data_dir: str | Path,
    ) -> None:
        """`examples` are read once, when the data set is prepared; nothing else may be in `data_dir`."""
        self._source, self._examples = source, examples
        super().__init__(data_dir=data_dir, file_format="array_record")

    @functools.cached_property
    def info(self) -> tfds.core.DatasetInfo:
        """What TFDS knows of the data set; TFDS's own cache of it would keep every builder until the process ends."""
        return self._info()

    def _info(self) -> tfds.core.DatasetInfo:
        size = self._source.picture_size
        features = {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
            "factors": tfds.features.Tensor(shape=(len(self._source.factor_sizes),), dtype=np.int32),
        }
        return _Info(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            homepage=self._source.homepage,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, Example]]]:
        """One split; what is downloaded is downloaded before, since TFDS neither resumes nor knows mirrors."""
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Example]]:
        examples, self._examples = self._examples, ()  # let go of, whoever still has the builder
        for row, (picture, factors) in enumerate(examples):
            yield row, {"image": picture if isinstance(picture, bytes) else as_png(picture), "factors": factors}


class _Info(tfds.core.DatasetInfo):
    """What TFDS knows of a data set."""

    def initialize_from_bucket(self) -> None:
        """Do nothing: nobody has published these sets for TFDS, which leaves an empty folder behind when it looks."""


def as_png(picture: np.ndarray) -> bytes:
    """A PNG file, little compressed: it is read once and then removed."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def prepare_rows(builder: Builder) -> Sequence[dict]:
    """Write the `array_record` files, and open them.

    Raises:
        OSError: the disk is full, of which TFDS makes a `RuntimeError`.
    """
    try:
        with _silence():
            builder.download_and_prepare()
    except RuntimeError as error:
        if os.strerror(errno.ENOSPC) in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(builder.data_dir)) from error
        raise
    return builder.as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()})


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """TFDS announces each of the many parts on stdout and shows bars for it; ours is one bar for all."""
    shown = tqdm_utils._active
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tqdm_utils.display_progress_bar(shown)
