"""Measure the noise and the time of leg 3 by how its probes are drawn: `python -m benchmarks probes`.

Question: for the same time, which probes give the steadier penalty, and the steadier gradient of it?

Protocol: an untrained network of the preset for Shapes3D. Each draw takes new images of the twin, as a training step
does, and new probes; a scheme sees the first so many of them. All schemes take their turn in every draw: the penalty,
summed over the layers, and its gradient in the decoder's parameters are computed and timed together. Of the gradient
every 17th entry is kept, and the variances of these are added up. Penalties of few independent probes are biased upward
(see the chapter on curvature), so spreads are also compared in units of the mean. The first scheme, as released but for
exact derivatives, is what the others are compared with.

Prediction: half the images take half the time at twice the variance, so that nothing is gained. Crossed probes take
half as long again, at a quarter of the variance.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from benchmarks.records import default_path, table, write
from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.datasets import load_dataset
from tripod_lite.legs import latent_scale, normalized_hessian_penalty
from tripod_lite.results import environment

SCHEMES = (("independent", 1.0), ("independent", 0.5), ("crossed", 1.0), ("crossed", 0.5), ("crossed", 0.25))
KEPT = 17  # of the gradient's entries, one in so many

COLUMNS = {
    "probes": lambda row: row["design"],
    "images": lambda row: str(row["images"]),
    "s": lambda row: f"{row['seconds']:.3f}",
    "penalty": lambda row: f"{row['mean']:.3f} ± {row['deviation']:.3f}",
    "time": lambda row: f"{row['time_ratio']:.2f}",
    "variance × time": lambda row: f"{row['penalty_ratio']:.3f}",
    "relative": lambda row: f"{row['relative_ratio']:.3f}",
    "gradient": lambda row: f"{row['gradient_ratio']:.3f}",
}


def measure(size: str, batch: int, draws: int) -> list[dict[str, Any]]:
    """The figures of every scheme.

    Args:
        size: of the preset's networks.
        batch: images of a draw, at least 4.
        draws: how many, at least 2.

    Returns:
        Of each scheme `design`, `images`, `seconds` (the median), `mean` and `deviation` of the penalty,
        `gradient_variance`, `time_ratio`, and of variance times time, against the first scheme: `penalty_ratio`,
        `relative_ratio` (deviations in units of their mean) and `gradient_ratio`.
    """
    config = TripodConfig.preset("shapes3d", size, precision="float32")
    ds, model = load_dataset("shapes3d", image_size=config.image_size), Tripod(config, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model.decoder)

    def penalty(
        params: nnx.State, z: Float[Array, "b n_z"], sigma: Float[Array, " n_z"], key: PRNGKeyArray, design: str
    ) -> Float[Array, ""]:
        layers = nnx.merge(graph, params).activations
        return sum(normalized_hessian_penalty(layers, z, sigma, key, design=design, batched=True))

    gradient = jax.jit(jax.value_and_grad(penalty), static_argnames="design")
    schemes = [(design, max(1, int(batch * share))) for design, share in SCHEMES]
    values, gradients, seconds = ({scheme: [] for scheme in schemes} for _ in range(3))
    for draw in range(-1, draws):  # the first one compiles
        data_key, probe_key = jax.random.split(jax.random.fold_in(jax.random.key(0), draw + 1))
        code = model.encode(ds.sample(data_key, batch)[0])
        sigma = latent_scale(code.continuous)
        for design, images in schemes:
            clock = time.perf_counter()
            found = gradient(params, code.quantized[:images], sigma, probe_key, design=design)
            value, slopes = jax.block_until_ready(found)
            spent = time.perf_counter() - clock
            if draw >= 0:
                seconds[design, images].append(spent)
                values[design, images].append(float(value))
                flat = [np.ravel(leaf) for leaf in jax.tree.leaves(jax.device_get(slopes))]
                gradients[design, images].append(np.concatenate(flat)[::KEPT])
    rows: list[dict[str, Any]] = []
    for design, images in schemes:
        value, spent = np.array(values[design, images]), float(np.median(seconds[design, images]))
        row = {"design": design, "images": images, "seconds": spent}
        row |= {"mean": float(value.mean()), "deviation": float(value.std(ddof=1))}
        row |= {"gradient_variance": float(np.stack(gradients[design, images]).var(axis=0, ddof=1).sum())}
        first = rows[0] if rows else row
        time_ratio = spent / first["seconds"]
        variance = (row["deviation"] / first["deviation"]) ** 2
        row |= {
            "time_ratio": time_ratio,
            "penalty_ratio": time_ratio * variance,
            "relative_ratio": time_ratio * variance * (first["mean"] / row["mean"]) ** 2,
            "gradient_ratio": time_ratio * row["gradient_variance"] / first["gradient_variance"],
        }
        rows.append(row)
    return rows


def main(arguments: list[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks probes", description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="paper", help="of the networks")
    parser.add_argument("--batch", type=int, default=8, help="images a draw")
    parser.add_argument("--draws", type=int, default=16, help="of images and probes")
    parser.add_argument("--out", type=Path, help="the JSON file; by default data/benchmarks/probes-BACKEND.json")
    args = parser.parse_args(arguments)
    for name, least in (("batch", 4), ("draws", 2)):
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(args, name)}")
    rows = measure(args.size, args.batch, args.draws)
    print(table(COLUMNS, rows))
    setting = {"size": args.size, "batch": args.batch, "draws": args.draws}
    write(args.out or default_path("probes"), {"environment": environment(), "setting": setting, "schemes": rows})
