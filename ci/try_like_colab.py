"""Run notebooks from top to bottom as a reader does in Colab, in an empty folder and without the repository.

python ci/try_like_colab.py [NOTEBOOK ...] [--here] [--published] [--set NAME=VALUE ...] [--out FOLDER]

By default all chapters, dataset cards and the training notebook run, in a new virtual environment with the versions
that Colab ships (ci/colab.txt) and without tripod_lite, so each notebook's first cell has to install it, from a wheel
of this checkout. In Colab's own image give --here, which uses the Python that runs this script, and --published, which
leaves the first cell the address that it has. The training notebook is cut to a few steps; --set changes its other
parameters. For each notebook one line says how long it took, or which cell failed.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable
from pathlib import Path

import install_cell
import nbformat
from check_book import toc_pages
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).parents[1]
PINS = ROOT / "ci/colab.txt"
TRAINING = ROOT / "book/training/train.ipynb"
SHORT = {"steps": 200, "evaluate_every": 100, "print_every": 20, "eval_images": 1000}  # a minute or two on a CPU
CELL_SECONDS = 1800
# What a reader's runtime does not have: the platform that make sets, and anything that leads back to the checkout.
DROPPED = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR", "PYTHONPATH", "TRIPOD_LITE_DATA", "MPLBACKEND")


def all_notebooks() -> list[Path]:
    """List the chapters and cards in the book's order, and the training notebook."""
    pages = [ROOT / f"{page}.ipynb" for page in toc_pages()]
    return [path for path in pages if path.is_file()] + ([TRAINING] if TRAINING not in pages else [])


def colab_python(folder: Path) -> Path:
    """Make a virtual environment with Colab's versions in `folder`; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", PINS], check=True)
    return python


def wheel(folder: Path) -> str:
    """Build a wheel of the checkout in `folder`; return its address for pip."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built.as_uri()


def versions(python: Path) -> dict[str, str]:
    """Return the versions of all packages that `python` has, by name."""
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(listed)}


def prepare(notebook: NotebookNode, package: str | None, values: dict[str, object]) -> None:
    """Let the first cell install `package` instead of the address, and set the parameters of a notebook that has some.

    Raises:
        ValueError: the first code cell does not install the package; a parameter that the notebook does not have.
    """
    number = install_cell.position(notebook)
    if number is None:
        raise ValueError("the first code cell must install the package; `make fix` puts it there")
    if package is not None:
        notebook.cells[number].source = install_cell.source(package)
    for number, cell in enumerate(notebook.cells):
        if "parameters" in cell.metadata.get("tags", []):
            known = {node.target.id for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)}
            if unknown := values.keys() - known:
                raise ValueError(f"--set must name parameters among {', '.join(sorted(known))}, got {sorted(unknown)}")
            lines = [f"{name} = {value!r}" for name, value in values.items()]
            notebook.cells.insert(number + 1, new_code_cell("\n".join(lines)))
            return


def failure(notebook: NotebookNode, error: Exception) -> str:
    """Say which cell failed and how, as a reader would look for it."""
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                first = next(line for line in cell.source.splitlines() if line.strip())
                return f"cell {number} ({first[:60]}): {output.ename}: {output.evalue[:500]}"
    return f"{type(error).__name__}: {str(error)[:500]}"


def execute(notebook: NotebookNode, cwd: Path) -> str | None:
    """Run a notebook with the kernel named `reader` in `cwd`, keep its outputs; return what failed, None if nothing."""
    client = NotebookClient(
        notebook, kernel_name="reader", timeout=CELL_SECONDS, resources={"metadata": {"path": str(cwd)}}
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, RuntimeError) as error:  # of a kernel that dies or does not start
        return failure(notebook, error)
    return None


def register(python: Path, folder: Path) -> None:
    """Let the kernel name `reader` stand for `python`, for this process and what it starts."""
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "reader"}
    place = folder / "kernels/reader"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    os.environ["JUPYTER_PATH"] = str(folder)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # or each kernel warns of the debugger that it does not use


def setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, the value as Python has it, or a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be of the form NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def changed(before: dict[str, str], after: dict[str, str]) -> str:
    """Say which of the packages that were there have another version now."""
    lines = [f"{n} {v} -> {after.get(n, 'gone')}" for n, v in before.items() if after.get(n) != v]
    return ", ".join(lines) or "none"


def run_all(
    paths: Iterable[Path], python: Path, package: str | None, values: dict[str, object], work: Path, out: Path | None
) -> int:
    """Run notebooks one after the other, each from a state without tripod_lite; return how many failed."""
    failed, before = 0, versions(python)
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
        # A runtime is new for each notebook. Dependencies stay, which saves minutes.
        uninstall = [python, "-m", "pip", "uninstall", "-q", "-y", "--disable-pip-version-check", "tripod-lite"]
        subprocess.run(uninstall, check=True, stderr=subprocess.DEVNULL)
        notebook = nbformat.read(path, as_version=4)
        prepare(notebook, package, values)
        print(f"{name:<34} ", end="", flush=True)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=work, prefix="empty-") as cwd:
            wrong = execute(notebook, Path(cwd))
        print(f"{'failed' if wrong else 'passed'} {time.perf_counter() - start:7.1f} s", flush=True)
        if wrong:
            failed += 1
            print(f"    {wrong}", flush=True)
        if out:
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target)
    print(f"Versions of Colab's that the first cells changed: {changed(before, versions(python))}")
    return failed


def main(arguments: list[str] | None = None) -> int:
    """Make the environment, run the notebooks, return 1 if one failed."""
    parser = argparse.ArgumentParser(description="Run notebooks as a reader does in Colab.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--here", action="store_true", help="with this Python, which loses its tripod_lite")
    parser.add_argument("--published", action="store_true", help="install as the first cell says, not from a wheel")
    parser.add_argument("--set", action="append", default=[], type=setting, metavar="NAME=VALUE", dest="values")
    parser.add_argument("--out", type=Path, help="folder for the executed notebooks")
    args = parser.parse_intermixed_args(arguments)
    for path in args.notebooks:
        if not path.is_file():
            parser.error(f"no such notebook: {path}")
    paths = [path.resolve() for path in args.notebooks] or all_notebooks()
    values = SHORT | dict(args.values)
    for path in paths:  # before minutes are spent on the environment
        try:
            prepare(nbformat.read(path, as_version=4), None, values)
        except ValueError as error:
            parser.error(f"{path.name}: {error}")
    for name in DROPPED:
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory(prefix="like-colab-") as temporary:
        work = Path(temporary)
        python = Path(sys.executable) if args.here else colab_python(work / "venv")
        package = None if args.published else wheel(work / "wheel")
        register(python, work / "jupyter")
        failed = run_all(paths, python, package, values, work, args.out)
    print(f"{len(paths) - failed} of {len(paths)} notebooks ran from top to bottom.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
