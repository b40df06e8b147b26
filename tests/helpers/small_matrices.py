"""Matrices for tests of the driver: notebooks with the parameters of the training notebook that take seconds."""

import dataclasses
import json
from pathlib import Path

import nbformat
import train
import yaml
from nbformat.v4 import new_code_cell, new_notebook

import tripod_lite as tl

RECORDED = train.RESULTS / "shapes3d-twin-tiny-32-seed0.json"


def a_result(**changes):
    """The text of a result: a recorded one, as a run of the present preset would leave it, with these fields."""
    present = {
        "config": dataclasses.asdict(tl.TripodConfig.preset("shapes3d", "tiny")),
        "steps": train.read_parameters(train.NOTEBOOK)["steps"].default,
    }
    return json.dumps(json.loads(RECORDED.read_text()) | present | changes)


# Leaves a result without training.
LEAVES_A_RESULT = f"""
import json, pathlib
result = json.loads({a_result()!r})
result |= {{"name": f"shapes3d-twin-tiny-32-seed{{seed}}", "seed": seed, "steps": steps}}
result["scores"]["n"] = eval_images
pathlib.Path(out, result["name"] + ".json").write_text(json.dumps(result))
pathlib.Path(out, result["name"] + "-nmi.png").write_text("a picture")
"""

# A training of seconds on noise: it goes on from its checkpoints, and what its result holds depends on its parameters.
TRAINS = f"""
import dataclasses, os
from pathlib import Path
import jax, numpy as np
from flax import nnx
import tripod_lite as tl
from tripod_lite.results import Recorder, Result, configuration

print("kernel", os.getpid(), flush=True)
fields = {{"image_size": image_size, "batch_size": batch_size, "lambda_klm": lambda_klm, "lambda_nhp": lambda_nhp}}
config = configuration(dataset, size, **fields)
recorder = Recorder(out, config, dataset=dataset, source=source, steps=steps, seed=seed)
noise = np.random.default_rng(0).integers(0, 256, (64, image_size, image_size, 3), dtype=np.uint8)
run = tl.fit(
    tl.from_images(noise),
    config,
    steps=steps,
    seed=seed,
    checkpoint_dir=recorder.checkpoints,
    checkpoint_every=checkpoint_every,
    progress=print_every,
)
total = sum(np.asarray(p, np.float64).sum() for p in jax.tree.leaves(nnx.state(run.model, nnx.Param)))
recorded = Result.from_json(Path({str(RECORDED)!r}).read_text())
recorder.result(run, dataclasses.replace(recorded.scores, n=eval_images, psnr=float(total)))
"""


def parameters():
    """The parameters cell of the training notebook."""
    cells = nbformat.read(train.NOTEBOOK, as_version=4).cells
    return next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ()))


def write_matrix(folder, *cells, seeds=(0,), runs=None, **values):
    """Write a notebook of these cells and a matrix of one profile, `small`; return the path of the matrix."""
    first = new_code_cell(parameters(), metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[first, *map(new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"display_name": "X", "language": "python", "name": "python3"}
    nbformat.write(notebook, folder / "small.ipynb")
    fields = {
        "notebook": str(folder / "small.ipynb"),
        "profiles": {"small": {"out": str(folder / "out"), "seeds": list(seeds), "parameters": values}},
        "runs": runs or {"shapes3d": {"dataset": "shapes3d"}},
    }
    path = folder / "small.yml"
    path.write_text(yaml.safe_dump(fields))
    return path


def comparable(path):
    """What a result holds, but for times and places."""
    fields = json.loads(Path(path).read_text())
    return {name: value for name, value in fields.items() if name not in ("seconds", "environments")}
