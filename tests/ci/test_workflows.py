"""The workflows keep what was promised of them; the page of how to reproduce the book, too."""

import ast
import os
import re
import subprocess

import book_cache
import nbformat
import pytest
import train
import versions
import yaml

import tripod_lite as tl
from tripod_lite.autoencoder import noted_fields
from tripod_lite.results import load_results

ROOT = book_cache.ROOT
FOLDER = ROOT / ".github/workflows"
NAMES = ["test", "book", "smoke", "gpu", "colab", "links"]
GRANTED = {("book", "deploy"): {"pages", "id-token"}, ("colab", "report"): {"issues"}, ("links", "report"): {"issues"}}


def read(name):
    # YAML 1.1 reads the key `on` as True; the strings are wanted as they stand.
    return yaml.load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"), yaml.BaseLoader)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def workflow(name):
    return read(name)


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_workflow_is_known():
    assert {path.stem for path in FOLDER.iterdir()} == set(NAMES)


def test_a_step_is_an_action_or_one_line_that_runs_anywhere(workflow):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for step in steps(workflow):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            continue
        command = step["run"]
        assert "\n" not in command
        assert "${{" not in command.replace("${{ matrix.versions }}", ""), "a value from outside goes through `env`"
        script = re.match(r"(?:python3 )?(ci/[a-z_]+\.(?:py|sh))\b", command)
        target = re.match(r"make ([a-z]+) ", command.replace("${{ matrix.versions }}", "oldest"))
        assert bool(script) != bool(target), command
        if script:
            assert (ROOT / script[1]).is_file()
            assert script[1].endswith(".py") or os.access(ROOT / script[1], os.X_OK)
        else:
            assert target[1] in targets


def test_permissions_are_the_least(name, workflow):
    assert workflow["permissions"] == {"contents": "read"}
    for job, settings in workflow["jobs"].items():
        granted = {k for k, v in settings.get("permissions", {}).items() if v != "read"}
        assert granted == GRANTED.get((name, job), set())


def test_jobs_end_and_do_not_pile_up(workflow):
    assert workflow["concurrency"]["group"]
    for settings in workflow["jobs"].values():
        minutes = settings["timeout-minutes"]
        assert minutes == "${{ inputs.minutes || 2400 }}" or 0 < int(minutes) <= 120


@pytest.mark.parametrize("name", ["colab", "links"])
def test_a_failure_of_the_week_opens_an_issue(name):
    workflow = read(name)
    report = workflow["jobs"]["report"]
    assert report["if"] == "failure()"
    assert {report["needs"]} == workflow["jobs"].keys() - {"report"}
    assert report["steps"][-1]["run"].startswith("python3 ci/open_issue.py")
    assert workflow["on"]["schedule"]


def test_the_cache_of_the_book_has_the_key_of_the_build_and_no_other():
    (cache,) = [step["with"] for step in steps(read("book")) if step.get("uses", "").startswith("actions/cache@")]
    assert cache.keys() == {"path", "key"}, "no restore-keys: what another package computed proves nothing"
    (hashed,) = re.findall(r"hashFiles\((.*?)\)", cache["key"])
    files = {name.removesuffix("/**") for name in ast.literal_eval(f"({hashed})")}
    assert files == set(book_cache.INPUTS)
    others = [step for n in NAMES if n != "book" for step in steps(read(n))]
    assert not [step for step in others if step.get("uses", "").startswith("actions/cache@")]


def test_the_pages_are_published_only_after_the_build_and_from_main():
    workflow = read("book")
    assert workflow["jobs"]["deploy"]["needs"] == "build"
    assert workflow["jobs"]["deploy"]["if"] == "github.event_name == 'push'"
    assert workflow["on"]["push"] == {"branches": ["main"]}


def test_pythons_and_versions_are_those_that_pyproject_allows():
    jobs = read("test")["jobs"]
    assert jobs["locked"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    allowed = jobs["allowed"]["strategy"]["matrix"]["include"]
    assert {entry["versions"] for entry in allowed} == versions.RESOLUTIONS.keys()


def test_the_gpu_and_the_image_are_the_ones_meant():
    gpu, colab = read("gpu")["jobs"]["train"], read("colab")["jobs"]["notebooks"]
    assert "gpu" in gpu["runs-on"]
    assert "'us-docker.pkg.dev/colab-images/public/runtime'" in colab["container"]
    for name in ("gpu", "colab", "smoke"):
        (kept,) = [s for s in steps(read(name)) if s.get("uses", "").startswith("actions/upload-artifact@")]
        assert kept["if"] == "always()", "notebooks of a failed run are the ones that are wanted"


def test_without_a_gpu_the_training_does_not_begin(tmp_path):
    silent = tmp_path / "nvidia-smi"
    silent.write_text("#!/bin/sh\nexit 9\n")
    silent.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run([ROOT / "ci/train_on_gpu.sh"], env={"PATH": path}, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == "ci/train_on_gpu.sh needs an NVIDIA GPU with its driver, and nvidia-smi does not answer\n"
    assert run.stdout == ""


def test_versions_are_chosen_from_two(capsys):
    with pytest.raises(SystemExit) as caught:
        versions.main(["newer"])
    assert caught.value.code == 2
    assert "invalid choice: 'newer'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def command():
    """The function of the page that says how a recorded run is repeated."""
    cells = nbformat.read(ROOT / "book/environment.ipynb", as_version=4).cells
    (cell,) = [cell for cell in cells if "def command(" in cell.source]
    names = {"tl": tl, "results": {}}
    exec(compile(cell.source, "environment.ipynb", "exec"), names)
    return names["command"]


@pytest.mark.parametrize("result", load_results().values(), ids=lambda result: result.name)
def test_the_command_of_a_recorded_run_has_its_parameters(command, result):
    words = command(result).split()
    assert words[:2] == ["python", "ci/train.py"]
    known = train.read_parameters(train.NOTEBOOK)
    given = {name: p.default for name, p in known.items()} | train.parse(words[2:], known)
    assert {name: given[name] for name in ("dataset", "source", "steps", "seed")} == {
        name: getattr(result, name) for name in ("dataset", "source", "steps", "seed")
    }
    left = {"image_size": 0, "batch_size": 0, "estimator": "preset", "lambda_klm": -1.0, "lambda_nhp": -1.0}
    changes = {name: given[name] for name in left if given[name] != left[name]}
    config = tl.TripodConfig.preset(given["dataset"], given["size"], quantize=given["quantize"], **changes)
    recorded = noted_fields(result.config)
    assert {name: getattr(config, name) for name in recorded if name != "precision"} == {
        name: value for name, value in recorded.items() if name != "precision"
    }
