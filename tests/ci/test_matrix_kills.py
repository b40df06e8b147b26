"""A run that is killed in the middle of its training goes on and ends with the results of one that nobody disturbed."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import train
from small_matrices import TRAINS, comparable, write_matrix

DRIVER = [sys.executable, str(train.ROOT / "ci/matrix.py"), "small"]
# Without penalties, which take long to compile; each step is said and each second one saved.
SETTING = {
    "size": "tiny",
    "image_size": 16,
    "batch_size": 4,
    "lambda_klm": 0.0,
    "lambda_nhp": 0.0,
    "steps": 120,
    "print_every": 1,
    "checkpoint_every": 2,
    "eval_images": 300,
}
# What one process compiles the next one need not.
ENVIRONMENT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
NAME = "shapes3d-twin-tiny-16-noklm-nonhp-seed0"
CLUSTER = Path(__file__).parents[1] / "helpers/ray_cluster.py"
LIMIT = 200  # seconds after which something hangs


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The result of a run that nobody disturbed, but for times and places."""
    folder = tmp_path_factory.mktemp("undisturbed")
    end(folder, start(folder))
    return comparable(folder / f"out/{NAME}.json")


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start the driver on a matrix of one small training; what it says goes into folder/said."""
    matrix = write_matrix(folder, TRAINS, **SETTING)
    with (folder / "said").open("wb") as said:
        command = [*DRIVER, f"--matrix={matrix}", *arguments]
        return subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=said, stderr=subprocess.STDOUT)


def end(folder: Path, process: subprocess.Popen) -> str:
    """Wait for the driver, which must not fail; return what it said."""
    try:
        status = process.wait(LIMIT)
    finally:
        process.kill()
    said = (folder / "said").read_text()
    assert status == 0, said
    return said


def wait_for_step(folder: Path, least: int) -> int:
    """Wait for a checkpoint after so many steps; return the step of the newest."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        checkpoints = (folder / f"out/checkpoints/{NAME}").glob("*")
        newest = max((int(path.name) for path in checkpoints if path.name.isdecimal()), default=0)
        if newest >= least:
            return newest
        time.sleep(0.01)
    raise TimeoutError(f"no checkpoint of step {least}: {(folder / 'said').read_text()}")


def check_went_on(folder: Path, killed: int, undisturbed: dict, *, outlasts: bool = False) -> None:
    """The training went on after `killed` steps at the earliest, and its end is that of the undisturbed one.

    A kernel that `outlasts` its machine, by a second or so, may on a fast one have done all steps before it ends.
    """
    (executed,) = (folder / "out").glob("small-*.ipynb")
    cells = nbformat.read(executed, as_version=4).cells
    printed = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", ()))
    steps = [int(step) for step in re.findall(r"step (\d+)/", printed)]
    assert steps or outlasts
    assert killed < min(steps, default=SETTING["steps"]) <= SETTING["steps"]
    assert (folder / f"out/checkpoints/{NAME}/{SETTING['steps']}").is_dir()
    assert comparable(folder / f"out/{NAME}.json") == undisturbed
    left = {path.name for path in (folder / "out/checkpoints").iterdir()}
    assert left == {NAME, f"{NAME}.json", f"{NAME}.lock"}


def test_a_run_whose_driver_is_killed_goes_on_when_it_is_started_again(undisturbed, tmp_path):
    process = start(tmp_path)
    killed = wait_for_step(tmp_path, random.randrange(2, SETTING["steps"] // 4))
    process.kill()
    os.kill(int(re.search(r"kernel (\d+)", (tmp_path / "said").read_text())[1]), signal.SIGKILL)
    process.wait()
    assert not (tmp_path / f"out/{NAME}.json").exists()
    end(tmp_path, start(tmp_path))
    check_went_on(tmp_path, killed, undisturbed)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The process of a Ray cluster; see ray_cluster.py."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install '.[sweep]'")
    # For Ray's processes, which hand it on to the runs. Nobody is told of them, and nothing is killed for its memory.
    of_ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    for name, value in (ENVIRONMENT | of_ray).items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "cluster").open("wb") as said:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": said}
        process = subprocess.Popen([sys.executable, str(CLUSTER)], text=True, **pipes)
    yield process
    process.stdin.close()
    try:
        process.wait(LIMIT)
    finally:
        process.kill()


def told(process: subprocess.Popen, word: str) -> str:
    """The rest of the next line of a cluster that begins with this word; Ray prints others too."""
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise EOFError(f"the cluster ended and did not say {word!r}")


def test_a_run_whose_machine_is_lost_goes_on_on_another(undisturbed, tmp_path, cluster):
    process = start(tmp_path, f"--ray={told(cluster, 'address')}")
    killed = wait_for_step(tmp_path, random.randrange(2, SETTING["steps"] // 4))
    cluster.stdin.write("lose\n")
    cluster.stdin.flush()
    told(cluster, "lost")
    assert not (tmp_path / f"out/{NAME}.json").exists()
    said = end(tmp_path, process)
    assert said.count("shapes3d: starts on") == 2
    check_went_on(tmp_path, killed, undisturbed, outlasts=True)
