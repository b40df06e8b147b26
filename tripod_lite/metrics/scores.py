"""All scores of a model at once, on images that it was not trained on, and a table of several models."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from tripod_lite.checks import check_count
from tripod_lite.datasets import Dataset
from tripod_lite.metrics.dci import dci as dci_scores
from tripod_lite.metrics.gaps import gap, sap, sap_of_counts
from tripod_lite.metrics.images import WINDOW, psnr_per_image, ssim_per_image
from tripod_lite.metrics.infomec import (
    active_latents,
    explicitness_of_losses,
    modularity_compactness,
    on_grid,
    sample_losses,
)
from tripod_lite.metrics.information import Counts, counted_information, information
from tripod_lite.metrics.intervals import RESAMPLES, bootstrap_deviation, mean_half_width, normal_quantile, student
from tripod_lite.metrics.interventions import beta_vae_score, factor_vae_score
from tripod_lite.metrics.modularity import modularity_of_information
from tripod_lite.metrics.tables import as_codes, as_table, level_numbers

BATCH = 256
TITLES = {
    "infom": "InfoM",
    "infoc": "InfoC",
    "infoe": "InfoE",
    "disentanglement": "D",
    "completeness": "C",
    "informativeness": "I",
    "mig": "MIG",
    "modularity_score": "modularity",
    "sap": "SAP",
    "factor_vae": "FactorVAE",
    "beta_vae": "β-VAE",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
}


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What `evaluate` returns. A score that was not asked for, or needs factors where there are none, is None.

    Attributes:
        infom, infoc, infoe: modularity, compactness and explicitness in [0, 1]; see `infomec`.
        disentanglement, completeness, informativeness: in [0, 1]; see `dci`.
        psnr: of the reconstructions, mean over the images, in dB; see `psnr`.
        nmi: normalized mutual information of sources and latents, shape (n_s, n_z).
        active: which latents vary, shape (n_z,).
        factor_names: the names of the sources, the rows of `nmi`.
        n: how many held-out images.
        seed: of the scores that draw.
        ssim: of the reconstructions, mean over the images; see `ssim`. None for images of under 11 pixels.
        mig, modularity_score, sap, factor_vae, beta_vae: see the functions of these names.
        intervals: by the name of a score, the half width of its 95 % interval over evaluation samples.
    """

    infom: float | None
    infoc: float | None
    infoe: float | None
    disentanglement: float | None
    completeness: float | None
    informativeness: float | None
    psnr: float
    nmi: Float[np.ndarray, "n_s n_z"] | None
    active: Bool[np.ndarray, " n_z"]
    factor_names: tuple[str, ...] | None
    n: int
    seed: int
    ssim: float | None = None
    mig: float | None = None
    modularity_score: float | None = None
    sap: float | None = None
    factor_vae: float | None = None
    beta_vae: float | None = None
    intervals: dict[str, float] | None = None

    def to_json(self) -> str:
        """The scores as a JSON object of plain numbers and lists; an infinite PSNR is the string "inf"."""
        fields: dict[str, Any] = dataclasses.asdict(self)
        fields["active"] = self.active.tolist()
        fields["nmi"] = None if self.nmi is None else self.nmi.tolist()
        if np.isinf(self.psnr):
            fields["psnr"] = "inf"  # JSON has no number for it
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Scores":
        """The scores that `to_json` wrote, now or before a score was added.

        Raises:
            ValueError: not JSON, or fields missing or unknown.
        """
        fields = json.loads(text)
        known = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        needed = {name for name, always in known.items() if always}
        if not isinstance(fields, dict) or not needed <= fields.keys() <= known.keys():
            found = ", ".join(sorted(fields)) if isinstance(fields, dict) else type(fields).__name__
            raise ValueError(f"text must be a JSON object with the fields {', '.join(sorted(known))}, got {found}")
        fields["psnr"] = float(fields["psnr"])
        if not isinstance(fields["active"], list):
            raise ValueError(f"text must have a list for active, got {fields['active']!r}")
        fields["active"] = np.array(fields["active"], bool)
        if fields["nmi"] is not None:
            fields["nmi"] = np.array(fields["nmi"], np.float64)
            fields["factor_names"] = tuple(fields["factor_names"])
        return cls(**fields)

    def __repr__(self) -> str:
        halves = self.intervals or {}
        lines = [
            [title, _digits(name, getattr(self, name), halves.get(name))]
            for name, title in TITLES.items()
            if getattr(self, name) is not None
        ]
        lines.append(["active", f"{self.active.sum()}/{len(self.active)}"])
        return _table([*lines, ["images", str(self.n)]])


def compare(runs: Mapping[str, Sequence[Scores]]) -> str:
    """A table for people: the mean of every score over seeds, ± the half width of its 95 % Student interval.

    Args:
        runs: by the name of a method, the scores of its seeds. With a single seed there is no interval.

    Returns:
        A line a score, a column a method; "-" where a method lacks a score. `print` it.

    Raises:
        ValueError: no methods, or one without scores.

    See `student` for what the interval means.
    """
    if not runs or not all(runs.values()):
        raise ValueError(f"runs must name methods with at least one Scores each, got {dict(runs)}")
    lines = [["", *runs]]
    for name, title in TITLES.items():
        cells = []
        for scores in runs.values():
            values = [getattr(score, name) for score in scores]
            if None in values:
                cells.append("-")
            elif len(values) == 1 or not np.isfinite(values).all():
                cells.append(_digits(name, float(np.mean(values))))
            else:
                cells.append(_digits(name, *student(values)))
        if set(cells) != {"-"}:
            lines.append([title, *cells])
    return _table([*lines, ["seeds", *(str(len(scores)) for scores in runs.values())]])


def _digits(name: str, value: float, half: float | None = None) -> str:
    digits = 2 if name == "psnr" else 3
    return f"{value:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def _table(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = (zip(line, widths, strict=True) for line in lines)
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in row).rstrip() for row in rows)


def evaluate(
    model: nnx.Module,
    ds: Dataset,
    n: int = 10_000,
    seed: int = 0,
    *,
    everything: bool = True,
    resamples: int = RESAMPLES,
) -> Scores:
    """Score a model on held-out images.

    Args:
        model: anything with the `encode`, `decode` and `config.quantize` of `Tripod`.
        ds: a whole data set, of which the part held out by `ds.split()` is used (`fit` trains on the other), or a part
            of one, used as it is.
        n: how many images, the first ones of that part, each once; all of them where it has fewer.
        seed: of the scores and intervals that draw.
        everything: whether to compute all scores, and intervals, or only InfoMEC and PSNR.
        resamples: of the bootstrap, for the intervals, at least 2; 0 for no intervals.

    Returns:
        `Scores`. Latents are discrete for the metrics where `model.config.quantize` is on.

    Raises:
        TypeError, ValueError: n or seed out of range; a data set whose images do not suit the model; a factor that
            takes only one value among these images.

    Intervals are over evaluation samples, for one trained model; how much seeds differ, `compare` tells. InfoM, InfoC,
    MIG, the modularity score and SAP have them from the bootstrap, for discrete latents; see `bootstrap`. InfoE: the
    minimum over the regression's weights changes with the samples, to first order, as if the weights stayed (the
    envelope theorem), so that nothing is fitted again. PSNR and SSIM: of a mean over images. DCI, FactorVAE and β-VAE
    have none: forests and classifiers would be fitted hundreds of times.

    The released evaluation uses the first 10 000 training images instead.
    """
    check_count("n", n, 1)
    check_count("seed", seed, 0)
    check_count("resamples", resamples, 2 if resamples else 0)
    held_out = ds.split()[1] if ds.part == "all" else ds
    n = min(n, len(held_out))
    factors, latents, images = _encode_and_compare(model, held_out, n, ssim=everything)
    fields: dict[str, Any] = {name: float(np.mean(values)) for name, values in images.items()}
    intervals = {name: mean_half_width(values) for name, values in images.items() if np.isfinite(values).all()}
    if held_out.factor_names:
        fields |= {"factor_names": tuple(held_out.factor_names)}
        scores, halves = _latent_scores(factors, latents, model.config.quantize, seed, everything, resamples)
        fields |= scores
        intervals = halves | intervals
    else:
        z, discrete = as_table("latents", latents), model.config.quantize
        fields["active"] = active_latents(on_grid(z, None) if discrete else z, discrete)
    empty = {field.name: None for field in dataclasses.fields(Scores)}
    if everything and resamples:
        fields["intervals"] = intervals
    return Scores(**(empty | fields | {"n": n, "seed": seed}))


def _latent_scores(
    factors: np.ndarray, latents: np.ndarray, discrete: bool, seed: int, everything: bool, resamples: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """What the latents tell of the factors, and the half widths of the intervals."""
    s, z = as_codes(factors, latents)
    numbers = level_numbers(z) if discrete else None
    grid = on_grid(z, None) if discrete else z
    active = active_latents(grid, discrete)
    told = information(s, z, discrete)
    losses, classes = sample_losses(s, z, discrete) if active.any() else None, s.max(axis=0) + 1

    def of_counts(rows: np.ndarray) -> list[float]:
        counts = Counts(s[rows], numbers[rows])
        found = counted_information(counts)
        pair = modularity_compactness(found.normalized, active_latents(grid[rows], True))
        return [*pair, np.mean(gap(found.normalized)), modularity_of_information(found.mutual), sap_of_counts(counts)]

    def infoe(rows: np.ndarray | slice) -> float:
        return 0.0 if losses is None else float(np.mean(explicitness_of_losses(s[rows], losses[rows], classes)))

    fields: dict[str, Any] = dict(zip(("infom", "infoc"), modularity_compactness(told.normalized, active), strict=True))
    fields |= {"infoe": infoe(slice(None)), "nmi": told.normalized, "active": active}
    if not everything:
        return fields, {}
    fields |= dict(zip(("disentanglement", "completeness", "informativeness"), dci_scores(s, z, seed)[:3], strict=True))
    fields |= {
        "mig": float(np.mean(gap(told.normalized))),
        "modularity_score": modularity_of_information(told.mutual),
        "sap": sap(s, z, discrete),
        "factor_vae": factor_vae_score(s, z, discrete, seed=seed),
        "beta_vae": beta_vae_score(s, z, seed=seed),
    }
    if not resamples:
        return fields, {}
    halves = {"infoe": bootstrap_deviation(infoe, len(s), resamples, seed)}
    if discrete:
        names = ("infom", "infoc", "mig", "modularity_score", "sap")
        halves |= dict(zip(names, bootstrap_deviation(of_counts, len(s), resamples, seed), strict=True))
    return fields, {name: normal_quantile() * float(half) for name, half in halves.items()}


@nnx.jit
def _encode_decode(
    model: nnx.Module, images: UInt8[Array, "b h w 3"]
) -> tuple[Float[Array, "b n_z"], Float[Array, "b h w 3"]]:
    z = model.encode(images).quantized
    return z, model.decode(z)


def _encode_and_compare(
    model: nnx.Module, ds: Dataset, n: int, *, ssim: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Factors (n, n_s), latents (n, n_z), and PSNR and SSIM of each image (n,), of the first n rows, batch by batch."""
    size = min(BATCH, n)
    compared = {"psnr": psnr_per_image}
    if ssim and min(ds.image_shape[:2]) >= WINDOW:
        compared["ssim"] = ssim_per_image
    factors, latents, scores = [], [], {name: [] for name in compared}
    for start in range(0, n, size):
        kept = min(size, n - start)
        rows = np.minimum(np.arange(start, start + size), n - 1)  # one shape, compiled once
        images, s = ds.take(rows)
        z, reconstructions = jax.device_get(_encode_decode(model, images))
        factors.append(np.asarray(s)[:kept])
        latents.append(z[:kept])
        images = np.asarray(images) / 255
        for name, compare_images in compared.items():
            scores[name].append(compare_images(images, reconstructions)[:kept])
    return (
        np.concatenate(factors),
        np.concatenate(latents),
        {name: np.concatenate(values) for name, values in scores.items()},
    )
