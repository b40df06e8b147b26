"""Measure how fast the twins are drawn: `python -m benchmarks scenes`.

Prints a line a scene and writes the figures with the machine they were taken on.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.records import default_path, write
from tripod_lite.results import environment
from tripod_lite.scenes import SCENES, VARIANTS, Scene


def measure(scene: Scene, image_size: int, n: int, repeats: int) -> dict[str, float]:
    """Seconds to compile, and the median of images a second over `repeats` batches of n random images."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, size, n) for size in scene.factor_sizes], axis=1)
    factors = jnp.asarray(rows, jnp.int32)
    clock = time.perf_counter()
    draw = jax.jit(scene.images, static_argnums=1).lower(factors, image_size).compile()
    compiled = time.perf_counter() - clock
    draw(factors).block_until_ready()
    seconds = []
    for _ in range(repeats):
        clock = time.perf_counter()
        draw(factors).block_until_ready()
        seconds.append(time.perf_counter() - clock)
    return {"compile_seconds": round(compiled, 2), "images_per_second": round(n / float(np.median(seconds)), 1)}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scenes", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels")
    parser.add_argument("--images", type=int, default=512, help="images a batch")
    parser.add_argument("--repeats", type=int, default=5, help="batches")
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/scenes-BACKEND.json")
    args = parser.parse_args(arguments)
    scenes = SCENES | {f"{name}-{variant}": scene for (name, variant), scene in VARIANTS.items()}
    figures = {}
    for name, scene in scenes.items():
        figures[name] = measure(scene, args.size, args.images, args.repeats)
        print(f"{name:20} {figures[name]['images_per_second']:10.0f} images/s", flush=True)
    setting = {"image_size": args.size, "images": args.images, "repeats": args.repeats}
    write(args.out or default_path("scenes"), {"environment": environment(), "setting": setting, "scenes": figures})
