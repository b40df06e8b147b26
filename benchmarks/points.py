"""The points at which a training step is measured: which, and in what order, on a CPU and on an accelerator."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from tripod_lite.autoencoder import TripodConfig

LEGS: dict[str, dict[str, Any]] = {
    "all": {},
    "noquant": {"quantize": False},
    "noklm": {"lambda_klm": 0.0},
    "nonhp": {"lambda_nhp": 0.0},
    "none": {"quantize": False, "lambda_klm": 0.0, "lambda_nhp": 0.0},
}


@dataclass(frozen=True)
class Point:
    """One configuration of a step.

    Attributes:
        size: the preset for Shapes3D, "tiny", "lite" or "paper".
        batch: images a step and seed.
        legs: a key of `LEGS`: all of them, all but one, or none.
        precision: of the computation, "float32" or "bfloat16".
        seeds: runs that take the step together.
        design: of leg 3's probes, "independent" or "crossed", two of a kind; None: the preset's.
        image_size: in pixels, where it is not the preset's.
    """

    size: str
    batch: int
    legs: str = "all"
    precision: str = "float32"
    seeds: int = 1
    design: str | None = None
    image_size: int | None = None

    @property
    def name(self) -> str:
        """Unique, and readable: SIZE-bBATCH-LEGS-PRECISION-sSEEDS, and what is not the preset's."""
        rest = ("" if self.design is None else f"-{self.design}") + (f"-{self.image_size}px" if self.image_size else "")
        return f"{self.size}-b{self.batch}-{self.legs}-{self.precision}-s{self.seeds}{rest}"

    def config(self) -> TripodConfig:
        """The configuration that `fit` would be given."""
        changes: dict[str, Any] = {"batch_size": self.batch, "precision": self.precision} | LEGS[self.legs]
        if self.design is not None:
            changes |= {"nhp_design": self.design, "probes": 2}
        if self.image_size is not None:
            changes["image_size"] = self.image_size
        return TripodConfig.preset("shapes3d", size=self.size, **changes)

    def fields(self) -> dict[str, Any]:
        """For the record: what was measured."""
        config = self.config()
        return asdict(self) | {
            "image_size": config.image_size,
            "design": config.nhp_design,
            "probes": config.probes,
            "nhp_samples": config.nhp_samples,
        }


def cpu_points() -> list[Point]:
    """Few and small, the most telling first, for ten minutes."""
    tiny, lite, paper = Point("tiny", 32), Point("lite", 16), Point("paper", 16)
    points = [tiny, lite, paper]
    points += [replace(tiny, legs=legs) for legs in ("nonhp", "noklm", "noquant", "none")]
    points += [replace(point, legs=legs) for legs in ("nonhp", "none") for point in (lite, paper)]
    points += [replace(tiny, design="independent"), replace(lite, design="crossed")]
    points += [replace(point, precision="bfloat16") for point in (tiny, lite)]
    points += [replace(tiny, batch=batch) for batch in (512, 16, 128, 64, 256)]
    points += [replace(tiny, seeds=seeds) for seeds in (2, 8)]
    points += [replace(lite, batch=64), replace(lite, legs="noklm"), replace(lite, legs="noquant")]
    points += [replace(paper, precision="bfloat16"), replace(tiny, seeds=4)]
    return points


def accelerator_points() -> list[Point]:
    """All sizes, batches, legs and precisions, and up to eight seeds. Those that matter most come first."""
    both = ("bfloat16", "float32")
    paper, lite, tiny = (Point(size, 64, precision="bfloat16") for size in ("paper", "lite", "tiny"))
    points = [replace(point, precision=precision) for point in (paper, lite, tiny) for precision in both]
    points += [replace(paper, batch=512), replace(paper, batch=16), replace(tiny, seeds=8)]
    points += [replace(paper, legs=legs) for legs in LEGS if legs != "all"]
    points += [replace(paper, design="crossed"), replace(lite, design="crossed"), replace(tiny, design="independent")]
    points += [replace(point, seeds=seeds) for seeds in (8, 4, 2) for point in (lite, tiny, paper)]
    points += [replace(point, legs=legs) for point in (lite, tiny) for legs in LEGS if legs != "all"]
    points += [
        replace(point, batch=batch, precision=precision)
        for precision in both
        for batch in (16, 32, 128, 256, 512)
        for point in (paper, lite, tiny)
    ]
    points += [
        replace(point, legs=legs, precision="float32")
        for point in (paper, lite, tiny)
        for legs in LEGS
        if legs != "all"
    ]
    return list(dict.fromkeys(points))
