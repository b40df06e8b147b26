"""Measure InfoMEC against scikit-learn: `python -m benchmarks metrics`.

Question: how much faster is `infomec` than the same scores by scikit-learn, a call at a time, and are they the same?
Protocol: a code of 10 000 samples, 6 factors with the sizes of Shapes3D and 12 latents of 12 levels, half of them noisy
copies of the factors, half noisy mixtures. scikit-learn's way is `mutual_info_score` for each pair and
`LogisticRegression` for each factor on sparse one-hot latents, once to its optimum and once stopped after its default
100 iterations. All in one process and by turns, the median of some repeats. Prediction: 10 times faster than to the
optimum.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import OneHotEncoder

from benchmarks.records import default_path, write
from tripod_lite.metrics import infomec
from tripod_lite.metrics.infomec import active_latents, modularity_compactness
from tripod_lite.metrics.tables import level_numbers
from tripod_lite.results import environment

SIZES = (10, 10, 10, 8, 4, 15)
LATENTS, LEVELS = 12, 12


def code(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (n, 6) and latents on the grid (n, 12)."""
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, k, n) for k in SIZES], axis=1)
    u = 2 * s / (np.array(SIZES) - 1) - 1
    mixed = np.concatenate([u, u @ rng.normal(size=(6, LATENTS - 6)) / 2], axis=1)
    c = np.tanh(1.5 * (mixed + 0.15 * rng.normal(size=mixed.shape)))
    return s, 2 * np.round((c + 1) / 2 * (LEVELS - 1)) / (LEVELS - 1) - 1


def by_scikit_learn(s: np.ndarray, z: np.ndarray, iterations: int, tolerance: float) -> tuple[float, float, float]:
    """InfoM, InfoC and InfoE by a loop over pairs and a regression a factor."""
    numbers = level_numbers(z)
    nmi = np.array([[mutual_info_score(a, b) / mutual_info_score(a, a) for b in numbers.T] for a in s.T])
    x = OneHotEncoder().fit_transform(z)
    told = []
    for y in s.T:
        model = LogisticRegression(C=np.inf, class_weight="balanced", tol=tolerance, max_iter=iterations).fit(x, y)
        omega = 1 / np.bincount(y)[y] / (y.max() + 1)
        told.append(1 + omega @ np.log(model.predict_proba(x)[np.arange(len(y)), y]) / np.log(y.max() + 1))
    return *modularity_compactness(nmi, active_latents(z, True)), float(np.mean(told))


def timed(calls: dict[str, Callable[[], tuple]], repeats: int) -> dict[str, dict[str, object]]:
    """The median of the seconds of each, and its scores. They take turns, so that a slow minute slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    scores = {}
    for _ in range(repeats):
        for name, call in calls.items():
            clock = time.perf_counter()
            scores[name] = [round(float(x), 6) for x in call()[:3]]
            seconds[name].append(time.perf_counter() - clock)
    return {name: {"seconds": round(float(np.median(seconds[name])), 3), "scores": scores[name]} for name in calls}


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/metrics-BACKEND.json")
    args = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="sklearn")  # that it stopped after 100 iterations is the point
    s, z = code(args.samples)

    figures = timed({"infomec, first call": lambda: infomec(s, z)}, 1)
    figures |= timed(
        {
            "infomec": lambda: infomec(s, z),
            "scikit-learn, 100 iterations": lambda: by_scikit_learn(s, z, 100, 1e-4),
            "scikit-learn, optimum": lambda: by_scikit_learn(s, z, 10_000, 1e-6),
        },
        args.repeats,
    )
    for name, figure in figures.items():
        figure["ratio"] = round(figure["seconds"] / figures["infomec"]["seconds"], 2)
        print(f"{name:30} {figure['seconds']:8.2f} s  {figure['ratio']:6.1f} ×  {figure['scores']}", flush=True)
    compiled = figures["infomec, first call"]["seconds"] - figures["infomec"]["seconds"]
    print(f"compiling: {compiled:.1f} s")
    setting = {"samples": args.samples, "factors": len(SIZES), "latents": LATENTS, "levels": LEVELS}
    record = {"environment": environment(), "setting": setting | {"repeats": args.repeats}, "figures": figures}
    write(args.out or default_path("metrics"), record)
