"""Saved models and checkpoints come back as they were, or it is said what is wrong and the newest good one is used."""

import json
import re
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import damage, full_disk, largest
from flax import nnx

import tripod_lite as tl
from tripod_lite import checkpoints
from tripod_lite.checkpoints import Checkpoints

# Tensorstore's threads may still want the event loop of an Orbax that has given up.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CONFIG = tl.TripodConfig(n_z=2, image_size=16, size="tiny", levels=(3, 4), batch_size=4)
DATA = {"rows": 5}


def state(step):
    key = jax.random.key(step)
    return {
        "kernel": jax.random.normal(key, (40, 50)),
        "half": jax.random.normal(key, (7,), jnp.bfloat16),
        "count": jnp.int32(step),
    }


def same(a, b):
    return all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def store(folder, **changes):
    return Checkpoints(folder, CONFIG, **{"data": DATA, "seed": 0, "steps": 99} | changes)


def written(folder, *steps, **changes):
    """A folder with checkpoints of these steps."""
    kept = store(folder, **changes)
    for step in steps:
        kept.save(step, state(step), [{"step": [step], "loss": [0.1]}], 1.25)
    kept.close()
    return folder


def newest(folder):
    """The step of the checkpoint that is restored, after checking that it is what was saved."""
    kept = store(folder)
    step, found, histories, seconds = kept.restore(state(0))
    kept.close()
    assert same(found, state(step)) and isinstance(found["kernel"], jax.Array)
    assert (histories, seconds) == ([{"step": [step], "loss": [0.1]}], 1.25)
    return step


def listing(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Checkpoints.


def test_what_is_saved_comes_back_though_its_buffers_are_donated_at_once(tmp_path):
    kept = store(tmp_path)
    live = state(10)
    destroy = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0)
    kept.save(10, live, [{"step": [10], "loss": [0.1]}], 1.25)
    jax.block_until_ready(destroy(live))
    assert live["kernel"].is_deleted()
    kept.close()
    assert newest(tmp_path) == 10


def test_histories_come_back_in_order_and_with_what_is_no_number(tmp_path):
    kept = store(tmp_path, seed=[0, 1])
    histories = [{"step": [1, 2], "loss": [np.float64(0.1), float("nan")], "bce": [jnp.float32(0.5), 2]}, {}]
    kept.save(2, state(2), histories, 0.0)
    kept.close()
    _, _, found, _ = store(tmp_path, seed=[0, 1]).restore(state(0))
    assert list(found[0]) == ["step", "loss", "bce"] and all(type(step) is int for step in found[0]["step"])
    np.testing.assert_equal(found, [{"step": [1, 2], "loss": [0.1, float("nan")], "bce": [0.5, 2.0]}, {}])
    with pytest.raises(ValueError, match=r"seed: \[0, 1\] there, 0 asked for"):
        store(tmp_path)


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    kept = store(tmp_path, keep=2)
    for step, score in ((1, 0.2), (2, 0.7), (3, None), (4, 0.5), (5, float("nan")), (6, 0.1)):
        kept.save(step, state(step), [], 0.0, score=score)
    kept.close()
    assert kept.steps() == [2, 5, 6] and kept.best() == 2
    kept = store(tmp_path, keep=2)
    assert kept.best() == 2  # known after a resume too
    assert same(kept.restore(state(0), step=2)[1], state(2))
    kept.save(7, state(7), [], 0.0, score=0.7)  # as good: the newer one
    kept.close()
    assert kept.steps() == [6, 7] and kept.best() == 7
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        store(tmp_path, keep=0)


@pytest.mark.parametrize("how", ["flipped", "truncated", "empty", "deleted"])
def test_no_damage_to_any_file_of_the_newest_goes_unnoticed(tmp_path, how):
    whole = written(tmp_path / "whole", 5, 10)
    noticed = []
    files = sorted(path.relative_to(whole) for path in (whole / "10").rglob("*") if path.is_file())
    for file in files:
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        damage(folder / file, how)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            step = newest(folder)  # checks the values
        if step == 5:  # else a file that Orbax does not need
            noticed.append(str(file))
            (warning,) = said
            assert re.search(r"cannot be used \(step 10: .+\); going on from step 5", str(warning.message))
            assert warning.filename == __file__
            assert (folder / "10.bad").is_dir() and not (folder / "10").exists()
            assert newest(written(folder, 10)) == 10  # saving it again works
        else:
            assert step == 10 and not said
        shutil.rmtree(folder)
    assert "10/notes.json" in noticed and sum("/d/" in file for file in noticed) >= 2


def test_a_flipped_bit_in_the_values_is_noticed_though_orbax_does_not(tmp_path):
    folder = written(tmp_path, 5, 10)
    damage(largest(folder / "10"), "flipped")
    with pytest.warns(UserWarning, match="step 10: ValueError: this is not what was written"):
        assert newest(folder) == 5


def test_a_newest_checkpoint_that_was_deleted_is_missed(tmp_path):
    folder = written(tmp_path, 5, 10)
    shutil.rmtree(folder / "10")
    with pytest.warns(UserWarning, match=r"\(step 10: missing\); going on from step 5"):
        assert newest(folder) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(folder) == 5  # said once
    shutil.rmtree(folder / "5")
    with pytest.warns(UserWarning, match=r"\(step 5: missing\); going on from step 0"):
        assert store(folder).restore(state(0)) is None


def test_where_all_are_damaged_it_is_refused_and_nothing_touched(tmp_path):
    folder = written(tmp_path, 5, 10)
    for step in ("5", "10"):
        shutil.rmtree(folder / step / "state")
    before = listing(folder)
    with pytest.raises(ValueError, match=r"can be read \(step 10: .*; step 5: .*\); remove the folder to start anew"):
        store(folder).restore(state(0))
    assert listing(folder) == before
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read \(step 7: FileNotFoundError"):
        store(folder).restore(state(0), step=7)


def test_another_shape_or_type_is_refused(tmp_path):
    folder = written(tmp_path, 5)
    for change in ({"kernel": jnp.zeros((40, 51))}, {"kernel": jnp.zeros((40, 50), jnp.int32)}, {"more": jnp.zeros(1)}):
        with pytest.raises(ValueError, match=r"no checkpoint in .* can be read"):
            store(folder).restore(state(0) | change)


def test_a_full_disk_neither_stops_nor_damages(tmp_path):
    folder = written(tmp_path, 5, 10)
    kept = store(folder)
    with full_disk(3000):
        kept.save(15, state(15), [], 0.0)
        with pytest.warns(
            UserWarning, match=rf"step 15 could not be written to {folder} \(.*File too large\); .* step 10"
        ):
            kept.save(20, state(20), [], 0.0)
        with pytest.warns(UserWarning, match="step 20 could not be written"):
            assert kept.newest() == 10
    assert {path.name for path in folder.iterdir()} == {"5", "10", "run.json", "newest"}
    assert newest(folder) == 10
    with full_disk(3000):
        kept.save(25, state(25), [], 0.0)
        with pytest.warns(UserWarning, match="step 25 could not be written"):
            kept.close()  # does not raise: the run in memory is worth more
    assert newest(written(folder, 30)) == 30 and store(folder).steps() == [10, 30]


def test_orbax_is_silent_where_a_warning_says_it(tmp_path, caplog):
    kept = store(tmp_path)
    with full_disk(3000), pytest.warns(UserWarning, match="there is none yet"):
        kept.save(15, state(15), [], 0.0)
        kept.close()
    assert not caplog.records


def test_a_state_that_is_not_finite_is_no_checkpoint(tmp_path):
    kept = store(tmp_path)
    assert kept.newest() is None
    kept.save(5, state(5), [], 0.0)
    kept.save(10, state(10) | {"half": jnp.array([1, np.inf], jnp.bfloat16)}, [], 0.0)
    with pytest.warns(UserWarning, match="step 10 could not be written.*NaN or infinite.* is of step 5"):
        assert kept.newest() == 5
    kept.close()


def test_a_folder_that_is_removed_during_a_run_is_made_again(tmp_path):
    kept = store(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    kept.save(5, state(5), [{"step": [5], "loss": [0.1]}], 1.25)
    kept.close()
    assert newest(tmp_path / "run") == 5


@pytest.mark.parametrize("left", [(), ("run.json.tmp",), ("run.json", "saving"), ("run.json", "run.json.tmp")])
def test_what_a_kill_before_the_first_checkpoint_leaves_is_a_beginning(tmp_path, left):
    folder = written(tmp_path, *())
    content = (folder / "run.json").read_text()
    (folder / "run.json").unlink()
    for name in left:
        if name == "saving":
            (folder / name / "5.orbax-checkpoint-tmp").mkdir(parents=True)
        else:
            (folder / name).write_text(content if name == "run.json" else content[:20])
    assert store(folder).restore(state(0)) is None
    assert newest(written(folder, 5)) == 5
    assert not (folder / "saving").exists()


def test_an_unreadable_identity_is_refused(tmp_path):
    folder = written(tmp_path, 5)
    for content in ("", "[]", '{"config": {', "{}"):
        (folder / "run.json").write_text(content)
        with pytest.raises(ValueError, match=r"run\.json cannot be read .* remove the folder to start anew"):
            store(folder)
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"must be empty or hold a run of fit with its run\.json"):
        store(folder)


def test_a_field_that_did_not_exist_yet_has_its_default(tmp_path):
    folder = written(tmp_path, 5)
    note = json.loads((folder / "run.json").read_text())
    del note["config"]["penalty_schedule"]
    (folder / "run.json").write_text(json.dumps(note))
    assert newest(folder) == 5
    with pytest.raises(ValueError, match="penalty_schedule: 'constant' there, 'cosine' asked for"):
        Checkpoints(folder, CONFIG.replace(penalty_schedule="cosine"), data=DATA, seed=0, steps=99)


# Models.


@pytest.fixture(scope="module")
def models():
    return [tl.Tripod(CONFIG, rngs=nnx.Rngs(seed)) for seed in (0, 1)]


def parameters(model):
    return nnx.state(model, nnx.Param)


def test_save_and_load(tmp_path, models):
    for model in models:  # the second replaces the first
        tl.save(model, tmp_path / "model")
        loaded = tl.load(tmp_path / "model")
        assert loaded.config == CONFIG and same(parameters(loaded), parameters(model))
    images = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    np.testing.assert_array_equal(loaded.reconstruct(images), models[1].reconstruct(images))
    assert len(list((tmp_path / "model").iterdir())) == 2


def test_a_model_goes_into_an_empty_folder_but_not_over_a_config(tmp_path, models):
    (tmp_path / "empty").mkdir()
    tl.save(models[0], tmp_path / "empty")
    assert tl.load(tmp_path / "empty").config == CONFIG
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        tl.save(models[0], tmp_path / "other")


def test_only_models_are_replaced_or_loaded(tmp_path, models):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        tl.save(models[0], tmp_path)
    with pytest.raises(ValueError, match="path must be new, empty or a saved model"):
        tl.save(models[0], tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        tl.load(tmp_path)
    with pytest.raises(TypeError, match="model must be a Tripod, got str"):
        tl.save("model", tmp_path / "model")


@pytest.mark.parametrize("moment", ["write_arrays", "write_text", "_remove_parameters"])
def test_a_kill_while_a_model_is_replaced_leaves_the_old_or_the_new(tmp_path, models, monkeypatch, moment):
    def kill(*_, **__):
        raise SystemExit

    old, new = models
    tl.save(old, tmp_path / "model")
    for name in ("model", "fresh"):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(checkpoints, "_remove_parameters", lambda *_, **__: None)  # who is killed tidies nothing up
            patch.setattr(checkpoints, moment, kill)
            tl.save(new, tmp_path / name)
    expected = new if moment == "_remove_parameters" else old
    assert same(parameters(tl.load(tmp_path / "model")), parameters(expected))
    for name in ("model", "fresh"):  # and both can be saved to
        tl.save(new, tmp_path / name)
        assert same(parameters(tl.load(tmp_path / name)), parameters(new))
        assert len(list((tmp_path / name).iterdir())) == 2


def test_a_model_that_a_full_disk_does_not_take_leaves_the_old(tmp_path, models):
    tl.save(models[0], tmp_path)
    before = listing(tmp_path)
    with full_disk(3000), pytest.raises(OSError, match=f"the model could not be written to {tmp_path}: "):
        tl.save(models[1], tmp_path)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("how", ["flipped", "truncated", "deleted"])
def test_a_damaged_model_is_refused(tmp_path, models, how):
    tl.save(models[0], tmp_path)
    damage(largest(tmp_path), how)
    with pytest.raises(ValueError, match=f"the model in {tmp_path} cannot be read: "):
        tl.load(tmp_path)


def test_a_changed_configuration_of_a_model_is_refused(tmp_path, models):
    tl.save(models[0], tmp_path)
    text = (tmp_path / "config.json").read_text()
    for old, new in (('"estimator": "released"', '"estimator": "matched"'), ("n_z", "n_x"), ("{", "")):
        assert old in text
        (tmp_path / "config.json").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=f"the model in {tmp_path} cannot be read: "):
            tl.load(tmp_path)


def test_models_of_the_first_version_still_load(tmp_path, models):
    tl.save(models[0], tmp_path)
    note = json.loads((tmp_path / "config.json").read_text())
    del note["config"]["penalty_schedule"]  # and a field did not exist yet
    (tmp_path / note["parameters"]).rename(tmp_path / "parameters")
    (tmp_path / "config.json").write_text(json.dumps(note["config"]))
    assert same(parameters(tl.load(tmp_path)), parameters(models[0]))
    tl.save(models[1], tmp_path)
    assert same(parameters(tl.load(tmp_path)), parameters(models[1]))
    assert not (tmp_path / "parameters").exists()
