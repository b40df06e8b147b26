"""Training that is killed at random moments ends as if nobody had. The full count: `python -m benchmarks.kills`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kills import Kills, differences

ROOT = Path(__file__).parents[1]


def test_a_killed_run_ends_with_the_same_parameters(tmp_path):
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "3", "--steps", "60", "--every", "4"]
    run = subprocess.run([*command, "--out", str(tmp_path / "kills.json")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads((tmp_path / "kills.json").read_text())
    assert record["kills"] == 3 == len(record["moments"]) and record["identical"] == record["runs"] >= 1


def end(folder, weights, said=""):
    folder.mkdir(exist_ok=True)
    np.savez(folder / "end.npz", weights=weights)
    (folder / "said").write_text(said)
    return folder


@pytest.mark.parametrize(
    ("weights", "code", "said", "outcome"),
    [
        (np.ones(3), 0, "", "identical"),
        (np.nextafter(np.ones(3), 2), 0, "", "differs in weights"),
        (np.ones(3, np.float32), 0, "", "differs in weights"),
        (np.ones(3), 0, "UserWarning: checkpoints cannot be used", "warned"),
        (np.ones(3), 1, "", "exit code 1"),
    ],
)
def test_what_the_benchmark_calls_identical(tmp_path, monkeypatch, weights, code, said, outcome):
    reference = end(tmp_path / "first", np.ones(3))
    assert differences(end(tmp_path / "copy", np.ones(3)), reference) == []

    class Ended:
        def wait(self, _):
            return code

    bench = Kills(tmp_path, kills=1, steps=1, every=1, seed=0)
    monkeypatch.setattr(bench, "start", lambda folder: end(folder, weights, said) and Ended())
    bench.disturbed_run(reference, 1.0)
    assert bench.runs == [{"kills": 0, "outcome": outcome}]
