"""Give every notebook the first code cell that installs the package in Colab; `--check` only reports.

The address of the repository stands in _config.yml; this writes it into the notebooks. After a change there, `make fix`
runs this. README.md has the address too, in its links.
"""

import sys
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[1]
FOLDERS = ("book", "data/cards")
TAG = "remove-cell"  # the page of the book does not show the cell

# JAX uses a GPU through a plugin of its own version. Colab's GPU machines have a plugin for an older JAX than ours.
SOURCE = """\
import importlib.util

if importlib.util.find_spec("tripod_lite") is None:
    %pip install -q "tripod-lite @ {package}"
    # The plugin must be of JAX's version, or JAX does not see the GPU.
    if importlib.util.find_spec("jax_cuda12_plugin"):
        %pip install -q "jax[cuda12]\""""


def repository(config: Path = ROOT / "_config.yml") -> dict[str, str]:
    """Return the addresses that follow from _config.yml: `package` for pip, `colab` of the folder of all notebooks."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    url, branch = settings["repository"]["url"], settings["repository"]["branch"]
    colab = settings["launch_buttons"]["colab_url"]
    owner_and_name = url.removeprefix("https://github.com/")
    return {"package": f"git+{url}", "colab": f"{colab}/github/{owner_and_name}/blob/{branch}/"}


def source(package: str | None = None) -> str:
    """Return the cell's code, for the repository's address or another that pip understands."""
    return SOURCE.format(package=package or repository()["package"])


def notebooks(root: Path = ROOT) -> list[Path]:
    """List the notebooks that readers open, not those that were built or left by an editor."""
    built = {"_build", ".ipynb_checkpoints", "results"}
    found = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.ipynb"))]
    return [path for path in found if not built & set(path.relative_to(root).parts)]


def position(notebook: NotebookNode) -> int | None:
    """Return the number of the cell that installs the package, None where there is none."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            return number if TAG in cell.metadata.get("tags", []) and "%pip" in cell.source else None
    return None


def is_right(notebook: NotebookNode) -> bool:
    """Say whether the first code cell of a notebook is the cell, hidden and word for word."""
    number = position(notebook)
    return number is not None and notebook.cells[number].source == source()


def mend(notebook: NotebookNode) -> None:
    """Write the cell over the one that is there, or put it first."""
    number = position(notebook)
    if number is None:
        notebook.cells.insert(0, new_code_cell(source(), metadata={"tags": [TAG]}))
    else:
        notebook.cells[number].source = source()


def main(arguments: list[str]) -> int:
    """Report the notebooks whose cell is missing or another, mending them unless told to check."""
    wrong = 0
    for path in notebooks():
        notebook = nbformat.read(path, as_version=4)
        if is_right(notebook):
            continue
        if arguments == ["--check"]:
            print(f"{path.relative_to(ROOT)}: the first code cell does not install the package as ci/install_cell.py")
            wrong += 1
        else:
            mend(notebook)
            nbformat.write(notebook, path)
            print(f"mended {path.relative_to(ROOT)}")
    return int(wrong > 0)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(f"usage: python ci/install_cell.py [--check], got {' '.join(sys.argv[1:])}")
    sys.exit(main(sys.argv[1:]))
