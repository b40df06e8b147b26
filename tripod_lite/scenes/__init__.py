"""Procedural twins of the benchmarks, drawn on demand."""

from tripod_lite.scenes.dsprites import DSPRITES, DSPRITES_ANTIALIASED
from tripod_lite.scenes.falcor3d import FALCOR3D
from tripod_lite.scenes.isaac3d import ISAAC3D
from tripod_lite.scenes.mpi3d import MPI3D, MPI3D_TOY
from tripod_lite.scenes.scene import Scene
from tripod_lite.scenes.shapes3d import SHAPES3D

SCENES: dict[str, Scene] = {scene.name: scene for scene in (SHAPES3D, MPI3D, FALCOR3D, ISAAC3D, DSPRITES)}
VARIANTS: dict[tuple[str, str], Scene] = {(s.name, s.variant): s for s in (MPI3D_TOY, DSPRITES_ANTIALIASED)}

__all__ = [
    "DSPRITES",
    "DSPRITES_ANTIALIASED",
    "FALCOR3D",
    "ISAAC3D",
    "MPI3D",
    "MPI3D_TOY",
    "SCENES",
    "SHAPES3D",
    "VARIANTS",
    "Scene",
]
