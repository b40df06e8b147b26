"""All scores of a model at once, on images that it was not trained on."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from tripod_lite.checks import check_count
from tripod_lite.datasets import Dataset
from tripod_lite.metrics.dci import dci as dci_scores
from tripod_lite.metrics.images import psnr_per_image
from tripod_lite.metrics.infomec import infomec

BATCH = 256


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What `evaluate` returns. Where the data set has no factors, all but `psnr`, `n` and `seed` are None.

    Attributes:
        infom, infoc, infoe: modularity, compactness and explicitness in [0, 1]; see `infomec`.
        disentanglement, completeness, informativeness: in [0, 1]; see `dci`. None where they were not asked for.
        psnr: of the reconstructions, mean over the images, in dB; see `psnr`.
        nmi: normalized mutual information of sources and latents, shape (n_s, n_z).
        active: which latents vary, shape (n_z,).
        factor_names: the names of the sources, the rows of `nmi`.
        n: how many held-out images.
        seed: of `dci`.
    """

    infom: float | None
    infoc: float | None
    infoe: float | None
    disentanglement: float | None
    completeness: float | None
    informativeness: float | None
    psnr: float
    nmi: Float[np.ndarray, "n_s n_z"] | None
    active: Bool[np.ndarray, " n_z"] | None
    factor_names: tuple[str, ...] | None
    n: int
    seed: int

    def to_json(self) -> str:
        """The scores as a JSON object of plain numbers and lists; an infinite PSNR is the string "inf"."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        for name in ("nmi", "active"):
            fields[name] = None if fields[name] is None else fields[name].tolist()
        if np.isinf(self.psnr):
            fields["psnr"] = "inf"  # JSON has no number for it
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Scores":
        """The scores that `to_json` wrote.

        Raises:
            ValueError: not JSON, or fields missing or unknown.
        """
        fields = json.loads(text)
        wanted = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or fields.keys() != wanted:
            found = ", ".join(sorted(fields)) if isinstance(fields, dict) else type(fields).__name__
            raise ValueError(f"text must be a JSON object with the fields {', '.join(sorted(wanted))}, got {found}")
        fields["psnr"] = float(fields["psnr"])
        if fields["nmi"] is not None:
            fields["nmi"] = np.array(fields["nmi"], np.float64)
            fields["active"] = np.array(fields["active"], bool)
            fields["factor_names"] = tuple(fields["factor_names"])
        return cls(**fields)

    def __repr__(self) -> str:
        columns = {
            "InfoM": self.infom,
            "InfoC": self.infoc,
            "InfoE": self.infoe,
            "D": self.disentanglement,
            "C": self.completeness,
            "I": self.informativeness,
        }
        known = {name: f"{value:.3f}" for name, value in columns.items() if value is not None}
        known["PSNR"] = f"{self.psnr:.2f} dB"
        if self.active is not None:
            known["active"] = f"{self.active.sum()}/{len(self.active)}"
        known["images"] = str(self.n)
        widths = [max(len(name), len(value)) for name, value in known.items()]
        lines = (
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in zip(*known.items(), strict=True)
        )
        return "\n".join(lines)


def evaluate(model: nnx.Module, ds: Dataset, n: int = 10_000, seed: int = 0, *, dci: bool = True) -> Scores:
    """Score a model on held-out images.

    Args:
        model: anything with the `encode`, `decode` and `config.quantize` of `Tripod`.
        ds: a whole data set, of which the part held out by `ds.split()` is used (`fit` trains on the other), or a part
            of one, used as it is.
        n: how many images, the first ones of that part, each once; all of them where it has fewer.
        seed: of `dci`.
        dci: whether to compute DCI, the slowest of the scores.

    Returns:
        `Scores`. Latents are discrete for the metrics where `model.config.quantize` is on.

    Raises:
        TypeError, ValueError: n or seed out of range; a data set whose images do not suit the model; a factor that
            takes only one value among these images.

    The released evaluation uses the first 10 000 training images instead.
    """
    check_count("n", n, 1)
    check_count("seed", seed, 0)
    held_out = ds.split()[1] if ds.part == "all" else ds
    n = min(n, len(held_out))
    factors, latents, psnr = _encode_and_compare(model, held_out, n)
    if not held_out.factor_names:
        return Scores(None, None, None, None, None, None, psnr, None, None, None, n, seed)
    mec = infomec(factors, latents, discrete=model.config.quantize)
    d, c, i = dci_scores(factors, latents, seed)[:3] if dci else (None, None, None)
    return Scores(
        infom=mec.modularity,
        infoc=mec.compactness,
        infoe=mec.explicitness,
        disentanglement=d,
        completeness=c,
        informativeness=i,
        psnr=psnr,
        nmi=mec.nmi,
        active=mec.active,
        factor_names=tuple(held_out.factor_names),
        n=n,
        seed=seed,
    )


@nnx.jit
def _encode_decode(
    model: nnx.Module, images: UInt8[Array, "b h w 3"]
) -> tuple[Float[Array, "b n_z"], Float[Array, "b h w 3"]]:
    z = model.encode(images).quantized
    return z, model.decode(z)


def _encode_and_compare(model: nnx.Module, ds: Dataset, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Factors (n, n_s), latents (n, n_z) and mean PSNR of the first n rows, a batch at a time."""
    size = min(BATCH, n)
    factors, latents, decibels = [], [], []
    for start in range(0, n, size):
        kept = min(size, n - start)
        rows = np.minimum(np.arange(start, start + size), n - 1)  # one shape, compiled once
        images, s = ds.take(rows)
        z, reconstructions = jax.device_get(_encode_decode(model, images))
        factors.append(np.asarray(s)[:kept])
        latents.append(z[:kept])
        decibels.append(psnr_per_image(np.asarray(images)[:kept] / 255, reconstructions[:kept]))
    return np.concatenate(factors), np.concatenate(latents), float(np.mean(np.concatenate(decibels)))
