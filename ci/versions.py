"""Run the tests with the oldest or the newest versions that pyproject.toml allows, in an environment of their own.

python ci/versions.py oldest|newest [arguments for pytest]

The lock file plays no part here. The oldest set takes the lower bound of every dependency that pyproject.toml names;
the newest one takes what was released last. The environment is .venv-oldest or .venv-newest, of the Python that runs
this script.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
SHOWN = ("jax", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "scikit-learn", "matplotlib")


def run(*command: str | Path) -> None:
    """Run a command in the repository's root; raise CalledProcessError where it fails."""
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)


def install(which: str) -> Path:
    """Make the environment anew and return its Python."""
    folder = ROOT / f".venv-{which}"
    venv.create(folder, clear=True, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # The resolver installs itself in the environment: pip has none that looks for the lowest versions.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    options = ["--quiet", "--python", python, "--resolution", RESOLUTIONS[which]]
    run(python, "-m", "uv", "pip", "install", *options, "--editable", ".[book,test]")
    return python


def main(arguments: list[str] | None = None) -> int:
    """Install, say what was installed, and return the exit status of pytest."""
    parser = argparse.ArgumentParser(description="Run the tests with the oldest or newest versions allowed.")
    parser.add_argument("which", choices=RESOLUTIONS)
    args, rest = parser.parse_known_args(arguments)
    try:
        python = install(args.which)
    except subprocess.CalledProcessError as error:
        print(f"The {args.which} versions cannot be installed; see above.", file=sys.stderr)
        return error.returncode
    show = f"from importlib.metadata import version; print(*(f'{{n}} {{version(n)}}' for n in {SHOWN}), sep=', ')"
    run(python, "-c", show)
    return subprocess.run([str(python), "-m", "pytest", *rest], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
