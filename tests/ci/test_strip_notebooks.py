"""The check for notebooks finds each thing that it is there for, and the fix removes it."""

import nbformat
import strip_notebooks
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


def notebook(*cells, **metadata):
    return new_notebook(cells=list(cells), metadata=strip_notebooks.METADATA | metadata)


def test_clean_notebook_has_no_problems():
    cell = new_code_cell("x = 1", metadata={"tags": ["hide-input"], "mystnb": {"image": {"alt": "A dot."}}})
    assert strip_notebooks.problems(notebook(new_markdown_cell("# Title"), cell)) == []


def test_each_problem_is_found_and_mended():
    printed = new_code_cell("print(1)", outputs=[new_output("stream", name="stdout", text="1\n")])
    counted = new_code_cell("x", execution_count=3)
    folded = new_code_cell("x", metadata={"collapsed": True, "tags": ["hide-cell"]})
    dirty = notebook(printed, counted, folded, widgets={"state": {}})
    assert [line.split(":")[0] for line in strip_notebooks.problems(dirty)] == [
        "notebook metadata other than the kernel's and the language's name",
        "cell 0",
        "cell 1",
        "cell 2",
    ]
    clean = strip_notebooks.strip(dirty)
    assert strip_notebooks.problems(clean) == []
    assert [cell.source for cell in clean.cells] == ["print(1)", "x", "x"]
    assert clean.cells[2].metadata == {"tags": ["hide-cell"]}
    assert dirty.cells[0].outputs, "the notebook passed in is left alone"


def test_a_long_cell_is_found_and_text_may_be_long():
    lines = "\n".join(["x = 1"] * (strip_notebooks.LONGEST_CELL + 1))
    assert strip_notebooks.problems(notebook(new_markdown_cell(lines))) == []
    assert strip_notebooks.problems(notebook(new_code_cell(lines))) == ["cell 0: 26 lines of code, at most 25 wanted"]


def test_a_clone_may_lie_below_a_folder_of_any_name(tmp_path):
    clone = tmp_path / "_build" / "clone"
    (clone / "_build").mkdir(parents=True)
    for name in ("chapter.ipynb", "_build/built.ipynb"):
        (clone / name).touch()
    assert strip_notebooks.find([clone]) == [clone / "chapter.ipynb"]


def test_command_checks_without_writing_and_then_mends(tmp_path, monkeypatch, capsys):
    path = tmp_path / "chapter.ipynb"
    nbformat.write(notebook(new_code_cell("x", execution_count=1)), path)
    (tmp_path / "_build").mkdir()
    nbformat.write(notebook(new_code_cell("x", execution_count=1)), tmp_path / "_build/built.ipynb")
    before = path.read_text()

    monkeypatch.setattr("sys.argv", ["strip_notebooks", "--check", str(tmp_path)])
    assert strip_notebooks.main() == 1
    assert path.read_text() == before
    assert capsys.readouterr().out == f"{path}: cell 0: outputs or an execution count\n"

    monkeypatch.setattr("sys.argv", ["strip_notebooks", str(tmp_path)])
    assert strip_notebooks.main() == 0
    assert nbformat.read(path, as_version=4).cells[0].execution_count is None
