"""What a benchmark leaves: a JSON file that is whole at every moment and can be continued, and a table."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tripod_lite.results import environment

ROOT = Path(__file__).parents[1]
SAME = ("code", "python", "jax", "backend", "accelerators", "cpu", "cores", "system")


def default_path(name: str) -> Path:
    """Where the figures of a benchmark go: data/benchmarks/NAME-BACKEND.json."""
    return ROOT / "data" / "benchmarks" / f"{name}-{jax.default_backend()}.json"


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: whoever is cut off leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".json.part")
    whole.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(whole, path)


def code(root: Path = ROOT) -> str:
    """A hash of the code that is measured: two records with the same one measured the same thing."""
    digest = hashlib.sha256()
    for folder in ("tripod_lite", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(f"\n{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class Record:
    """The figures of a grid of points, in a file that has all points measured so far.

    A later run on the same machine with the same code goes on where this one stopped. Figures of other code or of
    another machine are not mixed with its own; they are dropped.

    Attributes:
        points: the figures by the point's name. Each has the number of the `run` that measured it.
        runs: of each run its environment, with the hash of the code, and its setting.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open a file.

        Args:
            path: the JSON file; it need not exist.
            fresh: forget what it has.
        """
        self._path = path
        self._here = environment() | {"code": code()}
        there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not fresh else {}
        self.runs: list[dict[str, Any]] = there.get("runs", [])
        self.points: dict[str, dict[str, Any]] = there.get("points", {})
        if any(run["environment"].get(name) != self._here[name] for run in self.runs for name in SAME):
            print(f"{path} is of other code or of another machine, so all of it is measured again", flush=True)
            self.runs, self.points = [], {}

    def begin(self, setting: Mapping[str, Any]) -> None:
        """Begin a run: the points that are added from now on were measured under this setting."""
        self.runs.append({"environment": self._here} | dict(setting))

    def add(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep the figures of a point and write the file."""
        self.points[name] = dict(figures) | {"run": len(self.runs) - 1}
        write(self._path, {"runs": self.runs, "points": self.points})


def table(columns: Mapping[str, Callable[[Mapping[str, Any]], str]], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as text, a line a row. Of each column a title and what to print of a row."""
    cells = [list(columns)] + [[show(row) for show in columns.values()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
