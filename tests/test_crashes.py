"""Training that is killed at random moments ends as if nobody had. The full count: `python -m benchmarks.kills`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from faults import damage, full_disk, largest

from benchmarks.kills import Kills, differences, train, values

ROOT = Path(__file__).parents[1]


def test_a_killed_run_ends_with_the_same_parameters(tmp_path):
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "3", "--steps", "60", "--every", "4", "--plain"]
    run = subprocess.run([*command, "--out", str(tmp_path / "kills.json")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    record = json.loads((tmp_path / "kills.json").read_text())
    assert record["kills"] == 3 == len(record["moments"]) and record["identical"] == record["runs"] >= 1


def end_of(checkpoints=None):
    """The parameters and history after twelve steps, with a checkpoint after every fourth."""
    return values(train(checkpoints, steps=12, every=4, plain=True))


def test_what_is_damaged_or_missing_costs_steps_but_changes_no_result(tmp_path):
    whole = end_of(tmp_path)
    damage(largest(tmp_path / "12"), "flipped")
    with pytest.warns(UserWarning, match=r"\(step 12: .*\); going on from step 8"):
        np.testing.assert_equal(end_of(tmp_path), whole)
    shutil.rmtree(tmp_path / "12")
    with pytest.warns(UserWarning, match=r"\(step 12: missing\); going on from step 8"):
        np.testing.assert_equal(end_of(tmp_path), whole)


@pytest.mark.filterwarnings("ignore:the checkpoint of step (4|8) could not be written")  # these too are expected
def test_training_on_a_full_disk_gives_its_result(tmp_path):
    whole = end_of()
    with full_disk(2000), pytest.warns(UserWarning, match="step 12 could not be written .* there is none yet") as said:
        np.testing.assert_equal(end_of(tmp_path), whole)
    assert sum("could not be written" in str(warning.message) for warning in said) == 3
    np.testing.assert_equal(end_of(tmp_path), whole)  # now there is room


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
