"""Measure what a training step costs: `python -m benchmarks training`, or `make bench`.

Question: how do time, compilation and memory of one step of `fit` grow with the networks' size, the batch, the legs
that are on, the precision and the seeds trained together, and how much of the machine does a step use?

Protocol: the compiled program that `fit` calls, one step a call on a CPU and many elsewhere, on random images that are
on the device already. A point is lowered and compiled, and its operations and memory are read off; two calls go
untimed; then blocks of calls are timed for a few seconds, and the median of the blocks counts. Several seeds are one
program here; on a CPU `fit` itself trains them one after the other. The rate of operations is the
count of XLA's cost analysis, of the step as it was written, over that median; it is compared with the product of two
large matrices on the same device in the same run, in float32 and in the step's own precision. Memory is the compiler's
plan: arguments, results and temporaries of a step, without what libraries take for themselves. Points of `points.py`
are measured in turn until the minutes are spent; a run that was cut off goes on where it stopped. The recorded file is
replaced when all points are measured.

Prediction, written before the first measurement. Images a second do not depend on the batch on a CPU from 16 on, and
grow with it on a GPU up to 128. Leg 3 on all samples makes a step three times as long; on four of 32 images, as in
`tiny`, 1.5 times. Legs 1 and 2 are below 2 %. Eight seeds take eight times as long on a CPU, and `tiny` less than four
times as long on a GPU. bfloat16 is of no use on a CPU without instructions for it, and twice as fast on a GPU; a step
of `paper` reaches 40 % of the product's rate.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import OtherLoad
from benchmarks.operations import counted, product_rate
from benchmarks.points import Point, accelerator_points, cpu_points
from benchmarks.records import Record, default_path, table
from tripod_lite.autoencoder import TripodConfig
from tripod_lite.engine import Engine, State

MINUTES = {"cpu": 10.0}  # elsewhere ACCELERATOR_MINUTES
ACCELERATOR_MINUTES = 5.0
STEPS = 10_000  # which the schedules span; of no influence on the time
BUSY = 0.1  # cores used by other processes from which a figure is remarked upon
BLOCK = 0.2  # seconds that a block of calls takes at least


def make_step(config: TripodConfig, seeds: int = 1) -> tuple[State, jax.stages.Wrapped, tuple[Any, ...], int]:
    """What `fit` calls, `state = program(state, *inputs)`, with random images, on one device.

    Returns:
        (state, program, inputs, steps): the state before the first step, and how many steps a call does.
    """
    first = jax.devices()[:1] if len(jax.devices()) > 1 else None
    engine = Engine(config, STEPS, range(seeds), first)
    stack = (seeds,) if seeds > 1 else ()
    shape = (engine.chunk, *stack, config.batch_size, config.image_size, config.image_size, 3)
    images = jax.device_put(np.random.default_rng(0).integers(0, 256, shape, np.uint8), engine.sharding)
    inputs = (images, engine._probe_keys, np.int32(0))
    if engine.chunk == 1:
        return engine.state, engine._step, inputs, 1
    return engine.state, engine._run, (*inputs, np.int32(engine.chunk)), engine.chunk


def measure(point: Point, products: dict[str, float], *, seconds: float = 3.0, cap: float = 30.0) -> dict[str, Any]:
    """The figures of one point.

    Args:
        point: what to measure.
        products: operations a second of a matrix product, by precision; see `product_rate`.
        seconds: for how long to time steps; three blocks at least.
        cap: seconds after which not another block is begun.

    Returns:
        The point's fields, and `seconds` a step, `blocks` timed, `other_cores` (how many cores other processes used
        meanwhile), `images_per_second`, `compile_seconds` (tracing included), `memory_bytes`, `flops` a step as it was
        written, `flops_compiled` (what XLA knows of after its optimizations), `flops_per_second`, and its
        `share_float32` and `share_precision` of the matrix products. None where it is not known.
    """
    state, program, inputs, per_call = make_step(point.config(), point.seeds)
    clock = time.perf_counter()
    lowered = program.lower(state, *inputs)
    compiled = lowered.compile()
    compile_seconds = time.perf_counter() - clock
    flops, memory = counted(lowered), compiled.memory_analysis()

    def block(calls: int) -> float:
        nonlocal state
        clock = time.perf_counter()
        for _ in range(calls):
            state = compiled(state, *inputs)
        jax.block_until_ready(state)
        return (time.perf_counter() - clock) / calls

    block(1)
    calls = max(1, round(BLOCK / block(1)))
    times: list[float] = []
    load = OtherLoad()
    start = time.perf_counter()
    while not times or ((spent := time.perf_counter() - start) < cap and (len(times) < 3 or spent < seconds)):
        times.append(block(calls) / per_call)
    busy, median = load.cores(), statistics.median(times)
    rate = None if flops is None else flops / median
    return point.fields() | {
        "seconds": _short(median),
        "blocks": len(times),
        "other_cores": busy,
        "images_per_second": _short(point.batch * point.seeds / median),
        "compile_seconds": round(compile_seconds, 1),
        "memory_bytes": None if memory is None else _planned(memory),
        "flops": flops,
        "flops_compiled": counted(compiled),
        "flops_per_second": _short(rate),
        "share_float32": _short(rate and rate / products["float32"]),
        "share_precision": _short(rate and rate / products[point.precision]),
    }


def _planned(memory: Any) -> int:
    """Bytes that a call needs at once: arguments, results and temporaries; what is written in place counts once."""
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(memory.argument_size_in_bytes + results + memory.temp_size_in_bytes)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _figure(name: str, scale: float = 1.0, digits: int = 1) -> Callable[[dict], str]:
    """Print a field of a point; a dash where there is no number."""
    return lambda row: "–" if row.get(name) is None else f"{row[name] * scale:,.{digits}f}".replace(",", " ")


COLUMNS: dict[str, Callable[[dict], str]] = {
    "size": lambda row: row["size"],
    "pixels": lambda row: str(row["image_size"]),
    "batch": lambda row: str(row["batch"]),
    "legs": lambda row: row["legs"],
    "probes": lambda row: row["design"],
    "precision": lambda row: row["precision"],
    "seeds": lambda row: str(row["seeds"]),
    "ms/step": _figure("seconds", 1e3),
    "images/s": _figure("images_per_second"),
    "compile s": _figure("compile_seconds"),
    "MiB": _figure("memory_bytes", 2**-20, 0),
    "GFLOP": _figure("flops", 1e-9),
    "GFLOP/s": _figure("flops_per_second", 1e-9),
    "% of f32": _figure("share_float32", 100),
    "% of own": _figure("share_precision", 100),
}


def run(record: Record, points: list[Point], minutes: float) -> tuple[int, int]:
    """Measure the points that the record has not, until the minutes are spent; return how many were, and are left."""
    start, done = time.perf_counter(), 0
    todo = [point for point in points if point.name not in record.points]
    if todo:
        products = {dtype: _short(product_rate(dtype)) for dtype in ("float32", "bfloat16")}
        record.begin({"products": products})
    for point in todo:
        if time.perf_counter() - start > 60 * minutes:
            break
        try:
            figures = measure(point, products)
            busy = figures["other_cores"] or 0.0
            note = f"  other processes used {busy:.1f} cores" if busy > BUSY else ""
            print(f"{point.name:32} {1e3 * figures['seconds']:10.1f} ms/step{note}", flush=True)
        except jax.errors.JaxRuntimeError as error:  # a point that does not fit the memory must not stop the others
            figures = point.fields() | {"failed": str(error).splitlines()[0][:200]}
            print(f"{point.name:32} failed: {figures['failed']}", flush=True)
        record.add(point.name, figures)
        done += 1
    return done, len(todo) - done


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/training-BACKEND.json")
    parser.add_argument("--minutes", type=float, help="after which no point is begun (CPU: 10, else 5)")
    parser.add_argument("--only", default="", help="points whose name has this in it, such as paper or -s8")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    args = parser.parse_args(arguments)
    jax.config.update("jax_enable_compilation_cache", False)  # compiling is measured, not looked up
    backend = jax.default_backend()
    path = args.out or default_path("training")
    minutes = args.minutes if args.minutes is not None else MINUTES.get(backend, ACCELERATOR_MINUTES)
    every = cpu_points() if backend == "cpu" else accelerator_points()
    points = [point for point in every if args.only in point.name]
    record = Record(path, fresh=args.fresh)
    done, left = run(record, points, minutes)
    whole = record.finish([point.name for point in (points if args.out else every)])
    rows = [record.points[point.name] for point in points if point.name in record.points]
    if rows:
        print(table(COLUMNS, [row for row in rows if "failed" not in row]))
        print("% of: operations a second, of a matrix product in float32 and in the step's own precision")
    for number, part in enumerate(record.runs):
        rates = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in part["products"].items())
        print(f"run {number}: matrix products in {rates}")
    print(
        f"{done} points measured, {left} left{'; the same command goes on with them, without --fresh' if left else ''}"
    )
    print(f"{path} has them" if whole else f"{path} gets them when all points are measured")
