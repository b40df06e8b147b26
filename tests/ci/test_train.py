"""The driver of the training notebook: wrong parameters stop it before it starts, every ending leaves the notebook."""

import ast
import json
import os
import signal
import sys

import nbformat
import pytest
import train
from nbformat.v4 import new_code_cell, new_notebook

PARAMETERS = """
steps: int = 100  # how many
rate: float = 1e-3  # how fast
name: str = "a"  # whose
shuffle: bool = True  # in which order
out: str = "results"  # where to
"""
KNOWN = {
    "steps": train.Parameter("steps", "int", 100, "how many"),
    "rate": train.Parameter("rate", "float", 1e-3, "how fast"),
    "name": train.Parameter("name", "str", "a", "whose"),
    "shuffle": train.Parameter("shuffle", "bool", True, "in which order"),
    "out": train.Parameter("out", "str", "results", "where to"),
}


@pytest.fixture
def notebook(tmp_path):
    """Return a function that writes a notebook of given cells, with parameters, and returns its path."""

    def write(*cells, parameters=PARAMETERS):
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        # A kernel that is not there: the driver is to use the Python that runs it.
        metadata = {"kernelspec": {"display_name": "X", "language": "python", "name": "no_such_kernel"}}
        path = tmp_path / "small.ipynb"
        nbformat.write(new_notebook(cells=[first, *map(new_code_cell, cells)], metadata=metadata), path)
        return path

    return write


def streams(path):
    """Return what the cells of an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")


def test_parameters_are_read_with_their_kinds_and_help(notebook):
    assert train.read_parameters(notebook()) == KNOWN


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("steps = 100", "parameter steps must be annotated as one of bool, int, float, str .*, got None and 100"),
        ("steps: list = [1]", r"parameter steps must be annotated .*, got list and \[1\]"),
        ("steps: int = 1e3", "parameter steps must be .* have a default that is one, got int and 1e3"),
        ("rate: float = 1", "parameter rate must be .* have a default that is one, got float and 1"),
        ("steps: int = 10 * 10", r"parameter steps must be .*, got int and 10 \* 10"),
        ("steps: int = 1", "there must be a parameter out, the folder of results; got steps"),
        ("", "there must be a parameter out, the folder of results; got none"),
    ],
)
def test_parameters_that_cannot_be_set_from_outside_are_refused(notebook, line, message):
    with pytest.raises(ValueError, match=message):
        train.read_parameters(notebook(parameters=line))


def test_values_have_the_kinds_of_their_parameters():
    values = train.parse(["steps=-3", "rate=1", "name=b=c", "shuffle=False"], KNOWN)
    assert values == {"steps": -3, "rate": 1.0, "name": "b=c", "shuffle": False}
    assert [type(v) for v in values.values()] == [int, float, str, bool]
    assert train.parse(["rate=1e-10", "shuffle=true", "name="], KNOWN) == {"rate": 1e-10, "shuffle": True, "name": ""}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("stesp=3", "unknown parameter 'stesp'; known are steps, rate, name, shuffle, out"),
        ("=3", "unknown parameter ''; known are steps, rate, name, shuffle, out"),
        ("steps", "'steps' must be of the form NAME=VALUE"),
        ("steps=1e-3", "steps must be an integer (int), got '1e-3'"),
        ("steps=3.0", "steps must be an integer (int), got '3.0'"),
        ("steps=", "steps must be an integer (int), got ''"),
        ("rate=fast", "rate must be a finite number (float), got 'fast'"),
        ("rate=nan", "rate must be a finite number (float), got 'nan'"),
        ("rate=-inf", "rate must be a finite number (float), got '-inf'"),
        ("shuffle=1", "shuffle must be true or false (bool), got '1'"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_wanted(argument, message):
    with pytest.raises(ValueError) as caught:
        train.parse([argument], KNOWN)
    assert str(caught.value) == message


def test_all_wrong_arguments_are_reported_before_anything_runs(notebook, tmp_path, capsys):
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as caught:
        train.main([f"--notebook={notebook()}", f"out={out}", "step=1", "steps=x", "rate=1", "rate=2"])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "unknown parameter 'step'; known are steps, rate, name, shuffle, out\n" in error
    assert "steps must be an integer (int), got 'x'\n" in error
    assert "rate must be given once, got 'rate=2' as well\n" in error
    assert not out.exists()


def test_a_notebook_or_folder_that_cannot_be_is_reported(notebook, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main(["--notebook", str(tmp_path / "none.ipynb")])
    assert "--notebook: no such file" in capsys.readouterr().err
    path = notebook()
    with pytest.raises(SystemExit):
        train.main(["--notebook", str(path), f"out={path}"])
    assert f"out must be a folder that can be made, got '{path}'" in capsys.readouterr().err


def test_the_executed_notebook_is_named_after_what_differs_from_the_defaults(tmp_path):
    values = {"name": "a/b c", "rate": 1e-3, "steps": 3, "out": "elsewhere"}
    assert train.executed_name(tmp_path / "small.ipynb", values, KNOWN) == "small-steps=3-name=a_b_c.ipynb"
    assert train.executed_name(tmp_path / "small.ipynb", {}, KNOWN) == "small.ipynb"


def test_papermill_sees_every_parameter_of_the_training_notebook(capsys):
    notebook = nbformat.read(train.NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    lines = {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body}
    known = train.read_parameters(train.NOTEBOOK)
    assert {name: p.default for name, p in known.items()} == lines
    assert all(p.help for p in known.values())
    assert train.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert [line.split("=")[0] for line in listed.splitlines()] == list(known)
    assert known["seed"].help in listed


def test_a_failing_cell_leaves_the_notebook_and_a_message(notebook, tmp_path, capsys):
    cells = ["import sys\nprint(sys.executable, steps)", "print(1, file=sys.stderr)\n{}[name]", "print('never')"]
    assert train.main([f"--notebook={notebook(*cells)}", f"out={tmp_path / 'out'}", "steps=3"]) == 1
    printed = capsys.readouterr()
    assert f"{sys.executable} 3\n" in printed.out
    assert "small.ipynb, cell [4]: KeyError: 'a'" in printed.err
    executed = tmp_path / "out/small-steps=3.ipynb"
    assert f"The notebook as far as it came: {executed}" in printed.err
    assert streams(executed) == f"{sys.executable} 3\n1\n"
    assert "out" not in [p.name for p in tmp_path.glob("results")]


def test_ctrl_c_reaches_the_notebook_and_says_how_to_go_on(notebook, tmp_path, capsys):
    # The kernel's parent is the driver, so the notebook can press Ctrl-C itself, always at the same moment.
    press = """
import os, signal, time
try:
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(60)
except KeyboardInterrupt:
    print("saved")
    raise
"""
    cells = [press, "print('never')"]
    arguments = ["--notebook", str(notebook(*cells)), f"out={tmp_path}", "name=b"]
    assert train.main(arguments) == 130
    printed = capsys.readouterr()
    assert printed.out == "saved\n"
    assert "KeyboardInterrupt" in printed.err
    assert printed.err.splitlines()[-1].startswith("To go on: ")
    assert printed.err.splitlines()[-1].endswith(" ".join(arguments))
    assert streams(tmp_path / "small-name=b.ipynb") == "saved\n"


def test_ctrl_c_while_the_kernel_starts_is_no_failure(notebook, tmp_path, monkeypatch):
    class Starting:
        def interrupt(self):
            return True

    def start(*arguments, **settings):
        train.RunningPython.latest = Starting()
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(train.papermill, "execute_notebook", start)
    assert train.execute(notebook(), tmp_path / "executed.ipynb", {}) == 130
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    with pytest.raises(RuntimeError, match="died before replying"):
        train.execute(notebook(), tmp_path / "executed.ipynb", {})


def test_a_dead_kernel_is_reported(notebook, tmp_path, capsys):
    assert train.main(["--notebook", str(notebook("import os\nos._exit(9)")), f"out={tmp_path}"]) == 1
    assert "The kernel of small.ipynb died" in capsys.readouterr().err
    assert (tmp_path / "small.ipynb").is_file()


def test_a_run_is_trained_scored_recorded_and_not_trained_twice(tmp_path, capsys):
    arguments = ["steps=2", "image_size=16", "batch_size=4", "lambda_nhp=0.0", "eval_images=300", f"out={tmp_path}"]
    assert train.main(arguments) == 0
    printed = capsys.readouterr()
    assert "step 2/2  loss" in printed.out
    name = "shapes3d-twin-tiny-16-nonhp-seed0"
    assert {p.name for p in tmp_path.iterdir()} == {
        "checkpoints",
        "train-image_size=16-steps=2-batch_size=4-lambda_nhp=0.0-eval_images=300.ipynb",
        f"{name}.json",
        *(f"{name}-{kind}.png" for kind in ("history", "nmi", "reconstructions", "traversals")),
    }
    first = json.loads((tmp_path / f"{name}.json").read_text())
    assert (first["name"], first["dataset"], first["source"]) == (name, "shapes3d", "twin")
    assert (first["steps"], first["seed"], first["scores"]["n"]) == (2, 0, 300)
    assert first["config"]["image_size"] == 16 and first["config"]["batch_size"] == 4
    assert first["config"]["lambda_nhp"] == 0 and first["config"]["lambda_klm"] > 0
    assert first["history"]["step"] == [1, 2]

    assert train.main(arguments) == 0
    assert "step 2/2" not in capsys.readouterr().out
    second = json.loads((tmp_path / f"{name}.json").read_text())
    assert {k: second[k] for k in ("config", "history", "scores")} == {
        k: first[k] for k in ("config", "history", "scores")
    }
