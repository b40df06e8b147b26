"""Every notebook installs the package where it is missing; what is tried here is what a reader of Colab runs."""

import argparse
import sys
from types import ModuleType, SimpleNamespace

import install_cell
import nbformat
import pytest
import try_like_colab
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import tripod_lite.results  # noqa: F401, now: what it imports has a package google of its own

NOTEBOOKS = install_cell.notebooks()


def cell_with(text):
    cells = nbformat.read(try_like_colab.TRAINING, as_version=4).cells
    (cell,) = [cell for cell in cells if text in cell.source]
    return cell.source


def test_addresses_come_from_the_settings(tmp_path):
    config = tmp_path / "_config.yml"
    config.write_text(
        "repository: {url: https://github.com/me/book, branch: trunk}\nlaunch_buttons: {colab_url: https://colab.org}"
    )
    assert install_cell.repository(config) == {
        "package": "git+https://github.com/me/book",
        "colab": "https://colab.org/github/me/book/blob/trunk/",
    }
    assert install_cell.repository()["package"] in install_cell.source()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_starts_with_the_cell(path):
    assert install_cell.is_right(nbformat.read(path, as_version=4)), "`make fix` mends it"


def test_all_notebooks_of_the_book_are_tried():
    assert {path.resolve() for path in try_like_colab.all_notebooks()} == {path.resolve() for path in NOTEBOOKS}


def test_documents_name_the_repository_as_the_settings_do():
    readme = (install_cell.ROOT / "README.md").read_text()
    colab = install_cell.repository()["colab"]
    linked = [
        word.split(")")[0] for word in readme.split("(") if word.startswith("https://colab.research.google.com/git")
    ]
    assert f"{colab}book/training/train.ipynb" in linked
    for address in linked:
        assert address.startswith(colab)
        assert (install_cell.ROOT / address.removeprefix(colab)).is_file()


@pytest.mark.parametrize(
    "cells",
    [
        [new_code_cell("x = 1")],
        [new_code_cell(install_cell.source())],  # not hidden
        [new_code_cell("x = 1"), new_code_cell(install_cell.source(), metadata={"tags": [install_cell.TAG]})],
        [new_code_cell(install_cell.source("git+https://example.org/x"), metadata={"tags": [install_cell.TAG]})],
    ],
    ids=["missing", "shown", "late", "another address"],
)
def test_a_wrong_cell_is_found_and_mended(cells):
    notebook = new_notebook(cells=[new_markdown_cell("# Title"), *cells])
    assert not install_cell.is_right(notebook)
    install_cell.mend(notebook)
    assert install_cell.is_right(notebook)


def test_the_cell_installs_only_where_the_package_is_missing(monkeypatch):
    code = install_cell.source().replace("%pip install -q ", "ran.append(").replace('"\n', '")\n') + ")"
    found = {"tripod_lite"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in found else None)

    def run():
        ran = []
        exec(code, {"ran": ran})
        return ran

    assert run() == []
    found.clear()
    package = f"tripod-lite @ {install_cell.repository()['package']}"
    assert run() == [package]
    found.add("jax_cuda12_plugin")
    assert run() == [package, "jax[cuda12]"]


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """Colab's module, that notes what is asked of it, and a folder of results in the working directory."""
    asked = []
    module, google = ModuleType("google.colab"), ModuleType("google")
    module.drive = SimpleNamespace(mount=lambda place: asked.append(("mount", place)))
    module.files = SimpleNamespace(download=lambda path: asked.append(("download", path)))
    google.colab = module
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/run.json").write_text("{}")
    return asked


def copy_results(choice):
    names = {"colab_copy": choice, "out": "results"}
    exec(cell_with("import shutil"), names)
    exec(cell_with("google.colab"), names)


def test_results_are_copied_to_the_drive_only_when_asked(colab, tmp_path):
    copy_results("none")
    assert colab == []
    copy_results("drive")
    assert colab == [("mount", str(tmp_path / "drive"))]
    assert (tmp_path / "drive/MyDrive/tripod/run.json").read_text() == "{}"
    copy_results("drive")  # a second run adds to the folder


def test_results_are_downloaded_as_one_file(colab, tmp_path):
    copy_results("download")
    assert colab == [("download", str(tmp_path / "tripod.zip"))]
    assert (tmp_path / "tripod.zip").stat().st_size > 100


def test_outside_colab_nothing_is_copied(colab, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "google.colab")
    copy_results("drive")
    assert colab == []
    assert not (tmp_path / "drive").exists()


def test_a_wrong_choice_stops_the_notebook_before_it_trains():
    source = cell_with("if colab_copy not in")
    check = source[source.index("if colab_copy not in") :]
    for choice in ("none", "download", "drive"):
        exec(check, {"colab_copy": choice})
    with pytest.raises(ValueError, match=r"colab_copy must be .*, got 'dirve'"):
        exec(check, {"colab_copy": "dirve"})


def parameters():
    first = new_code_cell(install_cell.source(), metadata={"tags": [install_cell.TAG]})
    return new_notebook(
        cells=[first, new_code_cell("steps: int = 9\nout: str = 'r'", metadata={"tags": ["parameters"]})]
    )


def test_a_notebook_is_prepared_with_the_wheel_and_its_parameters():
    notebook = parameters()
    try_like_colab.prepare(notebook, "file:a.whl", {"steps": 2, "out": "x"})
    assert '%pip install -q "tripod-lite @ file:a.whl"' in notebook.cells[0].source
    assert notebook.cells[2].source == "steps = 2\nout = 'x'"
    published = parameters()
    try_like_colab.prepare(published, None, {})
    assert published.cells[0].source == install_cell.source()


def test_what_cannot_be_prepared_is_refused():
    with pytest.raises(ValueError, match=r"--set must name parameters among out, steps, got \['stesp'\]"):
        try_like_colab.prepare(parameters(), None, {"stesp": 2})
    with pytest.raises(ValueError, match="first code cell must install the package"):
        try_like_colab.prepare(new_notebook(cells=[new_code_cell("x")]), None, {})
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=VALUE, got 'steps'"):
        try_like_colab.setting("steps")
    assert [try_like_colab.setting(text)[1] for text in ("a=1", "a=0.5", "a=drive", "a=x=y")] == [
        1,
        0.5,
        "drive",
        "x=y",
    ]


def test_a_wrong_setting_is_an_error_before_anything_is_installed(capsys):
    with pytest.raises(SystemExit) as caught:
        try_like_colab.main([str(try_like_colab.TRAINING), "--set", "stesp=2"])
    assert caught.value.code == 2
    assert "train.ipynb: --set must name parameters among" in capsys.readouterr().err


def test_a_failing_cell_is_reported_and_the_next_notebook_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.setattr(try_like_colab, "versions", lambda python: {"jax": "1"})
    monkeypatch.setattr(try_like_colab.subprocess, "run", lambda *a, **k: None)  # nothing is uninstalled here
    first = new_code_cell("import os\n# %pip", metadata={"tags": [install_cell.TAG]})
    for name, code in (("bad", "print('seen')\n{}['key']"), ("good", "assert os.listdir() == []")):
        nbformat.write(new_notebook(cells=[first, new_code_cell(code)]), tmp_path / f"{name}.ipynb")
    (tmp_path / "work").mkdir()
    try_like_colab.register(sys.executable, tmp_path / "jupyter")
    paths = [tmp_path / "bad.ipynb", tmp_path / "good.ipynb"]
    monkeypatch.setattr(try_like_colab, "ROOT", tmp_path)
    assert try_like_colab.run_all(paths, sys.executable, None, {}, tmp_path / "work", tmp_path / "out") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad.ipynb") and " failed " in lines[0]
    assert lines[1] == "    cell 1 (print('seen')): KeyError: 'key'"
    assert lines[2].startswith("good.ipynb") and " passed " in lines[2]
    kept = nbformat.read(tmp_path / "out/bad.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "seen\n"
