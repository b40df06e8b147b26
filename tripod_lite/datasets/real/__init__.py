"""The published benchmarks: downloaded, checked, prepared once as a memory map, and fed from there."""

from pathlib import Path
from typing import TYPE_CHECKING

from tripod_lite.datasets.real.sources import find_source

if TYPE_CHECKING:
    from tripod_lite.datasets.real.dataset import Real


def load_real(
    name: str,
    image_size: int = 64,
    *,
    variant: str = "",
    data_dir: str | Path | None = None,
    manual_dir: str | Path | None = None,
    on_device: bool | None = None,
    progress: bool = True,
) -> "Real":
    """See `load_dataset`."""
    source = find_source(name, variant)
    try:
        from tripod_lite.datasets.real.dataset import Real
        from tripod_lite.datasets.real.prepare import prepare
    except ImportError as error:
        raise ImportError(f"source='real' needs {error.name}: pip install 'tripod-lite[datasets]'") from error
    prepared = prepare(source, image_size, data_dir=data_dir, manual_dir=manual_dir, progress=progress)
    return Real(prepared, on_device=on_device)
