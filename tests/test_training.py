"""The training loop: it learns, it resumes to the same result, it can be interrupted, it says what is wrong."""

import json
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import tripod_lite as tl
from tripod_lite import engine
from tripod_lite.datasets import Dataset
from tripod_lite.progress import Progress

CONFIG = tl.TripodConfig(
    n_z=3, image_size=16, size="tiny", batch_size=8, nhp_samples=2, learning_rate=1e-2, schedule="cosine"
)
PLAIN = CONFIG.replace(lambda_klm=0, lambda_nhp=0)  # compiles soonest


@pytest.fixture(scope="module")
def ds():
    twin = tl.load_dataset("shapes3d", image_size=16)
    images, factors = twin.sample(jax.random.key(0), 64)
    return tl.from_images(np.asarray(images), np.asarray(factors))


def parameters(run):
    return jax.tree.leaves(nnx.state(run.model, nnx.Param))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(parameters(a), parameters(b), strict=True))


def test_the_loss_falls_and_the_seed_decides(ds):
    run = tl.fit(ds, CONFIG, steps=60, seed=1, progress=False, log_every=10)
    assert run.history.keys() == {"step", "loss", "bce", "klm", "nhp"}
    assert run.history["step"].tolist() == [10, 20, 30, 40, 50, 60]
    assert run.history["bce"][-1] < run.history["bce"][0] - 0.02
    assert run.steps == 60 and run.seconds > 0
    assert same(run, tl.fit(ds, CONFIG, steps=60, seed=1, progress=False))
    one, two = (tl.fit(ds, PLAIN, steps=2, seed=seed, progress=False) for seed in (1, 2))
    assert not same(one, two)


class Stop(Dataset):
    """A data set whose batches end with Ctrl-C after some steps: the signal comes while the next batch is made."""

    def __init__(self, train, after):
        self.train, self.left, self.name = train, after, train.name
        self.factor_names, self.factor_sizes = train.factor_names, train.factor_sizes
        self.image_size, self.part, self.identity = train.image_size, train.part, train.identity

    def __len__(self):
        return len(self.train)

    def images(self, factors):
        return self.train.images(factors)

    def fetch(self, rows):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self.train.fetch(rows)


def test_an_interrupted_run_resumes_to_the_same_result(ds, tmp_path, capsys):
    train, _ = ds.split()
    whole = tl.fit(train, CONFIG, steps=12, progress=False, log_every=3)
    with pytest.warns(UserWarning, match="interrupted after 5 of 12 steps"):
        part = tl.fit(Stop(train, 5), CONFIG, steps=12, checkpoint_dir=tmp_path, progress=False, log_every=3)
    assert part.steps == 5 and part.history["step"].tolist() == [3]
    resumed = tl.fit(train, CONFIG, steps=12, checkpoint_dir=tmp_path, progress=1, log_every=3)
    assert capsys.readouterr().out.splitlines()[1].startswith("step 6/12")
    assert same(whole, resumed) and resumed.steps == 12
    assert resumed.history.keys() == whole.history.keys()
    for name, values in whole.history.items():  # the entry that spans the interrupt too
        np.testing.assert_array_equal(resumed.history[name], values)
    assert resumed.seconds > part.seconds
    again = tl.fit(Stop(train, 1), CONFIG, steps=12, checkpoint_dir=tmp_path, progress=False)  # nothing left to do
    assert same(whole, again)


def test_an_interrupt_after_a_step_keeps_what_was_not_yet_read(ds, tmp_path, monkeypatch):
    update = Progress.update

    def interrupting(self, done, latest):
        update(self, done, latest)
        if done == 5:  # steps 3 and 4 are summed, but may still be computed
            signal.raise_signal(signal.SIGINT)

    whole = tl.fit(ds, PLAIN, steps=9, progress=False, log_every=2)
    monkeypatch.setattr(Progress, "update", interrupting)
    with pytest.warns(UserWarning, match="interrupted after 5 of 9 steps"):
        part = tl.fit(ds, PLAIN, steps=9, checkpoint_dir=tmp_path, progress=False, log_every=2)
    assert part.history["step"].tolist() == [2, 4]
    monkeypatch.undo()
    resumed = tl.fit(ds, PLAIN, steps=9, checkpoint_dir=tmp_path, progress=False, log_every=2)
    for name, values in whole.history.items():
        np.testing.assert_array_equal(resumed.history[name], values)


def test_as_on_accelerators_many_steps_a_call_and_seeds_at_once(ds, tmp_path, monkeypatch):
    alone = [tl.fit(ds, PLAIN, steps=10, seed=seed, progress=False, log_every=3) for seed in (4, 1)]
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    monkeypatch.setattr(engine, "CHUNK", 4)
    settings = {"steps": 10, "seeds": (4, 1), "progress": False, "log_every": 3}
    whole = tl.fit(ds, PLAIN, **settings)
    with monkeypatch.context() as patch:
        update = Progress.update

        def interrupting(self, done, latest):
            update(self, done, latest)
            if done == 6:
                signal.raise_signal(signal.SIGINT)

        patch.setattr(Progress, "update", interrupting)
        with pytest.warns(UserWarning, match="interrupted after 6 of 10 steps"):
            tl.fit(ds, PLAIN, checkpoint_dir=tmp_path, checkpoint_every=5, **settings)
    resumed = tl.fit(ds, PLAIN, checkpoint_dir=tmp_path, checkpoint_every=5, **settings)
    for one, many, again in zip(alone, whole, resumed, strict=True):
        assert same(many, again) and many.steps == 10
        assert many.history["step"].tolist() == [3, 6, 9, 10]
        for name, values in one.history.items():
            np.testing.assert_array_equal(again.history[name], many.history[name])
            np.testing.assert_allclose(many.history[name], values, rtol=1e-4)


def test_all_processes_stop_for_the_lines_of_the_first(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # a terminal may be there for one of them
    said = {}
    for process in (0, 1):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        progress = Progress(0, 40, True, "note")
        progress.update(4, "loss 1")
        said[process] = (progress.next_line(5), progress.is_due(6), capsys.readouterr().out.split("\n")[0])
    assert said == {0: (6, True, "note"), 1: (6, True, "")}


def test_a_second_interrupt_is_not_kept(ds):
    class Impatient(Stop):
        def fetch(self, rows):
            if self.left == 1:
                signal.raise_signal(signal.SIGINT)
            return super().fetch(rows)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which pytest's workers replace
    try:
        with pytest.raises(KeyboardInterrupt):
            tl.fit(Impatient(ds.split()[0], 2), PLAIN, steps=4, progress=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_runs_outside_of_the_main_thread(ds):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(tl.fit, ds, PLAIN, steps=2, progress=False).result().steps == 2


def test_a_loss_that_is_not_finite_stops_the_run(ds, tmp_path, monkeypatch):
    loss = tl.Tripod.loss

    def breaks(self, images, key, *, strength):
        total, parts = loss(self, images, key, strength=1.0)
        return total / jnp.where(strength < 0.4, 0.0, 1.0), parts  # from the seventh of ten steps on

    monkeypatch.setattr(tl.Tripod, "loss", breaks)
    config = PLAIN.replace(penalty_schedule="cosine")
    message = (
        r"not finite in step 7 of 10, seed 0; the last good checkpoint is that of step 4, in .*; "
        r"a lower learning_rate may help\. The batch has rows (\[.*\])"
    )
    with pytest.raises(FloatingPointError, match=message) as error:
        tl.fit(ds, config, steps=10, checkpoint_dir=tmp_path, checkpoint_every=4, progress=False)
    rows = json.loads(re.search(message, str(error.value))[1])
    data_key = jax.random.split(jax.random.key(0), 3)[1]
    assert rows == ds.split()[0].rows(jax.random.fold_in(data_key, 6), config.batch_size).tolist()
    monkeypatch.undo()
    assert tl.fit(ds, config, steps=10, checkpoint_dir=tmp_path, progress=False).steps == 10


def test_several_seeds_are_several_runs(ds, tmp_path):
    runs = tl.fit(ds, PLAIN, steps=3, seeds=(4, 1), checkpoint_dir=tmp_path, progress=False)
    for run, seed in zip(runs, (4, 1), strict=True):
        assert same(run, tl.fit(ds, PLAIN, steps=3, seed=seed, progress=False))
    assert not same(*runs)
    again = tl.fit(ds, PLAIN, steps=3, seeds=[4, 1], checkpoint_dir=tmp_path, progress=False)
    assert all(same(*pair) for pair in zip(runs, again, strict=True))


def test_a_checkpoint_of_another_data_set_is_refused(ds, tmp_path):
    tl.fit(ds, PLAIN, steps=1, checkpoint_dir=tmp_path, progress=False)
    images, factors = ds.take(np.arange(len(ds)))
    other = tl.from_images(255 - np.asarray(images), np.asarray(factors))
    with pytest.raises(ValueError, match=r"belongs to another run \(images_crc32: \d+ there, \d+ asked for\)"):
        tl.fit(other, PLAIN, steps=1, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="rows: "):
        tl.fit(ds.split(held_out=2)[0], PLAIN, steps=1, checkpoint_dir=tmp_path, progress=False)


def test_a_checkpoint_of_another_run_is_refused(ds, tmp_path):
    tl.fit(ds, PLAIN, steps=1, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"belongs to another run .*seed: 0 there, 1 asked for"):
        tl.fit(ds, PLAIN, steps=1, seed=1, checkpoint_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="levels: 12 there, 5 asked for"):
        tl.fit(ds, PLAIN.replace(levels=5), steps=1, checkpoint_dir=tmp_path, progress=False)


def test_a_folder_of_other_files_is_refused(ds, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="checkpoint_dir must be empty or hold a run"):
        tl.fit(ds, PLAIN, steps=1, checkpoint_dir=tmp_path, progress=False)


def test_held_out_scores_and_lines_without_a_terminal(ds, capsys):
    held_out = tl.from_images(
        *map(np.asarray, tl.load_dataset("shapes3d", image_size=16).sample(jax.random.key(1), 640))
    )
    run = tl.fit(held_out, CONFIG, steps=4, progress=2, evaluate_every=4)
    assert run.history["eval_step"].tolist() == [4]
    assert {"infom", "infoc", "infoe", "psnr"} <= run.history.keys()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{CONFIG.precision} on {jax.devices()[0].device_kind}"
    assert [line.split()[1] for line in lines[1:]] == ["2/4", "4/4"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 1.5}, TypeError, "steps must be an integer, got 1.5"),
        ({"steps": 1, "seed": -1}, ValueError, "seed must be at least 0"),
        ({"steps": 1, "seeds": 3}, TypeError, "seeds must be a sequence of integers, got 3"),
        ({"steps": 1, "seeds": (1, 1)}, ValueError, r"seeds must be different and at least one, got \(1, 1\)"),
        ({"steps": 1, "seeds": (1, -1)}, ValueError, "seeds must be at least 0, got -1"),
        (
            {"steps": 1, "devices": jax.devices() * 3},
            ValueError,
            "cfg.batch_size must be a multiple of .*, got 8 for 3",
        ),
        ({"steps": 1, "progress": -2}, ValueError, "progress must be at least 0"),
        ({"steps": 1, "progress": "yes"}, TypeError, "progress must be an integer, got 'yes'"),
        ({"steps": 1, "cfg": {"n_z": 3}}, TypeError, "cfg must be a TripodConfig, got dict"),
        (
            {"steps": 1, "cfg": CONFIG.replace(image_size=32)},
            ValueError,
            "ds has images of size 16, but cfg.image_size is 32",
        ),
        ({"steps": 1, "ds": "shapes3d"}, TypeError, "ds must be a data set, .*got str"),
    ],
)
def test_bad_arguments(ds, arguments, error, message):
    arguments = {"ds": ds, "cfg": CONFIG} | arguments
    with pytest.raises(error, match=message):
        tl.fit(**arguments)


def test_evaluation_of_a_part_is_refused(ds):
    with pytest.raises(ValueError, match="evaluate_every needs a whole data set"):
        tl.fit(ds.split()[0], CONFIG, steps=1, evaluate_every=1, progress=False)
