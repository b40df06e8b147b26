"""Measure the noise and the time of leg 3 by how its probes are drawn: `python -m benchmarks probes`.

Question: for the same time, which probes give the steadier penalty, and the steadier gradient of it?

Protocol: an untrained network of the preset for Shapes3D. Each draw takes new images of the twin, as a training step
does, and new probes; a scheme sees the first so many of them. All schemes take their turn in every draw: the penalty,
summed over the layers, and its gradient in the decoder's parameters are computed and timed together. Of the gradient
every 17th entry is kept, and the variances of these are added up. Penalties of few independent probes are biased upward
(see the chapter on curvature), so spreads are also compared in units of the mean. The first scheme, as released but for
exact derivatives, is what the others are compared with.

Two schemes are only here. "balanced": A from the mixed derivative across a cut of the latents in two random halves,
which is what two rows of a Hadamard matrix are, and B from two Gaussian probes. "exact": all of the Hessian.

Predictions: half the images take half the time at twice the variance, so that nothing is gained. Crossed probes take
half as long again, at a quarter of the variance. A balanced cut is no better than a random one. The whole Hessian of
one image takes (1 + n_z)² evaluations, 19 times those of crossed probes, and the noise that it saves is worth less,
since images differ too.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from benchmarks.records import default_path, table, write
from tripod_lite.autoencoder import Tripod, TripodConfig
from tripod_lite.datasets import load_dataset
from tripod_lite.legs import latent_scale, normalized_hessian_penalty
from tripod_lite.legs.hessian import DESIGNS, mixed_derivative
from tripod_lite.results import environment

SCHEMES = (
    ("independent", 1.0),
    ("independent", 0.5),
    ("balanced", 1.0),
    ("exact", 0.125),
    ("crossed", 1.0),
    ("crossed", 0.5),
    ("crossed", 0.25),
)
Layers = Callable[[Float[Array, "b n_z"]], Sequence[Float[Array, "b ..."]]]
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


def mean_squares(terms: Sequence[Array], axes: int) -> list[Array]:
    """Of each layer the mean of the squares over its activations; `axes` come before them."""
    return [jnp.mean(jnp.square(q), axis=range(axes, q.ndim)) for q in terms]


def balanced(
    f: Layers, z: Float[Array, "b n_z"], sigma: Float[Array, " n_z"], key: PRNGKeyArray
) -> tuple[list[Array], list[Array]]:
    """A and B of each sample, by layers: A from a cut in two halves, B from two Gaussian probes."""
    cut_key, sign_key, probe_key = jax.random.split(key, 3)
    b, n_z = z.shape
    half = n_z // 2
    first = jnp.argsort(jax.random.uniform(cut_key, (b, n_z)), axis=1) < half
    r = sigma[None] * jax.random.rademacher(sign_key, (b, n_z), z.dtype)
    g, h = sigma[None, None] * jax.random.normal(probe_key, (2, b, n_z))
    parted = 2 * half * (n_z - half) / (n_z * (n_z - 1))
    across = mean_squares(mixed_derivative(f, z, r * first, r * ~first), 1)
    return [4 / parted * a for a in across], [q / 2 for q in mean_squares(mixed_derivative(f, z, g + h, g - h), 1)]


def exact(f: Layers, z: Float[Array, "b n_z"], sigma: Float[Array, " n_z"]) -> tuple[list[Array], list[Array]]:
    """A and B of each sample, by layers, from every second derivative."""
    basis = jnp.broadcast_to(jnp.diag(sigma)[:, None], (len(sigma), *z.shape))  # (n_z, b, n_z)

    def first(z: Array) -> list[Array]:  # shared by all second directions
        return jax.vmap(lambda v: jax.jvp(f, (z,), (v,))[1])(basis)

    squares = mean_squares(jax.vmap(lambda v: jax.jvp(first, (z,), (v,))[1])(basis), 3)  # (n_z, n_z, b) each
    off = 1 - jnp.eye(len(sigma))[:, :, None]
    return [2 * jnp.sum(q * off, axis=(0, 1)) for q in squares], [2 * jnp.sum(q, axis=(0, 1)) for q in squares]


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
        if design in DESIGNS:
            return sum(normalized_hessian_penalty(layers, z, sigma, key, design=design, batched=True))
        a, b = exact(layers, z, sigma) if design == "exact" else balanced(layers, z, sigma, key)
        return sum(jnp.mean(a_l / (b_l + 1e-10)) for a_l, b_l in zip(a, b, strict=True))

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
