"""Keep notebooks in the repository free of outputs, counts and editor metadata; `--check` only reports.

python ci/strip_notebooks.py [--check] PATH ...        notebooks, or folders that are searched for them
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags", "mystnb"}
LONGEST_CELL = 25


def find(paths: list[Path]) -> list[Path]:
    """List the notebooks among and below `paths`, leaving out what was built."""
    built = {"_build", ".ipynb_checkpoints"}
    found = []
    for path in paths:
        if path.is_file():
            found.append(path)
        else:
            found += [p for p in sorted(path.rglob("*.ipynb")) if not built & set(p.relative_to(path).parts)]
    return found


def strip(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of `notebook` with only what a person wrote."""
    clean = nbformat.from_dict({**notebook, "metadata": METADATA})
    for cell in clean.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in CELL_METADATA and v}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return clean


def problems(notebook: NotebookNode) -> list[str]:
    """Say what keeps `notebook` out of the repository: one line a finding, empty when it is clean."""
    found = []
    clean = strip(notebook)
    if notebook.metadata != METADATA:
        found.append("notebook metadata other than the kernel's and the language's name")
    for number, (cell, stripped) in enumerate(zip(notebook.cells, clean.cells, strict=True)):
        if cell.get("outputs") or cell.get("execution_count") is not None:
            found.append(f"cell {number}: outputs or an execution count")
        if cell.metadata != stripped.metadata:
            found.append(f"cell {number}: metadata {sorted(set(cell.metadata) - set(stripped.metadata))}")
        lines = cell.source.count("\n") + 1
        if cell.cell_type == "code" and lines > LONGEST_CELL:
            found.append(f"cell {number}: {lines} lines of code, at most {LONGEST_CELL} wanted")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Strip notebooks.")
    parser.add_argument("--check", action="store_true", help="only report")
    parser.add_argument("paths", nargs="+", type=Path)
    args = parser.parse_args()
    for path in args.paths:
        if not path.exists():
            parser.error(f"no such file or folder: {path}")
    left = 0
    for path in find(args.paths):
        notebook = nbformat.read(path, as_version=4)
        if not args.check and problems(notebook):
            notebook = strip(notebook)
            nbformat.write(notebook, path)
            print(f"stripped {path}")
        for line in problems(notebook):
            print(f"{path}: {line}")
            left += 1
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main())
