"""The trainings of "Beyond the paper": what is trained, what is chosen, and what is kept of it."""

import json

import jax
import numpy as np
import pytest

import tripod_lite as tl
from benchmarks import beyond

SCORES = {"infom": 0.5, "infoc": 0.5, "infoe": 0.5, "psnr": 20.0, "seconds": 1.0}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(beyond, "BUILD", tmp_path)
    monkeypatch.setattr(beyond, "RESULT", tmp_path / "result.json")
    return tmp_path


def leave(run: beyond.Run, *, codes: np.ndarray | None = None, **scores: object) -> None:
    """What a finished run leaves."""
    fields = {"twin": run.twin, "arm": run.arm, "seed": run.seed, "tied": run.tied, "changes": dict(run.changes)}
    place = {"environment": {"date": str(run.seed), "commit": "abc"}, "active": [True] * 4, "nmi": [[1.0]]}
    (beyond.BUILD / f"{run.name}.json").write_text(json.dumps(fields | SCORES | place | scores))
    drawn = np.random.default_rng(run.seed).integers(0, 12, (500, 4))
    np.save(beyond.BUILD / f"{run.name}.npy", drawn if codes is None else codes)


def choose(**best: float) -> None:
    """Let runs choose these λ, the first estimator being the best."""
    for run in beyond.choosing_runs():
        changes = dict(run.changes)
        place = list(best).index(changes["estimator"])
        leave(run, infom=0.9 - 0.1 * place if best[changes["estimator"]] == changes["lambda_klm"] else 0.5)


def test_the_weight_with_the_best_scores_is_chosen(folder):
    best = {"pairwise": 1.6e-3, "released": 4e-4, "leave_one_out": 1e-4}
    choose(**best)
    assert list(beyond.chosen().items()) == list(best.items())
    configs = {run.arm: run.config() for run in beyond.comparing_runs(best)}
    for estimator, weight in best.items():
        config = configs[f"klm-{estimator}"]
        assert (config.estimator, config.lambda_klm) == (estimator, weight)
    base = configs["klm-pairwise"]
    assert configs["tied-base"] == base
    assert configs["levels-4"] == base.replace(levels=4) and configs["nonhp"] == base.replace(lambda_nhp=0.0)


def test_no_run_is_trained_twice():
    runs = beyond.comparing_runs({"leave_one_out": 4e-4, "released": 1e-4, "pairwise": 4e-4})
    assert len({run.name for run in runs}) == len(runs)
    assert len({(run.twin, run.tied, run.seed, run.config()) for run in runs}) == len(runs)


def test_seeds_that_choose_are_not_compared():
    assert beyond.CHOOSING_SEED not in beyond.SEEDS
    assert {run.seed for run in beyond.choosing_runs()} == {beyond.CHOOSING_SEED}


def test_codes_that_differ_by_order_agree_and_others_do_not():
    a, b = np.random.default_rng(0).integers(0, 12, (2, 5000, 4))
    on = np.ones(4, bool)
    assert beyond.agreement(a, on, a[:, ::-1], on) > 0.95
    assert beyond.agreement(a, on, b, on) < 0.1
    assert beyond.agreement(a, on, b, ~on) == 0
    half = np.array([True, True, False, False])
    assert beyond.agreement(a, half, a, half) > 0.95


def test_drawn_images_are_those_of_the_twin():
    twin = tl.load_dataset("dsprites", image_size=8)
    rows = np.arange(0, len(twin), 50_000)
    small = np.zeros((len(twin), 8, 8, 3), np.uint8)
    small[rows] = twin.take(rows)[0]
    drawn = beyond.Drawn(twin, small)
    for one, other in zip(drawn.take(rows), twin.take(rows), strict=True):
        np.testing.assert_array_equal(one, other)
    assert drawn.identity() == twin.identity()
    key = jax.random.key(0)
    tied = [ds.correlated("shape", "scale", 0.9).rows(key, 64) for ds in (drawn, twin)]
    np.testing.assert_array_equal(*tied)


def test_a_run_is_trained_scored_and_collected(folder, monkeypatch):
    for name, value in {"STEPS": 2, "HELD_OUT": 400, "TWINS": {"shapes3d": ("object_hue", "wall_hue")}}.items():
        monkeypatch.setattr(beyond, name, value)
    monkeypatch.setattr(beyond, "drawn", lambda name: tl.load_dataset(name, image_size=32))
    choose(released=1e-4, leave_one_out=1e-4, pairwise=1e-4)
    runs = beyond.comparing_runs(beyond.chosen())
    trained = next(run for run in runs if run.arm == "tied-noklm")
    assert beyond.train(trained) == trained.name
    assert trained not in beyond.missing(runs)
    alone = [run for run in runs if run.arm == trained.arm and run != trained]
    active = json.loads((folder / f"{trained.name}.json").read_text())["active"]
    for run in beyond.missing(runs):
        same = {"codes": np.load(folder / f"{trained.name}.npy"), "active": active} if run in alone else {}
        leave(run, **same)
    beyond.collect()
    record = json.loads((folder / "result.json").read_text())
    assert record["runs"].keys() == {run.name for run in runs + beyond.choosing_runs()}
    kept = record["runs"][trained.name]
    assert kept["tied"] and kept["changes"] == {"estimator": "released", "lambda_klm": 0.0}
    assert np.array(kept["nmi"]).shape == (6, 12)
    assert len(record["environments"]) == 2  # that of the run, and that of the others, whatever their dates
    assert all(place["date"] for place in record["environments"])
    assert len(kept["agreement"]) == len(beyond.SEEDS) - 1
