"""Train what the chapter "Beyond the paper" compares: `python -m benchmarks beyond`.

Questions, protocol and budget were written down before the first run:

Common to all runs: the preset `tiny`, but batches of 64 and `STEPS` steps; the twins of `TWINS`; scores on 10 000
held-out images. Arms are compared on seeds 0, 1 and 2, by pairs of the same seed. Whatever is chosen is chosen on other
seeds.

(a) Which estimator of the multiinformation serves best at b = 64? The λ of each is chosen from `WEIGHTS` by the mean of
    InfoM and InfoC on the twin of Shapes3D with seed 10, and used on both. (The largest was added when two of the
    estimators chose the one before it. It was settled then, too, that the best estimator there is part of the `base` of
    what follows.) Prediction: `pairwise` > `leave_one_out` > `released` in InfoM and InfoC; `released` is no better
    than no penalty.
(b) How many levels? And can the number be chosen without labels, by how well seeds agree? Prediction: 4 levels lose
    InfoE, 24 lose InfoM, and the agreement of seeds finds the best or the second best.
(c) Two factors are tied in training, not in what is held out. What does each leg do then? Prediction: the penalty on
    multiinformation now works against the truth, and more is lost with it than without it.
    (Of Isaac3D the colors of the object and of the wall were tied first. No latent of any run knew the object's color,
    so there was nothing to see. The two factors that the untied runs know best took their place.)

A question whether crossed probes on 4 images serve as well as the released design on 64 was dropped before any of these
runs; `python -m benchmarks probes` compares their gradients.

How well two runs agree is the modularity of the one's latents with the other's active latents in the place of factors.

A run that is there, in build/beyond, is not done again. When all are there, data/benchmarks/beyond.json gets their
scores, and how well the seeds of an arm agree.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

import tripod_lite as tl
from benchmarks.records import ROOT, write
from tripod_lite.datasets import Twin
from tripod_lite.datasets.base import Factors, Images
from tripod_lite.metrics.infomec import modularity_compactness
from tripod_lite.metrics.information import normalized_information
from tripod_lite.results import environment

STEPS, BATCH, HELD_OUT = 1500, 64, 10_000
WEIGHTS = (1e-4, 4e-4, 1.6e-3, 6.4e-3)
ESTIMATORS = ("released", "leave_one_out", "pairwise")
SEEDS = (0, 1, 2)
CHOOSING_TWIN, CHOOSING_SEED = "shapes3d", 10
TWINS = {"shapes3d": ("object_hue", "wall_hue"), "isaac3d": ("camera_height", "wall_color")}  # and what (c) ties
STRENGTH = 0.8
BUILD = ROOT / "build" / "beyond"
RESULT = ROOT / "data" / "benchmarks" / "beyond.json"


@dataclass(frozen=True)
class Run:
    """One training: an arm of a comparison, on a twin, with a seed."""

    twin: str
    arm: str
    seed: int
    tied: bool = False
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """TWIN-ARM-seedN."""
        return f"{self.twin}-{self.arm}-seed{self.seed}"

    def config(self) -> tl.TripodConfig:
        """The preset, with the arm's changes."""
        return tl.TripodConfig.preset(self.twin, "tiny", batch_size=BATCH, precision="float32", **dict(self.changes))


class Drawn(Twin):
    """A twin whose images were drawn before, for many passes over scenes that are slow to draw."""

    _arrays = ("_images",)
    _compiled = True

    def __init__(self, twin: Twin, images: UInt8[np.ndarray, "n h w 3"]) -> None:
        """The images of all rows of a twin, in their order."""
        super().__init__(twin.scene, twin.image_size)
        self._images = jnp.asarray(images)

    def fetch(self, rows: Int[Array, " n"]) -> tuple[Images, Factors]:
        """See `Dataset.fetch`."""
        return self._images[rows], self.grid.unravel(rows)


def arms(chosen: dict[str, float]) -> dict[str, tuple[bool, dict[str, Any]]]:
    """By name, whether factors are tied and the changes of the configuration.

    Args:
        chosen: the λ of each estimator, the best first, as `chosen` gives it.
    """
    klm = {f"klm-{e}": {"estimator": e, "lambda_klm": weight} for e, weight in chosen.items()}
    base = next(iter(klm.values()))
    without = {"noklm": base | {"lambda_klm": 0.0}, "nonhp": base | {"lambda_nhp": 0.0}}
    found = {name: (False, changes) for name, changes in (klm | without).items()}
    found |= {f"tied-{name}": (True, changes) for name, changes in ({"base": base} | without).items()}
    found |= {f"levels-{levels}": (False, base | {"levels": levels}) for levels in (24, 4)}
    return found | {f"{name}noquant": (bool(name), base | {"quantize": False}) for name in ("tied-", "")}


def choosing_runs() -> list[Run]:
    """The runs from which the λ are chosen."""
    return [
        Run(CHOOSING_TWIN, f"choose-{e}-{weight:g}", CHOOSING_SEED, False, _fixed(estimator=e, lambda_klm=weight))
        for weight in WEIGHTS
        for e in ESTIMATORS
    ]


def comparing_runs(chosen: dict[str, float]) -> list[Run]:
    """The runs that are compared."""
    return [
        Run(twin, arm, seed, tied, _fixed(**changes))
        for arm, (tied, changes) in arms(chosen).items()
        for seed in SEEDS
        for twin in TWINS
    ]


def _fixed(**changes: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(changes.items())


def chosen() -> dict[str, float]:
    """The λ of each estimator, the best estimator first, from the runs that choose."""
    merits = {}
    for run in choosing_runs():
        scores = json.loads((BUILD / f"{run.name}.json").read_text(encoding="utf-8"))
        merits[run.changes] = scores["infom"] + scores["infoc"]
    found: dict[str, float] = {}
    for changes in sorted(merits, key=merits.get, reverse=True):
        found.setdefault(dict(changes)["estimator"], dict(changes)["lambda_klm"])
    return found


@cache
def drawn(name: str) -> Twin:
    """A twin with all its images, drawn once for all processes."""
    twin = tl.load_dataset(name, image_size=32)
    return Drawn(twin, tl.materialize(twin, BUILD / "drawn" / name, progress=False))


def train(run: Run) -> str:
    """Train and score a run, keep what it gives, and return its name."""
    ds, config = drawn(run.twin), run.config()
    trained_on = ds.correlated(*TWINS[run.twin], STRENGTH) if run.tied else ds
    result = tl.fit(trained_on, config, steps=STEPS, seed=run.seed, progress=False)
    scores = tl.evaluate(result.model, ds, n=HELD_OUT, everything=False)
    images, _ = ds.split()[1].take(np.arange(HELD_OUT))
    np.save(BUILD / f"{run.name}.npy", _codes(result.model, images))
    figures = {"twin": run.twin, "arm": run.arm, "seed": run.seed, "tied": run.tied, "changes": dict(run.changes)}
    figures |= {name: round(getattr(scores, name), 5) for name in ("infom", "infoc", "infoe", "psnr")}
    figures |= {"active": scores.active.tolist(), "nmi": np.round(scores.nmi, 4).tolist()}
    figures |= {"seconds": round(result.seconds, 1)}
    figures |= {"environment": environment()}
    write(BUILD / f"{run.name}.json", figures)
    return run.name


def _codes(model: tl.Tripod, images: UInt8[Array, "n h w 3"]) -> np.ndarray:
    """Level numbers, uint8; latents without a grid are cut into 24 levels."""
    continuous = np.concatenate(
        [np.asarray(model.encode(part).continuous) for part in np.split(np.asarray(images), 40)]
    )
    levels = np.asarray(model.config.levels if model.config.quantize else 24)
    return np.rint((continuous + 1) / 2 * (levels - 1)).astype(np.uint8)


def agreement(codes: np.ndarray, active: np.ndarray, others: np.ndarray, others_active: np.ndarray) -> float:
    """InfoM of codes, with the active ones of other codes as factors; codes of shape (n, n_z), active (n_z,)."""
    if not others_active.any():
        return 0.0
    told = normalized_information(others[:, others_active].astype(int), codes.astype(int))
    return modularity_compactness(told, active)[0]


def missing(wanted: Iterable[Run]) -> list[Run]:
    """The runs that were not done yet."""
    return [run for run in wanted if not (BUILD / f"{run.name}.json").is_file()]


def collect() -> None:
    """Put the figures in their place."""
    everything = choosing_runs() + comparing_runs(chosen())
    figures = {run: json.loads((BUILD / f"{run.name}.json").read_text(encoding="utf-8")) for run in everything}
    environments: list[dict[str, Any]] = []  # each with the date of its first run
    for one in figures.values():
        here = one.pop("environment")
        alike = [place for place, other in enumerate(environments) if other | {"date": here["date"]} == here]
        one["environment"] = alike[0] if alike else len(environments)
        environments += [] if alike else [here]
    codes = {run: (np.load(BUILD / f"{run.name}.npy"), np.array(one["active"])) for run, one in figures.items()}
    for run, one in figures.items():
        others = [other for other in figures if (other.twin, other.arm) == (run.twin, run.arm) and other != run]
        one["agreement"] = [round(agreement(*codes[run], *codes[other]), 5) for other in others]
    setting = {"steps": STEPS, "batch": BATCH, "held_out": HELD_OUT, "chosen": chosen(), "weights": WEIGHTS}
    setting |= {"strength": STRENGTH, "tied": TWINS, "seeds": SEEDS}
    rows = {run.name: one for run, one in figures.items()}
    write(RESULT, {"environments": environments, "setting": setting, "runs": rows})


def _pin(places: "multiprocessing.Queue[int]") -> None:
    """A core for each process: two single threads get more done than two pools on the same cores."""
    os.sched_setaffinity(0, {places.get()})
    jax.config.update("jax_compilation_cache_dir", str(BUILD / "compiled"))  # for the seeds of an arm


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks beyond", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes, one core each")
    args = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    places = context.Queue()
    for core in sorted(os.sched_getaffinity(0))[: args.jobs]:
        places.put(core)
    for twin in TWINS:
        drawn(twin)
    with ProcessPoolExecutor(args.jobs, context, _pin, (places,)) as pool:
        for stage in (choosing_runs, lambda: comparing_runs(chosen())):
            left = missing(stage())
            for number, done in enumerate(as_completed([pool.submit(train, run) for run in left]), 1):
                print(f"[{number}/{len(left)}] {done.result()}", flush=True)
    collect()
