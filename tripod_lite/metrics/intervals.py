"""How sure a score is: bootstrap intervals over evaluation samples, Student intervals over seeds."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from tripod_lite.checks import check_count
from tripod_lite.metrics.tables import as_codes

RESAMPLES = 200
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate and the half width of its interval; what that covers, `bootstrap` and `student` say.

    Attributes:
        estimate: a number, or an array of them.
        half_width: likewise; the interval is estimate ± half_width.
    """

    estimate: Any
    half_width: Any

    @property
    def low(self) -> Any:
        """The lower end."""
        return self.estimate - self.half_width

    @property
    def high(self) -> Any:
        """The upper end."""
        return self.estimate + self.half_width

    def __str__(self) -> str:
        if np.ndim(self.estimate):
            return repr(self)
        return f"{self.estimate:.3f} ± {self.half_width:.3f}"


def bootstrap(
    metric: Callable[[np.ndarray, np.ndarray], float | Sequence[float]],
    factors: npt.ArrayLike,
    latents: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """How sure a metric is of a model, given how few samples it was computed from.

    The rows are drawn again with replacement, as many as there are, and the metric is computed of each such table. The
    half width is the standard deviation of these values times the normal quantile. The interval is about the
    metric's mean at this number of samples: it does not know the metric's bias, which plug-in information has where
    samples are few.

    Args:
        metric: a function of factors and latents, as `mig`, or a `lambda`; a number, or several.
        factors: as the metric takes them, one row a sample.
        latents: likewise.
        resamples: how many times, at least 2.
        level: the share of cases in which the interval should hold the metric's mean at this number of samples, between
            0 and 1. For plug-in information it is wider than that needs.
        seed: of the draws.

    Returns:
        `Interval(estimate, half_width)`, the estimate from the rows as they are.

    Raises:
        TypeError, ValueError: arguments out of range; whatever the metric raises, as a factor that takes only one value
            in a resample.

    Latents given as indices need their number of levels in the metric, since a resample may lack the last one. Nearest
    neighbors do not bear it: a row that is drawn twice is its own neighbor. Use it with discrete latents.

    Source: Efron, *Bootstrap methods: another look at the jackknife* (Annals of Statistics, 1979).
    """
    s, z = np.asarray(factors), np.asarray(latents)
    as_codes(s, z)
    quantile = normal_quantile(level)

    def of_rows(rows: Int[np.ndarray, " n"]) -> np.ndarray:
        return np.asarray(metric(s[rows], z[rows]), float)

    estimate = of_rows(np.arange(len(s)))
    half_width = quantile * bootstrap_deviation(of_rows, len(s), resamples, seed)
    return Interval(*(x.item() if x.ndim == 0 else x for x in (estimate, half_width)))


def bootstrap_deviation(
    statistic: Callable[[Int[np.ndarray, " n"]], npt.ArrayLike], n: int, resamples: int, seed: int
) -> Float[np.ndarray, "..."]:
    """The standard deviation over resamples of a statistic of the rows' numbers, drawn from 0 … n - 1."""
    check_count("resamples", resamples, 2)
    check_count("seed", seed, 0)
    rng = np.random.default_rng(seed)
    values = [np.asarray(statistic(np.sort(rng.integers(n, size=n))), float) for _ in range(resamples)]
    return np.asarray(np.std(values, axis=0, ddof=1))


def student(values: npt.ArrayLike, *, level: float = LEVEL) -> Interval:
    """Mean and confidence interval of independent runs, as scores of several seeds.

    Args:
        values: one a run, shape (runs,), at least two.
        level: the share of cases in which the interval should hold the mean over all seeds, between 0 and 1.

    Returns:
        `Interval(estimate, half_width)`, in the units of the values. The half width is Student's quantile with
        runs - 1 degrees of freedom times the standard error; right for values with a normal law.

    Raises:
        ValueError: fewer than two values, another shape, NaN or infinity; level out of range.

    Source: Student, *The probable error of a mean* (Biometrika, 1908).
    """
    from scipy import stats

    runs = np.asarray(values, float)
    if runs.ndim != 1 or len(runs) < 2:
        raise ValueError(f"values must have shape (runs,) with at least two runs, got {runs.shape}")
    if not np.isfinite(runs).all():
        raise ValueError(f"values must be finite, got {runs.tolist()}")
    quantile = stats.t.ppf((1 + _checked_level(level)) / 2, len(runs) - 1)
    return Interval(float(runs.mean()), float(quantile * runs.std(ddof=1) / np.sqrt(len(runs))))


def mean_half_width(values: Float[np.ndarray, " n"], *, level: float = LEVEL) -> float:
    """Half width of the interval of a mean over many samples, by the normal law; 0 for a single one."""
    return float(normal_quantile(level) * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def normal_quantile(level: float = LEVEL) -> float:
    """How many standard deviations of a normal law hold this share of cases: 1.96 for 0.95."""
    from scipy import stats

    return float(stats.norm.ppf((1 + _checked_level(level)) / 2))


def _checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    return level
