"""Intervals against textbooks, and against the slow way to the same number."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tripod_lite.datasets import from_images
from tripod_lite.metrics import Interval, bootstrap, evaluate, infomec, mig, modularity_score, sap, student
from tripod_lite.metrics.intervals import bootstrap_deviation, mean_half_width

N = 400
RESAMPLES = 40


def channel(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two fair bits, and latents that have them flipped one time in eight."""
    rng = np.random.default_rng(seed)
    s = rng.integers(0, 2, (n, 2))
    return s, s ^ (rng.random(s.shape) < 1 / 8)


class Reader(nnx.Module):
    """Latents are the colors of flat images, rounded to five levels or as they are."""

    def __init__(self, quantize: bool):
        self.config = SimpleNamespace(quantize=quantize)

    def encode(self, images):
        z = images.mean(axis=(1, 2)) / 127.5 - 1
        return SimpleNamespace(quantized=jnp.round(2 * z) / 2 if self.config.quantize else z)

    def decode(self, z):
        return jnp.broadcast_to(((z + 1) / 2)[:, None, None], (len(z), 12, 12, 3)) * 0.9 + 0.05


def held_out_images():
    """Two factors of three and four values; colors follow them with noise."""
    rng = np.random.default_rng(0)
    s = np.stack([rng.integers(0, k, N + 10) for k in (3, 4)], axis=1)
    colors = s[:, [0, 1, 0]] * [100, 70, 60] + rng.normal(0, 40, (N + 10, 3))
    images = np.broadcast_to(np.clip(colors, 0, 255).astype(np.uint8)[:, None, None], (N + 10, 12, 12, 3))
    return from_images(images.copy(), s, factor_names=("red", "green")).split(held_out=N)[1]


def test_students_interval_by_the_table():
    # Of 1, …, 10: mean 5.5, variance 55/6, t with 9 degrees of freedom 2.262 (95 %) and 3.250 (99 %).
    runs = np.arange(1, 11)
    error = np.sqrt(55 / 6 / 10)
    assert student(runs) == pytest.approx((5.5, 2.262 * error), abs=1e-3)
    assert student(runs, level=0.99) == pytest.approx((5.5, 3.250 * error), abs=1e-3)
    # Of two runs: half their distance times 12.706.
    assert student([0.2, 0.4]) == pytest.approx((0.3, 1.2706), abs=1e-4)
    assert student([0.7, 0.7, 0.7]) == pytest.approx((0.7, 0), abs=1e-12)


def test_students_interval_holds_the_mean_as_often_as_it_says():
    runs = np.random.default_rng(0).normal(3, 2, (1000, 4))
    found = [student(row, level=0.8) for row in runs]
    assert np.mean([i.low < 3 < i.high for i in found]) == pytest.approx(0.8, abs=0.05)  # four standard deviations


def test_interval_has_ends_and_prints():
    interval = Interval(0.5, 0.125)
    assert (interval.low, interval.high) == (0.375, 0.625)
    assert str(interval) == f"{interval}" == "0.500 ± 0.125"
    both = Interval(np.array([0.5, 1.0]), np.array([0.25, 0.5]))
    assert both.low.tolist() == [0.25, 0.5]
    assert both.high.tolist() == [0.75, 1.5]
    assert str(both).startswith("Interval(estimate=array([0.5, 1. ])")


def test_bootstrap_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(1)
    s, z = rng.integers(0, 2, (N, 1)), rng.exponential(3, (N, 2))
    found = bootstrap(lambda s, z: z[:, 0].mean(), s, z, resamples=400)
    assert found.estimate == pytest.approx(z[:, 0].mean(), abs=1e-12)
    assert isinstance(found.half_width, float)
    assert found.half_width == pytest.approx(1.96 * z[:, 0].std() / np.sqrt(N), rel=0.15)
    both = bootstrap(lambda s, z: z.mean(axis=0), s, z, resamples=400)
    assert both.half_width == pytest.approx(1.96 * z.std(axis=0) / np.sqrt(N), rel=0.15)
    assert both.half_width[0] == pytest.approx(found.half_width, abs=1e-12)


def test_rows_stay_together():
    s, z = channel(100)
    bootstrap(lambda s, z: float(np.testing.assert_array_equal(s, z) or 0), s, s, resamples=5)
    assert bootstrap(lambda s, z: np.mean(s == z), s, z, resamples=20).half_width > 0.01


def test_level_is_a_quantile():
    # Of the normal law: half the cases within 0.6745 deviations, 99 % within 2.5758.
    s, z = channel(100)
    wide, narrow = (bootstrap(mig, s, z, resamples=10, level=level).half_width for level in (0.99, 0.5))
    assert wide / narrow == pytest.approx(2.5758 / 0.6745, rel=1e-3)


def test_the_truth_is_in_the_interval():
    # Two channels of log 2 - H(1/8): each source's share is 1 - H(1/8) bits, the other latent tells 0. SAP: 7/8 - 1/2.
    s, z = channel(4000)
    share = 1 + 1 / 8 * np.log2(1 / 8) + 7 / 8 * np.log2(7 / 8)
    for metric, truth in ((mig, share), (sap, 3 / 8), (modularity_score, 1)):
        found = bootstrap(metric, s, z, resamples=60)
        assert found.low < truth < found.high
        assert found.half_width < 0.04
        assert found.estimate == metric(s, z)


def test_four_times_the_samples_halve_the_interval():
    few, many = (bootstrap(mig, *channel(n), resamples=150).half_width for n in (500, 2000))
    assert few / many == pytest.approx(2, rel=0.3)


def test_the_seed_decides():
    s, z = channel(100)
    a, b, c = (bootstrap(mig, s, z, resamples=10, seed=seed) for seed in (1, 1, 2))
    assert a == b
    assert a.half_width != c.half_width
    assert a.estimate == c.estimate


def test_half_width_of_a_mean():
    # Of 0, 1, …, 8: variance 7.5, over 9 values.
    assert mean_half_width(np.arange(9.0)) == pytest.approx(1.95996 * np.sqrt(7.5 / 9), abs=1e-4)
    assert mean_half_width(np.ones(1)) == 0
    assert bootstrap_deviation(lambda rows: [1.0, rows[0]], 1, 2, 0).tolist() == [0, 0]


ONE, S = np.array([[0]]), np.array([[0], [1], [1]])


@pytest.mark.parametrize(
    ("match", "call"),
    [
        (r"level must be between 0 and 1, got 1\.0", lambda: student([1.0, 2.0], level=1.0)),
        (r"level must be between 0 and 1, got 0\.0", lambda: bootstrap(mig, S, S, level=0.0)),
        (r"level must be between 0 and 1, got 95\.0", lambda: bootstrap(mig, S, S, level=95.0)),
        ("level must be between 0 and 1, got nan", lambda: student([1.0, 2.0], level=float("nan"))),
        (r"at least two runs, got \(1,\)", lambda: student([1.0])),
        (r"at least two runs, got \(2, 2\)", lambda: student([[1.0, 2.0], [3.0, 4.0]])),
        ("values must be finite", lambda: student([1.0, np.nan])),
        ("resamples must be at least 2, got 1", lambda: bootstrap(mig, S, S, resamples=1)),
        ("seed must be at least 0, got -1", lambda: bootstrap(mig, S, S, seed=-1)),
        ("column 0 is constant", lambda: bootstrap(mig, ONE, ONE)),
        ("latents must be finite, got NaN or infinity in column 0", lambda: bootstrap(mig, S, S * np.nan)),
        ("3 and 2 rows", lambda: bootstrap(mig, S, S[1:])),
        ("column 0 is constant", lambda: bootstrap(mig, S, S)),  # in some resample
    ],
)
def test_bad_input(match, call):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.fixture(scope="module")
def evaluated():
    return evaluate(Reader(quantize=True), held_out_images(), n=N, resamples=RESAMPLES)


def test_discrete_latents_have_all_intervals_but_those_of_fitted_scores(evaluated):
    counted = {"infom", "infoc", "mig", "modularity_score", "sap"}
    assert evaluated.intervals.keys() == counted | {"infoe", "psnr", "ssim"}
    assert all(0 < half < getattr(evaluated, name) for name, half in evaluated.intervals.items())
    assert evaluated.ssim is not None


def test_intervals_of_counts_are_the_bootstraps(evaluated):
    images, s = held_out_images().take(np.arange(N))
    s, z = np.asarray(s), np.round(np.asarray(images)[:, 0, 0] / 63.75 - 2) / 2
    for name, metric in (("mig", mig), ("sap", sap), ("modularity_score", modularity_score)):
        expected = bootstrap(metric, s, z, resamples=RESAMPLES)
        assert getattr(evaluated, name) == pytest.approx(expected.estimate, abs=1e-9)
        assert evaluated.intervals[name] == pytest.approx(expected.half_width, rel=1e-3)


def test_infoe_need_not_be_fitted_again(evaluated):
    """The envelope theorem against regressions that are fitted to every resample."""
    images, s = held_out_images().take(np.arange(N))
    s, z = np.asarray(s), np.round(np.asarray(images)[:, 0, 0] / 63.75 - 2) / 2
    fitted = bootstrap(lambda s, z: infomec(s, z)[:3], s, z, resamples=RESAMPLES)
    names = ("infom", "infoc", "infoe")
    assert [getattr(evaluated, name) for name in names] == pytest.approx(fitted.estimate, abs=1e-5)
    assert evaluated.intervals["infoe"] == pytest.approx(fitted.half_width[2], rel=0.25)
    assert [evaluated.intervals[name] for name in names[:2]] == pytest.approx(fitted.half_width[:2], rel=1e-3)


def test_continuous_latents_have_no_intervals_of_counts():
    found = evaluate(Reader(quantize=False), held_out_images(), n=N, resamples=2)
    assert found.intervals.keys() == {"infoe", "psnr", "ssim"}
    assert 0 < found.intervals["infoe"] < found.infoe < 1


def test_intervals_can_be_left_out():
    found = evaluate(Reader(quantize=True), held_out_images(), n=N, everything=False)
    assert found.intervals is found.mig is found.ssim is None
