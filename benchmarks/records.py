"""What a benchmark leaves: a JSON file that is whole at every moment and can be continued, and a table."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
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
    """The figures of a grid of points, which take their file's place when all of them are measured.

    Until then they are in a file beside it, PATH.unfinished, from which a later run on the same machine with the same
    code goes on. Figures of other code or of another machine are not mixed with its own.

    Attributes:
        points: the figures by the point's name. Each has the number of the `run` that measured it.
        runs: of each run its environment, with the hash of the code, and its setting.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Open a file.

        Args:
            path: the JSON file; it need not exist.
            fresh: begin without what was measured before.
        """
        self._path, self._unfinished = path, path.with_name(path.name + ".unfinished")
        self._here = environment() | {"code": code()}
        self._newer = False  # whether there is more here than in the file
        self.runs: list[dict[str, Any]] = []
        self.points: dict[str, dict[str, Any]] = {}
        for source in () if fresh else (self._unfinished, path):
            there = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {"runs": []}
            if not there["runs"]:
                continue
            if any(run["environment"].get(name) != self._here[name] for run in there["runs"] for name in SAME):
                print(f"{source} is of other code or of another machine, so all of it is measured again", flush=True)
                continue
            self.runs, self.points, self._newer = there["runs"], there["points"], source == self._unfinished
            break

    def begin(self, setting: Mapping[str, Any]) -> None:
        """Begin a run: the points that are added from now on were measured under this setting."""
        self.runs.append({"environment": self._here} | dict(setting))

    def add(self, name: str, figures: Mapping[str, Any]) -> None:
        """Keep the figures of a point."""
        self.points[name] = dict(figures) | {"run": len(self.runs) - 1}
        self._newer = True
        write(self._unfinished, {"runs": self.runs, "points": self.points})

    def finish(self, names: Collection[str]) -> bool:
        """Put the figures in their place if all of these points are among them; return whether they are."""
        if set(names) - self.points.keys():
            return False
        if self._newer:
            os.replace(self._unfinished, self._path)
            self._newer = False
        return True


def table(columns: Mapping[str, Callable[[Mapping[str, Any]], str]], rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as text, a line a row. Of each column a title and what to print of a row."""
    cells = [list(columns)] + [[show(row) for show in columns.values()] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
