"""Data sets: benchmarks drawn as they are asked for, and anybody's images, used in one way."""

from tripod_lite.datasets.base import Dataset, Part
from tripod_lite.datasets.catalog import DATASETS, load_dataset
from tripod_lite.datasets.correlated import Correlated
from tripod_lite.datasets.grid import FactorGrid
from tripod_lite.datasets.images import ArrayDataset, from_images
from tripod_lite.datasets.materialize import materialize
from tripod_lite.datasets.twin import Twin
from tripod_lite.datasets.visibility import Visibility, visibility

__all__ = [
    "DATASETS",
    "ArrayDataset",
    "Correlated",
    "Dataset",
    "FactorGrid",
    "Part",
    "Twin",
    "Visibility",
    "from_images",
    "load_dataset",
    "materialize",
    "visibility",
]
