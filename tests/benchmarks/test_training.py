"""The grids ask for what they should, and a point's record has what was measured. No time decides a test."""

import json

import jax
import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import training
from benchmarks.points import LEGS, Point, accelerator_points, cpu_points
from benchmarks.records import Record

POINT = Point("tiny", 2, legs="nonhp", image_size=16)
PRODUCTS = {"float32": 1e9, "bfloat16": 2e9}
FIELDS = {"size", "batch", "legs", "precision", "seeds", "image_size", "design", "probes", "nhp_samples"} | {
    *("seconds", "blocks", "other_cores", "images_per_second", "compile_seconds", "memory_bytes"),
    *("flops", "flops_compiled", "flops_per_second", "share_float32", "share_precision"),
}


@pytest.fixture(scope="module")
def figures():
    return training.measure(POINT, PRODUCTS, seconds=0)


def test_a_point_has_its_fields_and_json_takes_them(figures):
    assert figures.keys() == FIELDS
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert figures["image_size"] == 16 and figures["batch"] == 2


def test_the_figures_of_a_point_agree_with_each_other(figures):
    assert figures["blocks"] == 3
    assert figures["images_per_second"] == pytest.approx(2 / figures["seconds"], rel=1e-3)
    assert figures["flops_per_second"] == pytest.approx(figures["flops"] / figures["seconds"], rel=1e-3)
    assert figures["share_float32"] == pytest.approx(figures["flops_per_second"] / 1e9, rel=1e-3)
    assert figures["share_precision"] == figures["share_float32"]
    state, *_ = training.make_step(POINT.config())
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert figures["memory_bytes"] > 4 * numbers  # parameters and moments, and what the step needs besides


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_program_is_the_one_that_trains(seeds):
    state, program, inputs, steps = training.make_step(POINT.config(), seeds)
    before = jax.device_get(state["params"])
    for _ in range(2):
        state = program(state, *inputs)
    assert state["sums"].keys() == {"loss", "bce", "klm"}
    losses = np.asarray(state["sums"]["loss"])
    assert losses.shape == ((seeds,) if seeds > 1 else ())
    assert np.isfinite(losses).all() and len(np.unique(losses)) == seeds
    assert any(
        (a != np.asarray(b)).any() for a, b in zip(*map(jax.tree.leaves, (before, state["params"])), strict=True)
    )
    assert inputs[0].shape == (steps, *losses.shape, 2, 16, 16, 3)


@pytest.mark.parametrize("points", [cpu_points(), accelerator_points()], ids=["cpu", "accelerator"])
def test_a_grid_asks_for_every_size_leg_and_precision_and_for_nothing_twice(points):
    assert len({point.name for point in points}) == len(points) == len(set(points))
    assert {point.size for point in points[:3]} <= {"tiny", "lite", "paper"} == {point.size for point in points}
    assert {point.legs for point in points} == LEGS.keys()
    assert {point.precision for point in points} == {"float32", "bfloat16"}
    assert {1, 2, 4, 8} == {point.seeds for point in points}
    assert {16, 32, 64, 128, 256, 512} == {point.batch for point in points}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_one_asked_for(precision):
    assert Point("tiny", 16, precision=precision).config().precision == precision


@pytest.mark.parametrize(("legs", "on"), {"all": (1, 1, 1), "nonhp": (1, 1, 0), "none": (0, 0, 0)}.items())
def test_legs_are_switched_in_the_configuration(legs, on):
    config = Point("lite", 16, legs=legs).config()
    assert (config.quantize, config.lambda_klm > 0, config.lambda_nhp > 0) == on


@pytest.fixture
def measured(monkeypatch):
    """Replace the measurements; list the points in the order in which they were measured."""
    order = []

    def measure(point, products):
        order.append(point.name)
        if point.batch == 512:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nat length")
        numbers = dict.fromkeys(FIELDS, 1.0) | {"memory_bytes": None}
        return numbers | point.fields()

    monkeypatch.setattr(training, "measure", measure)
    monkeypatch.setattr(training, "product_rate", lambda dtype: 1e9)
    return order


def test_a_second_run_measures_only_what_is_missing(measured, tmp_path):
    path, points = tmp_path / "training.json", cpu_points()
    assert training.run(Record(path), points[:2], minutes=1) == (2, 0)
    assert training.run(Record(path), points[:5], minutes=1) == (3, 0)
    assert training.run(Record(path), points[:5], minutes=1) == (0, 0)
    assert measured == [point.name for point in points[:5]]
    assert not path.exists()
    written = json.loads((tmp_path / "training.json.unfinished").read_text())
    assert [written["points"][name]["run"] for name in measured] == [0, 0, 1, 1, 1]
    assert len(written["runs"]) == 2


def test_no_point_is_begun_after_the_time_is_spent(measured, tmp_path):
    assert training.run(Record(tmp_path / "training.json"), cpu_points(), minutes=-1) == (0, len(cpu_points()))
    assert measured == []


def test_a_point_that_does_not_fit_is_noted_and_the_others_go_on(measured, tmp_path, capsys):
    path = tmp_path / "training.json"
    command.main(["--out", str(path), "--only", "tiny"])
    written = json.loads(path.read_text())["points"]
    failed = {name: point["failed"] for name, point in written.items() if "failed" in point}
    assert failed == {"tiny-b512-all-float32-s1": "RESOURCE_EXHAUSTED: out of memory"}
    assert written.keys() == {point.name for point in cpu_points() if point.size == "tiny"}
    printed = capsys.readouterr().out
    assert "ms/step" in printed and "0 left" in printed


def test_an_unknown_benchmark_is_refused_with_the_list(capsys):
    assert command.main(["nothing"]) == 2
    assert f"{', '.join(command.NAMES)}, got 'nothing'" in capsys.readouterr().err
