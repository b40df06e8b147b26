"""The training loop: it learns, it resumes to the same result, it can be interrupted, it says what is wrong."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from optax.contrib import MuonDimensionNumbers

import tripod_lite as tl
from tripod_lite import training
from tripod_lite.checkpoints import Checkpoints

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


class Stop:
    """A data set whose batches end with Ctrl-C after some steps."""

    def __init__(self, train, after):
        self.train, self.left = train, after
        self.image_size, self.part, self.identity = train.image_size, train.part, train.identity

    def sample(self, key, n):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.train.sample(key, n)


def test_an_interrupted_run_resumes_to_the_same_result(ds, tmp_path, capsys):
    train, _ = ds.split()
    whole = tl.fit(train, CONFIG, steps=12, progress=False, log_every=3)
    with pytest.warns(UserWarning, match="interrupted after 5 of 12 steps"):
        part = tl.fit(Stop(train, 5), CONFIG, steps=12, checkpoint_dir=tmp_path, progress=False, log_every=3)
    assert part.steps == 5
    resumed = tl.fit(train, CONFIG, steps=12, checkpoint_dir=tmp_path, progress=1, log_every=3)
    assert capsys.readouterr().out.startswith("step 6/12")
    assert same(whole, resumed) and resumed.steps == 12
    assert resumed.history.keys() == whole.history.keys()
    for name, values in whole.history.items():  # the entry that spans the interrupt too
        np.testing.assert_allclose(resumed.history[name], values, rtol=1e-6)
    assert resumed.seconds > part.seconds
    again = tl.fit(Stop(train, 0), CONFIG, steps=12, checkpoint_dir=tmp_path, progress=False)  # nothing left to do
    assert same(whole, again)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (3, 3, 4, 7)])
def test_muon_steps_kernels_alike_in_all_directions(shape):
    config = CONFIG.replace(optimizer="muon", schedule="constant")
    gradient = np.random.default_rng(0).normal(size=shape) * np.geomspace(0.01, 0.1, shape[-1])
    matrix = gradient.reshape(-1, shape[-1])
    before = np.linalg.svd(matrix, compute_uv=False)
    assert before[0] > 4 * before[-1]
    method = training.optimizer(config, 1)
    step, _ = method.update({"kernel": gradient}, method.init({"kernel": gradient}), {"kernel": gradient})
    after = np.linalg.svd(np.asarray(step["kernel"]).reshape(matrix.shape), compute_uv=False)
    unit = config.learning_rate * 0.2 * np.sqrt(max(matrix.shape))
    assert 0.65 < after.min() / unit and after.max() / unit < 1.2  # where five rounds of the quintic end
    assert np.sum(matrix * np.asarray(step["kernel"]).reshape(matrix.shape)) < 0


def test_muon_steps_what_is_no_kernel_as_nadam_does():
    rng = np.random.default_rng(0)
    gradients = [{"bias": rng.normal(size=7) / 9, "constant": rng.normal(size=(4, 4, 8)) / 9} for _ in range(3)]
    ours, nadam = training.optimizer(CONFIG.replace(optimizer="muon", schedule="constant"), 3), optax.nadam(1e-2)
    states = [ours.init(gradients[0]), nadam.init(gradients[0])]
    for gradient in gradients:
        pairs = zip((ours, nadam), states, strict=True)
        steps, states = zip(*(method.update(gradient, state, gradient) for method, state in pairs), strict=True)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *steps)


def test_the_state_of_muon_comes_back_from_a_checkpoint(tmp_path):
    params = {"kernel": np.ones((4, 3), np.float32), "bias": np.ones(3, np.float32)}
    method = training.optimizer(CONFIG.replace(optimizer="muon"), 9)
    fresh = {"params": params, "optimizer": method.init(params)}
    moved = {"params": params, "optimizer": method.update(params, fresh["optimizer"], params)[1]}
    store = Checkpoints(tmp_path, CONFIG, data={}, seed=0, steps=9)
    store.save(1, moved, {}, [], 0.0)
    store.close()
    steps, state, *_ = Checkpoints(tmp_path, CONFIG, data={}, seed=0, steps=9).restore(fresh)
    assert steps == 1
    jax.tree.map(np.testing.assert_array_equal, state, moved)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, state, fresh)


def test_muon_takes_every_kernel_of_the_model():
    params = nnx.state(nnx.eval_shape(lambda: tl.Tripod(CONFIG, rngs=nnx.Rngs(0))), nnx.Param)
    axes = training._kernels(params)
    for (path, leaf), chosen in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(axes, is_leaf=lambda a: a is None or isinstance(a, MuonDimensionNumbers)),
        strict=True,
    ):
        assert (chosen is not None) == ("kernel" in jax.tree_util.keystr(path)), (path, leaf.shape)


def test_a_score_that_an_interrupt_prevented_is_made_up_for(ds, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    def score(history, step, *_):
        history.setdefault("eval_step", []).append(step)

    monkeypatch.setattr(training, "_score", interrupt)
    with pytest.warns(UserWarning, match="interrupted after 2 of 4 steps"):
        tl.fit(ds, PLAIN, steps=4, checkpoint_dir=tmp_path, progress=False, evaluate_every=2)
    monkeypatch.setattr(training, "_score", score)
    run = tl.fit(ds, PLAIN, steps=4, checkpoint_dir=tmp_path, progress=False, evaluate_every=2)
    assert run.history["eval_step"].tolist() == [2, 4]


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
    assert [line.split()[1] for line in lines] == ["2/4", "4/4"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 1.5}, TypeError, "steps must be an integer, got 1.5"),
        ({"steps": 1, "seed": -1}, ValueError, "seed must be at least 0"),
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
