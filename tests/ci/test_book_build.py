"""`make book` in a small copy of the repository: an edit of the package runs the chapters again, nothing else does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import install_cell
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
COPIED = ["Makefile", "_config.yml", "pyproject.toml", "requirements.lock", "ci", "book/_static", "book/references.bib"]
PACKAGE = "def answer():\n    return {}\n"
CHAPTER = """
import tripod_lite

with open(r"{log}", "a") as log:
    log.write("run\\n")
print("the answer is", tripod_lite.answer())
"""


@pytest.fixture
def repository(tmp_path):
    """A repository with the real settings, Makefile and scripts, a package of one function and one chapter."""
    root = tmp_path / "repository"
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    (root / "tripod_lite").mkdir()
    (root / "tripod_lite/__init__.py").write_text(PACKAGE.format(41))
    (root / "data").mkdir()
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/chapter\n")
    install = new_code_cell(install_cell.source(), metadata={"tags": [install_cell.TAG]})
    code = new_code_cell(CHAPTER.format(log=tmp_path / "runs"))
    nbformat.write(new_notebook(cells=[install, new_markdown_cell("# Chapter"), code]), root / "book/chapter.ipynb")
    (root / "installed").touch()  # newer than the lock file: make installs nothing
    return root


def build(root):
    """Run `make book`; return how often the chapter has run so far, and its page."""
    command = ["make", "book", f"VENV={sys.prefix}", "STAMP=installed"]
    # The package must be the copy's, not the one that is installed, and the cache the copy's own.
    made = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stdout + made.stderr
    runs = (root.parent / "runs").read_text().count("run")
    return runs, (root / "book/_build/html/book/chapter.html").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_an_edit_of_one_function_runs_the_chapters_again(repository):
    pytest.importorskip("jupyter_book")
    runs, page = build(repository)
    assert runs == 1
    assert "the answer is 41" in page

    (repository / "README.md").write_text("no chapter reads this")
    runs, page = build(repository)
    assert runs == 1, "nothing that a chapter depends on has changed"
    assert "the answer is 41" in page, "the page has the outputs of the first run"

    (repository / "tripod_lite/__init__.py").write_text(PACKAGE.format(42))
    runs, page = build(repository)
    assert runs == 2
    assert "the answer is 42" in page
    assert "the answer is 41" not in page
