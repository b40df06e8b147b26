"""Tripod: the autoencoder on which the three legs meet, and its configuration."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from tripod_lite.checks import check_count
from tripod_lite.legs import ESTIMATORS, Quantized, latent_scale, multiinformation, normalized_hessian_penalty, quantize
from tripod_lite.legs.hessian import DESIGNS, METHODS, check_design
from tripod_lite.legs.quantization import check_levels
from tripod_lite.networks import ARCHITECTURES, Decoder, Encoder
from tripod_lite.precision import PRECISIONS, compute_dtype, resolve_precision

OPTIMIZERS = ("adam", "muon")
SCHEDULES = ("constant", "cosine")
Images = Float[Array, "b h w 3"] | UInt8[Array, "b h w 3"]


@dataclass(frozen=True)
class Benchmark:
    """What is set per data set: n_s, the number of factors, and the released λ."""

    factors: int
    lambda_klm: float
    lambda_nhp: float


BENCHMARKS = {
    "shapes3d": Benchmark(factors=6, lambda_klm=1e-4, lambda_nhp=1e-2),
    "mpi3d": Benchmark(factors=7, lambda_klm=1e-8, lambda_nhp=1e-4),
    "falcor3d": Benchmark(factors=7, lambda_klm=1e-10, lambda_nhp=1e-2),
    "isaac3d": Benchmark(factors=9, lambda_klm=1e-4, lambda_nhp=1e-8),
    # Not among the paper's benchmarks: the λ of Shapes3D.
    "dsprites": Benchmark(factors=5, lambda_klm=1e-4, lambda_nhp=1e-2),
}


def _known(argument: str, value: object, known: object) -> None:
    if value not in known:
        raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")


@dataclass(frozen=True)
class TripodConfig:
    """Everything that decides a run, but for the data, the seed and the number of steps.

    Attributes:
        n_z: number of latents.
        image_size: height and width of the images in pixels.
        size: the networks, "tiny", "lite" or "paper".
        levels: L, grid values a latent; an integer or one a latent.
        quantize: leg 1; without it the decoder sees c = tanh z̃.
        estimator: of the multiinformation, "released", "matched", "leave_one_out" or "pairwise".
        lambda_klm: weight of leg 2, the multiinformation in nats; 0 switches it off.
        lambda_nhp: weight of leg 3, the normalized Hessian penalty; 0 switches it off.
        probes: k, probes a sample and kind in leg 3.
        nhp_method: "forward" (exact) or "finite" (differences, as released).
        nhp_design: how the probes are drawn, "independent" (as released) or "crossed" (this project's: less noise an
            image, at more cost); see `normalized_hessian_penalty`.
        nhp_samples: how many images of each batch leg 3 sees; None: all, as released.
        batch_size: images a step.
        optimizer: "adam" (as released) or "muon"; see `optimizers.optimizer`.
        learning_rate: the optimizer's, the peak where a schedule is on.
        schedule: of the learning rate, "constant" (as released) or "cosine" (a linear warm-up over 1/50 of the steps,
            then a cosine to zero).
        penalty_schedule: of both λ, "constant" (as released) or "cosine" (from their full values to zero).
        precision: of the convolutions, "float32" or "bfloat16". "auto" becomes one of them at construction, which asks
            JAX for its devices: bfloat16 on TPUs and on NVIDIA's GPUs that have it, else float32.

    Raises:
        TypeError, ValueError: at construction, naming the argument.
    """

    n_z: int
    image_size: int
    size: str = "lite"
    levels: int | tuple[int, ...] = 12
    quantize: bool = True
    estimator: str = "released"
    lambda_klm: float = 1e-4
    lambda_nhp: float = 1e-2
    probes: int = 2
    nhp_method: str = "forward"
    nhp_design: str = "independent"
    nhp_samples: int | None = None
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 2e-4
    schedule: str = "constant"
    penalty_schedule: str = "constant"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (("n_z", 1), ("image_size", 8), ("probes", 2), ("batch_size", 2)):
            self._set(name, check_count(name, getattr(self, name), least))  # of one point there is no density estimate
        if self.nhp_samples is not None:
            self._set("nhp_samples", check_count("nhp_samples", self.nhp_samples, 1))
        _known("size", self.size, ARCHITECTURES)
        ARCHITECTURES[self.size].stages(self.image_size)
        check_levels(self.levels, self.n_z)
        self._set("levels", int(self.levels) if np.ndim(self.levels) == 0 else tuple(int(L) for L in self.levels))
        if not isinstance(self.quantize, bool):
            raise TypeError(f"quantize must be True or False, got {self.quantize!r}")
        _known("estimator", self.estimator, ESTIMATORS)
        _known("nhp_method", self.nhp_method, METHODS)
        _known("nhp_design", self.nhp_design, DESIGNS)
        check_design(self.nhp_design, self.probes, self.nhp_method)
        _known("optimizer", self.optimizer, OPTIMIZERS)
        _known("schedule", self.schedule, SCHEDULES)
        _known("penalty_schedule", self.penalty_schedule, SCHEDULES)
        _known("precision", self.precision, PRECISIONS)
        self._set("precision", resolve_precision(self.precision))
        for name in ("lambda_klm", "lambda_nhp", "learning_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number, got {value!r}")
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {value}")
            self._set(name, float(value))

    def _set(self, name: str, value: Any) -> None:
        """Put a checked value in its plainest type, so that configurations hash, compare and go into JSON."""
        object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> "TripodConfig":
        """A copy with some fields changed, checked like a new one.

        Raises:
            TypeError: a field that does not exist, with the list of those that do.
        """
        unknown = changes.keys() - {field.name for field in dataclasses.fields(self)}
        if unknown:
            known = ", ".join(field.name for field in dataclasses.fields(self))
            raise TypeError(f"TripodConfig has no field {', '.join(sorted(unknown))}; it has {known}")
        return dataclasses.replace(self, **changes)

    @classmethod
    def preset(cls, dataset: str, size: str = "lite", **changes: Any) -> "TripodConfig":
        """The configuration for one of the benchmarks.

        Args:
            dataset: "shapes3d", "mpi3d", "falcor3d", "isaac3d", or "dsprites", which the paper does not have.
            size: "tiny" (minutes on a CPU, 32×32), "lite" (a Colab GPU) or "paper" (the paper's networks); both 64×64.
            **changes: fields to set otherwise.

        Returns:
            n_z = 2 n_s latents of 12 levels, and the released λ; `tiny` has weights and a schedule of its own.
        """
        _known("dataset", dataset, BENCHMARKS)
        _known("size", size, ARCHITECTURES)
        benchmark = BENCHMARKS[dataset]
        settings = {
            "n_z": 2 * benchmark.factors,
            "image_size": 64,
            "size": size,
            "lambda_klm": benchmark.lambda_klm,
            "lambda_nhp": benchmark.lambda_nhp,
        }
        if size == "tiny":
            settings |= TINY
        return cls(**settings | changes)


def noted_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a configuration noted in JSON; those that it lacks are younger than the note and had no effect."""
    defaults = {f.name: f.default for f in dataclasses.fields(TripodConfig) if f.default is not dataclasses.MISSING}
    return defaults | {"precision": "float32"} | fields


# Found on the Shapes3D twin; the released λ go with the released estimator and 250 000 steps. Crossed probes on four
# images give a steady ratio for little. Muon gets as far as Adam in half the steps. The λ are strong while latents
# divide the sources among them, then fade.
TINY = {
    "image_size": 32,
    "estimator": "leave_one_out",
    "lambda_klm": 4e-4,
    "lambda_nhp": 6e-3,
    "penalty_schedule": "cosine",
    "probes": 2,
    "nhp_design": "crossed",
    "nhp_samples": 4,
    "batch_size": 32,
    "optimizer": "muon",
    "learning_rate": 3e-3,
    "schedule": "cosine",
}


class Tripod(nnx.Module):
    """A deterministic image autoencoder whose latents are quantized, independent and without mixed curvature.

    Args:
        config: see `TripodConfig`.
        rngs: random numbers for the initial parameters, `nnx.Rngs(seed)`.

    Source: Hsu et al., *Tripod* (ICML 2024).
    """

    def __init__(self, config: TripodConfig, *, rngs: nnx.Rngs):
        self.config = config
        shape = (ARCHITECTURES[config.size], config.image_size, config.n_z)
        dtype = compute_dtype(config.precision)
        self.encoder = Encoder(*shape, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(*shape, dtype=dtype, rngs=rngs)

    def encode(self, images: Images) -> Quantized:
        """Images to latents.

        Args:
            images: uint8, or floating point in [0, 1], shape (b, h, w, 3) with h = w = config.image_size.

        Returns:
            `Quantized`, each field of shape (b, n_z). With `quantize=False` in the config, `quantized` is `continuous`.

        Raises:
            TypeError: another dtype.
            ValueError: another shape; NaN or a value outside [0, 1].
        """
        images = as_floats(images, self.config.image_size)
        code = quantize(self.encoder(images), self.config.levels)
        return code if self.config.quantize else code._replace(quantized=code.continuous)

    def decode(self, z: Float[Array, "b n_z"]) -> Float[Array, "b h w 3"]:
        """Latents, shape (b, n_z), to images in [0, 1], shape (b, h, w, 3).

        Raises:
            TypeError: z is not floating point.
            ValueError: z has another shape.
        """
        z = jnp.asarray(z)
        if not jnp.issubdtype(z.dtype, jnp.floating):
            raise TypeError(f"z must be floating point latents in [-1, 1], got {z.dtype}")
        if z.ndim != 2 or z.shape[1] != self.config.n_z:
            raise ValueError(f"z must have shape (b, {self.config.n_z}), got {z.shape}")
        return nnx.sigmoid(self.decoder(z))

    def reconstruct(self, images: Images) -> Float[Array, "b h w 3"]:
        """Images through the bottleneck and back, in [0, 1], shape (b, h, w, 3). Raises as `encode` does."""
        return self.decode(self.encode(images).quantized)

    def loss(
        self, images: Images, key: PRNGKeyArray, *, strength: float | Float[Array, ""] = 1.0
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The objective: BCE + λ_KLM · KLM + λ_NHP · NHP.

        Args:
            images: as for `encode`, at least two.
            key: for the probes of leg 3.
            strength: a factor on both λ, for schedules.

        Returns:
            The loss and its parts: `bce` in nats a pixel and channel, `klm` in nats, `nhp` summed over the penalized
            layers. A leg whose λ is 0 is not computed and not among them.
        """
        config = self.config
        images = as_floats(images, config.image_size)
        code = self.encode(images)
        bce = jnp.mean(optax.sigmoid_binary_cross_entropy(self.decoder(code.quantized), images))
        parts, total = {"bce": bce}, bce
        if config.lambda_klm or config.lambda_nhp:
            sigma = latent_scale(code.continuous)
        if config.lambda_klm:
            parts["klm"] = multiinformation(code.quantized, sigma, estimator=config.estimator)
            total += strength * config.lambda_klm * parts["klm"]
        if config.lambda_nhp:
            penalties = normalized_hessian_penalty(
                self.decoder.activations,
                code.quantized[: config.nhp_samples],
                sigma,
                key,
                probes=config.probes,
                method=config.nhp_method,
                design=config.nhp_design,
                batched=True,
            )
            parts["nhp"] = sum(penalties)
            total += strength * config.lambda_nhp * parts["nhp"]
        return total, parts


def as_floats(images: Images, image_size: int) -> Float[Array, "b h w 3"]:
    """Images as floats in [0, 1], or an error that says what is wrong with them."""
    images = images if isinstance(images, jax.Array) else np.asarray(images)
    shape = (image_size, image_size, 3)
    if images.ndim != 4 or images.shape[1:] != shape or not images.shape[0]:
        raise ValueError(f"images must have shape (b, {', '.join(map(str, shape))}), got {images.shape}")
    if images.dtype == np.uint8:
        return jnp.asarray(images, jnp.float32) / 255
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating point in [0, 1], got {images.dtype}")
    if not isinstance(images, jax.core.Tracer):
        low, high = float(images.min()), float(images.max())
        if not (low >= 0 and high <= 1):  # also false for NaN
            raise ValueError(f"floating point images must lie in [0, 1], got values from {low} to {high}")
    return jnp.asarray(images)
