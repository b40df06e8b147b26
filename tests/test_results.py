"""Recorded runs: what is written is read back, no run overwrites another, and where it was made is known."""

import dataclasses
import json
import subprocess
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest
from flax import nnx

import tripod_lite as tl
from tripod_lite import results
from tripod_lite.results import Recorder, Result, configuration, environment, load_results, read_result, run_name

CONFIG = tl.TripodConfig(n_z=2, image_size=16, size="tiny", levels=(3, 5), estimator="leave_one_out", batch_size=2)
SCORES = tl.Scores(
    infom=0.5,
    infoc=0.25,
    infoe=0.75,
    disentanglement=None,
    completeness=None,
    informativeness=None,
    psnr=20.0,
    nmi=np.array([[0.1, 0.9]]),
    active=np.array([True, False]),
    factor_names=("hue",),
    n=100,
    seed=0,
)
PLACE = {"dataset": "shapes3d", "source": "twin", "steps": 7, "seed": 3}


@pytest.fixture(scope="module")
def run():
    history = {
        "step": np.array([5, 7]),
        "loss": np.array([0.123456789, np.nan]),
        "eval_step": np.array([7]),
        "infom": np.array([0.5]),
    }
    return tl.Run(tl.Tripod(CONFIG, rngs=nnx.Rngs(0)), history, CONFIG, 7, 12.34)


def test_names_say_what_a_run_was():
    place = {"dataset": "shapes3d", "source": "twin", "seed": 3}
    assert run_name(tl.TripodConfig.preset("shapes3d", "tiny"), **place) == "shapes3d-twin-tiny-32-seed3"
    config = tl.TripodConfig.preset("mpi3d", "lite", quantize=False, lambda_klm=0, lambda_nhp=0.0)
    place = {"dataset": "mpi3d", "source": "real", "seed": 0}
    assert run_name(config, **place) == "mpi3d-real-lite-64-noquant-noklm-nonhp-seed0"
    for size, estimator, name in [
        ("tiny", "released", "mpi3d-real-tiny-32-released-seed0"),
        ("tiny", "leave_one_out", "mpi3d-real-tiny-32-seed0"),
        ("lite", "leave_one_out", "mpi3d-real-lite-64-leave_one_out-seed0"),
        ("paper", "released", "mpi3d-real-paper-64-seed0"),
    ]:
        assert run_name(tl.TripodConfig.preset("mpi3d", size, estimator=estimator), **place) == name
    config = tl.TripodConfig.preset("mpi3d", "tiny", estimator="released", lambda_klm=0.0)
    assert run_name(config, **place) == "mpi3d-real-tiny-32-noklm-seed0", "without leg 2 there is no estimator"


def test_parameters_stand_for_a_configuration():
    assert configuration("mpi3d", "tiny") == tl.TripodConfig.preset("mpi3d", "tiny")
    fields = {"image_size": 16, "batch_size": 4, "quantize": False, "estimator": "matched", "lambda_nhp": 0.0}
    expected = tl.TripodConfig.preset("mpi3d", "tiny", **fields, levels=5)
    assert configuration("mpi3d", "tiny", **fields, lambda_klm=-1.0, levels=5) == expected
    with pytest.raises(ValueError, match=r"batch_size must be .* got -1"):
        configuration("mpi3d", "tiny", batch_size=-1)


def test_a_result_is_read_where_it_is_that_of_the_run(run, tmp_path):
    path = tmp_path / "shapes3d-twin-tiny-16-seed3.json"
    assert read_result(path, CONFIG, **PLACE) is None
    Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    result = read_result(path, CONFIG, **PLACE)
    assert result.scores.to_json() == SCORES.to_json()
    assert result.differences(CONFIG.replace(levels=4), **PLACE | {"seed": 4}) == {
        "levels": ([3, 5], 4),
        "seed": (3, 4),
    }
    elsewhere = CONFIG.replace(precision="bfloat16" if CONFIG.precision == "float32" else "float32")
    with pytest.raises(ValueError, match=r"another run \(precision: '\w+' there, '\w+' asked for\)"):
        read_result(path, elsewhere, **PLACE)
    assert read_result(path, elsewhere, **PLACE, precision=False).name == result.name


def test_a_result_comes_back_from_its_folder(run, tmp_path):
    recorder = Recorder(tmp_path / "new" / "folder", CONFIG, **PLACE)
    path = recorder.result(run, SCORES)
    assert path == tmp_path / "new/folder/shapes3d-twin-tiny-16-seed3.json"
    ((name, result),) = load_results(path.parent).items()
    assert name == result.name == recorder.name == path.stem
    assert {field: getattr(result, field) for field in PLACE} == PLACE
    assert result.seconds == 12.3
    assert tl.TripodConfig(**result.config | {"levels": tuple(result.config["levels"])}) == CONFIG
    assert result.parameters == sum(p.size for p in jax.tree.leaves(nnx.state(run.model, nnx.Param)))
    assert result.scores.to_json() == SCORES.to_json()
    assert result.history.keys() == run.history.keys()
    assert result.history["step"].dtype == np.int64 and result.history["eval_step"].tolist() == [7]
    np.testing.assert_array_equal(result.history["loss"], [0.123457, np.nan])
    (here,) = result.environments
    assert here == environment() | {"date": here["date"]}
    assert result.to_json() == path.read_text()


def test_a_result_stands_for_its_run_in_the_figures(run, tmp_path):
    Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    (result,) = load_results(tmp_path).values()
    figure = tl.plot_history({"recorded": result, "run": run})
    recorded, original = figure.axes[0].get_lines()
    np.testing.assert_allclose(recorded.get_xydata(), original.get_xydata(), rtol=1e-5)
    plt.close(figure)
    plt.close(tl.plot_nmi(result.scores))


def test_the_file_is_json_with_a_line_an_entry(run, tmp_path):
    path = Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    lines = path.read_text().splitlines()
    assert '  "seed": 3,' in lines
    assert '    "levels": [3, 5],' in lines
    assert '    "loss": [0.123457, null],' in lines
    fields = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is not JSON
    assert list(fields) == [field.name for field in dataclasses.fields(Result)]


def test_the_same_run_may_be_recorded_again_but_no_other_in_its_place(run, tmp_path):
    Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    Recorder(tmp_path, CONFIG, **PLACE).result(run, dataclasses.replace(SCORES, infom=0.6))
    assert load_results(tmp_path)["shapes3d-twin-tiny-16-seed3"].scores.infom == 0.6
    with pytest.raises(ValueError, match=r"holds the result of another run \(steps: 7 there, 8 asked for\); remove it"):
        Recorder(tmp_path, CONFIG, **PLACE | {"steps": 8})
    with pytest.raises(ValueError, match=r"levels: \[3, 5\] there, 12 asked for; probes: 2 there, 4 asked for"):
        Recorder(tmp_path, CONFIG.replace(levels=12, probes=4), **PLACE)
    Recorder(tmp_path, CONFIG.replace(lambda_klm=0.0), **PLACE)  # a leg is off: another name


def test_a_run_that_is_not_the_one_or_not_done_is_not_recorded(run, tmp_path):
    recorder = Recorder(tmp_path, CONFIG, **PLACE)
    with pytest.raises(ValueError, match="run must have done 7 steps, got 5"):
        recorder.result(dataclasses.replace(run, steps=5), SCORES)
    with pytest.raises(ValueError, match=r"run must have the configuration .*probes=2.*, got .*probes=3"):
        recorder.result(dataclasses.replace(run, config=CONFIG.replace(probes=3)), SCORES)
    assert not list(tmp_path.glob("*.json"))


def test_environments_add_up_where_a_run_is_resumed(run, tmp_path, monkeypatch):
    first = Recorder(tmp_path, CONFIG, **PLACE)
    first.checkpoints.mkdir()
    Recorder(tmp_path, CONFIG, **PLACE)  # resumed in the same place
    elsewhere = environment() | {"cpu": "another"}
    monkeypatch.setattr(results, "environment", lambda: elsewhere)
    Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    (result,) = load_results(tmp_path).values()
    assert [e["cpu"] for e in result.environments] == [environment()["cpu"], "another"]
    first.checkpoints.rmdir()  # begun anew
    Recorder(tmp_path, CONFIG, **PLACE).result(run, SCORES)
    (result,) = load_results(tmp_path).values()
    assert [e["cpu"] for e in result.environments] == ["another"]


def test_pictures_lie_beside_the_result(tmp_path):
    figure = plt.figure(figsize=(2, 1))
    path = Recorder(tmp_path, CONFIG, **PLACE).picture("nmi", figure)
    plt.close(figure)
    assert path == tmp_path / "shapes3d-twin-tiny-16-seed3-nmi.png"
    assert plt.imread(path).shape[:2] == (80, 160)


def test_folders_without_results_are_reported(tmp_path):
    with pytest.raises(ValueError, match=f"must be a folder of results, but there is none at {tmp_path / 'none'}"):
        load_results(tmp_path / "none")
    with pytest.raises(ValueError, match=f"must hold results, NAME.json, but {tmp_path} has none"):
        load_results(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not the result of a run: Expecting"):
        load_results(tmp_path)
    (tmp_path / "a.json").write_text('{"seed": 0}')
    with pytest.raises(ValueError, match=r"a\.json is not the result of a run: text must be .*, got seed"):
        load_results(tmp_path)


def test_recorded_runs_are_found_in_a_repository_and_in_an_installed_package(run, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "tripod_lite/results.py"))
    with pytest.raises(ValueError, match="came without recorded runs"):
        load_results()
    for seed, folder in enumerate(("data/results", "tripod_lite/recorded")):
        path = Recorder(tmp_path / folder, CONFIG, **PLACE | {"seed": seed}).result(run, SCORES)
        assert load_results().keys() == {path.stem}


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    package = tmp_path / "tripod_lite"
    monkeypatch.setattr(results, "__file__", str(package / "results.py"))
    monkeypatch.setattr(results.importlib.metadata, "distributions", lambda name: [])

    def git(*command):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        run = subprocess.run(["git", *identity, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    def write(path: Path, text: str):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    git("init", "--quiet")
    write(package / "__init__.py", "")
    write(tmp_path / "README.md", "")
    git("add", "README.md")
    git("commit", "--quiet", "--message=a")
    assert results._commit() == (None, None), "a repository around the package, which is not its own"
    git("add", ".")
    git("commit", "--quiet", "--message=b")
    commit = git("rev-parse", "HEAD")
    write(tmp_path / "README.md", "no code")
    assert results._commit() == (commit, False)
    write(tmp_path / "book/training/train.ipynb", "{}")
    assert results._commit() == (commit, True)
    (tmp_path / "book/training/train.ipynb").unlink()
    write(package / "__init__.py", "changed = True")
    assert results._commit() == (commit, True)


def test_the_commit_of_an_installed_package_is_the_one_that_pip_noted(monkeypatch):
    class Distribution:
        def __init__(self, note):
            self.note = note

        def read_text(self, name):
            return self.note if name == "direct_url.json" else None

    monkeypatch.setattr(results.shutil, "which", lambda name: None)
    for note, found in {
        '{"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}': ("abc", False),
        '{"url": "file:///x", "dir_info": {"editable": true}}': (None, None),
        None: (None, None),
    }.items():
        monkeypatch.setattr(results.importlib.metadata, "distributions", lambda name, n=note: [Distribution(n)])
        assert results._commit() == found


def test_the_environment_is_complete():
    here = environment()
    assert here["version"] == tl.__version__
    assert here["backend"] == "cpu" or here["accelerators"]
    assert here["cores"] >= 1 and here["cpu"] and here["date"].endswith("+00:00")
    assert json.loads(json.dumps(here)) == here
