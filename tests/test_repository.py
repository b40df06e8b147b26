"""The repository keeps its own promises: lists that must agree do, nothing is too big, unformatted or unstripped."""

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import check_book
import nbformat
import pytest
import strip_notebooks
import yaml

import tripod_lite as tl

ROOT = Path(__file__).parents[1]
SOURCES = ["tripod_lite", "tests", "ci", "benchmarks", "book", "data/cards"]
MATHJAX = ROOT / "book/_static/mathjax"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tracked_or_new():
    """List the files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip(f"not a git repository: {run.stderr.strip()}")
    return [path for name in set(run.stdout.split("\0")) - {""} if (path := ROOT / name).is_file()]


def test_conda_environment_has_the_dependencies_of_pyproject(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (listed,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    # Linux gets JAX with CUDA there, other systems plain JAX: one dependency in two lines.
    plain = {line.replace("[cuda12]", "").split(" ;")[0] for line in listed if not line.startswith("-")}
    extras = project["optional-dependencies"]
    assert plain == {*project["dependencies"], *extras["book"], *extras["test"]}
    assert "-e ." in listed


def test_lock_pins_every_dependency(project):
    pinned = {re.split(r"[=\[ ]", line)[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines()}
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    assert {re.split(r"[<>=\[ ;]", d)[0].lower() for d in wanted} <= pinned


def test_changelog_starts_with_the_version_of_pyproject(project):
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == project["version"]


@pytest.mark.parametrize("page", check_book.toc_pages())
def test_table_of_contents_names_one_file_each(page):
    found = [suffix for suffix in (".ipynb", ".md") if (ROOT / f"{page}{suffix}").is_file()]
    assert len(found) == 1, f"{page}: {found}"


def test_the_package_knows_its_version(project):
    assert tl.__version__ == project["version"]


def test_importing_the_package_brings_in_no_widgets_and_no_other_framework():
    seen = "import sys, tripod_lite; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout.split()
    assert "jax" in modules
    assert not {"tensorflow", "ipywidgets", "matplotlib", "sklearn", "torch"} & set(modules)


def test_readme_names_only_make_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|[`$] ?)make ([a-z]+)", (ROOT / document).read_text(), flags=re.MULTILINE))
        assert named, f"{document} names no make target"
        assert named <= targets


def test_notebooks_are_stripped():
    notebooks = strip_notebooks.find([ROOT / "book", ROOT / "data/cards"])
    assert notebooks
    found = {p.name: strip_notebooks.problems(nbformat.read(p, as_version=4)) for p in notebooks}
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_is_content(command):
    run = subprocess.run([sys.executable, "-m", "ruff", *command, *SOURCES], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_files_are_small():
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked_or_new() if p.stat().st_size > 1_000_000}
    assert not large


def test_modules_fit_one_purpose():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in tracked_or_new() if p.suffix == ".py"}
    assert not {name: lines for name, lines in lengths.items() if lines > 400}


def test_mathjax_is_unmodified_and_complete():
    sums = dict(reversed(line.split()) for line in (MATHJAX / "SHA256SUMS").read_text().splitlines())
    files = [p for p in MATHJAX.rglob("*") if p.is_file() and p.name not in {"SHA256SUMS", "README.md"}]
    assert {f"./{p.relative_to(MATHJAX).as_posix()}": hashlib.sha256(p.read_bytes()).hexdigest() for p in files} == sums
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    for component in config["mathjax3_config"]["loader"]["load"]:
        assert (MATHJAX / f"{component}.js").is_file()
