"""Recorded runs: what a training run leaves in a folder, and how it is read again."""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from tripod_lite.autoencoder import TripodConfig, noted_fields
from tripod_lite.metrics import Scores
from tripod_lite.storage import write_text
from tripod_lite.training import Run

if TYPE_CHECKING:
    import matplotlib.figure

DPI = 80  # of saved pictures; small enough to be kept in git


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run and its scores, as NAME.json holds them.

    Attributes:
        name: see `run_name`.
        dataset, source: as for `load_dataset`.
        steps, seed: as for `fit`.
        config: the fields of the `TripodConfig`, as they were called when the run was recorded.
        parameters: how many numbers the networks have to learn.
        seconds: of training; see `Run`.
        environments: where the run was trained and scored; see `environment`. More than one where it was resumed on
            another machine or after a change of the code, first to last.
        scores: on held-out images.
        history: as in `Run`, so that a result can stand for its run in `plot_history`. NaN where JSON has no number.
    """

    name: str
    dataset: str
    source: str
    steps: int
    seed: int
    config: dict[str, Any]
    parameters: int
    seconds: float
    environments: list[dict[str, Any]]
    scores: Scores
    history: dict[str, np.ndarray]

    def to_json(self) -> str:
        """The result as a JSON object, a line for each entry of its objects."""
        history = {name: [_number(v) for v in values.tolist()] for name, values in self.history.items()}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _object(fields | {"scores": json.loads(self.scores.to_json()), "history": history}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The result that `to_json` wrote.

        Raises:
            ValueError: not JSON, or fields missing or unknown.
        """
        fields, wanted = json.loads(text), {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or fields.keys() != wanted:
            found = ", ".join(sorted(fields)) if isinstance(fields, dict) else type(fields).__name__
            raise ValueError(f"text must be a JSON object with the fields {', '.join(sorted(wanted))}, got {found}")
        fields["scores"] = Scores.from_json(json.dumps(fields["scores"]))
        steps = ("step", "eval_step")
        fields["history"] = {
            name: np.array(values, np.int64 if name in steps else np.float64)
            for name, values in fields["history"].items()
        }
        return cls(**fields)

    def differences(
        self, config: TripodConfig, *, dataset: str, source: str, steps: int, seed: int
    ) -> dict[str, tuple[Any, Any]]:
        """In what a run differs from this one: by name, the value here and the one of that run.

        Args:
            config: that run's, as for `fit`.
            dataset: its name, as for `load_dataset`.
            source: as for `load_dataset`.
            steps: as for `fit`.
            seed: as for `fit`.
        """
        theirs = {"dataset": dataset, "source": source, "steps": steps, "seed": seed}
        here = {name: getattr(self, name) for name in theirs} | noted_fields(self.config)
        theirs |= _plain(dataclasses.asdict(config))
        return {
            name: (here.get(name), theirs.get(name))
            for name in sorted(here | theirs)
            if here.get(name) != theirs.get(name)
        }


def load_results(folder: str | Path | None = None) -> dict[str, Result]:
    """Recorded runs by name, in alphabetical order.

    Args:
        folder: where their JSON files are; None: the runs recorded with this package, data/results in its repository.

    Raises:
        ValueError: no such folder, no results in it, or a file that is no result.
    """
    folder = recorded_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        raise ValueError(f"folder must be a folder of results, but there is none at {folder}")
    results = {}
    for path in sorted(folder.glob("*.json")):
        results[path.stem] = _read(path)
    if not results:
        raise ValueError(f"folder must hold results, NAME.json, but {folder} has none")
    return results


def read_result(
    path: Path, config: TripodConfig, *, dataset: str, source: str, steps: int, seed: int, precision: bool = True
) -> Result | None:
    """The result of a run, where it is recorded.

    Args:
        path: the file of the run's result.
        config: the run's, as for `fit`.
        dataset: its name, as for `load_dataset`.
        source: as for `load_dataset`.
        steps: as for `fit`.
        seed: as for `fit`.
        precision: whether the precision counts. It is the machine's where the configuration leaves it open.

    Returns:
        The result, or None where there is no file.

    Raises:
        ValueError: the file holds no result, or that of another run; the message says in what it differs.
    """
    if not path.is_file():
        return None
    there = _read(path)
    differences = there.differences(config, dataset=dataset, source=source, steps=steps, seed=seed)
    said = [f"{n}: {a!r} there, {b!r} asked for" for n, (a, b) in differences.items() if precision or n != "precision"]
    if said:
        raise ValueError(
            f"{path} holds the result of another run ({'; '.join(said)}); remove it, or choose another folder"
        )
    return there


def configuration(
    dataset: str,
    size: str,
    *,
    image_size: int = 0,
    batch_size: int = 0,
    quantize: bool = True,
    estimator: str = "preset",
    lambda_klm: float = -1.0,
    lambda_nhp: float = -1.0,
    **changes: Any,
) -> TripodConfig:
    """The configuration that the parameters of the training notebook stand for.

    Args:
        dataset: as for `TripodConfig.preset`.
        size: as for `TripodConfig.preset`.
        image_size: the field of the configuration; 0: the preset's.
        batch_size: the field; 0: the preset's.
        quantize: the field.
        estimator: the field; "preset": the preset's.
        lambda_klm: the field; -1: the preset's.
        lambda_nhp: the field; -1: the preset's.
        **changes: other fields, as for `TripodConfig.preset`.

    Returns:
        The preset of the data set and size, with the fields that were set.

    Raises:
        TypeError, ValueError: as `TripodConfig` does.
    """
    given = {
        "image_size": image_size,
        "batch_size": batch_size,
        "estimator": estimator,
        "lambda_klm": lambda_klm,
        "lambda_nhp": lambda_nhp,
    }
    left = {"image_size": 0, "batch_size": 0, "estimator": "preset", "lambda_klm": -1.0, "lambda_nhp": -1.0}
    changes |= {name: value for name, value in given.items() if value != left[name]}
    return TripodConfig.preset(dataset, size, quantize=quantize, **changes)


def run_name(config: TripodConfig, *, dataset: str, source: str, seed: int) -> str:
    """A run's name: DATASET-SOURCE-SIZE-PIXELS, what differs from the preset, then -seedN.

    What differs are -noquant, -noklm, -nonhp, for each leg that is off, and the estimator of leg 2 where it is on and
    another than the preset's of that size.
    """
    legs = {"noquant": config.quantize, "noklm": config.lambda_klm, "nonhp": config.lambda_nhp}
    changes = [name for name, on in legs.items() if not on]
    usual = TripodConfig.preset("shapes3d", config.size, precision="float32").estimator  # that of all data sets
    if config.lambda_klm and config.estimator != usual:
        changes.append(config.estimator)
    return "-".join([dataset, source, config.size, str(config.image_size), *changes, f"seed{seed}"])


def environment() -> dict[str, Any]:
    """What this process runs on: the code, the libraries, the machine.

    Returns:
        `date`: now, UTC, ISO 8601.
        `version`: of this package. `commit`: of its code, None where that is not known. `changed`: whether the package
        or its training notebook differ from that commit; None without one.
        `python`, `jax`: versions. `backend`: JAX's, "cpu", "gpu" or "tpu". `accelerators`: the names of its devices, []
        on a CPU.
        `cpu`: its model. `cores`: those this process may use. `system`: and the architecture.
    """
    from tripod_lite import __version__

    commit, changed = _commit()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": commit,
        "changed": changed,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "accelerators": [device.device_kind for device in jax.devices() if device.platform != "cpu"],
        "cpu": _cpu(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
    }


class Recorder:
    """The place of one run in a folder: NAME.json, NAME-KIND.png beside it, and the checkpoints in checkpoints/NAME.

    Attributes:
        name: see `run_name`.
        checkpoints: the folder for `fit`'s checkpoints.
    """

    def __init__(
        self, out: str | Path, config: TripodConfig, *, dataset: str, source: str, steps: int, seed: int
    ) -> None:
        """Take the place, and note the environment.

        Args:
            out: the folder, made where it does not exist.
            config: the run's, as for `fit`.
            dataset: its name, as for `load_dataset`.
            source: as for `load_dataset`.
            steps: as for `fit`.
            seed: as for `fit`.

        Raises:
            ValueError: the place holds the result of another run; the message says in what it differs.
        """
        self._folder = Path(out)
        self._config = config
        self._identity = {"dataset": dataset, "source": source, "steps": steps, "seed": seed}
        self.name = run_name(config, dataset=dataset, source=source, seed=seed)
        self.checkpoints = self._folder / "checkpoints" / self.name
        self._path = self._folder / f"{self.name}.json"
        read_result(self._path, config, **self._identity)
        self._environments = self._note_environment()

    def picture(self, kind: str, figure: "matplotlib.figure.Figure") -> Path:
        """Save a figure as NAME-KIND.png; return its path."""
        path = self._folder / f"{self.name}-{kind}.png"
        figure.savefig(path, dpi=DPI, metadata={"Software": None})
        return path

    def result(self, run: Run, scores: Scores) -> Path:
        """Write NAME.json; return its path.

        Raises:
            ValueError: the run is not the one that this place is for, or has not done all its steps.
        """
        if run.config != self._config:
            raise ValueError(f"run must have the configuration {self._config}, got {run.config}")
        if run.steps != self._identity["steps"]:
            raise ValueError(f"run must have done {self._identity['steps']} steps, got {run.steps}")
        leaves = jax.tree.leaves(nnx.state(run.model, nnx.Param))
        result = Result(
            name=self.name,
            **self._identity,
            config=_plain(dataclasses.asdict(run.config)),
            parameters=sum(leaf.size for leaf in leaves),
            seconds=round(run.seconds, 1),
            environments=self._environments,
            scores=scores,
            history=run.history,
        )
        write_text(self._path, result.to_json())
        return self._path

    def _note_environment(self) -> list[dict[str, Any]]:
        """The environments of the run so far, this one included, kept beside the checkpoints."""
        note = self._folder / "checkpoints" / f"{self.name}.json"
        resumed = note.is_file() and self.checkpoints.is_dir()
        environments = json.loads(note.read_text(encoding="utf-8")) if resumed else []
        here = environment()
        if not environments or environments[-1] | {"date": None} != here | {"date": None}:
            environments.append(here)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, json.dumps(environments, indent=2) + "\n")
        return environments


def recorded_folder() -> Path:
    """The folder of the runs recorded with this package: inside it where it is installed, else in the repository."""
    package = Path(__file__).parent
    for folder in (package / "recorded", package.parent / "data" / "results"):
        if folder.is_dir():
            return folder
    raise ValueError("this copy of tripod_lite came without recorded runs; name a folder of results")


def _read(path: Path) -> Result:
    try:
        return Result.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not the result of a run: {error}") from error


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the package's code and whether files were changed since, or (None, None)."""
    package = Path(__file__).parent

    def git(*command: str) -> str | None:
        run = subprocess.run(["git", "-C", str(package), *command], capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else None

    # Tracked: not merely somewhere below the folder of another repository, as a virtual environment often is.
    if shutil.which("git") and git("ls-files", "--error-unmatch", "__init__.py"):
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", ".", ":/book/training"))
    for distribution in importlib.metadata.distributions(name="tripod-lite"):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")  # pip's note on where it installed from
        if "commit_id" in origin.get("vcs_info", {}):
            return origin["vcs_info"]["commit_id"], False
    return None, None


def _cpu() -> str:
    """The processor's model, or the little that the system says about it."""
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text().splitlines() if listing.is_file() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON: tuples are lists."""
    return json.loads(json.dumps(value))


def _number(value: float) -> float | None:
    """An integer as it is; of others six digits, or None where JSON has no number for it."""
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _object(fields: Mapping[str, Any], indent: str = "") -> str:
    """JSON with a line for each entry of an object, but lists within a line."""
    inner = indent + "  "
    lines = [
        f"{inner}{json.dumps(name)}: "
        + (_object(value, inner) if isinstance(value, Mapping) else json.dumps(value, allow_nan=False))
        for name, value in fields.items()
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
