"""Measure preparing and feeding of real sets: `python -m benchmarks data`.

The archives are made here, in the layouts of the published ones, from pictures of the twins. Each is prepared by a
process of its own, whose peak memory is compared with what it had before. Feeding is measured on what was prepared, in
turns, each way against a bare NumPy gather of the same rows from memory. Not a test: nothing fails for being slow.

Predicted before the first run, for two CPU cores: arrays of 64×64 are prepared at 2 000 images a second and PNG files
of 128×128 at 1 000, with PNG encoding and decoding most of the time; memory peaks less than 300 MB above what the
imports take, and at 100 000 images no higher than at 10 000 but for 0.6 kB a picture of a .zip's table of contents;
batches from the device come at a third of NumPy's rate (where the device is a CPU, XLA gathers as NumPy does, and the
dispatch comes on top), by Grain at half of it, and from the memory map without reading ahead at a third.

The first run found the memory growing by all images, since TensorFlow Datasets kept what it had prepared; now it does
not. Grain came at a fifth of NumPy's rate, and at two fifths when one copy less was made; another one remains, since
what was gathered is copied to become a JAX array, on a CPU too.
"""

import argparse
import io
import itertools
import multiprocessing
import os
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import jax
import numpy as np
from PIL import Image

import tripod_lite as tl
from benchmarks.records import default_path, write
from tripod_lite.datasets.real.dataset import Real
from tripod_lite.datasets.real.prepare import Prepared, prepare
from tripod_lite.datasets.real.sources import SOURCES, Source
from tripod_lite.results import environment

SETS = {"h5": ("shapes3d", ""), "npz": ("mpi3d", "real_complex"), "zip of PNGs": ("falcor3d", "")}
DIFFERENT = 256  # pictures that are drawn; the archives repeat them


def source_of(layout: str, n: int) -> Source:
    """A published set with n pictures, a multiple of 100."""
    source = SOURCES[SETS[layout]]
    sizes = (n // 100, 10, 10, *[1] * (len(source.factor_sizes) - 3))
    return replace(source, factor_sizes=sizes, files=(replace(source.files[0], size=None, sha256=None),))


def pictures_of(source: Source) -> np.ndarray:
    """A few pictures of the twin."""
    return np.asarray(
        tl.load_dataset(source.name, image_size=source.picture_size).sample(jax.random.key(0), DIFFERENT)[0]
    )


def write_archive(source: Source, pictures: np.ndarray, folder: Path) -> None:
    """The file of a source."""
    file, n = source.files[0], len(source)
    layout, path = file.layout, folder / file.name
    labels = np.stack(np.unravel_index(np.arange(n), source.factor_sizes), axis=1).astype(np.float64)
    if layout.kind == "h5":
        with h5py.File(path, "w") as content:
            shape = (n, *pictures.shape[1:])
            images = content.create_dataset(layout.images, shape, np.uint8, chunks=(1, *shape[1:]), compression="gzip")
            images[: len(pictures)] = pictures
            chunks = [images.id.read_direct_chunk((i, 0, 0, 0))[1] for i in range(len(pictures))]
            for i in range(len(pictures), n):
                images.id.write_direct_chunk((i, 0, 0, 0), chunks[i % len(chunks)])
            content[layout.labels] = labels
    elif layout.kind == "npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            with archive.open(f"{layout.images}.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": (n, *pictures.shape[1:])}
                np.lib.format.write_array_header_1_0(member, header)
                for start in range(0, n, len(pictures)):
                    member.write(pictures[: n - start].tobytes())
    else:
        files = []
        for picture in pictures:
            files.append(io.BytesIO())
            Image.fromarray(picture).save(files[-1], "png")
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(n):
                archive.writestr(layout.images.format(i), files[i % len(files)].getvalue())
            table = io.BytesIO()
            np.save(table, labels)
            archive.writestr(layout.labels, table.getvalue())


def memory(what: str) -> int:
    """Bytes of memory of this process: "VmRSS" now, "VmHWM" at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def measure_preparing(layout: str, n: int, folder: str) -> dict[str, float]:
    """Prepare, in a process that does nothing else; then load once more, which verifies."""
    source = source_of(layout, n)
    before, clock, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    prepare(source, 64, data_dir=folder, manual_dir=folder, progress=False)
    seconds, cpu, peak = time.perf_counter() - clock, time.process_time() - cpu, memory("VmHWM")
    clock = time.perf_counter()
    prepare(source, 64, data_dir=folder, progress=False)
    loading = time.perf_counter() - clock
    return {
        "images_per_second": round(n / seconds, 1),
        "images_per_cpu_second": round(n / cpu, 1),
        "seconds": round(seconds, 1),
        "memory_before_mb": round(before / 1e6),
        "memory_peak_mb": round(peak / 1e6),
        "verifying_load_seconds": round(loading, 2),
    }


def measure_feeding(prepared: Prepared, batch: int, batches: int, turns: int) -> dict[str, float]:
    """Images a second of every way to feed, the median of several turns."""
    device, host = Real(prepared, on_device=True), Real(prepared, on_device=False)
    memory_copy = np.array(prepared.images)
    rng, key = np.random.default_rng(0), jax.random.key(0)
    numbers = itertools.count()

    def rows() -> np.ndarray:
        return rng.integers(0, len(device), batch)

    on_device, by_grain = device.batches(key, batch), host.batches(key, batch)
    ways: dict[str, Callable[[], object]] = {
        "bare NumPy gather from memory": lambda: np.take(memory_copy, rows(), axis=0),
        "bare NumPy gather from the memory map": lambda: np.take(prepared.images, rows(), axis=0),
        "on the device": lambda: next(on_device).block_until_ready(),
        "from the memory map, Grain reading ahead": lambda: next(by_grain).block_until_ready(),
        "from the memory map, not ahead": lambda: host.sample(jax.random.fold_in(key, next(numbers)), batch)[0],
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first one compiles
        for name, fetch in ways.items():
            clock = time.perf_counter()
            for _ in range(batches):
                fetch()
            if turn:
                rates[name].append(batch * batches / (time.perf_counter() - clock))
    return {name: round(float(np.median(found))) for name, found in rates.items()}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks data", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000], help="sizes of the sets")
    parser.add_argument("--batch", type=int, default=256, help="images a batch")
    parser.add_argument("--batches", type=int, default=100, help="batches a turn")
    parser.add_argument("--turns", type=int, default=5, help="how often each way of feeding is measured")
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/data-BACKEND.json")
    args = parser.parse_args(arguments)
    preparing: dict[str, dict] = {layout: {} for layout in SETS}
    feeding = {}
    for layout, name in SETS.items():
        pictures = pictures_of(SOURCES[name])
        for n in args.images:
            own = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            with tempfile.TemporaryDirectory() as folder, own:
                write_archive(source_of(layout, n), pictures, Path(folder))
                preparing[layout][n] = own.submit(measure_preparing, layout, n, folder).result()
                print(layout, n, preparing[layout][n], flush=True)
                if layout == "h5" and n == max(args.images):
                    prepared = prepare(source_of(layout, n), 64, data_dir=folder, progress=False)
                    feeding = measure_feeding(prepared, args.batch, args.batches, args.turns)
                    for way, rate in feeding.items():
                        print(f"{way:45} {rate:10.0f} images/s", flush=True)
    setting = {"image_size": 64, "batch": args.batch, "batches": args.batches, "turns": args.turns}
    setting["load_average"] = os.getloadavg()  # above the number of cores, others were at work too
    record = {"environment": environment(), "setting": setting, "preparing": preparing, "feeding": feeding}
    write(args.out or default_path("data"), record)
