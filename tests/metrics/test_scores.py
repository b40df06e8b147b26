"""Scores of a model whose code is known, on a data set that is known."""

import json
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tripod_lite.datasets import from_images
from tripod_lite.legs import quantize
from tripod_lite.metrics import Scores, compare, dci, evaluate, infomec, scores

N = 700


@dataclass(frozen=True)
class Config:
    quantize: bool = True
    levels: int = 5


class Painter(nnx.Module):
    """Three latents, red, green and blue of flat images, on a grid of five levels; images come back grayer."""

    def __init__(self, config: Config):
        self.config = config

    def encode(self, images):
        code = quantize(jnp.arctanh(1.99 * images.mean(axis=(1, 2)) / 255 - 0.995), self.config.levels)
        return code if self.config.quantize else code._replace(quantized=code.continuous)

    def decode(self, z):
        return jnp.broadcast_to(0.8 * ((z + 1) / 2)[:, None, None, :] + 0.07, (len(z), 8, 8, 3))


def colored(n=N, factors=True):
    """Flat images of which red and green have one of five values, the factors; blue is red's value again."""
    s = np.random.default_rng(0).integers(0, 5, (n, 2))
    colors = np.rint(s[:, [0, 1, 0]] * 255 / 4).astype(np.uint8)
    images = np.broadcast_to(colors[:, None, None], (n, 8, 8, 3)).copy()
    return from_images(images, s, factor_names=("red", "green")) if factors else from_images(images)


def test_scores_are_those_of_the_held_out_rows_each_once():
    ds = colored()
    found = evaluate(Painter(Config()), ds, n=60)
    images, s = ds.split()[1].take(np.arange(60))
    z = 2 * np.asarray(s)[:, [0, 1, 0]] / 4 - 1
    expected = infomec(s, z)
    assert (found.infom, found.infoc, found.infoe) == pytest.approx(expected[:3], abs=1e-6)
    assert found.nmi == pytest.approx(expected.nmi)
    assert found.active.tolist() == [True, True, True]
    assert (found.disentanglement, found.completeness, found.informativeness) == pytest.approx(dci(s, z)[:3], abs=1e-6)
    error = np.mean((0.07 - 0.2 * np.asarray(images)[:, 0, 0] / 255) ** 2, axis=1)
    assert found.psnr == pytest.approx(np.mean(-10 * np.log10(error)), abs=0.05)  # 64/255 is not quite a quarter
    assert found.factor_names == ("red", "green")
    assert (found.n, found.seed) == (60, 0)


def test_a_part_is_used_as_it_is_and_no_more_than_there_is(monkeypatch):
    monkeypatch.setattr(scores, "BATCH", 32)  # the last batch is not full
    train, held_out = colored().split(held_out=70)
    found = evaluate(Painter(Config()), held_out, everything=False)
    assert found.n == 70
    assert found.nmi == pytest.approx(
        infomec(*(np.asarray(held_out.take(np.arange(70))[1])[:, c] for c in ([0, 1], [0, 1, 0]))).nmi
    )
    assert found.disentanglement is found.completeness is found.informativeness is None
    assert evaluate(Painter(Config()), train, n=50, everything=False).n == 50


def test_continuous_latents_are_scored_as_such():
    ds = colored(4000)
    found = evaluate(Painter(Config(quantize=False)), ds, everything=False)
    assert found.n == 400
    assert found.infom == pytest.approx(1, abs=0.05)
    assert found.infoe == pytest.approx(1, abs=0.1)


def test_without_factors_only_psnr_and_activity_are_known():
    found = evaluate(Painter(Config()), colored(factors=False), n=20)
    assert found.psnr > 20
    assert found.active.tolist() == evaluate(Painter(Config()), colored(), n=20, everything=False).active.tolist()
    assert found.active.any()
    assert all(getattr(found, name) is None for name in ("infom", "disentanglement", "nmi", "factor_names"))
    assert Scores.from_json(found.to_json()).to_json() == found.to_json()
    assert "InfoM" not in repr(found)


def test_json_keeps_everything_in_plain_numbers():
    found = evaluate(Painter(Config()), colored(), seed=3)
    text = found.to_json()
    fields = json.loads(text, parse_constant=pytest.fail)  # no NaN, no Infinity
    assert fields["infom"] == found.infom
    assert fields["nmi"] == found.nmi.tolist()
    assert fields["active"] == [True] * 3
    back = Scores.from_json(text)
    assert back.to_json() == text
    assert back.nmi.dtype == np.float64
    assert (back.psnr, back.seed, back.factor_names) == (found.psnr, 3, ("red", "green"))


def scored(infom, **others):
    return Scores(
        infom, 0.5, 0.75, None, None, None, 20.0, np.eye(2), np.array([True, False]), ("a", "b"), 100, 0, **others
    )


def test_table_for_people():
    assert repr(scored(0.25)).splitlines() == [
        "InfoM     0.250",
        "InfoC     0.500",
        "InfoE     0.750",
        "PSNR, dB  20.00",
        "active    1/2",
        "images    100",
    ]
    lines = repr(scored(0.25, ssim=0.5, intervals={"infom": 0.01, "psnr": 0.2})).splitlines()
    assert lines[0] == "InfoM     0.250 ± 0.010"
    assert lines[3:5] == ["PSNR, dB  20.00 ± 0.20", "SSIM      0.500"]


def test_table_of_methods_has_students_intervals():
    # Of 0.2, 0.3, 0.4: mean 0.3, standard deviation 0.1, t with two degrees of freedom 4.303: ± 0.248.
    table = compare({"ours": [scored(m) for m in (0.2, 0.3, 0.4)], "theirs": [scored(0.9, ssim=1.0)]})
    assert table.splitlines() == [
        "          ours           theirs",
        "InfoM     0.300 ± 0.248  0.900",
        "InfoC     0.500 ± 0.000  0.500",
        "InfoE     0.750 ± 0.000  0.750",
        "PSNR, dB  20.00 ± 0.00   20.00",
        "SSIM      -              1.000",
        "seeds     3              1",
    ]
    with pytest.raises(ValueError, match="at least one Scores each"):
        compare({"ours": []})


def test_bad_input():
    model, ds = Painter(Config()), colored()
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        evaluate(model, ds, n=0)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        evaluate(model, ds, seed=-1)
    with pytest.raises(ValueError, match="column 0 is constant"):
        evaluate(model, ds, n=1)
    with pytest.raises(ValueError, match=r"text must be a JSON object with the fields active, .*, got psnr"):
        Scores.from_json('{"psnr": 3}')
    with pytest.raises(ValueError, match="got list"):
        Scores.from_json("[]")
