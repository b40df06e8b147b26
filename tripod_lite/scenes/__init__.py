"""Procedural twins of the benchmarks, drawn on demand in closed form."""

from tripod_lite.scenes.scene import Scene
from tripod_lite.scenes.shapes3d import SHAPES3D

SCENES: dict[str, Scene] = {scene.name: scene for scene in (SHAPES3D,)}

__all__ = ["SCENES", "SHAPES3D", "Scene"]
