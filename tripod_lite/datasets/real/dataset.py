"""A prepared set as a data set: on the accelerators where it fits, else read from its memory map."""

from collections.abc import Sequence
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Int

from tripod_lite.datasets.base import Dataset, Factors, Images
from tripod_lite.datasets.grid import FactorGrid
from tripod_lite.datasets.real.placement import fits, gather_rows, put_rows
from tripod_lite.datasets.real.prepare import Prepared


class Real(Dataset):
    """A published set. Its rows are in the order of the archive.

    Attributes:
        prepared: the memory map and the factors.
        grid: the factor grid.
    """

    _arrays = ("_images", "_factors")

    def __init__(
        self, prepared: Prepared, *, on_device: bool | None = None, devices: Sequence[jax.Device] | None = None
    ) -> None:
        """Put the images where they are fed from.

        Args:
            prepared: what `prepare` gave.
            on_device: True: copy all images to the accelerators; False: read them from the memory map; None: copy them
                where that leaves 2 GiB of memory on each.
            devices: over which the images are spread, one copy in all; None: every device of this process.
        """
        source = prepared.source
        self.prepared, self.grid = prepared, FactorGrid(source.factor_names, source.factor_sizes)
        self.name, self.factor_names, self.factor_sizes = source.name, source.factor_names, source.factor_sizes
        self.image_size = prepared.images.shape[1]
        devices = list(jax.local_devices() if devices is None else devices)
        self.on_device = fits(prepared.images.nbytes, devices) if on_device is None else on_device
        self._compiled = self.on_device
        self._images = put_rows(prepared.images, devices) if self.on_device else None
        self._mesh = self._images.sharding.mesh if self.on_device else None
        self._factors = jnp.asarray(prepared.factors)

    def __len__(self) -> int:
        return len(self.prepared.factors)

    def identity(self) -> dict[str, object]:
        """See `Dataset.identity`; also that this is no twin, which variant, and the checksum of the images."""
        source = self.prepared.source
        variant = {"variant": source.variant} if source.variant else {}
        return super().identity() | variant | {"source": "real", "images_sha256": self.prepared.sha256}

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`. From a memory map, a jitted function asks the host."""
        shape = (len(rows), *self.image_shape)
        if self.on_device:
            return gather_rows(self._images, rows, self._mesh).reshape(shape), self._factors[rows]
        if isinstance(rows, jax.core.Tracer):
            images = jax.pure_callback(self._read, jax.ShapeDtypeStruct(shape, jnp.uint8), rows)
            return images, self._factors[rows]
        rows = np.asarray(rows)
        return jax.device_put(self._read(rows)), jax.device_put(self.prepared.factors[rows])

    def factors_of(self, rows: Int[Array, " n"]) -> Factors:
        """See `Dataset.factors_of`."""
        return self._factors[rows]

    def images(self, factors: npt.ArrayLike) -> Images:
        """See `Dataset.images`."""
        return self.take(self._row_of[np.asarray(self.grid.index(factors))])[0]

    @cached_property
    def _row_of(self) -> Int[np.ndarray, " n"]:
        """Where each point of the grid is in the archive."""
        return np.argsort(np.ravel_multi_index(tuple(self.prepared.factors.T), self.factor_sizes))

    def _read(self, rows: npt.ArrayLike) -> np.ndarray:
        """Rows of the memory map."""
        return np.take(self.prepared.images, np.asarray(rows), axis=0)
