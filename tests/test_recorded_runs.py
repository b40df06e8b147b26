"""The runs that the book quotes are those of the present presets and of the training notebook, from committed code."""

import ast

import matrix
import nbformat
import pytest
import train

import tripod_lite as tl
from tripod_lite.results import load_results

RESULTS = load_results()
CARD_STEPS = 6000  # of the runs on the cards of the other twins


def default(name):
    notebook = nbformat.read(train.NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assigned = [line for line in ast.parse(cell.source).body if isinstance(line, ast.AnnAssign)]
    return {line.target.id: ast.literal_eval(line.value) for line in assigned}[name]


@pytest.mark.parametrize("name", RESULTS)
def test_a_recorded_run_can_be_had_again_with_one_command(name):
    result = RESULTS[name]
    if result.config["size"] != "tiny":  # python ci/matrix.py full with these
        given = [f"{field}={getattr(result, field)}" for field in ("source", "steps", "seed")]
        jobs = matrix.plan(matrix.read(matrix.MATRIX), "full", [*given, f"size={result.config['size']}"])
        assert any(job.result == name and job.recorded() for job in jobs)
        return
    legs = {"noklm": {"lambda_klm": 0.0}, "nonhp": {"lambda_nhp": 0.0}, "noquant": {"quantize": False}}
    changes = {field: value for leg, off in legs.items() if leg in name.split("-") for field, value in off.items()}
    preset = tl.TripodConfig.preset(result.dataset, result.config["size"], **changes)
    assert result.config == {field: getattr(preset, field) for field in result.config}
    assert result.steps == (default("steps") if result.dataset == "shapes3d" else CARD_STEPS)
    assert result.scores.n == default("eval_images")


@pytest.mark.parametrize("name", RESULTS)
def test_a_recorded_run_names_its_code(name):
    for place in RESULTS[name].environments:
        assert place["commit"] and place["changed"] is False


@pytest.mark.parametrize("dataset", tl.DATASETS)
def test_every_card_names_the_command_of_its_run(dataset):
    assert RESULTS[f"{dataset}-twin-tiny-32-seed0"].dataset == dataset
    card = nbformat.read(train.ROOT / f"data/cards/{dataset}.ipynb", as_version=4)
    parameters = "" if dataset == "shapes3d" else f" dataset={dataset} steps={CARD_STEPS}"
    assert any(f"\n    python ci/train.py{parameters}\n" in cell.source + "\n" for cell in card.cells)


def test_three_seeds_with_and_without_the_penalties():
    for legs in ("", "noklm-nonhp-"):
        assert {f"shapes3d-twin-tiny-32-{legs}seed{seed}" for seed in range(3)} <= RESULTS.keys()
